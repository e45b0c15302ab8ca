package op

import (
	"fmt"
	"math"
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

var reduceOps = table{
	"ReduceSum": fresh[ReduceSum], "ReduceMean": fresh[ReduceMean], "ReduceProd": fresh[ReduceProd],
	"ReduceMax": fresh[ReduceMax], "ReduceMin": fresh[ReduceMin],
	"ReduceL1": fresh[ReduceL1], "ReduceL2": fresh[ReduceL2], "ReduceSumSquare": fresh[ReduceSumSquare],
	"ReduceLogSum": fresh[ReduceLogSum], "ReduceLogSumExp": fresh[ReduceLogSumExp],
	"ArgMax": fresh[ArgMax], "ArgMin": fresh[ArgMin],
}

// Reduce holds the attributes of the Reduce operators. The axes are the optional second input; without any, all axes are
// reduced or, with Noop, none.
type Reduce struct {
	KeepDims bool `attr:"keepdims,1"`
	Noop     bool `attr:"noop_with_empty_axes,0"`
}

// ReduceSum is the sum.
type ReduceSum struct{ Reduce }

func (*ReduceSum) Kind() string { return "ReduceSum" }

func (o *ReduceSum) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return o.eval(e, in, reduceSum)
}

// ReduceMean is the mean; that of integers is cut towards zero.
type ReduceMean struct{ Reduce }

func (*ReduceMean) Kind() string { return "ReduceMean" }

func (o *ReduceMean) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return o.eval(e, in, reduceMean)
}

// ReduceProd is the product.
type ReduceProd struct{ Reduce }

func (*ReduceProd) Kind() string { return "ReduceProd" }

func (o *ReduceProd) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return o.eval(e, in, reduceProd)
}

// ReduceMax is the greatest element; NaN wins. Of nothing it is the least value of the type.
type ReduceMax struct{ Reduce }

func (*ReduceMax) Kind() string { return "ReduceMax" }

func (o *ReduceMax) Infer(in []graph.Type) ([]graph.Type, error) {
	return o.infer(in, numbers|booleans)
}

func (o *ReduceMax) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return o.eval(e, in, reduceMax)
}

// ReduceMin is the least element; NaN wins. Of nothing it is the greatest value of the type.
type ReduceMin struct{ Reduce }

func (*ReduceMin) Kind() string { return "ReduceMin" }

func (o *ReduceMin) Infer(in []graph.Type) ([]graph.Type, error) {
	return o.infer(in, numbers|booleans)
}

func (o *ReduceMin) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return o.eval(e, in, reduceMin)
}

// ReduceL1 is the sum of magnitudes.
type ReduceL1 struct{ Reduce }

func (*ReduceL1) Kind() string { return "ReduceL1" }

func (o *ReduceL1) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return o.eval(e, in, reduceL1)
}

// ReduceL2 is the square root of the sum of squares.
type ReduceL2 struct{ Reduce }

func (*ReduceL2) Kind() string { return "ReduceL2" }

func (o *ReduceL2) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return o.eval(e, in, reduceL2)
}

// ReduceSumSquare is the sum of squares.
type ReduceSumSquare struct{ Reduce }

func (*ReduceSumSquare) Kind() string { return "ReduceSumSquare" }

func (o *ReduceSumSquare) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return o.eval(e, in, reduceSumSquare)
}

// ReduceLogSum is the logarithm of the sum.
type ReduceLogSum struct{ Reduce }

func (*ReduceLogSum) Kind() string { return "ReduceLogSum" }

func (o *ReduceLogSum) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return o.eval(e, in, reduceLogSum)
}

// ReduceLogSumExp is the logarithm of the sum of exponentials.
type ReduceLogSumExp struct{ Reduce }

func (*ReduceLogSumExp) Kind() string { return "ReduceLogSumExp" }

func (o *ReduceLogSumExp) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return o.eval(e, in, reduceLogSumExp)
}

// Infer implements [graph.Op] for the operators on numbers.
func (o *Reduce) Infer(in []graph.Type) ([]graph.Type, error) { return o.infer(in, numbers) }

