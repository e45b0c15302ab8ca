// Package torch opens the files of PyTorch as models: whole modules, state dicts of known architectures, and archives that
// hold a graph; and it writes state dicts. Package checkpoint reads them; packages torchnn and arch/vision know what modules and architectures compute.
// Nothing in a file is executed: a model whose class is not known here is refused, with what was found in it.
package torch

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/arch/vision"
	"github.com/neurotrain/neuroquant/internal/checkpoint"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/torchexport"
	"github.com/neurotrain/neuroquant/internal/torchnn"
	"github.com/neurotrain/neuroquant/internal/torchscript"
	"github.com/neurotrain/neuroquant/tensor"
)

const name = "pt"

// Format is the entry of this package in the table of formats.
var Format = model.Format{Name: name, Match: Match, Open: Open, Describe: Describe, Save: Save}

// others are extensions of archives that begin like those of PyTorch.
var others = []string{".npz", ".zip", ".jar", ".docx", ".xlsx", ".tar"}

// Match reports whether a file looks like one of PyTorch: it begins as one, and is not called something else.
func Match(path string, head []byte) bool {
	return checkpoint.Match(head) && !slices.Contains(others, strings.ToLower(filepath.Ext(path)))
}

// Open reads the model at path. Its parameters alias the mapped file until the model is closed.
func Open(ctx context.Context, path string) (*model.Model, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, err := checkpoint.Open(path)
	if err != nil {
		return nil, fmt.Errorf("torch: %w", err)
	}
	m := &model.Model{
		Format: name, Path: path, Dir: filepath.Dir(path), Files: []string{filepath.Base(path)},
		Producer: "PyTorch", Metadata: map[string]string{},
	}
	if m.Graph, err = build(ctx, f, m); err != nil {
		return nil, errors.Join(fmt.Errorf("torch: %s: %w", path, err), f.Close())
	}
	m.Own(f)
	return m, nil
}

// build records the graph of what a file holds.
func build(ctx context.Context, f *checkpoint.File, m *model.Model) (*graph.Graph, error) {
	o := model.OpenOptionsFrom(ctx)
	stem := strings.TrimSuffix(filepath.Base(f.Path), filepath.Ext(f.Path))
	switch f.Kind {
	case checkpoint.Script:
		return fromScript(ctx, stem, f, m, o)
	case checkpoint.Export:
		g, err := torchexport.Build(ctx, stem, f, torchexport.Options{Input: o.Input, Weight: func(name string, s tensor.Source) {
			m.State = append(m.State, model.Entry{Name: name, Source: stored(s)})
		}})
		if err != nil {
			return nil, fmt.Errorf("torch.export archive: %w", err)
		}
		return g, nil
	}
	v, err := f.Object()
	if err != nil {
		return nil, err
	}
	s, err := checkpoint.StateDict(v)
	if err != nil {
		return nil, withRefused(err, f)
	}
	m.State, m.Versions = entries(s), s.Versions
	if s.Module != nil && o.Arch == "" {
		return fromModule(stem, s, f, m, o)
	}
	return fromState(stem, s, f, m, o)
}

// fromScript records the graph of a TorchScript archive.
func fromScript(ctx context.Context, stem string, f *checkpoint.File, m *model.Model, o model.OpenOptions) (*graph.Graph, error) {
	class, err := torchscript.Class(f)
	if err != nil {
		return nil, withRefused(err, f)
	}
	m.Arch = class
	g, err := torchscript.Build(ctx, stem, f, torchscript.Options{Input: o.Input, Usual: usualImages})
	if err != nil {
		return nil, fmt.Errorf("TorchScript module %s: %w", class, err)
	}
	v, err := f.Object()
	if err != nil {
		return nil, err
	}
	s, err := checkpoint.StateDict(v)
	if err != nil {
		return nil, err
	}
	m.State = entries(s)
	return g, nil
}

// usualImages returns the images that a network of torchvision takes.
func usualImages(class string) []graph.Dim {
	side, _ := vision.SideOf(class)
	if side == 0 {
		return nil
	}
	return []graph.Dim{graph.Named("batch"), graph.Known(3), graph.Known(side), graph.Known(side)}
}

