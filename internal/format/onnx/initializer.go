package onnx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/neurotrain/neuroquant/internal/codec/mmap"
	"github.com/neurotrain/neuroquant/internal/codec/protobuf"
	"github.com/neurotrain/neuroquant/tensor"
)

// stored is a tensor in the file. Its header is checked when it is made; contents are looked at when they are loaded.
type stored struct {
	shape tensor.Shape
	dtype tensor.DType
	raw   []byte           // contents in place, or nil
	file  *mmap.File       // that raw is mapped from; nil for other memory
	proto *protobuf.Tensor // typed fields, where raw is nil

	once   sync.Once
	loaded *tensor.Tensor
	err    error
}

func (s *stored) Shape() tensor.Shape { return s.shape }
func (s *stored) DType() tensor.DType { return s.dtype }

// Load returns the tensor. Raw contents are aliased; typed fields are converted once.
func (s *stored) Load() (*tensor.Tensor, error) {
	if s.raw != nil && s.dtype != tensor.Bool {
		return tensor.FromBytes(s.dtype, s.shape, s.raw)
	}
	s.once.Do(func() {
		if s.raw != nil {
			s.loaded, s.err = boolTensor(s.shape, s.raw)
		} else {
			s.loaded, s.err = fromFields(s.dtype, s.shape, s.proto)
		}
	})
	return s.loaded, s.err
}

// Release lets go of the memory that the contents were mapped to; they are mapped again when they are read.
func (s *stored) Release() {
	if s.file != nil {
		s.file.Drop(s.raw)
	}
}

// store checks the header of a tensor of the file and returns it as a source.
func (im *importer) store(t *protobuf.Tensor) (*stored, error) {
	d, err := dtype(t.DataType)
	if err != nil {
		return nil, err
	}
	shape, n, err := shapeOf(t.Dims)
	if err != nil {
		return nil, err
	}
	s := &stored{shape: shape, dtype: d, proto: t, file: im.file}
	switch {
	case t.DataLocation == protobuf.External:
		if d == tensor.String {
			return nil, errors.New("strings cannot be external data")
		}
		s.raw, s.file, err = im.ext.slice(t.ExternalData, d.ByteLen(n))
		return s, err
	case t.HasRaw && (len(t.RawData) > 0 || d != tensor.String && fieldLen(d, t) == 0):
		if d == tensor.String {
			return nil, errors.New("strings cannot be raw data")
		}
		if want := d.ByteLen(n); len(t.RawData) != want {
			return nil, fmt.Errorf("%v of shape %v takes %d bytes, found %d", d, shape, want, len(t.RawData))
		}
		s.raw = t.RawData
		if s.raw == nil {
			s.raw = []byte{}
		}
		return s, nil
	case d == tensor.Float32 && len(t.FloatData) == 4*n:
		s.raw = t.FloatData // packed floats are the raw form
	case d == tensor.Float64 && len(t.DoubleData) == 8*n:
		s.raw = t.DoubleData
	case d == tensor.String:
		if len(t.StringData) != n {
			return nil, fmt.Errorf("%d strings of shape %v, found %d", n, shape, len(t.StringData))
		}
	default:
		// A varint takes at least a byte: this bounds what Load allocates by the size of the file.
		if have := fieldLen(d, t); have < fieldCount(d, n) {
			return nil, fmt.Errorf("%v of shape %v has %d elements, found at most %d", d, shape, n, have)
		}
	}
	return s, nil
}

// fieldCount returns how many entries of a typed field n elements take.
func fieldCount(d tensor.DType, n int) int {
	switch d.Bits() {
	case 2, 4:
		return d.ByteLen(n)
	}
	return n
}

// fieldLen returns how many elements the typed field for d holds at most.
func fieldLen(d tensor.DType, t *protobuf.Tensor) int {
	switch d {
	case tensor.Float32:
		return len(t.FloatData) / 4
	case tensor.Complex64:
		return len(t.FloatData) / 8
	case tensor.Float64:
		return len(t.DoubleData) / 8
	case tensor.Complex128:
		return len(t.DoubleData) / 16
	case tensor.Int64:
		return len(t.Int64Data)
	case tensor.Uint32, tensor.Uint64:
		return len(t.Uint64Data)
	case tensor.String:
		return len(t.StringData)
	}
	return len(t.Int32Data)
}

// load returns a tensor that is needed at once, such as an attribute.
func (im *importer) load(t *protobuf.Tensor) (*tensor.Tensor, error) {
	s, err := im.store(t)
	if err != nil {
		return nil, err
	}
	return s.Load()
}

