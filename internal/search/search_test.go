package search

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/neurotrain/neuroquant/internal/quantize"
)

// paper is a subject whose noise is known: that of each unit in 8 bits and of each range that is not all in float adds up.
type paper struct {
	units    []string
	noise    map[string]float64
	ranges   []quantize.Range
	rangeOf  map[string]float64
	methods  map[string]float64            // factor of the noise of ranges under a calibrator
	suits    map[string]map[string]float64 // by value: its own factors
	bytes    map[string]int
	measured []string
	fail     int // the measurement that fails; 0: none
}

func (p *paper) Units() []Unit {
	var out []Unit
	for _, u := range p.units {
		b := max(p.bytes[u], 4)
		out = append(out, Unit{quantize.Unit{Layer: u, Before: b, After: b / 4}, int64(b)})
	}
	return out
}

func (p *paper) Ranges() []quantize.Range { return p.ranges }

var errStopped = errors.New("stopped")

func (p *paper) Measure(_ context.Context, c Choice, samples int) (Measure, error) {
	if p.fail > 0 && len(p.measured)+1 == p.fail {
		return Measure{}, errStopped
	}
	p.measured = append(p.measured, entryKey(c, samples))
	sum, bytes := 0.0, int64(0)
	for _, u := range p.units {
		b := max(p.bytes[u], 4)
		if !slices.Contains(c.Float, u) {
			sum += p.noise[u]
			b /= 4
		}
		bytes += int64(b)
	}
	for _, r := range p.ranges {
		if slices.ContainsFunc(r.Units, func(u string) bool { return !slices.Contains(c.Float, u) }) {
			method := c.Calibrator
			if m := c.Ranges[r.Value]; m != "" {
				method = m
			}
			f := 1.0
			if x, ok := p.methods[method]; ok {
				f = x
			}
			if x, ok := p.suits[r.Value][method]; ok {
				f = x
			}
			sum += f * p.rangeOf[r.Value]
		}
	}
	m := Measure{Samples: 10, Bytes: bytes}
	if sum > 0 {
		db := -10 * math.Log10(sum)
		top1 := math.Round(90-1000*sum) / 100
		m.SQNR, m.Top1 = &db, &top1
	}
	return m, nil
}

// letters is a subject with the units a, b, c, ..., each of a little noise.
func letters(n int) *paper {
	p := &paper{noise: map[string]float64{}, rangeOf: map[string]float64{}, methods: map[string]float64{"mse": 1, "minmax": 3}, suits: map[string]map[string]float64{}, bytes: map[string]int{}}
	for i := range n {
		u := string(rune('a' + i))
		p.units, p.noise[u] = append(p.units, u), 1e-5
		p.bytes[u] = 100 + 10*i
	}
	return p
}

