package train

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

func newOp(t *testing.T, kind string, attrs map[string]any) graph.Op {
	t.Helper()
	o, ok := op.New(kind)
	if !ok {
		t.Fatalf("there is no %s", kind)
	}
	if err := op.SetAttrs(o, attrs); err != nil {
		t.Fatal(err)
	}
	return o
}

// draw returns values that a seed gives.
func draw(seed uint64, scale float32, shape ...int) *tensor.Tensor {
	v := make([]float32, tensor.Shape(shape).Len())
	x := seed*2862933555777941757 + 3037000493
	for i := range v {
		x = x*6364136223846793005 + 1442695040888963407
		v[i] = (float32(x>>40)/float32(1<<23) - 1) * scale
	}
	return tensor.Of(shape, v)
}

// smallNet is convolution, normalization, Relu, a shortcut, mean and a linear layer, for images [batch, 3, 8, 8] and 4 classes.
func smallNet(t *testing.T) *graph.Graph {
	t.Helper()
	b := graph.NewBuilder("small")
	x := b.Input("x", graph.Ranked(tensor.Float32, graph.Named("batch"), graph.Known(3), graph.Known(8), graph.Known(8)))
	ones := func(n int) *tensor.Tensor {
		v := make([]float32, n)
		for i := range v {
			v[i] = 1
		}
		return tensor.Vector(v...)
	}
	norm := func(name string, x *graph.Value, n int) *graph.Value {
		return b.Add(name, newOp(t, "BatchNormalization", nil), x, b.Param(name+".scale", ones(n)), b.Param(name+".bias", tensor.New(tensor.Float32, n)),
			b.Param(name+".mean", tensor.New(tensor.Float32, n)), b.Param(name+".var", ones(n)))
	}
	conv := func(name string, x *graph.Value, seed uint64, out, in int, stride int64) *graph.Value {
		return b.Add(name, newOp(t, "Conv", map[string]any{"pads": []int64{1, 1, 1, 1}, "strides": []int64{stride, stride}}), x, b.Param(name+".w", draw(seed, 0.3, out, in, 3, 3)))
	}
	h := b.Add("relu1", newOp(t, "Relu", nil), norm("bn1", conv("conv1", x, 1, 16, 3, 1), 16))
	h2 := b.Add("relu2", newOp(t, "Relu", nil), norm("bn2", conv("conv2", h, 2, 16, 16, 1), 16))
	h = b.Add("add", newOp(t, "Add", nil), h, h2)
	h = b.Add("relu3", newOp(t, "Relu", nil), norm("bn3", conv("conv3", h, 3, 32, 16, 2), 32))
	h = b.Add("mean", newOp(t, "GlobalAveragePool", nil), h)
	h = b.Add("flat", newOp(t, "Flatten", nil), h)
	b.Output("scores", b.Add("fc", newOp(t, "Gemm", map[string]any{"transB": int64(1)}), h, b.Param("fc.w", draw(4, 0.3, 4, 32)), b.Param("fc.b", tensor.New(tensor.Float32, 4))))
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// patterns is a set of images whose brightest quarter is the class.
func patterns(t *testing.T, n int) data.Set {
	t.Helper()
	x := draw(9, 0.5, n, 3, 8, 8)
	labels := make([]int, n)
	for i := range n {
		labels[i] = i * 7 % 4
		for c := range 3 {
			for p := range 16 {
				y, k := p/4+labels[i]/2*4, p%4+labels[i]%2*4
				tensor.Data[float32](x)[((i*3+c)*8+y)*8+k] += 1
			}
		}
	}
	set, err := data.Arrays([]string{"x"}, []*tensor.Tensor{x}, labels)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func fitSmall(t *testing.T, s Settings, threads int) (*Trainer, *History) {
	t.Helper()
	tr, err := New(&Task{Graph: smallNet(t)}, s.Optimizer, s.Clip, s.Seed, threads)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.Close)
	h, err := tr.Fit(context.Background(), s, patterns(t, 64), patterns(t, 32), nil)
	if err != nil {
		t.Fatal(err)
	}
	return tr, h
}

var smallSettings = Settings{Epochs: 3, Batch: 16, Optimizer: Optimizer{Rate: 0.05, Momentum: 0.9}, Schedule: Schedule{Name: "cosine", WarmUp: 2}, Augment: Augment{Pad: 1}, Seed: 3}

func TestFitLearns(t *testing.T) {
	for _, o := range []Optimizer{
		{Rate: 0.2, Momentum: 0.9},
		{Rate: 0.2, Momentum: 0.9, Nesterov: true, WeightDecay: 1e-4},
		{Name: "adam", Rate: 0.01},
		{Name: "adamw", Rate: 0.01, WeightDecay: 0.01},
		{Name: "lion", Rate: 0.003},
		{Name: "adam", Rate: 0.01, States8: true},
	} {
		s := smallSettings
		s.Optimizer, s.Augment, s.Epochs = o, Augment{}, 5
		_, h := fitSmall(t, s, 1)
		last := h.Epochs[len(h.Epochs)-1]
		t.Logf("%+v: losses %.3f to %.3f, validation accuracy %.3f", o, h.Losses[0], last.Loss, *last.Right)
		if !(last.Loss < 0.7*h.Losses[0]) {
			t.Errorf("%+v: the loss fell from %v to %v only", o, h.Losses[0], last.Loss)
		}
	}
}

// The same settings give the same bytes, for any number of threads; recomputation changes nothing, and gradients of parts of a batch are
// those of the whole but for rounding where nothing depends on the batch.
func TestFitIsDeterministic(t *testing.T) {
	a, _ := fitSmall(t, smallSettings, 1)
	b, _ := fitSmall(t, smallSettings, 2)
	task := &Task{Graph: smallNet(t), Recompute: 3}
	c, err := New(task, smallSettings.Optimizer, 0, smallSettings.Seed, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Fit(context.Background(), smallSettings, patterns(t, 64), patterns(t, 32), nil); err != nil {
		t.Fatal(err)
	}
	for i, v := range a.trained {
		if !slices.Equal(a.params[i].Bytes(), b.params[i].Bytes()) {
			t.Errorf("%s depends on the number of threads", v.Name)
		}
		if !slices.Equal(a.params[i].Bytes(), c.params[i].Bytes()) {
			t.Errorf("%s depends on recomputation", v.Name)
		}
	}
}

// A training that ends at any update and goes on from its checkpoint ends with the same bytes.
func TestFitResumes(t *testing.T) {
	s := smallSettings
	s.Optimizer = Optimizer{Name: "adamw", Rate: 0.01, WeightDecay: 0.01}
	whole, h := fitSmall(t, s, 1)
	s.Checkpoint, s.CheckpointEvery = filepath.Join(t.TempDir(), "state.safetensors"), 1
	for _, stop := range []int{1, 4, 6, 11} {
		os.Remove(s.Checkpoint)
		tr, err := New(&Task{Graph: smallNet(t)}, s.Optimizer, s.Clip, s.Seed, 1)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		tr.task.After = func(update int) {
			if update == stop {
				cancel()
			}
		}
		_, err = tr.Fit(ctx, s, patterns(t, 64), patterns(t, 32), nil)
		tr.Close()
		if err == nil {
			t.Fatal("training did not stop")
		}
		again, history := fitSmall(t, s, 1)
		for i, v := range whole.trained {
			if !slices.Equal(whole.params[i].Bytes(), again.params[i].Bytes()) {
				t.Fatalf("stopped after %d: %s differs", stop, v.Name)
			}
		}
		if !slices.Equal(h.Losses, history.Losses) {
			t.Errorf("stopped after %d: losses differ", stop)
		}
	}
}

func TestFitRefuses(t *testing.T) {
	ctx := context.Background()
	fails := func(task *Task, s Settings, set data.Set, want ...string) {
		t.Helper()
		tr, err := New(task, s.Optimizer, s.Clip, s.Seed, 1)
		if err == nil {
			defer tr.Close()
			_, err = tr.Fit(ctx, s, set, nil, nil)
		}
		if err == nil {
			t.Fatal("want an error")
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("error %q does not have %q", err, w)
			}
		}
	}
	big := smallSettings
	big.Batch = 100
	fails(&Task{Graph: smallNet(t)}, big, patterns(t, 64), "64 samples", "100")
	wrong, err := data.Arrays([]string{"x"}, []*tensor.Tensor{draw(1, 1, 3, 3, 8, 8)}, []int{0, 4, 5})
	if err != nil {
		t.Fatal(err)
	}
	few := smallSettings
	few.Batch = 2
	fails(&Task{Graph: smallNet(t)}, few, wrong, "4 classes", "sample 1 has 4", "sample 2 has 5")
	// A loss that is not finite names the node where that begins.
	broken := smallNet(t)
	nan := draw(1, 1, 16, 16, 3, 3)
	for i := range tensor.Data[float32](nan) {
		tensor.Data[float32](nan)[i] = 3e38
	}
	for _, v := range broken.Params() {
		if v.Name == "conv2.w" {
			v.Data = tensor.InMemory(nan)
		}
	}
	fails(&Task{Graph: broken}, smallSettings, patterns(t, 64), "not finite", `"conv2" (Conv)`)
	// All nodes without a gradient are named.
	blocked := smallNet(t)
	for _, n := range blocked.Nodes {
		if n.Op.Kind() == "Relu" && n.Name != "relu1" {
			n.Op = newOp(t, "Hardmax", nil)
		}
	}
	fails(&Task{Graph: blocked}, smallSettings, patterns(t, 64), "cannot be trained through", `"relu2" (Hardmax)`, `"relu3" (Hardmax)`)
}

// The state of optimizers in 8 bits is near that in 32.
func TestStates8(t *testing.T) {
	for _, signed := range []bool{true, false} {
		b := newBlocks8(300, signed)
		for i := 1; i < 256; i++ {
			if b.table[i] < b.table[i-1] {
				t.Fatalf("signed %v: the table does not ascend at %d", signed, i)
			}
		}
		v := tensor.Data[float32](draw(1, 1, 256))
		if !signed {
			for i := range v {
				v[i] *= v[i]
			}
		}
		b.write(v, 0)
		got := make([]float32, 256)
		b.read(got, 0)
		for i := range v {
			if d := math.Abs(float64(got[i] - v[i])); d > 0.03*math.Abs(float64(v[i]))+0.01 {
				t.Errorf("signed %v: %v became %v", signed, v[i], got[i])
			}
		}
	}
}

// Images with channels last give the gradients of images with channels second.
func TestLayoutsGiveTheSameGradients(t *testing.T) {
	gradients := func(plain bool) map[string][]float32 {
		tr, err := New(&Task{Graph: smallNet(t), plain: plain}, Optimizer{Rate: 1}, 0, 1, 1)
		if err != nil {
			t.Fatal(err)
		}
		defer tr.Close()
		labels := make([]int64, 16)
		for i := range labels {
			labels[i] = int64(i % 4)
		}
		b, _, err := tr.run(context.Background(), part{[]*tensor.Tensor{draw(5, 1, 16, 3, 8, 8)}, tensor.Vector(labels...)}, 0)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string][]float32{}
		for i, o := range b.p.grads {
			out[tr.trained[i].Name] = slices.Clone(tensor.Data[float32](b.out[o]))
		}
		for i, v := range tr.stats {
			out[v.Name] = slices.Clone(tensor.Data[float32](b.out[b.p.stats+i]))
		}
		return out
	}
	want, got := gradients(true), gradients(false)
	for name, w := range want {
		scale := 0.0
		for _, v := range w {
			scale = max(scale, math.Abs(float64(v)))
		}
		worst := 0.0
		for i, v := range w {
			worst = max(worst, math.Abs(float64(v-got[name][i])))
		}
		if worst > 1e-4*scale+1e-7 {
			t.Errorf("%s: gradients differ by %v of %v", name, worst, scale)
		}
	}
}
