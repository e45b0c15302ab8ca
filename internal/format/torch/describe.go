package torch

import (
	"context"
	"fmt"
	"strings"

	"github.com/neurotrain/neuroquant/internal/arch/vision"
	"github.com/neurotrain/neuroquant/internal/checkpoint"
	"github.com/neurotrain/neuroquant/internal/codec/pickle"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/torchexport"
	"github.com/neurotrain/neuroquant/internal/torchnn"
	"github.com/neurotrain/neuroquant/tensor"
)

// Bounds of a description: what a file repeats by reference is spelled out.
const (
	maxListed = 1 << 17 // tensors and modules
	maxSteps  = 1 << 20 // values that are looked at
)

// Describe returns what a file holds, whether or not a graph can be made of it. No tensor is read.
func Describe(ctx context.Context, path string) (*model.Contents, error) {
	f, err := checkpoint.Open(path)
	if err != nil {
		return nil, fmt.Errorf("torch: %w", err)
	}
	defer f.Close()
	c, err := contents(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("torch: %s: %w", path, err)
	}
	return c, nil
}

func contents(ctx context.Context, f *checkpoint.File) (*model.Contents, error) {
	c := &model.Contents{Kind: string(f.Kind), Container: string(f.Container), BigEndian: f.BigEndian, Tensors: []model.ContentTensor{}}
	d := &describer{c: c, seen: map[any]bool{}}
	if f.Kind == checkpoint.Export {
		_, err := torchexport.Build(ctx, "", f, torchexport.Options{Weight: func(name string, s tensor.Source) {
			if t, ok := stored(s).(*checkpoint.Tensor); ok {
				d.tensor(name, t)
			}
		}})
		if len(c.Tensors) > 0 { // the rest of the program may still not be supported
			err = nil
		}
		return c, err
	}
	v, err := f.Object()
	if err != nil {
		return nil, err
	}
	s, err := checkpoint.StateDict(v)
	if err != nil {
		d.walk("", v, 0)
	} else {
		c.Where, c.Prefix = s.Where, s.Prefix
		for _, t := range s.Tensors {
			d.tensor(s.Prefix+t.Name, t.Tensor)
		}
		for _, o := range s.Other {
			d.value(o.Name, o.Value)
		}
		if s.Where != "" {
			d.beside(v, s.Where)
		}
		if s.Module != nil {
			m := d.module("", s.Module)
			c.Modules = &m
		}
	}
	for _, u := range f.Refused() {
		c.Refused = append(c.Refused, model.ContentRefused{Name: u.Name, How: u.How, Count: u.Count})
	}
	return c, nil
}

// describer fills a description.
type describer struct {
	c       *model.Contents
	seen    map[any]bool // containers on the way from the root
	modules int
	steps   int
}

func (d *describer) tensor(name string, t *checkpoint.Tensor) {
	if len(d.c.Tensors) >= maxListed {
		return
	}
	x := model.ContentTensor{Name: name, DType: t.DType().String(), Shape: append([]int{}, t.Shape()...), Bytes: int64(t.DType().ByteLen(t.Shape().Len()))}
	if t.Storage != nil {
		x.Storage = t.Storage.Name
	}
	switch {
	case t.Err() != nil:
		x.Note = t.Err().Error()
	case t.Quant != nil && t.Quant.Axis < 0:
		x.Note = "quantized, one scale"
	case t.Quant != nil:
		x.Note = fmt.Sprintf("quantized, a scale for each index of axis %d", t.Quant.Axis)
	case t.Class != "":
		x.Note = t.Class
	}
	d.c.Tensors = append(d.c.Tensors, x)
}

func (d *describer) value(name string, v any) {
	if len(d.c.Other) < maxListed {
		d.c.Other = append(d.c.Other, model.ContentValue{Name: name, Value: brief(v)})
	}
}

// beside lists what lies beside the weights in what was saved.
func (d *describer) beside(v any, where string) {
	head, rest, _ := strings.Cut(where, ".")
	dict, ok := v.(*pickle.Dict)
	if !ok {
		return
	}
	for i, k := range dict.Keys {
		name, ok := k.(string)
		switch {
		case !ok:
			d.value(brief(k), dict.Values[i])
		case name != head:
			d.value(name, dict.Values[i])
		case rest != "":
			d.beside(dict.Values[i], rest)
		}
	}
}

