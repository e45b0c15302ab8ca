package quantize

import (
	"context"
	"fmt"

	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/internal/solve"
	"github.com/neurotrain/neuroquant/tensor"
)

// rtn rounds weights to the nearest code of few bits: the baseline of methods that quantize weights alone.
var rtn = Method{
	Name:  "rtn",
	Title: "2- to 8-bit weights, each rounded to the nearest; no calibration data",
	plan:  planWeightOnly,
	run:   runRTN,
}

func planWeightOnly(m *model.Model, r Recipe) (*Plan, error) {
	_, p, err := fewBits(m, r)
	return p, err
}

// fewBits lists the layers whose weights become codes of few bits.
func fewBits(m *model.Model, r Recipe) ([]weightLayer, *Plan, error) {
	o := &r.WeightOnly
	if o.Bits < 2 || o.Bits > 8 {
		return nil, nil, fmt.Errorf("method %s: %d bits; want 2 to 8", r.Method, o.Bits)
	}
	return weightOnly(m, r, o.scheme(), o.bytes)
}

func (o *WeightSettings) rounding() solve.AWQOptions {
	return solve.AWQOptions{Bits: o.Bits, Group: o.Group, Symmetric: o.Symmetric, ScaleType: o.ScaleType, LeastZero: o.LeastZero}
}

func runRTN(_ context.Context, m *model.Model, p *Plan, _ Samples) error {
	layers, _, err := fewBits(m, p.Recipe)
	if err != nil {
		return err
	}
	for i := range layers {
		l := &layers[i]
		l.replace(&nearest{*l, p.Recipe.WeightOnly})
	}
	return nil
}

// nearest is the weight of a layer rounded to nearest when it is loaded, so that a model of any size takes the memory of one matrix of codes.
type nearest struct {
	l weightLayer
	o WeightSettings
}

// Shape implements [tensor.Source].
func (n *nearest) Shape() tensor.Shape { return tensor.Shape{n.l.rows, n.l.cols} }

// DType implements [tensor.Source].
func (n *nearest) DType() tensor.DType { return tensor.Float32 }

// Form implements [packed.Formed].
func (n *nearest) Form() *packed.Affine { return n.o.form(&n.l) }

// roundedAtOnce is how many values are rounded before the next are read.
const roundedAtOnce = 1 << 18

// Working implements [packed.Working]: values, the same as they are rounded, and codes one a byte and packed; those of the piece before are not
// collected yet.
func (n *nearest) Working() (heap, mapped int) {
	values := n.l.rows * n.l.cols
	piece := min(roundedAtOnce, values)
	if n.l.byInput {
		return 4*values + 14*piece, storedBytes(n.l.w.Data)
	}
	return 14 * piece, inFile(n.l.w.Data).DType().ByteLen(piece)
}

// Affine implements [packed.Coded]: some rows at a time.
func (n *nearest) Affine() (*packed.Affine, error) {
	a, l := n.Form(), &n.l
	step := max(roundedAtOnce/l.cols, 1)
	codes, scales, zeros, _ := partsOf(a)
	a.Codes, a.Scales = make([]byte, 0, codes), make([]float32, 0, scales/4)
	if a.Zeros != nil {
		a.Zeros = make([]byte, 0, zeros)
	}
	for first := 0; first < l.rows; first += step {
		rows := min(step, l.rows-first)
		w, err := l.some(first, rows)
		if err != nil {
			return nil, err
		}
		r, err := solve.Round(kernel.Shared(), solve.Matrix{Rows: rows, W: w}, l.cols, nil, n.o.rounding())
		if err != nil {
			return nil, fmt.Errorf("layer %q: %w", l.name(), err)
		}
		zeros := r.Zeros
		if n.o.Symmetric {
			zeros = nil
		}
		part, err := packed.NewAffine(n.o.Bits, rows, l.cols, a.Group, r.Codes, r.Scales, n.o.ScaleType, zeros, nil)
		if err != nil {
			return nil, fmt.Errorf("layer %q: %w", l.name(), err)
		}
		a.Codes, a.Scales = append(a.Codes, part.Codes...), append(a.Scales, part.Scales...)
		if zeros != nil {
			a.Zeros = append(a.Zeros, zeros...)
		}
	}
	return a, nil
}

// Load implements [tensor.Source].
func (n *nearest) Load() (*tensor.Tensor, error) {
	a, err := n.Affine()
	if err != nil {
		return nil, err
	}
	return tensor.NewPacked(tensor.Float32, n.Shape(), a), nil
}

// Release implements [tensor.Releaser].
func (n *nearest) Release() { tensor.Release(n.l.w.Data) }
