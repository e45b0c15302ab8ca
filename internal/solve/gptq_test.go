package solve

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// layer is a random matrix with inputs whose columns depend on one another and differ in size.
func layer(seed uint64, rows, cols, tokens int) (w []float32, x [][]float64, h *Hessian) {
	r := rand.New(rand.NewPCG(seed, 1))
	w = make([]float32, rows*cols)
	for i := range w {
		w[i] = float32(r.NormFloat64())
	}
	mix := make([]float64, cols*cols)
	for i := range mix {
		mix[i] = r.NormFloat64() / math.Sqrt(float64(cols))
	}
	size := make([]float64, cols)
	for i := range size {
		size[i] = math.Exp(r.NormFloat64())
	}
	flat := make([]float32, 0, tokens*cols)
	for range tokens {
		z := make([]float64, cols)
		for i := range z {
			z[i] = r.NormFloat64()
		}
		row := make([]float64, cols)
		for i := range row {
			for j := range z {
				row[i] += mix[i*cols+j] * z[j]
			}
			v := float32((row[i] + 0.3*z[i]) * size[i])
			row[i] = float64(v)
			flat = append(flat, v)
		}
		x = append(x, row)
	}
	h = NewHessian(cols)
	h.Add(nil, flat)
	return w, x, h
}

// hessianOf is 2/n*X^T*X in float64.
func hessianOf(x [][]float64, cols int) [][]float64 {
	h := make([][]float64, cols)
	for i := range h {
		h[i] = make([]float64, cols)
		for j := range h[i] {
			for _, row := range x {
				h[i][j] += 2 / float64(len(x)) * row[i] * row[j]
			}
		}
	}
	return h
}

// damped adds a share of the mean diagonal.
func damped(h [][]float64, share float64) {
	mean := 0.0
	for i := range h {
		mean += h[i][i] / float64(len(h))
	}
	for i := range h {
		h[i][i] += share * mean
	}
}

// inverse is Gauss and Jordan's, for positive matrices.
func inverse(a [][]float64) [][]float64 {
	n := len(a)
	m := make([][]float64, n)
	for i := range m {
		m[i] = append(slices.Clone(a[i]), make([]float64, n)...)
		m[i][n+i] = 1
	}
	for i := range m {
		p := m[i][i]
		for j := range m[i] {
			m[i][j] /= p
		}
		for k := range m {
			if f := m[k][i]; k != i && f != 0 {
				for j := range m[k] {
					m[k][j] -= f * m[i][j]
				}
			}
		}
	}
	for i := range m {
		m[i] = m[i][n:]
	}
	return m
}

// plain is the algorithm as the paper states it before any speeding up: after each column the inverse of what is left of the Hessian is updated
// by elimination. It returns the codes and values, with grids fitted to the columns of a group as they are when it begins.
func plain(w []float32, rows, cols int, h [][]float64, perm []int, groupOf func(pos int) int, o GPTQOptions) (codes []byte, values []float64) {
	n := cols
	a := make([][]float64, n)
	for i := range a {
		a[i] = make([]float64, n)
		for j := range a[i] {
			a[i][j] = h[perm[i]][perm[j]]
		}
	}
	damped(a, o.Damp)
	inv := inverse(a)
	t := make([][]float64, rows)
	for r := range t {
		for _, c := range perm {
			t[r] = append(t[r], float64(w[r*cols+c]))
		}
	}
	codes, values = make([]byte, rows*cols), make([]float64, rows*cols)
	most := float64(int(1)<<o.Bits - 1)
	scale, zero := make([]float64, rows), make([]float64, rows)
	for c := range n {
		if c == 0 || groupOf(c) != groupOf(c-1) {
			for r := range rows {
				lo, hi := 0.0, 0.0
				for k := range n {
					if groupOf(k) != groupOf(c) {
						continue
					}
					v := t[r][k]
					if o.Order == StaticGroups {
						v = float64(w[r*cols+perm[k]])
					}
					lo, hi = min(lo, v), max(hi, v)
				}
				if o.Symmetric {
					hi = max(hi, -lo)
					lo = -hi
				}
				scale[r] = float64(float32((hi - lo) / most))
				zero[r] = (most + 1) / 2
				if !o.Symmetric {
					zero[r] = math.RoundToEven(-lo / scale[r])
				}
			}
		}
		for r := range rows {
			x := t[r][c]
			q := min(max(math.RoundToEven(x/scale[r])+zero[r], 0), most)
			v := scale[r] * (q - zero[r])
			codes[r*cols+perm[c]], values[r*cols+perm[c]] = byte(q), v
			e := (x - v) / inv[c][c]
			for k := c + 1; k < n; k++ {
				t[r][k] -= e * inv[c][k]
			}
		}
		for i := c + 1; i < n; i++ {
			for j := c + 1; j < n; j++ {
				inv[i][j] -= inv[i][c] * inv[c][j] / inv[c][c]
			}
		}
	}
	return codes, values
}

