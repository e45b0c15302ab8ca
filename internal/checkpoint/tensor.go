package checkpoint

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/neurotrain/neuroquant/internal/codec/pickle"
	"github.com/neurotrain/neuroquant/tensor"
)

// Tensor is a tensor of a file. It is a [tensor.Source]: its header was checked when it was read, its elements are looked at
// when they are loaded. A quantized tensor loads as its codes; [Tensor.Real] gives what they stand for.
type Tensor struct {
	Storage *Storage // nil where the file has no data for it; the same for tensors that share data
	Offset  int      // in elements
	Strides []int    // in elements
	Quant   *Quant   // of a quantized tensor

	Parameter    bool // a torch.nn.Parameter
	RequiresGrad bool
	Class        string // a subclass of torch.Tensor; empty: none
	State        any    // attributes that were set on it

	shape tensor.Shape
	dtype tensor.DType
	bad   error // why it cannot be loaded

	once   sync.Once
	loaded *tensor.Tensor
	err    error
}

// Quant says what the codes of a quantized tensor stand for: (code - zero point) * scale, with one of each for the tensor, or
// one per index of an axis.
type Quant struct {
	Axis  int // -1: one scale for all
	scale float64
	zero  int64
	each  [2]*Tensor // scales and zero points along the axis
}

// Values returns the scales and zero points: one, or as many as the axis has. Zero points are whole but for the scheme
// that has them as floats.
func (q *Quant) Values() (scales, zeros []float64, err error) {
	if q.Axis < 0 {
		return []float64{q.scale}, []float64{float64(q.zero)}, nil
	}
	var out [2][]float64
	for i, t := range q.each {
		v, err := t.Load()
		if err != nil {
			return nil, nil, err
		}
		if out[i], err = v.Float64s(); err != nil {
			return nil, nil, err
		}
	}
	return out[0], out[1], nil
}

// Shape returns the sizes.
func (t *Tensor) Shape() tensor.Shape { return t.shape }

// DType returns the element type, that of the codes for a quantized tensor.
func (t *Tensor) DType() tensor.DType { return t.dtype }

// String describes the tensor without its contents.
func (t *Tensor) String() string { return fmt.Sprintf("%v[%v]", t.dtype, t.shape) }

// Err says why the tensor cannot be loaded, such as that it is sparse; nil if it can.
func (t *Tensor) Err() error { return t.bad }

// refusedTensor is a tensor of a known kind that cannot be loaded.
func refusedTensor(d tensor.DType, shape tensor.Shape, format string, a ...any) *Tensor {
	return &Tensor{shape: shape, dtype: d, bad: fmt.Errorf("%s: %w", fmt.Sprintf(format, a...), ErrUnsupported)}
}

// maxRank bounds the number of dimensions, as PyTorch does.
const maxRank = 64

// newTensor checks that the elements lie in the storage.
func newTensor(ref *storageRef, d tensor.DType, offset int, shape tensor.Shape, strides []int) (*Tensor, error) {
	n, ok := shape.CheckedLen()
	if !ok || len(shape) > maxRank {
		return nil, fmt.Errorf("a tensor of shape %v", []int(shape))
	}
	if len(strides) != len(shape) {
		return nil, fmt.Errorf("a tensor of %d dimensions with %d strides", len(shape), len(strides))
	}
	if offset < 0 {
		return nil, fmt.Errorf("a tensor at element %d of its storage", offset)
	}
	t := &Tensor{Storage: ref.Storage, Offset: ref.first + offset, Strides: strides, shape: shape, dtype: d}
	if ref.Storage == nil {
		t.bad = fmt.Errorf("a tensor without data (device meta): %w", ErrUnsupported)
		return t, nil
	}
	last := offset
	for i, s := range strides {
		if s < 0 {
			return nil, fmt.Errorf("a tensor of stride %d", s)
		}
		if shape[i] > 1 && s > (math.MaxInt/256-last)/(shape[i]-1) {
			return nil, fmt.Errorf("a tensor of shape %v and strides %v, which reaches beyond any storage", []int(shape), strides)
		}
		if shape[i] > 1 {
			last += s * (shape[i] - 1)
		}
	}
	have := ref.len
	if ref.raw {
		have = ref.Bytes * 8 / d.Bits()
	} else if d != ref.dtype {
		return nil, fmt.Errorf("a tensor of %v in a storage of %v", d, ref.dtype)
	}
	if n > 0 && last >= have {
		return nil, fmt.Errorf("a tensor of shape %v, strides %v and offset %d reaches element %d of a storage of %d", []int(shape), strides, offset, last, have)
	}
	if d.Size() == 0 && (t.Offset != 0 || !t.Contiguous()) {
		t.bad = fmt.Errorf("a view of %v elements: %w", d, ErrUnsupported)
	}
	// What does not lie in the file as it is used takes memory, and what repeats elements takes more than the file has for it.
	if size := d.ByteLen(n); !t.inPlace() && !ref.file.memory.take(size) && t.bad == nil {
		t.bad = fmt.Errorf("a tensor of %d bytes that overlaps others or repeats elements of a storage of %d, with which the file would take too much memory: %w", size, ref.Bytes, ErrUnsupported)
	}
	return t, nil
}

