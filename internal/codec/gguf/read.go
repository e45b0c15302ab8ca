package gguf

import (
	"encoding/binary"
	"fmt"
	"math"
)

// reader takes values off the front of a header. After an error it gives zeros.
type reader struct {
	b   []byte
	at  int
	err error
}

// take returns the next n bytes.
func (r *reader) take(n uint64) []byte {
	if r.err != nil {
		return nil
	}
	if n > uint64(len(r.b)-r.at) {
		r.err = errTruncated
		return nil
	}
	p := r.b[r.at : r.at+int(n)]
	r.at += int(n)
	return p
}

func (r *reader) u32() uint32 {
	if p := r.take(4); p != nil {
		return binary.LittleEndian.Uint32(p)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if p := r.take(8); p != nil {
		return binary.LittleEndian.Uint64(p)
	}
	return 0
}

func (r *reader) text() string { return string(r.take(r.u64())) }

// Parse reads the header at the front of a file; the bytes of the data behind it are not touched.
func Parse(file []byte) (*Header, error) {
	if len(file) < 4 || string(file[:4]) != Magic {
		return nil, fmt.Errorf("not a GGUF file: it starts with %q", file[:min(len(file), 4)])
	}
	r := &reader{b: file, at: 4}
	version := r.u32()
	switch {
	case r.err != nil:
		return nil, r.err
	case isBigEndian(version):
		return nil, fmt.Errorf("the file is big-endian; accepted are little-endian files")
	case version != 2 && version != 3:
		return nil, fmt.Errorf("GGUF version %d; accepted are 2 and 3", version)
	}
	tensors, pairs := r.u64(), r.u64()
	h := &Header{Version: int(version), Alignment: defaultAlignment, index: map[string]int{}}
	// A pair takes at least 13 bytes and a tensor 24, so no count is trusted further than the file is long.
	rest := uint64(len(file) - r.at)
	if r.err != nil {
		return nil, r.err
	}
	if pairs > rest/13 || tensors > rest/24 {
		return nil, fmt.Errorf("%d metadata entries and %d tensors do not fit a file of %d bytes", pairs, tensors, len(file))
	}
	for i := range pairs {
		key := r.text()
		v, err := r.value(Type(r.u32()))
		if err != nil {
			return nil, fmt.Errorf("metadata entry %d %q: %w", i, key, err)
		}
		if _, again := h.index[key]; again || key == "" {
			return nil, fmt.Errorf("metadata entry %d: the key %q is empty or there twice", i, key)
		}
		h.index[key] = len(h.Pairs)
		h.Pairs = append(h.Pairs, Pair{key, v})
	}
	if a, ok, err := h.Int(AlignmentKey); err != nil {
		return nil, err
	} else if ok {
		if h.Alignment, err = checkAlignment(a); err != nil {
			return nil, err
		}
	}
	seen := make(map[string]bool, tensors)
	for i := range tensors {
		t, err := r.tensor()
		if err == nil && seen[t.Name] {
			err = fmt.Errorf("the name is there twice")
		}
		if err == nil && t.Offset%h.Alignment != 0 {
			err = fmt.Errorf("offset %d is no multiple of the alignment %d", t.Offset, h.Alignment)
		}
		if err != nil {
			return nil, fmt.Errorf("tensor %d %q: %w", i, t.Name, err)
		}
		seen[t.Name] = true
		h.Tensors = append(h.Tensors, t)
	}
	if r.err != nil {
		return nil, r.err
	}
	h.Data = align(r.at, h.Alignment)
	return h, nil
}

func (r *reader) tensor() (t Tensor, err error) {
	t.Name = r.text()
	dims := r.u32()
	if dims > maxDims {
		return t, fmt.Errorf("%d dimensions; accepted are up to %d", dims, maxDims)
	}
	t.Shape = make([]int, dims)
	n := uint64(1)
	for i := range t.Shape {
		d := r.u64()
		if d > math.MaxInt || d > 0 && n > math.MaxInt/8/d {
			return t, fmt.Errorf("dimension %d of %d is too large", i, d)
		}
		n *= max(d, 1)
		t.Shape[int(dims)-1-i] = int(d)
	}
	t.Type = r.u32()
	offset := r.u64()
	if offset > math.MaxInt {
		return t, fmt.Errorf("offset %d is too large", offset)
	}
	t.Offset = int(offset)
	return t, r.err
}

// Bytes returns the n bytes of a tensor in the file that the header is of.
func (h *Header) Bytes(file []byte, t *Tensor, n int) ([]byte, error) {
	room := len(file) - h.Data
	if n < 0 || room < 0 || t.Offset > room || n > room-t.Offset {
		return nil, fmt.Errorf("%q lies at byte %d and takes %d, the file has %d: it is incomplete", t.Name, h.Data+t.Offset, n, len(file))
	}
	at := h.Data + t.Offset
	return file[at : at+n : at+n], nil
}

func (r *reader) value(t Type) (any, error) {
	switch t {
	case Uint8:
		return one(r, 1, u8), r.err
	case Int8:
		return one(r, 1, i8), r.err
	case Uint16:
		return one(r, 2, binary.LittleEndian.Uint16), r.err
	case Int16:
		return one(r, 2, i16), r.err
	case Uint32:
		return r.u32(), r.err
	case Int32:
		return one(r, 4, i32), r.err
	case Float32:
		return one(r, 4, f32), r.err
	case Bool:
		return one(r, 1, boolean), r.err
	case String:
		return r.text(), r.err
	case Uint64:
		return r.u64(), r.err
	case Int64:
		return one(r, 8, i64), r.err
	case Float64:
		return one(r, 8, f64), r.err
	case Array:
		elem, n := Type(r.u32()), r.u64()
		return r.array(elem, n)
	}
	if r.err != nil {
		return nil, r.err
	}
	return nil, fmt.Errorf("value type %d is unknown", t)
}

func (r *reader) array(elem Type, n uint64) (any, error) {
	switch elem {
	case Uint8:
		return many(r, n, 1, u8)
	case Int8:
		return many(r, n, 1, i8)
	case Uint16:
		return many(r, n, 2, binary.LittleEndian.Uint16)
	case Int16:
		return many(r, n, 2, i16)
	case Uint32:
		return many(r, n, 4, binary.LittleEndian.Uint32)
	case Int32:
		return many(r, n, 4, i32)
	case Float32:
		return many(r, n, 4, f32)
	case Bool:
		return many(r, n, 1, boolean)
	case Uint64:
		return many(r, n, 8, binary.LittleEndian.Uint64)
	case Int64:
		return many(r, n, 8, i64)
	case Float64:
		return many(r, n, 8, f64)
	case String:
		if n > uint64(len(r.b)-r.at)/8 { // a string takes at least its length
			return nil, errTruncated
		}
		s := make([]string, 0, n)
		for range n {
			s = append(s, r.text())
		}
		return s, r.err
	}
	if r.err != nil {
		return nil, r.err
	}
	return nil, fmt.Errorf("an array of type %d is not accepted", elem)
}

func one[T any](r *reader, size uint64, decode func([]byte) T) (v T) {
	if p := r.take(size); p != nil {
		v = decode(p)
	}
	return v
}

func many[T any](r *reader, n, size uint64, decode func([]byte) T) (any, error) {
	if n > uint64(len(r.b)-r.at)/size {
		return nil, errTruncated
	}
	p := r.take(n * size)
	if r.err != nil {
		return nil, r.err
	}
	v := make([]T, n)
	for i := range v {
		v[i] = decode(p[uint64(i)*size:])
	}
	return v, nil
}

func u8(b []byte) uint8     { return b[0] }
func i8(b []byte) int8      { return int8(b[0]) }
func i16(b []byte) int16    { return int16(binary.LittleEndian.Uint16(b)) }
func i32(b []byte) int32    { return int32(binary.LittleEndian.Uint32(b)) }
func i64(b []byte) int64    { return int64(binary.LittleEndian.Uint64(b)) }
func f32(b []byte) float32  { return math.Float32frombits(binary.LittleEndian.Uint32(b)) }
func f64(b []byte) float64  { return math.Float64frombits(binary.LittleEndian.Uint64(b)) }
func boolean(b []byte) bool { return b[0] != 0 }
