package solve

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// outliers is a matrix with inputs of which a few columns are large.
func outliers(rows, cols, tokens int) (w, x []float32, in *Inputs) {
	r := rand.New(rand.NewPCG(4, 4))
	w, x = make([]float32, rows*cols), make([]float32, tokens*cols)
	for i := range w {
		w[i] = float32(r.NormFloat64())
	}
	for i := range x {
		x[i] = float32(r.NormFloat64())
		if i%cols%16 == 3 {
			x[i] *= 20
		}
	}
	in = NewInputs(cols, tokens)
	in.Add(x)
	return w, x, in
}

// said is the summed squared error per token of rounding w*s to nearest and dividing by s.
func said(t *testing.T, w, x, s, limits []float32, rows, cols int, o AWQOptions) float64 {
	t.Helper()
	scaled := slices.Clone(w)
	for i := range scaled {
		if s != nil {
			scaled[i] *= s[i%cols]
		}
	}
	r, err := Round(nil, Matrix{rows, scaled}, cols, limits, o)
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for tok := 0; tok < len(x); tok += cols {
		for row := range rows {
			d := 0.0
			for c := range cols {
				at := row*r.Groups + c/o.Group
				v := float64(r.Scales[at]) * (float64(r.Codes[row*cols+c]) - float64(r.Zeros[at]))
				if s != nil {
					v /= float64(s[c])
				}
				d += (v - float64(w[row*cols+c])) * float64(x[tok+c])
			}
			sum += d * d
		}
	}
	return sum / float64(len(x)/cols)
}

func TestAWQ(t *testing.T) {
	const rows, cols, tokens = 200, 96, 60
	w, x, in := outliers(rows, cols, tokens)
	for _, o := range []AWQOptions{
		{Bits: 4, Group: 32, ScaleType: tensor.Float16},
		{Bits: 3, Group: 40, Symmetric: true, ScaleType: tensor.BFloat16},
		{Bits: 8, Group: 96, ScaleType: tensor.Float32, LeastZero: 1},
	} {
		got, err := AWQScales(context.Background(), nil, []Matrix{{120, w[:120*cols]}, {80, w[120*cols:]}}, in, o)
		if err != nil {
			t.Fatal(err)
		}
		if n := got.Roundings; len(n) != 2 || math.Abs(n[0]+n[1]-got.Rounding) > 1e-6*got.Rounding {
			t.Errorf("%+v: rounding loses %v, by matrix %v", o, got.Rounding, n)
		}
		plain, scaled := said(t, w, x, nil, nil, rows, cols, o), said(t, w, x, got.S, nil, rows, cols, o)
		if math.Abs(got.Rounding-plain) > 1e-3*plain || math.Abs(got.Error-scaled) > 1e-3*scaled {
			t.Errorf("%+v: said to be %v and %v, is %v and %v", o, got.Rounding, got.Error, plain, scaled)
		}
		if got.Error > 0.7*got.Rounding {
			t.Errorf("%+v: error %v, without scales %v", o, got.Error, got.Rounding)
		}
		limits, err := AWQClip(context.Background(), nil, Matrix{rows, w}, in, o)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Round(nil, Matrix{rows, w}, cols, limits, o)
		if err != nil {
			t.Fatal(err)
		}
		sum := 0.0
		for _, e := range OutputErrors(nil, Matrix{rows, w}, r, o.Group, in) {
			sum += e
		}
		if is := said(t, w, x, nil, limits, rows, cols, o); math.Abs(sum-is) > 1e-3*is {
			t.Errorf("%+v: rows lose %v, the output %v", o, sum, is)
		}
		if clipped := said(t, w, x, nil, limits, rows, cols, o); o.Bits < 8 && clipped > 0.95*plain {
			t.Errorf("%+v: clamped %v, not clamped %v", o, clipped, plain)
		}
	}
}

