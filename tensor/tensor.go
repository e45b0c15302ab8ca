// Package tensor holds the one value type that flows through NeuroQuant: a dense array, a packed (quantized) matrix, or a
// container of tensors.
//
// A [Tensor] is row-major and contiguous. Its bytes may alias a memory-mapped file, so they are read-only unless the holder
// made the tensor itself. A [Source] is a tensor that may still be in its file.
package tensor

import (
	"fmt"
	"unsafe"
)

// Tensor is a dense array of one element type, a packed matrix (Packed is set and DType says what it decodes to), a tensor
// of strings, or a container of tensors (DType [Sequence] or [Optional]).
type Tensor struct {
	Shape  Shape
	DType  DType
	Packed Packed // nil when dense

	data  []byte
	strs  []string
	elems []*Tensor
}

// Packed is a matrix whose values are encoded, such as int4 codes with group scales. Row defines what the encoding means.
type Packed interface {
	Scheme() Scheme
	// Row decodes one row of the matrix (all dimensions but the last flattened into rows) into dst.
	Row(dst []float32, row int)
	// ByteLen is the memory that the encoded matrix takes.
	ByteLen() int
}

// Scheme describes an encoding well enough for a format to say whether it can store it.
type Scheme struct {
	Code      string // "float32", "float16", "int", "nf4", "fp4", "q4_k", ...
	Bits      int    // bits per weight, scales not counted
	Group     int    // columns that share a scale; 0: a whole row (per channel); -1: the whole tensor
	Symmetric bool   // no zero point
	Reordered bool   // columns permuted (GPTQ act-order)
}

// String returns a short form such as "int8 per-channel sym" or "nf4 group 64".
func (s Scheme) String() string {
	if s.Bits == 0 {
		return s.Code
	}
	name := s.Code
	if s.Code == "int" {
		name = fmt.Sprintf("int%d", s.Bits)
	}
	switch {
	case s.Code != "int" && s.Group <= 0:
	case s.Group == -1:
		name += " per-tensor"
	case s.Group == 0:
		name += " per-channel"
	default:
		name += fmt.Sprintf(" group %d", s.Group)
	}
	if s.Code == "int" {
		if s.Symmetric {
			name += " sym"
		} else {
			name += " asym"
		}
	}
	if s.Reordered {
		name += " act-order"
	}
	return name
}

// Source is a tensor that may still be in its file. Load may be called many times; it must not copy what can be mapped.
type Source interface {
	Shape() Shape
	DType() DType
	Load() (*Tensor, error)
}

// Releaser is a source that can let go of the memory that its tensor lies in, such as pages of a mapped file. Tensors that it gave stay valid.
type Releaser interface {
	Source
	Release()
}

// Release tells a source that its tensor is not needed for now; it may be loaded again.
func Release(s Source) {
	if r, ok := s.(Releaser); ok {
		r.Release()
	}
}

// Derived is a source that holds what others have in another order or scale, so that a change of it is one of them.
type Derived interface {
	Source
	// Parts are the sources that it is computed from.
	Parts() []Source
	// Spread changes parts, which are float32 copies of [Derived.Parts], to what the source would be computed from if it were value.
	// What is not in the source stays.
	Spread(value *Tensor, parts []*Tensor) error
}

// Elem lists the Go types of dense elements. Types of eight bits and less that Go does not have are held as uint8.
type Elem interface {
	float32 | float64 | int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64 | bool | complex64 | complex128 | Half | BF16
}

// Half is an IEEE 754 binary16 bit pattern.
type Half uint16

// BF16 is a bfloat16 bit pattern: the upper half of a float32.
type BF16 uint16

