package quantize

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/neurotrain/neuroquant/internal/equalize"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/solve"
	"github.com/neurotrain/neuroquant/tensor"
)

// awq scales the inputs of layers, where what makes them can take it, so that the weights which matter most are rounded best, and clamps
// weights where that loses less (see package solve). The network's own inputs of each layer count, not those of the quantized one.
var awq = Method{
	Name:      "awq",
	Title:     "2- to 8-bit weights scaled by what they are multiplied with; calibrated with text",
	Calibrate: true,
	plan:      planWeightOnly,
	run:       runAWQ,
}

// sampledTokens is how many tokens the search looks at.
const sampledTokens = 1024

// awqRun carries out the method: the walk goes over a copy of the network as it was, while m becomes what is stored.
type awqRun struct {
	m       *model.Model
	p       *Plan
	layers  map[string]*weightLayer // of m, by node
	groups  *equalize.Groups
	uses    map[*graph.Value][]*graph.Node
	factors map[int]float64
	pending []awqSet // whose outputs may still be scaled
	next    []awqSet
	done    map[string]tensor.Source // the weights of finished layers, by node
}

// awqSet are layers that share their inputs, and those, divided by the scales.
type awqSet struct {
	in        *solve.Inputs
	tokens    int // that they saw
	layers    []*weightLayer
	scales    []float32 // of the inputs; nil: 1
	roundings []float64 // what plain rounding loses, by layer
}

func runAWQ(ctx context.Context, m *model.Model, p *Plan, samples Samples) error {
	layers, _, err := fewBits(m, p.Recipe)
	if err != nil {
		return err
	}
	a := &awqRun{m: m, p: p, layers: map[string]*weightLayer{}, groups: equalize.Find(m.Graph), uses: m.Graph.Uses(), factors: map[int]float64{}, done: map[string]tensor.Source{}}
	for i := range layers {
		a.layers[layers[i].node.Name] = &layers[i]
	}
	whole := m.Graph.Clone()
	w, err := newWalk(ctx, p, whole, sameLayers(whole, layers), samples)
	if err != nil {
		return err
	}
	defer w.close()
	err = w.run(ctx, func(l *weightLayer) bool { return p.finished(a.layers[l.node.Name]) }, func(ctx context.Context, x *graph.Value, set []*weightLayer) error {
		return a.search(ctx, w, x, set)
	}, func() error { return a.turn(ctx) })
	if err != nil {
		return err
	}
	if err := a.turn(ctx); err != nil { // the last sets
		return err
	}
	err = p.changing(m.Graph, layers, func() error {
		a.groups.Scale(a.factors)
		return nil
	})
	if err != nil {
		return err
	}
	for i := range layers {
		layers[i].replace(a.done[layers[i].node.Name])
	}
	return nil
}

// search finds the scales of the input of a set of layers.
func (a *awqRun) search(ctx context.Context, w *walk, x *graph.Value, set []*weightLayer) error {
	s := awqSet{}
	left := false
	for _, l := range set {
		l = a.layers[l.node.Name]
		s.layers, left = append(s.layers, l), left || !a.p.finished(l)
	}
	if left {
		s.in = solve.NewInputs(set[0].cols, sampledTokens)
		err := w.each(ctx, x, func(_ int, rows []float32) error {
			s.in.Add(rows)
			s.tokens += len(rows) / set[0].cols
			return nil
		})
		if err != nil {
			return err
		}
	}
	tied, ok := a.groups.Tied(s.layers[0].x, len(x.Type.Dims)-1)
	var found *scaleWork
	if a.p.Work != nil {
		found = a.p.Work.scales[x.Name]
	}
	if found == nil {
		var err error
		if found, err = a.find(ctx, &s, ok); err != nil {
			return err
		}
		found.Value = x.Name
		if a.p.Work != nil {
			if err := a.p.Work.putScales(found); err != nil {
				return err
			}
		}
	}
	s.roundings = found.Roundings
	switch {
	case found.Why != "":
		a.say(s.layers, found.Why)
	default:
		s.scales = slices.Clone(found.Scales)
		a.scale(tied, s.scales)
		if s.in != nil {
			s.in.Scale(s.scales)
		}
	}
	a.next = append(a.next, s)
	return nil
}

// find searches the scales of the input of a set of layers, which what makes the input can take or not.
func (a *awqRun) find(ctx context.Context, s *awqSet, scalable bool) (*scaleWork, error) {
	var weights []solve.Matrix
	for _, l := range s.layers {
		w, err := l.weights()
		if err != nil {
			return nil, err
		}
		weights = append(weights, solve.Matrix{Rows: l.rows, W: w})
	}
	o := a.p.Recipe.WeightOnly.rounding()
	if !scalable {
		o.Steps = 1 // what no scaling costs, alone
	}
	found, err := solve.AWQScales(ctx, kernel.Shared(), weights, s.in, o)
	if err != nil {
		return nil, fmt.Errorf("inputs of layer %q: %w", s.layers[0].name(), err)
	}
	switch {
	case !scalable:
		return &scaleWork{Roundings: found.Roundings, Why: "inputs not scaled: what makes them cannot take it"}, nil
	case found.S == nil:
		return &scaleWork{Roundings: found.Roundings, Why: fmt.Sprintf("inputs not scaled: no scaling loses %g %% less", 100*solve.LeastGain)}, nil
	}
	return &scaleWork{Roundings: found.Roundings, Scales: found.S}, nil
}