// fromFields decodes the typed data fields of a tensor.
func fromFields(d tensor.DType, shape tensor.Shape, t *protobuf.Tensor) (*tensor.Tensor, error) {
	n, _ := shape.CheckedLen()
	count := func(have int) error {
		if want := fieldCount(d, n); have != want {
			return fmt.Errorf("%v of shape %v has %d elements, found %d", d, shape, want, have)
		}
		return nil
	}
	switch d {
	case tensor.String:
		v := make([]string, n)
		for i, s := range t.StringData {
			v[i] = string(s)
		}
		return tensor.Strings(shape, v), nil
	case tensor.Float32, tensor.Complex64:
		return tensor.FromBytes(d, shape, t.FloatData)
	case tensor.Float64, tensor.Complex128:
		return tensor.FromBytes(d, shape, t.DoubleData)
	case tensor.Int64:
		v, err := t.Int64s()
		if err == nil {
			err = count(len(v))
		}
		if err != nil {
			return nil, err
		}
		return tensor.Of(shape, v), nil
	case tensor.Uint64, tensor.Uint32:
		v, err := t.Uint64s()
		if err == nil {
			err = count(len(v))
		}
		if err != nil {
			return nil, err
		}
		if d == tensor.Uint64 {
			return tensor.Of(shape, v), nil
		}
		out := make([]uint32, n)
		for i, x := range v {
			out[i] = uint32(x)
		}
		return tensor.Of(shape, out), nil
	}
	v, err := t.Int32s()
	if err == nil {
		err = count(len(v))
	}
	if err != nil {
		return nil, err
	}
	if d == tensor.Int32 {
		return tensor.Of(shape, v), nil
	}
	out := tensor.New(d, shape...)
	b := out.Bytes()
	switch {
	case d == tensor.Bool:
		for i, x := range v {
			if x != 0 {
				b[i] = 1
			}
		}
	case d.Bits() == 16:
		for i, x := range v {
			binary.LittleEndian.PutUint16(b[2*i:], uint16(x))
		}
	default:
		for i, x := range v {
			b[i] = byte(x)
		}
	}
	return out, nil
}

// boolTensor returns a tensor over raw if every byte is 0 or 1, as it must be, and a corrected copy otherwise.
func boolTensor(shape tensor.Shape, raw []byte) (*tensor.Tensor, error) {
	clean := raw
	for i, b := range raw {
		if b > 1 {
			if &clean[0] == &raw[0] {
				clean = append([]byte(nil), raw...)
			}
			clean[i] = 1
		}
	}
	return tensor.FromBytes(tensor.Bool, shape, clean)
}

// maxDense bounds the bytes that a sparse tensor may expand to: they are not backed by bytes of the file.
const maxDense = 1 << 32

// sparse is a sparse tensor of the file; Load expands it.
type sparse struct {
	shape           tensor.Shape
	values, indices *stored
}

func (s *sparse) Shape() tensor.Shape { return s.shape }
func (s *sparse) DType() tensor.DType { return s.values.dtype }

// Load returns the dense form.
func (s *sparse) Load() (*tensor.Tensor, error) {
	values, err := s.values.Load()
	if err != nil {
		return nil, fmt.Errorf("values: %w", err)
	}
	it, err := s.indices.Load()
	if err != nil {
		return nil, fmt.Errorf("indices: %w", err)
	}
	idx := tensor.Data[int64](it)
	out := tensor.New(values.DType, s.shape...)
	strides := s.shape.Strides()
	size, src, dst := values.DType.Size(), values.Bytes(), out.Bytes()
	last := int64(-1)
	for i := range values.Len() {
		at := int64(0)
		if it.Rank() == 1 {
			at = idx[i]
			if at < 0 || at >= int64(out.Len()) {
				return nil, fmt.Errorf("index %d is outside %d elements", at, out.Len())
			}
		} else {
			for k, d := range s.shape {
				x := idx[i*len(s.shape)+k]
				if x < 0 || x >= int64(d) {
					return nil, fmt.Errorf("index %d is outside dimension %d of size %d", x, k, d)
				}
				at += x * int64(strides[k])
			}
		}
		if at <= last {
			return nil, errors.New("indices are not in ascending order")
		}
		last = at
		copy(dst[int(at)*size:(int(at)+1)*size], src[i*size:])
	}
	return out, nil
}

func (im *importer) storeSparse(t *protobuf.SparseTensor) (*sparse, error) {
	if t.Values == nil {
		return nil, errors.New("the values are missing")
	}
	values, err := im.store(t.Values)
	if err != nil {
		return nil, fmt.Errorf("values: %w", err)
	}
	shape, n, err := shapeOf(t.Dims)
	if err != nil {
		return nil, err
	}
	if values.dtype.Size() == 0 {
		return nil, fmt.Errorf("sparse tensors of %v are %w", values.dtype, ErrUnsupported)
	}
	if n > maxDense/values.dtype.Size() {
		return nil, fmt.Errorf("shape %v of a sparse tensor is too large", shape)
	}
	nnz := values.shape.Len()
	if len(values.shape) != 1 {
		return nil, fmt.Errorf("values: want one dimension, got shape %v", values.shape)
	}
	indices := &stored{shape: tensor.Shape{0}, dtype: tensor.Int64, raw: []byte{}}
	if t.Indices != nil {
		if indices, err = im.store(t.Indices); err != nil {
			return nil, fmt.Errorf("indices: %w", err)
		}
	}
	if indices.dtype != tensor.Int64 {
		return nil, fmt.Errorf("indices: want int64, got %v", indices.dtype)
	}
	if !indices.shape.Equal(tensor.Shape{nnz}) && !indices.shape.Equal(tensor.Shape{nnz, len(shape)}) {
		return nil, fmt.Errorf("indices: want shape %d or %dx%d, got %v", nnz, nnz, len(shape), indices.shape)
	}
	return &sparse{shape: shape, values: values, indices: indices}, nil
}

// checkedInt converts a number of a file to an int.
func checkedInt(v uint64) (int, bool) { return int(v), v <= math.MaxInt }
