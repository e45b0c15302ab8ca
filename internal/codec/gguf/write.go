package gguf

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Encode returns the header of a file of version 3, padded to the alignment of the data (that of [AlignmentKey] in pairs, or the
// default), and sets the offset of each tensor, whose data takes sizes[i] bytes. Each tensor's data is to be followed by zeros up to a
// multiple of the alignment.
func Encode(pairs []Pair, tensors []Tensor, sizes []int) ([]byte, error) {
	h := Header{Pairs: pairs, Alignment: defaultAlignment, index: map[string]int{}}
	for i, p := range pairs {
		if _, again := h.index[p.Key]; again || p.Key == "" {
			return nil, fmt.Errorf("gguf: the metadata key %q is empty or there twice", p.Key)
		}
		h.index[p.Key] = i
	}
	if a, ok, err := h.Int(AlignmentKey); err != nil {
		return nil, fmt.Errorf("gguf: %w", err)
	} else if ok {
		if h.Alignment, err = checkAlignment(a); err != nil {
			return nil, fmt.Errorf("gguf: %w", err)
		}
	}
	b := []byte(Magic)
	b = binary.LittleEndian.AppendUint32(b, 3)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(tensors)))
	b = binary.LittleEndian.AppendUint64(b, uint64(len(pairs)))
	for _, p := range pairs {
		var err error
		if b, err = appendValue(appendText(b, p.Key), p.Value); err != nil {
			return nil, fmt.Errorf("gguf: metadata %q: %w", p.Key, err)
		}
	}
	offset := 0
	seen := map[string]bool{}
	for i := range tensors {
		t := &tensors[i]
		if t.Name == "" || len(t.Name) > maxNameBytes || len(t.Shape) > maxDims || seen[t.Name] {
			return nil, fmt.Errorf("gguf: tensor %q with %d dimensions: names are unique and of 1 to %d bytes, dimensions up to %d", t.Name, len(t.Shape), maxNameBytes, maxDims)
		}
		seen[t.Name] = true
		t.Offset = offset
		b = appendText(b, t.Name)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(t.Shape)))
		for d := len(t.Shape) - 1; d >= 0; d-- {
			b = binary.LittleEndian.AppendUint64(b, uint64(t.Shape[d]))
		}
		b = binary.LittleEndian.AppendUint32(b, t.Type)
		b = binary.LittleEndian.AppendUint64(b, uint64(offset))
		offset = align(offset+sizes[i], h.Alignment)
	}
	return append(b, make([]byte, align(len(b), h.Alignment)-len(b))...), nil
}

// Padding returns how many zeros follow data of n bytes in a file of the default alignment.
func Padding(n int) int { return align(n, defaultAlignment) - n }

func appendText(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

func appendValue(b []byte, v any) ([]byte, error) {
	t, ok := typeOf(v)
	if ok {
		return appendPlain(binary.LittleEndian.AppendUint32(b, uint32(t)), v), nil
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(Array))
	switch s := v.(type) {
	case []uint8:
		return appendSlice(b, s), nil
	case []int8:
		return appendSlice(b, s), nil
	case []uint16:
		return appendSlice(b, s), nil
	case []int16:
		return appendSlice(b, s), nil
	case []uint32:
		return appendSlice(b, s), nil
	case []int32:
		return appendSlice(b, s), nil
	case []float32:
		return appendSlice(b, s), nil
	case []bool:
		return appendSlice(b, s), nil
	case []string:
		return appendSlice(b, s), nil
	case []uint64:
		return appendSlice(b, s), nil
	case []int64:
		return appendSlice(b, s), nil
	case []float64:
		return appendSlice(b, s), nil
	}
	return nil, fmt.Errorf("a value of Go type %T cannot be written", v)
}

func appendSlice[T any](b []byte, s []T) []byte {
	var z T
	t, _ := typeOf(z)
	b = binary.LittleEndian.AppendUint32(b, uint32(t))
	b = binary.LittleEndian.AppendUint64(b, uint64(len(s)))
	for _, v := range s {
		b = appendPlain(b, v)
	}
	return b
}

func typeOf(v any) (Type, bool) {
	switch v.(type) {
	case uint8:
		return Uint8, true
	case int8:
		return Int8, true
	case uint16:
		return Uint16, true
	case int16:
		return Int16, true
	case uint32:
		return Uint32, true
	case int32:
		return Int32, true
	case float32:
		return Float32, true
	case bool:
		return Bool, true
	case string:
		return String, true
	case uint64:
		return Uint64, true
	case int64:
		return Int64, true
	case float64:
		return Float64, true
	}
	return 0, false
}

// appendPlain writes a value that is no array.
func appendPlain(b []byte, v any) []byte {
	le := binary.LittleEndian
	switch x := v.(type) {
	case uint8:
		return append(b, x)
	case int8:
		return append(b, byte(x))
	case uint16:
		return le.AppendUint16(b, x)
	case int16:
		return le.AppendUint16(b, uint16(x))
	case uint32:
		return le.AppendUint32(b, x)
	case int32:
		return le.AppendUint32(b, uint32(x))
	case float32:
		return le.AppendUint32(b, math.Float32bits(x))
	case bool:
		if x {
			return append(b, 1)
		}
		return append(b, 0)
	case string:
		return appendText(b, x)
	case uint64:
		return le.AppendUint64(b, x)
	case int64:
		return le.AppendUint64(b, uint64(x))
	case float64:
		return le.AppendUint64(b, math.Float64bits(x))
	}
	return b
}
