package quantize

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"os"
	"time"

	"github.com/neurotrain/neuroquant/internal/equalize"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/internal/solve"
	"github.com/neurotrain/neuroquant/tensor"
)

// Times are how long the parts of methods gptq and awq take, estimated.
type Times struct {
	Forward time.Duration // stages on all samples
	Inputs  time.Duration // what is kept of the inputs of layers: Hessians, or sizes and a sample
	Solve   time.Duration // factors and solved layers, or searches
	Keep    time.Duration // finished layers on the disk
}

// Total is all of it.
func (t *Times) Total() time.Duration { return t.Forward + t.Inputs + t.Solve + t.Keep }

// CostsFor follows the work of a plan of methods gptq and awq on samples whose inputs have the given shapes, from types alone.
func CostsFor(m *model.Model, p *Plan, inputs []tensor.Shape, samples int) (*Costs, error) {
	layers, _, err := fewBits(m, p.Recipe)
	if err != nil {
		return nil, err
	}
	return costsOf(m.Graph, p, layers, inputs, samples)
}

// Limits of the work of a probe. What is larger is measured so large, and scaled by the number of its operations.
const (
	probeRows   = 1024 // of a layer that is solved
	probeWidth  = 2048 // of its inputs
	probeFactor = 2048 // of a Hessian that is factorized
	probeSum    = 4096 // of a Hessian that is summed
	probeTokens = 512
	probeSteps  = 3 // exponents of AWQ
	probeTries  = 5
	probeShort  = 200 * time.Millisecond // of all tries of a piece of work
)

// Probe estimates how long a plan of methods gptq and awq takes on samples whose inputs have the given shapes: it runs each kind of stage on
// a few samples of arbitrary tokens and solves pieces of the layers. dir is where finished layers will be kept; empty: in memory.
func Probe(ctx context.Context, m *model.Model, p *Plan, inputs []tensor.Shape, samples int, dir string) (*Times, error) {
	layers, _, err := fewBits(m, p.Recipe)
	if err != nil {
		return nil, err
	}
	recipe := p.Recipe
	recipe.Memory = 0
	g := m.Graph.Clone()
	w, err := newWalk(ctx, &Plan{Recipe: recipe}, g, sameLayers(g, layers), arbitrary(g, inputs, 2))
	if err != nil {
		return nil, err
	}
	defer w.close()
	r := &prober{walk: w, p: p, samples: samples, dir: dir, groups: equalize.Find(g), seen: map[string]time.Duration{}}
	r.awq.uses = g.Uses()
	last := lastStage(w.stages, func(*graph.Node) bool { return true })
	for i := range last + 1 {
		if err := r.stage(ctx, i); err != nil {
			return nil, err
		}
	}
	if p.Recipe.WeightOnly.Asymmetric && p.Recipe.Method == "gptq" {
		r.Forward *= 2
	}
	return &r.Times, nil
}

// arbitrary are samples of tokens that the first table of the graph has.
func arbitrary(g *graph.Graph, inputs []tensor.Shape, n int) Samples {
	most := 2
	for _, x := range g.Nodes {
		if x.Op.Kind() == "Gather" && g.IsParam(x.In[0]) && len(x.In[0].Data.Shape()) > 0 {
			most = max(x.In[0].Data.Shape()[0], 1)
			break
		}
	}
	return Samples{Len: n, All: func(context.Context) iter.Seq2[Call, error] {
		return func(yield func(Call, error) bool) {
			for sample := range n {
				r := rand.New(rand.NewPCG(1, uint64(sample))) //nolint:gosec // any tokens
				var in []*tensor.Tensor
				for i, v := range g.Inputs {
					wide := make([]float64, inputs[i].Len())
					for k := range wide {
						if v.Type.DType.IsFloat() {
							wide[k] = r.NormFloat64()
						} else {
							wide[k] = float64(r.IntN(most))
						}
					}
					t, err := tensor.FromFloat64s(v.Type.DType, inputs[i], wide)
					if err != nil {
						yield(Call{}, fmt.Errorf("input %q: %w", v.Name, err))
						return
					}
					in = append(in, t)
				}
				if !yield(Call{In: in, Samples: 1}, nil) {
					return
				}
			}
		}
	}}
}

// prober measures pieces of the work.
type prober struct {
	*walk
	Times
	p       *Plan
	samples int
	dir     string
	groups  *equalize.Groups
	awq     awqRun
	seen    map[string]time.Duration
	lacks   bool // a stage was not run, so that later ones have no inputs
	perOp   float64
}

