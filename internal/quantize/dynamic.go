package quantize

import (
	"context"
	"fmt"
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/tensor"
)

// dynamic stores weights in 8 bits and quantizes activations at run time, or stores weights in 16-bit floats.
//
// What it writes is ONNX's own: DynamicQuantizeLinear with MatMulInteger or ConvInteger for products, DynamicQuantizeLSTM
// (com.microsoft) for LSTM, the GRU equations over MatMulInteger in a Scan, Gather on codes for embeddings, and Cast
// behind 16-bit weights. Only combinations that ONNX Runtime's CPU kernels have are written.
var dynamic = Method{
	Name:    "dynamic",
	Title:   "8-bit weights, activations quantized at run time; no calibration data",
	Weights: []string{"qint8", "quint8", "float16", "bfloat16"},
	plan:    planDynamic,
	run:     runDynamic,
}

// dynamicLayer says how one operator is quantized.
type dynamicLayer struct {
	// weights are the input positions of its weights in a node.
	weights func(g *graph.Graph, n *graph.Node) []int
	// refuse says why this node cannot be quantized, or nothing.
	refuse func(g *graph.Graph, n *graph.Node) string
	// small says why quantizing this node would not pay, or nothing. A node that is asked for by a pattern is quantized still.
	small   func(n *graph.Node) string
	rewrite func(d *dynamicRun, n *graph.Node) error
}

// dynamicLayers lists the operators with an integer form.
var dynamicLayers = map[string]dynamicLayer{
	"MatMul": {weights: matMulWeight, refuse: refuseMatMul, rewrite: (*dynamicRun).matMul},
	"Gemm":   {weights: inputs(1), refuse: refuseMatMul, rewrite: (*dynamicRun).gemm},
	"Conv":   {weights: inputs(1), refuse: refuseConv, rewrite: (*dynamicRun).conv},
	"Gather": {weights: inputs(0), refuse: refuseGather, small: smallTable, rewrite: (*dynamicRun).gather},
	"LSTM":   {weights: inputs(1, 2), refuse: refuseLSTM, rewrite: (*dynamicRun).lstm},
	"GRU":    {weights: inputs(1, 2), refuse: refuseGRU, small: smallGRU, rewrite: (*dynamicRun).gru},
}

func inputs(at ...int) func(*graph.Graph, *graph.Node) []int {
	return func(*graph.Graph, *graph.Node) []int { return at }
}

// matMulWeight finds the constant factor of a product: on the right as most exporters write it, or on the left (W times a
// column of activations).
func matMulWeight(g *graph.Graph, n *graph.Node) []int {
	if !g.IsParam(n.In[1]) && g.IsParam(n.In[0]) {
		return []int{0}
	}
	return []int{1}
}

// weighted lists operators with large constant weights that have no integer form in ONNX Runtime, so that a plan can say so.
var weighted = map[string][]int{"ConvTranspose": {1}, "RNN": {1, 2}, "DeformConv": {1}, "Einsum": {1}, "com.microsoft.FusedMatMul": {1}, "com.microsoft.Attention": {1}}

// worthSaying is the size from which a constant matrix of any other operator is listed in a plan, and below which a looked-up
// table is not worth the two extra nodes.
const worthSaying = 1 << 10

func planDynamic(m *model.Model, r Recipe) (*Plan, error) {
	sel, err := newSelection(r)
	if err != nil {
		return nil, err
	}
	p := &Plan{Recipe: r}
	if isHalf(r.Weight) {
		p.Decisions = planHalf(m.Graph, r, sel)
	} else if p.Decisions, err = planInt8(m.Graph, r, sel); err != nil {
		return nil, err
	}
	var layers []string
	for _, d := range p.Decisions {
		if !slices.Contains(layers, d.Layer) {
			layers = append(layers, d.Layer)
		}
	}
	return p, sel.check(layers)
}

