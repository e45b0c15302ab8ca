package calibrate

import (
	"math"
	"slices"
	"testing"
)

// loss is the mean power of the errors of values that are held in levels codes over [lo, hi].
func loss(x []float32, lo, hi float32, levels int) float64 {
	step := float64(hi-lo) / float64(levels-1)
	zero := math.RoundToEven(-float64(lo) / step)
	sum := 0.0
	for _, v := range x {
		q := min(max(math.RoundToEven(float64(v)/step)+zero, 0), float64(levels-1))
		sum += math.Pow(math.Abs(float64(v)-step*(q-zero)), errorPower)
	}
	return sum
}

func TestCalibrators(t *testing.T) {
	x := normal(4, 200000, 50)
	s := &Stats{}
	ids := make([]string, 100)
	s.Add(x, ids, 100)
	sorted := slices.Clone(x)
	slices.Sort(sorted)
	ranges := map[string][2]float32{}
	for _, m := range Methods {
		lo, hi := Calibrator{Method: m, Percentile: 99.9, Levels: 256}.Range(s)
		ranges[m] = [2]float32{lo, hi}
		if lo < s.Min || hi > s.Max || lo >= 0 || hi <= 0 {
			t.Errorf("%s: range [%v, %v] of data [%v, %v]", m, lo, hi, s.Min, s.Max)
		}
	}
	if r := ranges["minmax"]; r[0] != s.Min || r[1] != 50 {
		t.Errorf("minmax: %v", r)
	}
	// 0.05 % on each side, to a bin's width.
	p := ranges["percentile"]
	if w := s.All.width(); math.Abs(float64(p[0]-sorted[100])) > 2*w || math.Abs(float64(p[1]-sorted[200000-100])) > 2*w {
		t.Errorf("percentile: %v, want %v and %v", p, sorted[100], sorted[200000-100])
	}
	// One of a hundred samples has the outlier: about every third batch of 32 does.
	if hi := ranges["moving_average"][1]; hi < 10 || hi > 25 {
		t.Errorf("moving_average: %v", ranges["moving_average"])
	}
	if ranges["entropy"][1] > 25 {
		t.Errorf("entropy keeps the outlier: %v", ranges["entropy"])
	}
	// No other range of a grid loses noticeably less than the one that is searched for least loss, with codes for all of it or few.
	for _, levels := range []int{256, 16} {
		for _, symmetric := range []bool{false, true} {
			c := Calibrator{Method: "mse", Levels: levels, Symmetric: symmetric}
			lo, hi := c.Range(s)
			if symmetric {
				hi = max(hi, -lo)
				lo = -hi
			}
			got := loss(x, lo, hi, levels)
			for _, f := range []float64{0.5, 0.7, 0.8, 0.9, 1.1, 1.25, 1.5, 2, 5} {
				if other := loss(x, float32(f)*lo, float32(f)*hi, levels); got > 1.02*other {
					t.Errorf("%d levels, symmetric %v: [%v, %v] loses %.4g, %v times as wide %.4g", levels, symmetric, lo, hi, got, f, other)
				}
			}
		}
	}
}

// Exact zeros have a code of their own, so that however many there are they do not move the range.
func TestZerosDoNotNarrowTheRange(t *testing.T) {
	x := normal(5, 20000, 12)
	for i, v := range x {
		x[i] = max(v, 0)
	}
	c := Calibrator{Method: "mse", Levels: 256}
	s, padded := &Stats{}, &Stats{}
	s.Add(x, nil, 1)
	padded.Add(append(slices.Clone(x), make([]float32, 500000)...), nil, 1)
	_, want := c.Range(s)
	if _, got := c.Range(padded); got != want {
		t.Errorf("%v with many zeros, %v without", got, want)
	}
}

// Values that share their codes get the range that all of their values together need.
func TestJointRange(t *testing.T) {
	a, b := normal(1, 3000, 0), normal(2, 90000, 30)
	sa, sb, both := &Stats{}, &Stats{}, &Stats{}
	sa.Add(a, nil, 1)
	sb.Add(b, nil, 1)
	both.Add(a, nil, 1)
	both.Add(b, nil, 1)
	for _, m := range Methods {
		c := Calibrator{Method: m, Percentile: 99.9, Levels: 256}
		lo, hi := c.Joint([]*Stats{sa, sb})
		wantLo, wantHi := c.Range(both)
		if m == "moving_average" { // the union
			l, h := c.Range(sa)
			wantLo, wantHi = c.Range(sb)
			wantLo, wantHi = min(l, wantLo), max(h, wantHi)
		}
		if lo != wantLo || hi != wantHi {
			t.Errorf("%s: [%v, %v], want [%v, %v]", m, lo, hi, wantLo, wantHi)
		}
		if sa.Felt != nil || sb.Felt != nil {
			t.Errorf("%s changes the statistics", m)
		}
	}
}

func TestConstantValues(t *testing.T) {
	for _, v := range []float32{0, 5, -2} {
		s := &Stats{}
		s.Add([]float32{v, v}, nil, 1)
		for _, m := range Methods {
			lo, hi := Calibrator{Method: m, Percentile: 99.999, Levels: 256}.Range(s)
			lo, hi = min(lo, 0), max(hi, 0)
			if got := min(max(v, lo), hi); math.Abs(float64(got-v)) > 0.02*math.Abs(float64(v)) || hi-lo > 1.02*max(v, -v) {
				t.Errorf("%s: [%v, %v] for %v", m, lo, hi, v)
			}
		}
	}
}

// A part of the values that a clamp swallows does not take codes away from the others.
func TestSwallowedValuesDoNotWidenTheRange(t *testing.T) {
	x := normal(6, 20000, 0)
	other := make([]float32, len(x))
	for i := range x {
		if i%2 == 0 {
			x[i] -= 20 // far below what other can lift above zero
		}
		other[i] = 1
	}
	s := &Stats{}
	s.Add(x, nil, 1)
	s.AddFelt(x, other, 0, float32(math.Inf(1)))
	lo, _ := Calibrator{Method: "mse", Levels: 256}.Range(s)
	if lo < -1.1 || lo > -0.9 {
		t.Errorf("lower end %v, want -1, below which nothing is felt (the data begins at %v)", lo, s.Min)
	}
}
