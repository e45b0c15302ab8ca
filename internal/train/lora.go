package train

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/arch"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// LoRA says which low-rank products are trained beside the linear layers of a decoder, whose weights stay as they are (Hu et al., "LoRA:
// Low-Rank Adaptation of Large Language Models", arXiv:2106.09685): layer(x) + scale*x*A'*B'.
type LoRA struct {
	Rank  int
	Alpha float64
	// RankStabilized makes the scale Alpha/sqrt(Rank), in place of Alpha/Rank (Kalajdzievski, "A Rank Stabilization Scaling Factor", arXiv:2312.03732).
	RankStabilized bool
	// Dropout is the share of the values of x that are dropped on the way to A, while training.
	Dropout float64
	// Targets are paths of modules or their ends, such as q_proj or layers.0.mlp.up_proj; empty: all linear layers but the head.
	Targets []string
}

// Check reports settings that cannot be meant.
func (l *LoRA) Check() error {
	var errs []error
	if l.Rank < 1 {
		errs = append(errs, fmt.Errorf("rank: want at least 1, got %d", l.Rank))
	}
	if !(l.Alpha > 0) || math.IsInf(l.Alpha, 0) {
		errs = append(errs, fmt.Errorf("alpha: want a number above 0, got %v", l.Alpha))
	}
	if !(l.Dropout >= 0 && l.Dropout < 1) {
		errs = append(errs, fmt.Errorf("dropout: want 0 to below 1, got %v", l.Dropout))
	}
	if slices.Contains(l.Targets, "") {
		errs = append(errs, errors.New("targets: a name is empty"))
	}
	return errors.Join(errs...)
}

// Scale is the factor of the products.
func (l *LoRA) Scale() float64 {
	if l.RankStabilized {
		return l.Alpha / math.Sqrt(float64(l.Rank))
	}
	return l.Alpha / float64(l.Rank)
}

// Adapter is the low-rank product beside one linear layer.
type Adapter struct {
	Layer arch.LinearLayer
	A, B  *graph.Value // parameters [rank, in] and [out, rank]
}

// choose returns the layers that targets name. It names targets that no layer has, and layers that cannot have an adapter.
func (l *LoRA) choose(g *graph.Graph) ([]arch.LinearLayer, error) {
	all := arch.LinearLayers(g)
	if len(l.Targets) == 0 {
		out := slices.DeleteFunc(all, func(x arch.LinearLayer) bool { return x.Head || x.Expert })
		if len(out) == 0 {
			return nil, errors.New("the model has no linear layers beside its head")
		}
		return out, nil
	}
	found := map[string]bool{}
	var out []arch.LinearLayer
	for _, x := range all {
		named := false
		for _, t := range l.Targets {
			if x.Module == t || strings.HasSuffix(x.Module, "."+t) {
				found[t], named = true, true
			}
		}
		if !named {
			continue
		}
		if x.Expert {
			return nil, fmt.Errorf("targets: module %q is part of a mixture of experts, which have no adapters", x.Module)
		}
		out = append(out, x)
	}
	var missing []string
	for _, t := range l.Targets {
		if !found[t] {
			missing = append(missing, fmt.Sprintf("%q", t))
		}
	}
	if missing == nil {
		return out, nil
	}
	var ends []string
	for _, x := range all {
		if end := x.Module[strings.LastIndexByte(x.Module, '.')+1:]; !slices.Contains(ends, end) && !x.Expert {
			ends = append(ends, end)
		}
	}
	return nil, fmt.Errorf("targets: no linear layer is called %s; the model has %s", strings.Join(missing, ", "), strings.Join(ends, ", "))
}

// Insert adds adapters to the graph of a decoder. They change nothing yet: B is zero, A is uniform in ±1/sqrt(in), drawn by the seed
// in the order of the layers (He et al., "Delving Deep into Rectifiers", with a slope of sqrt(5), as PyTorch's linear layers begin).
func (l *LoRA) Insert(g *graph.Graph, seed uint64) ([]Adapter, error) {
	if err := l.Check(); err != nil {
		return nil, err
	}
	layers, err := l.choose(g)
	if err != nil {
		return nil, err
	}
	r := rand.New(rand.NewPCG(seed, 0x6c6f7261))
	out := make([]Adapter, 0, len(layers))
	for _, x := range layers {
		a := make([]float32, l.Rank*x.In)
		bound := 1 / math.Sqrt(float64(x.In))
		for i := range a {
			a[i] = float32((2*r.Float64() - 1) * bound)
		}
		own := Adapter{
			Layer: x,
			A:     graph.Param(x.Module+".lora_A.weight", tensor.Of(tensor.Shape{l.Rank, x.In}, a)),
			B:     graph.Param(x.Module+".lora_B.weight", tensor.New(tensor.Float32, x.Out, l.Rank)),
		}
		if err := x.Adapt(g, own.A, own.B, l.Scale(), l.Dropout); err != nil {
			return nil, err
		}
		out = append(out, own)
	}
	return out, nil
}

// Parameters lists what is trained.
func Parameters(adapters []Adapter) []*graph.Value {
	var out []*graph.Value
	for _, a := range adapters {
		out = append(out, a.A, a.B)
	}
	return out
}
