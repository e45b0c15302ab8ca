package op

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// byteTable is a function of one 8-bit operand: the result code for each of the 256 stored bytes.
type byteTable [256]byte

// valueOf returns the integer that a stored byte stands for.
func valueOf(b byte, signed bool) int32 {
	if signed {
		return int32(int8(b))
	}
	return int32(b)
}

// newByteTable tabulates quantize(f(dequantize(code))).
func newByteTable(from, to quantParam, f func(float32) float32) *byteTable {
	var t byteTable
	for b := range t {
		x := float32(valueOf(byte(b), from.signed)-from.zeroAt()) * from.scale[0]
		t[b] = to.quantize(f(x))
	}
	return &t
}

// quantize returns the stored byte of a real value.
func (p *quantParam) quantize(v float32) byte {
	lo, hi := p.limits()
	return byte(quantizeValue(v/p.scale[0], p.zeroAt(), lo, hi))
}

// limits returns the least and the largest code.
func (p *quantParam) limits() (lo, hi int32) {
	if p.signed {
		return -128, 127
	}
	return 0, 255
}

// round returns the stored byte of a code that has a fraction: rounded half to even with the zero point already added.
func (p *quantParam) round(v float32) byte {
	lo, hi := p.limits()
	if !(v > float32(lo)) {
		return byte(lo)
	}
	return byte(roundSmall(min(v, float32(hi))))
}

// apply sets dst[i] = t[src[i]].
func (t *byteTable) apply(e *graph.Env, dst, src []byte) {
	e.For(len(src), elementGrain, func(lo, hi int) {
		out := dst[lo:hi]
		for i, b := range src[lo:hi] {
			out[i] = t[b]
		}
	})
}

// inferBytes checks that an input is of 8 bits and returns its element type.
func inferBytes(in []graph.Type, required, most int, at ...int) (tensor.DType, error) {
	if err := want(in, required, most); err != nil {
		return 0, err
	}
	d := tensor.Invalid
	for _, i := range at {
		if err := bytes8.check(i, in[i].DType); err != nil {
			return 0, err
		}
		if d == tensor.Invalid {
			d = in[i].DType
		}
	}
	return d, nil
}

// QLinearAdd is com.microsoft.QLinearAdd: the sum of two quantized tensors, broadcast, in float32 as ONNX Runtime orders it:
//
//	C = sat(rne(A*(sa/sc) + (zc - (za*(sa/sc) + zb*(sb/sc))) + B*(sb/sc)))
type QLinearAdd struct{}

func (*QLinearAdd) Kind() string { return "com.microsoft.QLinearAdd" }

func (*QLinearAdd) Infer(in []graph.Type) ([]graph.Type, error) { return inferQLinearBinary(in) }

func (*QLinearAdd) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalQLinearBinary(e, in, func(pa, pb, pc quantParam) func(dst, a, b []byte) {
		ra, rb := pa.scale[0]/pc.scale[0], pb.scale[0]/pc.scale[0]
		fixed := float32(pc.zeroAt()) - float32(float32(ra*float32(pa.zeroAt()))+float32(rb*float32(pb.zeroAt())))
		var ta, tb [256]float32
		for i := range ta {
			ta[i] = float32(float32(valueOf(byte(i), pa.signed))*ra) + fixed
			tb[i] = float32(valueOf(byte(i), pb.signed)) * rb
		}
		return func(dst, a, b []byte) {
			for i := range dst {
				dst[i] = pc.round(ta[a[i]] + tb[b[i]])
			}
		}
	})
}

// QLinearMul is com.microsoft.QLinearMul: the product of two quantized tensors, broadcast,
//
//	C = sat(rne((A-za)*(B-zb)*(sa*sb/sc) + zc))
type QLinearMul struct{}

func (*QLinearMul) Kind() string { return "com.microsoft.QLinearMul" }

func (*QLinearMul) Infer(in []graph.Type) ([]graph.Type, error) { return inferQLinearBinary(in) }

func (*QLinearMul) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalQLinearBinary(e, in, func(pa, pb, pc quantParam) func(dst, a, b []byte) {
		m, zc := float32(pa.scale[0]*pb.scale[0])/pc.scale[0], float32(pc.zeroAt())
		var ta, tb [256]int32
		for i := range ta {
			ta[i] = valueOf(byte(i), pa.signed) - pa.zeroAt()
			tb[i] = valueOf(byte(i), pb.signed) - pb.zeroAt()
		}
		return func(dst, a, b []byte) {
			for i := range dst {
				dst[i] = pc.round(float32(float32(ta[a[i]]*tb[b[i]])*m) + zc)
			}
		}
	})
}

