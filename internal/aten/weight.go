package aten

import (
	"fmt"
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// Weight declares a parameter of the network under its name within the present scope. The same source is the same value.
func (b *Builder) Weight(name string, s tensor.Source) *graph.Value {
	return b.form(name, s, "", func() tensor.Source { return s })
}

// Declare gives a parameter a name outside all scopes, whatever name it is used under.
func (b *Builder) Declare(name string, s tensor.Source) { b.names[s] = name }

// form declares a parameter in a form that is derived from its source.
func (b *Builder) form(name string, s tensor.Source, form string, derive func() tensor.Source) *graph.Value {
	k := paramKey{s, form}
	if v := b.params[k]; v != nil {
		return v
	}
	var v *graph.Value
	if full := b.names[s]; full != "" {
		b.Root(func() { v = b.Source(full, derive()) })
	} else {
		v = b.Source(name, derive())
	}
	b.params[k] = v
	return v
}

// derived is a parameter that is computed from others when it is loaded.
type derived struct {
	shape tensor.Shape
	dtype tensor.DType
	from  []tensor.Source
	make  func(from []*tensor.Tensor) (*tensor.Tensor, error)
	// place calls f for runs of n elements that lie at i of the parameter and at j of a part.
	place func(f func(part, i, j, n int))
}

func (d *derived) Shape() tensor.Shape { return d.shape }
func (d *derived) DType() tensor.DType { return d.dtype }

// Load computes the parameter anew.
func (d *derived) Load() (*tensor.Tensor, error) {
	from := make([]*tensor.Tensor, len(d.from))
	for i, s := range d.from {
		t, err := s.Load()
		if err != nil {
			return nil, err
		}
		from[i] = t
	}
	t, err := d.make(from)
	if err == nil && (!t.Shape.Equal(d.shape) || t.DType != d.dtype) {
		err = fmt.Errorf("want %v[%v], got %v", d.dtype, d.shape, t)
	}
	return t, err
}

// Parts implements [tensor.Derived].
func (d *derived) Parts() []tensor.Source { return d.from }

// Spread implements [tensor.Derived].
func (d *derived) Spread(value *tensor.Tensor, parts []*tensor.Tensor) error {
	src, err := value.Floats()
	if err != nil {
		return err
	}
	dst := make([][]float32, len(parts))
	for k, p := range parts {
		dst[k] = tensor.Data[float32](p)
	}
	d.place(func(part, i, j, n int) { copy(dst[part][j:j+n], src[i:i+n]) })
	return nil
}

// Release lets go of what is behind.
func (d *derived) Release() {
	for _, s := range d.from {
		tensor.Release(s)
	}
}

// apply returns a parameter that is what an operator that keeps the order of elements computes from another.
func apply(s tensor.Source, kind string, a map[string]any) (tensor.Source, error) {
	o, ok := op.New(kind)
	if !ok {
		panic("aten: there is no operator " + kind)
	}
	if err := op.SetAttrs(o, a); err != nil {
		return nil, err
	}
	types, err := o.Infer([]graph.Type{graph.Shaped(s.DType(), s.Shape())})
	if err != nil {
		return nil, err
	}
	shape, ok := types[0].Shape()
	if !ok {
		return nil, fmt.Errorf("%s of %v[%v]: the shape is not known", kind, s.DType(), s.Shape())
	}
	return &derived{shape: shape, dtype: types[0].DType, from: []tensor.Source{s}, make: func(from []*tensor.Tensor) (*tensor.Tensor, error) {
		out, err := o.Eval(&graph.Env{}, from)
		if err != nil {
			return nil, err
		}
		return out[0], nil
	}, place: func(f func(part, i, j, n int)) { f(0, 0, 0, shape.Len()) }}, nil
}

// Float32 returns a parameter of a floating-point type as float32.
func Float32(s tensor.Source) tensor.Source {
	if d := s.DType(); d == tensor.Float32 || !d.IsFloat() {
		return s
	}
	c, err := apply(s, "Cast", map[string]any{"to": int64(tensor.Float32)})
	if err != nil {
		panic("aten: " + err.Error()) // every float type is cast
	}
	return c
}

// transposed is a matrix with rows and columns exchanged.
type transposed struct{ tensor.Source }

// Parts implements [tensor.Derived]: the matrix in the layout of PyTorch.
func (t transposed) Parts() []tensor.Source { return []tensor.Source{t.Source} }

// Spread implements [tensor.Derived].
func (t transposed) Spread(value *tensor.Tensor, parts []*tensor.Tensor) error {
	src, err := value.Floats()
	if err != nil {
		return err
	}
	dst, rows, cols := tensor.Data[float32](parts[0]), value.Shape[0], value.Shape[1]
	for i := range rows {
		for j := range cols {
			dst[j*rows+i] = src[i*cols+j]
		}
	}
	return nil
}

func (t transposed) Shape() tensor.Shape {
	s := t.Source.Shape()
	return tensor.Shape{s[1], s[0]}
}

func (t transposed) Load() (*tensor.Tensor, error) {
	w, err := t.Source.Load()
	if err != nil {
		return nil, err
	}
	o, _ := op.New("Transpose")
	if err := op.SetAttrs(o, map[string]any{"perm": []int64{1, 0}}); err != nil {
		return nil, err
	}
	out, err := o.Eval(&graph.Env{}, []*tensor.Tensor{w})
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// Release lets go of the matrix behind.
func (t transposed) Release() { tensor.Release(t.Source) }

// Transposed declares a matrix [out, in], as PyTorch has the weight of a linear layer, as [in, out].
func (b *Builder) Transposed(name string, s tensor.Source) *graph.Value {
	return b.form(name, s, "transposed", func() tensor.Source { return transposed{s} })
}

// rows is a range of the rows of a tensor: its first dimension.
func rows(s tensor.Source, from, to int) tensor.Source {
	shape := s.Shape().Clone()
	shape[0] = to - from
	return &derived{shape: shape, dtype: s.DType(), from: []tensor.Source{s}, make: func(in []*tensor.Tensor) (*tensor.Tensor, error) {
		t := in[0]
		per := t.DType.ByteLen(t.Shape[1:].Len())
		return tensor.FromBytes(t.DType, shape, t.Bytes()[from*per:to*per])
	}, place: func(f func(part, i, j, n int)) { f(0, 0, from*shape[1:].Len(), shape.Len()) }}
}

// stacked joins tensors of float32 along a new first dimension, with the blocks that each consists of along its first
// dimension in another order.
func stacked(parts []tensor.Source, order []int) tensor.Source {
	one := parts[0].Shape()
	shape := append(tensor.Shape{len(parts)}, one...)
	return &derived{shape: shape, dtype: tensor.Float32, from: parts, make: func(in []*tensor.Tensor) (*tensor.Tensor, error) {
		out := tensor.New(tensor.Float32, shape...)
		dst := tensor.Data[float32](out)
		for _, t := range in {
			src := tensor.Data[float32](t)
			block := len(src) / len(order)
			for _, o := range order {
				copy(dst, src[o*block:(o+1)*block])
				dst = dst[block:]
			}
		}
		return out, nil
	}, place: placeBlocks(parts, order)}
}

// placeBlocks is the place of parts of which each consists of blocks in another order.
func placeBlocks(parts []tensor.Source, order []int) func(f func(part, i, j, n int)) {
	return func(f func(part, i, j, n int)) {
		at := 0
		for k, p := range parts {
			block := p.Shape().Len() / len(order)
			for _, o := range order {
				f(k, at, o*block, block)
				at += block
			}
		}
	}
}

// concatenated joins vectors of float32, of which each consists of blocks in another order, in groups: one row of the result a group.
func concatenated(parts [][]tensor.Source, order []int) tensor.Source {
	n := 0
	for _, p := range parts[0] {
		n += p.Shape().Len()
	}
	shape := tensor.Shape{len(parts), n}
	all := slices.Concat(parts...)
	return &derived{shape: shape, dtype: tensor.Float32, from: all, make: func(in []*tensor.Tensor) (*tensor.Tensor, error) {
		out := tensor.New(tensor.Float32, shape...)
		dst := tensor.Data[float32](out)
		for _, t := range in {
			src := tensor.Data[float32](t)
			block := len(src) / len(order)
			for _, o := range order {
				copy(dst, src[o*block:(o+1)*block])
				dst = dst[block:]
			}
		}
		return out, nil
	}, place: placeBlocks(all, order)}
}
