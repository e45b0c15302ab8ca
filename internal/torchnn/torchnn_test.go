package torchnn

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/checkpoint"
	"github.com/neurotrain/neuroquant/internal/codec/pickle"
	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/torchtest"
	"github.com/neurotrain/neuroquant/tensor"
)

// run computes a graph as it is.
func run(t *testing.T, g *graph.Graph, in []*tensor.Tensor) []*tensor.Tensor {
	t.Helper()
	s, err := exec.NewSession(g, exec.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out, err := s.Run(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func known(shape tensor.Shape) []graph.Dim {
	out := make([]graph.Dim, len(shape))
	for i, n := range shape {
		out[i] = graph.Known(n)
	}
	return out
}

// Every layer computes what PyTorch computes, with its input's sizes known and with sizes as the layer says.
func TestLayersComputeWhatPyTorchDoes(t *testing.T) {
	covered := map[string]bool{}
	for _, c := range torchtest.Layers(t) {
		t.Run(c.Name, func(t *testing.T) {
			s := torchtest.State(t, c.Module.Object(t, ""))
			covered[s.Module.Class] = true
			in := c.In(t)
			forms := [][]graph.Dim{nil}
			if len(in) == 1 {
				forms = append(forms, known(in[0].Shape))
			}
			for _, dims := range forms {
				if typ, err := InputType(s.Module); dims == nil && (err != nil || len(typ.Dims) != in[0].Rank()) {
					continue // it takes anything
				}
				g, err := FromModule("m", s.Module, nil).Build(func(string) []graph.Dim { return dims })
				if dims == nil && err != nil && strings.Contains(err.Error(), "give the shape of the input") {
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				c.Check(t, run(t, g, in), 1e-5)
			}
		})
	}
	if len(covered) < 100 {
		t.Errorf("%d classes have cases", len(covered))
	}
}

func TestUnknownClassesAreCounted(t *testing.T) {
	m := torchtest.Module("mynet.Net", "_modules", torchtest.Dict(
		"a", torchtest.Module("mynet.Block"), "b", torchtest.Module("mynet.Block"), "fc", torchtest.Linear(), "none", nil,
		"list", torchtest.Module("torch.nn.modules.container.ModuleList")))
	got := UnknownClasses(torchtest.State(t, m).Module, nil)
	if !slices.Equal(got, []string{"mynet.Block (2 times)", "mynet.Net"}) {
		t.Errorf("got %v", got)
	}
	s := torchtest.State(t, torchtest.Module("torch.nn.modules.container.Sequential", "_modules", torchtest.Dict("0", torchtest.Module("mynet.Block"))))
	_, err := FromModule("m", s.Module, nil).Build(func(string) []graph.Dim { return []graph.Dim{graph.Known(2)} })
	if !errors.Is(err, checkpoint.ErrUnsupported) || !strings.Contains(err.Error(), "0 (mynet.Block)") {
		t.Errorf("error %v", err)
	}
}

// Attributes of wrong types and weights of wrong shapes are errors that name the layer.
func TestModulesThatLieAreErrors(t *testing.T) {
	conv := func(attrs ...any) *pickle.Object {
		w := torchtest.Parameter(tensor.New(tensor.Float32, 2, 3, 3, 3))
		return torchtest.Module("torch.nn.modules.conv.Conv2d", append([]any{"in_channels", 3, "_parameters", torchtest.Dict("weight", w, "bias", nil)}, attrs...)...)
	}
	linear := torchtest.Linear()
	linear.State.(*pickle.Dict).Values[1] = torchtest.Dict("bias", nil)
	deep := torchtest.Linear()
	for range maxDepth + 1 {
		deep = torchtest.Module("torch.nn.modules.container.Sequential", "_modules", torchtest.Dict("0", deep))
	}
	for want, m := range map[string]*pickle.Object{
		"attribute stride is a str":          conv("stride", "two"),
		"attribute groups is a list":         conv("groups", &pickle.List{}),
		"attribute padding is a tuple":       conv("padding", pickle.Tuple{1.5}),
		`padding "other"`:                    conv("padding", "other"),
		"weight weight is missing":           linear,
		"nested deeper than":                 deep,
		"0 layers":                           torchtest.Module("torch.nn.modules.rnn.LSTM", "mode", "LSTM", "input_size", 3, "hidden_size", 4, "num_layers", 0),
		"a projection (proj_size)":           torchtest.Module("torch.nn.modules.rnn.LSTM", "mode", "LSTM", "input_size", 3, "hidden_size", 4, "proj_size", 2),
		"says what its input is":             torchtest.Module("torch.nn.modules.activation.ReLU"),
		"an embedding with max_norm changes": torchtest.Module("torch.nn.modules.sparse.Embedding", "max_norm", 1.0),
	} {
		_, err := FromModule("m", torchtest.State(t, m).Module, nil).Build(nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// A layer of a state dict takes the weights of its path, and its children come in the order of their numbers.
func TestLayersOfAStateDict(t *testing.T) {
	w := func(shape ...int) tensor.Source { return tensor.InMemory(tensor.New(tensor.Float32, shape...)) }
	d := torchtest.Dict()
	for _, name := range []string{"net.10.weight", "net.2.weight", "net.head.weight", "net.2.bias"} {
		if err := d.Set(name, w(2, 2)); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Set("other.weight", w(5, 3, 7, 7)); err != nil {
		t.Fatal(err)
	}
	l := FromState("m", torchtest.State(t, d))
	var names []string
	for _, c := range l.Child("net").Children() {
		names = append(names, c.Name())
	}
	if !slices.Equal(names, []string{"2", "10", "head"}) {
		t.Errorf("children %v", names)
	}
	if !l.Has("other") || l.Has("none") || !l.At("net.2").Has("bias") || l.Kernel("other") != 7 || l.Rows("other") != 5 || l.Rows("none") != 0 {
		t.Error("layers are not found by path")
	}
}

// A quantized weight is what its codes stand for, and a half weight is widened.
func TestWeightsAreFloat32(t *testing.T) {
	half, err := tensor.FromFloat64s(tensor.Float16, tensor.Shape{2, 2}, []float64{1, 2, 3, 4})
	if err != nil {
		t.Fatal(err)
	}
	l := FromState("m", torchtest.State(t, torchtest.Dict("a.weight", tensor.InMemory(half), "b.weight", tensor.InMemory(half))))
	s := l.Child("a").Source("weight")
	x, err := s.Load()
	if err != nil || x.DType != tensor.Float32 || tensor.Data[float32](x)[3] != 4 {
		t.Errorf("%v, %v", x, err)
	}
	if l.Child("a").Source("weight") != s {
		t.Error("a weight is another source each time")
	}
}
