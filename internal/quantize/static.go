package quantize

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/calibrate"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/tensor"
)

// static quantizes weights and activations to 8 bits with scales from calibration data. What it writes is ONNX's QDQ form:
// QuantizeLinear and DequantizeLinear around the operators that runtimes compute on codes.
var static = Method{
	Name:      "static",
	Title:     "8-bit weights and activations, scales from calibration data",
	Weights:   []string{"qint8", "qint4"},
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
	if err := r.Repairs.Check(); err != nil {
		return nil, err
	}
	if r.Activations != "" && !slices.Contains(ActivationTypes, r.Activations) {
		return nil, fmt.Errorf("activations: want one of %s, got %q", strings.Join(ActivationTypes, ", "), r.Activations)
	}
	if err := checkBlockSize(r.BlockSize); err != nil {
		return nil, err
	}
	if err := checkReduceRange(r.ReduceRange); err != nil {
		return nil, err
	}
	if r.Format != "" && !slices.Contains(Formats, r.Format) {
		return nil, fmt.Errorf("format: want one of %s, got %q", strings.Join(Formats, ", "), r.Format)
	}
	if err := prepare(m.Graph); err != nil {
		return nil, err
	}
	var names []string
	for _, n := range m.Graph.Nodes {
		names = append(names, n.Name)
	}
	if err := checkPrecisions(r.Layers, names); err != nil {
		return nil, err
	}
	at := func(n *graph.Node) site { return site{m.Graph, n, n.Name} }
	p := &Plan{Recipe: r, place: place(m.Graph, placeRules{
		codes: r.activations(),
		layer: func(n *graph.Node, w *graph.Value) string {
			if r.Layers[n.Name] == InFloat {
				return inFloatByName
			}
			why, _, _ := sel.judge(at(n), w)
			return why
		},
		other: func(n *graph.Node) string { // Only speaks of layers with weights
			if r.Layers[n.Name] == InFloat {
				return inFloatByName
			}
			why, _ := sel.keeps(at(n))
			return why
		},
	})}
	names = nil
	for _, l := range p.place.layers {
		p.Decisions = append(p.Decisions, l.decision(r))
		names = append(names, l.node.Name)
	}
	for _, s := range sites(m.Graph) {
		p.Decisions = append(p.Decisions, p.place.unplaced(s, sel)...)
	}
	return p, sel.check(names)
}

// inFloatByName is the reason of a layer whose precision a recipe gives.
const inFloatByName = "left in float: the recipe names it"

// decision says what becomes of a layer.
func (l *placedLayer) decision(r Recipe) Decision {
	d := Decision{Layer: l.node.Name, Op: l.node.Op.Kind(), Quantized: l.why == "", Why: l.why, Stored: "float32"}
	if l.weight != nil {
		d.Param, d.Shape = l.weight.Name, l.weight.Data.Shape()
		d.Before = l.weight.Data.DType().ByteLen(l.weight.Data.Shape().Len())
		d.After, d.Stored = d.Before, l.weight.Data.DType().String()
	}
	if !d.Quantized {
		return d
	}
	form := l.form(&r)
	d.Scheme = tensor.Scheme{Code: "int", Bits: 8, Symmetric: true}
	if form.four {
		d.Scheme.Bits = 4
	}
	scales := 1
	if r.PerTensor || l.channel < 0 {
		d.Scheme.Group = -1
	} else if l.weight != nil {
		scales = d.Shape[l.channel]
	}
	d.Stored, d.Why = d.Scheme.String(), "integer kernel, activations in 8 bits with scales from calibration"+reduceWhy[r.ReduceRange]
	if r.activations().wide() {
		d.Why = "activations in 16 bits with scales from calibration; computed in float between the codes, since no integer kernel takes them"
	}
	if b := l.blocks(r.BlockSize); b != nil {
		d.Scheme.Group, scales = b.size, b.shape.Len()
		d.Stored, d.Why = d.Scheme.String(), "activations in codes with scales from calibration; computed in float between them, since no integer kernel takes a scale for every block"
	}
	if l.x == nil {
		d.Why = "rows of codes are looked up"
	}
	if l.weight != nil {
		d.After = tensor.Shape(d.Shape).Len() + 5*scales // a scale and a zero point
		if form.four {
			d.After = (tensor.Shape(d.Shape).Len()+1)/2 + 4*scales + (scales+1)/2
		}
	}
	return d
}

