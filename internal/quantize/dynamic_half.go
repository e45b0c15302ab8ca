package quantize

import (
	"context"
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// smallestHalf is the number of values below which the Cast behind a parameter takes more than 16-bit storage saves.
const smallestHalf = 64

func isHalf(weight string) bool { return weight == "float16" || weight == "bfloat16" }

// planHalf decides which parameters are stored in 16 bits: every float32 one but the smallest. Data that several graphs share is
// counted once.
func planHalf(g *graph.Graph, r Recipe, sel *selection) []Decision {
	var out []Decision
	counted, float, half := map[any]bool{}, map[any]bool{}, map[any]bool{}
	once := func(m map[any]bool, k any, bytes int) int {
		if m[k] {
			return 0
		}
		m[k] = true
		return bytes
	}
	for _, p := range floatParams(g) {
		w := p.weight
		size := w.Data.Shape().Len()
		d := Decision{Layer: p.layer, Op: p.n.Op.Kind(), Param: w.Name, Shape: w.Data.Shape(), Stored: "float32"}
		why, skip, _ := sel.judge(p.site, w)
		switch {
		case skip:
			d.Why = why
		case !p.g.IsParam(w):
			d.Why = "a graph input with a default, which a caller may replace"
		case size < smallestHalf:
			d.Why = fmt.Sprintf("small (%d values)", size)
		default:
			d.Quantized, d.Stored, d.Scheme = true, r.Weight, tensor.Scheme{Code: r.Weight}
			d.Why = "stored in 16 bits, computed in float32"
		}
		d.Before = once(counted, paramKey(w), 4*size)
		if d.Quantized {
			d.After = once(half, paramKey(w), 2*size)
		} else {
			d.After = once(float, paramKey(w), 4*size)
		}
		out = append(out, d)
	}
	return out
}

// floatParam is a float32 parameter with the first node that reads it.
type floatParam struct {
	site
	weight *graph.Value
}

func floatParams(g *graph.Graph) []floatParam {
	var out []floatParam
	seen := map[*graph.Value]bool{}
	for _, s := range sites(g) {
		for _, w := range s.n.In {
			if w != nil && w.Data != nil && !seen[w] && w.Data.DType() == tensor.Float32 {
				seen[w] = true
				out = append(out, floatParam{s, w})
			}
		}
	}
	return out
}

// halves stores the chosen parameters in 16 bits behind a Cast to float32, one per parameter. A parameter whose values do not
// fit stays, and its decision says so.
func (d *dynamicRun) halves(ctx context.Context, p *Plan) error {
	to := tensor.Float16
	if p.Recipe.Weight == "bfloat16" {
		to = tensor.BFloat16
	}
	runs := map[*graph.Graph]*dynamicRun{d.g: d}
	order := []*dynamicRun{d}
	ready := map[any]*tensor.Tensor{}
	for i, w := range floatParams(d.g) {
		x := &p.Decisions[i]
		if !x.Quantized {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		half := ready[paramKey(w.weight)]
		if half == nil {
			t, err := w.weight.Data.Load()
			if err != nil {
				return fmt.Errorf("weight %q: %w", x.Param, err)
			}
			f := tensor.Data[float32](t)
			if err := checkFinite(x.Param, t.Shape, f); err != nil {
				return err
			}
			if v := largest(f); to == tensor.Float16 && v >= 65520 { // rounds to infinity
				x.Quantized, x.After, x.Stored, x.Scheme = false, 2*x.After, "float32", tensor.Scheme{}
				x.Why = fmt.Sprintf("values up to %.4g do not fit float16", v)
				continue
			}
			if half, err = tensor.FromFloat64s(to, t.Shape, widen(f)); err != nil {
				return err
			}
			ready[paramKey(w.weight)] = half
			d.rounded.note(w.weight, inHalf{half})
		}
		run := runs[w.g]
		if run == nil {
			run = d.within(w.g)
			runs[w.g], order = run, append(order, run)
		}
		run.scope = w.weight.Name
		v := run.param(w.weight.Name+"_"+p.Recipe.Weight, half)
		cast := run.emit("_cast", 1, "Cast", attrs{"to": int64(tensor.Float32)}, v)[0]
		replace(w.g, w.weight, cast)
		d.task.Add(1)
	}
	for _, run := range order {
		if run.err != nil {
			return run.err
		}
		run.g.Nodes = append(run.nodes, run.g.Nodes...)
	}
	return nil
}

// replace makes the readers and outputs of g that read old read v.
func replace(g *graph.Graph, old, v *graph.Value) {
	for _, n := range g.Nodes {
		for j, in := range n.In {
			if in == old {
				n.In[j] = v
			}
		}
	}
	for j, o := range g.Outputs {
		if o == old {
			g.Outputs[j] = v
		}
	}
}

func largest(f []float32) float32 {
	var m float32
	for _, v := range f {
		m = max(m, v, -v)
	}
	return m
}

func widen(f []float32) []float64 {
	out := make([]float64, len(f))
	for i, v := range f {
		out[i] = float64(v)
	}
	return out
}
