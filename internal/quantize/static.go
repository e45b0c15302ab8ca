package quantize

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/neurotrain/neuroquant/internal/calibrate"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/tensor"
)

// static quantizes weights and activations to 8 bits with scales from calibration data. What it writes is ONNX's QDQ form:
// QuantizeLinear and DequantizeLinear around the operators that runtimes compute on codes.
var static = Method{
	Name:      "static",
	Title:     "8-bit weights and activations, scales from calibration data",
	Weights:   []string{"qint8"},
	Calibrate: true,
	plan:      planStatic,
	run:       runStatic,
}

func planStatic(m *model.Model, r Recipe) (*Plan, error) {
	sel, err := newSelection(r)
	if err != nil {
		return nil, err
	}
	if err := r.Calibrator.Check(); err != nil {
		return nil, fmt.Errorf("calibrator: %w", err)
	}
	if err := checkReduceRange(r.ReduceRange); err != nil {
		return nil, err
	}
	var layers []string
	for _, n := range m.Graph.Nodes {
		layers = append(layers, n.Name)
	}
	if err := checkPrecisions(r.Layers, layers); err != nil {
		return nil, err
	}
	layers = nil
	p := &Plan{Recipe: r, place: place(m.Graph, func(n *graph.Node, w *graph.Value) string {
		if r.Layers[n.Name] == InFloat {
			return "left in float: the recipe names it"
		}
		why, skip := "", false
		if w == nil && slices.Contains(ownRange, n.Op.Kind()) { // Only speaks of layers with weights
			why, skip = sel.keeps(site{m.Graph, n, n.Name})
		} else {
			why, skip, _ = sel.judge(site{m.Graph, n, n.Name}, w)
		}
		if !skip {
			return ""
		}
		return why
	})}
	for _, l := range p.place.layers {
		layers = append(layers, l.node.Name)
		d := Decision{Layer: l.node.Name, Op: l.node.Op.Kind(), Quantized: l.why == "", Why: l.why, Stored: "float32"}
		if l.weight != nil {
			d.Param, d.Shape = l.weight.Name, l.weight.Data.Shape()
			d.Before = l.weight.Data.DType().ByteLen(l.weight.Data.Shape().Len())
			d.After = d.Before
		}
		if d.Quantized {
			d.Scheme = tensor.Scheme{Code: "int", Bits: 8, Symmetric: true}
			scales := 1
			if r.PerTensor {
				d.Scheme.Group = -1
			} else if l.weight != nil {
				scales = d.Shape[l.channel]
			}
			d.Stored, d.Why = d.Scheme.String(), "integer kernel, activations in 8 bits with scales from calibration"+reduceWhy[r.ReduceRange]
			if l.weight != nil {
				d.After = tensor.Shape(d.Shape).Len() + 5*scales // a scale and a zero point
			}
		}
		out := d
		p.Decisions = append(p.Decisions, out)
	}
	return p, sel.check(layers)
}

// Unit is something that computes on codes and could be left in float: a layer, or an operator with a range of its own such as
// Add.
type Unit struct {
	Layer, Op     string
	Before, After int // bytes of its weight in float and as the plan stores it; 0 where it has none
}

// Units lists what a static plan quantizes, in the order of the graph.
func (p *Plan) Units() []Unit {
	if p.place == nil {
		return nil
	}
	bytes := map[string]Decision{}
	for _, d := range p.Decisions {
		bytes[d.Layer] = d
	}
	var out []Unit
	for _, n := range p.place.g.Nodes {
		if r := p.place.roles[n]; r == product || r == pointy {
			d := bytes[n.Name]
			out = append(out, Unit{n.Name, n.Op.Kind(), d.Before, d.After})
		}
	}
	return out
}

// activation is how a value is held in 8 bits: x = scale*(code - zero).
type activation struct {
	scale float32
	zero  uint8
}

// asymmetric maps a range to unsigned codes. The range is widened to hold zero, which then has a code of its own.
func asymmetric(lo, hi float32) activation {
	scale, zero := rangeToScale(min(lo, 0), max(hi, 0), false, false)
	return activation{scale, uint8(zero)}
}

func runStatic(ctx context.Context, m *model.Model, p *Plan, samples Samples) error {
	c, err := Calibrate(ctx, m, p, samples)
	if err != nil {
		return err
	}
	return Apply(ctx, m, p, c)
}

// Calibration is what values of a model were on calibration samples. It serves every recipe that quantizes those values or
// fewer, whatever its calibrator: the samples are run once.
type Calibration struct {
	Values map[string]*calibrate.Stats
}

