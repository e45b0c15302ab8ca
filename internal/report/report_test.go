package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"html"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/analyze"
	"github.com/neurotrain/neuroquant/internal/calibrate"
	"github.com/neurotrain/neuroquant/internal/quantize"
	"github.com/neurotrain/neuroquant/internal/search"
	"github.com/neurotrain/neuroquant/internal/train"
)

var update = flag.Bool("update", false, "write the golden file")

func number(v float64) *float64 { return &v }

// sample is a report with everything in it; name stands wherever a file can put a name.
func sample(name string) *Report {
	timing := func(ms float64) analyze.Timing { return analyze.Timing{Median: ms, P10: ms * 0.9, P90: ms * 1.25} }
	failure := func(db *float64, cosine, most float64) analyze.Error {
		return analyze.Error{SQNR: db, Cosine: cosine, MaxDiff: most, RMS: most / 4, Values: 1000}
	}
	r := &Report{
		Schema: 1, Tool: "neuroquant", Version: "v1.2.3", Title: name + " quantized", Method: "dynamic", DType: "qint8", Data: name,
		Machine: Machine{CPU: "Test CPU", Cores: 8, Threads: 4, ISA: "avx2", OS: "linux/amd64"},
		Original: Subject{File: name, Size: analyze.Size{
			Parameters: 300000, DiskBytes: 1210000, MemoryBytes: 1200000, Nodes: 12,
			ByType: []analyze.TypeSize{{DType: "float32", Parameters: 300000, Bytes: 1200000}},
		}},
		Quantized: Subject{File: "model.onnx", Size: analyze.Size{
			Parameters: 300100, DiskBytes: 311000, MemoryBytes: 300400, Nodes: 30,
			ByType: []analyze.TypeSize{{DType: "int8", Parameters: 299900, Bytes: 299900}, {DType: "float32", Parameters: 125, Bytes: 500}},
		}},
		Compression: 3.89,
		Speed: []analyze.Speed{
			{Batch: 1, Threads: 4, WarmUp: 3, Runs: 20, Original: timing(4), Quantized: timing(2), Speedup: 2},
			{Batch: 8, Threads: 4, WarmUp: 3, Runs: 20, Original: timing(20), Quantized: timing(25), Speedup: 0.8},
		},
		Accuracy: &analyze.Accuracy{
			Samples: 500, Original: &analyze.Scores{Samples: 500, Top1: 0.91, Top5: 0.998, Loss: 0.31}, Quantized: &analyze.Scores{Samples: 500, Top1: 0.908, Top5: 0.998, Loss: 0.3125},
			Agreement: number(0.994), Outputs: []analyze.OutputError{{Name: name, Error: failure(number(38.21), 0.99992, 0.125)}},
		},
		Notes: []string{"A note about " + name + "."},
		Calibration: &calibrate.Diagnosis{
			Samples: 32, Values: 9, Growth: []calibrate.Growth{{Samples: 16, Width: 0.9}, {Samples: 32, Width: 1}}, Advice: "more samples would help", DeadChannels: 3,
			Outliers: []calibrate.Outlier{{Sample: name + ".jpeg", Values: 4, Most: name, Factor: 2.5}},
		},
		Saturation: &analyze.Saturation{Samples: 32, Channels: 26, AtRisk: 2, Seen: 1, Layers: []analyze.LayerSaturation{
			{Layer: name, Op: "Conv", Channels: 16, Worst: -48195, Outputs: 1000, Saturated: 3, SQNR: number(41.5), Risky: []analyze.ChannelSaturation{
				{Channel: 7, Pairs: 2, Worst: -48195, Seen: -33000, Saturated: 0.048, MaxError: 0.25}, {Channel: 3, Pairs: 1, Worst: 32895, Seen: 20000},
			}},
			{Layer: "head", Op: "Gemm", Channels: 10, Worst: 0, Outputs: 500},
		}},
	}
	point := func(db *float64, bytes int64, float ...string) search.Point {
		return search.Point{Choice: search.Choice{Calibrator: "mse", Float: float}, Measure: search.Measure{Samples: 100, SQNR: db, Top1: number(0.9), Agreement: number(0.99), Bytes: bytes}, Cost: 0.1 * float64(len(float)), Meets: len(float) > 0}
	}
	points := []search.Point{point(number(21.5), 300400), point(number(21), 300500), point(number(31.25), 420000, name), point(number(34), 800000, name, "head")}
	points[2].Ranges = map[string]string{name: "minmax"}
	r.Search = search.NewPicture(&search.Result{
		Target: "sqnr=30", Met: true, Best: points[2], Points: points, Baseline: number(21.4), Evaluations: 17, Stopped: search.OutOfTime,
		Ranking: []search.Rank{{Layers: []string{name}, SQNR: number(30.5), Gain: 0.006, Cost: 0.1}, {Layers: []string{name, "head"}, Value: name, SQNR: number(33), Gain: 0.0065, Cost: 0.2}},
	}, 1200000, nil)
	r.Training = &train.History{Losses: []float64{2.5, 2, 1.5, 1, 0.75, 0.5}, Stopped: name + " was reached", Epochs: []train.Epoch{
		{Epoch: 1, Updates: 3, Rate: 0.01, Loss: 2, Accuracy: number(0.5), Valid: number(1.8), Right: number(0.55)},
		{Epoch: 2, Updates: 6, Rate: 0.001, Loss: 0.75, Accuracy: number(0.8), Valid: number(0.9), Right: number(0.75), Best: true},
	}}
	r.Search.Front[0].Timing = &search.Timing{OriginalMS: 4, MS: 2, Speedup: 2}
	r.Search.Front[1].Timing = &search.Timing{OriginalMS: 4, MS: 2.25, Speedup: 1.78}
	r.Sensitivity = []quantize.Sensitivity{
		{Layer: name, Op: "Conv", SQNR: number(24.5), Without: number(31), Causes: []quantize.StrainingCause{
			{Kind: quantize.CauseClipping, Text: "2 % of " + name + " are clipped", Share: 0.625}, {Kind: quantize.CauseDeadChannel, Text: "1 of 8 channels of " + name}, {Kind: quantize.CauseSums16, Text: "not shown"},
		}},
		{Layer: "add", Op: "Add", WithoutExact: true},
	}
	for i, db := range []*float64{nil, number(45.5), number(25), number(12.25)} {
		r.Layers = append(r.Layers, analyze.LayerError{Layer: name + string(rune('1'+i)), Op: "Conv", Value: name, Quantized: i%2 == 1, Error: failure(db, 0.999, 0.01*float64(i))})
	}
	for i := range 2 {
		r.Decisions = append(r.Decisions, quantize.Decision{Layer: name, Op: "Gemm", Param: name + ".weight", Quantized: i == 0, Stored: []string{"int8 per-channel sym", "float32"}[i], Why: "because of " + name, Shape: []int{10, 128}, Before: 5120, After: []int{1320, 5120}[i]})
	}
	return r
}

