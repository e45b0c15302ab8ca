package search

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/neurotrain/neuroquant/internal/analyze"
	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/internal/quantize"
	"github.com/neurotrain/neuroquant/tensor"
)

// Model is a model that a search quantizes again and again: calibrated once, its own outputs computed once.
type Model struct {
	model       *model.Model
	recipe      quantize.Recipe
	calibration *quantize.Calibration
	reference   *analyze.Reference
	threads     int

	units  []Unit
	ranges []quantize.Range
}

// NewModel takes a model in portable form, which is not changed, what is the same in all quantizations of it, the statistics of
// its values and its outputs on the samples that quantizations are measured on.
func NewModel(ctx context.Context, m *model.Model, r quantize.Recipe, c *quantize.Calibration, ref *analyze.Reference, threads int) (*Model, error) {
	s := &Model{model: m, recipe: r, calibration: c, reference: ref, threads: threads}
	w, p, err := s.plan(Choice{Calibrator: r.Calibrator.Method})
	if err != nil {
		return nil, err
	}
	s.ranges = p.Ranges()
	count, err := operations(ctx, w.Graph, ref)
	if err != nil {
		return nil, err
	}
	for _, u := range p.Units() {
		s.units = append(s.units, Unit{u, count[u.Layer]})
	}
	return s, nil
}

// Units lists what can be left in float.
func (s *Model) Units() []Unit { return s.units }

// Ranges lists the ranges that calibrators find.
func (s *Model) Ranges() []quantize.Range { return s.ranges }

// plan returns a copy of the model and the plan of a choice for it.
func (s *Model) plan(c Choice) (*model.Model, *quantize.Plan, error) {
	m := s.model.With(s.model.Graph.Clone())
	m.Path, m.Files = "", nil
	r := s.recipe
	r.Calibrator.Method = c.Calibrator
	r.Layers = maps.Clone(s.recipe.Layers)
	if r.Layers == nil {
		r.Layers = map[string]quantize.Precision{}
	}
	for _, l := range c.Float {
		r.Layers[l] = quantize.InFloat
	}
	p, err := quantize.NewPlan(m, r)
	if err != nil {
		return nil, nil, err
	}
	if len(c.Ranges) > 0 { // of those that layers in float have left
		p.Recipe.Ranges = map[string]string{}
		for _, x := range p.Ranges() {
			if method := c.Ranges[x.Value]; method != "" {
				p.Recipe.Ranges[x.Value] = method
			}
		}
	}
	return m, p, nil
}

// Build quantizes by a choice.
func (s *Model) Build(ctx context.Context, c Choice) (*model.Model, *quantize.Plan, error) {
	m, p, err := s.plan(c)
	if err != nil {
		return nil, nil, err
	}
	if err := quantize.Apply(ctx, m, p, s.calibration); err != nil {
		return nil, nil, err
	}
	return m, p, nil
}