// planInt8 decides layer by layer, then rehearses the rewriting on a copy of the graph to know the bytes.
func planInt8(g *graph.Graph, r Recipe, sel *selection) ([]Decision, error) {
	var out []Decision
	var weights []*graph.Value
	reads := map[string][]*graph.Value{}
	for _, s := range sites(g) {
		list, why := decide(s, sel)
		for _, w := range list {
			d := Decision{Layer: s.layer, Op: s.n.Op.Kind(), Param: w.Name, Quantized: why == "", Why: why, Stored: w.Type.DType.String()}
			if s.g.IsParam(w) {
				d.Shape = w.Data.Shape()
			} else {
				w = nil
			}
			if d.Quantized {
				d.Scheme = tensor.Scheme{Code: "int", Bits: 8, Symmetric: r.Weight == "qint8"}
				if r.PerTensor {
					d.Scheme.Group = -1
				}
				d.Stored = d.Scheme.String()
				d.Why = "integer kernel, activations quantized at run time"
			}
			out, weights = append(out, d), append(weights, w)
		}
		if len(list) > 0 {
			for _, v := range s.n.In {
				if s.g.IsParam(v) {
					reads[s.layer] = append(reads[s.layer], v)
				}
			}
		}
	}
	copied := g.Clone()
	run := newDynamicRun(copied, r, out)
	run.rehearsal = true
	if err := run.whole(context.Background()); err != nil {
		return nil, err
	}
	settle(out, weights, reads, run.made, stored(g), stored(copied))
	return out, nil
}

// decide returns the weights of a node and why they are not to be quantized, if so. A node without constant weights of some
// size is no layer.
func decide(s site, sel *selection) (weights []*graph.Value, why string) {
	g, n := s.g, s.n
	layer, ok := dynamicLayers[n.Op.Kind()]
	idx := weighted[n.Op.Kind()]
	switch {
	case ok:
		idx = layer.weights(g, n)
	case idx == nil:
		idx = matrices(g, n)
	}
	constant := true
	for _, i := range idx {
		weights = append(weights, n.In[i])
		constant = constant && g.IsParam(n.In[i])
	}
	if len(idx) == 0 || !constant && (n.Op.Kind() == "Gather" || !ok) {
		return nil, "" // an indexing or a product of two activations
	}
	if n.Op.Kind() == "Gather" && !n.In[0].Data.DType().IsFloat() {
		return nil, "" // a table of numbers, not of weights
	}
	why, skip, asked := sel.judge(s, weights...)
	switch {
	case skip:
	case !ok:
		why = fmt.Sprintf("ONNX Runtime has no integer kernel for %s", n.Op.Kind())
	case !constant:
		why = "the weight is not constant"
	default:
		why = layer.refuse(g, n)
		if why == "" && layer.small != nil && !asked {
			why = layer.small(n)
		}
	}
	return weights, why
}

// matrices lists the inputs of a node that are float constants of some size.
func matrices(g *graph.Graph, n *graph.Node) []int {
	var out []int
	for i, v := range n.In {
		if g.IsParam(v) && v.Data.DType().Bits() <= 8 && v.Data.DType() != tensor.Bool {
			return nil // it computes on codes already
		}
		if g.IsParam(v) && v.Data.DType().IsFloat() && len(v.Data.Shape()) > 1 && v.Data.Shape().Len() >= worthSaying {
			out = append(out, i)
		}
	}
	return out
}

func refuseFloat32(g *graph.Graph, n *graph.Node, x int, weights ...int) string {
	if x >= 0 && n.In[x].Type.DType != tensor.Float32 {
		return fmt.Sprintf("activations are %v; the integer form takes float32", n.In[x].Type.DType)
	}
	for _, i := range weights {
		if d := n.In[i].Data.DType(); d != tensor.Float32 {
			return fmt.Sprintf("the weight is %v already", d)
		}
		if len(n.In[i].Data.Shape()) == 0 || n.In[i].Data.Shape().Len() == 0 {
			return "the weight is empty"
		}
	}
	return ""
}

func refuseMatMul(g *graph.Graph, n *graph.Node) string {
	w := 1
	if n.Op.Kind() == "MatMul" {
		w = matMulWeight(g, n)[0]
	}
	x := 1 - w
	if why := refuseFloat32(g, n, x, w); why != "" {
		return why
	}
	if len(n.In[w].Data.Shape()) != 2 {
		return fmt.Sprintf("the weight has rank %d; the integer form takes matrices", len(n.In[w].Data.Shape()))
	}
	if t := n.In[x].Type; w == 0 && !t.Ranked {
		return fmt.Sprintf("the input is %v; a weight on the left takes one of known rank", t)
	}
	return ""
}

