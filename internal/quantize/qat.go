package quantize

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/internal/train"
	"github.com/neurotrain/neuroquant/tensor"
)

// qat is quantization-aware training: the placement of method static, trained with rounding in place and written as static is. Batch
// normalizations are folded before, with their statistics as they are.
var qat = Method{
	Name:      "qat",
	Title:     "weights and activations of 2 to 8 bits, trained with rounding in place",
	Weights:   []string{"qint8"},
	Calibrate: true,
	plan:      planStatic,
	run: func(context.Context, *model.Model, *Plan, Samples) error {
		return errors.New("method qat trains: it needs labels and settings of training")
	},
}

// QATSettings say how rounding is trained.
type QATSettings struct {
	// WeightBits and ActivationBits are 2 to 8; 0 stands for 8.
	WeightBits, ActivationBits int
	// FixedScales keeps the scales that calibration found: gradients pass straight through. Otherwise they are learned.
	FixedScales bool
	// PowerOfTwo rounds scales to powers of two.
	PowerOfTwo bool
}

// Check reports settings that cannot be meant.
func (s *QATSettings) Check() error {
	for _, b := range []struct {
		name string
		bits int
	}{{"weight bits", s.WeightBits}, {"activation bits", s.ActivationBits}} {
		if b.bits != 0 && (b.bits < 2 || b.bits > 8) {
			return fmt.Errorf("%s: want 2 to 8, got %d", b.name, b.bits)
		}
	}
	return nil
}

// trainedBits are the settings of a recipe whose weights and scales were trained.
type trainedBits struct {
	weights int
	scales  map[string][]float32 // of weights, by layer
}

// QAT is a model that is prepared for training with rounding in place.
type QAT struct {
	// Graph computes what the written model will: weights and activations are rounded where that has codes.
	Graph *graph.Graph
	// Trained are its parameters that change: weights, biases and, if they are learned, scales.
	Trained []*graph.Value

	m       *model.Model
	plan    *Plan
	weights map[string]*graph.Value // of Graph, by layer: the scales of its weight
	steps   map[string]*op.FakeQuantize
	params  map[string]*graph.Value // of Graph, by the name of the root: the scale
	forms   map[string]activation
}

// NewQAT prepares m, whose graph the plan was made for, with statistics of calibration.
func NewQAT(m *model.Model, p *Plan, c *Calibration, s QATSettings) (*QAT, error) {
	if p.place == nil || p.Recipe.Method != qat.Name {
		return nil, fmt.Errorf("the plan is of method %s", p.Recipe.Method)
	}
	if err := s.Check(); err != nil {
		return nil, err
	}
	bits := s.WeightBits
	if bits == 0 {
		bits = 8
	}
	if s.ActivationBits != 0 && s.ActivationBits < 8 {
		p.Recipe.activationBits = s.ActivationBits
	}
	p.Recipe.Calibrator.Levels = p.Recipe.activations().levels()
	p.Recipe.trained = &trainedBits{weights: bits}
	p.Recipe.FitWeights = p.Recipe.FitWeights || bits < 8
	p.redecide()
	params, err := activationParams(p.place, c.Values, &p.Recipe)
	if err != nil {
		return nil, err
	}
	q := &QAT{m: m, plan: p, weights: map[string]*graph.Value{}, steps: map[string]*op.FakeQuantize{}, params: map[string]*graph.Value{}, forms: map[string]activation{}}
	w := &qatWriter{QAT: q, s: s, g: m.Graph.Clone(), params: params, fake: map[*graph.Value]*graph.Value{}, sums: map[*graph.Value]sumScale{}}
	if err := w.write(); err != nil {
		return nil, err
	}
	q.Graph = w.g
	return q, w.g.Verify()
}

// redecide brings the decisions of a plan to the bits that are trained.
func (p *Plan) redecide() {
	for i, l := range p.place.layers {
		d := l.decision(p.Recipe)
		if d.Quantized {
			d.Scheme.Bits = p.Recipe.trained.weights
			d.Stored, d.Why = d.Scheme.String(), "trained with rounding in place"
		}
		p.Decisions[i] = d
	}
}

// qatWriter writes the graph that is trained.
type qatWriter struct {
	*QAT
	s      QATSettings
	g      *graph.Graph
	params map[*graph.Value]activation   // by value of the graph of the placement
	fake   map[*graph.Value]*graph.Value // of the copy: the rounded form of a value
	values graph.Names
	nodes  graph.Names
	out    []*graph.Node
	sums   map[*graph.Value]sumScale // results of MatMul that a bias is added to
}

// round appends an operator that rounds x.
func (w *qatWriter) round(name string, x, scale *graph.Value, o *op.FakeQuantize) *graph.Value {
	n := &graph.Node{Name: w.nodes.Fresh(name + "_rounded"), Op: o, In: []*graph.Value{x, scale}}
	t := x.Type
	t.Const = nil
	v := &graph.Value{Name: w.values.Fresh(name + "_rounded"), Type: t, Node: n}
	n.Out = []*graph.Value{v}
	w.out = append(w.out, n)
	return v
}

