package op

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// LabelEncoder maps elements from keys to values, both lists of one kind; what is no key becomes the default. NaN is a key like
// others, and of equal keys the last counts.
type LabelEncoder struct {
	KeysFloats    []float32      `attr:"keys_floats"`
	KeysInts      []int          `attr:"keys_int64s"`
	KeysStrings   []string       `attr:"keys_strings"`
	KeysTensor    *tensor.Tensor `attr:"keys_tensor"`
	ValuesFloats  []float32      `attr:"values_floats"`
	ValuesInts    []int          `attr:"values_int64s"`
	ValuesStrings []string       `attr:"values_strings"`
	ValuesTensor  *tensor.Tensor `attr:"values_tensor"`
	DefaultFloat  float32        `attr:"default_float,-0"`
	DefaultInt    int            `attr:"default_int64,-1"`
	DefaultString string         `attr:"default_string,_Unused"`
	DefaultTensor *tensor.Tensor `attr:"default_tensor"`
}

var labels = dtypes(tensor.Float32, tensor.Float64, tensor.Int16, tensor.Int32, tensor.Int64, tensor.String)

func (*LabelEncoder) Kind() string { return "ai.onnx.ml.LabelEncoder" }

func (o *LabelEncoder) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	if err := labels.check(0, in[0].DType); err != nil {
		return nil, err
	}
	keys, values, _, err := o.lists()
	if err != nil {
		return nil, err
	}
	if in[0].DType != tensor.Invalid && in[0].DType != keys.DType {
		return nil, fmt.Errorf("input 0: element type %v differs from that of the keys, %v", in[0].DType, keys.DType)
	}
	return []graph.Type{retyped(in[0], values.DType)}, nil
}

// lists returns keys and values, of equal length, and the default, of one element.
func (o *LabelEncoder) lists() (keys, values, def *tensor.Tensor, err error) {
	if keys, err = labelList("keys", o.KeysFloats, o.KeysInts, o.KeysStrings, o.KeysTensor); err != nil {
		return nil, nil, nil, err
	}
	if values, err = labelList("values", o.ValuesFloats, o.ValuesInts, o.ValuesStrings, o.ValuesTensor); err != nil {
		return nil, nil, nil, err
	}
	if keys.Len() != values.Len() {
		return nil, nil, nil, fmt.Errorf("%d keys for %d values", keys.Len(), values.Len())
	}
	switch {
	case o.DefaultTensor != nil && o.ValuesTensor != nil:
		def = o.DefaultTensor
		if def.Len() != 1 || def.DType != values.DType {
			return nil, nil, nil, fmt.Errorf("default_tensor: want one %v, got %v", values.DType, def)
		}
	case values.DType == tensor.String:
		def = tensor.Strings(tensor.Shape{}, []string{o.DefaultString})
	case values.DType.IsFloat():
		def, err = tensor.FromFloat64s(values.DType, tensor.Shape{}, []float64{float64(o.DefaultFloat)})
	default:
		def, err = castTensor(nil, tensor.Scalar(int64(o.DefaultInt)), values.DType, castMode{})
	}
	return keys, values, def, err
}

func labelList(name string, floats []float32, ints []int, strings []string, t *tensor.Tensor) (*tensor.Tensor, error) {
	var found []*tensor.Tensor
	if floats != nil {
		found = append(found, tensor.Vector(floats...))
	}
	if ints != nil {
		wide := make([]int64, len(ints))
		for i, v := range ints {
			wide[i] = int64(v)
		}
		found = append(found, tensor.Vector(wide...))
	}
	if strings != nil {
		found = append(found, tensor.Strings(tensor.Shape{len(strings)}, strings))
	}
	if t != nil {
		if !labels.has(t.DType) || t.Packed != nil {
			return nil, fmt.Errorf("%s_tensor: element type %v is not one of %v", name, t.DType, labels)
		}
		found = append(found, t)
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("want one list of %s, got %d", name, len(found))
	}
	return found[0], nil
}

func (o *LabelEncoder) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 1, 1)
	if err != nil {
		return nil, err
	}
	x := in[0]
	keys, values, def, err := o.lists()
	if err != nil {
		return nil, err
	}
	if x.DType != keys.DType {
		return nil, fmt.Errorf("input 0: element type %v differs from that of the keys, %v", x.DType, keys.DType)
	}
	var at []int // per element the position among the values, or -1
	switch {
	case x.DType == tensor.String:
		at = lookUp(keys.Text(), x.Text())
	case x.DType.IsInt():
		k, _ := keys.Ints()
		v, _ := x.Ints()
		at = lookUp(k, v)
	default:
		at = lookUp(floatKeys(keys), floatKeys(x))
	}
	out := e.New(values.DType, x.Shape...)
	switch {
	case values.DType == tensor.String:
		pick(out.Text(), values.Text(), def.Text()[0], at)
	case values.DType.Size() == 2:
		pick(cells[uint16](out), cells[uint16](values), cells[uint16](def)[0], at)
	case values.DType.Size() == 4:
		pick(cells[uint32](out), cells[uint32](values), cells[uint32](def)[0], at)
	default:
		pick(cells[uint64](out), cells[uint64](values), cells[uint64](def)[0], at)
	}
	return []*tensor.Tensor{out}, nil
}

