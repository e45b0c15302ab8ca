package calibrate

import (
	"math"
	"math/rand/v2"
	"testing"
)

// What the histogram tells is what rounding the values to codes does.
func TestLossIsThatOfTheValues(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	x := make([]float32, 40000)
	for i := range x {
		if i%4 != 0 { // as behind a Relu
			x[i] = float32(r.NormFloat64() * 3)
		}
	}
	var s Stats
	s.Add(x, []string{"a"}, 1)
	for _, test := range []struct{ lo, hi float64 }{{float64(s.Min), float64(s.Max)}, {-4, 5}, {-0.5, 0.5}} {
		step := (test.hi - test.lo) / 255
		zero := math.RoundToEven(-test.lo / step)
		var signal, rounding, clipping, clipped float64
		for _, v := range x {
			f := float64(v)
			q := min(max(math.RoundToEven(f/step)+zero, 0), 255)
			d := f - (q-zero)*step
			signal += f * f
			if f < test.lo || f > test.hi {
				clipping += d * d
				clipped++
			} else {
				rounding += d * d
			}
		}
		n := float64(len(x))
		l := s.Loss(test.lo, test.hi, step)
		near := func(what string, got, want, share float64) {
			if math.Abs(got-want) > share*want+1e-9 {
				t.Errorf("[%v, %v]: %s %v, want %v", test.lo, test.hi, what, got, want)
			}
		}
		near("signal", l.Signal, signal/n, 1e-3)
		near("clipped", l.Clipped, clipped/n, 2e-3)
		near("clipping", l.Clipping, clipping/n, 0.01)
		near("rounding", l.Rounding, rounding/n, 0.03)
		if db := *l.SQNR(); math.Abs(db-10*math.Log10(signal/(rounding+clipping))) > 0.1 {
			t.Errorf("SQNR %v dB, want %v", db, 10*math.Log10(signal/(rounding+clipping)))
		}
	}
	if l := (&Stats{}).Loss(0, 1, 0.1); l != (Loss{}) || l.SQNR() != nil {
		t.Errorf("of nothing: %+v", l)
	}
	lo, hi := s.Holds(0.99)
	beyond := 0
	for _, v := range x {
		if float64(v) < lo || float64(v) > hi {
			beyond++
		}
	}
	if share := float64(beyond) / 30000; math.Abs(share-0.01) > 0.001 {
		t.Errorf("[%v, %v] leaves out %.4f of the values", lo, hi, share)
	}
}
