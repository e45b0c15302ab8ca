package hf

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/codec/outfile"
	"github.com/neurotrain/neuroquant/internal/codec/safetensors"
	"github.com/neurotrain/neuroquant/tensor"
)

// AdapterConfigFile is the file that makes a folder an adapter in the layout of PEFT; its matrices lie beside it.
const (
	AdapterConfigFile  = "adapter_config.json"
	adapterWeightsStem = "adapter_model"
)

// adapterRoot is what PEFT puts before the paths of modules.
const adapterRoot = "base_model.model."

// Adapter is a set of low-rank products beside linear layers of a model.
type Adapter struct {
	Base           string // the model that it was trained on, as it was named then
	Rank           int
	Alpha, Dropout float64
	RankStabilized bool
	Turned         bool // the weights of the layers are [in, out]
	Targets        []string
	Layers         []AdapterLayer

	copies map[string]*tensor.Tensor // by module: weights of the base that the file holds too
}

// AdapterLayer adds scale*x*A'*B' to what a module gives for x.
type AdapterLayer struct {
	Module string
	A, B   *tensor.Tensor // float32 [rank, in] and [out, rank]
	Scale  float64
}

// adapterConfig are the fields of adapter_config.json that say what is computed.
type adapterConfig struct {
	Type         string             `json:"peft_type"`
	Task         string             `json:"task_type"`
	Base         string             `json:"base_model_name_or_path"`
	Rank         int                `json:"r"`
	Alpha        float64            `json:"lora_alpha"`
	Dropout      float64            `json:"lora_dropout"`
	Stabilized   bool               `json:"use_rslora"`
	FanInFanOut  bool               `json:"fan_in_fan_out"`
	Targets      any                `json:"target_modules"`
	AlphaPattern map[string]float64 `json:"alpha_pattern"`
	RankPattern  map[string]int     `json:"rank_pattern"`
	Init         any                `json:"init_lora_weights"`
	Inference    bool               `json:"inference_mode"`
	Bias         string             `json:"bias"`
}

// changing are fields that make an adapter compute something else, unless they are empty, false or zero.
var changing = []string{
	"use_dora", "lora_bias", "modules_to_save", "layer_replication", "trainable_token_indices", "target_parameters", "alora_invocation_tokens", "use_qalora",
	"megatron_config", "arrow_config", "use_bdlora", "kasa_config", "velora_config",
}

// changingInits are ways to begin that change the weights of the base too: the first letters of init_lora_weights.
var changingInits = []string{"pissa", "olora", "corda", "loftq", "lora_ga"}

func isEmpty(v any) bool {
	switch x := v.(type) {
	case nil:
		return true
	case bool:
		return !x
	case json.Number:
		return x == "0"
	case string:
		return x == "" || x == "none"
	case []any:
		return len(x) == 0
	case map[string]any:
		return len(x) == 0
	}
	return false
}

// OpenAdapter reads an adapter folder, or its adapter_config.json. All that it asks for and that is not supported is named.
func OpenAdapter(path string) (*Adapter, error) {
	dir := strings.TrimSuffix(filepath.Clean(path), string(filepath.Separator)+AdapterConfigFile)
	file := filepath.Join(dir, AdapterConfigFile)
	fields, err := ReadJSON(file)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("%s: there is no %s in the folder: it is no adapter", dir, AdapterConfigFile)
		}
		return nil, err
	}
	var c adapterConfig
	text, err := json.Marshal(fields)
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := c.check(fields); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	a := &Adapter{Base: c.Base, Rank: c.Rank, Alpha: c.Alpha, Dropout: c.Dropout, RankStabilized: c.Stabilized, Turned: c.FanInFanOut, copies: map[string]*tensor.Tensor{}}
	if list, ok := fields["target_modules"].([]any); ok {
		for _, t := range list {
			a.Targets = append(a.Targets, fmt.Sprint(t))
		}
	}
	w := &Weights{byName: map[string]tensor.Source{}}
	if p := filepath.Join(dir, adapterWeightsStem+".safetensors"); exists(p) {
		err = w.addSafetensors(p)
	} else {
		err = w.addPickle(filepath.Join(dir, adapterWeightsStem+".bin"))
	}
	if err == nil {
		err = a.take(w, &c)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return a, nil
}

// check reports what is not supported.
func (c *adapterConfig) check(fields map[string]any) error {
	var errs []error
	if c.Type != "LORA" {
		errs = append(errs, fmt.Errorf("peft_type: want LORA, found %q", c.Type))
	}
	if c.Rank < 1 || !(c.Alpha > 0) {
		errs = append(errs, fmt.Errorf("r and lora_alpha: want a rank of at least 1 and a number above 0, found %d and %v", c.Rank, c.Alpha))
	}
	if !isEmpty(fields["bias"]) {
		errs = append(errs, fmt.Errorf("bias: want none, found %v", fields["bias"]))
	}
	for _, key := range changing {
		if !isEmpty(fields[key]) {
			errs = append(errs, fmt.Errorf("%s = %v is not supported", key, fields[key]))
		}
	}
	if s, ok := c.Init.(string); ok && slices.ContainsFunc(changingInits, func(p string) bool { return strings.HasPrefix(strings.ToLower(s), p) }) {
		errs = append(errs, fmt.Errorf("init_lora_weights = %q changes the weights of the base, which is not supported", s))
	}
	return errors.Join(errs...)
}

