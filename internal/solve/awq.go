package solve

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// AWQOptions are the settings of [AWQScales], [AWQClip] and [Round].
type AWQOptions struct {
	Bits      int  // 2 to 8
	Group     int  // columns that share a scale; 0: all
	Symmetric bool // the zero point is the middle code
	// Steps is how many exponents of the sizes of inputs are tried; 0: 20, as in the paper.
	Steps     int
	ScaleType tensor.DType // what scales are stored as
	LeastZero int          // the least zero point of asymmetric groups
}

func (o *AWQOptions) check(width int) error {
	if o.Group == 0 || o.Group > width {
		o.Group = max(width, 1)
	}
	if o.Steps == 0 {
		o.Steps = 20
	}
	g := GPTQOptions{Bits: o.Bits, Group: o.Group, ScaleType: o.ScaleType, LeastZero: o.LeastZero}
	return g.check()
}

// LeastGain is the share of the error that scales must save. The error of one layer's output tells only so much of what the network loses: on a
// model whose inputs have no large columns, savings of a percent or two here come with a higher perplexity there.
const LeastGain = 0.02

// Matrix is a weight of Rows rows, as wide as its inputs.
type Matrix struct {
	Rows int
	W    []float32
}

// Scales is the outcome of [AWQScales].
type Scales struct {
	S               []float32 // what each column of the weights is multiplied by, and its input divided by; nil: 1
	Exponent        float64   // of the size of the inputs
	Weights         bool      // the size of the weights counts as well
	Error, Rounding float64   // the summed squared error of the outputs per token with S, and with none
	Roundings       []float64 // Rounding by matrix
}

// AWQScales searches the scales of the columns of weights that share their input with which rounding them costs the outputs least: as
// the paper does powers of the mean size of each input column, and those powers over the rest of a power of the mean size of the weights
// there, each normalized to sqrt(max*min) = 1. Columns stay as they are where no scaling loses at least [LeastGain] less.
func AWQScales(ctx context.Context, p *kernel.Pool, weights []Matrix, in *Inputs, o AWQOptions) (*Scales, error) {
	if err := o.check(in.width); err != nil {
		return nil, err
	}
	if in.Sampled() == 0 {
		return nil, errors.New("there are no inputs")
	}
	for i, m := range weights {
		if len(m.W) != m.Rows*in.width {
			return nil, fmt.Errorf("matrix %d has %d values; want %d x %d", i, len(m.W), m.Rows, in.width)
		}
	}
	packed := kernel.PackB(true, in.width, in.Sampled(), in.sample, in.width)
	best := &Scales{}
	n := float64(in.Sampled())
	best.Roundings = scaledErrors(p, weights, packed, nil, &o)
	for i, e := range best.Roundings {
		best.Rounding += e
		best.Roundings[i] = e / n
	}
	best.Error = best.Rounding
	if v := best.Rounding; math.IsNaN(v) || math.IsInf(v, 0) {
		return nil, errors.New("weights or inputs are not finite")
	}
	sizes, shares := in.means(), weightShares(p, weights, in.width, o.Group)
	for _, both := range []bool{true, false} {
		for i := range o.Steps {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if i == 0 && !both {
				continue // no scaling
			}
			exponent := float64(i) / float64(o.Steps)
			s := powers(sizes, shares, exponent, both)
			e := 0.0
			for _, of := range scaledErrors(p, weights, packed, s, &o) {
				e += of
			}
			if e < best.Error {
				best.S, best.Exponent, best.Weights, best.Error = s, exponent, both, e
			}
		}
	}
	if best.Error > (1-LeastGain)*best.Rounding {
		best.S, best.Exponent, best.Weights, best.Error = nil, 0, false, best.Rounding
	}
	best.Error /= n
	best.Rounding /= n
	return best, nil
}

// powers are the scales for one exponent.
func powers(sizes, shares []float64, exponent float64, both bool) []float32 {
	s := make([]float64, len(sizes))
	lo, hi := math.Inf(1), 0.0
	for i, v := range sizes {
		s[i] = math.Pow(v, exponent)
		if both {
			s[i] /= math.Pow(shares[i], 1-exponent) + 1e-4
		}
		s[i] = max(s[i], 1e-4)
		lo, hi = min(lo, s[i]), max(hi, s[i])
	}
	out := make([]float32, len(s))
	for i, v := range s {
		out[i] = float32(v / math.Sqrt(lo*hi))
		if f := float64(out[i]); !(f > 0) || math.IsInf(f, 0) {
			out[i] = 1
		}
	}
	return out
}