// once measures a piece of work that is named by what it takes, the first time that it is asked for. Short ones are measured several times, of
// which the least counts: other programs only make them longer. A call that returns errWarm has prepared the work.
func (r *prober) once(name string, f func() error) (time.Duration, error) {
	if t, ok := r.seen[name]; ok {
		return t, nil
	}
	least := time.Duration(math.MaxInt64)
	var spent time.Duration
	for range probeTries {
		start := time.Now()
		err := f()
		if errors.Is(err, errWarm) {
			continue
		}
		if err != nil {
			return 0, err
		}
		t := time.Since(start)
		least, spent = min(least, t), spent+t
		if spent > probeShort {
			break
		}
	}
	r.seen[name] = least
	return least, nil
}

// errWarm is what a piece of work returns that has only prepared itself.
var errWarm = errors.New("prepared")

// stage adds the time of a stage and its layers.
func (r *prober) stage(ctx context.Context, i int) error {
	cost := &r.costs.stages[i]
	kind := fmt.Sprint("stage", cost.weights, cost.values, cost.products, len(r.stages[i].Graph.Nodes))
	forward, ok := r.seen[kind]
	switch {
	case ok:
		r.lacks = true
	case r.lacks:
		forward = time.Duration(r.perOp * cost.products)
	default:
		var err error
		if forward, err = r.forward(ctx, i); err != nil {
			return err
		}
		r.seen[kind] = forward
		if cost.products > 0 {
			r.perOp = float64(forward) / cost.products
		}
	}
	r.Forward += forward
	for _, set := range setsOf(&r.stages[i], r.layers) {
		measure := r.gptqSet
		if r.p.Recipe.Method == "awq" {
			measure = r.awqSet
		}
		if err := measure(ctx, set); err != nil {
			return err
		}
		for _, l := range set.layers {
			if err := r.keep(l); err != nil {
				return err
			}
		}
	}
	return nil
}

// forward is the time of a stage on all samples: the second tells what each after the first takes.
func (r *prober) forward(ctx context.Context, i int) (time.Duration, error) {
	start := time.Now()
	run, err := r.open(&r.stages[i])
	if run == nil || err != nil {
		return 0, err
	}
	defer run.close()
	if err := run.run(ctx, 0); err != nil {
		return 0, err
	}
	first := time.Since(start)
	each, err := r.once(fmt.Sprint("sample of stage ", i), func() error {
		for _, v := range r.stages[i].Out {
			r.cache.DropSample(v.Name, 1)
		}
		return run.run(ctx, 1)
	})
	return first + time.Duration(r.samples-1)*each, err
}

// numbers are arbitrary values.
func numbers(n int) []float32 {
	r := rand.New(rand.NewPCG(1, uint64(n))) //nolint:gosec // any values
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(r.NormFloat64())
	}
	return out
}

// ratio scales a time by what is measured and what is wanted, so many factors of each.
func ratio(t time.Duration, want, measured, power int) time.Duration {
	f := 1.0
	for range power {
		f *= float64(want) / float64(max(measured, 1))
	}
	return time.Duration(float64(t) * f)
}

