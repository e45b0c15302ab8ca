package neuroquant_test

import (
	"context"
	"encoding/json"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/internal/codec/safetensors"
	"github.com/neurotrain/neuroquant/internal/format/hf"
	"github.com/neurotrain/neuroquant/internal/material"
	"github.com/neurotrain/neuroquant/tensor"
)

// tensorsOf reads the tensors of a checkpoint.
func tensorsOf(t *testing.T, dir string) map[string]*tensor.Tensor {
	t.Helper()
	s, err := safetensors.Open(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	out := map[string]*tensor.Tensor{}
	for _, x := range s.Tensors() {
		v, err := x.Load()
		if err != nil {
			t.Fatal(err)
		}
		out[x.Name] = v.Clone() // which may be changed
	}
	return out
}

func floatsOf(t *testing.T, x *tensor.Tensor) []float32 {
	t.Helper()
	f, err := x.Floats()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// w8a8Folder quantizes a checkpoint.
func w8a8Folder(t *testing.T, dir string, calibration string, change func(c *neuroquant.Config)) string {
	t.Helper()
	c := neuroquant.DefaultConfig()
	c.Method, c.NumCalibrationSamples = "w8a8", 16
	change(&c)
	m := neuroquant.NewManager(c)
	if calibration != "" {
		set, err := open(t, dir).Texts([]string{calibration}, 256)
		if err != nil {
			t.Fatal(err)
		}
		m.Calibrate(set)
	}
	out := filepath.Join(t.TempDir(), "out")
	if err := m.Save(context.Background(), quantize(t, m, dir), out, false); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestW8A8Folder writes 8-bit weights as compressed-tensors' int-quantized checkpoints have them: codes, scales and configuration are those that
// its specification gives, and the folder reads back as the same numbers.
func TestW8A8Folder(t *testing.T) {
	dir := checkpointOf(t, plannedModel)
	out := w8a8Folder(t, dir, "", func(*neuroquant.Config) {})
	config, err := hf.ReadJSON(filepath.Join(out, hf.ConfigFile))
	if err != nil {
		t.Fatal(err)
	}
	q := config["quantization_config"].(map[string]any)
	group := q["config_groups"].(map[string]any)["group_0"].(map[string]any)
	for what, c := range map[string][2]any{
		"quant_method":            {q["quant_method"], "compressed-tensors"},
		"format":                  {q["format"], "int-quantized"},
		"quantization_status":     {q["quantization_status"], "compressed"},
		"targets":                 {group["targets"], []any{"Linear"}},
		"output_activations":      {group["output_activations"], nil},
		"weights.strategy":        {group["weights"].(map[string]any)["strategy"], "channel"},
		"weights.num_bits":        {group["weights"].(map[string]any)["num_bits"], json.Number("8")},
		"weights.symmetric":       {group["weights"].(map[string]any)["symmetric"], true},
		"weights.dynamic":         {group["weights"].(map[string]any)["dynamic"], false},
		"activations.strategy":    {group["input_activations"].(map[string]any)["strategy"], "token"},
		"activations.num_bits":    {group["input_activations"].(map[string]any)["num_bits"], json.Number("8")},
		"activations.symmetric":   {group["input_activations"].(map[string]any)["symmetric"], true},
		"activations.dynamic":     {group["input_activations"].(map[string]any)["dynamic"], true},
		"tie_word_embeddings":     {config["tie_word_embeddings"], true},
		"weights.type":            {group["weights"].(map[string]any)["type"], "int"},
		"activations.observer":    {group["input_activations"].(map[string]any)["observer"], nil},
		"weights.block_structure": {group["weights"].(map[string]any)["block_structure"], nil},
	} {
		if !reflect.DeepEqual(c[0], c[1]) {
			t.Errorf("%s is %v, want %v", what, c[0], c[1])
		}
	}
	before, after := tensorsOf(t, dir), tensorsOf(t, out)
	read := map[string]tensor.Source{}
	m, err := hf.Open(context.Background(), out)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, e := range m.StateDict() {
		read[e.Name] = e.Source
	}
	coded := 0
	for name, w := range before {
		got := after[name]
		if got == nil {
			t.Fatalf("%s is not there", name)
		}
		scales := after[strings.TrimSuffix(name, ".weight")+".weight_scale"]
		if !strings.HasSuffix(name, "_proj.weight") {
			if scales != nil || got.DType != w.DType || !slices.Equal(got.Bytes(), w.Bytes()) {
				t.Errorf("%s is no layer and not as it was", name)
			}
			continue
		}
		coded++
		rows, cols := w.Shape[0], w.Shape[1]
		if got.DType != tensor.Int8 || !got.Shape.Equal(w.Shape) || scales == nil || scales.DType != w.DType || !scales.Shape.Equal(tensor.Shape{rows, 1}) {
			t.Fatalf("%s: codes %v, scales %v", name, got, scales)
		}
		x, s, decoded := floatsOf(t, w), floatsOf(t, scales), make([]float32, cols)
		back, err := read[name].Load()
		if err != nil {
			t.Fatal(err)
		}
		for r := range rows {
			row, largest := x[r*cols:(r+1)*cols], float32(0)
			for _, v := range row {
				largest = max(largest, v, -v)
			}
			exact := float64(largest) / 127
			if math.Abs(float64(s[r])-exact) > exact*0x1p-11 { // of float16
				t.Fatalf("%s: the scale of row %d is %v, want %v", name, r, s[r], exact)
			}
			back.Packed.Row(decoded, r)
			for i, v := range row {
				code := int8(got.Bytes()[r*cols+i])
				if want := max(-127, min(127, math.RoundToEven(float64(v/s[r])))); float64(code) != want {
					t.Fatalf("%s: the code of %v by %v is %d, want %v", name, v, s[r], code, want)
				}
				if decoded[i] != s[r]*float32(code) {
					t.Fatalf("%s reads back as %v, want %v", name, decoded[i], s[r]*float32(code))
				}
			}
		}
	}
	if coded != 14 || len(after) != len(before)+coded {
		t.Errorf("%d matrices in codes, %d tensors of what were %d", coded, len(after), len(before))
	}
}

// withOutliers writes a copy of a checkpoint that computes the same, with some channels of every normalization 256 times as large and the columns
// of the weights that read them as much smaller.
func withOutliers(t *testing.T, dir string) string {
	t.Helper()
	all := tensorsOf(t, dir)
	r := rand.New(rand.NewPCG(7, 7))
	for _, norm := range slices.Sorted(maps.Keys(all)) {
		v := all[norm]
		layer, before := strings.CutSuffix(norm, ".input_layernorm.weight")
		readers := []string{".self_attn.q_proj", ".self_attn.k_proj", ".self_attn.v_proj"}
		if !before {
			if layer, before = strings.CutSuffix(norm, ".post_attention_layernorm.weight"); !before {
				continue
			}
			readers = []string{".mlp.gate_proj", ".mlp.up_proj"}
		}
		for _, c := range r.Perm(v.Len())[:3] {
			tensor.Data[float32](v)[c] *= 256
			for _, reader := range readers {
				w := all[layer+reader+".weight"]
				f := tensor.Data[float32](w)
				for row := range w.Shape[0] {
					f[row*w.Shape[1]+c] /= 256
				}
			}
		}
	}
	out := filepath.Join(t.TempDir(), "outliers")
	if err := os.Mkdir(out, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"config.json", "tokenizer.json", "tokenizer_config.json"} {
		if err := os.WriteFile(filepath.Join(out, name), read(t, filepath.Join(dir, name)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var entries []safetensors.Entry
	for _, name := range slices.Sorted(maps.Keys(all)) {
		v := all[name]
		entries = append(entries, safetensors.Entry{Name: name, DType: v.DType, Shape: v.Shape})
	}
	w, err := safetensors.Create(out, entries, safetensors.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := w.Write(e.Name, all[e.Name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestW8A8OfOutliers runs what was written: 8 bits for weights and activations keep the predictions of a trained model, lose them where a few
// channels of its activations are much larger than the others, and SmoothQuant gets them back.
func TestW8A8OfOutliers(t *testing.T) {
	dir := material.Path(t, "data/stories260k")
	var texts []string
	if err := json.Unmarshal(read(t, filepath.Join(dir, "eval/tinystories-eval.json")), &texts); err != nil {
		t.Fatal(err)
	}
	perplexity := func(dir string) float64 {
		p, _, err := neuroquant.EvaluateText(context.Background(), open(t, dir), nil, texts, neuroquant.TextOptions{Limit: 20})
		if err != nil {
			t.Fatal(err)
		}
		return p.Perplexity
	}
	outliers, calibration := withOutliers(t, dir), filepath.Join(dir, "eval/tinystories-calib.json")
	float := perplexity(dir)
	if same := perplexity(outliers); math.Abs(same/float-1) > 1e-5 {
		t.Fatalf("the copy with outliers has a perplexity of %v, the original %v", same, float)
	}
	if even := perplexity(w8a8Folder(t, dir, "", func(*neuroquant.Config) {})); even/float-1 > 5e-3 {
		t.Errorf("8 bits: %v, float: %v", even, float)
	}
	plain := perplexity(w8a8Folder(t, outliers, "", func(*neuroquant.Config) {}))
	if plain < 1.1*float {
		t.Errorf("outliers cost nothing: %v, float: %v", plain, float)
	}
	smooth := perplexity(w8a8Folder(t, outliers, calibration, func(c *neuroquant.Config) { c.SmoothQuant = true }))
	if smooth/float-1 > 5e-3 {
		t.Errorf("SmoothQuant: %v, without: %v, float: %v", smooth, plain, float)
	}
	t.Logf("float %.4f, with outliers %.4f, smoothed %.4f", float, plain, smooth)
}