// weightShares is the mean over all rows of the size of a weight relative to the largest of its group.
func weightShares(p *kernel.Pool, weights []Matrix, width, group int) []float64 {
	sums, rows := make([]float64, width), 0
	for _, m := range weights {
		rows += m.Rows
		p.For((width+group-1)/group, 1, func(lo, hi int) {
			for from := lo * group; from < min(hi*group, width); from += group {
				to := min(from+group, width)
				for r := range m.Rows {
					w := m.W[r*width+from : r*width+to]
					least, most := kernel.MinMax(w)
					over := 1 / (float64(max(most, -least)) + 1e-6)
					for i, v := range w {
						sums[from+i] += math.Abs(float64(v)) * over
					}
				}
			}
		})
	}
	for i := range sums {
		sums[i] /= float64(max(rows, 1))
	}
	return sums
}

// rowsAtOnce is how many rows are rounded before they are multiplied by the inputs: their differences stay in the cache.
const rowsAtOnce = 128

// scaledErrors are the summed squared differences that rounding the weights times s makes to the outputs of the sample, by matrix.
func scaledErrors(p *kernel.Pool, weights []Matrix, x *kernel.PackedF32, s []float32, o *AWQOptions) []float64 {
	width, _ := x.Size()
	var inverse []float32
	if s != nil {
		inverse = make([]float32, len(s))
		for i, v := range s {
			inverse[i] = 1 / v
		}
	}
	out := make([]float64, len(weights))
	for i, m := range weights {
		rowErrors(p, m.Rows, x, func(d []float32, row int) {
			w := m.W[row*width : (row+1)*width]
			if s == nil {
				copy(d, w)
			} else {
				kernel.Mul(d, w, s)
			}
			o.roundRow(d, nil)
			if s != nil {
				kernel.Mul(d, d, inverse)
			}
			kernel.Sub(d, d, w)
		}, func(_ int, e float64) { out[i] += e })
	}
	return out
}

// rowErrors calls said with the summed squared output that each row has of the inputs x, in their order; fill sets d to a row.
func rowErrors(p *kernel.Pool, rows int, x *kernel.PackedF32, fill func(d []float32, row int), said func(row int, e float64)) {
	width, tokens := x.Size()
	diff, out := kernel.Borrow[float32](rowsAtOnce*width), kernel.Borrow[float32](rowsAtOnce*tokens)
	defer diff.Release()
	defer out.Release()
	var sums [rowsAtOnce]float64
	for first := 0; first < rows; first += rowsAtOnce {
		n := min(rowsAtOnce, rows-first)
		p.For(n, 4, func(lo, hi int) {
			for r := lo; r < hi; r++ {
				fill(diff.Data[r*width:(r+1)*width], first+r)
			}
		})
		kernel.GemmF32Packed(p, false, n, 1, diff.Data, width, x, 0, out.Data, tokens)
		p.For(n, 8, func(lo, hi int) {
			for r := lo; r < hi; r++ {
				y := out.Data[r*tokens : (r+1)*tokens]
				sums[r] = float64(kernel.Dot(y, y))
			}
		})
		for r, e := range sums[:n] {
			said(first+r, e)
		}
	}
}

// OutputErrors returns what each row of the output loses with a quantized matrix in place of m: the summed squared error per token of the
// sample. r has groups of that many columns, 0: whole rows.
func OutputErrors(p *kernel.Pool, m Matrix, r *Result, group int, in *Inputs) []float64 {
	if group == 0 || group > in.width {
		group = max(in.width, 1)
	}
	out := make([]float64, m.Rows)
	x := kernel.PackB(true, in.width, in.Sampled(), in.sample, in.width)
	rowErrors(p, m.Rows, x, func(d []float32, row int) {
		w, codes := m.W[row*in.width:(row+1)*in.width], r.Codes[row*in.width:(row+1)*in.width]
		for c, q := range codes {
			at := row*r.Groups + c/group
			d[c] = r.Scales[at]*(float32(q)-float32(r.Zeros[at])) - w[c]
		}
	}, func(row int, e float64) { out[row] = e / float64(max(in.Sampled(), 1)) })
	return out
}

// roundRow rounds a row in place, group by group, clamped to limits where there are any.
func (o *AWQOptions) roundRow(w, limits []float32) {
	most := float32(int(1)<<o.Bits - 1)
	for g := 0; g*o.Group < len(w); g++ {
		part := w[g*o.Group : min((g+1)*o.Group, len(w))]
		if limits != nil {
			kernel.Clip(part, part, -limits[g], limits[g])
		}
		scale, zero := o.grid(part)
		kernel.RoundToGrid(part, part, scale, zero, most)
	}
}