func (o *Reduce) infer(in []graph.Type, set dtypeSet) ([]graph.Type, error) {
	if err := want(in, 1, 2); err != nil {
		return nil, err
	}
	t, given := in[0], arg(in, 1)
	if err := set.check(0, t.DType); err != nil {
		return nil, err
	}
	if err := indexInts.check(1, given.DType); err != nil {
		return nil, err
	}
	if !t.Ranked {
		return []graph.Type{graph.Unranked(t.DType)}, nil
	}
	axes, known := knownInts(given)
	if !known && !given.IsNone() {
		// Which axes is not known; how many, often is.
		switch n, ok := given.Shape(); {
		case o.KeepDims:
			return []graph.Type{graph.Ranked(t.DType, unknownDims(len(t.Dims))...)}, nil
		case ok && len(n) == 1 && n[0] > 0 && n[0] <= len(t.Dims):
			return []graph.Type{graph.Ranked(t.DType, unknownDims(len(t.Dims)-n[0])...)}, nil
		}
		return []graph.Type{graph.Unranked(t.DType)}, nil
	}
	reduced, err := o.reduced(axes, len(t.Dims))
	if err != nil {
		return nil, err
	}
	out := graph.Ranked(t.DType)
	for i, d := range t.Dims {
		switch {
		case !reduced[i]:
			out.Dims = append(out.Dims, d)
		case o.KeepDims:
			out.Dims = append(out.Dims, graph.Known(1))
		}
	}
	return []graph.Type{out}, nil
}

func unknownDims(n int) []graph.Dim { return slices.Repeat([]graph.Dim{graph.Unknown}, n) }

// maxRank is more dimensions than a tensor has.
const maxRank = 64

// rankOfShape returns how many dimensions a tensor has whose shape is a vector of type t. Files may declare any length: one that
// is beyond reason tells nothing.
func rankOfShape(t graph.Type) (int, bool) {
	if !t.Ranked || len(t.Dims) != 1 || !t.Dims[0].IsKnown() || t.Dims[0].Size > maxRank {
		return 0, false
	}
	return t.Dims[0].Size, true
}

// reduced tells for every dimension whether it is reduced.
func (o *Reduce) reduced(axes []int, rank int) ([]bool, error) {
	out := make([]bool, rank)
	axes, err := axesOf(axes, rank)
	if err != nil {
		return nil, err
	}
	for _, a := range axes {
		out[a] = true
	}
	if len(axes) == 0 && !o.Noop {
		for i := range out {
			out[i] = true
		}
	}
	return out, nil
}

// reduceKind is what a Reduce operator computes.
type reduceKind uint8

const (
	reduceSum reduceKind = iota
	reduceMean
	reduceProd
	reduceMax
	reduceMin
	reduceL1
	reduceL2
	reduceSumSquare
	reduceLogSum
	reduceLogSumExp
)

func (o *Reduce) eval(e *graph.Env, in []*tensor.Tensor, kind reduceKind) ([]*tensor.Tensor, error) {
	in, err := args(in, 1, 2)
	if err != nil {
		return nil, err
	}
	t := in[0]
	set := numbers
	if kind == reduceMax || kind == reduceMin {
		set |= booleans
	}
	if err := set.check(0, t.DType); err != nil {
		return nil, err
	}
	if y, ok := o.adjacent(e, t, arg(in, 1), kind); ok {
		return e.One(y), nil
	}
	axes, err := intsOf(arg(in, 1))
	if err != nil {
		return nil, fmt.Errorf("axes: %w", err)
	}
	reduced, err := o.reduced(axes, t.Rank())
	if err != nil {
		return nil, err
	}
	r := newReduction(t.Shape, reduced)
	shape := r.kept
	if !o.KeepDims {
		shape = tensor.Shape{}
		for i, d := range t.Shape {
			if !reduced[i] {
				shape = append(shape, d)
			}
		}
	}
	return one(reduceTensor(e, t, r, kind, shape))
}

// adjacent computes sums and means of float32 over axes that lie together, as they do for the images of a channel; false if that is
// not what is asked for. Sums are those of [reduceReals].
func (o *Reduce) adjacent(e *graph.Env, t, axes *tensor.Tensor, kind reduceKind) (*tensor.Tensor, bool) {
	if t.DType != tensor.Float32 || t.Len() == 0 || kind != reduceSum && kind != reduceMean || axes == nil || axes.DType != tensor.Int64 || axes.Len() == 0 {
		return nil, false
	}
	rank := t.Rank()
	first, last := rank, -1
	var seen uint64
	for _, k := range tensor.Data[int64](axes) {
		a, ok := wrapIndex(k, rank)
		if !ok || a >= 64 || seen>>a&1 == 1 {
			return nil, false
		}
		seen |= 1 << a
		first, last = min(first, a), max(last, a)
	}
	if last-first+1 != axes.Len() {
		return nil, false
	}
	a := sumArgs{x: tensor.Data[float32](t), n: t.Shape[first : last+1].Len(), inner: t.Shape[last+1:].Len(), count: 1}
	if kind == reduceMean {
		a.count = float64(a.n)
	}
	shape := e.Ints(rank)[:0]
	for i, d := range t.Shape {
		switch {
		case i < first || i > last:
			shape = append(shape, d)
		case o.KeepDims:
			shape = append(shape, 1)
		}
	}
	y := e.New(tensor.Float32, shape...)
	a.y = tensor.Data[float32](y)
	summing.For(e.Workers(), len(a.y), max(16, elementGrain/a.n), a, (*sumArgs).sums)
	return y, true
}

