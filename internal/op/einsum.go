package op

import (
	"fmt"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// Einsum is the ONNX operator Einsum: Einstein summation as numpy writes it, with any number of operands, repeated indices
// (diagonals), ellipses and an implicit or explicit output. Operands are contracted from left to right, each contraction being
// one batched matrix product.
type Einsum struct {
	Equation string `attr:"equation"`
}

func (*Einsum) Kind() string { return "Einsum" }

// label is an index of an equation: a letter, or for the dimensions of an ellipsis, counted from the last, -1, -2 and so on.
type label rune

// equation is an Einsum equation against operands of known rank.
type equation struct {
	terms [][]label
	out   []label
}

func parseEquation(s string, ranks []int) (*equation, error) {
	s = strings.ReplaceAll(s, " ", "")
	left, right, explicit := strings.Cut(s, "->")
	terms := strings.Split(left, ",")
	if len(terms) != len(ranks) {
		return nil, fmt.Errorf("equation %q has %d operands, found %d", s, len(terms), len(ranks))
	}
	q := &equation{}
	count := map[label]int{}
	widest := 0
	for i, term := range terms {
		before, after, dots := strings.Cut(term, "...")
		extra := ranks[i] - len(before) - len(after)
		if extra < 0 || !dots && extra != 0 {
			return nil, fmt.Errorf("equation %q: operand %d has %d dimensions, term %q", s, i, ranks[i], term)
		}
		widest = max(widest, extra)
		var labels []label
		for _, c := range before {
			labels = append(labels, label(c))
		}
		for d := extra; d > 0; d-- {
			labels = append(labels, label(-d))
		}
		for _, c := range after {
			labels = append(labels, label(c))
		}
		for _, l := range labels {
			if l > 0 && !isLetter(l) {
				return nil, fmt.Errorf("equation %q: %q is not an index", s, l)
			}
			count[l]++
		}
		q.terms = append(q.terms, labels)
	}
	if !explicit {
		for d := widest; d > 0; d-- {
			q.out = append(q.out, label(-d))
		}
		var once []label
		for l, n := range count {
			if l > 0 && n == 1 {
				once = append(once, l)
			}
		}
		slices.Sort(once)
		q.out = append(q.out, once...)
		return q, nil
	}
	before, after, dots := strings.Cut(right, "...")
	for _, c := range before {
		q.out = append(q.out, label(c))
	}
	if dots {
		for d := widest; d > 0; d-- {
			q.out = append(q.out, label(-d))
		}
	}
	for _, c := range after {
		q.out = append(q.out, label(c))
	}
	for i, l := range q.out {
		if count[l] == 0 || slices.Contains(q.out[:i], l) {
			return nil, fmt.Errorf("equation %q: output index %q is unknown or repeated", s, l)
		}
	}
	return q, nil
}

func isLetter(l label) bool { return l >= 'a' && l <= 'z' || l >= 'A' && l <= 'Z' }

func (o *Einsum) Infer(in []graph.Type) ([]graph.Type, error) {
	d, err := inferCommon(in, 1, -1, linearTypes)
	if err != nil {
		return nil, err
	}
	ranks := make([]int, len(in))
	for i, t := range in {
		if !t.Ranked {
			return []graph.Type{graph.Unranked(d)}, nil
		}
		ranks[i] = len(t.Dims)
	}
	q, err := parseEquation(o.Equation, ranks)
	if err != nil {
		return nil, err
	}
	sizes := map[label]graph.Dim{}
	for i, term := range q.terms {
		for j, l := range term {
			old, ok := sizes[l]
			if !ok {
				old = graph.Known(1)
			}
			both, err := broadcastDims([]graph.Dim{old}, []graph.Dim{in[i].Dims[j]})
			if err != nil {
				return nil, fmt.Errorf("operand %d: %w", i, err)
			}
			sizes[l] = both[0]
		}
	}
	out := graph.Ranked(d)
	for _, l := range q.out {
		out.Dims = append(out.Dims, sizes[l])
	}
	return []graph.Type{out}, nil
}

func (o *Einsum) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 1, -1)
	if err != nil {
		return nil, err
	}
	ranks := make([]int, len(in))
	for i, t := range in {
		if t == nil {
			return nil, fmt.Errorf("input %d is missing", i)
		}
		ranks[i] = t.Rank()
	}
	if err := sameElems(in...); err != nil {
		return nil, err
	}
	q, err := parseEquation(o.Equation, ranks)
	if err != nil {
		return nil, err
	}
	switch in[0].DType {
	case tensor.Float32:
		return one(einsum[float32](e, q, in))
	case tensor.Float64:
		return one(einsum[float64](e, q, in))
	case tensor.Int8:
		return one(einsum[int8](e, q, in))
	case tensor.Int16:
		return one(einsum[int16](e, q, in))
	case tensor.Int32:
		return one(einsum[int32](e, q, in))
	case tensor.Int64:
		return one(einsum[int64](e, q, in))
	case tensor.Uint8:
		return one(einsum[uint8](e, q, in))
	case tensor.Uint16:
		return one(einsum[uint16](e, q, in))
	case tensor.Uint32:
		return one(einsum[uint32](e, q, in))
	case tensor.Uint64:
		return one(einsum[uint64](e, q, in))
	case tensor.Float16, tensor.BFloat16:
		wide := make([]*tensor.Tensor, len(in))
		for i, t := range in {
			f, err := t.Floats()
			if err != nil {
				return nil, err
			}
			wide[i] = tensor.Of(t.Shape, f)
		}
		t, err := einsum[float32](e, q, wide)
		if err != nil {
			return nil, err
		}
		buf, done := realOutput[float32](e, in[0].DType, t.Shape)
		copy(buf, tensor.Data[float32](t))
		return []*tensor.Tensor{done()}, nil
	}
	return nil, linearTypes.check(0, in[0].DType)
}

