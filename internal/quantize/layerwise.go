package quantize

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
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
	costs   *Costs
	ceiling *ceiling
	cache   *activations.Cache
	samples int
	kept    map[string]bool // names of values in the cache
	most    int             // tokens of all samples; of models that take no ids of tokens, what a layer has seen at most
	twin    *walk           // of the original network, step by step beside this one; may be nil
	left    int             // bytes outside of the heap that stages left since the last collection
}

// newWalk runs nothing yet; the samples go into the cache, whose room follows from what the work takes and may take.
func newWalk(ctx context.Context, p *Plan, g *graph.Graph, layers []weightLayer, samples Samples) (_ *walk, err error) {
	w := &walk{g: g, layers: map[*graph.Node]*weightLayer{}, byName: map[string]*graph.Node{}, kept: map[string]bool{}}
	for i := range layers {
		w.layers[layers[i].node] = &layers[i]
		w.byName[layers[i].node.Name] = layers[i].node
	}
	w.stages = stagesOf(g, w.layers)
	defer func() {
		if err != nil {
			w.close()
		}
	}()
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
		}
		if w.cache == nil {
			if err := w.plan(p, layers, call, samples.Len); err != nil {
				return nil, err
			}
		}
		for i, v := range g.Inputs {
			w.kept[v.Name] = true
			if err := w.cache.Put(v.Name, w.samples, call.In[i]); err != nil {
				return nil, err
			}
		}
		if in := call.In[0]; len(call.In) == 1 && in.DType == tensor.Int64 {
			w.most += in.Len()
		}
		w.samples++
	}
	p.Tokens = w.most
	if w.samples == 0 {
		return nil, errors.New("there are no calibration samples")
	}
	return w, nil
}

// plan finds what the work takes from its first sample, and makes the cache.
func (w *walk) plan(p *Plan, layers []weightLayer, first Call, samples int) error {
	shapes := make([]tensor.Shape, len(first.In))
	for i, t := range first.In {
		shapes[i] = t.Shape
	}
	var err error
	if w.costs, err = costsOf(w.g, p, layers, shapes, samples); err != nil {
		return err
	}
	peak, err := w.costs.Peak(p.Recipe.Memory)
	if err != nil {
		return err
	}
	room, dir := (peak-w.costs.need())*8/9, "" // see uncollected
	if p.Recipe.WeightOnly.Asymmetric {
		room /= 2
	}
	if p.Work != nil {
		dir = p.Work.dir
	}
	w.ceiling, w.cache = newCeiling(peak), activations.New(room, dir)
	return nil
}

// close ends the use of the values.
func (w *walk) close() {
	if w.cache != nil {
		_ = w.cache.Close() // files that are left there are those of no run
		w.ceiling.close()
	}
}

// stagesOf cuts a graph before its layers.
func stagesOf(g *graph.Graph, layers map[*graph.Node]*weightLayer) []graph.Stage {
	return graph.Stages(g, func(n *graph.Node) (*graph.Value, bool) {
		l := layers[n]
		if l == nil {
			return nil, false
		}
		return l.x, true
	})
}

// lastStage returns the last stage with such a layer, -1 if none has.
func lastStage(stages []graph.Stage, such func(n *graph.Node) bool) int {
	last := -1
	for i := range stages {
		if slices.ContainsFunc(stages[i].Layers, such) {
			last = i
		}
	}
	return last
}

// setsOf are the layers of a stage, those that read the same value together.
func setsOf(s *graph.Stage, layers map[*graph.Node]*weightLayer) []shared {
	var sets []shared
	for _, n := range s.Layers {
		l := layers[n]
		at := slices.IndexFunc(sets, func(g shared) bool { return g.x == l.x })
		if at < 0 {
			at = len(sets)
			sets = append(sets, shared{x: l.x})
		}
		sets[at].layers = append(sets[at].layers, l)
	}
	return sets
}