// session prepares a quantization for this machine.
func (s *Model) session(ctx context.Context, c Choice) (*model.Model, *exec.Session, error) {
	m, _, err := s.Build(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	g, err := pass.Lower(m.Graph)
	if err != nil {
		return nil, nil, err
	}
	session, err := exec.NewSession(g, exec.Options{Threads: s.threads})
	return m, session, err
}

// Measure quantizes by a choice and compares with the original.
func (s *Model) Measure(ctx context.Context, c Choice, samples int) (Measure, error) {
	quiet := progress.With(ctx, Silent)
	m, session, err := s.session(quiet, c)
	if err != nil {
		return Measure{}, err
	}
	defer session.Close()
	a, err := s.reference.Compare(quiet, session, samples)
	if err != nil {
		return Measure{}, err
	}
	out := Measure{Samples: a.Samples, SQNR: a.WorstSQNR(), Agreement: a.Agreement, Bytes: analyze.SizeOf(m).MemoryBytes}
	if a.Quantized != nil {
		out.Top1 = &a.Quantized.Top1
	}
	return out, nil
}

// Silent keeps the tasks of every single quantization off the screen.
var Silent = quietReporter()

func quietReporter() progress.Reporter {
	r, err := progress.New(progress.Options{Kind: "none"})
	if err != nil {
		panic(err) // the kind exists
	}
	return r
}

// operations counts, by node, the multiplications of one sample, or the values of the output of nodes that do not multiply.
func operations(ctx context.Context, g *graph.Graph, ref *analyze.Reference) (map[string]int64, error) {
	out := map[string]int64{}
	count := func(n *graph.Node, in, res []*tensor.Tensor) {
		if len(res) == 0 || res[0] == nil {
			return
		}
		per := 1
		switch o := n.Op.(type) {
		case *op.Conv:
			per = in[1].Shape[1:].Len()
		case *op.MatMul:
			per = in[0].Shape[len(in[0].Shape)-1]
		case *op.Gemm:
			per = in[0].Shape[1]
			if o.TransA {
				per = in[0].Shape[0]
			}
		}
		out[n.Name] += int64(res[0].Shape.Len()) * int64(per)
	}
	s, err := exec.NewSession(g, exec.Options{Tap: count})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	in, samples, err := ref.First(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := s.Run(ctx, in); err != nil {
		return nil, fmt.Errorf("original model: %w", err)
	}
	for name, n := range out {
		out[name] = int64(math.Ceil(float64(n) / float64(max(samples, 1))))
	}
	return out, nil
}

// latencyOptions keep the measurement of a front to a few seconds a model.
var latencyOptions = analyze.SpeedOptions{WarmUp: 2, Runs: 20, MaxTime: 3 * time.Second}

// Time measures how long calls of the choices take, the original beside each. What the journal has is not measured again.
func (s *Model) Time(ctx context.Context, j *Journal, choices []Choice) (map[string]Timing, error) {
	out := map[string]Timing{}
	task := progress.From(ctx).Start("latency", int64(len(choices)), "models")
	defer task.Done()
	in, samples, err := s.reference.First(ctx)
	if err != nil {
		return nil, err
	}
	quiet := progress.With(ctx, Silent)
	for _, c := range choices {
		key := entryKey(c, 0)
		if j != nil {
			if t, ok := j.timings[key]; ok {
				out[c.key()] = t
				task.Add(1)
				continue
			}
		}
		_, session, err := s.session(quiet, c)
		if err != nil {
			return nil, err
		}
		x, err := analyze.CompareSpeed(quiet, s.reference.Session(), session, in, samples, s.threads, latencyOptions)
		session.Close()
		if err != nil {
			return nil, err
		}
		t := Timing{OriginalMS: x.Original.Median, MS: x.Quantized.Median, Speedup: x.Speedup}
		out[c.key()] = t
		if j != nil {
			j.timings[key] = t
			if err := j.add(entry{Choice: c, Timing: &t}); err != nil {
				return nil, err
			}
		}
		task.Add(1)
	}
	return out, nil
}

// Front returns the points of which no other is both more accurate and smaller or has less in float, the least accurate first. Of
// points that are equal the first counts.
func Front(points []Point) []Point {
	var out []Point
	for i, p := range points {
		if !slices.ContainsFunc(points, func(q Point) bool { return dominates(q, p) }) &&
			!slices.ContainsFunc(points[:i], func(q Point) bool { return q.noise() == p.noise() && q.Bytes == p.Bytes && q.Cost == p.Cost }) {
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, func(a, b Point) int {
		switch x, y := a.noise(), b.noise(); {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return 0
	})
	return out
}

func dominates(q, p Point) bool {
	return q.noise() <= p.noise() && q.Bytes <= p.Bytes && q.Cost <= p.Cost && (q.noise() < p.noise() || q.Bytes < p.Bytes || q.Cost < p.Cost)
}
