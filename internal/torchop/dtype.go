package torchop

import (
	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// typeCodes are the element types by the numbers that PyTorch has for them (c10::ScalarType).
var typeCodes = map[int64]tensor.DType{
	0: tensor.Uint8, 1: tensor.Int8, 2: tensor.Int16, 3: tensor.Int32, 4: tensor.Int64, 5: tensor.Float16, 6: tensor.Float32, 7: tensor.Float64,
	9: tensor.Complex64, 10: tensor.Complex128, 11: tensor.Bool, 15: tensor.BFloat16, 23: tensor.Float8E5M2, 24: tensor.Float8E4M3FN,
	25: tensor.Float8E5M2FNUZ, 26: tensor.Float8E4M3FNUZ, 27: tensor.Uint16, 28: tensor.Uint32, 29: tensor.Uint64,
}

// TypeCode returns the number of an element type as a value; None if it is not known.
func TypeCode(d tensor.DType) any {
	for code, t := range typeCodes {
		if t == d {
			return N(code)
		}
	}
	return nil
}

// category orders element types: the result of two is of the higher.
func category(d tensor.DType) int {
	switch {
	case d == tensor.Bool:
		return 0
	case d == tensor.Complex64 || d == tensor.Complex128:
		return 3
	case d.IsFloat():
		return 2
	}
	return 1
}

// widths orders the types of a category.
var widths = map[tensor.DType]int{
	tensor.Bool: 0, tensor.Uint8: 1, tensor.Int8: 1, tensor.Uint16: 2, tensor.Int16: 2, tensor.Uint32: 3, tensor.Int32: 3, tensor.Uint64: 4, tensor.Int64: 4,
	tensor.Float16: 2, tensor.BFloat16: 2, tensor.Float32: 3, tensor.Float64: 4, tensor.Complex64: 1, tensor.Complex128: 2,
}

// promote returns the type of what two tensors of equal rank in PyTorch's order give.
func promote(a, b tensor.DType) tensor.DType {
	switch {
	case a == tensor.Invalid:
		return b
	case b == tensor.Invalid || a == b:
		return a
	}
	if ca, cb := category(a), category(b); ca != cb {
		if ca > cb {
			return a
		}
		return b
	}
	wa, wb := widths[a], widths[b]
	if wa == wb { // uint8 and int8, float16 and bfloat16: the next larger
		switch {
		case category(a) == 2:
			return tensor.Float32
		case wa == 1:
			return tensor.Int16
		case wa == 2:
			return tensor.Int32
		}
		return tensor.Int64
	}
	if wa < wb {
		a = b
	}
	return a
}

// resultType returns the element type that operands have in common, by PyTorch's rules: tensors with dimensions count before
// tensors of one number, and those before numbers, unless the latter are of a higher category.
func (b *Builder) resultType(operands ...any) tensor.DType {
	var kinds [3]tensor.DType // of tensors with dimensions, of tensors without, of numbers
	add := func(i int, d tensor.DType) { kinds[i] = promote(kinds[i], d) }
	for _, o := range operands {
		switch o := o.(type) {
		case *Tensor:
			ty := b.typeOf(o)
			if ty.Ranked && len(ty.Dims) == 0 {
				add(1, ty.DType)
			} else {
				add(0, ty.DType)
			}
		case Int:
			add(2, tensor.Int64)
		case float64:
			add(2, tensor.Float32)
		case bool:
			add(2, tensor.Bool)
		}
	}
	d := kinds[0]
	for i, k := range kinds[1:] {
		if k == tensor.Invalid || d != tensor.Invalid && category(k) <= category(d) {
			continue
		}
		d = k
		if i == 1 && category(k) == 2 {
			d = tensor.Float32 // the default type
		}
	}
	return d
}

// typeOf returns the type of a tensor without making a parameter part of the graph.
func (b *Builder) typeOf(t *Tensor) graph.Type {
	if t.val == nil && t.base == nil && t.source != nil {
		return graph.Shaped(t.source.DType(), t.source.Shape())
	}
	return b.Of(t).Type
}

// cast converts a value to an element type.
func (b *Builder) cast(v *graph.Value, d tensor.DType) *graph.Value {
	if v.Type.DType == d || d == tensor.Invalid {
		return v
	}
	return b.Node("Cast", aten.Attrs{"to": int(d)}, v)
}

// operand returns a tensor or a number as a value of an element type.
func (b *Builder) operand(o any, d tensor.DType) *graph.Value {
	switch o := o.(type) {
	case *Tensor:
		v := b.Of(o)
		if v.Type.DType != d && v.Type.Ranked && len(v.Type.Dims) == 0 {
			if k, ok := constant(v); ok {
				if f, ok := number(k); ok {
					return b.NumberOf(d, f)
				}
			}
		}
		return b.cast(v, d)
	case float64:
		return b.NumberOf(d, o)
	case bool:
		if o {
			return b.NumberOf(d, 1)
		}
		return b.NumberOf(d, 0)
	case Int:
		if c, ok := o.Const(); ok {
			if d == tensor.Int64 {
				return b.Int(int(c))
			}
			return b.NumberOf(d, float64(c))
		}
		return b.cast(b.Squeeze(b.sym.Value(o), 0), d)
	}
	return b.Fail("an operand that is a %s", TypeName(o))
}
