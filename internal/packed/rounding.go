package packed

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// Rounding is an encoding that each matrix is rounded to by itself, with its settings: one of bitsandbytes, or a scale for each row.
type Rounding struct {
	Scales tensor.DType // of 8-bit codes whose products round activations as well; Invalid: an encoding of bitsandbytes
	Type   *FourBitType // nil: LLM.int8()
	Block  int          // values that share a scale, with 4 bits
	Double bool         // scales are rounded too, with 4 bits
	// Threshold of outliers, with 8 bits.
	Threshold float32
}

// Scheme describes the encoding.
func (r Rounding) Scheme() tensor.Scheme {
	switch {
	case r.Scales != tensor.Invalid:
		return (&RowInt8{}).Scheme()
	case r.Type == nil:
		return (&RowInt8{Max: []float32{}}).Scheme()
	}
	return (&FourBit{Type: r.Type, Block: r.Block}).Scheme()
}

// ByteLen is the memory of a matrix in the encoding.
func (r Rounding) ByteLen(rows, cols int) int {
	if r.Scales != tensor.Invalid {
		return rows*cols + r.Scales.ByteLen(rows)
	}
	if r.Type == nil {
		return rows*cols + 4*rows
	}
	blocks := (rows*cols + r.Block - 1) / r.Block
	if r.Double {
		return (rows*cols+1)/2 + blocks + 4*((blocks+NestedBlock-1)/NestedBlock)
	}
	return (rows*cols+1)/2 + 4*blocks
}

// CodeBytes is how much of that are codes.
func (r Rounding) CodeBytes(rows, cols int) int {
	if r.Type == nil {
		return rows * cols
	}
	return (rows*cols + 1) / 2
}

// Rounded is a matrix that is rounded when it is loaded, so that a model of any size takes the memory of one matrix.
type Rounded struct {
	Rounding
	// From holds the values, outputs x inputs, or the other way round if ByInput.
	From    tensor.Source
	ByInput bool
	Stored  tensor.DType // the type of the values in their file
}

// Shape implements [tensor.Source].
func (r *Rounded) Shape() tensor.Shape {
	s := r.From.Shape()
	if r.ByInput {
		return tensor.Shape{s[1], s[0]}
	}
	return s
}

// DType implements [tensor.Source].
func (r *Rounded) DType() tensor.DType { return tensor.Float32 }

// Load implements [tensor.Source].
func (r *Rounded) Load() (*tensor.Tensor, error) {
	p, err := r.Round(nil)
	if err != nil {
		return nil, err
	}
	return tensor.NewPacked(tensor.Float32, r.Shape(), p), nil
}

// Release implements [tensor.Releaser].
func (r *Rounded) Release() { tensor.Release(r.From) }

// room is memory for n elements: that which is given if it is enough, with what is in it, else new.
func room[T any](old []T, n int) []T {
	if cap(old) < n {
		return make([]T, n)
	}
	return old[:n]
}

// Fits reports whether a matrix that was rounded before has memory enough for the codes of r.
func (r *Rounded) Fits(old tensor.Packed) bool {
	s := r.Shape()
	n := r.CodeBytes(s[0], s[1])
	switch old := old.(type) {
	case *FourBit:
		return cap(old.Codes) >= n
	case *RowInt8:
		return cap(old.Codes) >= n
	}
	return false
}

// Round rounds the matrix: it returns a [*FourBit] or a [*RowInt8]. old is a matrix that Round returned and that is no longer used, whose memory
// the result may take, or nil.
func (r *Rounded) Round(old tensor.Packed) (tensor.Packed, error) {
	t, err := r.From.Load()
	if err != nil {
		return nil, err
	}
	s := r.Shape()
	rows, cols := s[0], s[1]
	var row func(dst []float32, row int)
	switch {
	case t.Packed != nil && !r.ByInput:
		row = t.Packed.Row
	default:
		f, err := t.Floats()
		if err != nil {
			return nil, err
		}
		row = func(dst []float32, row int) {
			if !r.ByInput {
				copy(dst, f[row*cols:(row+1)*cols])
				return
			}
			for c := range dst {
				dst[c] = f[c*rows+row]
			}
		}
	}
	p := kernel.Shared()
	if r.Type == nil {
		m, err := (*RowInt8)(nil), error(nil)
		var codes []byte
		if old, ok := old.(*RowInt8); ok {
			codes = old.Codes
		}
		if r.Scales != tensor.Invalid {
			m, err = newRowInt8(codes, p, rows, cols, r.Scales, row)
		} else {
			m, err = newLLMInt8(codes, p, rows, cols, r.Threshold, row)
		}
		if err != nil {
			return nil, err
		}
		return m, nil
	}
	four, _ := old.(*FourBit)
	m, err := newFourBit(four, p, r.Type, rows, cols, r.Block, r.Double, row)
	if err != nil {
		return nil, err
	}
	m.DType = r.Stored
	return m, nil
}

// Check reports settings that there are not.
func (r Rounding) Check() error {
	if r.Type == nil {
		if !(r.Threshold >= 0) {
			return fmt.Errorf("a threshold of %v; want 0 or more", r.Threshold)
		}
		return nil
	}
	for _, b := range FourBitBlocks {
		if b == r.Block {
			return nil
		}
	}
	return fmt.Errorf("blocks of %d values; want one of %v", r.Block, FourBitBlocks)
}
