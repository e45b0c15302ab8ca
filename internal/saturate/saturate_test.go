package saturate

import (
	"math/rand/v2"
	"testing"

	"github.com/neurotrain/neuroquant/tensor"
)

// The limit follows from the definition: over all activations, a pair overflows exactly if its reach is above it.
func TestLimitAgainstAllActivations(t *testing.T) {
	for a := -128; a <= 127; a++ {
		for b := -128; b <= 127; b++ {
			p := Pair{0, int8(a), int8(b)}
			overflows, worst := false, 0
			for _, x0 := range []int{0, 255} { // a sum is extreme where both activations are
				for _, x1 := range []int{0, 255} {
					sum := x0*a + x1*b
					if sum > 32767 || sum < -32768 {
						overflows = true
					}
					if max(sum, -sum) > max(worst, -worst) {
						worst = sum
					}
				}
			}
			if overflows != (p.Reach() > Limit) {
				t.Fatalf("%d, %d: reach %d, overflows %v", a, b, p.Reach(), overflows)
			}
			if w := p.Worst(); max(w, -w) != max(worst, -worst) {
				t.Fatalf("%d, %d: worst %d, want %d", a, b, w, worst)
			}
		}
	}
}

func TestExcess(t *testing.T) {
	for _, c := range []struct {
		p           Pair
		x0, x1      uint8
		excess, sum int32
	}{
		{Pair{0, 127, 127}, 255, 255, 32767 - 64770, 64770},
		{Pair{0, -128, -128}, 255, 255, -32768 + 65280, -65280},
		{Pair{0, 127, 127}, 129, 129, 0, 32766},
		{Pair{0, 127, -127}, 255, 255, 0, 0},
	} {
		if e, s := c.p.Excess(c.x0, c.x1); e != c.excess || s != c.sum {
			t.Errorf("%+v: %d %d", c, e, s)
		}
	}
}

// A row of each reading holds the weights that meet neighbours of a row of windows with channels last, or of a matrix.
func TestReadings(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	codes := make([]int8, 4*3*2*5)
	for i := range codes {
		codes[i] = int8(r.IntN(255) - 127)
	}
	conv := Conv(codes, tensor.Shape{4, 3, 2, 5})
	if conv.Channels != 4 || conv.Depth != 30 {
		t.Fatalf("%d channels of depth %d", conv.Channels, conv.Depth)
	}
	for m := range 4 {
		k := 0
		for y := range 2 {
			for x := range 5 {
				for c := range 3 {
					if conv.At(m, k) != codes[((m*3+c)*2+y)*5+x] {
						t.Fatalf("conv channel %d depth %d", m, k)
					}
					k++
				}
			}
		}
	}
	cols := Columns(codes, tensor.Shape{2, 6, 10})
	for b := range 2 {
		for n := range 10 {
			for k := range 6 {
				if cols.At(b*10+n, k) != codes[(b*6+k)*10+n] {
					t.Fatalf("columns %d %d %d", b, n, k)
				}
			}
		}
	}
	rows := Rows(codes, tensor.Shape{12, 10})
	if rows.Channels != 12 || rows.At(3, 4) != codes[34] || cols.Channels != 20 {
		t.Error("rows")
	}
	odd := Rows([]int8{100, 100, 127}, tensor.Shape{1, 3})
	if p := odd.Risky(0); len(p) != 1 || p[0].K != 0 || odd.Reach(0) != 200 {
		t.Errorf("risky %v, reach %d", p, odd.Reach(0))
	}
}