// labelled is an intermediate of a contraction: contiguous data whose dimensions carry distinct labels.
type labelled[T number] struct {
	data   []T
	labels []label
	sizes  []int
}

func einsum[T number](e *graph.Env, q *equation, in []*tensor.Tensor) (*tensor.Tensor, error) {
	size := map[label]int{}
	for i, term := range q.terms {
		for j, l := range term {
			n := in[i].Shape[j]
			if old, ok := size[l]; ok && old != n && old != 1 && n != 1 {
				return nil, fmt.Errorf("operand %d: dimension %d is %d, elsewhere %d", i, j, n, old)
			}
			if old, ok := size[l]; !ok || old == 1 {
				size[l] = n
			}
		}
	}
	var acc labelled[T]
	for i, t := range in {
		keep := slices.Clone(q.out) // what the output or a later operand still needs
		for _, later := range q.terms[i+1:] {
			keep = append(keep, later...)
		}
		x, err := diagonal(tensor.Data[T](t), t.Shape, q.terms[i], size)
		if err != nil {
			return nil, fmt.Errorf("operand %d: %w", i, err)
		}
		if i == 0 {
			acc = x.sumOut(keep)
			continue
		}
		acc = acc.sumOut(append(keep, x.labels...))
		if acc, err = contract(e, acc, x.sumOut(append(keep, acc.labels...)), keep); err != nil {
			return nil, err
		}
	}
	out := make(tensor.Shape, len(q.out))
	strides := make([]int, len(q.out))
	own := tensor.Shape(acc.sizes).Strides()
	for i, l := range q.out {
		out[i] = size[l]
		if j := slices.Index(acc.labels, l); j >= 0 {
			strides[i] = own[j]
		}
	}
	if err := checkSize(out); err != nil {
		return nil, err
	}
	y := e.New(in[0].DType, out...)
	gatherStrided(tensor.Data[T](y), acc.data, out, strides)
	return y, nil
}

// diagonal gives the dimensions of an operand distinct labels: a repeated label walks its diagonal, and dimensions of 1 that
// another operand extends are dropped.
func diagonal[T number](data []T, shape tensor.Shape, term []label, size map[label]int) (labelled[T], error) {
	var x labelled[T]
	var strides []int
	for j, s := range shape.Strides() {
		l := term[j]
		if shape[j] == 1 && size[l] != 1 {
			continue
		}
		if k := slices.Index(x.labels, l); k >= 0 {
			if shape[j] != x.sizes[k] {
				return x, fmt.Errorf("repeated index %q has sizes %d and %d", l, x.sizes[k], shape[j])
			}
			strides[k] += s
			continue
		}
		x.labels, x.sizes, strides = append(x.labels, l), append(x.sizes, shape[j]), append(strides, s)
	}
	if slices.Equal(strides, tensor.Shape(x.sizes).Strides()) {
		x.data = data
		return x, nil
	}
	x.data = make([]T, tensor.Shape(x.sizes).Len())
	gatherStrided(x.data, data, x.sizes, strides)
	return x, nil
}

