package neuroquant_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant"
	"github.com/zeebo/xxh3"

	"github.com/neurotrain/neuroquant/internal/example"
)

// put writes an embedded model to a folder of the test.
func put(t *testing.T, i int) string {
	t.Helper()
	m := example.Models()[i]
	path := filepath.Join(t.TempDir(), m.Name+".onnx")
	if err := os.WriteFile(path, m.ONNX, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func quantize(t *testing.T, m *neuroquant.Manager, path string) *neuroquant.Result {
	t.Helper()
	res, err := m.Quantize(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := res.Close(); err != nil {
			t.Error(err)
		}
	})
	return res
}

func open(t *testing.T, path string) *neuroquant.Model {
	t.Helper()
	m, err := neuroquant.Open(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return strings.Join(list, " ")
}

// A plan is what Quantize then does, and its sizes are those of the result.
func TestPlanIsWhatHappens(t *testing.T) {
	for i := range example.Models() {
		path := put(t, i)
		for _, dtype := range []string{"qint8", "quint8", "float16", "bfloat16"} {
			c := neuroquant.DefaultConfig()
			c.DType = dtype
			m := neuroquant.NewManager(c)
			p, err := m.Plan(context.Background(), path)
			if err != nil {
				t.Fatal(err)
			}
			res := quantize(t, m, path)
			if !reflect.DeepEqual(p.Decisions, res.Decisions) {
				t.Errorf("%s: planned %v, done %v", dtype, p.Decisions, res.Decisions)
			}
			if got := m.SizeInfo(res.Model).MemoryBytes; p.QuantizedBytes < got*98/100 || p.QuantizedBytes > got*102/100 {
				t.Errorf("%s: planned %d bytes, the result takes %d", dtype, p.QuantizedBytes, got)
			}
			if p.Method != "dynamic" || p.DType != dtype || p.Input != path || p.CompressionRatio <= 1.9 {
				t.Errorf("%s: %+v", dtype, p)
			}
			if got := names(t, filepath.Dir(path)); got != filepath.Base(path) {
				t.Errorf("%s: wrote %s", dtype, got)
			}
		}
	}
}

func TestSaveAndLoad(t *testing.T) {
	ctx := context.Background()
	path := put(t, 0)
	c := neuroquant.DefaultConfig()
	c.Keep, c.QuantizedModelPath, c.AnalysisReportPath = []string{"head"}, "somewhere", "elsewhere"
	m := neuroquant.NewManager(c)
	if i := m.Info(); i.Quantized || i.Layers != 0 || !reflect.DeepEqual(i.Config, c) {
		t.Errorf("before: %+v", i)
	}
	res := quantize(t, m, path)
	if i := m.Info(); !i.Quantized || i.Layers != 8 || i.Kept != 1 || i.Input != "shapes.onnx" {
		t.Errorf("after: %+v", i)
	}
	out := filepath.Join(t.TempDir(), "a", "out")
	if err := m.Save(ctx, res, out, false); err != nil {
		t.Fatal(err)
	}
	if got := names(t, out); got != "model.onnx neuroquant.json" {
		t.Errorf("files %s", got)
	}
	if err := m.Save(ctx, res, out, false); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("saving twice: %v", err)
	}

	got, rec, err := m.Load(ctx, out)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	sum := xxh3.Hash128(example.Models()[0].ONNX).Bytes()
	if rec.Input.XXH128 != hex.EncodeToString(sum[:]) || rec.Input.File != "shapes.onnx" || rec.Input.Bytes != int64(len(example.Models()[0].ONNX)) {
		t.Errorf("input %+v", rec.Input)
	}
	if info, err := os.Stat(filepath.Join(out, "model.onnx")); err != nil || rec.Output.Bytes != info.Size() || got.DiskBytes() != info.Size() || res.DiskBytes() != info.Size() {
		t.Errorf("recorded %d bytes, model %d, result %d: %v", rec.Output.Bytes, got.DiskBytes(), res.DiskBytes(), err)
	}
	if rec.Settings.QuantizedModelPath != "" || !reflect.DeepEqual(rec.Settings.Keep, c.Keep) || len(rec.Decisions) != 9 || rec.Sizes.CompressionRatio < 3 {
		t.Errorf("record %+v", rec)
	}
	if text := string(read(t, filepath.Join(out, "neuroquant.json"))); strings.Contains(text, filepath.Dir(path)) || strings.Contains(text, "somewhere") {
		t.Errorf("the record has paths: %s", text)
	}

	// The original's folder and one without a record are no results.
	if _, _, err := m.Load(ctx, filepath.Dir(path)); err == nil || !strings.Contains(err.Error(), "not a folder that this tool wrote") {
		t.Errorf("Load of another folder: %v", err)
	}
}

// The same input and settings give the same bytes; replacing a result leaves nothing of the old one.
func TestSaveIsDeterministicAndReplaces(t *testing.T) {
	ctx := context.Background()
	m := neuroquant.NewManager(neuroquant.DefaultConfig())
	a, b := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	for _, out := range []string{a, b} {
		if err := m.Save(ctx, quantize(t, m, put(t, 1)), out, false); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"model.onnx", "neuroquant.json"} {
		if !bytes.Equal(read(t, filepath.Join(a, f)), read(t, filepath.Join(b, f))) {
			t.Errorf("%s differs", f)
		}
	}
	for _, f := range []string{"model.onnx.data", "notes.txt"} {
		if err := os.WriteFile(filepath.Join(a, f), []byte("old"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := neuroquant.DefaultConfig()
	c.DType = "float16"
	m = neuroquant.NewManager(c)
	res := quantize(t, m, put(t, 1))
	if err := m.Save(ctx, res, a, true); err != nil {
		t.Fatal(err)
	}
	if got := names(t, a); got != "model.onnx neuroquant.json notes.txt" {
		t.Errorf("files %s", got)
	}
	if got := open(t, a).DiskBytes(); got != res.DiskBytes() {
		t.Errorf("result says %d bytes, the file has %d", res.DiskBytes(), got)
	}
}

// With enabled false the model goes through as it is.
func TestDisabled(t *testing.T) {
	path := put(t, 0)
	c := neuroquant.DefaultConfig()
	c.Enabled = false
	m := neuroquant.NewManager(c)
	res := quantize(t, m, path)
	if i := m.Info(); i.Quantized {
		t.Errorf("%+v", i)
	}
	out := filepath.Join(t.TempDir(), "out")
	if err := m.Save(context.Background(), res, out, false); err != nil {
		t.Fatal(err)
	}
	_, rec, err := m.Load(context.Background(), out)
	if err != nil || len(rec.Decisions) != 0 {
		t.Fatalf("%+v, %v", rec, err)
	}
	if !bytes.Contains(read(t, filepath.Join(out, "neuroquant.json")), []byte(`"decisions": []`)) {
		t.Error("decisions is not a list")
	}
	if a, b := open(t, path).Parameters(), open(t, out).Parameters(); a != b {
		t.Errorf("%d parameters became %d", a, b)
	}
}

func TestQuantizeFromConfig(t *testing.T) {
	ctx := context.Background()
	path, dir := put(t, 0), t.TempDir()
	config := func(lines ...string) string { return yaml(t, "quantization:\n  "+strings.Join(lines, "\n  ")+"\n") }
	out, report := filepath.Join(dir, "out"), filepath.Join(dir, "report")
	full := config("dtype: float16", "quantized_model_path: "+out, "analysis_report_path: "+report)
	res, err := neuroquant.QuantizeFromConfig(ctx, path, full, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Close(); err != nil {
		t.Error(err)
	}
	if a, b := names(t, out), names(t, report); a != "model.onnx neuroquant.json" || b != "report.html report.json report.md" {
		t.Errorf("files %s and %s", a, b)
	}
	var doc neuroquant.Report
	if err := json.Unmarshal(read(t, filepath.Join(report, "report.json")), &doc); err != nil {
		t.Error(err)
	}
	if doc.Method != "dynamic" || doc.DType != "float16" || len(doc.Notes) == 0 || doc.Accuracy == nil || len(doc.Layers) == 0 {
		t.Errorf("report %+v", doc)
	}
	if _, err := neuroquant.QuantizeFromConfig(ctx, path, full, false); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("again: %v", err)
	}
	if res, err := neuroquant.QuantizeFromConfig(ctx, path, full, true); err != nil {
		t.Error(err)
	} else if err := res.Close(); err != nil {
		t.Error(err)
	}
	if _, err := neuroquant.QuantizeFromConfig(ctx, path, config("dtype: qint8"), false); err == nil || !strings.Contains(err.Error(), "quantized_model_path is missing") {
		t.Errorf("no folder: %v", err)
	}
	res, err = neuroquant.QuantizeFromConfig(ctx, path, config("save_quantized_model: false"), false)
	if err != nil || len(res.Decisions) == 0 {
		t.Fatalf("without saving: %v", err)
	}
	if err := res.Close(); err != nil {
		t.Error(err)
	}
	if _, err := neuroquant.QuantizeFromConfig(ctx, path, config("dtyp: qint8"), false); err == nil || !strings.Contains(err.Error(), `unknown key "dtyp" (did you mean "dtype"?)`) {
		t.Errorf("a mistake: %v", err)
	}
	if got := names(t, dir); got != "out report" {
		t.Errorf("files %s", got)
	}
}

// A cancelled context stops the work and leaves nothing.
func TestCancel(t *testing.T) {
	path, dir := put(t, 0), t.TempDir()
	m := neuroquant.NewManager(neuroquant.DefaultConfig())
	res := quantize(t, m, path)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := m.Quantize(ctx, path); !errors.Is(err, context.Canceled) {
		t.Errorf("Quantize: %v", err)
	}
	if err := m.Save(ctx, res, filepath.Join(dir, "a", "out"), false); !errors.Is(err, context.Canceled) {
		t.Errorf("Save: %v", err)
	}
	a := &neuroquant.Analyzer{Original: open(t, path), Quantized: res.Model}
	if _, err := a.GenerateReport(ctx, testSet(4), "", filepath.Join(dir, "report"), false); !errors.Is(err, context.Canceled) {
		t.Errorf("GenerateReport: %v", err)
	}
	if got := names(t, dir); got != "" {
		t.Errorf("left %s", got)
	}
}