// alpha returns that of a module: that of the first pattern in order that is its path or the end of it.
func (c *adapterConfig) alpha(module string) (float64, error) {
	for _, key := range slices.Sorted(maps.Keys(c.AlphaPattern)) {
		re, err := regexp.Compile(`^(.*\.)?(` + key + `)$`)
		if err != nil {
			return 0, fmt.Errorf("%s: alpha_pattern: %w", AdapterConfigFile, err)
		}
		if re.MatchString(module) {
			return c.AlphaPattern[key], nil
		}
	}
	return c.Alpha, nil
}

// take reads the matrices.
func (a *Adapter) take(w *Weights, c *adapterConfig) error {
	var strange []string
	byModule := map[string]*AdapterLayer{}
	var order []string
	for _, e := range w.entries {
		name := strings.TrimPrefix(e.Name, adapterRoot)
		name = strings.Replace(name, ".default.weight", ".weight", 1)
		module, isA := strings.CutSuffix(name, ".lora_A.weight")
		isB := false
		if !isA {
			module, isB = strings.CutSuffix(name, ".lora_B.weight")
		}
		if of, ok := strings.CutSuffix(name, ".base_layer.weight"); ok && e.DType().IsFloat() { // PEFT keeps that of a head
			t, err := e.Load()
			if err != nil {
				return fmt.Errorf("tensor %q: %w", e.Name, err)
			}
			a.copies[of] = t.Clone()
			continue
		}
		if !isA && !isB || len(e.Shape()) != 2 || !e.DType().IsFloat() {
			strange = append(strange, fmt.Sprintf("%q (%v%v)", e.Name, e.DType(), e.Shape()))
			continue
		}
		t, err := e.Load()
		if err != nil {
			return fmt.Errorf("tensor %q: %w", e.Name, err)
		}
		f, err := t.Floats()
		if err != nil {
			return fmt.Errorf("tensor %q: %w", e.Name, err)
		}
		own := tensor.Of(t.Shape.Clone(), slices.Clone(f))
		l := byModule[module]
		if l == nil {
			l = &AdapterLayer{Module: module}
			byModule[module] = l
			order = append(order, module)
		}
		if isA {
			l.A = own
		} else {
			l.B = own
		}
	}
	if strange != nil {
		return fmt.Errorf("%d tensors are no matrices of low-rank products: %s", len(strange), strings.Join(strange[:min(len(strange), 4)], ", "))
	}
	if len(order) == 0 {
		return errors.New("the adapter has no tensors")
	}
	for _, module := range order {
		l := byModule[module]
		if l.A == nil || l.B == nil || l.A.Shape[0] != l.B.Shape[1] || l.A.Shape[0] == 0 {
			return fmt.Errorf("module %q: want lora_A [rank, in] and lora_B [out, rank], found %v and %v", module, l.A, l.B)
		}
		alpha, err := c.alpha(module)
		if err != nil {
			return err
		}
		rank := float64(l.A.Shape[0])
		if l.Scale = alpha / rank; c.Stabilized {
			l.Scale = alpha / math.Sqrt(rank)
		}
		a.Layers = append(a.Layers, *l)
	}
	return nil
}

// Save writes the adapter to a folder that exists.
func (a *Adapter) Save(dir string) error {
	c := map[string]any{
		"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": a.Base, "r": a.Rank, "lora_alpha": a.Alpha, "lora_dropout": a.Dropout,
		"use_rslora": a.RankStabilized, "fan_in_fan_out": a.Turned, "target_modules": a.Targets, "alpha_pattern": map[string]any{}, "rank_pattern": map[string]any{},
		"init_lora_weights": true, "inference_mode": true, "bias": "none", "modules_to_save": nil, "use_dora": false, "layers_to_transform": nil,
	}
	if a.Alpha == math.Trunc(a.Alpha) {
		c["lora_alpha"] = int64(a.Alpha)
	}
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	var entries []safetensors.Entry
	tensors := map[string]*tensor.Tensor{}
	for _, l := range a.Layers {
		for name, t := range map[string]*tensor.Tensor{".lora_A.weight": l.A, ".lora_B.weight": l.B} {
			tensors[adapterRoot+l.Module+name] = t
		}
	}
	for _, name := range slices.Sorted(maps.Keys(tensors)) {
		entries = append(entries, safetensors.Entry{Name: name, DType: tensor.Float32, Shape: tensors[name].Shape})
	}
	var files outfile.Set
	defer files.Abort()
	f, err := files.Create(filepath.Join(dir, AdapterConfigFile))
	if err != nil {
		return err
	}
	if _, err := f.Write(append(text, '\n')); err != nil {
		return err
	}
	w, err := safetensors.Create(dir, entries, safetensors.WriteOptions{Stem: adapterWeightsStem, ShardBytes: math.MaxInt})
	if err != nil {
		return err
	}
	defer w.Abort()
	for _, e := range entries {
		if err := w.Write(e.Name, tensors[e.Name]); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return files.Commit()
}
