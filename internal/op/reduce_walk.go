package op

import (
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// reduction is a walk over a tensor together with the output that some of its dimensions are reduced to.
type reduction struct {
	kept  tensor.Shape // with 1 for every reduced dimension
	outs  int          // elements of the output
	count int          // elements that make one of the output
	walk  *broadcast   // operand 0: the output
}

func newReduction(shape tensor.Shape, reduced []bool) *reduction {
	r := &reduction{kept: shape.Clone(), count: 1}
	for i, yes := range reduced {
		if yes {
			r.kept[i] = 1
			r.count *= shape[i]
		}
	}
	r.outs = r.kept.Len()
	r.walk = newBroadcast(shape, r.kept)
	return r
}

// along reports whether runs lie along the reduction: n elements make one output. Otherwise a run is added to n outputs.
func (r *reduction) along() bool { return r.walk.step[0] == 0 }

// each calls f for all runs: n elements from x on, of output out and, unless along, those after it. The runs of an output come in
// their order in memory, from one thread.
func (r *reduction) each(e *graph.Env, f func(x, n, out int)) {
	w := r.walk
	if w.n == 0 {
		return
	}
	body := func(x, n int, at []int) { f(x, n, at[0]) }
	outer := w.n / w.dims[0] // elements of one step along the outermost dimension
	if w.strides[0][0] != 0 {
		e.For(w.dims[0], max(1, elementGrain/outer), func(lo, hi int) { w.each(lo*outer, hi*outer, body) })
		return
	}
	if len(w.dims) == 1 {
		w.each(0, w.n, body)
		return
	}
	// The outermost dimension is reduced, so the next one is kept and can be shared out.
	inner := outer / w.dims[1]
	e.For(w.dims[1], max(1, elementGrain/(w.dims[0]*inner)), func(lo, hi int) {
		work := make([]int, len(w.dims)+len(w.strides))
		for i := range w.dims[0] {
			w.eachFrom(work, i*outer+lo*inner, i*outer+hi*inner, body)
		}
	})
}

// reduceInts computes sums and products modulo 2^64.
func reduceInts(e *graph.Env, x []int64, r *reduction, kind reduceKind) []int64 {
	acc := make([]int64, r.outs)
	var f func(acc, v int64) int64
	switch kind {
	case reduceSum:
		f = func(acc, v int64) int64 { return acc + v }
	case reduceL1:
		f = func(acc, v int64) int64 { return acc + max(v, -v) }
	case reduceSumSquare:
		f = func(acc, v int64) int64 { return acc + v*v }
	case reduceProd:
		spread(acc, 1)
		f = func(acc, v int64) int64 { return acc * v }
	}
	along := r.along()
	r.each(e, func(at, n, out int) {
		run := x[at : at+n]
		if along {
			a := acc[out]
			for _, v := range run {
				a = f(a, v)
			}
			acc[out] = a
			return
		}
		dst := acc[out : out+n]
		for i, v := range run {
			dst[i] = f(dst[i], v)
		}
	})
	return acc
}

func reduceReals[T float32 | float64](e *graph.Env, x []T, r *reduction, kind reduceKind) []float64 {
	acc := make([]float64, r.outs)
	switch kind {
	case reduceSum, reduceMean, reduceLogSum:
		fold(e, acc, x, r, sumRun[T], func(dst []float64, run []T) {
			for i, v := range run {
				dst[i] += float64(v)
			}
		})
	case reduceProd:
		spread(acc, 1)
		fold(e, acc, x, r, func(a float64, run []T) float64 {
			for _, v := range run {
				a *= float64(v)
			}
			return a
		}, func(dst []float64, run []T) {
			for i, v := range run {
				dst[i] *= float64(v)
			}
		})
	case reduceL1:
		fold(e, acc, x, r, func(a float64, run []T) float64 {
			for _, v := range run {
				a += math.Abs(float64(v))
			}
			return a
		}, func(dst []float64, run []T) {
			for i, v := range run {
				dst[i] += math.Abs(float64(v))
			}
		})
	case reduceL2, reduceSumSquare:
		fold(e, acc, x, r, func(a float64, run []T) float64 {
			for _, v := range run {
				a += float64(v) * float64(v)
			}
			return a
		}, func(dst []float64, run []T) {
			for i, v := range run {
				dst[i] += float64(v) * float64(v)
			}
		})
	case reduceLogSumExp:
		return logSumExp(e, x, r)
	}
	switch kind {
	case reduceMean:
		for i := range acc {
			acc[i] /= float64(r.count)
		}
	case reduceL2:
		for i, v := range acc {
			acc[i] = math.Sqrt(v)
		}
	case reduceLogSum:
		for i, v := range acc {
			acc[i] = math.Log(v)
		}
	}
	return acc
}

// fold runs along or across over all runs.
func fold[T float32 | float64](e *graph.Env, acc []float64, x []T, r *reduction, along func(acc float64, run []T) float64, across func(acc []float64, run []T)) {
	if r.along() {
		r.each(e, func(at, n, out int) { acc[out] = along(acc[out], x[at:at+n]) })
		return
	}
	r.each(e, func(at, n, out int) { across(acc[out:out+n], x[at:at+n]) })
}

// sumRun adds a run to acc. Runs of float32 are summed in float32 over short pieces only.
func sumRun[T float32 | float64](acc float64, run []T) float64 {
	if f, ok := any(run).([]float32); ok {
		for len(f) > block {
			acc += float64(kernel.Sum(f[:block]))
			f = f[block:]
		}
		return acc + float64(kernel.Sum(f))
	}
	for _, v := range run {
		acc += float64(v)
	}
	return acc
}

// logSumExp subtracts the greatest element before it takes exponentials.
func logSumExp[T float32 | float64](e *graph.Env, x []T, r *reduction) []float64 {
	top := make([]float64, r.outs)
	spread(top, math.Inf(-1))
	fold(e, top, x, r, func(a float64, run []T) float64 {
		for _, v := range run {
			a = max(a, float64(v))
		}
		return a
	}, func(dst []float64, run []T) {
		for i, v := range run {
			dst[i] = max(dst[i], float64(v))
		}
	})
	shift := make([]float64, r.outs)
	for i, v := range top {
		if !math.IsInf(v, 0) {
			shift[i] = v
		}
	}
	acc, along := make([]float64, r.outs), r.along()
	r.each(e, func(at, n, out int) {
		for i, v := range x[at : at+n] {
			o := out
			if !along {
				o += i
			}
			acc[o] += math.Exp(float64(v) - shift[o])
		}
	})
	for i, v := range acc {
		acc[i] = math.Log(v) + shift[i]
	}
	return acc
}

// extremes sets out to the greatest or least elements; a NaN wins.
func extremes[T number](e *graph.Env, out, t *tensor.Tensor, r *reduction, greatest bool, least, most T) {
	dst, x := tensor.Data[T](out), tensor.Data[T](t)
	across, along := numberRow[T](minimum), leastOf[T]
	spread(dst, most)
	if greatest {
		across, along = numberRow[T](maximum), greatestOf[T]
		spread(dst, least)
	}
	if r.along() {
		r.each(e, func(at, n, out int) { dst[out] = along(dst[out], x[at:at+n]) })
		return
	}
	r.each(e, func(at, n, out int) { across(dst[out:out+n], dst[out:out+n], x[at:at+n]) })
}

// greatestOf and leastOf keep several candidates, so that one comparison need not wait for the one before it.
func greatestOf[T number](a T, x []T) T {
	b, c, d := a, a, a
	for ; len(x) >= 4; x = x[4:] {
		a, b, c, d = max(a, x[0]), max(b, x[1]), max(c, x[2]), max(d, x[3])
	}
	for _, v := range x {
		a = max(a, v)
	}
	return max(a, b, c, d)
}

func leastOf[T number](a T, x []T) T {
	b, c, d := a, a, a
	for ; len(x) >= 4; x = x[4:] {
		a, b, c, d = min(a, x[0]), min(b, x[1]), min(c, x[2]), min(d, x[3])
	}
	for _, v := range x {
		a = min(a, v)
	}
	return min(a, b, c, d)
}
