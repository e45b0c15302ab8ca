// Package search looks for the static quantization that leaves as little as possible in float and is still as accurate as asked:
// which layers compute in float, and which calibrator finds the ranges of the others.
//
// The search is a deterministic walk over choices that are measured one after another. What was measured stands in a [Journal],
// and a search that finds its journal again walks the same way without measuring the same twice: so it goes on where it was
// stopped, however it was stopped, and ends with the same result.
package search

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/internal/quantize"
)

// Choice is what the search is free to choose.
type Choice struct {
	Calibrator string `json:"calibrator"`
	// Float lists the layers that stay in float, in the order of the graph.
	Float []string `json:"float,omitempty"`
	// Ranges names calibrators of single ranges, see quantize.Recipe.
	Ranges map[string]string `json:"ranges,omitempty"`
}

// key is the choice as text; equal choices have equal keys.
func (c Choice) key() string {
	text, err := json.Marshal(c)
	if err != nil {
		panic(err) // strings
	}
	return string(text)
}

// Same reports whether two choices are the same.
func (c Choice) Same(o Choice) bool { return c.key() == o.key() }

// Measure is how good a choice is.
type Measure struct {
	Samples int `json:"samples"`
	// SQNR is the lowest of the outputs, in dB; nil where all are exact.
	SQNR      *float64 `json:"sqnr_db"`
	Agreement *float64 `json:"agreement,omitempty"`
	Top1      *float64 `json:"top1,omitempty"`
	Bytes     int64    `json:"bytes"` // of all parameters
}

// noise is the energy of the error relative to the signal.
func (m Measure) noise() float64 {
	if m.SQNR == nil {
		return 0
	}
	return math.Pow(10, -*m.SQNR/10)
}

// Unit is a layer that can be left in float.
type Unit struct {
	quantize.Unit
	Operations int64 // multiplications of one sample, or values computed where it does not multiply
}

// Subject is what is searched.
type Subject interface {
	Units() []Unit
	Ranges() []quantize.Range
	// Measure quantizes by a choice and compares with the original on all samples or, if samples is not 0, on the first so many.
	Measure(ctx context.Context, c Choice, samples int) (Measure, error)
}

// Options says what is searched for, and for how long.
type Options struct {
	Target Target
	// OriginalTop1 is the original's, where the samples have labels.
	OriginalTop1 *float64
	// Calibrators are tried in this order.
	Calibrators []string
	// Evaluations bounds how many choices are measured, Time how long that takes; 0: until the search is through. Both count what
	// an earlier run of the same search did.
	Evaluations int
	Time        time.Duration
	// RankSamples is how many samples the layers are ranked on; 0: all.
	RankSamples int
}

// Point is a choice with its measure.
type Point struct {
	Choice
	Measure
	Cost  float64 `json:"cost"`  // share of the model that is in float, by operations, bytes and number of layers
	Meets bool    `json:"meets"` // the target
	Step  string  `json:"step"`  // of the search that came upon it
}

// Rank is what leaving layers in float gains.
type Rank struct {
	Layers []string `json:"layers"`
	// Value is set where the layers share the range of a value that none of them leaves alone.
	Value string   `json:"value,omitempty"`
	SQNR  *float64 `json:"sqnr_db"` // with the layers in float
	Gain  float64  `json:"gain"`    // error energy that goes, relative to the signal
	Cost  float64  `json:"cost"`
}

// Why a search stopped before it was through.
const (
	OutOfEvaluations = "evaluations"
	OutOfTime        = "time"
)

// Result is what a search found.
type Result struct {
	Target string `json:"target"`
	Met    bool   `json:"met"`
	Best   Point  `json:"best"`
	// Points are all choices that were measured on all samples, in the order in which the search came to them.
	Points []Point `json:"points"`
	// Ranking is by what layers in float gain for what they cost, in the context of the first one; empty where nothing had to be ranked.
	Ranking     []Rank   `json:"ranking,omitempty"`
	Baseline    *float64 `json:"baseline_sqnr_db,omitempty"` // on the samples that the ranking was measured on
	Evaluations int      `json:"evaluations"`
	Stopped     string   `json:"stopped,omitempty"`
}

// errBudget ends a walk.
var errBudget = errors.New("budget")

// Run searches. improved is called with each choice that is better than all before, before another one is measured; a journal may
// be nil. A cancelled ctx ends the search with its error; what improved was called with last is then the best so far.
func Run(ctx context.Context, s Subject, o Options, j *Journal, improved func(ctx context.Context, p Point) error) (*Result, error) {
	w := &walk{subject: s, Options: o, journal: j, improved: improved, known: map[string]Measure{}, seen: map[string]bool{}, result: &Result{Target: o.Target.String()}}
	if err := o.Target.Check(o.OriginalTop1); err != nil {
		return nil, err
	}
	w.measureCosts()
	if j != nil {
		w.known = j.measures
	}
	w.task = progress.From(ctx).Start("search", int64(o.Evaluations), "evaluations")
	defer w.task.Done()
	err := w.walk(ctx)
	if err != nil && !errors.Is(err, errBudget) {
		return nil, err
	}
	if w.best == nil {
		return nil, fmt.Errorf("the search was stopped by its budget before anything was measured")
	}
	if err := w.tell(ctx); err != nil {
		return nil, err
	}
	w.result.Best, w.result.Met = *w.best, w.best.Meets
	return w.result, nil
}