// readLater names the values that stages after one read, up to the last.
func readLater(stages []graph.Stage, after, last int, layers map[*graph.Node]*weightLayer) map[string]bool {
	read := map[string]bool{}
	for i := after + 1; i <= last; i++ {
		for _, v := range stages[i].In {
			read[v.Name] = true
		}
		for _, n := range stages[i].Layers {
			read[layers[n].x.Name] = true
		}
	}
	return read
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
	last := lastStage(w.stages, func(n *graph.Node) bool { return !finished(w.layers[n]) })
	task := progress.From(ctx).Start("quantize", int64(len(w.layers)), "layers")
	defer task.Done()
	for i := range w.stages {
		s := &w.stages[i]
		for _, each := range []*walk{w, w.twin} {
			if each == nil || i > last {
				continue
			}
			outside := each.costs.stages[i].outside()
			each.ceiling.lower(outside)
			if err := each.compute(ctx, &each.stages[i]); err != nil {
				return err
			}
			if each.left += outside; each.left >= collectBytes {
				debug.FreeOSMemory()
				each.left = 0
			}
			each.ceiling.lower(0)
		}
		for _, set := range setsOf(s, w.layers) {
			w.ceiling.lower(w.left + scratchBytes(set.layers[0].cols))
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
	r, err := w.open(s)
	if r == nil || err != nil {
		return err
	}
	defer r.close()
	for i := range w.samples {
		if err := r.run(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// stageRun is a stage that is ready to run.
type stageRun struct {
	w       *walk
	s       *graph.Stage
	g       *graph.Graph
	session *exec.Session
	in      []*tensor.Tensor
}

// open makes a stage ready; nil: it computes nothing.
func (w *walk) open(s *graph.Stage) (*stageRun, error) {
	s.Refresh(w.byName)
	if len(s.Graph.Nodes) == 0 {
		return nil, nil
	}
	g := s.Graph.Clone()
	dense(g)
	lowered, err := pass.Lower(g)
	if err != nil {
		return nil, err
	}
	session, err := exec.NewSession(lowered, exec.Options{})
	if err != nil {
		return nil, err
	}
	return &stageRun{w, s, g, session, make([]*tensor.Tensor, len(s.In))}, nil
}

// run computes a sample.
func (r *stageRun) run(ctx context.Context, sample int) error {
	for j, v := range r.s.In {
		var err error
		if r.in[j], err = r.w.cache.Get(v.Name, sample); err != nil {
			return err
		}
	}
	out, err := r.session.Run(ctx, r.in)
	if err != nil {
		return fmt.Errorf("sample %d: %w", sample, err)
	}
	for j, t := range out {
		name := r.s.Out[j].Name
		r.w.kept[name] = true
		if err := r.w.cache.Take(name, sample, t); err != nil {
			return err
		}
	}
	return nil
}

func (r *stageRun) close() {
	r.session.Close()
	for _, v := range r.g.Params() {
		tensor.Release(v.Data)
	}
}

// collectBytes is how much stages leave behind before it is collected: packed matrices lie outside of the heap, where the collector does not
// see that they are many.
const collectBytes = 64 << 20

// dense makes packed matrices dense ones, once instead of at every sample, each when it is loaded.
func dense(g *graph.Graph) {
	for _, n := range g.Nodes {
		if _, ok := productOf(g, n); ok {
			n.In[1] = graph.FromSource(n.In[1].Name, denseSource{n.In[1].Data})
		}
	}
}

type denseSource struct{ tensor.Source }

// Load implements [tensor.Source].
func (s denseSource) Load() (*tensor.Tensor, error) {
	t, err := s.Source.Load()
	if err != nil || t.Packed == nil {
		return t, err
	}
	f, err := t.Floats()
	if err != nil {
		return nil, err
	}
	return tensor.Of(t.Shape, f), nil
}

// Release implements [tensor.Releaser].
func (s denseSource) Release() { tensor.Release(s.Source) }

// forget drops what no later stage that runs reads.
func (w *walk) forget(done, last int) error {
	read := readLater(w.stages, done, last, w.layers)
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