func refuseConv(g *graph.Graph, n *graph.Node) string {
	if why := refuseFloat32(g, n, 0, 1); why != "" {
		return why
	}
	if len(n.In) > 2 && n.In[2] != nil && !g.IsParam(n.In[2]) {
		return "the bias is not constant"
	}
	return ""
}

func refuseGather(g *graph.Graph, n *graph.Node) string {
	if why := refuseFloat32(g, n, -1, 0); why != "" {
		return why
	}
	if s := n.In[0].Data.Shape(); len(s) != 2 || intAttr(n.Op, "axis") != 0 {
		return "not an embedding: a table of rank 2 looked up by rows"
	}
	return ""
}

func smallTable(n *graph.Node) string {
	if s := n.In[0].Data.Shape(); s.Len() < worthSaying {
		return fmt.Sprintf("a small table (%v)", s)
	}
	return ""
}

// dynamicRun is the state of carrying out a plan on one graph.
type dynamicRun struct {
	*rewriter
	*dynamicWork
}

// dynamicWork is what the runs on a graph and its subgraphs share.
type dynamicWork struct {
	recipe Recipe
	chosen map[string]bool           // layers to quantize
	layers map[*graph.Node]string    // names of the sites
	ready  map[weightKey]*codes      // quantized weights, which several layers may share
	made   map[string][]*graph.Value // parameters that the rewriting of a layer brought
	// rehearsal: the graph is rewritten without the values of weights.
	rehearsal bool
	rounded   Rounded
	task      progress.Task
}

// newDynamicRun prepares the rewriting of g, whose subgraphs become its own.
func newDynamicRun(g *graph.Graph, r Recipe, decisions []Decision) *dynamicRun {
	ownBodies(g)
	w := &dynamicWork{recipe: r, chosen: map[string]bool{}, layers: map[*graph.Node]string{}, ready: map[weightKey]*codes{}, rounded: Rounded{}, made: map[string][]*graph.Value{}}
	for _, d := range decisions {
		if d.Quantized {
			w.chosen[d.Layer] = true
		}
	}
	for _, s := range sites(g) {
		w.layers[s.n] = s.layer
	}
	values, nodes := allNames(g)
	return &dynamicRun{newRewriter(g, values, nodes), w}
}

// within returns the run on a subgraph.
func (d *dynamicRun) within(g *graph.Graph) *dynamicRun {
	return &dynamicRun{newRewriter(g, d.values, d.names), d.dynamicWork}
}

func runDynamic(ctx context.Context, m *model.Model, p *Plan, _ Samples) error {
	d := newDynamicRun(m.Graph, p.Recipe, p.Decisions)
	d.task = progress.From(ctx).Start("quantize", int64(p.Quantized()), "weights")
	defer d.task.Done()
	p.Rounded = d.rounded
	var err error
	if isHalf(p.Recipe.Weight) {
		err = d.halves(ctx, p)
	} else {
		err = d.whole(ctx)
	}
	if err != nil {
		return err
	}
	return m.Graph.Verify()
}

// whole rewrites the chosen layers of the graph and its subgraphs.
func (d *dynamicRun) whole(ctx context.Context) error {
	for _, n := range d.g.Nodes {
		if err := ctx.Err(); err != nil {
			return err
		}
		if b, ok := n.Op.(graph.Body); ok {
			for _, sub := range b.Bodies() {
				if err := d.within(sub).whole(ctx); err != nil {
					return err
				}
			}
		}
		layer := d.layers[n]
		if !d.chosen[layer] {
			d.nodes = append(d.nodes, n)
			continue
		}
		d.scope = n.Name
		from := len(d.nodes)
		kind := dynamicLayers[n.Op.Kind()]
		if err := kind.rewrite(d, n); err != nil {
			return fmt.Errorf("layer %q (%s): %w", layer, n.Op.Kind(), err)
		}
		for _, s := range sites(&graph.Graph{Nodes: d.nodes[from:]}) {
			for _, v := range s.n.In {
				if v != nil && v.Data != nil {
					d.made[layer] = append(d.made[layer], v)
				}
			}
		}
		if d.task != nil {
			d.task.Add(int64(len(kind.weights(d.g, n))))
		}
	}
	d.g.Nodes = d.nodes
	return d.err
}