func inferQLinearBinary(in []graph.Type) ([]graph.Type, error) {
	d, err := inferBytes(in, 7, 8, 0, 3)
	if err != nil {
		return nil, err
	}
	return one(broadcastTypes(d, in[0], in[3]))
}

// evalQLinearBinary evaluates (A, A_scale, A_zero_point, B, B_scale, B_zero_point, C_scale, C_zero_point).
func evalQLinearBinary(e *graph.Env, in []*tensor.Tensor, rows func(pa, pb, pc quantParam) func(dst, a, b []byte)) ([]*tensor.Tensor, error) {
	in, err := optionalZeros(in, 7, 8, 2, 5)
	if err != nil {
		return nil, err
	}
	a, b := in[0], in[3]
	if err := sameElems(a, b); err != nil {
		return nil, err
	}
	pa, err := newQuantParam("A", a, in[1], in[2], 1)
	if err != nil {
		return nil, err
	}
	pb, err := newQuantParam("B", b, in[4], in[5], 1)
	if err != nil {
		return nil, err
	}
	pc, err := newQuantParam("C", a, in[6], arg(in, 7), 1)
	if err != nil {
		return nil, err
	}
	shape, err := broadcastShapes(a, b)
	if err != nil {
		return nil, err
	}
	y := e.New(a.DType, shape...)
	zip(e, newBroadcast(shape, a.Shape, b.Shape), y.Bytes(), a.Bytes(), b.Bytes(), rows(pa, pb, pc))
	return []*tensor.Tensor{y}, nil
}

// optionalZeros is [args] for operators whose optional zero points stand before required inputs: those positions may be nil.
func optionalZeros(in []*tensor.Tensor, required, most int, optional ...int) ([]*tensor.Tensor, error) {
	given := append([]*tensor.Tensor{}, in...)
	for _, i := range optional {
		if i < len(given) && given[i] == nil {
			given[i] = &tensor.Tensor{}
		}
	}
	if err := want(given, required, most); err != nil {
		return nil, err
	}
	return dense(in)
}

// QLinearSigmoid is com.microsoft.QLinearSigmoid (X, X_scale, X_zero_point, Y_scale, Y_zero_point).
type QLinearSigmoid struct{}

func (*QLinearSigmoid) Kind() string { return "com.microsoft.QLinearSigmoid" }

func (*QLinearSigmoid) Infer(in []graph.Type) ([]graph.Type, error) { return inferQLinearUnary(in) }

func (*QLinearSigmoid) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalQLinearUnary(e, in, func(v float32) float32 { return float32(1 / (1 + math.Exp(-float64(v)))) })
}

// QLinearLeakyRelu is com.microsoft.QLinearLeakyRelu (X, X_scale, X_zero_point, Y_scale, Y_zero_point).
type QLinearLeakyRelu struct {
	Alpha float32 `attr:"alpha,0.01"`
}

func (*QLinearLeakyRelu) Kind() string { return "com.microsoft.QLinearLeakyRelu" }

func (*QLinearLeakyRelu) Infer(in []graph.Type) ([]graph.Type, error) { return inferQLinearUnary(in) }

func (o *QLinearLeakyRelu) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalQLinearUnary(e, in, func(v float32) float32 {
		if v < 0 {
			return v * o.Alpha
		}
		return v
	})
}

func inferQLinearUnary(in []graph.Type) ([]graph.Type, error) {
	d, err := inferBytes(in, 4, 5, 0)
	return one(retyped(arg(in, 0), d), err)
}

func evalQLinearUnary(e *graph.Env, in []*tensor.Tensor, f func(float32) float32) ([]*tensor.Tensor, error) {
	in, err := optionalZeros(in, 4, 5, 2)
	if err != nil {
		return nil, err
	}
	px, py, err := quantPair(in[0], in[1], in[2], in[3], arg(in, 4))
	if err != nil {
		return nil, err
	}
	y := e.New(in[0].DType, in[0].Shape...)
	newByteTable(px, py, f).apply(e, y.Bytes(), in[0].Bytes())
	return []*tensor.Tensor{y}, nil
}