func (a *awqRun) say(layers []*weightLayer, why string) {
	for _, l := range layers {
		a.p.Decisions[l.decision].Why += "; " + why
	}
}

// scale notes the factors of the channels. Those that share one get the geometric mean of what each would have.
func (a *awqRun) scale(tied []int, s []float32) {
	sums, counts := map[int]float64{}, map[int]int{}
	for i, n := range tied {
		sums[n] += math.Log(float64(s[i]))
		counts[n]++
	}
	for n, sum := range sums {
		a.factors[n] = math.Exp(sum / float64(counts[n]))
	}
	for i, n := range tied {
		s[i] = float32(a.factors[n])
	}
}

// turn rounds the layers of the stage before: all that scales their outputs is known by now.
func (a *awqRun) turn(ctx context.Context) error {
	ready := a.pending
	a.pending, a.next = a.next, nil
	if len(ready) == 0 {
		return nil
	}
	for _, s := range ready {
		for i, l := range s.layers {
			if done := a.p.restored(l); done != nil {
				a.done[l.node.Name] = done
				continue
			}
			if err := a.round(ctx, &s, l, s.roundings[i]); err != nil {
				return fmt.Errorf("layer %q: %w", l.name(), err)
			}
		}
	}
	return nil
}

// round rounds a layer, clamped where that loses less.
func (a *awqRun) round(ctx context.Context, s *awqSet, l *weightLayer, rounding float64) error {
	o := a.p.Recipe.WeightOnly.rounding()
	w, err := l.weights()
	if err != nil {
		return err
	}
	outputs := a.outputs(l)
	for r := range l.rows {
		row := w[r*l.cols : (r+1)*l.cols]
		if s.scales != nil {
			kernel.Mul(row, row, s.scales)
		}
		if outputs != nil {
			kernel.Scale(row, row, float32(1/outputs[r]))
		}
	}
	m := solve.Matrix{Rows: l.rows, W: w}
	// What the output loses, in the sizes that it has without scales.
	lost := func(r *solve.Result) float64 {
		sum := 0.0
		for i, e := range solve.OutputErrors(kernel.Shared(), m, r, o.Group, s.in) {
			if outputs != nil {
				e *= outputs[i] * outputs[i]
			}
			sum += e
		}
		return sum
	}
	best, err := solve.Round(kernel.Shared(), m, l.cols, nil, o)
	if err != nil {
		return err
	}
	best.Rounding, best.Error = rounding, lost(best)
	if a.clips(l) {
		limits, err := solve.AWQClip(ctx, kernel.Shared(), m, s.in, o)
		if err != nil {
			return err
		}
		clipped, err := solve.Round(kernel.Shared(), m, l.cols, limits, o)
		if err != nil {
			return err
		}
		clipped.Rounding, clipped.Error = rounding, lost(clipped)
		if clipped.Error < best.Error {
			best = clipped
		}
	}
	if best.Error > rounding {
		a.say([]*weightLayer{l}, "loses more than plain rounding, for the sake of layers that share its inputs or read its output")
	}
	a.done[l.node.Name], err = a.p.keep(l, best, s.tokens)
	return err
}

// outputs are the factors that the outputs of a layer are divided by; nil: 1.
func (a *awqRun) outputs(l *weightLayer) []float64 {
	y := l.node.Out[0]
	tied, ok := a.groups.Tied(y, len(y.Type.Dims)-1)
	if !ok {
		return nil
	}
	out := make([]float64, len(tied))
	for i, n := range tied {
		out[i] = 1
		if f, ok := a.factors[n]; ok {
			out[i] = f
		}
	}
	return out
}

// clips reports whether the weights of a layer may be clamped. Scores of attention are products of two layers, whose errors no layer's
// own output shows, so queries and keys are not.
func (a *awqRun) clips(l *weightLayer) bool {
	queue := slices.Clone(l.node.Out)
	for len(queue) > 0 {
		v := queue[0]
		queue = queue[1:]
		for _, n := range a.uses[v] {
			switch n.Op.Kind() {
			case "Add", "Reshape", "RotaryEmbedding", "RMSNormalization", "LayerNormalization", "Transpose", "Mul":
				queue = append(queue, n.Out...)
			case "Attention":
				if v == n.In[0] || v == n.In[1] {
					return false
				}
			}
		}
	}
	return true
}