func values(r *Result, rows, cols, group int) []float64 {
	v := make([]float64, rows*cols)
	for i := range v {
		row, col := i/cols, i%cols
		g := col / group
		if r.Index != nil {
			g = int(r.Index[col])
		}
		v[i] = float64(r.Scales[row*r.Groups+g]) * (float64(r.Codes[i]) - float64(r.Zeros[row*r.Groups+g]))
	}
	return v
}

// outputError is the squared error of the output, with the damped Hessian.
func outputError(w []float32, v []float64, rows, cols int, h [][]float64) float64 {
	sum := 0.0
	for r := range rows {
		for i := range cols {
			for j := range cols {
				sum += (float64(w[r*cols+i]) - v[r*cols+i]) * h[i][j] * (float64(w[r*cols+j]) - v[r*cols+j])
			}
		}
	}
	return sum
}

func TestGPTQ(t *testing.T) {
	for _, c := range []struct{ rows, cols, group, bits int }{{33, 96, 0, 4}, {8, 120, 32, 4}, {9, 172, 64, 3}, {5, 150, 136, 2}, {32, 64, 16, 8}, {3, 7, 2, 4}} {
		w, x, h := layer(uint64(c.cols), c.rows, c.cols, 3*c.cols)
		hh := hessianOf(x, c.cols)
		for _, order := range []Order{Natural, ActOrder, StaticGroups, GroupAware} {
			for _, symmetric := range []bool{true, false} {
				name := fmt.Sprintf("%dx%d group %d, %d bits, order %q, symmetric %v", c.rows, c.cols, c.group, c.bits, order, symmetric)
				o := GPTQOptions{Bits: c.bits, Group: c.group, Symmetric: symmetric, Order: order, Damp: 0.01, ScaleType: tensor.Float32}
				got, err := solved(nil, c.rows, c.cols, w, h, o)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				group := c.group
				if group == 0 {
					group = c.cols
				}
				f, err := Factorize(nil, h, nil, o)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if !slices.Equal(got.Index, f.index) {
					t.Errorf("%s: columns are in groups %v, those of other layers with the same inputs in %v", name, got.Index, f.index)
				}
				codes, want := plain(w, c.rows, c.cols, hh, f.perm, func(pos int) int { return f.groups[pos] }, o)
				different := 0
				for i := range codes {
					if codes[i] != got.Codes[i] {
						different++
					}
				}
				damped2 := hessianOf(x, c.cols)
				damped(damped2, o.Damp)
				ours, theirs := outputError(w, values(got, c.rows, c.cols, group), c.rows, c.cols, damped2), outputError(w, want, c.rows, c.cols, damped2)
				if got.Rounded && c.cols < 16 {
					continue // so small a matrix can be luckier rounded
				}
				if got.Rounded {
					t.Fatalf("%s: rounding is better: %v against %v", name, got.Rounding, got.Error)
				}
				// A tie that falls the other way changes what comes after it in its row.
				if different > max(len(codes)/1000, c.cols) {
					t.Errorf("%s: %d of %d codes differ", name, different, len(codes))
				}
				bound := 0.001
				if different > 0 {
					bound = 0.1
				}
				if math.Abs(ours-theirs) > bound*theirs {
					t.Errorf("%s: error %v, want %v", name, ours, theirs)
				}
				if math.Abs(got.Error-ours) > 1e-3*ours {
					t.Errorf("%s: error is said to be %v, is %v", name, got.Error, ours)
				}
				if got.Error > 0.9*got.Rounding {
					t.Errorf("%s: error %v, rounding %v", name, got.Error, got.Rounding)
				}
			}
		}
	}
}

// TestRoundingError compares the error that is said of plain rounding with that of a result that holds it.
func TestRoundingError(t *testing.T) {
	const rows, cols = 20, 70
	w, x, h := layer(5, rows, cols, 200)
	o := GPTQOptions{Bits: 4, Group: 32, Damp: 0.01, ScaleType: tensor.Float16, Order: ActOrder, Norm: 2.4}
	f, err := Factorize(nil, h, nil, o)
	if err != nil {
		t.Fatal(err)
	}
	s := newSolver(nil, rows, cols, w, f)
	said := s.rounding(nil)
	s.rounding(s.result)
	hh := hessianOf(x, cols)
	damped(hh, o.Damp)
	if is := outputError(w, values(s.result, rows, cols, 32), rows, cols, hh); math.Abs(is-said) > 1e-3*is {
		t.Errorf("said %v, is %v", said, is)
	}
}