// inPlace reports whether the elements are used where they lie.
func (t *Tensor) inPlace() bool {
	return t.Contiguous() && (!t.Storage.file.BigEndian || component(t.dtype) <= 1)
}

// Contiguous reports whether the elements lie in row-major order without gaps.
func (t *Tensor) Contiguous() bool {
	want := 1
	for i := len(t.shape) - 1; i >= 0; i-- {
		if t.shape[i] != 1 && t.Strides[i] != want {
			return t.shape.Len() == 0
		}
		want *= t.shape[i]
	}
	return true
}

// Load returns the elements in row-major order: in place where they lie so, else a copy, which is kept.
func (t *Tensor) Load() (*tensor.Tensor, error) {
	if t.bad != nil {
		return nil, t.bad
	}
	t.once.Do(func() { t.loaded, t.err = t.load() })
	return t.loaded, t.err
}

func (t *Tensor) load() (*tensor.Tensor, error) {
	all, err := t.Storage.contents()
	if err != nil {
		return nil, err
	}
	n := t.shape.Len()
	if n == 0 {
		return tensor.New(t.dtype, t.shape...), nil
	}
	size := t.dtype.Size()
	swap := t.Storage.file.BigEndian && component(t.dtype) > 1
	if t.inPlace() {
		at := t.Offset * size
		raw := all[at : at+t.dtype.ByteLen(n)]
		if t.dtype != tensor.Bool || allBools(raw) {
			return tensor.FromBytes(t.dtype, t.shape, raw)
		}
	}
	out := tensor.New(t.dtype, t.shape...)
	if size == 0 { // contiguous from the beginning, as newTensor checked
		copy(out.Bytes(), all)
		return out, nil
	}
	gather(out.Bytes(), all[t.Offset*size:], t.shape, t.Strides, size)
	if swap {
		swapBytes(out.Bytes(), component(t.dtype))
	}
	if t.dtype == tensor.Bool {
		for i, b := range out.Bytes() {
			if b > 1 {
				out.Bytes()[i] = 1
			}
		}
	}
	return out, nil
}

// component returns the bytes of the number that an element is made of: a complex one of two.
func component(d tensor.DType) int {
	if d == tensor.Complex64 || d == tensor.Complex128 {
		return d.Size() / 2
	}
	return d.Size()
}

func allBools(raw []byte) bool {
	return !slices.ContainsFunc(raw, func(b byte) bool { return b > 1 })
}