// grid is the grid of a group over its own range, which need not hold 0.
func (o *AWQOptions) grid(w []float32) (scale, zero float32) {
	lo, hi := kernel.MinMax(w)
	most := float32(int(1)<<o.Bits - 1)
	s := [1]float32{max(hi-lo, 1e-5) / most}
	if o.Symmetric {
		half := (most + 1) / 2
		s[0] = max(hi, -lo, 1e-5) / (half - 1)
		storable(s[:], o.ScaleType)
		return s[0], half
	}
	storable(s[:], o.ScaleType)
	z := float32(math.RoundToEven(float64(-lo / s[0])))
	return s[0], min(max(z, float32(o.LeastZero)), most)
}

// AWQClip searches, for each row and group of a matrix, how far the weights are best clamped before they are rounded: in steps of a
// twentieth down to half of the largest, by what the group alone adds to the output's squared error. It returns rows x groups limits.
func AWQClip(ctx context.Context, p *kernel.Pool, m Matrix, in *Inputs, o AWQOptions) ([]float32, error) {
	if err := o.check(in.width); err != nil {
		return nil, err
	}
	const steps, least = 20, 0.5
	width, tokens := in.width, in.Sampled()
	groups := (width + o.Group - 1) / o.Group
	limits := make([]float32, m.Rows*groups)
	p.For(groups, 1, func(lo, hi int) {
		for g := lo; g < hi && ctx.Err() == nil; g++ {
			from, n := g*o.Group, min(o.Group, width-g*o.Group)
			gram := kernel.Borrow[float32](n * n)
			kernel.GemmF32(nil, true, false, n, n, tokens, 1, in.sample[from:], width, in.sample[from:], width, 0, gram.Data, n)
			packed := kernel.PackB(false, n, n, gram.Data, n)
			gram.Release()
			diff, out := kernel.Borrow[float32](rowsAtOnce*n), kernel.Borrow[float32](rowsAtOnce*n)
			for first := 0; first < m.Rows; first += rowsAtOnce {
				rows := min(rowsAtOnce, m.Rows-first)
				var lost, size [rowsAtOnce]float32
				for i := range int(steps * least) {
					share := float32(1 - float64(i)/steps)
					for r := range rows {
						w := m.W[(first+r)*width+from:][:n]
						if i == 0 {
							lo, hi := kernel.MinMax(w)
							size[r] = max(hi, -lo)
						}
						d := diff.Data[r*n : (r+1)*n]
						copy(d, w)
						limit := [1]float32{share * size[r]}
						o.roundRow(d, limit[:])
						kernel.Sub(d, d, w)
					}
					kernel.GemmF32Packed(nil, false, rows, 1, diff.Data, n, packed, 0, out.Data, n)
					for r := range rows {
						e := kernel.Dot(out.Data[r*n:(r+1)*n], diff.Data[r*n:(r+1)*n])
						if i == 0 || e < lost[r] {
							lost[r], limits[(first+r)*groups+g] = e, share*size[r]
						}
					}
				}
			}
			diff.Release()
			out.Release()
		}
	})
	return limits, ctx.Err()
}

// Round rounds a matrix to nearest, clamped to limits (rows x groups) where they are given.
func Round(p *kernel.Pool, m Matrix, width int, limits []float32, o AWQOptions) (*Result, error) {
	if err := o.check(width); err != nil {
		return nil, err
	}
	groups := (width + o.Group - 1) / o.Group
	r := &Result{Codes: make([]byte, m.Rows*width), Scales: make([]float32, m.Rows*groups), Zeros: make([]byte, m.Rows*groups), Groups: groups}
	most := float32(int(1)<<o.Bits - 1)
	p.For(m.Rows, 0, func(lo, hi int) {
		buf := kernel.Borrow[float32](o.Group)
		defer buf.Release()
		for row := lo; row < hi; row++ {
			for g := range groups {
				from, to := g*o.Group, min((g+1)*o.Group, width)
				w := buf.Data[:to-from]
				copy(w, m.W[row*width+from:row*width+to])
				at := row*groups + g
				if limits != nil {
					kernel.Clip(w, w, -limits[at], limits[at])
				}
				scale, zero := o.grid(w)
				r.Scales[at], r.Zeros[at] = scale, byte(zero)
				codes := r.Codes[row*width+from : row*width+to]
				// The code of w is that of w/scale+zero on the grid of whole numbers.
				kernel.RoundToGrid(w, w, scale, zero, most)
				for i, v := range w {
					codes[i] = byte(math.RoundToEven(float64(v/scale)) + float64(zero))
				}
			}
		}
	})
	return r, nil
}