var summing kernel.Jobs[sumArgs]

// sumArgs are sums of n elements each, inner apart, divided by count.
type sumArgs struct {
	x, y     []float32
	n, inner int
	count    float64
}

func (a *sumArgs) sums(lo, hi int) {
	if a.inner == 1 {
		for i := lo; i < hi; i++ {
			a.y[i] = float32(sumRun(0, a.x[i*a.n:(i+1)*a.n]) / a.count)
		}
		return
	}
	sums := kernel.Borrow[float64](hi - lo)
	defer sums.Release()
	for lo < hi {
		end := min(hi, (lo/a.inner+1)*a.inner)
		acc := sums.Data[:end-lo]
		clear(acc)
		at := lo/a.inner*a.n*a.inner + lo%a.inner
		for range a.n {
			for i, v := range a.x[at : at+len(acc)] {
				acc[i] += float64(v)
			}
			at += a.inner
		}
		for i, v := range acc {
			a.y[lo+i] = float32(v / a.count)
		}
		lo = end
	}
}

// reduceTensor reduces t to the given shape. Real numbers are accumulated in float64, integers in 64 bits.
func reduceTensor(e *graph.Env, t *tensor.Tensor, r *reduction, kind reduceKind, shape tensor.Shape) (*tensor.Tensor, error) {
	if kind == reduceMax || kind == reduceMin {
		return reduceExtreme(e, t, r, kind == reduceMax, shape)
	}
	if t.DType.IsInt() {
		switch kind {
		case reduceSum, reduceProd, reduceL1, reduceSumSquare:
			wide, err := castTensor(e, t, tensor.Int64, castMode{})
			if err != nil {
				return nil, err
			}
			return castTensor(e, tensor.Of(shape, reduceInts(e, tensor.Data[int64](wide), r, kind)), t.DType, castMode{})
		}
		wide, err := castTensor(e, t, tensor.Float64, castMode{})
		if err != nil {
			return nil, err
		}
		return castTensor(e, tensor.Of(shape, reduceReals(e, tensor.Data[float64](wide), r, kind)), t.DType, castMode{})
	}
	var acc []float64
	if t.DType == tensor.Float64 {
		acc = reduceReals(e, tensor.Data[float64](t), r, kind)
	} else {
		acc = reduceReals(e, tensor.Data[float32](decoded(e, t)), r, kind)
	}
	return castTensor(e, tensor.Of(shape, acc), t.DType, castMode{})
}

func reduceExtreme(e *graph.Env, t *tensor.Tensor, r *reduction, greatest bool, shape tensor.Shape) (*tensor.Tensor, error) {
	x := decoded(e, t)
	mid := e.New(x.DType, shape...)
	switch x.DType {
	case tensor.Float32:
		extremes(e, mid, x, r, greatest, float32(math.Inf(-1)), float32(math.Inf(1)))
	case tensor.Float64:
		extremes(e, mid, x, r, greatest, math.Inf(-1), math.Inf(1))
	case tensor.Int8:
		extremes[int8](e, mid, x, r, greatest, math.MinInt8, math.MaxInt8)
	case tensor.Int16:
		extremes[int16](e, mid, x, r, greatest, math.MinInt16, math.MaxInt16)
	case tensor.Int32:
		extremes[int32](e, mid, x, r, greatest, math.MinInt32, math.MaxInt32)
	case tensor.Int64:
		extremes[int64](e, mid, x, r, greatest, math.MinInt64, math.MaxInt64)
	case tensor.Uint8:
		most := uint8(math.MaxUint8)
		if t.DType == tensor.Bool {
			most = 1
		}
		extremes(e, mid, x, r, greatest, 0, most)
	case tensor.Uint16:
		extremes[uint16](e, mid, x, r, greatest, 0, math.MaxUint16)
	case tensor.Uint32:
		extremes[uint32](e, mid, x, r, greatest, 0, math.MaxUint32)
	case tensor.Uint64:
		extremes[uint64](e, mid, x, r, greatest, 0, math.MaxUint64)
	}
	if t.DType == tensor.Bool {
		return tensor.FromBytes(tensor.Bool, shape, mid.Bytes())
	}
	return castTensor(e, mid, t.DType, castMode{})
}
