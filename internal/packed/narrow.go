// Package packed holds the encodings of quantized matrices: what their bytes mean.
package packed

import (
	"fmt"
	"unsafe"

	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// Narrow is a matrix of floats narrower than float32, row after row: what checkpoints call float16 and bfloat16 weights, and
// those of 8 bits. It makes them matrices of float32 values that are not copied.
type Narrow struct {
	DType tensor.DType
	Cols  int
	data  []byte
}

// NewNarrow returns the matrix that a dense tensor of a narrow float type is, as a packed float32 tensor.
func NewNarrow(t *tensor.Tensor) (*tensor.Tensor, error) {
	if t.Packed != nil || t.Rank() < 1 || t.DType != tensor.Float16 && t.DType != tensor.BFloat16 && !t.DType.IsFloat8() {
		return nil, fmt.Errorf("want a matrix of float16, bfloat16 or an 8-bit float, got %v", t)
	}
	return tensor.NewPacked(tensor.Float32, t.Shape, &Narrow{t.DType, t.Shape[t.Rank()-1], t.Bytes()}), nil
}

// Scheme names the element type.
func (n *Narrow) Scheme() tensor.Scheme {
	return tensor.Scheme{Code: n.DType.String(), Bits: n.DType.Bits(), Symmetric: true}
}

// ByteLen implements [tensor.Packed].
func (n *Narrow) ByteLen() int { return len(n.data) }

// Bytes returns the elements as they are stored.
func (n *Narrow) Bytes() []byte { return n.data }

// Halves returns the bit patterns of a matrix of 16-bit floats.
func (n *Narrow) Halves() []uint16 {
	if len(n.data) == 0 || n.DType.Bits() != 16 {
		return nil
	}
	return unsafe.Slice((*uint16)(unsafe.Pointer(&n.data[0])), len(n.data)/2)
}

// Row implements [tensor.Packed]: widening is exact.
func (n *Narrow) Row(dst []float32, row int) {
	at, end := row*n.Cols, (row+1)*n.Cols
	switch n.DType {
	case tensor.BFloat16:
		kernel.BF16ToF32(dst[:n.Cols], n.Halves()[at:end])
	case tensor.Float16:
		kernel.F16ToF32(dst[:n.Cols], n.Halves()[at:end])
	default:
		for i, c := range n.data[at:end] {
			dst[i] = tensor.DecodeSmall(n.DType, c)
		}
	}
}

// narrowSource loads a matrix of narrow floats as one of float32 values.
type narrowSource struct{ tensor.Source }

// NarrowSource returns a matrix of narrow floats as a packed float32 matrix over the same bytes.
func NarrowSource(s tensor.Source) tensor.Source { return &narrowSource{s} }

// DType implements [tensor.Source].
func (*narrowSource) DType() tensor.DType { return tensor.Float32 }

// Load implements [tensor.Source].
func (s *narrowSource) Load() (*tensor.Tensor, error) {
	t, err := s.Source.Load()
	if err != nil {
		return nil, err
	}
	return NewNarrow(t)
}

// Release implements [tensor.Releaser].
func (s *narrowSource) Release() { tensor.Release(s.Source) }

// Parts implements [tensor.Derived].
func (s *narrowSource) Parts() []tensor.Source { return []tensor.Source{s.Source} }

// Spread implements [tensor.Derived].
func (*narrowSource) Spread(value *tensor.Tensor, parts []*tensor.Tensor) error {
	f, err := value.Floats()
	if err != nil {
		return err
	}
	copy(tensor.Data[float32](parts[0]), f)
	return nil
}