// sumOut sums over the labels that are not kept.
func (x labelled[T]) sumOut(keep []label) labelled[T] {
	var kept, gone []label
	for _, l := range x.labels {
		if slices.Contains(keep, l) {
			kept = append(kept, l)
		} else {
			gone = append(gone, l)
		}
	}
	if len(gone) == 0 {
		return x
	}
	x = x.arrange(append(slices.Clone(kept), gone...))
	inner := tensor.Shape(x.sizes[len(kept):]).Len()
	out := labelled[T]{labels: kept, sizes: x.sizes[:len(kept)]}
	out.data = make([]T, tensor.Shape(out.sizes).Len())
	for i := range out.data {
		var s T
		for _, v := range x.data[i*inner : (i+1)*inner] {
			s += v
		}
		out.data[i] = s
	}
	return out
}

// arrange permutes the dimensions to the order of labels.
func (x labelled[T]) arrange(labels []label) labelled[T] {
	if slices.Equal(labels, x.labels) {
		return x
	}
	out := labelled[T]{labels: labels, data: make([]T, len(x.data))}
	own := tensor.Shape(x.sizes).Strides()
	var strides []int
	for _, l := range labels {
		j := slices.Index(x.labels, l)
		out.sizes, strides = append(out.sizes, x.sizes[j]), append(strides, own[j])
	}
	gatherStrided(out.data, x.data, out.sizes, strides)
	return out
}

// contract multiplies two operands and sums over the labels that both have and nobody keeps.
func contract[T number](e *graph.Env, x, y labelled[T], keep []label) (labelled[T], error) {
	var batch, inner, left, right []label
	for _, l := range x.labels {
		switch {
		case !slices.Contains(y.labels, l):
			left = append(left, l)
		case slices.Contains(keep, l):
			batch = append(batch, l)
		default:
			inner = append(inner, l)
		}
	}
	for _, l := range y.labels {
		if !slices.Contains(x.labels, l) {
			right = append(right, l)
		}
	}
	x = x.arrange(slices.Concat(batch, left, inner))
	y = y.arrange(slices.Concat(batch, inner, right))
	nb, nl, ni := len(batch), len(left), len(inner)
	count, m := tensor.Shape(x.sizes[:nb]).Len(), tensor.Shape(x.sizes[nb:nb+nl]).Len()
	k, n := tensor.Shape(x.sizes[nb+nl:]).Len(), tensor.Shape(y.sizes[nb+ni:]).Len()
	out := labelled[T]{labels: slices.Concat(batch, left, right), sizes: slices.Concat(x.sizes[:nb+nl], y.sizes[nb+ni:])}
	if err := checkSize(out.sizes); err != nil {
		return out, err
	}
	out.data = make([]T, count*m*n)
	e.For(count, max(1, (1<<16)/max(1, m*n*k)), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			gemmNumber(e.Workers(), m, n, k, x.data[i*m*k:(i+1)*m*k], y.data[i*k*n:(i+1)*k*n], out.data[i*m*n:(i+1)*m*n])
		}
	})
	return out, nil
}

// gemmNumber computes C = A*B on contiguous matrices of any number type.
func gemmNumber[T number](p *kernel.Pool, m, n, k int, a, b, c []T) {
	switch a := any(a).(type) {
	case []float32:
		kernel.GemmF32(p, false, false, m, n, k, 1, a, max(k, 1), any(b).([]float32), max(n, 1), 0, any(c).([]float32), max(n, 1))
	case []float64:
		kernel.GemmF64(p, false, false, m, n, k, 1, a, max(k, 1), any(b).([]float64), max(n, 1), 0, any(c).([]float64), max(n, 1))
	default:
		p.For(m, max(1, (1<<14)/max(1, n*k)), func(lo, hi int) {
			for i := lo; i < hi; i++ {
				row := c[i*n : (i+1)*n]
				for l := range k {
					v := any(a).([]T)[i*k+l]
					for j, w := range b[l*n : (l+1)*n] {
						row[j] += v * w
					}
				}
			}
		})
	}
}

// gatherStrided fills dst, contiguous of the given sizes, from src whose dimensions lie the given strides apart.
func gatherStrided[T any](dst, src []T, sizes, strides []int) {
	if len(dst) == 0 {
		return
	}
	last := len(sizes) - 1
	if last < 0 {
		dst[0] = src[0]
		return
	}
	index := make([]int, len(sizes))
	at := 0
	for i := 0; i < len(dst); i += sizes[last] {
		if s := strides[last]; s == 1 {
			copy(dst[i:i+sizes[last]], src[at:])
		} else {
			for j := range sizes[last] {
				dst[i+j] = src[at+j*s]
			}
		}
		for d := last - 1; d >= 0; d-- {
			index[d]++
			at += strides[d]
			if index[d] < sizes[d] {
				break
			}
			at -= index[d] * strides[d]
			index[d] = 0
		}
	}
}
