package checkpoint

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"

	"github.com/neurotrain/neuroquant/internal/codec/pickle"
	"github.com/neurotrain/neuroquant/tensor"
)

// numpyType is a numpy.dtype: a code such as "f8" with its byte order.
type numpyType struct {
	code   string
	big    bool
	memory *budget // of the file
}

func (*numpyType) String() string { return "numpy.dtype" }

// Build takes the state (version, byte order, ...).
func (t *numpyType) Build(state any) error {
	if s, ok := state.(pickle.Tuple); ok && len(s) > 1 {
		t.big = s[1] == ">"
	}
	return nil
}

func (f *File) newNumpyType(args []any) (any, error) {
	if len(args) == 0 {
		return nil, argsError(args, "code, align, copy")
	}
	code, ok := args[0].(string)
	if !ok {
		return nil, argsError(args, "code, align, copy")
	}
	if len(code) > 0 && (code[0] == '<' || code[0] == '>' || code[0] == '|' || code[0] == '=') {
		return &numpyType{code[1:], code[0] == '>', f.memory}, nil
	}
	return &numpyType{code: code, memory: f.memory}, nil
}

// numpyTypes maps the codes of numbers.
var numpyTypes = map[string]tensor.DType{
	"f2": tensor.Float16, "f4": tensor.Float32, "f8": tensor.Float64, "c8": tensor.Complex64, "c16": tensor.Complex128,
	"i1": tensor.Int8, "i2": tensor.Int16, "i4": tensor.Int32, "i8": tensor.Int64, "u1": tensor.Uint8, "u2": tensor.Uint16, "u4": tensor.Uint32, "u8": tensor.Uint64,
	"b1": tensor.Bool, "bool": tensor.Bool,
}

// Array is a numpy array on its way to be one: the pickle makes it empty and sets its contents afterwards.
type Array struct {
	*Tensor              // nil where the elements are no numbers
	Objects *pickle.List // elements that are Python objects
}

func (*Array) String() string { return "numpy.ndarray" }

func newArray([]any) (any, error) { return &Array{}, nil }

// Build takes the state (version, shape, dtype, column-major, data).
func (a *Array) Build(state any) error {
	s, ok := state.(pickle.Tuple)
	if !ok || len(s) != 5 {
		return fmt.Errorf("the state of an array that is a %s", pickle.TypeName(state))
	}
	shape, ok1 := ints(s[1])
	dt, ok2 := s[2].(*numpyType)
	if !ok1 || !ok2 {
		return argsError(s, "version, shape, dtype, column-major, data")
	}
	if l, ok := s[4].(*pickle.List); ok {
		a.Objects = l
		return nil
	}
	var err error
	a.Tensor, err = arrayTensor(dt, shape, s[3] == true, s[4])
	return err
}

// arrayTensor returns a tensor over the bytes of an array.
func arrayTensor(dt *numpyType, shape tensor.Shape, columnMajor bool, data any) (*Tensor, error) {
	raw, err := rawBytes(data)
	if err != nil {
		return nil, err
	}
	n, ok := shape.CheckedLen()
	if !ok {
		return nil, fmt.Errorf("an array of shape %v", []int(shape))
	}
	d, ok := numpyTypes[dt.code]
	if !ok {
		return refusedTensor(tensor.Invalid, shape, "an array of %.20q elements", dt.code), nil
	}
	if want := d.ByteLen(n); want != len(raw) {
		return nil, fmt.Errorf("an array of %v and shape %v over %d bytes", d, shape, len(raw))
	}
	strides := shape.Strides()
	if columnMajor {
		step := 1
		for i := range shape {
			strides[i] = step
			step *= shape[i]
		}
	}
	st := &Storage{Name: "numpy", Bytes: len(raw), data: raw, file: &File{BigEndian: dt.big, memory: dt.memory}}
	return newTensor(&storageRef{Storage: st, dtype: d, len: n}, d, 0, shape, strides)
}

// rawBytes returns bytes that Python 2 may have written as a string.
func rawBytes(v any) ([]byte, error) {
	switch v := v.(type) {
	case pickle.Bytes:
		return v, nil
	case string:
		return []byte(v), nil
	}
	return nil, fmt.Errorf("want bytes, got %s", pickle.TypeName(v))
}

// arrayFromBuffer makes an array of (data, dtype, shape, order), as protocol 5 has it.
func arrayFromBuffer(args []any) (any, error) {
	if len(args) != 4 {
		return nil, argsError(args, "data, dtype, shape, order")
	}
	dt, ok1 := args[1].(*numpyType)
	shape, ok2 := ints(args[2])
	if !ok1 || !ok2 {
		return nil, argsError(args, "data, dtype, shape, order")
	}
	t, err := arrayTensor(dt, shape, args[3] == "F", args[0])
	return &Array{Tensor: t}, err
}

// newScalar makes the Python number of a numpy scalar (dtype, bytes).
func newScalar(args []any) (any, error) {
	if len(args) != 2 {
		return nil, argsError(args, "dtype, bytes")
	}
	dt, ok := args[0].(*numpyType)
	if !ok {
		return nil, argsError(args, "dtype, bytes")
	}
	if s, ok := args[1].(string); ok && dt.code[:min(1, len(dt.code))] == "U" {
		return s, nil
	}
	raw, err := rawBytes(args[1])
	if err != nil {
		return nil, err
	}
	if size, err := strconv.Atoi(dt.code[min(1, len(dt.code)):]); err != nil || size != len(raw) {
		if numpyTypes[dt.code] != tensor.Bool {
			return nil, fmt.Errorf("a scalar of type %.20q in %d bytes", dt.code, len(raw))
		}
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if dt.big {
		order = binary.BigEndian
	}
	switch numpyTypes[dt.code] {
	case tensor.Float32:
		return float64(math.Float32frombits(order.Uint32(raw))), nil
	case tensor.Float64:
		return math.Float64frombits(order.Uint64(raw)), nil
	case tensor.Float16:
		return float64(tensor.Half(order.Uint16(raw)).Float32()), nil
	case tensor.Int64, tensor.Uint64:
		return int64(order.Uint64(raw)), nil
	case tensor.Int32:
		return int64(int32(order.Uint32(raw))), nil
	case tensor.Uint32:
		return int64(order.Uint32(raw)), nil
	case tensor.Int16:
		return int64(int16(order.Uint16(raw))), nil
	case tensor.Uint16:
		return int64(order.Uint16(raw)), nil
	case tensor.Int8:
		return int64(int8(raw[0])), nil
	case tensor.Uint8:
		return int64(raw[0]), nil
	case tensor.Bool:
		if len(raw) == 1 {
			return raw[0] != 0, nil
		}
	}
	return pickle.Bytes(raw), nil
}
