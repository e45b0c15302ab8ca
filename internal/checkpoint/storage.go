package checkpoint

import (
	"fmt"
	"strings"
	"sync"

	"github.com/neurotrain/neuroquant/internal/codec/pickle"
	"github.com/neurotrain/neuroquant/tensor"
)

// Storage is a run of bytes in a file that tensors lie in; several may share one.
type Storage struct {
	Name  string // of the member, or the key
	Bytes int

	file   *File
	data   []byte
	unpack func() ([]byte, error) // where it is compressed
	once   sync.Once
	err    error
}

// contents returns the bytes, unpacked where that is needed.
func (s *Storage) contents() ([]byte, error) {
	s.once.Do(func() {
		if s.unpack != nil {
			s.data, s.err = s.unpack()
		}
	})
	return s.data, s.err
}

// storageRef is a storage as a pickle refers to it: elements of a type. A nil Storage has no data (device meta).
type storageRef struct {
	*Storage
	dtype tensor.DType
	quant bool // a class of quantized elements
	raw   bool // bytes whose element type each tensor says
	first int  // element that a view of a storage begins at
	len   int  // elements
}

func (s *storageRef) String() string { return "storage" }

// storageID is a persistent id of a storage.
type storageID struct {
	dtype    tensor.DType
	quant    bool
	raw      bool
	key      string
	location string
	len      int
	view     *storageView
	class    *pickle.Global // of an id that stands for a class instead
}

// storageView is a part of a storage under a key of its own, as files before PyTorch 0.4 have it.
type storageView struct {
	key         string
	offset, len int
}

// classOr returns the class of an id that stands for one.
func (s storageID) classOr() any {
	if s.class == nil {
		return nil
	}
	return *s.class
}

// maxElements bounds the announced number of elements of a storage, so that its bytes and bits can be counted.
const maxElements = 1 << 52

// parseID reads a persistent id: ('storage', class, key, location, elements[, view]), or ('module', class, source file,
// source) of old files, which stands for the class.
func parseID(id any) (storageID, error) {
	t, ok := id.(pickle.Tuple)
	if !ok || len(t) < 2 {
		return storageID{}, fmt.Errorf("a persistent id that is a %s of another form than torch.save writes", pickle.TypeName(id))
	}
	if t[0] == "module" {
		if g, ok := t[1].(pickle.Global); ok {
			return storageID{class: &g}, nil
		}
	}
	if t[0] != "storage" || len(t) < 5 {
		return storageID{}, fmt.Errorf("a persistent id of %d parts that begins with %s; want the 5 of a storage", len(t), show(t[0]))
	}
	class, ok1 := t[1].(pickle.Global)
	key, ok2 := t[2].(string)
	if n, isInt := t[2].(int64); isInt {
		key, ok2 = fmt.Sprint(n), true
	}
	location, ok3 := t[3].(string)
	n, ok4 := t[4].(int64)
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return storageID{}, fmt.Errorf("a persistent id of (%s, %s, %s, %s, %s)", show(t[0]), show(t[1]), show(t[2]), show(t[3]), show(t[4]))
	}
	if n < 0 || n > maxElements {
		return storageID{}, fmt.Errorf("storage %.80q of %d elements", key, n)
	}
	if strings.ContainsAny(key, "/\\\x00") || key == "" || key == ".." {
		return storageID{}, fmt.Errorf("a storage named %.80q", key)
	}
	kind, ok := storageClasses[strings.TrimPrefix(class.String(), "torch.cuda.")]
	if !ok {
		kind, ok = storageClasses[strings.TrimPrefix(class.String(), "torch.")]
	}
	if !ok {
		return storageID{}, fmt.Errorf("storage %.80q is a %v, which is %w", key, class, ErrUnsupported)
	}
	s := storageID{dtype: kind.dtype, quant: kind.quant, raw: kind.raw, key: key, location: location, len: int(n)}
	if len(t) > 5 && t[5] != nil {
		v, ok := t[5].(pickle.Tuple)
		if !ok || len(v) != 3 {
			return storageID{}, fmt.Errorf("storage %.80q: a view of another form than (key, offset, size)", key)
		}
		name, err1 := keyOf(v[0])
		off, ok1 := v[1].(int64)
		size, ok2 := v[2].(int64)
		if err1 != nil || !ok1 || !ok2 || off < 0 || size < 0 || off > n || size > n-off {
			return storageID{}, fmt.Errorf("storage %.80q of %d elements: a view of %s elements at %s", key, n, show(v[2]), show(v[1]))
		}
		s.view = &storageView{name, int(off), int(size)}
	}
	return s, nil
}