// walk is a search under way.
type walk struct {
	Options
	subject  Subject
	journal  *Journal
	improved func(ctx context.Context, p Point) error
	task     progress.Task

	order []string           // names of the units
	cost  map[string]float64 // of leaving each in float; one in all

	known   map[string]Measure // by key, of this run and those before
	seen    map[string]bool    // keys that this run came to
	seconds float64            // spent on measuring
	best    *Point
	untold  bool // improved was not called with best yet
	step    string
	cut     string // the budget that ended the last ranking early
	result  *Result
}

// measureCosts gives every unit its share of the model: the mean of its shares of the operations, of the bytes that quantization
// saves, and of the number of units. The last stands for what the change between codes and floats takes.
func (w *walk) measureCosts() {
	units := w.subject.Units()
	var operations, bytes float64
	for _, u := range units {
		operations += float64(u.Operations)
		bytes += float64(u.Before - u.After)
	}
	w.cost = map[string]float64{}
	for _, u := range units {
		c := 1 / float64(len(units))
		if operations > 0 {
			c += float64(u.Operations) / operations
		}
		if bytes > 0 {
			c += float64(u.Before-u.After) / bytes
		}
		w.order = append(w.order, u.Layer)
		w.cost[u.Layer] = c / 3
	}
}

func (w *walk) costOf(float []string) float64 {
	sum := 0.0
	for _, u := range float {
		sum += w.cost[u]
	}
	return sum
}

// with returns a choice with more layers in float.
func (w *walk) with(c Choice, layers ...string) Choice {
	c.Float = w.sorted(append(slices.Clone(c.Float), layers...))
	return c
}

// without returns a choice with a layer in 8 bits that was in float.
func (w *walk) without(c Choice, layer string) Choice {
	c.Float = slices.DeleteFunc(slices.Clone(c.Float), func(l string) bool { return l == layer })
	return c
}

// sorted brings layers into the order of the graph, each once.
func (w *walk) sorted(layers []string) []string {
	var out []string
	for _, u := range w.order {
		if slices.Contains(layers, u) {
			out = append(out, u)
		}
	}
	return out
}

// measure returns what a choice is, from what is known or by measuring it. samples is 0 for all.
func (w *walk) measure(ctx context.Context, c Choice, samples int) (Point, error) {
	key := entryKey(c, samples)
	m, known := w.known[key]
	if !w.seen[key] {
		if w.Evaluations > 0 && w.result.Evaluations >= w.Evaluations {
			w.result.Stopped = OutOfEvaluations
			return Point{}, errBudget
		}
		if w.Time > 0 && w.seconds >= w.Time.Seconds() && len(w.seen) > 0 {
			w.result.Stopped = OutOfTime
			return Point{}, errBudget
		}
		if !known {
			if err := w.tell(ctx); err != nil {
				return Point{}, err
			}
			start := time.Now()
			var err error
			if m, err = w.subject.Measure(ctx, c, samples); err != nil {
				return Point{}, err
			}
			w.seconds += time.Since(start).Seconds()
			w.known[key] = m
			if w.journal != nil {
				if err := w.journal.add(entry{Choice: c, Rank: samples, Measure: m, Seconds: w.seconds}); err != nil {
					return Point{}, err
				}
			}
		} else if w.journal != nil {
			w.seconds = max(w.seconds, w.journal.seconds[key])
		}
		w.seen[key] = true
		w.result.Evaluations++
		w.task.Add(1)
	}
	p := Point{Choice: c, Measure: m, Cost: w.costOf(c.Float), Meets: w.Target.short(m, w.OriginalTop1) == 0, Step: w.step}
	if samples == 0 && !slices.ContainsFunc(w.result.Points, func(q Point) bool { return q.key() == c.key() }) {
		w.result.Points = append(w.result.Points, p)
		if w.best == nil || w.better(p, *w.best) {
			w.best, w.untold = &p, true
			if !known { // an earlier run told of others before
				return p, w.tell(ctx)
			}
		}
	}
	return p, nil
}

// tell reports the best choice if it is new.
func (w *walk) tell(ctx context.Context) error {
	if !w.untold || w.best == nil {
		return nil
	}
	w.untold = false
	if w.improved == nil {
		return nil
	}
	return w.improved(ctx, *w.best)
}

// better reports whether a is to be preferred to b: one that meets the target to one that does not; of two that do, the one with less
// in float; of two that do not, the one that is nearer.
func (w *walk) better(a, b Point) bool {
	if a.Meets != b.Meets {
		return a.Meets
	}
	if !a.Meets {
		if x, y := w.Target.short(a.Measure, w.OriginalTop1), w.Target.short(b.Measure, w.OriginalTop1); x != y {
			return x < y
		}
		if x, y := a.noise(), b.noise(); x != y {
			return x < y
		}
		return a.Cost < b.Cost
	}
	if a.Cost != b.Cost {
		return a.Cost < b.Cost
	}
	return a.noise() < b.noise()
}