// Calibrate runs m on samples and returns the statistics that the plan, or one that leaves more layers in float, needs. m is
// not changed.
func Calibrate(ctx context.Context, m *model.Model, p *Plan, samples Samples) (*Calibration, error) {
	if p.place == nil {
		return nil, fmt.Errorf("method %s does not calibrate", p.Recipe.Method)
	}
	stats, err := calibrate.Run(ctx, m.Graph, p.place.values, samples)
	if err != nil {
		return nil, err
	}
	return &Calibration{Values: stats}, nil
}

// Apply carries out a plan on the graph of m with statistics collected before; m's graph is the one that the plan was made for.
func Apply(ctx context.Context, m *model.Model, p *Plan, c *Calibration) error {
	if p.place == nil {
		return fmt.Errorf("method %s does not calibrate", p.Recipe.Method)
	}
	g := m.Graph
	params, err := activationParams(p.place, c.Values, p.Recipe.Calibrator)
	if err != nil {
		return err
	}
	values, nodes := allNames(g)
	w := &staticRun{rewriter: newRewriter(g, values, nodes), place: p.place, recipe: p.Recipe, params: params, dq: map[*graph.Value]*graph.Value{}, pairs: map[*graph.Value][2]*graph.Value{}}
	if err := w.rewrite(ctx); err != nil {
		return err
	}
	return g.Verify()
}

// activationParams gives every quantized value its scale and zero point; values that share a root share one range, which is
// found from those that are not derived from others.
func activationParams(pl *placement, stats map[string]*calibrate.Stats, c Calibrator) (map[*graph.Value]activation, error) {
	type group struct {
		seen   []*calibrate.Stats
		lo, hi float32 // of ranges known without calibration
	}
	groups := map[*graph.Value]*group{}
	for _, v := range pl.values {
		if carriedFrom(pl, v) {
			continue // its codes are those of the value that it was moved from
		}
		g := groups[pl.find(v)]
		if g == nil {
			g = &group{}
			groups[pl.find(v)] = g
		}
		if f, ok := pl.fixed[v]; ok {
			g.lo, g.hi = min(g.lo, f[0]), max(g.hi, f[1])
			continue
		}
		s := stats[v.Name]
		if s == nil {
			return nil, fmt.Errorf("value %q: there are no calibration statistics of it", v.Name)
		}
		if s.NonFinite > 0 {
			return nil, fmt.Errorf("value %q: %d of %d calibration values are not finite; the first such sample is %q", v.Name, s.NonFinite, s.NonFinite+s.Count, s.Broken)
		}
		g.seen = append(g.seen, s)
	}
	out := map[*graph.Value]activation{}
	for _, g := range groups {
		if len(g.seen) > 0 {
			lo, hi := c.Joint(g.seen)
			g.lo, g.hi = min(g.lo, lo), max(g.hi, hi)
		}
	}
	for _, v := range pl.values {
		if g := groups[pl.find(v)]; g != nil {
			out[v] = asymmetric(g.lo, g.hi)
		}
	}
	return out, nil
}

// carriedFrom reports whether v is only a rearrangement of another quantized value.
func carriedFrom(pl *placement, v *graph.Value) bool {
	return v.Node != nil && pl.roles[v.Node] == carrying && v.Node.Op.Kind() != "Concat"
}

// staticRun writes the QDQ form.
type staticRun struct {
	*rewriter
	place  *placement
	recipe Recipe
	params map[*graph.Value]activation
	dq     map[*graph.Value]*graph.Value    // dequantized form by value
	pairs  map[*graph.Value][2]*graph.Value // scale and zero point parameters by root
}

func (w *staticRun) rewrite(ctx context.Context) error {
	task := progress.From(ctx).Start("quantize", int64(len(w.place.layers)), "layers")
	defer task.Done()
	layers := map[*graph.Node]placedLayer{}
	for _, l := range w.place.layers {
		if l.why == "" {
			layers[l.node] = l
		}
	}
	old := w.g.Nodes
	for _, v := range w.g.Inputs {
		w.pair(v)
	}
	for _, n := range old {
		if err := ctx.Err(); err != nil {
			return err
		}
		in := append([]*graph.Value(nil), n.In...)
		for i, v := range in {
			in[i] = w.read(n, v)
		}
		if l, ok := layers[n]; ok {
			if err := w.constants(l, in); err != nil {
				return fmt.Errorf("layer %q (%s): %w", n.Name, n.Op.Kind(), err)
			}
			task.Add(1)
		}
		n.In = in
		w.nodes = append(w.nodes, n)
		for _, v := range n.Out {
			if v != nil {
				w.pair(v)
			}
		}
	}
	for i, v := range w.g.Outputs {
		if d := w.read(nil, v); d != v { // the output keeps its name: what it was called before gets another
			name := v.Name
			v.Name = w.values.Fresh(name + "_float")
			d.Name = name
			w.g.Outputs[i] = d
		}
	}
	w.g.Nodes = w.nodes
	return w.err
}