// floatKeys returns bit patterns that are equal where the numbers are, all NaN being one.
func floatKeys(t *tensor.Tensor) []uint64 {
	v, err := t.Float64s()
	if err != nil {
		return nil
	}
	out := make([]uint64, len(v))
	for i, x := range v {
		switch {
		case x != x:
			x = math.NaN()
		case x == 0:
			x = 0 // also -0
		}
		out[i] = math.Float64bits(x)
	}
	return out
}

func lookUp[K comparable](keys, x []K) []int {
	position := make(map[K]int, len(keys))
	for i, k := range keys {
		position[k] = i
	}
	out := make([]int, len(x))
	for i, v := range x {
		p, ok := position[v]
		if !ok {
			p = -1
		}
		out[i] = p
	}
	return out
}

func pick[T any](dst, values []T, def T, at []int) {
	for i, p := range at {
		dst[i] = def
		if p >= 0 {
			dst[i] = values[p]
		}
	}
}

// ArrayFeatureExtractor selects elements of the last axis by index. A vector is taken as a matrix of one row.
type ArrayFeatureExtractor struct{}

var extractable = dtypes(tensor.Float32, tensor.Float64, tensor.Int32, tensor.Int64, tensor.String)

func (*ArrayFeatureExtractor) Kind() string { return "ai.onnx.ml.ArrayFeatureExtractor" }

func (*ArrayFeatureExtractor) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 2, 2); err != nil {
		return nil, err
	}
	if err := extractable.check(0, in[0].DType); err != nil {
		return nil, err
	}
	if !in[0].Ranked {
		return []graph.Type{graph.Unranked(in[0].DType)}, nil
	}
	last := graph.Unknown
	if s, ok := in[1].Shape(); ok {
		if n, ok := s.CheckedLen(); ok {
			last = graph.Known(n)
		}
	}
	out := graph.Ranked(in[0].DType, graph.Known(1))
	if n := len(in[0].Dims); n > 1 {
		out.Dims = append([]graph.Dim(nil), in[0].Dims[:n-1]...)
	}
	out.Dims = append(out.Dims, last)
	return []graph.Type{out}, nil
}

func (*ArrayFeatureExtractor) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 2, 2)
	if err != nil {
		return nil, err
	}
	x := in[0]
	if err := extractable.check(0, x.DType); err != nil {
		return nil, err
	}
	at, err := intsOf(in[1])
	if err != nil {
		return nil, fmt.Errorf("input 1: %w", err)
	}
	if x.Rank() == 0 {
		return nil, fmt.Errorf("input 0: want at least 1 dimension")
	}
	cols := x.Shape[x.Rank()-1]
	for _, i := range at {
		if i < 0 || i >= cols {
			return nil, fmt.Errorf("input 1: index %d is not in a dimension of %d", i, cols)
		}
	}
	shape := tensor.Shape{1}
	if x.Rank() > 1 {
		shape = x.Shape[:x.Rank()-1].Clone()
	}
	shape = append(shape, len(at))
	if err := checkSize(shape); err != nil {
		return nil, err
	}
	out := e.New(x.DType, shape...)
	switch {
	case x.DType == tensor.String:
		extract(out.Text(), x.Text(), cols, at)
	case x.DType.Size() == 4:
		extract(cells[uint32](out), cells[uint32](x), cols, at)
	default:
		extract(cells[uint64](out), cells[uint64](x), cols, at)
	}
	return []*tensor.Tensor{out}, nil
}

func extract[T any](dst, x []T, cols int, at []int) {
	if len(at) == 0 {
		return
	}
	for r := range len(dst) / len(at) {
		row := x[r*cols : (r+1)*cols]
		for i, c := range at {
			dst[r*len(at)+i] = row[c]
		}
	}
}

// Binarizer is 1 where an element is above the threshold, else 0.
type Binarizer struct {
	Threshold float32 `attr:"threshold,0"`
}

var binarizable = dtypes(tensor.Float32, tensor.Float64, tensor.Int32, tensor.Int64)

func (*Binarizer) Kind() string { return "ai.onnx.ml.Binarizer" }

func (*Binarizer) Infer(in []graph.Type) ([]graph.Type, error) { return inferUnary(in, binarizable) }

func (o *Binarizer) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 1, 1)
	if err != nil {
		return nil, err
	}
	if err := binarizable.check(0, in[0].DType); err != nil {
		return nil, err
	}
	v, err := in[0].Float64s()
	if err != nil {
		return nil, err
	}
	above := make([]uint8, len(v))
	for i, x := range v {
		if x > float64(o.Threshold) {
			above[i] = 1
		}
	}
	return one(castTensor(e, tensor.Of(in[0].Shape, above), in[0].DType, castMode{}))
}
