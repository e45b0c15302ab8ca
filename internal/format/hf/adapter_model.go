package hf

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/arch"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/tensor"
)

// modules gives the layers of a model by the paths that PEFT knows them by, which have the prefix of the architecture also where the
// checkpoint leaves it out.
func modules(m *model.Model) (layers []arch.LinearLayer, names []string, err error) {
	if m.Config == nil {
		return nil, nil, errors.New("adapters belong to language models with a configuration, such as a Hugging Face folder")
	}
	prefix, err := arch.ModulePrefix(m.Config)
	if err != nil {
		return nil, nil, err
	}
	layers = arch.LinearLayers(m.Graph)
	left := !slices.ContainsFunc(layers, func(l arch.LinearLayer) bool { return strings.HasPrefix(l.Module, prefix) })
	for _, l := range layers {
		name := l.Module
		if left && !l.Head {
			name = prefix + name
		}
		names = append(names, name)
	}
	return layers, names, nil
}

// Place makes layers of a graph of m those of the adapter, by the paths that PEFT knows them by. The targets are the last parts of these, or
// where other layers share those, whole paths.
func (a *Adapter) Place(m *model.Model, layers []AdapterLayer) error {
	all, paths, err := modules(m)
	if err != nil {
		return err
	}
	end := func(name string) string { return name[strings.LastIndexByte(name, '.')+1:] }
	has := map[string]bool{}
	var whole []string
	a.Targets, a.Layers = nil, slices.Clone(layers)
	for i := range a.Layers {
		l := &a.Layers[i]
		k := slices.IndexFunc(all, func(x arch.LinearLayer) bool { return x.Module == l.Module })
		if k < 0 {
			return fmt.Errorf("the model has no linear layer %q", l.Module)
		}
		l.Module = paths[k]
		has[l.Module] = true
		whole = append(whole, l.Module)
		if !slices.Contains(a.Targets, end(l.Module)) {
			a.Targets = append(a.Targets, end(l.Module))
		}
	}
	if slices.ContainsFunc(paths, func(p string) bool { return !has[p] && slices.Contains(a.Targets, end(p)) }) {
		a.Targets = whole
	}
	return nil
}

// matched pairs the layers of an adapter with those of a model. The error names all that the model does not have.
func (a *Adapter) matched(m *model.Model) ([]arch.LinearLayer, error) {
	all, paths, err := modules(m)
	if err != nil {
		return nil, err
	}
	var out []arch.LinearLayer
	var missing []string
	for _, l := range a.Layers {
		i := slices.Index(paths, l.Module)
		if i < 0 {
			missing = append(missing, fmt.Sprintf("%q", l.Module))
			continue
		}
		x := all[i]
		if l.A.Shape[1] != x.In || l.B.Shape[0] != x.Out {
			return nil, fmt.Errorf("module %q takes %d values and gives %d, the adapter's takes %d and gives %d: it is of another model", l.Module, x.In, x.Out, l.A.Shape[1], l.B.Shape[0])
		}
		if copied := a.copies[l.Module]; copied != nil {
			if err := sameWeight(m, x, copied); err != nil {
				return nil, err
			}
		}
		out = append(out, x)
	}
	if missing != nil {
		return nil, fmt.Errorf("the model has no linear layers %s, which the adapter is of", strings.Join(missing[:min(len(missing), 4)], ", "))
	}
	return out, nil
}

// sameWeight compares the weight of a layer with a copy of it.
func sameWeight(m *model.Model, l arch.LinearLayer, copied *tensor.Tensor) error {
	i := slices.IndexFunc(m.Graph.Params(), func(v *graph.Value) bool { return v.Name == l.Module+".weight" })
	own, err := m.Graph.Params()[i].Data.Load()
	if err != nil {
		return fmt.Errorf("module %q: %w", l.Module, err)
	}
	x, err := own.Floats()
	if err != nil {
		return fmt.Errorf("module %q: %w", l.Module, err)
	}
	y, err := copied.Floats()
	if err != nil {
		return fmt.Errorf("module %q: %w", l.Module, err)
	}
	if !slices.Equal(x, y) {
		return fmt.Errorf("module %q: the adapter comes with another weight of the layer itself, which is not supported", l.Module)
	}
	return nil
}

// Apply returns m with the adapter beside its layers, whose weights stay what they are.
func (a *Adapter) Apply(m *model.Model) (*model.Model, error) {
	out := m.With(m.Graph.Clone())
	layers, err := a.matched(out)
	if err != nil {
		return nil, err
	}
	for i, l := range a.Layers {
		x := layers[i]
		if err := x.Adapt(out.Graph, graph.Param(x.Module+".lora_A.weight", l.A), graph.Param(x.Module+".lora_B.weight", l.B), l.Scale, 0); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Merge returns m with the adapter added to its weights, each computed when it is loaded: floats are rounded to the type that they are stored in,
// and codes become float32 values.
func (a *Adapter) Merge(m *model.Model) (*model.Model, error) {
	out := m.With(m.Graph.Clone())
	layers, err := a.matched(out)
	if err != nil {
		return nil, err
	}
	sums := map[string]func(tensor.Source) tensor.Source{}
	for i, l := range a.Layers {
		sums[layers[i].Module+".weight"] = func(s tensor.Source) tensor.Source { return &merged{s, l, layers[i].Turned} }
	}
	for _, v := range out.Graph.Params() {
		if f := sums[v.Name]; f != nil {
			v.Data = f(v.Data)
			v.Type = graph.Shaped(v.Type.DType, v.Data.Shape())
		}
	}
	out.State = slices.Clone(m.StateDict())
	for i, e := range out.State {
		if f := sums[e.Name]; f != nil {
			out.State[i].Source, out.State[i].Scales = f(e.Source), nil
			delete(sums, e.Name)
		}
	}
	if len(sums) > 0 {
		return nil, fmt.Errorf("weights %s are no tensors of the checkpoint", strings.Join(slices.Sorted(maps.Keys(sums)), ", "))
	}
	return out, nil
}

// merged is W + scale*B*A, or the transpose of the product where W is [in, out].
type merged struct {
	tensor.Source
	l      AdapterLayer
	turned bool
}

// Load implements [tensor.Source].
func (s *merged) Load() (*tensor.Tensor, error) {
	t, err := s.Source.Load()
	if err != nil {
		return nil, err
	}
	f, err := t.Floats()
	if err != nil {
		return nil, err
	}
	sum := tensor.Of(t.Shape.Clone(), slices.Clone(f))
	rank, in, out := s.l.A.Shape[0], s.l.A.Shape[1], s.l.B.Shape[0]
	a, b, w := tensor.Data[float32](s.l.A), tensor.Data[float32](s.l.B), tensor.Data[float32](sum)
	if s.turned {
		kernel.GemmF32(kernel.Shared(), true, true, in, out, rank, float32(s.l.Scale), a, in, b, rank, 1, w, out)
	} else {
		kernel.GemmF32(kernel.Shared(), false, false, out, in, rank, float32(s.l.Scale), b, rank, a, in, 1, w, in)
	}
	if s.DType() == tensor.Float32 {
		return sum, nil
	}
	wide, err := sum.Float64s()
	if err != nil {
		return nil, err
	}
	return tensor.FromFloat64s(s.DType(), sum.Shape, wide)
}

// Release implements [tensor.Releaser].
func (s *merged) Release() { tensor.Release(s.Source) }