// read returns what n, or the caller of the model if n is nil, reads in place of v: the dequantized form, unless both what
// computes v and n are in float.
func (w *staticRun) read(n *graph.Node, v *graph.Value) *graph.Value {
	d := w.dq[v]
	if d == nil || (n == nil || w.place.roles[n] == inFloat) && (v.Node == nil || w.place.roles[v.Node] == inFloat) {
		return v
	}
	return d
}

// pair emits QuantizeLinear and DequantizeLinear behind a value that is held in 8 bits.
func (w *staticRun) pair(v *graph.Value) {
	a, ok := w.params[v]
	if !ok {
		return
	}
	root := w.place.find(v)
	par, ok := w.pairs[root]
	if !ok {
		par = [2]*graph.Value{w.param(root.Name+"_scale", tensor.Scalar(a.scale)), w.param(root.Name+"_zero_point", tensor.Scalar(a.zero))}
		w.pairs[root] = par
	}
	w.scope = v.Name
	q := w.add("_quantize", "QuantizeLinear", v, par[0], par[1])
	w.dq[v] = w.add("_dequantize", "DequantizeLinear", q, par[0], par[1])
}

// constants quantizes the weight and bias of a layer into its inputs: the weight symmetric with a scale per output channel,
// the bias in 32 bits with the product of both scales.
func (w *staticRun) constants(l placedLayer, in []*graph.Value) error {
	if l.weight == nil {
		return nil
	}
	axis := l.channel
	if w.recipe.PerTensor {
		axis = -1
	}
	t, err := l.weight.Data.Load()
	if err != nil {
		return fmt.Errorf("weight %q: %w", l.weight.Name, err)
	}
	c, err := quantizeWeight(l.weight.Name, t, axis, true, false)
	if err != nil {
		return err
	}
	if mode := w.recipe.ReduceRange; mode != "" && mode != "none" {
		f, err := t.Floats()
		if err != nil {
			return fmt.Errorf("weight %q: %w", l.weight.Name, err)
		}
		l.reduceRange(c, f, mode)
	}
	a := w.params[l.x]
	var bias []float32
	if l.bias != nil {
		b, err := l.bias.Data.Load()
		if err != nil {
			return fmt.Errorf("bias %q: %w", l.bias.Name, err)
		}
		if bias, err = b.Floats(); err != nil {
			return fmt.Errorf("bias %q: %w", l.bias.Name, err)
		}
		if err := checkFinite(l.bias.Name, b.Shape, bias); err != nil {
			return err
		}
	}
	w.scope = l.node.Name
	scale := w.param(l.weight.Name+"_scale", c.scales(0))
	zero := w.param(l.weight.Name+"_zero_point", tensor.New(tensor.Int8, scale.Data.Shape()...))
	var at attrs
	if len(c.scale) > 1 {
		at = attrs{"axis": int64(axis)}
	}
	in[1] = w.emit("_weight", 1, "DequantizeLinear", at, graph.FromSource(w.values.Fresh(l.weight.Name+"_quantized"), c.source()), scale, zero)[0]
	if bias == nil {
		return nil
	}
	channels := len(bias)
	bs := make([]float32, len(c.scale))
	for i, s := range c.scale {
		bs[i] = a.scale * s
	}
	if len(bs) > 1 && channels != len(bs) {
		return nil // a bias that is broadcast in another way stays in float
	}
	codes := make([]int32, channels)
	for i, b := range bias {
		q := math.RoundToEven(float64(b) / float64(bs[i%len(bs)]))
		codes[i] = int32(min(max(q, math.MinInt32), math.MaxInt32))
	}
	bscale := tensor.Scalar(bs[0])
	at = nil
	if len(bs) > 1 {
		bscale, at = tensor.Vector(bs...), attrs{"axis": int64(0)}
	}
	in[2] = w.emit("_bias", 1, "DequantizeLinear", at, w.param(l.bias.Name+"_quantized", tensor.Of(tensor.Shape{channels}, codes)), w.param(l.bias.Name+"_scale", bscale))[0]
	return nil
}