// gather copies elements of size bytes from src, where they lie strides apart, to dst, where they lie in row-major order.
func gather(dst, src []byte, shape tensor.Shape, strides []int, size int) {
	rank := len(shape)
	if rank == 0 {
		copy(dst, src[:size])
		return
	}
	inner, step := shape[rank-1], strides[rank-1]*size
	at := make([]int, rank) // odometer of the outer dimensions
	base := 0
	for len(dst) > 0 {
		switch {
		case step == size:
			copy(dst, src[base:base+inner*size])
		case size == 4:
			for i := range inner {
				copy(dst[4*i:4*i+4], src[base+i*step:base+i*step+4])
			}
		default:
			for i := range inner {
				copy(dst[i*size:(i+1)*size], src[base+i*step:base+i*step+size])
			}
		}
		dst = dst[inner*size:]
		for d := rank - 2; d >= 0; d-- {
			at[d]++
			base += strides[d] * size
			if at[d] < shape[d] {
				break
			}
			base -= at[d] * strides[d] * size
			at[d] = 0
		}
	}
}

// swapBytes reverses the bytes of every number of size bytes.
func swapBytes(b []byte, size int) {
	for i := 0; i+size <= len(b); i += size {
		slices.Reverse(b[i : i+size])
	}
}

// Release lets go of the memory that the elements were mapped to; they are mapped again when they are read.
func (t *Tensor) Release() {
	if t.Storage != nil && t.Storage.file.file != nil && t.Storage.data != nil && t.Contiguous() {
		at := t.Offset * t.dtype.Size()
		t.Storage.file.file.Drop(t.Storage.data[at : at+t.dtype.ByteLen(t.shape.Len())])
	}
}

// Real returns a quantized tensor's values as float32, the tensor itself for any other.
func (t *Tensor) Real() (*tensor.Tensor, error) {
	codes, err := t.Load()
	if err != nil || t.Quant == nil {
		return codes, err
	}
	v, err := codes.Ints()
	if err != nil {
		return nil, err
	}
	scales, zeros, err := t.Quant.Values()
	if err != nil {
		return nil, err
	}
	out := tensor.New(tensor.Float32, t.shape...)
	f := tensor.Data[float32](out)
	inner := 1
	if t.Quant.Axis >= 0 {
		inner = t.shape[t.Quant.Axis+1:].Len()
	}
	for i := range f {
		c := i / inner % len(scales)
		f[i] = float32((float64(v[i]) - zeros[c]) * float64(float32(scales[c])))
	}
	return out, nil
}

// errQuant is the error for a description of quantization of an unknown form.
var errQuant = errors.New("a quantizer of another form than (scheme, scale, zero point) or (scheme, scales, zero points, axis)")

// newQuant reads the quantizer of a quantized tensor.
func newQuant(v any, shape tensor.Shape) (*Quant, error) {
	p, ok := v.(pickle.Tuple)
	if !ok || len(p) == 0 {
		return nil, errQuant
	}
	scheme, ok := p[0].(pickle.Global)
	if !ok || scheme.Module != "torch" {
		return nil, errQuant
	}
	switch scheme.Name {
	case "per_tensor_affine", "per_tensor_symmetric":
		if len(p) != 3 {
			return nil, errQuant
		}
		scale, ok1 := p[1].(float64)
		zero, ok2 := p[2].(int64)
		if !ok1 || !ok2 {
			return nil, errQuant
		}
		return &Quant{Axis: -1, scale: scale, zero: zero}, nil
	case "per_channel_affine", "per_channel_symmetric", "per_channel_affine_float_qparams":
		if len(p) != 4 {
			return nil, errQuant
		}
		axis, ok := p[3].(int64)
		if !ok || axis < 0 || axis >= int64(len(shape)) {
			return nil, fmt.Errorf("a quantized tensor of shape %v with axis %s", []int(shape), show(p[3]))
		}
		q := &Quant{Axis: int(axis)}
		for i := range q.each {
			t, ok := p[1+i].(*Tensor)
			if !ok || t.Err() != nil || len(t.shape) != 1 || t.shape[0] != shape[axis] {
				return nil, fmt.Errorf("a quantized tensor of shape %v without a scale and a zero point for each index of axis %d", []int(shape), axis)
			}
			q.each[i] = t
		}
		return q, nil
	}
	return nil, fmt.Errorf("quantization scheme %v is %w", scheme, ErrUnsupported)
}