// keyOf returns a key of a storage as text; Python 2 wrote numbers in places.
func keyOf(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case int64:
		return fmt.Sprint(v), nil
	}
	return "", fmt.Errorf("a key that is a %s", pickle.TypeName(v))
}

// show spells a value out for a message, briefly.
func show(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("%.40q", v)
	case int64, bool, float64:
		return fmt.Sprint(v)
	}
	return pickle.TypeName(v)
}

type storageClass struct {
	dtype      tensor.DType
	quant, raw bool
}

// storageClasses maps the storage classes of module torch to their elements.
var storageClasses = map[string]storageClass{
	"DoubleStorage": {dtype: tensor.Float64}, "FloatStorage": {dtype: tensor.Float32}, "HalfStorage": {dtype: tensor.Float16}, "BFloat16Storage": {dtype: tensor.BFloat16},
	"LongStorage": {dtype: tensor.Int64}, "IntStorage": {dtype: tensor.Int32}, "ShortStorage": {dtype: tensor.Int16}, "CharStorage": {dtype: tensor.Int8},
	"ByteStorage": {dtype: tensor.Uint8}, "BoolStorage": {dtype: tensor.Bool},
	"ComplexFloatStorage": {dtype: tensor.Complex64}, "ComplexDoubleStorage": {dtype: tensor.Complex128},
	"QInt8Storage": {dtype: tensor.Int8, quant: true}, "QUInt8Storage": {dtype: tensor.Uint8, quant: true}, "QInt32Storage": {dtype: tensor.Int32, quant: true},
	"QUInt4x2Storage": {dtype: tensor.Uint4, quant: true}, "QUInt2x4Storage": {dtype: tensor.Uint2, quant: true},
	"UntypedStorage": {dtype: tensor.Uint8, raw: true}, "storage.UntypedStorage": {dtype: tensor.Uint8, raw: true}, "storage._UntypedStorage": {dtype: tensor.Uint8, raw: true},
	"UInt16Storage": {dtype: tensor.Uint16}, "UInt32Storage": {dtype: tensor.Uint32}, "UInt64Storage": {dtype: tensor.Uint64},
}

// dtypes maps the element types of module torch by all their names.
var dtypes = map[string]storageClass{
	"float32": {dtype: tensor.Float32}, "float": {dtype: tensor.Float32}, "float64": {dtype: tensor.Float64}, "double": {dtype: tensor.Float64},
	"float16": {dtype: tensor.Float16}, "half": {dtype: tensor.Float16}, "bfloat16": {dtype: tensor.BFloat16},
	"int8": {dtype: tensor.Int8}, "uint8": {dtype: tensor.Uint8}, "int16": {dtype: tensor.Int16}, "short": {dtype: tensor.Int16}, "int32": {dtype: tensor.Int32}, "int": {dtype: tensor.Int32},
	"int64": {dtype: tensor.Int64}, "long": {dtype: tensor.Int64}, "bool": {dtype: tensor.Bool},
	"uint16": {dtype: tensor.Uint16}, "uint32": {dtype: tensor.Uint32}, "uint64": {dtype: tensor.Uint64},
	"complex64": {dtype: tensor.Complex64}, "cfloat": {dtype: tensor.Complex64}, "complex128": {dtype: tensor.Complex128}, "cdouble": {dtype: tensor.Complex128},
	"qint8": {dtype: tensor.Int8, quant: true}, "quint8": {dtype: tensor.Uint8, quant: true}, "qint32": {dtype: tensor.Int32, quant: true},
	"quint4x2": {dtype: tensor.Uint4, quant: true}, "quint2x4": {dtype: tensor.Uint2, quant: true},
	"float8_e4m3fn": {dtype: tensor.Float8E4M3FN}, "float8_e5m2": {dtype: tensor.Float8E5M2}, "float8_e4m3fnuz": {dtype: tensor.Float8E4M3FNUZ}, "float8_e5m2fnuz": {dtype: tensor.Float8E5M2FNUZ},
	"float8_e8m0fnu": {dtype: tensor.Float8E8M0},
}

// DType returns the element type that a global of module torch, such as torch.float32, names.
func DType(v any) (tensor.DType, bool) {
	g, ok := v.(pickle.Global)
	if !ok || g.Module != "torch" {
		return tensor.Invalid, false
	}
	c, ok := dtypes[g.Name]
	return c.dtype, ok
}
