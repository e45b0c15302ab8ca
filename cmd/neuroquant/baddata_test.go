package main

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/example"
	"github.com/neurotrain/neuroquant/tensor"
)

func picture(t *testing.T, side int) []byte {
	t.Helper()
	m := image.NewRGBA(image.Rect(0, 0, side, side))
	for i := range m.Pix {
		m.Pix[i] = byte(i * 7)
	}
	m.Set(1, 1, color.White)
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func zipped(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, contents := range files {
		f, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(contents); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func array(t *testing.T, path string, v any, shape ...int) {
	t.Helper()
	var a *tensor.Tensor
	switch v := v.(type) {
	case []float32:
		a = tensor.Of(shape, v)
	case []int64:
		a = tensor.Of(shape, v)
	}
	if err := data.WriteNPYFile(path, a); err != nil {
		t.Fatal(err)
	}
}

// Data that does not fit its labels, the model, or itself is refused by name, whichever command meets it.
func TestBadData(t *testing.T) {
	good := picture(t, 32)
	for _, test := range []struct {
		name string
		make func(t *testing.T, dir string) []string // writes files and returns flags
		want []string
	}{
		{"more labels than samples", func(t *testing.T, dir string) []string {
			array(t, filepath.Join(dir, "x.npy"), make([]float32, 2*3*32*32), 2, 3, 32, 32)
			array(t, filepath.Join(dir, "y.npy"), []int64{1, 2, 3}, 3)
			return []string{"--data", filepath.Join(dir, "x.npy"), "--labels", filepath.Join(dir, "y.npy")}
		}, []string{"y.npy", "3 labels", "2 samples"}},
		{"label beyond the classes", func(t *testing.T, dir string) []string {
			array(t, filepath.Join(dir, "x.npy"), make([]float32, 2*3*32*32), 2, 3, 32, 32)
			array(t, filepath.Join(dir, "y.npy"), []int64{1, 10}, 2)
			return []string{"--data", filepath.Join(dir, "x.npy"), "--labels", filepath.Join(dir, "y.npy")}
		}, []string{"x.npy[1]", "label 10", "10 classes"}},
		{"samples of another shape", func(t *testing.T, dir string) []string {
			array(t, filepath.Join(dir, "x.npy"), make([]float32, 2*4*32*32), 2, 4, 32, 32)
			array(t, filepath.Join(dir, "y.npy"), []int64{1, 2}, 2)
			return []string{"--data", filepath.Join(dir, "x.npy"), "--labels", filepath.Join(dir, "y.npy")}
		}, []string{`input "images"`, "want 3, got 4"}},
		{"image that is text, in a folder", func(t *testing.T, dir string) []string {
			write(t, filepath.Join(dir, "set/a/1.png"), good)
			write(t, filepath.Join(dir, "set/b/2.png"), []byte("not a picture"))
			return []string{"--data", filepath.Join(dir, "set")}
		}, []string{"2.png"}},
		{"image that is cut short, in a folder", func(t *testing.T, dir string) []string {
			write(t, filepath.Join(dir, "set/a/1.png"), good[:len(good)/2])
			write(t, filepath.Join(dir, "set/b/2.png"), good)
			return []string{"--data", filepath.Join(dir, "set")}
		}, []string{"1.png"}},
		{"image that is cut short, in a zip", func(t *testing.T, dir string) []string {
			write(t, filepath.Join(dir, "set.zip"), zipped(t, map[string][]byte{"a/1.png": good, "b/2.png": good[:len(good)/2]}))
			return []string{"--data", filepath.Join(dir, "set.zip")}
		}, []string{"set.zip", "b/2.png"}},
		{"zip that is cut short", func(t *testing.T, dir string) []string {
			b := zipped(t, map[string][]byte{"a/1.png": good, "b/2.png": good})
			write(t, filepath.Join(dir, "set.zip"), b[:len(b)-30])
			return []string{"--data", filepath.Join(dir, "set.zip")}
		}, []string{"set.zip"}},
		{"images of several sizes", func(t *testing.T, dir string) []string {
			write(t, filepath.Join(dir, "set/a/1.png"), good)
			write(t, filepath.Join(dir, "set/b/2.png"), picture(t, 33))
			return []string{"--data", filepath.Join(dir, "set")}
		}, []string{"2.png", "33"}},
		{"folder without images", func(t *testing.T, dir string) []string {
			write(t, filepath.Join(dir, "set/readme.txt"), []byte("nothing"))
			return []string{"--data", filepath.Join(dir, "set")}
		}, []string{"set", "found neither images"}},
		{"array that is cut short", func(t *testing.T, dir string) []string {
			array(t, filepath.Join(dir, "x.npy"), make([]float32, 2*3*32*32), 2, 3, 32, 32)
			if err := os.Truncate(filepath.Join(dir, "x.npy"), 5000); err != nil {
				t.Fatal(err)
			}
			return []string{"--data", filepath.Join(dir, "x.npy")}
		}, []string{"x.npy"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			model := filepath.Join(dir, "shapes.onnx")
			write(t, model, example.Models()[0].ONNX)
			flags := test.make(t, dir)
			failing(t, dir, exitFailed, test.want, append([]string{"eval", model}, flags...)...)
			failing(t, dir, exitFailed, test.want, append([]string{"analyze", model, model, filepath.Join(dir, "report")}, flags...)...)
		})
	}
}

// Samples that a model of a fixed batch size cannot take, and scores that are not numbers, are told and not passed over.
func TestDataThatIsNotAllUsed(t *testing.T) {
	dir := t.TempDir()
	path, x, y := filepath.Join(dir, "m.onnx"), filepath.Join(dir, "x.npy"), filepath.Join(dir, "y.npy")
	m := perceptron()
	m.Graph.Inputs[0], m.Graph.Outputs[0] = value("x", onnxFloat, dims(2, 4)), value("y", onnxFloat, dims(2, 3))
	m.Graph.Initializers[1] = floats("b", []int64{3}, 1, float32(math.NaN()), 3)
	save(t, m, path)
	array(t, x, make([]float32, 20), 5, 4)
	array(t, y, []int64{0, 1, 2, 0, 1}, 5)
	var stdout, stderr bytes.Buffer
	if code := run([]string{"eval", path, "--data", x, "--labels", y}, &stdout, &stderr); code != exitDone {
		t.Fatal(&stderr)
	}
	for _, want := range []string{"the last 1 samples do not fill one", "4 samples have scores that are NaN"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("%q is missing: %s", want, &stdout)
		}
	}
	stdout.Reset()
	if code := run([]string{"eval", path, "--data", x, "--labels", y, "--json"}, &stdout, &stderr); code != exitDone {
		t.Fatal(&stderr)
	}
	var doc struct {
		Samples, NonFinite int
		Loss               *float64
	}
	if err := json.Unmarshal(bytes.ReplaceAll(stdout.Bytes(), []byte("non_finite"), []byte("NonFinite")), &doc); err != nil || doc.Samples != 4 || doc.NonFinite != 4 || doc.Loss == nil {
		t.Errorf("%v: %s", err, &stdout)
	}
}