// quantPair reads the parameters of an input and of an output of the same element type.
func quantPair(x, xScale, xZero, yScale, yZero *tensor.Tensor) (px, py quantParam, err error) {
	if px, err = newQuantParam("X", x, xScale, xZero, 1); err != nil {
		return
	}
	py, err = newQuantParam("Y", x, yScale, yZero, 1)
	return
}

// QLinearConcat is com.microsoft.QLinearConcat: Y_scale, Y_zero_point, then for each input the tensor, its scale and zero
// point; every input is requantized to the output's parameters.
type QLinearConcat struct {
	Axis int `attr:"axis"`
}

func (*QLinearConcat) Kind() string { return "com.microsoft.QLinearConcat" }

func (o *QLinearConcat) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 5, -1); err != nil {
		return nil, err
	}
	if len(in)%3 != 2 {
		return nil, fmt.Errorf("want Y_scale, Y_zero_point and three inputs for each tensor, got %d inputs", len(in))
	}
	if err := bytes8.check(1, in[1].DType); err != nil {
		return nil, err
	}
	out := graph.Unranked(in[1].DType)
	for i := 2; i < len(in); i += 3 {
		if err := bytes8.check(i, in[i].DType); err != nil {
			return nil, err
		}
		if !in[i].Ranked {
			return []graph.Type{graph.Unranked(in[1].DType)}, nil
		}
		axis, err := tensor.Axis(o.Axis, len(in[i].Dims))
		if err != nil {
			return nil, err
		}
		if !out.Ranked {
			out = graph.Ranked(out.DType, append([]graph.Dim{}, in[i].Dims...)...)
			continue
		}
		if len(out.Dims) != len(in[i].Dims) {
			return nil, fmt.Errorf("inputs %v and %v differ in rank", out, in[i])
		}
		for d, x := range in[i].Dims {
			switch {
			case d == axis && x.IsKnown() && out.Dims[d].IsKnown():
				out.Dims[d] = graph.Known(x.Size + out.Dims[d].Size)
			case d == axis:
				out.Dims[d] = graph.Unknown
			case x.IsKnown() && out.Dims[d].IsKnown() && x != out.Dims[d]:
				return nil, fmt.Errorf("inputs %v and %v differ outside axis %d", out, in[i], axis)
			case x.IsKnown():
				out.Dims[d] = x
			}
		}
	}
	return []graph.Type{out}, nil
}

func (o *QLinearConcat) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 5, -1)
	if err != nil {
		return nil, err
	}
	if len(in)%3 != 2 {
		return nil, fmt.Errorf("want Y_scale, Y_zero_point and three inputs for each tensor, got %d inputs", len(in))
	}
	for i, t := range in {
		if t == nil {
			return nil, fmt.Errorf("input %d is missing", i)
		}
	}
	py, err := newQuantParam("Y", in[1], in[0], in[1], 1)
	if err != nil {
		return nil, err
	}
	axis, err := tensor.Axis(o.Axis, in[2].Rank())
	if err != nil {
		return nil, err
	}
	shape := in[2].Shape.Clone()
	shape[axis] = 0
	for i := 2; i < len(in); i += 3 {
		s := in[i].Shape.Clone()
		if len(s) != len(shape) {
			return nil, fmt.Errorf("inputs of shapes %v and %v cannot be joined", in[2].Shape, s)
		}
		shape[axis] += s[axis]
		if s[axis] = in[2].Shape[axis]; !s.Equal(in[2].Shape) {
			return nil, fmt.Errorf("inputs of shapes %v and %v cannot be joined along axis %d", in[2].Shape, in[i].Shape, axis)
		}
	}
	if err := checkSize(shape); err != nil {
		return nil, err
	}
	y := e.New(in[1].DType, shape...)
	outer, inner := shape[:axis].Len(), shape[axis+1:].Len()
	at, stride := 0, shape[axis]*inner
	for i := 2; i < len(in); i += 3 {
		px, err := newQuantParam("input", in[i], in[i+1], in[i+2], 1)
		if err != nil {
			return nil, err
		}
		same := px.signed == py.signed && px.scale[0] == py.scale[0] && px.zeroAt() == py.zeroAt()
		table := newByteTable(px, py, func(v float32) float32 { return v })
		n := in[i].Shape[axis] * inner
		for r := range outer {
			dst, src := y.Bytes()[r*stride+at:][:n], in[i].Bytes()[r*n:(r+1)*n]
			if same {
				copy(dst, src)
			} else {
				table.apply(e, dst, src)
			}
		}
		at += n
	}
	return []*tensor.Tensor{y}, nil
}