// unplaced lists the large constants of a node that is no layer of the placement, with the reason.
func (p *placement) unplaced(s site, sel *selection) []Decision {
	if s.g == p.g && slices.ContainsFunc(p.layers, func(l placedLayer) bool { return l.node == s.n }) {
		return nil
	}
	list, _ := decide(s, sel)
	var out []Decision
	for _, w := range list {
		if !s.g.IsParam(w) || s.g == p.g && slices.Contains(p.consts[s.n], slices.Index(s.n.In, w)) {
			continue
		}
		why, _ := sel.keeps(s)
		_, dynamic := dynamicLayers[s.n.Op.Kind()]
		switch {
		case why != "":
		case s.g != p.g:
			why = "it is in a subgraph; ranges are calibrated for the main graph"
		case kindOf(s.n) != inFloat:
			why = p.whyFloat(s.n, "")
		case dynamic:
			why = fmt.Sprintf("ONNX Runtime has no %s with constant activation scales; method dynamic has an integer form", s.n.Op.Kind())
		default:
			why = fmt.Sprintf("ONNX Runtime has no integer kernel for %s", s.n.Op.Kind())
		}
		size := w.Data.DType().ByteLen(w.Data.Shape().Len())
		out = append(out, Decision{Layer: s.layer, Op: s.n.Op.Kind(), Param: w.Name, Why: why, Stored: w.Data.DType().String(), Shape: w.Data.Shape(), Before: size, After: size})
	}
	return out
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
		if r := p.place.roles[n]; r == product || r == pointy || r == tabled || r == lookup {
			d := bytes[n.Name]
			out = append(out, Unit{n.Name, n.Op.Kind(), d.Before, d.After})
		}
	}
	return out
}

func runStatic(ctx context.Context, m *model.Model, p *Plan, samples Samples) error {
	if _, err := Repair(ctx, m, p, samples); err != nil {
		return err
	}
	c, err := Calibrate(ctx, m, p, samples)
	if err != nil {
		return err
	}
	if p.Recipe.Repairs.Bias {
		if err := CorrectBias(ctx, m, p, c, samples, false); err != nil {
			return err
		}
	}
	return Apply(ctx, m, p, c)
}

// Calibration is what values of a model were on calibration samples. It serves every recipe that quantizes those values or
// fewer, whatever its calibrator: the samples are run once.
type Calibration struct {
	Values  map[string]*calibrate.Stats
	Samples int64
	// Correction is what is done to the outputs of layers, by their names, see [CorrectBias].
	Correction map[string]Correction
}

// Calibrates reports whether the plan's scales follow from statistics: it is then carried out by [Calibrate] and [Apply].
func (p *Plan) Calibrates() bool { return p.place != nil }

// Calibrate runs m on samples and returns the statistics that the plan, or one that leaves more layers in float, needs. m is
// not changed.
func Calibrate(ctx context.Context, m *model.Model, p *Plan, samples Samples) (*Calibration, error) {
	if p.place == nil {
		return nil, fmt.Errorf("method %s does not calibrate", p.Recipe.Method)
	}
	seen, stats, err := calibrate.Run(ctx, m.Graph, p.place.values, samples)
	if err != nil {
		return nil, err
	}
	return &Calibration{Values: stats, Samples: seen}, nil
}

// Apply carries out a plan on the graph of m with statistics collected before; m's graph is the one that the plan was made for.
func Apply(ctx context.Context, m *model.Model, p *Plan, c *Calibration) error {
	if p.place == nil {
		return fmt.Errorf("method %s does not calibrate", p.Recipe.Method)
	}
	if err := p.checkRanges(); err != nil {
		return err
	}
	params, err := activationParams(p.place, c.Values, &p.Recipe)
	if err != nil {
		return err
	}
	return writeStatic(ctx, m, p, params, c.Correction)
}

// writeStatic writes the QDQ form, or what the recipe asks for, with given parameters of activations.
func writeStatic(ctx context.Context, m *model.Model, p *Plan, params map[*graph.Value]activation, corrections map[string]Correction) error {
	g := m.Graph
	p.placed = p.place.lines(&p.Recipe, params) // before the graph is another
	values, nodes := allNames(g)
	w := &staticRun{
		rewriter: newRewriter(g, values, nodes), place: p.place, recipe: p.Recipe, params: params, corrections: corrections, dq: map[*graph.Value]*graph.Value{},
		pairs: map[*graph.Value][2]*graph.Value{}, sums: map[*graph.Value][]float32{}, rounded: Rounded{},
	}
	p.Rounded = w.rounded
	if err := w.rewrite(ctx); err != nil {
		return err
	}
	if p.Recipe.Format == "qoperator" {
		if err := g.Infer(); err != nil {
			return err
		}
		if err := pass.WriteQOperators(g); err != nil {
			return err
		}
	}
	return g.Verify()
}

// activationParams gives every quantized value its scale and zero point; values that share a root share one range, which is
// found from those that are not derived from others.
func activationParams(pl *placement, stats map[string]*calibrate.Stats, r *Recipe) (map[*graph.Value]activation, error) {
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
	out, form := map[*graph.Value]activation{}, r.activations()
	for root, g := range groups {
		if len(g.seen) > 0 {
			lo, hi := r.calibratorOf(root).Joint(g.seen)
			g.lo, g.hi = min(g.lo, lo), max(g.hi, hi)
		}
	}
	for _, v := range pl.values {
		if g := groups[pl.find(v)]; g != nil {
			out[v] = form.of(g.lo, g.hi)
		}
	}
	return out, nil
}

// carriedFrom reports whether v is only a rearrangement of another quantized value.
func carriedFrom(pl *placement, v *graph.Value) bool {
	return v.Node != nil && pl.roles[v.Node] == carrying
}
