package hf

import (
	"context"
	"encoding/json"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/arch"
	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/material"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/tensor"
)

// waves is a matrix of values that differ.
func waves(rows, cols int, phase float64) *tensor.Tensor {
	v := make([]float32, rows*cols)
	for i := range v {
		v[i] = float32(0.1 * math.Sin(float64(i)*1.7+phase))
	}
	return tensor.Of(tensor.Shape{rows, cols}, v)
}

func stories(t *testing.T) *model.Model {
	t.Helper()
	m, err := Open(context.Background(), material.Path(t, "data/stories260k"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// adapterOf is an adapter of rank 3 of the layers of a model with a given end.
func adapterOf(t *testing.T, m *model.Model, end string) *Adapter {
	t.Helper()
	a := &Adapter{Base: "stories", Rank: 3, Alpha: 6}
	var layers []AdapterLayer
	for i, l := range arch.LinearLayers(m.Graph) {
		if strings.HasSuffix(l.Module, end) && !l.Head {
			layers = append(layers, AdapterLayer{l.Module, waves(3, l.In, float64(i)), waves(l.Out, 3, float64(-i)), 2})
		}
	}
	if err := a.Place(m, layers); err != nil {
		t.Fatal(err)
	}
	return a
}

func logitsOf(t *testing.T, m *model.Model) []float32 {
	t.Helper()
	g, err := pass.Lower(m.Graph)
	if err != nil {
		t.Fatal(err)
	}
	s, err := exec.NewSession(g, exec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	return slices.Clone(tensor.Data[float32](run(t, s, []int64{1, 40, 7, 300, 21})))
}

func furthest(a, b []float32) float64 {
	d := 0.0
	for i := range a {
		d = max(d, math.Abs(float64(a[i]-b[i])))
	}
	return d
}

// An adapter is read as it was written, and computes beside the weights what it computes within them: W + scale*B*A, by plain loops.
func TestAdapterRoundTrip(t *testing.T) {
	m := stories(t)
	a := adapterOf(t, m, "_proj")
	if want := []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}; !slices.Equal(a.Targets, want) {
		t.Errorf("targets %v, want %v", a.Targets, want)
	}
	dir := t.TempDir()
	if err := a.Save(dir); err != nil {
		t.Fatal(err)
	}
	b, err := OpenAdapter(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Layers) != len(a.Layers) || b.Base != "stories" || b.Rank != 3 || b.Alpha != 6 {
		t.Fatalf("read %+v", b)
	}
	for _, l := range a.Layers {
		i := slices.IndexFunc(b.Layers, func(x AdapterLayer) bool { return x.Module == l.Module })
		if i < 0 || !slices.Equal(tensor.Data[float32](b.Layers[i].A), tensor.Data[float32](l.A)) || b.Layers[i].Scale != 2 {
			t.Errorf("%s is not read as it was written", l.Module)
		}
	}
	plain := logitsOf(t, m)
	beside, err := b.Apply(m)
	if err != nil {
		t.Fatal(err)
	}
	within, err := b.Merge(m)
	if err != nil {
		t.Fatal(err)
	}
	x, y := logitsOf(t, beside), logitsOf(t, within)
	if moved := furthest(x, plain); moved < 0.1 || furthest(x, y) > 1e-4*moved+1e-4 {
		t.Errorf("logits move by %v; beside and within differ by %v", moved, furthest(x, y))
	}
	if !slices.Equal(logitsOf(t, m), plain) {
		t.Error("the model itself has changed")
	}
	l := a.Layers[0]
	for i, e := range m.State {
		if e.Name != l.Module+".weight" {
			continue
		}
		old, err := e.Load()
		if err != nil {
			t.Fatal(err)
		}
		now, err := within.State[i].Load()
		if err != nil {
			t.Fatal(err)
		}
		of, _ := old.Floats()
		nf, _ := now.Floats()
		in := l.A.Shape[1]
		for k := range of {
			sum := float64(of[k])
			for r := range 3 {
				sum += 2 * float64(tensor.Data[float32](l.B)[k/in*3+r]) * float64(tensor.Data[float32](l.A)[r*in+k%in])
			}
			if math.Abs(sum-float64(nf[k])) > 1e-5 && now.DType == tensor.Float32 {
				t.Fatalf("merged weight %d is %v, want %v", k, nf[k], sum)
			}
		}
	}
}

// Layers that share the last part of their paths with others are named by whole paths.
func TestAdapterTargetsOfSomeLayers(t *testing.T) {
	m := stories(t)
	a := adapterOf(t, m, "layers.1.mlp.up_proj")
	if want := []string{"model.layers.1.mlp.up_proj"}; !slices.Equal(a.Targets, want) {
		t.Errorf("targets %v, want %v", a.Targets, want)
	}
}

func TestAdaptersThatAreRefused(t *testing.T) {
	m := stories(t)
	good := t.TempDir()
	if err := adapterOf(t, m, "q_proj").Save(good); err != nil {
		t.Fatal(err)
	}
	config, err := ReadJSON(filepath.Join(good, AdapterConfigFile))
	if err != nil {
		t.Fatal(err)
	}
	weights, err := os.ReadFile(filepath.Join(good, "adapter_model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		more map[string]any
		want string
	}{
		{map[string]any{"eva_config": nil, "new_field": 1}, ""},
		{map[string]any{"peft_type": "IA3"}, `peft_type: want LORA, found "IA3"`},
		{map[string]any{"use_dora": true, "bias": "all", "modules_to_save": []string{"lm_head"}}, "use_dora = true is not supported"},
		{map[string]any{"bias": "lora_only"}, "bias: want none, found lora_only"},
		{map[string]any{"init_lora_weights": "pissa_niter_16"}, "changes the weights of the base"},
		{map[string]any{"r": 0}, "want a rank of at least 1"},
		{map[string]any{"r": "many"}, "cannot unmarshal string"},
		{map[string]any{"alpha_pattern": map[string]any{"(": 3}}, "alpha_pattern: error parsing regexp"},
	} {
		dir := t.TempDir()
		fields := maps.Clone(config)
		maps.Copy(fields, c.more)
		text, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		for name, b := range map[string][]byte{AdapterConfigFile: text, "adapter_model.safetensors": weights} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := OpenAdapter(dir); c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%v: %v; want %s", c.more, err, c.want)
		}
	}
	if _, err := OpenAdapter(t.TempDir()); err == nil || !strings.Contains(err.Error(), "it is no adapter") {
		t.Errorf("an empty folder: %v", err)
	}
	a := adapterOf(t, m, "q_proj")
	a.Layers[0].Module = "model.layers.99.self_attn.q_proj"
	if _, err := a.Apply(m); err == nil || !strings.Contains(err.Error(), `no linear layers "model.layers.99.self_attn.q_proj"`) {
		t.Errorf("a layer that the model lacks: %v", err)
	}
	a = adapterOf(t, m, "q_proj")
	a.Layers[0].A = waves(3, 5, 1)
	if _, err := a.Merge(m); err == nil || !strings.Contains(err.Error(), "it is of another model") {
		t.Errorf("a layer of another size: %v", err)
	}
}
