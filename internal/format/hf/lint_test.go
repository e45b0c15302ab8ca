package hf

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/codec/safetensors"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/tensor"
)

// quantizedFolder writes a folder of two layers in a layout, after change.
func quantizedFolder(t *testing.T, layout string, change func(config map[string]any, w map[string]*tensor.Tensor)) string {
	t.Helper()
	r := rand.New(rand.NewPCG(9, 9))
	m := &model.Model{Config: map[string]any{"model_type": "llama"}}
	for _, name := range []string{"q_proj", "k_proj"} {
		m.State = append(m.State, model.Entry{Name: "model.layers.0.self_attn." + name + ".weight", Source: codes(r, 4, 64, 64, 32, true, false).Source()})
	}
	l, err := findLayout(layout)
	if err != nil {
		t.Fatal(err)
	}
	state, config, err := l.laidOut(m, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := map[string]*tensor.Tensor{}
	for _, e := range state {
		if w[e.Name], err = e.Load(); err != nil {
			t.Fatal(err)
		}
	}
	// As they are read from a file.
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	config = map[string]any{}
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	change(config["quantization_config"].(map[string]any), w)
	dir := t.TempDir()
	var entries []safetensors.Entry
	for name, x := range w {
		entries = append(entries, safetensors.Entry{Name: name, DType: x.DType, Shape: x.Shape})
	}
	f, err := safetensors.Create(dir, entries, safetensors.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range w {
		if err := f.Write(name, x); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if text, err = json.Marshal(config); err != nil {
		t.Fatal(err)
	}
	put(t, dir, ConfigFile, string(text))
	return dir
}

func TestLint(t *testing.T) {
	const q, k = "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj"
	none := func(map[string]any, map[string]*tensor.Tensor) {}
	half := func(v float64) *tensor.Tensor {
		x, err := tensor.FromFloat64s(tensor.Float16, tensor.Shape{64, 64}, make([]float64, 4096))
		if err != nil || v != 0 {
			t.Fatal(err)
		}
		return x
	}
	for _, c := range []struct {
		layout string
		change func(config map[string]any, w map[string]*tensor.Tensor)
		want   string // of an error; empty: there is none
	}{
		{"gptq", none, ""},
		{"gptq_v2", none, ""},
		{"awq", none, ""},
		{"compressed-tensors", none, ""},
		{"gptq", func(c map[string]any, _ map[string]*tensor.Tensor) { c["checkpoint_format"] = "gptq_v2" }, "those of gptq"},
		{"gptq_v2", func(c map[string]any, _ map[string]*tensor.Tensor) { c["checkpoint_format"] = "gptq" }, "those of gptq_v2"},
		{"gptq", func(_ map[string]any, w map[string]*tensor.Tensor) {
			tensor.Data[int32](w[q+".qzeros"])[0] = 0x77777776
		}, "found 2 others"},
		{"gptq", func(_ map[string]any, w map[string]*tensor.Tensor) { tensor.Data[int32](w[q+".g_idx"])[5] = 2 }, "column 5 is of group 2"},
		{"gptq", func(_ map[string]any, w map[string]*tensor.Tensor) {
			tensor.Data[tensor.Half](w[q+".scales"])[0] = tensor.ToHalf(float32(math.Inf(1)))
		}, "1 of 128 scales are not finite"},
		{"gptq", func(_ map[string]any, w map[string]*tensor.Tensor) { delete(w, q+".qzeros") }, "qzeros is missing"},
		{"gptq", func(c map[string]any, _ map[string]*tensor.Tensor) { delete(c, "sym") }, "quantization_config.sym: is missing"},
		{"gptq", func(c map[string]any, _ map[string]*tensor.Tensor) { c["damp_percent"] = 1.5 }, "damp_percent: is 1.5"},
		{"gptq", func(c map[string]any, w map[string]*tensor.Tensor) { w["model.layers.0.mlp.up_proj.weight"] = half(0) }, "modules_in_block_to_quantize: is missing"},
		{"awq", func(c map[string]any, w map[string]*tensor.Tensor) {
			for _, end := range []string{"qweight", "qzeros", "scales"} {
				delete(w, k+"."+end)
			}
			w[k+".weight"] = half(0)
		}, `modules_to_not_convert: does not name "model.layers.0.self_attn.k_proj"`},
		{"compressed-tensors", func(c map[string]any, _ map[string]*tensor.Tensor) {
			c["config_groups"].(map[string]any)["group_0"].(map[string]any)["weights"].(map[string]any)["actorder"] = "group"
		}, "actorder: is \"group\""},
		{"awq", func(c map[string]any, _ map[string]*tensor.Tensor) { c["quant_method"] = "hqq" }, "no layout that is known"},
	} {
		dir := quantizedFolder(t, c.layout, c.change)
		list, err := Lint(context.Background(), dir)
		if err != nil {
			t.Fatal(err)
		}
		var bad []string
		for _, f := range list {
			if f.Error {
				bad = append(bad, fmt.Sprintf("%s: %s", f.Where, f.What))
			}
		}
		switch all := strings.Join(bad, "\n"); {
		case c.want == "" && all != "":
			t.Errorf("%s: %s", c.layout, all)
		case !strings.Contains(all, c.want):
			t.Errorf("%s: %q, want %q", c.layout, all, c.want)
		}
	}
	// A shard that is not there, and a copy of the configuration that says something else.
	dir := quantizedFolder(t, "gptq", none)
	put(t, dir, "quantize_config.json", `{"bits": 8}`)
	if list, err := Lint(context.Background(), dir); err != nil || len(list) != 1 || !strings.Contains(list[0].What, "is 8") {
		t.Errorf("%v, %v", list, err)
	}
	if err := os.Rename(filepath.Join(dir, "model.safetensors"), filepath.Join(dir, "gone")); err != nil {
		t.Fatal(err)
	}
	put(t, dir, "model.safetensors.index.json", `{"weight_map": {"a": "model-00001-of-00001.safetensors"}}`)
	if list, err := Lint(context.Background(), dir); err != nil || len(list) != 1 || list[0].Where != "files" {
		t.Errorf("%v, %v", list, err)
	}
}