// QLinearWhere is com.microsoft.QLinearWhere (condition, X, x_scale, x_zero_point, Y, y_scale, y_zero_point, z_scale, z_zero_point).
type QLinearWhere struct{}

func (*QLinearWhere) Kind() string { return "com.microsoft.QLinearWhere" }

func (*QLinearWhere) Infer(in []graph.Type) ([]graph.Type, error) {
	d, err := inferBytes(in, 9, 9, 1, 4, 8)
	if err != nil {
		return nil, err
	}
	if err := booleans.check(0, in[0].DType); err != nil {
		return nil, err
	}
	return one(broadcastTypes(d, in[0], in[1], in[4]))
}

func (*QLinearWhere) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 9, 9)
	if err != nil {
		return nil, err
	}
	condition, a, b := in[0], in[1], in[4]
	if err := booleans.check(0, condition.DType); err != nil {
		return nil, err
	}
	if err := sameElems(a, b, in[8]); err != nil {
		return nil, err
	}
	pz, err := newQuantParam("Z", in[8], in[7], in[8], 1)
	if err != nil {
		return nil, err
	}
	var tables [2]*byteTable
	for i := range tables {
		p, err := newQuantParam("X or Y", in[1+3*i], in[2+3*i], in[3+3*i], 1)
		if err != nil {
			return nil, err
		}
		tables[i] = newByteTable(p, pz, func(v float32) float32 { return v })
	}
	shape, err := broadcastShapes(condition, a, b)
	if err != nil {
		return nil, err
	}
	y := e.New(a.DType, shape...)
	dst, c, x, z := y.Bytes(), condition.Bytes(), a.Bytes(), b.Bytes()
	w := newBroadcast(shape, condition.Shape, a.Shape, b.Shape)
	e.For(w.n, elementGrain, func(lo, hi int) {
		w.each(lo, hi, func(out, n int, at []int) {
			for i := range n {
				if c[at[0]+i*w.step[0]] != 0 {
					dst[out+i] = tables[0][x[at[1]+i*w.step[1]]]
				} else {
					dst[out+i] = tables[1][z[at[2]+i*w.step[2]]]
				}
			}
		})
	})
	return []*tensor.Tensor{y}, nil
}

// QLinearSoftmax is com.microsoft.QLinearSoftmax (X, X_scale, x_zero_point, y_scale, y_zero_point). Opset says whose Softmax
// it is: below 13 all dimensions from Axis on are one, else only Axis is.
type QLinearSoftmax struct {
	Axis  int `attr:"axis,-1"`
	Opset int `attr:"opset"`
}

func (*QLinearSoftmax) Kind() string { return "com.microsoft.QLinearSoftmax" }

func (*QLinearSoftmax) Infer(in []graph.Type) ([]graph.Type, error) {
	d, err := inferBytes(in, 5, 5, 0)
	return one(retyped(arg(in, 0), d), err)
}

func (o *QLinearSoftmax) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := optionalZeros(in, 5, 5, 2)
	if err != nil {
		return nil, err
	}
	x := in[0]
	px, py, err := quantPair(x, in[1], in[2], in[3], in[4])
	if err != nil {
		return nil, err
	}
	axis, err := tensor.Axis(o.Axis, x.Rank())
	if err != nil {
		return nil, err
	}
	n, inner := x.Shape[axis], x.Shape[axis+1:].Len()
	if o.Opset < 13 {
		n, inner = n*inner, 1
	}
	y := e.New(x.DType, x.Shape...)
	if x.Len() == 0 {
		return []*tensor.Tensor{y}, nil
	}
	src, dst := x.Bytes(), y.Bytes()
	e.For(x.Len()/n, max(1, elementGrain/n), func(lo, hi int) {
		row := make([]float32, n)
		for r := lo; r < hi; r++ {
			at := r/inner*n*inner + r%inner
			for i := range row {
				row[i] = float32(valueOf(src[at+i*inner], px.signed)-px.zeroAt()) * px.scale[0]
			}
			kernel.Softmax(row, row)
			for i, v := range row {
				dst[at+i*inner] = py.quantize(v)
			}
		}
	})
	return []*tensor.Tensor{y}, nil
}