func (w *qatWriter) write() error {
	old := w.plan.place.g
	if len(old.Nodes) != len(w.g.Nodes) {
		return errors.New("the graph is not that of the plan")
	}
	w.values, w.nodes = w.g.ValueNames(), w.g.NodeNames()
	origin := map[*graph.Value]*graph.Value{}
	pair := func(a, b []*graph.Value) {
		for i, v := range a {
			if v != nil {
				origin[b[i]] = v
			}
		}
	}
	pair(old.Inputs, w.g.Inputs)
	layers := map[string]placedLayer{}
	for _, l := range w.plan.place.layers {
		if l.why == "" {
			layers[l.node.Name] = l
		}
	}
	for _, v := range w.g.Inputs {
		w.pair(origin[v], v)
	}
	for i, n := range w.g.Nodes {
		was := old.Nodes[i]
		pair(was.In, n.In)
		pair(was.Out, n.Out)
		n.In = slices.Clone(n.In)
		for k, v := range n.In {
			n.In[k] = w.read(was, origin[v], v)
		}
		if l, ok := layers[n.Name]; ok {
			if err := w.layer(l, n); err != nil {
				return fmt.Errorf("layer %q (%s): %w", n.Name, n.Op.Kind(), err)
			}
		}
		if w.plan.place.roles[was] == absorbed && n.Op.Kind() == "Add" {
			for k := range n.In {
				if s, ok := w.sums[n.In[1-k]]; ok && n.In[k].Data != nil {
					w.bias(n, k, s)
					break
				}
			}
		}
		if at := w.plan.place.consts[was]; at != nil {
			if err := w.operands(was, n, at); err != nil {
				return fmt.Errorf("node %q (%s): %w", n.Name, n.Op.Kind(), err)
			}
		}
		w.out = append(w.out, n)
		for _, v := range n.Out {
			if v != nil {
				w.pair(origin[v], v)
			}
		}
	}
	for i, v := range w.g.Outputs {
		if d := w.read(nil, origin[v], v); d != v {
			d.Name, v.Name = v.Name, d.Name
			w.g.Outputs[i] = d
		}
	}
	w.g.Nodes = w.out
	// What is left in float is trained too.
	for _, v := range train.Trainable(w.g) {
		if !slices.Contains(w.Trained, v) && !w.isConstant(v) && !w.isScale(v) {
			w.Trained = append(w.Trained, v)
		}
	}
	return nil
}

// roundedConstant marks the names of constants that are in codes already.
const roundedConstant = "_constant_rounded"

func (w *qatWriter) isConstant(v *graph.Value) bool {
	return strings.HasSuffix(v.Name, roundedConstant)
}

func (w *qatWriter) isScale(v *graph.Value) bool {
	for _, m := range []map[string]*graph.Value{w.weights, w.QAT.params} {
		for _, s := range m {
			if s == v {
				return true
			}
		}
	}
	return false
}

// read is that of staticRun on the copy: was and origin are of the graph of the placement.
func (w *qatWriter) read(was *graph.Node, origin, v *graph.Value) *graph.Value {
	d := w.fake[v]
	if d == nil || (was == nil || w.plan.place.roles[was] == inFloat) && w.plan.place.floatMade(origin) {
		return v
	}
	return d
}

// pair rounds a value that is held in codes. What only moved codes is rounded already.
func (w *qatWriter) pair(origin, v *graph.Value) {
	a, ok := w.params[origin]
	if !ok {
		return
	}
	pl := w.plan.place
	if origin.Node != nil && pl.roles[origin.Node] == carrying {
		if k := origin.Node.Op.Kind(); k != "Relu" && k != "Clip" {
			return
		}
	}
	root := pl.find(origin)
	scale := w.QAT.params[root.Name]
	if scale == nil {
		scale = graph.Param(w.values.Fresh(root.Name+"_scale"), tensor.Scalar(a.scale))
		w.QAT.params[root.Name], w.forms[root.Name] = scale, a
		if !w.s.FixedScales {
			w.Trained = append(w.Trained, scale)
		}
	}
	lo, hi := a.limits()
	o := &op.FakeQuantize{Axis: -1, Low: lo, High: hi, Zero: a.zero, Learn: !w.s.FixedScales, PowerOfTwo: w.s.PowerOfTwo}
	w.steps[root.Name] = o
	x := v
	if v.Node != nil && v.Node.Op.Kind() == "Relu" && lo == a.zero { // codes begin at zero: the clamp is theirs
		x = v.Node.In[0]
	}
	w.fake[v] = w.round(v.Name, x, scale, o)
}

