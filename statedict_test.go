package neuroquant

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/checkpoint"
	"github.com/neurotrain/neuroquant/internal/example"
	"github.com/neurotrain/neuroquant/internal/format"
	"github.com/neurotrain/neuroquant/tensor"
)

// The rounded weights of an ONNX model are written under their names, in place of the originals, and its batch normalizations stay
// what they are.
func TestStateDictOfAnONNXModel(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	for _, m := range example.Models() {
		path, out := filepath.Join(dir, m.Name+".onnx"), filepath.Join(dir, m.Name)
		if err := os.WriteFile(path, m.ONNX, 0o600); err != nil {
			t.Fatal(err)
		}
		orig, err := format.Open(ctx, path)
		if err != nil {
			t.Fatal(err)
		}
		defer orig.Close()
		for _, dtype := range []string{"qint8", "quint8", "float16"} {
			c := DynamicConfig()
			c.DType, c.Format = dtype, "pt"
			mg := NewManager(c)
			plan, err := mg.Plan(ctx, path)
			if err != nil {
				t.Fatal(err)
			}
			res, err := mg.Quantize(ctx, path)
			if err != nil {
				t.Fatal(err)
			}
			if err := mg.Save(ctx, res, out, true); err != nil {
				t.Fatal(err)
			}
			f, err := checkpoint.Open(filepath.Join(out, "model.pt"))
			if err != nil {
				t.Fatal(err)
			}
			v, err := f.Object()
			if err != nil {
				t.Fatal(err)
			}
			s, err := checkpoint.StateDict(v)
			if err != nil {
				t.Fatal(err)
			}
			changed := 0
			for _, e := range orig.StateDict() {
				now := s.Get(e.Name)
				if now == nil || now.DType() != e.DType() || !now.Shape().Equal(e.Shape()) {
					t.Fatalf("%s %s: %s is %v", m.Name, dtype, e.Name, now)
				}
				// Half a step of codes is at most half a 127th of the largest value; unsigned codes and 16 bits are finer.
				if d, most := difference(t, e, now); d > most/253 {
					t.Errorf("%s %s: %s is off by %v of %v", m.Name, dtype, e.Name, d, most)
				} else if d > 0 {
					changed++
				}
			}
			quantized := slices.DeleteFunc(slices.Clone(res.Decisions), func(d Decision) bool { return !d.Quantized })
			if len(s.Tensors) != len(orig.StateDict()) || changed == 0 || changed > len(quantized) || plan.QuantizedBytes < plan.OriginalBytes*9/10 {
				t.Errorf("%s %s: %d tensors, %d changed, %d quantized, plan %d -> %d bytes", m.Name, dtype, len(s.Tensors), changed, len(quantized), plan.OriginalBytes, plan.QuantizedBytes)
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
			if err := res.Close(); err != nil {
				t.Error(err)
			}
		}
		names, err := os.ReadDir(out)
		if err != nil || len(names) != 2 || names[0].Name() != "model.pt" {
			t.Errorf("the folder holds %v, %v", names, err)
		}
	}
}

// difference returns the largest difference of two sources and the largest value.
func difference(t *testing.T, a, b tensor.Source) (d, most float64) {
	t.Helper()
	var v [2][]float64
	for i, s := range []tensor.Source{a, b} {
		x, err := s.Load()
		if err == nil {
			v[i], err = x.Float64s()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, x := range v[0] {
		d, most = max(d, math.Abs(x-v[1][i])), max(most, math.Abs(x))
	}
	return d, most
}

// A model that is saved in another format takes the place of the one before.
func TestFormatsReplaceEachOther(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	path, out := filepath.Join(dir, "m.onnx"), filepath.Join(dir, "out")
	if err := os.WriteFile(path, example.Models()[0].ONNX, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"onnx", "pt", "onnx"} {
		c := DynamicConfig()
		c.Format = f
		mg := NewManager(c)
		res, err := mg.Quantize(ctx, path)
		if err != nil {
			t.Fatal(err)
		}
		if err := mg.Save(ctx, res, out, true); err != nil {
			t.Fatal(err)
		}
		if err := res.Close(); err != nil {
			t.Fatal(err)
		}
		found, err := filepath.Glob(filepath.Join(out, "model.*"))
		if err != nil || len(found) != 1 || filepath.Base(found[0]) != "model."+f {
			t.Errorf("%s: the folder holds %v, %v", f, found, err)
		}
		rec, err := readRecord(out)
		if err != nil || rec.Output.File != "model."+f || rec.Output.Format != f {
			t.Errorf("%s: record of %v, %v", f, rec, err)
		}
	}
	c := DynamicConfig()
	c.PTQint8 = true
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "want format pt, method dynamic and dtype qint8") {
		t.Errorf("error %v", err)
	}
	c = DynamicConfig()
	c.Format = "tflite"
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "want auto, onnx, pt, gptq") {
		t.Errorf("error %v", err)
	}
}
