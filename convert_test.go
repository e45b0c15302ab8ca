package neuroquant

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/arch/archtest"
	"github.com/neurotrain/neuroquant/internal/codec/safetensors"
	"github.com/neurotrain/neuroquant/internal/format"
	"github.com/neurotrain/neuroquant/internal/format/hf"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// checkpointOf writes a small model as a folder. Each change, if there are any, is told every tensor before.
func checkpointOf(t *testing.T, c *archtest.Case, changes ...func(name string, v *tensor.Tensor)) string {
	t.Helper()
	dir := t.TempDir()
	var list []safetensors.Entry
	for _, name := range c.Names() {
		s := c.Tensor(name)
		list = append(list, safetensors.Entry{Name: name, DType: s.DType(), Shape: s.Shape()})
	}
	w, err := hf.NewWriter(dir, list, c.Config, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range c.Names() {
		v, err := c.Tensor(name).Load()
		if err != nil {
			t.Fatal(err)
		}
		for _, change := range changes {
			change(name, v)
		}
		if err := w.Write(name, v); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// converted is the graph of the ONNX file that a folder is converted to. Its operators are ONNX's own, but for products with a matrix that is an
// embedding as well.
func converted(t *testing.T, c *archtest.Case) *graph.Graph {
	t.Helper()
	file := filepath.Join(t.TempDir(), "model.onnx")
	done, err := Convert(context.Background(), checkpointOf(t, c), file, ConvertOptions{})
	if err != nil {
		t.Fatalf("%s: %v", c.Name, err)
	}
	if done.Format != "onnx" || len(done.Tensors) == 0 {
		t.Errorf("%s: %+v", c.Name, done)
	}
	m, err := format.Open(context.Background(), file)
	if err != nil {
		t.Fatalf("%s: %v", c.Name, err)
	}
	t.Cleanup(func() { m.Close() })
	uses := m.Graph.Uses()
	for _, n := range m.Graph.Nodes {
		if strings.Contains(n.Op.Kind(), ".") && len(uses[n.In[1]]) < 2 {
			t.Errorf("%s: node %q is %s", c.Name, n.Name, n.Op.Kind())
		}
	}
	return m.Graph
}

// TestConvertToONNX converts folders to ONNX files, which compute what transformers computes of the folders.
func TestConvertToONNX(t *testing.T) {
	for _, c := range archtest.Encoders(t) {
		c.Check(t, converted(t, &c.Case))
	}
	for _, c := range archtest.Golden(t) {
		switch c.Type() {
		case "llama", "bloom", "mixtral", "gemma2", "falcon", "gpt2":
			c.Check(t, converted(t, c))
		}
	}
}

// TestEncodersAreQuantized quantizes folders of encoders to ONNX files and folders that stay close to what transformers computes.
func TestEncodersAreQuantized(t *testing.T) {
	for _, c := range archtest.Encoders(t) {
		if c.Type() != "bert" && c.Type() != "vit" {
			continue
		}
		folder := checkpointOf(t, &c.Case)
		for _, method := range []string{"dynamic", "rtn", "bitsandbytes"} {
			config := DefaultConfig()
			config.Method = method
			config.LoadIn8Bit = method == "bitsandbytes"
			p, err := NewManager(config).Plan(context.Background(), folder)
			if err != nil {
				t.Fatalf("%s, %s: %v", c.Name, method, err)
			}
			done, left := 0, []string{}
			for _, d := range p.Decisions {
				if d.Quantized && len(d.Shape) == 2 {
					done++
				} else if len(d.Shape) == 2 {
					left = append(left, d.Layer+": "+d.Why)
				}
			}
			if done < 18 { // six matrices in each of three blocks
				t.Errorf("%s, %s: %d matrices quantized, not %s", c.Name, method, done, strings.Join(left, ", "))
			}
		}
	}
}

// TestHeadsThatLoadersSkip finds the modules that stay in float in what transformers reads of a folder, and no other whose name ends alike.
func TestHeadsThatLoadersSkip(t *testing.T) {
	want := map[string][]string{
		"bert, BertForMaskedLM, gelu_new, one type":           {"cls.predictions.decoder"},
		"distilbert, DistilBertForSequenceClassification":     {"classifier", "pre_classifier"},
		"electra, ElectraForPreTraining":                      {"discriminator_predictions.dense_prediction"},
		"mpnet, MPNetForMaskedLM":                             {"lm_head.decoder"},
		"roberta, RobertaForSequenceClassification":           {"classifier.out_proj"},
		"vit, ViTForImageClassification, no biases, gelu_new": {"classifier"},
	}
	for _, c := range archtest.Encoders(t) {
		if want[c.Name] == nil {
			continue
		}
		config := BitsAndBytes8BitConfig()
		m := NewManager(config)
		r, err := m.Quantize(context.Background(), checkpointOf(t, &c.Case))
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		out := filepath.Join(t.TempDir(), "out")
		if err := m.Save(context.Background(), r, out, false); err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		r.Close()
		text, err := os.ReadFile(filepath.Join(out, hf.ConfigFile))
		if err != nil {
			t.Fatal(err)
		}
		var saved struct {
			Quantization struct {
				Skip []string `json:"llm_int8_skip_modules"`
			} `json:"quantization_config"`
		}
		if err := json.Unmarshal(text, &saved); err != nil {
			t.Fatal(err)
		}
		var heads []string
		for _, name := range saved.Quantization.Skip {
			if !strings.Contains(name, "embeddings") && !strings.HasSuffix(name, "relative_attention_bias") {
				heads = append(heads, name)
			}
		}
		slices.Sort(heads)
		if !slices.Equal(heads, want[c.Name]) {
			t.Errorf("%s: want %v to be skipped, got %v", c.Name, want[c.Name], heads)
		}
	}
}

// TestDamagedWeights finds what is not a number in weights, whatever is done with them, and names the file, the tensor and the element.
func TestDamagedWeights(t *testing.T) {
	ctx := context.Background()
	var small *archtest.Case
	for _, c := range archtest.Golden(t) {
		if c.Type() == "llama" {
			small = c
		}
	}
	run := func(folder, _ string) error {
		m, err := Open(ctx, folder)
		if err != nil {
			return err
		}
		defer m.Close()
		_, err = m.Run(ctx, map[string]*tensor.Tensor{"input_ids": tensor.Of(tensor.Shape{1, 2}, []int64{3, 4})})
		return err
	}
	convert := func(to string) func(folder, out string) error {
		return func(folder, out string) error {
			_, err := Convert(ctx, folder, out, ConvertOptions{To: to})
			return err
		}
	}
	quantize := func(c Config) func(folder, out string) error {
		return func(folder, out string) error {
			m := NewManager(c)
			r, err := m.Quantize(ctx, folder)
			if err != nil {
				return err
			}
			defer r.Close()
			return m.Save(ctx, r, out, false)
		}
	}
	rtn := RTN4BitConfig()
	rtn.GroupSize = 16
	onnx := rtn
	onnx.Format = "onnx"
	todo := map[string]func(folder, out string) error{
		"run": run, "folder": convert("hf"), "onnx": convert("onnx"),
		"dynamic": quantize(DynamicConfig()), "rtn": quantize(rtn), "rtn as onnx": quantize(onnx), "nf4": quantize(BitsAndBytes4BitConfig()), "int8": quantize(BitsAndBytes8BitConfig()),
	}
	for _, name := range []string{"model.embed_tokens.weight", "model.layers.1.mlp.down_proj.weight", "model.norm.weight"} {
		for _, value := range []float32{float32(math.NaN()), float32(math.Inf(-1))} {
			folder := checkpointOf(t, small, func(n string, v *tensor.Tensor) {
				if n == name {
					tensor.Data[float32](v)[5] = value
				}
			})
			for what, do := range todo {
				if value == value && (what == "folder" || what == "onnx" || name != "model.layers.1.mlp.down_proj.weight") {
					continue // stored as it is, or not met by these two tokens
				}
				err := do(folder, filepath.Join(t.TempDir(), "out"))
				if err == nil || !strings.Contains(err.Error(), folder) || !strings.Contains(err.Error(), `"`+name+`"`) {
					t.Errorf("%v in %s: %s: %v", value, name, what, err)
				}
			}
		}
	}
}
