package op

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

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
