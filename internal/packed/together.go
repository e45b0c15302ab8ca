package packed

import (
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// Product is one of several products with the same left operand; see [Multiplier.Multiply].
type Product struct {
	M   Multiplier
	Dst []float32
	Ldd int
}

// MostTogether is how many products are made together.
const MostTogether = kernel.MostProducts

// Together reports whether [MultiplyTogether] does more for products by a and b than to make one after the other: it rounds their left
// operand once, or shares the work out as one.
func Together(a, b Multiplier) bool {
	switch a := a.(type) {
	case *kernel.PackedAffine:
		b, ok := b.(*kernel.PackedAffine)
		return ok && a.SharesActivations(b)
	case *narrowMultiplier:
		b, ok := b.(*narrowMultiplier)
		return ok && a.m.DType == b.m.DType && a.m.Cols == b.m.Cols && a.rounded == b.rounded
	}
	return false
}

// MultiplyTogether makes up to MostTogether products with the rows of x, each two of which go together.
func MultiplyTogether(p *kernel.Pool, tokens int, x []float32, ldx int, products []Product) {
	switch first := products[0].M.(type) {
	case *kernel.PackedAffine:
		var all [MostTogether]kernel.AffineProduct
		for i, q := range products {
			all[i] = kernel.AffineProduct{M: q.M.(*kernel.PackedAffine), Dst: q.Dst, Ldd: q.Ldd}
		}
		kernel.MultiplyAffine(p, tokens, x, ldx, all[:len(products)])
	case *narrowMultiplier:
		var all [MostTogether]kernel.NarrowProduct
		for i, q := range products {
			n := q.M.(*narrowMultiplier)
			all[i] = kernel.NarrowProduct{Rows: n.rows, W: n.m.Halves(), Dst: q.Dst, Ldd: q.Ldd}
		}
		kernel.MultiplyNarrow(p, first.m.DType == tensor.BFloat16, first.rounded, first.m.Cols, tokens, x, ldx, all[:len(products)])
	}
}