// DTypeOf returns the element type of T.
func DTypeOf[T Elem]() DType {
	var z T
	switch any(z).(type) {
	case float32:
		return Float32
	case float64:
		return Float64
	case int8:
		return Int8
	case int16:
		return Int16
	case int32:
		return Int32
	case int64:
		return Int64
	case uint8:
		return Uint8
	case uint16:
		return Uint16
	case uint32:
		return Uint32
	case uint64:
		return Uint64
	case bool:
		return Bool
	case complex64:
		return Complex64
	case complex128:
		return Complex128
	case Half:
		return Float16
	}
	return BFloat16
}

// Of returns a tensor over data, which it does not copy. It panics if the lengths differ.
func Of[T Elem](shape Shape, data []T) *Tensor {
	if shape.Len() != len(data) {
		panic(fmt.Sprintf("tensor: shape %v has %d elements, data has %d", shape, shape.Len(), len(data)))
	}
	return &Tensor{Shape: shape, DType: DTypeOf[T](), data: bytesOf(data)}
}

// Scalar returns a rank-0 tensor.
func Scalar[T Elem](v T) *Tensor { return Of(Shape{}, []T{v}) }

// Vector returns a rank-1 tensor of the values.
func Vector[T Elem](v ...T) *Tensor { return Of(Shape{len(v)}, v) }

// New returns a zeroed tensor.
func New(d DType, shape ...int) *Tensor {
	s := Shape(shape)
	if d == String {
		return &Tensor{Shape: s, DType: d, strs: make([]string, s.Len())}
	}
	// Eight-byte words keep the first element aligned for every element type.
	n := d.ByteLen(s.Len())
	words := make([]uint64, (n+7)/8)
	return &Tensor{Shape: s, DType: d, data: bytesOf(words)[:n:n]}
}

// FromBytes returns a tensor over little-endian row-major bytes, which it does not copy. The length must be exactly
// [DType.ByteLen] of the element count.
func FromBytes(d DType, shape Shape, data []byte) (*Tensor, error) {
	n, ok := shape.CheckedLen()
	if !ok {
		return nil, fmt.Errorf("shape %v is negative or too large", []int(shape))
	}
	if d.Bits() == 0 {
		return nil, fmt.Errorf("element type %v has no fixed width", d)
	}
	if want := d.ByteLen(n); want != len(data) {
		return nil, fmt.Errorf("%v of shape %v takes %d bytes, found %d", d, shape, want, len(data))
	}
	return &Tensor{Shape: shape, DType: d, data: data}, nil
}

// Set makes t a dense tensor over little-endian row-major bytes, which it does not copy, nor shape. It is [FromBytes] for who
// keeps tensors to use them again, and panics where that returns an error.
func (t *Tensor) Set(d DType, shape Shape, data []byte) {
	if n, ok := shape.CheckedLen(); !ok || d.Bits() == 0 || d.ByteLen(n) != len(data) {
		panic(fmt.Sprintf("tensor: %v of shape %v over %d bytes", d, shape, len(data)))
	}
	*t = Tensor{Shape: shape, DType: d, data: data}
}

// Strings returns a tensor of strings over v, which it does not copy.
func Strings(shape Shape, v []string) *Tensor {
	if shape.Len() != len(v) {
		panic(fmt.Sprintf("tensor: shape %v has %d elements, data has %d", shape, shape.Len(), len(v)))
	}
	return &Tensor{Shape: shape, DType: String, strs: v}
}

// NewPacked returns a packed tensor that stands for a matrix of the given shape and decoded element type.
func NewPacked(d DType, shape Shape, p Packed) *Tensor {
	return &Tensor{Shape: shape, DType: d, Packed: p}
}

// NewSequence returns a sequence of tensors (ONNX sequence type); its shape is the number of elements.
func NewSequence(elems ...*Tensor) *Tensor {
	return &Tensor{Shape: Shape{len(elems)}, DType: Sequence, elems: elems}
}

// NewOptional returns an optional that holds t, or an empty one for nil (ONNX optional type).
func NewOptional(t *Tensor) *Tensor {
	if t == nil {
		return &Tensor{Shape: Shape{0}, DType: Optional}
	}
	return &Tensor{Shape: Shape{1}, DType: Optional, elems: []*Tensor{t}}
}

