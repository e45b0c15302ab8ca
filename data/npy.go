package data

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/neurotrain/neuroquant/tensor"
)

// ReadNPY reads one array. All numpy types that have a [tensor.DType] are accepted, of either byte order; fixed-width
// strings become a tensor of strings without their padding; Fortran order is undone. Nothing is allocated on the word of the
// header alone: memory grows with the bytes that arrive.
func ReadNPY(r io.Reader) (*tensor.Tensor, error) {
	h, err := readNPYHeader(r)
	if err != nil {
		return nil, fmt.Errorf("npy: %w", err)
	}
	n := h.Shape.Len()
	size, _ := h.byteLen(n)
	raw, err := readGrowing(r, size)
	if err != nil {
		return nil, fmt.Errorf("npy: data: %w", err)
	}
	t, err := h.decode(h.Shape, raw)
	if err != nil {
		return nil, fmt.Errorf("npy: %w", err)
	}
	return t, nil
}

// ReadNPYFile reads the array of a file.
func ReadNPYFile(path string) (*tensor.Tensor, error) {
	f, err := OpenNPY(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t, err := f.Load()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// readGrowing reads exactly n bytes without trusting n for the first allocation.
func readGrowing(r io.Reader, n int) ([]byte, error) {
	const first = 1 << 20
	buf := make([]byte, min(n, first))
	got := 0
	for {
		m, err := io.ReadFull(r, buf[got:])
		got += m
		if err != nil {
			return nil, fmt.Errorf("want %d bytes, found %d: %w", n, got, shortRead(err))
		}
		if got == n {
			return buf, nil
		}
		buf = append(make([]byte, 0, min(n, 2*got)), buf...)
		buf = buf[:cap(buf)]
		buf = buf[:min(n, len(buf))]
	}
}

// decode turns the raw bytes of an array of the given shape, in the file's order, into a row-major tensor. raw is consumed.
func (h *NPYHeader) decode(shape tensor.Shape, raw []byte) (*tensor.Tensor, error) {
	n := shape.Len()
	if h.DType == tensor.String {
		s, err := h.decodeStrings(n, raw)
		if err != nil {
			return nil, err
		}
		if h.Fortran {
			s = rowMajor(shape, s)
		}
		return tensor.Strings(shape.Clone(), s), nil
	}
	part := h.item
	if h.kind == 'c' {
		part /= 2
	}
	if h.big {
		swapBytes(raw, part)
	}
	if h.DType == tensor.Bool {
		for i, b := range raw {
			if b > 1 {
				raw[i] = 1
			}
		}
	}
	t := tensor.New(h.DType, shape.Clone()...)
	if !h.Fortran {
		if len(raw) >= 16 { // an allocation this large is aligned for every element type
			return tensor.FromBytes(h.DType, shape.Clone(), raw)
		}
		copy(t.Bytes(), raw)
		return t, nil
	}
	switch h.item {
	case 1:
		reorder[uint8](t, raw, tensor.Uint8)
	case 2:
		reorder[uint16](t, raw, tensor.Uint16)
	case 4:
		reorder[uint32](t, raw, tensor.Uint32)
	case 8:
		reorder[uint64](t, raw, tensor.Uint64)
	case 16:
		reorder[complex128](t, raw, tensor.Complex128)
	}
	return t, nil
}

// reorder writes column-major elements row-major into t; d is the plain type of the element's width.
func reorder[T tensor.Elem](t *tensor.Tensor, raw []byte, d tensor.DType) {
	n := tensor.Shape{t.Len()}
	aligned := tensor.New(d, n...)
	copy(aligned.Bytes(), raw)
	dst, err := tensor.FromBytes(d, n, t.Bytes())
	if err != nil {
		panic(err)
	}
	copy(tensor.Data[T](dst), rowMajor(t.Shape, tensor.Data[T](aligned)))
}

// rowMajor returns the elements of a column-major array of the given shape in row-major order.
func rowMajor[T any](shape tensor.Shape, src []T) []T {
	dst := make([]T, len(src))
	if len(src) == 0 {
		return dst
	}
	rank := len(shape)
	stride := make([]int, rank) // of the column-major source
	for i, s := 0, 1; i < rank; i++ {
		stride[i] = s
		s *= shape[i]
	}
	index := make([]int, rank)
	at := 0
	for i := range dst {
		dst[i] = src[at]
		for d := rank - 1; d >= 0; d-- {
			index[d]++
			at += stride[d]
			if index[d] < shape[d] {
				break
			}
			at -= stride[d] * shape[d]
			index[d] = 0
		}
	}
	return dst
}

func swapBytes(b []byte, width int) {
	if width < 2 {
		return
	}
	for i := 0; i+width <= len(b); i += width {
		slices.Reverse(b[i : i+width])
	}
}

// decodeStrings reads fixed-width strings: kind U holds one UTF-32 code per character, kind S bytes; both are padded by zeros.
func (h *NPYHeader) decodeStrings(n int, raw []byte) ([]string, error) {
	out := make([]string, n)
	if h.item == 0 {
		return out, nil
	}
	var order binary.ByteOrder = binary.LittleEndian
	if h.big {
		order = binary.BigEndian
	}
	var b strings.Builder
	for i := range out {
		cell := raw[i*h.item : (i+1)*h.item]
		if h.kind == 'S' {
			out[i] = strings.TrimRight(string(cell), "\x00")
			continue
		}
		for len(cell) >= 4 && order.Uint32(cell[len(cell)-4:]) == 0 {
			cell = cell[:len(cell)-4]
		}
		b.Reset()
		for ; len(cell) > 0; cell = cell[4:] {
			c := order.Uint32(cell)
			if c > utf8.MaxRune || !utf8.ValidRune(rune(c)) {
				return nil, fmt.Errorf("string %d: %#x is not a character", i, c)
			}
			b.WriteRune(rune(c))
		}
		out[i] = b.String()
	}
	return out, nil
}

// NPY is an open .npy file whose rows (entries of the first dimension) are read on demand, so that memory does not grow with
// the file. It may be used by several goroutines.
type NPY struct {
	NPYHeader
	r    io.ReaderAt
	base int64 // of the data
	own  io.Closer
}

// OpenNPY opens a file and checks its header against its size.
func OpenNPY(path string) (*NPY, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	if st.IsDir() {
		f.Close()
		return nil, fmt.Errorf("%s: want an npy file, found a folder", path)
	}
	a, err := newNPY(f, st.Size())
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: npy: %w", path, err)
	}
	a.own = f
	return a, nil
}

// newNPY reads the header of an array that takes size bytes of r.
func newNPY(r io.ReaderAt, size int64) (*NPY, error) {
	h, err := readNPYHeader(io.NewSectionReader(r, 0, size))
	if err != nil {
		return nil, err
	}
	want, _ := h.byteLen(h.Shape.Len())
	if have := size - int64(h.length); have < int64(want) {
		return nil, fmt.Errorf("truncated: %v of shape %v takes %d bytes, found %d", h.DType, h.Shape, want, have)
	}
	return &NPY{NPYHeader: *h, r: r, base: int64(h.length)}, nil
}

// Close closes the file.
func (a *NPY) Close() error {
	if a.own == nil {
		return nil
	}
	return a.own.Close()
}

// Load reads the whole array.
func (a *NPY) Load() (*tensor.Tensor, error) {
	size, _ := a.byteLen(a.Shape.Len())
	raw := make([]byte, size)
	if err := a.readAt(raw, 0); err != nil {
		return nil, err
	}
	return a.decode(a.Shape, raw)
}

// Rows reads the entries of the given indices of the first dimension, in that order, into a new tensor.
func (a *NPY) Rows(index ...int) (*tensor.Tensor, error) {
	if len(a.Shape) == 0 {
		return nil, fmt.Errorf("npy: rows asked of a scalar")
	}
	rows := a.Shape[0]
	shape := a.Shape.Clone()
	shape[0] = len(index)
	width := a.Shape[1:].Len()
	for _, i := range index {
		if i < 0 || i >= rows {
			return nil, fmt.Errorf("npy: row %d of %d", i, rows)
		}
	}
	n, ok := shape.CheckedLen()
	size, ok2 := a.byteLen(n)
	if !ok || !ok2 {
		return nil, fmt.Errorf("npy: %d rows of shape %v overflow", len(index), a.Shape[1:])
	}
	raw := make([]byte, size)
	for from := 0; from < len(index); {
		// Neighbouring rows are one read.
		to := from + 1
		for to < len(index) && index[to] == index[to-1]+1 {
			to++
		}
		if a.Fortran {
			// Each column holds all rows: a run of rows is one piece of every column.
			for col := range width {
				dst := raw[(col*len(index)+from)*a.item:][:(to-from)*a.item]
				if err := a.readAt(dst, int64(col)*int64(rows)+int64(index[from])); err != nil {
					return nil, err
				}
			}
		} else if err := a.readAt(raw[from*width*a.item:to*width*a.item], int64(index[from])*int64(width)); err != nil {
			return nil, err
		}
		from = to
	}
	return a.decode(shape, raw)
}

// readAt fills dst from the element at which it starts.
func (a *NPY) readAt(dst []byte, elem int64) error {
	if len(dst) == 0 {
		return nil
	}
	if n, err := a.r.ReadAt(dst, a.base+elem*int64(a.item)); n < len(dst) {
		return fmt.Errorf("npy: data: %w", shortRead(err))
	}
	return nil
}
