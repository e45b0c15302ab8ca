// Package gguf reads and writes the header of GGUF files: metadata and the list of tensors. The data that follows is the caller's,
// as slices of a mapped file or a stream.
//
// Versions 2 and 3, little-endian, are read; version 3 is written. The format is that of docs/gguf.md of github.com/ggml-org/ggml.
package gguf

import (
	"errors"
	"fmt"
	"math"
)

// Magic is what a file begins with.
const Magic = "GGUF"

// Limits that llama.cpp has as well.
const (
	maxDims      = 4
	maxNameBytes = 63
)

// defaultAlignment is that of tensor data in a file that does not state one.
const defaultAlignment = 32

// AlignmentKey states the alignment of tensor data.
const AlignmentKey = "general.alignment"

// Type is the type of a metadata value.
type Type uint32

// Types of metadata.
const (
	Uint8 Type = iota
	Int8
	Uint16
	Int16
	Uint32
	Int32
	Float32
	Bool
	String
	Array
	Uint64
	Int64
	Float64
)

// Pair is a metadata entry. The value is of the Go type that its name in the file says (uint8 ... float64, bool, string) or a slice
// of such. Arrays of arrays are refused, as llama.cpp does.
type Pair struct {
	Key   string
	Value any
}

// Tensor is an entry of the list of tensors. Offset counts from [Header.Data].
type Tensor struct {
	Name   string
	Type   uint32
	Shape  []int // slowest dimension first, as everywhere in this program; the file has them the other way round
	Offset int
}

// Len returns the number of elements, which [Parse] has checked to be representable.
func (t *Tensor) Len() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Header is what a file says before its data.
type Header struct {
	Version   int
	Pairs     []Pair
	Tensors   []Tensor
	Alignment int
	Data      int // offset of the data from the start of the file

	index map[string]int
}

// Get returns a value of the metadata, nil if there is none.
func (h *Header) Get(key string) any {
	if i, ok := h.index[key]; ok {
		return h.Pairs[i].Value
	}
	return nil
}

// Int returns a whole number, of whatever integer type it is.
func (h *Header) Int(key string) (n int, ok bool, err error) {
	v := h.Get(key)
	switch x := v.(type) {
	case nil:
		return 0, false, nil
	case uint8:
		return int(x), true, nil
	case int8:
		return int(x), true, nil
	case uint16:
		return int(x), true, nil
	case int16:
		return int(x), true, nil
	case uint32:
		return int(x), true, nil
	case int32:
		return int(x), true, nil
	case int64:
		return int(x), true, nil
	case uint64:
		if x <= math.MaxInt {
			return int(x), true, nil
		}
		return 0, false, fmt.Errorf("%s: %d is too large", key, x)
	}
	return 0, false, fmt.Errorf("%s: want a whole number, found %T", key, v)
}

// Float returns a number.
func (h *Header) Float(key string) (f float64, ok bool, err error) {
	switch x := h.Get(key).(type) {
	case float32:
		return float64(x), true, nil
	case float64:
		return x, true, nil
	}
	n, ok, err := h.Int(key)
	return float64(n), ok, err
}

// Text returns a string.
func (h *Header) Text(key string) (s string, ok bool, err error) {
	v := h.Get(key)
	if v == nil {
		return "", false, nil
	}
	if s, ok = v.(string); !ok {
		return "", false, fmt.Errorf("%s: want a string, found %T", key, v)
	}
	return s, true, nil
}

// Flag returns a bool.
func (h *Header) Flag(key string) (b, ok bool, err error) {
	v := h.Get(key)
	if v == nil {
		return false, false, nil
	}
	if b, ok = v.(bool); !ok {
		return false, false, fmt.Errorf("%s: want a bool, found %T", key, v)
	}
	return b, true, nil
}

// Slice returns an array of elements of type T.
func Slice[T any](h *Header, key string) ([]T, error) {
	v := h.Get(key)
	if v == nil {
		return nil, nil
	}
	s, ok := v.([]T)
	if !ok {
		var z T
		return nil, fmt.Errorf("%s: want an array of %T, found %T", key, z, v)
	}
	return s, nil
}

// IsBigEndian reports whether a file that begins with head is of a machine of the other byte order.
func isBigEndian(version uint32) bool { return version&0xffff == 0 && version != 0 }

var errTruncated = errors.New("the file ends in the header: it is incomplete")

// maxAlignment bounds the alignment, far above any file's: what lies between tensors is made of it.
const maxAlignment = 1 << 20

// checkAlignment returns an alignment that a file states.
func checkAlignment(a int) (int, error) {
	if a <= 0 || a&(a-1) != 0 || a > maxAlignment {
		return 0, fmt.Errorf("%s: %d is no power of two up to %d", AlignmentKey, a, maxAlignment)
	}
	return a, nil
}

// align returns n rounded up to a multiple of alignment, a power of two.
func align(n, alignment int) int { return (n + alignment - 1) &^ (alignment - 1) }