// layer rounds the weight of a layer.
func (w *qatWriter) layer(l placedLayer, n *graph.Node) error {
	if l.weight == nil {
		return nil
	}
	if o, ok := l.node.Op.(*op.Gemm); ok && (o.Alpha != 1 || o.Beta != 1) {
		return fmt.Errorf("alpha %v and beta %v: want 1 to train with rounding in place", o.Alpha, o.Beta)
	}
	in := w.plan.Recipe
	in.ReduceRange = "none"
	x := float32(0)
	if l.x != nil {
		x = w.params[l.x].scale
	}
	r, err := l.round(&in, x)
	if err != nil {
		return err
	}
	if r.codes.blocks != nil {
		return errors.New("blocks of weights cannot be trained with rounding in place")
	}
	at := slices.Index(l.node.In, l.weight)
	scale := graph.Param(w.values.Fresh(l.weight.Name+"_scale"), tensor.Of(tensor.Shape{len(r.codes.scale)}, slices.Clone(r.codes.scale)))
	axis := r.axis
	if len(r.codes.scale) == 1 {
		axis = -1
	}
	most := int32(l.form(&in).most())
	o := &op.FakeQuantize{Axis: axis, Low: -most, High: most, Learn: !w.s.FixedScales, PowerOfTwo: w.s.PowerOfTwo}
	w.weights[n.Name], w.steps["weight of "+n.Name] = scale, o
	if !slices.Contains(w.Trained, n.In[at]) {
		w.Trained = append(w.Trained, n.In[at])
	}
	if !w.s.FixedScales {
		w.Trained = append(w.Trained, scale)
	}
	n.In[at] = w.round(l.weight.Name, n.In[at], scale, o)
	if l.x == nil {
		return nil
	}
	root := w.plan.place.find(l.x).Name
	s := sumScale{w.QAT.params[root], scale, w.steps[root], o, len(r.codes.scale)}
	switch {
	case l.bias != nil && len(l.bias.Data.Shape()) == 1:
		w.bias(n, slices.Index(l.node.In, l.bias), s)
	case l.node.Op.Kind() == "MatMul":
		w.sums[n.Out[0]] = s
	}
	return nil
}

// operands puts constants in codes, once and for all.
func (w *qatWriter) operands(was, n *graph.Node, at []int) error {
	for _, i := range at {
		t, err := was.In[i].Data.Load()
		if err != nil {
			return fmt.Errorf("constant %q: %w", was.In[i].Name, err)
		}
		f, err := t.Floats()
		if err != nil {
			return fmt.Errorf("constant %q: %w", was.In[i].Name, err)
		}
		a := w.plan.place.constantCodes(was, f)
		values := operandValues(was, f)
		for k, v := range values {
			values[k] = float32(a.value(a.code(v)))
		}
		n.In[i] = graph.Param(w.values.Fresh(was.In[i].Name+roundedConstant), tensor.Of(t.Shape.Clone(), values))
	}
	switch n.Op.(type) {
	case *op.Sub:
		n.Op, _ = op.New("Add")
	case *op.Div:
		n.Op, _ = op.New("Mul")
	}
	return nil
}

// Finish writes the model as method static does, with the weights and scales of Graph as they are now. Graph's parameters must have been
// stored before, see [train.Trainer.Store].
func (q *QAT) Finish(ctx context.Context) error {
	now := map[string]*graph.Value{}
	for _, v := range q.Graph.Params() {
		now[v.Name] = v
	}
	for _, v := range q.m.Graph.Params() {
		if w := now[v.Name]; w != nil {
			v.Data, v.Type = w.Data, w.Type
		}
	}
	scales := func(v *graph.Value, o *op.FakeQuantize) ([]float32, error) {
		t, err := v.Data.Load()
		if err != nil {
			return nil, err
		}
		out := slices.Clone(tensor.Data[float32](t))
		for i, s := range out {
			if s-s != 0 {
				return nil, fmt.Errorf("scale %q is %v", v.Name, s)
			}
			out[i] = float32(o.Step(float64(s)))
		}
		return out, nil
	}
	q.plan.Recipe.trained.scales = map[string][]float32{}
	for name, v := range q.weights {
		s, err := scales(v, q.steps["weight of "+name])
		if err != nil {
			return err
		}
		q.plan.Recipe.trained.scales[name] = s
	}
	params := map[*graph.Value]activation{}
	pl := q.plan.place
	for _, v := range pl.values {
		root := pl.find(v).Name
		a, ok := q.forms[root]
		if !ok {
			continue
		}
		s, err := scales(q.params[root], q.steps[root])
		if err != nil {
			return err
		}
		a.scale = s[0]
		params[v] = a
	}
	return writeStatic(ctx, q.m, q.plan, params, nil)
}

// limit is the largest code of signed weights of so many bits.
func limit(bits int) float64 { return math.Exp2(float64(bits-1)) - 1 }
