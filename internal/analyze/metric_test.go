package analyze

import (
	"encoding/json"
	"math"
	"testing"
)

var nan, inf = float32(math.NaN()), float32(math.Inf(1))

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-6*(1+math.Abs(b)) }

func db(e Error) float64 {
	if e.SQNR == nil {
		return math.Inf(1)
	}
	return *e.SQNR
}

func TestErrorOfValues(t *testing.T) {
	for _, test := range []struct {
		name               string
		ref, got           []float32
		sqnr, cosine, most float64
		nonFinite          int
	}{
		{"equal", []float32{1, -2, 3}, []float32{1, -2, 3}, math.Inf(1), 1, 0, 0},
		{"a tenth off", []float32{3, 4}, []float32{3.3, 4.4}, 20, 1, 0.4, 0}, // 10 log10(25 / 0.25)
		{"opposite", []float32{3, 4}, []float32{-3, -4}, -10 * math.Log10(4), -1, 8, 0},
		{"at right angles", []float32{1, 0}, []float32{0, 1}, -10 * math.Log10(2), 0, 1, 0},
		{"both zero", []float32{0, 0}, []float32{0, 0}, math.Inf(1), 1, 0, 0},
		{"no signal", []float32{0, 0}, []float32{1, 0}, 0, 0, 1, 0},
		{"became not a number", []float32{1, 2}, []float32{1, nan}, 0, 0, 0, 1},
		{"became infinite", []float32{1, 2}, []float32{inf, -inf}, 0, 0, 0, 2},
		{"infinite before and after", []float32{1, inf, nan}, []float32{1, inf, -nan}, math.Inf(1), 1, 0, 0},
	} {
		var s errorSum
		s.add(test.ref, test.got)
		e := s.result()
		if d := db(e); d != test.sqnr && !(math.Abs(d-test.sqnr) < 1e-4) || math.Abs(e.Cosine-test.cosine) > 1e-6 || math.Abs(e.MaxDiff-test.most) > 1e-6 || e.NonFinite != test.nonFinite {
			t.Errorf("%s: SQNR %v, cosine %v, largest %v, not finite %d; want %v, %v, %v, %d", test.name, d, e.Cosine, e.MaxDiff, e.NonFinite, test.sqnr, test.cosine, test.most, test.nonFinite)
		}
		if _, err := json.Marshal(e); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestScores(t *testing.T) {
	logs := math.Log(math.Exp(1)+math.Exp(2)+math.Exp(3)) - 3
	for _, test := range []struct {
		name       string
		row        []float32
		label      int
		top1, top5 float64
		loss       float64
		nonFinite  int
	}{
		{"logits, right", []float32{1, 2, 3}, 2, 1, 1, logs, 0},
		{"logits, wrong", []float32{1, 2, 3}, 0, 0, 1, logs + 2, 0},
		{"large logits", []float32{1000, 0}, 1, 0, 1, 1000, 0},
		{"probabilities", []float32{0.25, 0.75}, 0, 0, 1, -math.Log(0.25), 0},
		{"probability zero", []float32{1, 0}, 1, 0, 1, -math.Log(1e-30), 0},
		{"sixth", []float32{6, 5, 4, 3, 2, 1}, 5, 0, 0, math.Log(math.Exp(5) + math.Exp(4) + math.Exp(3) + math.Exp(2) + math.Exp(1) + 1), 0},
		{"equal scores, first", []float32{7, 7}, 0, 1, 1, math.Log(2), 0},
		{"equal scores, second", []float32{7, 7}, 1, 0, 1, math.Log(2), 0},
		{"the label's score is NaN", []float32{1, nan}, 1, 0, 1, -math.Log(1e-30), 1},
		{"another score is NaN", []float32{nan, 5}, 1, 0, 1, -math.Log(1e-30), 1},
		{"all are NaN", []float32{nan, nan, nan, nan, nan, nan}, 0, 0, 0, -math.Log(1e-30), 1},
	} {
		var s scoreSum
		s.add(test.row, len(test.row), []int{test.label})
		r := s.result()
		if r.Top1 != test.top1 || r.Top5 != test.top5 || !near(r.Loss, test.loss) || r.NonFinite != test.nonFinite {
			t.Errorf("%s: %+v, want top-1 %v, top-5 %v, loss %v, not finite %d", test.name, r, test.top1, test.top5, test.loss, test.nonFinite)
		}
		if _, err := json.Marshal(r); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestTiming(t *testing.T) {
	got := timing([]float64{5, 1, 3, 2, 4, 6, 11, 7, 10, 9, 8})
	if got.Median != 6 || got.P10 != 2 || got.P90 != 10 {
		t.Errorf("got %+v", got)
	}
	if got := timing([]float64{1, 2}); got.Median != 1.5 || !near(got.P90, 1.9) {
		t.Errorf("got %+v", got)
	}
	if got := timing([]float64{4}); got.Median != 4 || got.P10 != 4 || got.P90 != 4 {
		t.Errorf("got %+v", got)
	}
}
