package quantize

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/solve"
	"github.com/neurotrain/neuroquant/tensor"
)

// gptq stores weights in few bits, chosen so that the outputs of each layer change least on calibration samples, with what earlier layers
// lost already made up for where it can be (see package solve).
var gptq = Method{
	Name:      "gptq",
	Title:     "2- to 8-bit weights whose errors make up for one another; calibrated with text",
	Calibrate: true,
	plan:      planWeightOnly,
	run:       runGPTQ,
}

// LayerErrors say what a layer's output lost, as the squared error per token: to plain rounding, to the method, and what was stored. All are 0
// where the layer saw too few tokens to tell.
type LayerErrors struct {
	Layer    string  `json:"layer"`
	Rounding float64 `json:"rounding"`
	Method   float64 `json:"method"`
	Stored   float64 `json:"stored"`
	Tokens   int     `json:"tokens"` // that the layer computed of the calibration samples: of an expert, those that were sent to it
}

// WeightSettings are the settings of methods that quantize weights alone.
type WeightSettings struct {
	Bits, Group int // Group 0: whole rows
	Symmetric   bool
	Order       solve.Order
	Damp, Norm  float64
	Asymmetric  bool         // calibrate with the inputs of the original network as well (GPTAQ)
	ScaleType   tensor.DType // what scales are stored as
	LeastZero   int          // the least zero point that the file can hold
	// Refuse says why a matrix of a scheme cannot be stored, or nothing; nil: all can.
	Refuse func(s tensor.Scheme, rows, cols int) string
}

func (o *WeightSettings) scheme() tensor.Scheme {
	return tensor.Scheme{Code: "int", Bits: o.Bits, Group: o.Group, Symmetric: o.Symmetric, Reordered: o.Order == solve.ActOrder && o.Group > 0}
}

// group is how many of so many columns share a scale.
func (o *WeightSettings) group(cols int) int {
	if o.Group == 0 || o.Group > cols {
		return max(cols, 1)
	}
	return o.Group
}

// bytes is what a layer takes in this scheme.
func (o *WeightSettings) bytes(l *weightLayer) int {
	group := o.group(l.cols)
	groups := (l.cols + group - 1) / group
	n := l.rows*((l.cols*o.Bits+7)/8) + o.ScaleType.ByteLen(l.rows*groups)
	if !o.Symmetric {
		n += (l.rows*groups*o.Bits + 7) / 8
	}
	if o.Order == solve.ActOrder && groups > 1 {
		n += 4 * l.cols
	}
	return n
}

func runGPTQ(ctx context.Context, m *model.Model, p *Plan, samples Samples) (err error) {
	layers, _, err := fewBits(m, p.Recipe)
	if err != nil {
		return err
	}
	w, err := newWalk(ctx, p, m.Graph, layers, samples)
	if err != nil {
		return err
	}
	defer w.close()
	if p.Recipe.WeightOnly.Asymmetric {
		whole := m.Graph.Clone()
		if w.twin, err = newWalk(ctx, p, whole, sameLayers(whole, layers), samples); err != nil {
			return err
		}
		defer w.twin.close()
	}
	return w.run(ctx, p.finished, func(ctx context.Context, x *graph.Value, set []*weightLayer) error {
		var left []*weightLayer
		for _, l := range set {
			if s := p.restored(l); s != nil {
				l.replace(s)
				w.most = max(w.most, p.Errors[len(p.Errors)-1].Tokens) // as when it was solved
				continue
			}
			left = append(left, l)
		}
		if len(left) == 0 {
			return nil
		}
		return w.solve(ctx, p, x, left)
	}, nil)
}

// solve quantizes layers that share their input x.
func (w *walk) solve(ctx context.Context, p *Plan, x *graph.Value, set []*weightLayer) error {
	o, pool := p.Recipe.WeightOnly, kernel.Shared()
	if n := set[0].cols; 8*n*n >= collectBytes { // what earlier layers left would stay until large matrices lie beside it
		kernel.DropScratch()
		debug.FreeOSMemory()
	}
	h := solve.NewHessian(set[0].cols)
	var drift *solve.Drift
	if w.twin != nil {
		drift = solve.NewDrift(set[0].cols)
	}
	tokens := 0
	err := w.each(ctx, x, func(sample int, rows []float32) error {
		h.Add(pool, rows)
		tokens += len(rows) / set[0].cols
		if drift == nil {
			return nil
		}
		original, err := w.twin.rows(x.Name, sample)
		if err == nil {
			drift.Add(pool, original, rows)
		}
		return err
	})
	if err != nil {
		return err
	}
	w.most = max(w.most, tokens)
	var factor *solve.Factor
	if tokens >= LeastTokens(w.most) {
		if factor, err = solve.Factorize(pool, h, drift, o.solving()); err != nil {
			return fmt.Errorf("inputs of layer %q: %w", set[0].name(), err)
		}
	}
	h, drift = nil, nil // which take more than all that follows
	for _, l := range set {
		weights, err := l.weights()
		if err != nil {
			return err
		}
		var r *solve.Result
		if factor != nil {
			r, err = solve.GPTQ(ctx, pool, l.rows, l.cols, weights, factor)
		} else {
			p.Decisions[l.decision].Why += fmt.Sprintf("; plain rounding: the layer saw %d of %d calibration tokens, want at least %d", tokens, w.most, LeastTokens(w.most))
			r, err = o.rounded(l, weights)
		}
		if err != nil {
			return fmt.Errorf("layer %q: %w", l.name(), err)
		}
		s, err := p.keep(l, r, tokens)
		if err != nil {
			return err
		}
		l.replace(s)
	}
	return nil
}

// LeastTokens is how many tokens of those that other layers see an expert has to see for its errors to be told: as many as GPTQModel wants, a
// two-hundredth, and 16.
func LeastTokens(most int) int { return min(max((most+199)/200, 16), max(most, 1)) }

// rounded rounds a layer to nearest, in the form of this method's codes.
func (o *WeightSettings) rounded(l *weightLayer, weights []float32) (*solve.Result, error) {
	r, err := solve.Round(kernel.Shared(), solve.Matrix{Rows: l.rows, W: weights}, l.cols, nil, o.rounding())
	if err == nil && o.Order == solve.ActOrder && r.Groups > 1 { // which has an index for all layers
		r.Index = make([]int32, l.cols)
		for c := range r.Index {
			r.Index[c] = int32(c / o.Group)
		}
	}
	return r, err
}

// solving are the settings of the solver.
func (o *WeightSettings) solving() solve.GPTQOptions {
	return solve.GPTQOptions{
		Bits: o.Bits, Group: o.Group, Symmetric: o.Symmetric, Order: o.Order, Damp: o.Damp, DampStep: 0.01,
		Norm: o.Norm, ScaleType: o.ScaleType, LeastZero: o.LeastZero, Alpha: 0.25,
	}
}

// sameLayers returns the layers of a copy of their graph.
func sameLayers(g *graph.Graph, layers []weightLayer) []weightLayer {
	byName := map[string]*graph.Node{}
	for _, n := range g.Nodes {
		byName[n.Name] = n
	}
	out := make([]weightLayer, len(layers))
	for i, l := range layers {
		n := byName[l.node.Name]
		out[i] = l
		out[i].node, out[i].x, out[i].w = n, n.In[0], n.In[1]
	}
	return out
}