// TestRoundedLayersKeepTheOrder rounds a layer that no solving makes better: its groups are still those of the layers that it shares its inputs
// with.
func TestRoundedLayersKeepTheOrder(t *testing.T) {
	const rows, cols = 2, 9
	for seed := range uint64(200) {
		w, _, h := layer(seed, rows, cols, 40)
		o := GPTQOptions{Bits: 2, Group: 3, Damp: 0.9, ScaleType: tensor.Float16, Order: ActOrder}
		r, err := solved(nil, rows, cols, w, h, o)
		if err != nil {
			t.Fatal(err)
		}
		if !r.Rounded {
			continue
		}
		f, err := Factorize(nil, h, nil, o)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(r.Index, f.index) || r.Rounding >= r.Error {
			t.Errorf("seed %d: columns in groups %v, want %v; error %v, of rounding %v", seed, r.Index, f.index, r.Error, r.Rounding)
		}
		return
	}
	t.Error("no layer was better rounded")
}

func TestGPTQIsTheSameForAnyNumberOfThreads(t *testing.T) {
	const rows, cols = 130, 300
	w, _, h := layer(9, rows, cols, 400)
	for _, o := range []GPTQOptions{
		{Bits: 4, Group: 128, Symmetric: true, Damp: 0.05, ScaleType: tensor.Float16, Norm: 2.4},
		{Bits: 3, Group: 32, Order: GroupAware, Damp: 0.01, ScaleType: tensor.BFloat16, LeastZero: 1},
	} {
		var first *Result
		for threads := 1; threads <= 4; threads++ {
			p := kernel.NewPool(threads)
			r, err := solved(p, rows, cols, w, h, o)
			p.Close()
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = r
			} else if !slices.Equal(r.Codes, first.Codes) || !slices.Equal(r.Scales, first.Scales) || !slices.Equal(r.Zeros, first.Zeros) || r.Error != first.Error || r.Rounding != first.Rounding {
				t.Errorf("%d threads give another result", threads)
			}
		}
	}
}

// TestHardInputs has columns without inputs, inputs of fewer tokens than columns, and rows of zeros.
func TestHardInputs(t *testing.T) {
	const rows, cols, tokens = 6, 40, 8
	w, x, _ := layer(2, rows, cols, tokens)
	clear(w[:cols])
	flat := []float32{}
	for _, row := range x {
		row[3], row[39] = 0, 0
		for _, v := range row {
			flat = append(flat, float32(v))
		}
	}
	h := NewHessian(cols)
	h.Add(nil, flat)
	for _, order := range []Order{Natural, ActOrder, StaticGroups, GroupAware} {
		r, err := solved(nil, rows, cols, w, h, GPTQOptions{Bits: 4, Group: 16, Order: order, DampStep: 0.01, ScaleType: tensor.Float16, LeastZero: 1})
		if err != nil {
			t.Fatal(err)
		}
		if r.Dead != 2 || r.Damp == 0 {
			t.Errorf("%d dead columns, damping %v", r.Dead, r.Damp)
		}
		for i, v := range values(r, rows, cols, 16) {
			if (i < cols || i%cols == 3 || i%cols == 39) && v != 0 {
				t.Errorf("order %q: weight %d is %v, want 0", order, i, v)
			}
		}
		if slices.Contains(r.Zeros, 0) {
			t.Errorf("order %q: a zero point of 0", order)
		}
	}
	h.Add(nil, append(make([]float32, cols-1), float32(math.NaN())))
	if _, err := solved(nil, rows, cols, w, h, GPTQOptions{Bits: 4, ScaleType: tensor.Float16}); err == nil {
		t.Error("inputs that are not finite are taken")
	}
	w[1] = float32(math.Inf(1))
	if _, err := solved(nil, rows, cols, w, NewHessian(cols), GPTQOptions{Bits: 4, ScaleType: tensor.Float16}); err == nil {
		t.Error("weights that are not finite are taken")
	}
}

func BenchmarkGPTQ(b *testing.B) {
	const n = 1024
	w, _, h := layer(1, n, n, 64)
	for _, o := range []GPTQOptions{{Bits: 4, Group: 128, Damp: 0.05, Symmetric: true, ScaleType: tensor.Float16}, {Bits: 4, Group: 128, Damp: 0.05, ScaleType: tensor.Float16, Norm: 2.4}} {
		b.Run(fmt.Sprintf("%dx%d/norm=%v", n, n, o.Norm), func(b *testing.B) {
			for range b.N {
				if _, err := solved(kernel.Shared(), n, n, w, h, o); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// solved quantizes a matrix whose inputs nothing else reads.
func solved(p *kernel.Pool, rows, cols int, w []float32, h *Hessian, o GPTQOptions) (*Result, error) {
	f, err := Factorize(p, h, nil, o)
	if err != nil {
		return nil, err
	}
	return GPTQ(context.Background(), p, rows, cols, w, f)
}
