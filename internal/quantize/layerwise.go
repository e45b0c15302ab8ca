package quantize

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/neurotrain/neuroquant/internal/activations"
	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/tensor"
)

// walk goes through a graph stage by stage with all calibration samples, so that a method sees the inputs of every layer after the layers
// before it were quantized, and holds the weights of one stage at a time.
type walk struct {
	g       *graph.Graph
	stages  []graph.Stage
	layers  map[*graph.Node]*weightLayer
	byName  map[string]*graph.Node // the nodes of the layers
	cache   *activations.Cache
	samples int
	kept    map[string]bool // names of values in the cache
	twin    *walk           // of the original network, step by step beside this one; may be nil
}

// newWalk runs nothing yet; the samples go into the cache.
func newWalk(ctx context.Context, g *graph.Graph, layers []weightLayer, samples Samples, cache *activations.Cache) (*walk, error) {
	w := &walk{g: g, layers: map[*graph.Node]*weightLayer{}, byName: map[string]*graph.Node{}, cache: cache, kept: map[string]bool{}}
	for i := range layers {
		w.layers[layers[i].node] = &layers[i]
		w.byName[layers[i].node.Name] = layers[i].node
	}
	w.stages = graph.Stages(g, func(n *graph.Node) (*graph.Value, bool) {
		l := w.layers[n]
		if l == nil {
			return nil, false
		}
		return l.x, true
	})
	for call, err := range samples.All(ctx) {
		if err != nil {
			return nil, err
		}
		if err := exec.CheckInputs(g, call.In); err != nil {
			return nil, err
		}
		for i, v := range g.Inputs {
			if call.In[i] == nil {
				return nil, fmt.Errorf("input %q is missing", v.Name)
			}
			if err := w.put(v, w.samples, call.In[i]); err != nil {
				return nil, err
			}
		}
		w.samples++
	}
	if w.samples == 0 {
		return nil, errors.New("there are no calibration samples")
	}
	return w, nil
}

// put keeps a value of a sample under its name.
func (w *walk) put(v *graph.Value, sample int, t *tensor.Tensor) error {
	w.kept[v.Name] = true
	return w.cache.Put(v.Name, sample, t)
}

// shared is a value with the layers that read it.
type shared struct {
	x      *graph.Value
	layers []*weightLayer
}

// run calls solve for each set of layers that read the same value, in the order in which their inputs become known, and after at the
// end of each stage; it may be nil. What solve makes of the layers' nodes is what later stages compute with. Values are not computed behind
// the last stage with a layer that is not finished.
func (w *walk) run(ctx context.Context, finished func(l *weightLayer) bool, solve func(ctx context.Context, x *graph.Value, layers []*weightLayer) error, after func() error) error {
	last := -1
	for i, s := range w.stages {
		if slices.ContainsFunc(s.Layers, func(n *graph.Node) bool { return !finished(w.layers[n]) }) {
			last = i
		}
	}
	task := progress.From(ctx).Start("quantize", int64(len(w.layers)), "layers")
	defer task.Done()
	for i := range w.stages {
		s := &w.stages[i]
		for _, each := range []*walk{w, w.twin} {
			if each == nil || i > last {
				continue
			}
			if err := each.compute(ctx, &each.stages[i]); err != nil {
				return err
			}
		}
		var sets []shared
		for _, n := range s.Layers {
			l := w.layers[n]
			at := slices.IndexFunc(sets, func(g shared) bool { return g.x == l.x })
			if at < 0 {
				at = len(sets)
				sets = append(sets, shared{x: l.x})
			}
			sets[at].layers = append(sets[at].layers, l)
		}
		for _, set := range sets {
			if err := solve(ctx, set.x, set.layers); err != nil {
				return err
			}
			task.Add(int64(len(set.layers)))
		}
		if after != nil {
			if err := after(); err != nil {
				return err
			}
		}
		for _, each := range []*walk{w, w.twin} {
			if each == nil || i > last {
				continue
			}
			if err := each.forget(i, last); err != nil {
				return err
			}
		}
	}
	return nil
}

// rows returns the value of a name as rows of float32.
func (w *walk) rows(x string, sample int) ([]float32, error) {
	t, err := w.cache.Get(x, sample)
	if err != nil {
		return nil, err
	}
	return t.Floats()
}

// compute runs a stage on all samples.
func (w *walk) compute(ctx context.Context, s *graph.Stage) error {
	s.Refresh(w.byName)
	if len(s.Graph.Nodes) == 0 {
		return nil
	}
	g := s.Graph.Clone()
	if err := dense(g); err != nil {
		return err
	}
	lowered, err := pass.Lower(g)
	if err != nil {
		return err
	}
	session, err := exec.NewSession(lowered, exec.Options{})
	if err != nil {
		return err
	}
	defer session.Close()
	in := make([]*tensor.Tensor, len(s.In))
	for i := range w.samples {
		for j, v := range s.In {
			if in[j], err = w.cache.Get(v.Name, i); err != nil {
				return err
			}
		}
		out, err := session.Run(ctx, in)
		if err != nil {
			return fmt.Errorf("sample %d: %w", i, err)
		}
		for j, t := range out {
			if err := w.put(s.Out[j], i, t); err != nil {
				return err
			}
		}
	}
	for _, v := range g.Params() {
		tensor.Release(v.Data)
	}
	return nil
}

// dense decodes packed matrices once, instead of at every sample.
func dense(g *graph.Graph) error {
	for _, n := range g.Nodes {
		if _, ok := productOf(g, n); !ok {
			continue
		}
		t, err := n.In[1].Data.Load()
		if err != nil {
			return fmt.Errorf("weight %q: %w", n.In[1].Name, err)
		}
		if t.Packed == nil {
			continue
		}
		f, err := t.Floats()
		if err != nil {
			return fmt.Errorf("weight %q: %w", n.In[1].Name, err)
		}
		n.In[1] = graph.Param(n.In[1].Name, tensor.Of(t.Shape, f))
	}
	return nil
}

// forget drops what no later stage that runs reads.
func (w *walk) forget(done, last int) error {
	read := map[string]bool{}
	for i := done + 1; i <= last; i++ {
		for _, v := range w.stages[i].In {
			read[v.Name] = true
		}
		for _, n := range w.stages[i].Layers {
			read[w.layers[n].x.Name] = true
		}
	}
	var errs []error
	for name := range w.kept {
		if !read[name] {
			errs = append(errs, w.cache.Drop(name))
			delete(w.kept, name)
		}
	}
	return errors.Join(errs...)
}

// each calls f with the rows of a value, sample by sample. Values that are not finite are an error that says where they came up.
func (w *walk) each(ctx context.Context, x *graph.Value, f func(sample int, rows []float32) error) error {
	for i := range w.samples {
		if err := ctx.Err(); err != nil {
			return err
		}
		rows, err := w.rows(x.Name, i)
		if err != nil {
			return fmt.Errorf("value %q: %w", x.Name, err)
		}
		if at := notFinite(rows); at >= 0 {
			node := ""
			if x.Node != nil {
				node = fmt.Sprintf(" of node %q (%s)", x.Node.Name, x.Node.Op.Kind())
			}
			return fmt.Errorf("calibration sample %d makes value %q%s not finite: %v at element %d", i, x.Name, node, rows[at], at)
		}
		if err := f(i, rows); err != nil {
			return err
		}
	}
	return nil
}

func notFinite(x []float32) int {
	return slices.IndexFunc(x, func(v float32) bool { return v-v != 0 })
}