// stored returns the tensor that a parameter is a cast of, or the parameter itself.
func stored(s tensor.Source) tensor.Source {
	if d, ok := s.(tensor.Derived); ok && len(d.Parts()) == 1 && d.Parts()[0].Shape().Equal(s.Shape()) {
		return d.Parts()[0]
	}
	return s
}

// entries lists the tensors of a state dict under the names that the file has for them.
func entries(s *checkpoint.State) []model.Entry {
	out := make([]model.Entry, len(s.Tensors))
	for i, t := range s.Tensors {
		out[i] = model.Entry{Name: s.Prefix + t.Name, Source: torchnn.Real(t.Tensor)}
	}
	return out
}

// fromModule records the graph of a whole module.
func fromModule(stem string, s *checkpoint.State, f *checkpoint.File, m *model.Model, o model.OpenOptions) (*graph.Graph, error) {
	mod := s.Module
	m.Arch = mod.Class
	if unknown := torchnn.UnknownClasses(mod, vision.Classes); len(unknown) > 0 {
		return nil, refuseClasses(s, unknown, f)
	}
	given := o.Input
	if side, fixed := vision.SideOf(mod.Class); side > 0 && o.Input(torchnn.InputName) == nil {
		t, err := torchnn.InputType(mod)
		if err != nil {
			return nil, err
		}
		if t.Ranked && len(t.Dims) == 4 {
			if n := int(sizeAttr(mod, "image_size")); fixed && n > 0 {
				side = n
			}
			dims := []graph.Dim{t.Dims[0], t.Dims[1], graph.Known(side), graph.Known(side)}
			given = func(string) []graph.Dim { return dims }
		}
	}
	g, err := torchnn.FromModule(stem, mod, vision.Classes).Build(given)
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", mod.Class, limit(err))
	}
	return g, nil
}

func sizeAttr(m *checkpoint.Module, name string) int64 {
	n, _ := m.Attr(name).(int64)
	return n
}

// fromState records the graph of a state dict of a known architecture.
func fromState(stem string, s *checkpoint.State, f *checkpoint.File, m *model.Model, o model.OpenOptions) (*graph.Graph, error) {
	l := torchnn.FromState(stem, s)
	arch := vision.Find(l)
	if o.Arch != "" {
		var err error
		if arch, err = vision.ByName(o.Arch); err != nil {
			return nil, err
		}
	}
	if arch == nil {
		return nil, refuseState(s, f)
	}
	m.Arch = arch.Name
	member := arch.Name
	if o.Arch != "" {
		member, m.Arch = o.Arch, o.Arch
	}
	dims := o.Input(torchnn.InputName)
	if dims == nil {
		var err error
		if dims, err = stateInput(l, arch); err != nil {
			return nil, err
		}
	}
	x := l.Input(torchnn.InputName, graph.Ranked(tensor.Float32, dims...))
	g, err := l.Finish([]*graph.Value{arch.Build(l, x, member)}, torchnn.OutputName)
	if err != nil {
		return nil, fmt.Errorf("architecture %s: %w", m.Arch, limit(err))
	}
	return g, nil
}

// stateInput returns the dimensions of the usual input of an architecture.
func stateInput(l *torchnn.Layer, a *vision.Arch) ([]graph.Dim, error) {
	batch := graph.Named("batch")
	if a.Stem == "" {
		n := vision.MLPInput(l)
		if n == 0 {
			return nil, fmt.Errorf("architecture %s: the file has no linear layer", a.Name)
		}
		return []graph.Dim{batch, graph.Known(n)}, nil
	}
	t := l.At(a.Stem).Tensor("weight")
	if t == nil || len(t.Shape()) != 4 {
		return nil, fmt.Errorf("architecture %s: the weight %s.weight of a convolution of images is missing", a.Name, a.Stem)
	}
	side := a.Side
	if n := vision.VitSide(l); n > 0 {
		side = n
	}
	return []graph.Dim{batch, graph.Known(t.Shape()[1]), graph.Known(side), graph.Known(side)}, nil
}
