package calibrate

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"

	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/tensor"
)

// Samples are the inputs of a model, call after call in graph order.
type Samples struct {
	Len int
	All func(ctx context.Context) iter.Seq2[Call, error]
}

// Call is the inputs of one call of the model.
type Call struct {
	In      []*tensor.Tensor // nil: the input's default
	Samples int
	IDs     []string // of the samples, for messages; may be nil
}

// Run runs a graph on samples and returns their number and the statistics of the given values by name. What is kept does not grow with the number
// of samples, nor does it depend on how many are run at once, as long as the first dimension of a value counts them.
func Run(ctx context.Context, g *graph.Graph, values []*graph.Value, samples Samples) (seen int64, stats map[string]*Stats, err error) {
	g, values = g.CloneWith(values)
	w := newWatch(g, values)
	if err := pass.Pack(g, w.watched()); err != nil {
		return 0, nil, err
	}
	s, err := exec.NewSession(g, exec.Options{Tap: w.node})
	if err != nil {
		return 0, nil, err
	}
	defer s.Close()
	task := progress.From(ctx).Start("calibrate", int64(samples.Len), "samples")
	defer task.Done()
	for call, err := range samples.All(ctx) {
		if err != nil {
			return 0, nil, err
		}
		w.call = call
		w.ids = call.IDs
		if w.ids == nil { // numbers will do
			for i := range call.Samples {
				w.ids = append(w.ids, fmt.Sprintf("sample %d", seen+int64(i)))
			}
		}
		for i, v := range g.Inputs {
			if call.In[i] != nil {
				w.value(v, call.In[i])
			}
		}
		if _, err := s.Run(ctx, call.In); err != nil {
			return 0, nil, fmt.Errorf("calibration sample %q: %w", w.all(), err)
		}
		seen += int64(call.Samples)
		task.Add(int64(call.Samples))
	}
	if seen == 0 {
		return 0, nil, fmt.Errorf("no calibration samples")
	}
	return seen, w.stats, nil
}

// watch collects statistics while a graph runs.
type watch struct {
	stats map[string]*Stats
	of    map[*graph.Value]*Stats
	axis  map[*graph.Value]int
	felt  map[*graph.Node][]felt // at the Add that they go into
	call  Call
	ids   []string
}

// felt is an input of an Add that nothing else reads, and that is clamped behind it.
type felt struct {
	in     int
	stats  *Stats
	lo, hi float32
}

func newWatch(g *graph.Graph, values []*graph.Value) *watch {
	w := &watch{stats: map[string]*Stats{}, of: map[*graph.Value]*Stats{}, axis: map[*graph.Value]int{}, felt: map[*graph.Node][]felt{}}
	uses := g.Uses()
	for _, v := range values {
		s := &Stats{}
		w.stats[v.Name], w.of[v] = s, s
		w.axis[v] = channelAxis(v, uses[v])
		if len(uses[v]) != 1 || g.IsOutput(v) {
			continue
		}
		add := uses[v][0]
		if add.Op.Kind() != "Add" || len(uses[add.Out[0]]) != 1 || g.IsOutput(add.Out[0]) {
			continue
		}
		lo, hi, ok := clamp(g, uses[add.Out[0]][0], add.Out[0])
		if !ok || add.In[0] == add.In[1] {
			continue
		}
		at := 0
		if add.In[1] == v {
			at = 1
		}
		w.felt[add] = append(w.felt[add], felt{at, s, lo, hi})
	}
	return w
}

// watched lists the values that are looked at when they are computed.
func (w *watch) watched() []*graph.Value {
	list := slices.Collect(maps.Keys(w.of))
	for n := range w.felt {
		list = append(list, n.In...)
	}
	return list
}

// clamp returns the bounds of a Relu or of a Clip with constant bounds.
func clamp(g *graph.Graph, n *graph.Node, x *graph.Value) (lo, hi float32, ok bool) {
	lo, hi = float32(math.Inf(-1)), float32(math.Inf(1))
	switch n.Op.(type) {
	case *op.Relu:
		return 0, hi, true
	case *op.Clip:
		for i, b := range []*float32{&lo, &hi} {
			if len(n.In) <= i+1 || n.In[i+1] == nil {
				continue
			}
			t, err := g.Constant(n.In[i+1])
			if err != nil || t == nil || t.DType != tensor.Float32 || t.Len() != 1 {
				return 0, 0, false
			}
			*b = tensor.Item[float32](t)
		}
		return lo, hi, n.In[0] == x && lo <= hi
	}
	return 0, 0, false
}

// channelAxis returns the axis along which what reads v has weights of its own, -1 for none: the last one of a factor of a
// matrix product, else the second.
func channelAxis(v *graph.Value, uses []*graph.Node) int {
	if !v.Type.Ranked || len(v.Type.Dims) < 2 {
		return -1
	}
	for _, n := range uses {
		if k := n.Op.Kind(); (k == "MatMul" || k == "Gemm" || k == "com.microsoft.FusedMatMul") && n.In[0] == v {
			return len(v.Type.Dims) - 1
		}
	}
	return 1
}

// node is the session's tap.
func (w *watch) node(n *graph.Node, in, out []*tensor.Tensor) {
	for i, v := range n.Out {
		if i < len(out) && out[i] != nil {
			w.value(v, out[i])
		}
	}
	for _, f := range w.felt[n] {
		x, other := in[f.in], in[1-f.in]
		if x.DType == tensor.Float32 && other.DType == tensor.Float32 && x.Shape.Equal(other.Shape) {
			f.stats.AddFelt(tensor.Data[float32](x), tensor.Data[float32](other), f.lo, f.hi)
		}
	}
}

func (w *watch) value(v *graph.Value, t *tensor.Tensor) {
	s := w.of[v]
	if s == nil || t.DType != tensor.Float32 || t.Packed != nil {
		return
	}
	x := tensor.Data[float32](t)
	if len(t.Shape) > 0 && t.Shape[0] == w.call.Samples {
		s.Add(x, w.ids, w.call.Samples)
	} else {
		s.Add(x, []string{w.all()}, 1)
	}
	if a := w.axis[v]; a >= 0 && a < len(t.Shape) && len(x) > 0 {
		s.AddChannels(x, t.Shape, a)
	}
}

// all names the samples of the call.
func (w *watch) all() string {
	if n := len(w.ids); n > 1 {
		return w.ids[0] + " to " + w.ids[n-1]
	} else if n == 1 {
		return w.ids[0]
	}
	return ""
}