func target(t *testing.T, text string) Target {
	t.Helper()
	x, err := ParseTarget(text)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

var both = []string{"mse", "minmax"}

func run(t *testing.T, p *paper, o Options) *Result {
	t.Helper()
	if o.Calibrators == nil {
		o.Calibrators = both
	}
	r, err := Run(context.Background(), p, o, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSearchFindsWhatHurts(t *testing.T) {
	for name, test := range map[string]struct {
		change  func(p *paper)
		target  string
		float   []string
		ranges  map[string]string
		met     bool
		atMost  int // evaluations
		ranked  bool
		stopped string
		o       Options
	}{
		"nothing does":                      {func(*paper) {}, "sqnr=30", nil, nil, true, 2, false, "", Options{}},
		"one layer":                         {func(p *paper) { p.noise["g"] = 0.1 }, "sqnr=30", []string{"g"}, nil, true, 30, true, "", Options{}},
		"two layers":                        {func(p *paper) { p.noise["c"], p.noise["k"] = 0.1, 0.01 }, "sqnr=30", []string{"c", "k"}, nil, true, 40, true, "", Options{}},
		"a layer that is cheap beats a big": {func(p *paper) { p.noise["b"], p.noise["k"], p.bytes["k"] = 0.01, 0.01, 9000 }, "sqnr=19.5", []string{"b"}, nil, true, 40, true, "", Options{}},
		"a range that two layers share": {func(p *paper) {
			p.ranges, p.rangeOf["v"] = []quantize.Range{{Value: "v", Units: []string{"d", "e"}}}, 0.1
		}, "sqnr=30", []string{"d", "e"}, nil, true, 40, true, "", Options{}},
		"a range that another calibrator suits": {func(p *paper) {
			p.ranges = []quantize.Range{{Value: "v", Units: []string{"d", "e"}}, {Value: "w", Units: []string{"h"}}}
			p.rangeOf["v"], p.rangeOf["w"] = 0.1, 0.001
			p.suits["v"] = map[string]float64{"minmax": 1e-3}
			p.suits["w"] = map[string]float64{"minmax": 100}
		}, "sqnr=25", nil, map[string]string{"w": "mse"}, true, 45, true, "", Options{}},
		"top-1 by labels":         {func(p *paper) { p.noise["g"] = 0.1 }, "drop=0.01", []string{"g"}, nil, true, 40, true, "", Options{OriginalTop1: ptr(0.9)}},
		"more than can be had":    {func(p *paper) { p.noise["g"] = 0.1 }, "sqnr=90", nil, nil, false, 200, true, "", Options{}},
		"too few evaluations":     {func(p *paper) { p.noise["g"] = 0.1 }, "sqnr=30", []string{}, nil, false, 1, false, OutOfEvaluations, Options{Evaluations: 1}},
		"enough evaluations":      {func(p *paper) { p.noise["a"] = 0.1 }, "sqnr=30", []string{"a"}, nil, true, 3, true, OutOfEvaluations, Options{Evaluations: 3}},
		"no time":                 {func(p *paper) { p.noise["a"] = 0.1 }, "sqnr=30", []string{}, nil, false, 1, false, OutOfTime, Options{Time: 1}},
		"fewer samples for ranks": {func(p *paper) { p.noise["g"] = 0.1 }, "sqnr=30", []string{"g"}, nil, true, 30, true, "", Options{RankSamples: 5}},
	} {
		t.Run(name, func(t *testing.T) {
			p := letters(12)
			test.change(p)
			test.o.Target = target(t, test.target)
			r := run(t, p, test.o)
			if test.float != nil && !slices.Equal(r.Best.Float, test.float) || test.ranges != nil && !reflect.DeepEqual(r.Best.Ranges, test.ranges) {
				t.Errorf("best is %+v, want %v in float and ranges %v", r.Best, test.float, test.ranges)
			}
			if r.Met != test.met || r.Best.Meets != test.met || r.Stopped != test.stopped || (len(r.Ranking) > 0) != test.ranked {
				t.Errorf("met %v, stopped %q, %d ranked", r.Met, r.Stopped, len(r.Ranking))
			}
			if r.Evaluations > test.atMost || r.Evaluations != len(p.measured) {
				t.Errorf("%d evaluations, %d measured, want at most %d", r.Evaluations, len(p.measured), test.atMost)
			}
			if slices.Sort(p.measured); len(slices.Compact(p.measured)) != r.Evaluations {
				t.Error("something was measured twice")
			}
		})
	}
}

func ptr(v float64) *float64 { return &v }

// hard is a subject on which every step of the search finds something.
func hard() *paper {
	p := letters(14)
	p.noise["c"], p.noise["k"], p.noise["l"], p.noise["a"], p.noise["b"] = 0.02, 0.01, 0.004, 0.003, 0.002
	p.bytes["c"] = 4000
	p.ranges = []quantize.Range{{Value: "v", Units: []string{"d", "e"}}, {Value: "w", Units: []string{"h"}}, {Value: "u", Units: []string{"k", "l", "m"}}}
	p.rangeOf["v"], p.rangeOf["w"], p.rangeOf["u"] = 0.05, 0.001, 0.003
	p.suits["v"] = map[string]float64{"minmax": 0.02}
	return p
}

// However often a search is stopped, it ends with what it finds in one go, measures nothing twice and tells of the same best.
func TestSearchGoesOn(t *testing.T) {
	o := Options{Target: target(t, "sqnr=24"), Calibrators: both, RankSamples: 3}
	key := Key{Version: "1", Model: "m"}
	var last string
	note := func(_ context.Context, p Point) error { last = p.key(); return nil }
	whole := hard()
	want, err := Run(context.Background(), whole, o, nil, note)
	if err != nil {
		t.Fatal(err)
	}
	if !want.Met || last != want.Best.key() {
		t.Fatalf("best %+v, told of %s", want.Best, last)
	}
	for stop := 1; stop <= len(whole.measured); stop++ {
		path := filepath.Join(t.TempDir(), "search.jsonl")
		var all []string
		for round := 0; ; round++ {
			j, err := OpenJournal(path, key, false)
			if err != nil {
				t.Fatal(err)
			}
			p := hard()
			p.fail = stop
			r, err := Run(context.Background(), p, o, j, note)
			all = append(all, p.measured...)
			if cerr := j.Close(); cerr != nil {
				t.Fatal(cerr)
			}
			// The next run finds a line that was cut off.
			f, ferr := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if ferr == nil {
				_, ferr = f.WriteString(`{"choice":{"cal`)
				ferr = errors.Join(ferr, f.Close())
			}
			if ferr != nil {
				t.Fatal(ferr)
			}
			if err == nil {
				if !reflect.DeepEqual(r, want) {
					t.Fatalf("stopped at every %d: got %+v, want %+v", stop, r, want)
				}
				break
			}
			if !errors.Is(err, errStopped) || round > len(whole.measured) {
				t.Fatalf("round %d: %v", round, err)
			}
			if stop == 1 { // nothing can ever be measured
				p.fail = 0
				if round > 0 {
					break
				}
			}
		}
		if stop > 1 && (!slices.Equal(all, whole.measured) || last != want.Best.key()) {
			t.Fatalf("stopped at every %d: measured %d, want %d; told of %s", stop, len(all), len(whole.measured), last)
		}
	}
}

// A larger budget goes on where a smaller one ended, and time that earlier runs spent counts.
func TestBudgetsOfRunsAddUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "search.jsonl")
	o := Options{Target: target(t, "sqnr=24"), Calibrators: both}
	measured := 0
	for _, n := range []int{3, 3, 20, 0} {
		o.Evaluations = n
		j, err := OpenJournal(path, Key{}, false)
		if err != nil {
			t.Fatal(err)
		}
		p := hard()
		r, err := Run(context.Background(), p, o, j, nil)
		if err != nil {
			t.Fatal(err)
		}
		measured += len(p.measured)
		if n > 0 && (r.Evaluations != n || r.Stopped != OutOfEvaluations || r.Evaluations != measured) {
			t.Errorf("budget %d: %d evaluations, %d measured, stopped %q", n, r.Evaluations, measured, r.Stopped)
		}
		if n == 0 && (!r.Met || measured < r.Evaluations) {
			t.Errorf("without budget: met %v after %d of %d", r.Met, measured, r.Evaluations)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	j, err := OpenJournal(path, Key{}, false)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	for k := range j.seconds {
		j.seconds[k] = 3600
	}
	o.Time = time.Minute
	r, err := Run(context.Background(), hard(), o, j, nil)
	if err != nil || r.Stopped != OutOfTime || r.Evaluations != 1 {
		t.Errorf("after an hour of a minute: %+v, %v", r, err)
	}
}

func TestJournalOfAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "search.jsonl")
	open := func(k Key, restart bool) (int, error) {
		j, err := OpenJournal(path, k, restart)
		if err != nil {
			return 0, err
		}
		n := j.Len()
		if _, err := Run(context.Background(), hard(), Options{Target: target(t, "sqnr=24"), Calibrators: both}, j, nil); err != nil {
			t.Fatal(err)
		}
		return n, j.Close()
	}
	if n, err := open(Key{Model: "a", Evaluation: "x"}, false); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := open(Key{Model: "a", Evaluation: "x"}, false); n == 0 || err != nil {
		t.Fatal(n, err)
	}
	if _, err := open(Key{Model: "b", Evaluation: "y"}, false); err == nil || !strings.Contains(err.Error(), "a search with other model, evaluation samples") {
		t.Errorf("%v", err)
	}
	if n, err := open(Key{Model: "b"}, true); n != 0 || err != nil {
		t.Errorf("begun anew: %d, %v", n, err)
	}
	for text, want := range map[string]string{
		"hello\n": "line 1: this is no journal",
		`{"kind":"neuroquant search","schema":2,"key":{"version":"","model":"","settings":"","calibration":"","evaluation":""}}` + "\n": "schema 2",
		`{"kind":"neuroquant search","schema":1,"key":{}}` + "\n{}x\n{}\n":                                                              "line 2",
	} {
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := open(Key{}, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestTargets(t *testing.T) {
	for text, want := range map[string]string{"sqnr=30": "", " drop=0.01 , sqnr=25": "sqnr=25,drop=0.01", "top1=0.9,agreement=0.99": "agreement=0.99,top1=0.9"} {
		x, err := ParseTarget(text)
		if want == "" {
			want = text
		}
		if err != nil || x.String() != want {
			t.Errorf("%q: %q, %v", text, x, err)
		}
	}
	for text, want := range map[string]string{"": "want sqnr=DB", "snr=3": `got "snr=3"`, "sqnr": "want a number", "drop=2": "want a fraction", "sqnr=NaN": "want a number", "sqnr=1,sqnr=2": "given twice"} {
		if _, err := ParseTarget(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if _, err := Run(context.Background(), letters(3), Options{Target: target(t, "drop=0.01"), Calibrators: both}, nil, nil); err == nil || !strings.Contains(err.Error(), "needs samples with labels") {
		t.Errorf("%v", err)
	}
	if _, err := Run(context.Background(), letters(3), Options{Target: target(t, "top1=0.95"), Calibrators: both, OriginalTop1: ptr(0.9)}, nil, nil); err == nil || !strings.Contains(err.Error(), "more than the original") {
		t.Errorf("%v", err)
	}
}

func TestFront(t *testing.T) {
	at := func(db float64, bytes int64, cost float64) Point {
		return Point{Choice: Choice{Calibrator: fmt.Sprint(db, bytes, cost)}, Measure: Measure{SQNR: &db, Bytes: bytes}, Cost: cost}
	}
	a, b, c := at(10, 100, 0), at(20, 150, 0.1), at(30, 300, 0.5)
	got := Front([]Point{c, at(9, 100, 0), a, at(19, 150, 0.2), b, a, at(30, 400, 0.5)})
	if !reflect.DeepEqual(got, []Point{a, b, c}) {
		t.Errorf("front %+v", got)
	}
}

func FuzzParseJournal(f *testing.F) {
	f.Add([]byte(`{"kind":"neuroquant search","schema":1,"key":{"version":"v","model":"m","settings":"s","calibration":"c","evaluation":"e"}}` + "\n" +
		`{"choice":{"calibrator":"mse","float":["a"],"ranges":{"v":"minmax"}},"rank":3,"measure":{"samples":3,"sqnr_db":31.5,"agreement":1,"bytes":7},"seconds":0.5}` + "\n" +
		`{"choice":{"calibrator":"mse"},"measure":{"samples":0,"sqnr_db":null,"bytes":0},"timing":{"original_ms":2,"ms":1,"speedup":2}}` + "\n{\"cho"))
	f.Fuzz(func(t *testing.T, text []byte) {
		key, entries, whole, err := parseJournal(text)
		if err != nil {
			return
		}
		if whole > len(text) || whole > 0 && text[whole-1] != '\n' {
			t.Fatalf("%d whole bytes of %d", whole, len(text))
		}
		k2, e2, w2, err := parseJournal(text[:whole])
		if err != nil || k2 != key || w2 != whole || !reflect.DeepEqual(e2, entries) {
			t.Fatalf("the whole lines are read as another journal: %v", err)
		}
	})
}