// gptqSet adds the time of the layers that share an input.
func (r *prober) gptqSet(ctx context.Context, set shared) error {
	pool, n := kernel.Shared(), set.layers[0].cols
	drifts := r.p.Recipe.WeightOnly.Asymmetric
	tokens := r.costs.tokens
	sum, rows := min(n, probeSum), min(tokens, probeTokens)
	var x []float32
	var h *solve.Hessian
	var drift *solve.Drift
	add, err := r.once(fmt.Sprint("add", sum), func() error {
		if x == nil {
			x, h, drift = numbers(rows*sum), solve.NewHessian(sum), solve.NewDrift(sum)
			return errWarm
		}
		h.Add(pool, x)
		if drifts {
			drift.Add(pool, x, x)
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.Inputs += ratio(ratio(add, n, sum, 2), tokens*r.samples, rows, 1)
	of := min(n, probeFactor)
	factor, err := r.once(fmt.Sprint("factor", of), func() error {
		_, err := r.factor(of)
		return err
	})
	if err != nil {
		return err
	}
	r.Solve += ratio(factor, n, of, 3)
	for _, l := range set.layers {
		t, err := r.solved(ctx, l)
		if err != nil {
			return err
		}
		r.Solve += t
	}
	return nil
}

// factor factorizes the Hessian of arbitrary inputs.
func (r *prober) factor(n int) (*solve.Factor, error) {
	pool, o := kernel.Shared(), r.p.Recipe.WeightOnly
	h, x := solve.NewHessian(n), numbers(64*n)
	h.Add(pool, x)
	var drift *solve.Drift
	if o.Asymmetric {
		drift = solve.NewDrift(n)
		drift.Add(pool, x, x)
	}
	return solve.Factorize(pool, h, drift, o.solving())
}

// solved is the time of solving a layer. Fitting and rounding go with the columns, what is made up for with their square: of a layer that is
// wider than what is measured two widths tell both.
func (r *prober) solved(ctx context.Context, l *weightLayer) (time.Duration, error) {
	rows := min(l.rows, probeRows)
	piece := func(cols int) (time.Duration, error) {
		name := fmt.Sprint("solve", rows, "x", cols)
		if _, ok := r.seen[name]; !ok {
			f, err := r.factor(cols)
			if err != nil {
				return 0, err
			}
			w := numbers(rows * cols)
			if _, err := r.once(name, func() error {
				_, err := solve.GPTQ(ctx, kernel.Shared(), rows, cols, w, f)
				return err
			}); err != nil {
				return 0, err
			}
		}
		return r.seen[name], nil
	}
	load, err := r.once(fmt.Sprint("load", l.rows, "x", l.cols), func() error {
		_, err := l.weights()
		return err
	})
	if err != nil {
		return 0, err
	}
	width := min(l.cols, probeWidth)
	whole, err := piece(width)
	if err != nil {
		return 0, err
	}
	if width < l.cols {
		half, err := piece(width / 2)
		if err != nil {
			return 0, err
		}
		// t(n) = a*n + b*n^2
		n := float64(width)
		b := max(2*float64(whole)-4*float64(half), 0) / (n * n)
		a := float64(whole)/n - b*n
		whole = time.Duration(a*float64(l.cols) + b*float64(l.cols)*float64(l.cols))
	}
	return load + ratio(whole, l.rows, rows, 1), nil
}

// awqSet adds the time of the layers that share an input: their search, then each rounded, clamped or not.
func (r *prober) awqSet(ctx context.Context, set shared) error {
	n, tokens := set.layers[0].cols, r.costs.tokens*r.samples
	width, sampled := min(n, probeWidth), min(tokens, sampledTokens)
	inputs := func() *solve.Inputs {
		in := solve.NewInputs(width, sampledTokens)
		in.Add(numbers(sampled * width))
		return in
	}
	var in *solve.Inputs
	var x []float32
	add, err := r.once(fmt.Sprint("inputs", width), func() error {
		if x == nil {
			x = numbers(sampled * width)
			return errWarm
		}
		in = solve.NewInputs(width, sampledTokens)
		in.Add(x)
		return nil
	})
	if err != nil {
		return err
	}
	r.Inputs += ratio(ratio(add, n, width, 1), tokens, sampled, 1)
	_, scales := r.groups.Tied(set.x, len(set.x.Type.Dims)-1)
	o, pool := r.p.Recipe.WeightOnly.rounding(), kernel.Shared()
	for _, l := range set.layers {
		rows := min(l.rows, probeRows/2)
		clips := r.awq.clips(l)
		piece := func(what string, f func(m solve.Matrix) error) (time.Duration, error) {
			name := fmt.Sprint(what, rows, "x", width)
			if _, ok := r.seen[name]; !ok {
				m := solve.Matrix{Rows: rows, W: numbers(rows * width)}
				if in == nil {
					in = inputs()
				}
				if _, err := r.once(name, func() error { return f(m) }); err != nil {
					return 0, err
				}
			}
			return ratio(ratio(r.seen[name], l.rows, rows, 1), n, width, 1), nil
		}
		search, err := piece("search", func(m solve.Matrix) error {
			o := o
			o.Steps = probeSteps
			_, err := solve.AWQScales(ctx, pool, []solve.Matrix{m}, in, o)
			return err
		})
		if err != nil {
			return err
		}
		load, err := r.once(fmt.Sprint("load", l.rows, "x", l.cols), func() error {
			_, err := l.weights()
			return err
		})
		if err != nil {
			return err
		}
		r.Solve += 2 * load // for the search, and to be rounded
		steps := 20         // of AWQScales
		if !scales {
			steps = 1
		}
		r.Solve += ratio(search, steps, probeSteps, 1)
		round, err := piece("round", func(m solve.Matrix) error {
			got, err := solve.Round(pool, m, width, nil, o)
			if err == nil {
				solve.OutputErrors(pool, m, got, o.Group, in)
			}
			return err
		})
		if err != nil {
			return err
		}
		r.Solve += round
		if !clips {
			continue
		}
		clip, err := piece("clip", func(m solve.Matrix) error {
			_, err := solve.AWQClip(ctx, pool, m, in, o)
			return err
		})
		if err != nil {
			return err
		}
		r.Solve += clip + round
	}
	return nil
}

// keep adds the time until a finished layer is on the disk.
func (r *prober) keep(l *weightLayer) error {
	if r.dir == "" {
		return nil
	}
	n := bytesOf(r.p.Recipe.WeightOnly.form(l))
	t, err := r.once(fmt.Sprint("keep", n), func() (err error) {
		f, err := os.CreateTemp(r.dir, ".neuroquant-probe-")
		if err != nil {
			return err
		}
		defer func() {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}()
		if _, err := f.Write(make([]byte, n)); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		if _, err := f.Write(make([]byte, 512)); err != nil { // the line of the journal
			return err
		}
		return f.Sync()
	})
	r.Keep += t
	return err
}

var _ packed.Formed = (*unsolved)(nil)