const hostile = `</script></style><script>alert(1)</script><img src=x onerror="alert(2)">'"--><!--` + "\n| ` * _ \\"

func TestMarkdown(t *testing.T) {
	var b bytes.Buffer
	if err := Markdown(&b, sample("block_1*a|b")); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/report.md"
	if *update {
		if err := os.WriteFile(golden, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("the Markdown differs from %s; after a look at it, go test -update writes it:\n%s", golden, b.Bytes())
	}
	b.Reset()
	if err := Markdown(&b, sample(hostile)); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "<") {
		t.Errorf("a name becomes HTML:\n%s", b.String())
	}
	for _, line := range strings.Split(b.String(), "\n") {
		if !strings.HasPrefix(line, "|") {
			continue
		}
		bare := strings.ReplaceAll(strings.ReplaceAll(line, `\\`, ""), `\|`, "")
		if n := strings.Count(bare, "|"); n < 3 || n > 9 || !strings.HasSuffix(line, "|") {
			t.Errorf("a name breaks its row: %s", line)
		}
	}
}

// A report without the parts that could not be measured is still a report.
func TestPartsThatAreMissing(t *testing.T) {
	r := &Report{Title: "m", Original: Subject{File: "a"}, Quantized: Subject{File: "b"}}
	for name, write := range map[string]func(*bytes.Buffer) error{
		"JSON":     func(b *bytes.Buffer) error { return JSON(b, r) },
		"Markdown": func(b *bytes.Buffer) error { return Markdown(b, r) },
		"HTML":     func(b *bytes.Buffer) error { return HTML(b, r) },
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil || b.Len() == 0 {
			t.Errorf("%s: %v", name, err)
		}
		if s := b.String(); strings.Contains(s, "NaN") && name != "HTML" || strings.Contains(s, "<no value>") {
			t.Errorf("%s: %s", name, s)
		}
	}
}

