package vision

import (
	"context"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/internal/torchnn"
	"github.com/neurotrain/neuroquant/internal/torchtest"
	"github.com/neurotrain/neuroquant/tensor"
)

// families are those that the state dicts of the cases are told as.
var families = map[string]string{
	"resnet18": "resnet", "mobilenet_v2": "mobilenet_v2", "mobilenet_v3_small": "mobilenet_v3", "efficientnet_b0": "efficientnet", "densenet121": "densenet", "googlenet": "googlenet",
	"shufflenet_v2_x0_5": "shufflenet", "squeezenet1_0": "squeezenet", "squeezenet1_1": "squeezenet", "mnasnet0_5": "mnasnet", "regnet_x_400mf": "regnet", "regnet_y_400mf": "regnet",
}

// Networks of torchvision compute what PyTorch computes, from whole modules and from state dicts, whose families are found by names
// and shapes.
func TestNetworksComputeWhatPyTorchDoes(t *testing.T) {
	for _, c := range torchtest.Networks(t) {
		t.Run(c.Name, func(t *testing.T) {
			in := c.In(t)
			dims := make([]graph.Dim, 4)
			for i, n := range in[0].Shape {
				dims[i] = graph.Known(n)
			}
			s := torchtest.State(t, c.Module.Object(t, ""))
			if unknown := torchnn.UnknownClasses(s.Module, Classes); len(unknown) > 0 {
				t.Fatalf("classes that are not known: %v", unknown)
			}
			g, err := torchnn.FromModule("m", s.Module, Classes).Build(func(string) []graph.Dim { return dims })
			if err != nil {
				t.Fatal(err)
			}
			c.Check(t, run(t, g, in), 1e-4)

			l := torchnn.FromState("m", torchtest.State(t, c.Module.StateDict(t)))
			a := Find(l)
			if a == nil || a.Name != families[c.Name] {
				t.Fatalf("told as %v, want %s", a, families[c.Name])
			}
			if named, err := ByName(c.Name); err != nil || named != a {
				t.Errorf("the name is that of %v, %v", named, err)
			}
			x := l.Input("input", graph.Ranked(tensor.Float32, dims...))
			if g, err = l.Finish([]*graph.Value{a.Build(l, x, a.Name)}, "output"); err != nil {
				t.Fatal(err)
			}
			c.Check(t, run(t, g, in), 1e-4)
		})
	}
}

func run(t *testing.T, g *graph.Graph, in []*tensor.Tensor) []*tensor.Tensor {
	t.Helper()
	g, err := pass.Lower(g)
	if err != nil {
		t.Fatal(err)
	}
	s, err := exec.NewSession(g, exec.Options{})
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

// Weights of other networks are not taken for a known one.
func TestOtherStateDictsAreNotTold(t *testing.T) {
	w := func(shape ...int) tensor.Source { return tensor.InMemory(tensor.New(tensor.Float32, shape...)) }
	for name, pairs := range map[string][]any{
		"linear":        {"fc.weight", w(3, 4), "fc.bias", w(3)},
		"a convolution": {"conv1.weight", w(16, 3, 3, 3), "bn1.weight", w(16)},
		"features":      {"features.0.weight", w(8, 3, 5, 5), "classifier.weight", w(3, 8)},
	} {
		if a := Find(torchnn.FromState("m", torchtest.State(t, torchtest.Dict(pairs...)))); a != nil {
			t.Errorf("%s: told as %s", name, a.Name)
		}
	}
	if _, err := ByName("net_of_mine"); err == nil || !strings.Contains(err.Error(), "known are cifar-resnet") {
		t.Errorf("error %v", err)
	}
	for name, want := range map[string]string{"vgg16_bn": "vgg", "wide_resnet50_2": "resnet", "mlp": "mlp", "swin_v2_t": "swin", "vit_b_16": "vit", "convnext_tiny": "convnext"} {
		if a, err := ByName(name); err != nil || a.Name != want {
			t.Errorf("%s is %v, %v", name, a, err)
		}
	}
}