// walk lists the tensors of any value by their paths in it.
func (d *describer) walk(path string, v any, depth int) {
	const maxWalk = 64
	if d.steps++; d.steps > maxSteps || depth > maxWalk {
		return
	}
	each := func(id any, keys, values []any) {
		if d.seen[id] {
			return
		}
		d.seen[id] = true
		for i, x := range values {
			key := fmt.Sprint(i)
			if keys != nil {
				key = keyText(keys[i])
			}
			d.walk(strings.TrimPrefix(path+"."+key, "."), x, depth+1)
		}
		delete(d.seen, id)
	}
	switch v := v.(type) {
	case *checkpoint.Tensor:
		d.tensor(path, v)
	case *checkpoint.Array:
		if v.Tensor != nil {
			d.tensor(path, v.Tensor)
		}
	case *pickle.Dict:
		each(v, v.Keys, v.Values)
	case *pickle.List:
		each(v, nil, v.Items)
	case pickle.Tuple:
		if len(v) > 0 {
			each(&v[0], nil, v)
		}
	case *pickle.Object:
		d.value(path, v)
		if s, ok := v.State.(*pickle.Dict); ok {
			each(v, s.Keys, s.Values)
		}
	default:
		d.value(path, v)
	}
}

func keyText(k any) string {
	if s, ok := k.(string); ok {
		return s
	}
	return brief(k)
}

// module describes a module and those below it.
func (d *describer) module(name string, m *checkpoint.Module) model.ContentModule {
	out := model.ContentModule{Name: name, Class: m.Class, Unknown: !torchnn.Known(m.Class, vision.Classes) && !strings.HasPrefix(m.Class, "__torch__.")}
	for _, list := range [][]checkpoint.NamedTensor{m.Params, m.Buffers} {
		for _, p := range list {
			if p.Tensor != nil {
				out.Parameters += p.Shape().Len()
			}
		}
	}
	for _, c := range m.Children {
		if d.modules++; c.Module == nil || d.modules > maxListed {
			continue
		}
		child := d.module(c.Name, c.Module)
		out.Parameters += child.Parameters
		out.Modules = append(out.Modules, child)
	}
	return out
}

// brief spells a value out in a few words.
func brief(v any) string {
	const most = 6
	switch v := v.(type) {
	case string:
		if len(v) > 60 {
			return fmt.Sprintf("%.60q... (%d characters)", v, len(v))
		}
		return fmt.Sprintf("%q", v)
	case nil, bool, int64, float64:
		if v == nil {
			return "None"
		}
		return fmt.Sprint(v)
	case *checkpoint.Tensor:
		return "tensor " + v.String()
	case *checkpoint.Array:
		if v.Tensor != nil {
			return "array " + v.Tensor.String()
		}
		return "array of objects"
	case *pickle.Dict:
		var keys []string
		for _, k := range v.Keys[:min(len(v.Keys), most)] {
			keys = append(keys, keyText(k))
		}
		return cut(fmt.Sprintf("%s of %d: %s", pickle.TypeName(v), v.Len(), strings.Join(keys, ", ")), v.Len() > most)
	case *pickle.Object:
		how := "object of class "
		if v.Called {
			how = "result of "
		}
		return how + v.Class.String()
	case pickle.Global:
		return v.String()
	}
	if items, ok := pickle.Items(v); ok {
		var words []string
		for _, x := range items[:min(len(items), most)] {
			switch x.(type) {
			case nil, bool, int64, float64:
				words = append(words, brief(x))
			case string:
				words = append(words, cut(fmt.Sprintf("%.20q", x), false))
			default:
				words = append(words, pickle.TypeName(x))
			}
		}
		return cut(fmt.Sprintf("%s of %d: %s", pickle.TypeName(v), len(items), strings.Join(words, ", ")), len(items) > most)
	}
	return pickle.TypeName(v)
}

// cut bounds a text, and marks what goes on.
func cut(s string, more bool) string {
	const most = 200
	s = strings.TrimSuffix(s, ": ")
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "..."
	}
	if more {
		s += ", ..."
	}
	return s
}