func TestJSONIsReadBack(t *testing.T) {
	want := sample("m")
	var b bytes.Buffer
	if err := JSON(&b, want); err != nil {
		t.Fatal(err)
	}
	var got Report
	if err := json.Unmarshal(b.Bytes(), &got); err != nil || !reflect.DeepEqual(&got, want) {
		t.Errorf("%v\ngot  %+v\nwant %+v", err, got, *want)
	}
}

func rendered(t *testing.T, r *Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := HTML(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// The page asks for nothing: all that it shows is in it.
func TestHTMLIsSelfContained(t *testing.T) {
	text := rendered(t, sample("m"))
	const policy = `<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">`
	if at := strings.Index(text, policy); at < 0 || at > strings.Index(text, "<style") {
		t.Errorf("the policy is missing, or comes too late")
	}
	licence, err := assets.ReadFile("uplot/LICENSE")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(html.UnescapeString(text), string(licence)) {
		t.Error("the licence of the chart library is missing")
	}
	// The comment at the head of the library names its home page.
	text = regexp.MustCompile(`/\*![^*]*\*/`).ReplaceAllString(text, "")
	if found := regexp.MustCompile(`(?i)https?:|\bsrc\s*=|\bhref\s*=|url\(|@import|//[a-z0-9-]+\.[a-z]|<(link|iframe|object|embed|base|form)\b|\b(fetch|XMLHttpRequest|WebSocket|EventSource|sendBeacon|importScripts)\b|\bimport\(`).FindAllString(text, -1); found != nil {
		t.Errorf("the page refers to something outside: %q", found)
	}
}

// Names from a model are text wherever they stand.
func TestHTMLEscapesNames(t *testing.T) {
	plain, text := rendered(t, sample("m")), rendered(t, sample(hostile))
	for _, tag := range []string{"<script", "</script", "<style", "</style", "<img", "onerror=\"", "<!--", "-->", "<svg", "<title", "<td", "<tr"} {
		if a, b := strings.Count(plain, tag), strings.Count(text, tag); a != b {
			t.Errorf("the page has %q %d times, with names from a hostile file %d times", tag, a, b)
		}
	}
	data := regexp.MustCompile(`(?s)<script type="application/json" id="data">(.*?)</script>`).FindStringSubmatch(text)
	if data == nil {
		t.Fatal("no chart data")
	}
	var chart chartData
	if err := json.Unmarshal([]byte(data[1]), &chart); err != nil || len(chart.Names) != 4 || chart.Names[0] != hostile+"1" || chart.SQNR[0] != nil || *chart.SQNR[3] != 12.25 || !chart.Quantized[1] {
		t.Errorf("chart data %+v: %v", chart, err)
	}
}

// The library is what its authors published.
func TestChartLibraryIsAsPublished(t *testing.T) {
	for name, want := range map[string]string{
		"uplot/uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
		"uplot/uPlot.min.css":     "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
	} {
		b, err := assets.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != want {
			t.Errorf("%s has SHA-256 %x, want %s", name, sum, want)
		}
	}
}

func TestWordsForNumbers(t *testing.T) {
	for n, want := range map[int64]string{0: "-", 1: "1 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1 << 20: "1.00 MiB", 5 << 30: "5.00 GiB"} {
		if got := Bytes(n); got != want {
			t.Errorf("%d bytes: %q, want %q", n, got, want)
		}
	}
	if DB(nil) != "exact" || DB(number(29.96)) != "30.0" || grade(nil) != "good" || grade(number(30)) != "good" || grade(number(20)) != "fair" || grade(number(19.9)) != "poor" {
		t.Error("words for decibels")
	}
	worst := Worst(sample("l").Layers)
	if len(worst) != 4 || worst[0].Layer != "l4" || worst[1].Layer != "l3" || worst[3].Layer != "l1" {
		t.Errorf("worst first: %v", worst)
	}
}
