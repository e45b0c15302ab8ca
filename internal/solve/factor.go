package solve

import (
	"fmt"
	"math"
	"slices"
	"unsafe"

	"github.com/neurotrain/neuroquant/internal/kernel"
)

// Factor is what all layers with the same inputs take from them: the order of the columns, and the inverse of the Hessian in it.
type Factor struct {
	o      GPTQOptions
	diag   []float64 // of the Hessian, in the order of the matrix
	perm   []int     // position to column
	groups []int     // position to group
	index  []int32   // column to group where the file has to say it
	u      []float32 // upper triangle with U^T*U = (H + damping)^-1, rows and columns in the order of the solver
	p      []float32 // what makes up for the drift of the inputs; nil: there is none
	drifts bool
	damp   float64 // what was added to the diagonal, as a share of its mean
	dead   int     // columns of inputs that are always 0
}

// Factorize prepares inputs for [GPTQ]. drift may be nil. It is an error if the inputs are not finite or make no positive matrix at any damping.
func Factorize(p *kernel.Pool, h *Hessian, drift *Drift, o GPTQOptions) (*Factor, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if drift != nil && drift.width != h.width {
		return nil, fmt.Errorf("inputs of %d and drift of %d columns", h.width, drift.width)
	}
	if o.Group == 0 || o.Group > h.width {
		o.Group = max(h.width, 1)
	}
	f := &Factor{o: o, diag: h.diagonal(), drifts: drift != nil}
	f.order()
	if err := f.invert(p, h); err != nil {
		return nil, err
	}
	if drift != nil && o.Alpha != 0 {
		f.p = drift.correction(p, f.perm, func(c int) bool { return f.diag[c] == 0 }, f.u, o.Alpha)
	}
	return f, nil
}

// order sets the permutation, the group of each position, and the index.
func (f *Factor) order() {
	cols := len(f.diag)
	f.perm, f.groups = make([]int, cols), make([]int, cols)
	for i := range f.perm {
		f.perm[i] = i
	}
	falling := func(a, b int) int {
		switch {
		case f.diag[a] > f.diag[b]:
			return -1
		case f.diag[a] < f.diag[b]:
			return 1
		}
		return 0
	}
	g := f.o.Group
	switch f.o.Order {
	case ActOrder, StaticGroups:
		slices.SortStableFunc(f.perm, falling)
	case GroupAware:
		whole := cols / g
		groups := make([][]int, whole)
		for i := range groups {
			groups[i] = f.perm[i*g : (i+1)*g : (i+1)*g]
			slices.SortStableFunc(groups[i], falling)
		}
		slices.SortStableFunc(groups, func(a, b []int) int { return falling(a[0], b[0]) })
		f.perm = append(slices.Concat(groups...), f.perm[whole*g:]...)
	}
	for i := range f.groups {
		f.groups[i] = f.perm[i] / g
		if f.o.Order == ActOrder {
			f.groups[i] = i / g
		}
	}
	if f.o.Order == ActOrder && g < cols {
		f.index = make([]int32, cols)
		for i, c := range f.perm {
			f.index[c] = int32(i / g)
		}
	}
}

// invert permutes H, in which rows of dead columns are those of the unit matrix, adds damping to the diagonal and inverts it. Where that
// fails for want of precision the damping grows, first by steps of o.DampStep up to 1, then tenfold from a millionth of the greatest element.
func (f *Factor) invert(p *kernel.Pool, h *Hessian) error {
	n, scale, o, perm := h.width, h.scale(), &f.o, f.perm
	diag := slices.Clone(f.diag)
	f.damp = o.Damp
	mean, most := 0.0, 0.0
	for i, d := range diag {
		if math.IsNaN(d) || math.IsInf(d, 0) {
			return fmt.Errorf("the inputs of column %d are not finite", i)
		}
		if d == 0 {
			f.dead++
			diag[i] = 1
		}
		mean += diag[i] / float64(n)
		most = max(most, diag[i])
	}
	work := make([]float64, n*n)
	floor := 0.0
	for {
		p.For(n, 0, func(lo, hi int) {
			for i := lo; i < hi; i++ {
				for j := range i + 1 {
					r, c := max(perm[i], perm[j]), min(perm[i], perm[j])
					work[i*n+j] = h.sum[r*n+c] * scale
				}
				work[i*n+i] = max(diag[perm[i]], floor) + f.damp*mean + floor
			}
		})
		err := kernel.InverseFactorF64(p, n, work, n)
		if err == nil {
			break
		}
		switch {
		case f.damp+o.DampStep < 1 && o.DampStep > 0:
			f.damp += o.DampStep
		case floor < 0.1*most:
			f.damp = o.Damp
			floor = max(10*floor, 1e-6*most)
		default:
			return fmt.Errorf("the inputs give no positive matrix: %w", err)
		}
	}
	f.u = narrowed(p, work, n)
	return nil
}

// narrowed makes the upper triangle of an n x n matrix, row by row, one of float32 with zeros below it, in the memory that it lies in: the matrix
// may be much of what there is. Row r is written where rows r/2 were, so that rows may be done at once as long as those before them, up to half of
// their number, are done.
func narrowed(p *kernel.Pool, a []float64, n int) []float32 {
	if n == 0 {
		return nil
	}
	out := unsafe.Slice((*float32)(unsafe.Pointer(&a[0])), 2*n*n)[: n*n : n*n]
	row := func(r int) {
		for c := range n {
			v := float32(a[r*n+c])
			if c < r {
				v = 0
			}
			out[r*n+c] = v
		}
	}
	row(0)
	for done := 1; done < n; done *= 2 {
		p.For(min(done, n-done), 16, func(lo, hi int) {
			for r := lo; r < hi; r++ {
				row(done + r)
			}
		})
	}
	return out
}

// correction returns alpha * strict_upper(D*U^T) * U, rows and columns in the order of the solver.
func (d *Drift) correction(p *kernel.Pool, perm []int, dead func(column int) bool, u []float32, alpha float64) []float32 {
	n := d.width
	scale := float32(2 / float64(max(d.tokens, 1)))
	a, b := make([]float32, n*n), make([]float32, n*n)
	for i := range n {
		for j := range n {
			if !dead(perm[j]) && !dead(perm[i]) {
				a[i*n+j] = d.sum[perm[i]*n+perm[j]] * scale
			}
		}
	}
	kernel.GemmF32(p, false, true, n, n, n, float32(alpha), a, n, u, n, 0, b, n)
	for i := range n {
		clear(b[i*n : i*n+i+1])
	}
	kernel.GemmF32(p, false, false, n, n, n, 1, b, n, u, n, 0, a, n)
	return a
}