func TestAWQIsTheSameForAnyNumberOfThreads(t *testing.T) {
	const rows, cols, tokens = 300, 128, 70
	w, _, in := outliers(rows, cols, tokens)
	o := AWQOptions{Bits: 4, Group: 64, ScaleType: tensor.Float16}
	var first *Scales
	var firstLimits []float32
	for threads := 1; threads <= 4; threads++ {
		p := kernel.NewPool(threads)
		s, err := AWQScales(context.Background(), p, []Matrix{{rows, w}}, in, o)
		if err != nil {
			t.Fatal(err)
		}
		limits, err := AWQClip(context.Background(), p, Matrix{rows, w}, in, o)
		p.Close()
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first, firstLimits = s, limits
		} else if !slices.Equal(s.S, first.S) || s.Error != first.Error || !slices.Equal(limits, firstLimits) {
			t.Errorf("%d threads give another result", threads)
		}
	}
}

// TestInputsInPieces checks that the account of inputs does not depend on how they come, and that scales can be taken out of it.
func TestInputsInPieces(t *testing.T) {
	const cols, tokens = 5, 1000
	r := rand.New(rand.NewPCG(1, 9))
	x := make([]float32, tokens*cols)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	whole, pieces := NewInputs(cols, 100), NewInputs(cols, 100)
	whole.Add(x)
	for rest := x; len(rest) > 0; {
		n := min((1+r.IntN(30))*cols, len(rest))
		pieces.Add(rest[:n])
		rest = rest[n:]
	}
	if !slices.Equal(whole.sample, pieces.sample) || !slices.Equal(whole.sizes, pieces.sizes) || whole.tokens != tokens {
		t.Error("pieces give another account")
	}
	if n := whole.Sampled(); n < 45 || n > 100 || n != len(whole.kept) {
		t.Errorf("%d tokens sampled, numbers of %d, want 45 to 100", n, len(whole.kept))
	}
	for i, token := range whole.kept {
		if whole.sample[i*cols] != x[token*cols] {
			t.Errorf("sample %d is not token %d", i, token)
		}
	}
	s := []float32{1, 2, 4, 0.5, 1}
	before := whole.means()
	whole.Scale(s)
	for i, m := range whole.means() {
		if m != before[i]/float64(s[i]) || whole.sample[i] != x[i]/s[i] {
			t.Errorf("column %d: mean %v and first value %v after scaling", i, m, whole.sample[i])
		}
	}
}

// TestSampleOfWindows checks that windows of a power of two tokens do not have the same positions sampled again and again: the first tokens of
// texts have inputs like no others.
func TestSampleOfWindows(t *testing.T) {
	const windows, length, most = 128, 512, 1024
	in := NewInputs(1, most)
	in.Add(make([]float32, windows*length))
	counts, firsts := [8]int{}, 0
	for _, token := range in.kept {
		counts[token%length/(length/8)]++
		if token%length == 0 {
			firsts++
		}
	}
	// Evenly, each eighth has an eighth, and about two windows have their first token.
	for i, n := range counts {
		if even := len(in.kept) / 8; n < even-even/8 || n > even+even/8 {
			t.Errorf("%d of %d sampled tokens are from part %d of windows", n, len(in.kept), i)
		}
	}
	if firsts > 8 {
		t.Errorf("%d of %d windows have their first token sampled", firsts, windows)
	}
}

func TestAWQWithoutInputs(t *testing.T) {
	if _, err := AWQScales(context.Background(), nil, []Matrix{{1, make([]float32, 4)}}, NewInputs(4, 8), AWQOptions{Bits: 4, ScaleType: tensor.Float16}); err == nil {
		t.Error("no inputs are taken")
	}
	in := NewInputs(4, 8)
	in.Add([]float32{1, float32(math.NaN()), 1, 1})
	if _, err := AWQScales(context.Background(), nil, []Matrix{{1, []float32{1, 2, 3, 4.1}}}, in, AWQOptions{Bits: 4, ScaleType: tensor.Float16}); err == nil {
		t.Error("inputs that are not finite are taken")
	}
}

func BenchmarkAWQ(b *testing.B) {
	const n, tokens = 1024, 512
	w, _, in := outliers(n, n, tokens)
	o := AWQOptions{Bits: 4, Group: 128, ScaleType: tensor.Float16}
	b.Run("scales", func(b *testing.B) {
		for range b.N {
			if _, err := AWQScales(context.Background(), kernel.Shared(), []Matrix{{n, w}}, in, o); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("clip", func(b *testing.B) {
		for range b.N {
			if _, err := AWQClip(context.Background(), kernel.Shared(), Matrix{n, w}, in, o); err != nil {
				b.Fatal(err)
			}
		}
	})
}
