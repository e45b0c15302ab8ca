package quantize

import (
	"context"
	"fmt"

	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/internal/solve"
	"github.com/neurotrain/neuroquant/tensor"
)

// Rehearse carries out a plan of a method that quantizes weights alone without a value of them: the graph of m becomes what it will be, in
// which matrices have their types and sizes, and all their codes are 0. Other methods are an error.
func Rehearse(m *model.Model, p *Plan) error {
	switch p.Recipe.Method {
	case "rtn", "bitsandbytes": // which round when a matrix is loaded
		return Run(context.Background(), m, p, Samples{})
	case "w8a8":
		return roundInt8(m, p, func([]weightLayer) error { return nil })
	case "gptq", "awq":
	default:
		return fmt.Errorf("method %s cannot be rehearsed", p.Recipe.Method)
	}
	layers, _, err := fewBits(m, p.Recipe)
	if err != nil {
		return err
	}
	for i := range layers {
		l := &layers[i]
		l.replace(&unsolved{*l, p.Recipe.WeightOnly})
	}
	return nil
}

// unsolved is the weight of a layer before it is solved: a matrix of codes of which only the form is known.
type unsolved struct {
	l weightLayer
	o WeightSettings
}

// Shape implements [tensor.Source].
func (u *unsolved) Shape() tensor.Shape { return tensor.Shape{u.l.rows, u.l.cols} }

// DType implements [tensor.Source].
func (u *unsolved) DType() tensor.DType { return tensor.Float32 }

// Form implements [packed.Formed].
func (u *unsolved) Form() *packed.Affine { return u.o.form(&u.l) }

// Affine implements [packed.Coded]: codes of 0.
func (u *unsolved) Affine() (*packed.Affine, error) {
	a := u.Form()
	codes, scales, zeros, index := partsOf(a)
	a.Codes, a.Scales = make([]byte, codes), make([]float32, scales/4)
	if a.Zeros != nil {
		a.Zeros = make([]byte, zeros)
		for i := range a.Zeros {
			a.Zeros[i] = byte(u.o.LeastZero)
		}
	}
	if a.Index != nil {
		a.Index = make([]int32, index/4)
	}
	return a, nil
}

// Load implements [tensor.Source].
func (u *unsolved) Load() (*tensor.Tensor, error) {
	a, err := u.Affine()
	if err != nil {
		return nil, err
	}
	return tensor.NewPacked(tensor.Float32, u.Shape(), a), nil
}

// form is what the codes of a layer are like.
func (o *WeightSettings) form(l *weightLayer) *packed.Affine {
	a := &packed.Affine{Bits: o.Bits, Rows: l.rows, Cols: l.cols, Group: o.group(l.cols), ScaleType: o.ScaleType}
	if !o.Symmetric {
		a.Zeros = []byte{}
	}
	if o.Order == solve.ActOrder && a.Groups() > 1 {
		a.Index = []int32{}
	}
	return a
}
