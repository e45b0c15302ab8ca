package neuroquant_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/neurotrain/neuroquant"
)

// The defaults are those that files written for the original tool rely on.
func TestDefaults(t *testing.T) {
	b, err := json.Marshal(neuroquant.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"enabled": true, "method": "dynamic", "dtype": "qint8", "device": "auto", "trust_remote_code": false,
		"bits": 4.0, "group_size": 128.0, "desc_act": false, "load_in_4bit": false, "load_in_8bit": false,
		"bnb_4bit_compute_dtype": "float16", "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": false,
		"num_calibration_samples": 100.0, "per_channel": true, "save_quantized_model": true, "calibrator": "mse", "percentile": 99.999,
	}
	for key, v := range want {
		if got[key] != v {
			t.Errorf("%s is %v, want %v", key, got[key], v)
		}
	}
}

func TestPresets(t *testing.T) {
	def := neuroquant.DefaultConfig()
	for name, test := range map[string]struct {
		got  neuroquant.Config
		want func(c *neuroquant.Config)
	}{
		"dynamic": {neuroquant.DynamicConfig(), func(c *neuroquant.Config) {}},
		"static":  {neuroquant.StaticConfig(), func(c *neuroquant.Config) { c.Method = "static" }},
		"qat":     {neuroquant.QATConfig(), func(c *neuroquant.Config) { c.Method = "qat" }},
		"gptq":    {neuroquant.GPTQ4BitConfig(), func(c *neuroquant.Config) { c.Method, c.Bits, c.GroupSize = "gptq", 4, 128 }},
		"awq":     {neuroquant.AWQ4BitConfig(), func(c *neuroquant.Config) { c.Method, c.Bits, c.GroupSize = "awq", 4, 128 }},
		"bitsandbytes, 4 bits": {neuroquant.BitsAndBytes4BitConfig(), func(c *neuroquant.Config) {
			c.Method, c.LoadIn4Bit, c.BnB4BitUseDoubleQuant, c.BnB4BitQuantType = "bitsandbytes", true, true, "nf4"
		}},
		"bitsandbytes, 8 bits": {neuroquant.BitsAndBytes8BitConfig(), func(c *neuroquant.Config) { c.Method, c.LoadIn8Bit = "bitsandbytes", true }},
	} {
		want := def
		test.want(&want)
		if !reflect.DeepEqual(test.got, want) {
			t.Errorf("%s: got %+v, want %+v", name, test.got, want)
		}
		// A preset never mixes in a setting that its method does not have.
		var f *neuroquant.FieldError
		if err := test.got.Validate(); err != nil && (!errors.As(err, &f) || f.Key != "method" || strings.Contains(err.Error(), "no such setting")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		name string
		set  func(c *neuroquant.Config)
		want []string // lines of the error
	}{
		{"defaults", func(c *neuroquant.Config) {}, nil},
		{"every dtype", func(c *neuroquant.Config) { c.DType = "bfloat16" }, nil},
		{"cpu", func(c *neuroquant.Config) { c.Device = "cpu" }, nil},
		{"trust", func(c *neuroquant.Config) { c.TrustRemoteCode = true }, nil},
		{"unknown method", func(c *neuroquant.Config) { c.Method = "int8" }, []string{`method: unknown method "int8"; the methods are dynamic, static, qat, gptq, awq, rtn, w8a8, bitsandbytes`}},
		{"unknown dtype", func(c *neuroquant.Config) { c.DType = "q_int8" }, []string{`dtype: unknown dtype "q_int8" (did you mean "qint8"?); method dynamic stores qint8, quint8, float16, bfloat16`}},
		{"device", func(c *neuroquant.Config) { c.Device = "cuda" }, []string{`device: want auto or cpu, got "cuda": this program computes on the CPU`}},
		{"settings of other methods", func(c *neuroquant.Config) { c.Bits, c.LoadIn4Bit, c.NumCalibrationSamples = 8, true, 10 }, []string{
			"bits: method dynamic has no such setting; it belongs to gptq, awq, rtn",
			"load_in_4bit: method dynamic has no such setting; it belongs to bitsandbytes",
			"num_calibration_samples: method dynamic has no such setting; it belongs to static, qat, gptq, awq, w8a8",
		}},
		{"a search", func(c *neuroquant.Config) {
			c.Method, c.Search, c.SearchTarget, c.SearchTime, c.SearchCalibrators = "static", true, "drop=0.01,sqnr=20", time.Minute, []string{"minmax", "mse"}
		}, nil},
		{"a search that makes no sense", func(c *neuroquant.Config) {
			c.Method, c.Search, c.SearchTarget, c.SearchTime, c.SearchCalibrators = "static", true, "drop=1%", 10, []string{"minmax", "minmax", "best"}
			c.SearchEvaluations, c.SearchSamples = -1, -1
		}, []string{
			"search_samples: want 0 (all) or more", `search_target: drop: want a number, got "1%"`, "search_evaluations: want 0 (no bound) or more", "search_time: want a time with its unit, such as 10m, got 10ns",
			"search_calibrators: minmax: given twice", `search_calibrators: want one of mse, minmax`,
		}},
		{"settings of a search without one", func(c *neuroquant.Config) { c.Method, c.SearchTarget, c.SearchEvaluations = "static", "sqnr=30", 5 }, []string{
			"search_target: only with search", "search_evaluations: only with search",
		}},
		{"a search of another method", func(c *neuroquant.Config) { c.Search, c.SearchSamples = true, 5 }, []string{
			"search: method dynamic has no such setting; it belongs to static", "search_samples: method dynamic has no such setting; it belongs to static",
		}},
		{"scales where there are none", func(c *neuroquant.Config) { c.DType, c.PerChannel = "float16", false }, []string{"per_channel: dtype float16 has no scales"}},
		{"the zero value", func(c *neuroquant.Config) { *c = neuroquant.Config{} }, []string{`method: unknown method ""`}},
	} {
		c := neuroquant.DefaultConfig()
		test.set(&c)
		err := c.Validate()
		if test.want == nil {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("%s: accepted", test.name)
			continue
		}
		lines := strings.Split(err.Error(), "\n")
		for i, want := range test.want {
			if i >= len(lines) || !strings.HasPrefix(lines[i], want) {
				t.Errorf("%s: got %q, want %q", test.name, lines, test.want)
				break
			}
		}
		if len(lines) != len(test.want) && test.name != "the zero value" {
			t.Errorf("%s: got %q, want %q", test.name, lines, test.want)
		}
		// Wrong settings stop the work before a model is opened.
		if _, err := neuroquant.NewManager(c).Quantize(context.Background(), "missing.onnx"); c.Enabled && (err == nil || strings.Contains(err.Error(), "missing.onnx")) {
			t.Errorf("%s: Quantize: %v", test.name, err)
		}
	}
}

func TestMethods(t *testing.T) {
	var names []string
	for _, m := range neuroquant.Methods() {
		names = append(names, m.Name)
		if !m.Available && len(m.DTypes) > 0 || m.Title == "" {
			t.Errorf("%+v", m)
		}
		// What the schema offers editors is what there is.
		schema, err := neuroquant.ConfigSchema()
		if err != nil {
			t.Fatal(err)
		}
		var doc struct {
			Properties struct {
				Quantization struct {
					Properties map[string]struct{ Enum []string }
				}
			}
		}
		if err := json.Unmarshal(schema, &doc); err != nil {
			t.Fatal(err)
		}
		has := func(key, value string) bool {
			for _, v := range doc.Properties.Quantization.Properties[key].Enum {
				if v == value {
					return true
				}
			}
			return false
		}
		if !has("method", m.Name) {
			t.Errorf("the schema lacks method %s", m.Name)
		}
		for _, d := range m.DTypes {
			if !has("dtype", d) {
				t.Errorf("the schema lacks dtype %s", d)
			}
		}
	}
	if got := strings.Join(names, " "); got != "dynamic static qat gptq awq rtn w8a8 bitsandbytes" {
		t.Errorf("methods %s", got)
	}
}

func yaml(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadConfig(t *testing.T) {
	c, err := neuroquant.LoadConfig(yaml(t, "# empty\n"))
	if err != nil || !reflect.DeepEqual(c, neuroquant.DefaultConfig()) {
		t.Errorf("an empty file: %+v, %v", c, err)
	}
	c, err = neuroquant.LoadConfig(yaml(t, "quantization:\n  dtype: float16\n  keep: [head, 'block*']\n  quantized_model_path: out\n"))
	want := neuroquant.DefaultConfig()
	want.DType, want.Keep, want.QuantizedModelPath = "float16", []string{"head", "block*"}, "out"
	if err != nil || !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v, %v", c, err)
	}
	for _, test := range []struct{ name, text, want string }{
		{"unknown block", "quantisation:\n  dtype: qint8\n", `c.yaml:1:1: unknown key "quantisation" (did you mean "quantization"?)`},
		{"wrong type", "quantization:\n  bits: four\n", "c.yaml:2:9: quantization.bits: want a whole number"},
		{"truth values", "quantization:\n  enabled: maybe\n", "c.yaml:2:12: quantization.enabled: want true or false"},
		{"twice", "quantization:\n  bits: 4\n  bits: 8\n", `c.yaml:3:3: quantization: key "bits" is already set on line 2`},
		{"settings of other methods", "quantization:\n  method: dynamic\n  group_size: 64\n  load_in_8bit: true\n", "c.yaml:3:15: quantization.group_size: method dynamic has no such setting"},
		{"the second of them", "quantization:\n  method: dynamic\n  group_size: 64\n  load_in_8bit: true\n", "c.yaml:4:17: quantization.load_in_8bit: method dynamic has no such setting"},
		{"not YAML", "quantization: [\n", "c.yaml:2:1: "},
		{"tab", "quantization:\n\tbits: 4\n", "c.yaml:2:"},
	} {
		if _, err := neuroquant.LoadConfig(yaml(t, test.text)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", test.name, err, test.want)
		}
	}
	if _, err := neuroquant.LoadConfig(filepath.Join(t.TempDir(), "missing.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

// What is written as an example is accepted, and says nothing but the preset.
func TestExampleConfig(t *testing.T) {
	for _, m := range neuroquant.Methods() {
		text, err := neuroquant.ExampleConfig(m.Name)
		if !m.Available {
			if err == nil {
				t.Errorf("%s: an example of what is not there", m.Name)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		c, err := neuroquant.LoadConfig(yaml(t, string(text)))
		if err != nil || c.Method != m.Name {
			t.Errorf("%s: %v\n%s", m.Name, err, text)
		}
		if m.Name == "dynamic" && strings.Contains(string(text), "group_size") {
			t.Errorf("settings of other methods:\n%s", text)
		}
	}
	if _, err := neuroquant.ExampleConfig("dinamic"); err == nil || !strings.Contains(err.Error(), `did you mean "dynamic"?`) {
		t.Errorf("unknown method: %v", err)
	}
}

// Settings of the calibrating method are checked, and refused elsewhere.
func TestCalibrationSettings(t *testing.T) {
	for want, change := range map[string]func(c *neuroquant.Config){
		"calibrator: want one of mse, minmax": func(c *neuroquant.Config) { c.Calibrator = "kl" },
		"percentile: want more than 50":       func(c *neuroquant.Config) { c.Calibrator, c.Percentile = "percentile", 12 },
		"percentile: calibrator mse has no":   func(c *neuroquant.Config) { c.Percentile = 99 },
		"num_calibration_samples: want at":    func(c *neuroquant.Config) { c.NumCalibrationSamples = 0 },
		"calibration_batch_size: want at":     func(c *neuroquant.Config) { c.CalibrationBatchSize = 0 },
		"dtype: unknown dtype \"float16\"":    func(c *neuroquant.Config) { c.DType = "float16" },
	} {
		c := neuroquant.StaticConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	c := neuroquant.DynamicConfig()
	c.Calibrator = "entropy"
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "calibrator: method dynamic has no such setting; it belongs to static") {
		t.Errorf("got %v", err)
	}
}