// Len returns the number of elements.
func (t *Tensor) Len() int { return t.Shape.Len() }

// Rank returns the number of dimensions.
func (t *Tensor) Rank() int { return len(t.Shape) }

// Bytes returns the raw little-endian bytes of a dense tensor.
func (t *Tensor) Bytes() []byte { return t.data }

// Text returns the elements of a tensor of strings.
func (t *Tensor) Text() []string { return t.strs }

// Elems returns the tensors of a sequence, or of an optional (none or one).
func (t *Tensor) Elems() []*Tensor { return t.elems }

// ByteLen returns the memory that the elements take.
func (t *Tensor) ByteLen() int {
	if t.Packed != nil {
		return t.Packed.ByteLen()
	}
	n := len(t.data)
	for _, s := range t.strs {
		n += len(s)
	}
	for _, e := range t.elems {
		n += e.ByteLen()
	}
	return n
}

// Data returns the elements of a dense tensor without a copy. T must be the Go type of t.DType; uint8 also serves for the
// float8 types and for the packed bytes of sub-byte types. It panics on any other mismatch.
func Data[T Elem](t *Tensor) []T {
	want := DTypeOf[T]()
	if want != t.DType && (want != Uint8 || t.DType.Bits() > 8 || t.DType.Bits() == 0) {
		panic(fmt.Sprintf("tensor: %v elements asked of a %v tensor", want, t.DType))
	}
	if t.Packed != nil {
		panic("tensor: dense data asked of a packed tensor")
	}
	if len(t.data) == 0 {
		return nil
	}
	var z T
	return unsafe.Slice((*T)(unsafe.Pointer(&t.data[0])), len(t.data)/int(unsafe.Sizeof(z)))
}

// Item returns the only element of a one-element tensor of type T.
func Item[T Elem](t *Tensor) T { return Data[T](t)[0] }

// Reshape returns a tensor of another shape over the same data. It panics if the element counts differ.
func (t *Tensor) Reshape(shape ...int) *Tensor {
	s := Shape(shape)
	if s.Len() != t.Len() {
		panic(fmt.Sprintf("tensor: reshape of %v to %v", t.Shape, s))
	}
	c := *t
	c.Shape = s
	return &c
}

// Clone returns a deep copy of a dense tensor or container; a packed encoding is immutable and shared.
func (t *Tensor) Clone() *Tensor {
	c := *t
	c.Shape = t.Shape.Clone()
	if t.data != nil {
		n := New(t.DType, t.Shape...)
		copy(n.data, t.data)
		c.data = n.data
	}
	if t.strs != nil {
		c.strs = append([]string(nil), t.strs...)
	}
	if t.elems != nil {
		c.elems = make([]*Tensor, len(t.elems))
		for i, e := range t.elems {
			c.elems[i] = e.Clone()
		}
	}
	return &c
}

// String describes the tensor without its contents, such as "float32[2x3]".
func (t *Tensor) String() string {
	if t == nil {
		return "none"
	}
	if t.Packed != nil {
		return fmt.Sprintf("%v[%v] (%v)", t.DType, t.Shape, t.Packed.Scheme())
	}
	return fmt.Sprintf("%v[%v]", t.DType, t.Shape)
}

// loaded is a Source that is already in memory.
type loaded struct{ t *Tensor }

func (l loaded) Shape() Shape           { return l.t.Shape }
func (l loaded) DType() DType           { return l.t.DType }
func (l loaded) Load() (*Tensor, error) { return l.t, nil }

// InMemory wraps a tensor as a [Source].
func InMemory(t *Tensor) Source { return loaded{t} }

func bytesOf[T any](v []T) []byte {
	if len(v) == 0 {
		return []byte{}
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), len(v)*int(unsafe.Sizeof(v[0])))
}
