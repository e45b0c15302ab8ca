package neuroquant

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/neurotrain/neuroquant/internal/config"
	"github.com/neurotrain/neuroquant/internal/format/gguf"
	"github.com/neurotrain/neuroquant/internal/format/hf"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/internal/quantize"
	"github.com/neurotrain/neuroquant/internal/solve"
	"github.com/neurotrain/neuroquant/tensor"
)

// Config is the settings of a quantization: the keys of a YAML file's quantization block and, with dashes for underscores,
// the flags of the command-line tool. [DefaultConfig] gives the defaults; the zero Config is not valid.
type Config struct {
	Enabled bool   `yaml:"enabled" json:"enabled" doc:"false leaves the model as it is"`
	Method  string `yaml:"method" json:"method" enum:"dynamic,static,qat,gptq,awq,bitsandbytes,rtn,w8a8" doc:"how to quantize; 'neuroquant list' shows the methods"`
	DType   string `yaml:"dtype" json:"dtype" enum:"qint8,quint8,qint4,float16,bfloat16" doc:"what weights are stored in"`
	Device  string `yaml:"device" json:"device" enum:"auto,cpu" doc:"where to compute; this program computes on the CPU"`
	// TrustRemoteCode exists for files written for other tools. Whatever it says, nothing in a model file is ever executed.
	TrustRemoteCode bool `yaml:"trust_remote_code" json:"trust_remote_code" doc:"accepted for compatibility: code in a model is never executed, whatever this says"`

	PerChannel bool     `yaml:"per_channel" json:"per_channel" doc:"one scale per output channel of a weight; false: one per weight"`
	Keep       []string `yaml:"keep" json:"keep,omitempty" doc:"layers to leave in float: patterns over layer names, weight names and operators, * matches anything"`
	Only       []string `yaml:"only" json:"only,omitempty" doc:"quantize these layers only: patterns as in keep"`

	LMHead bool `yaml:"lm_head" json:"lm_head,omitempty" doc:"quantize the layer that gives logits too, which not all loaders take: 'neuroquant plan' names those that do (gptq, awq, rtn, bitsandbytes, w8a8)"`

	Bits      int  `yaml:"bits" json:"bits" doc:"bits per weight (gptq, awq)"`
	GroupSize int  `yaml:"group_size" json:"group_size" doc:"weights that share a scale (gptq, awq); -1: a whole row"`
	DescAct   bool `yaml:"desc_act" json:"desc_act" doc:"quantize columns by falling activation size (gptq)"`
	// Sym, StaticGroups, ActGroupAware, DampPercent, MSE and GPTAQ are settings of GPTQ, the first of rtn as well.
	Sym           bool    `yaml:"sym" json:"sym" doc:"codes around a middle one without a zero point (gptq, rtn); awq has zero points"`
	StaticGroups  bool    `yaml:"static_groups" json:"static_groups,omitempty" doc:"with desc_act: groups of columns as they lie in the matrix, so that files need no index (gptq)"`
	ActGroupAware bool    `yaml:"act_group_aware" json:"act_group_aware" doc:"quantize groups, and columns inside them, by falling activation size; files stay as without (gptq; not with desc_act)"`
	DampPercent   float64 `yaml:"damp_percent" json:"damp_percent" doc:"what is added to the diagonal of the Hessian, as a share of its mean (gptq)"`
	MSE           float64 `yaml:"mse" json:"mse" doc:"exponent of the error by which the range of a group is searched for; 0: the whole range (gptq)"`
	GPTAQ         bool    `yaml:"gptaq" json:"gptaq,omitempty" doc:"calibrate with the activations of the original network as well, which costs a second pass (gptq)"`

	MaxMemory string `yaml:"max_memory" json:"max_memory,omitempty" doc:"most memory to take, such as 4GiB; values between layers that do not fit lie in files; empty: as much as it needs (gptq, awq)"`

	LoadIn4Bit            bool   `yaml:"load_in_4bit" json:"load_in_4bit" doc:"4-bit weights (bitsandbytes)"`
	LoadIn8Bit            bool   `yaml:"load_in_8bit" json:"load_in_8bit" doc:"8-bit weights (bitsandbytes)"`
	BnB4BitComputeDType   string `yaml:"bnb_4bit_compute_dtype" json:"bnb_4bit_compute_dtype" doc:"type to compute in with 4-bit weights (bitsandbytes)"`
	BnB4BitQuantType      string `yaml:"bnb_4bit_quant_type" json:"bnb_4bit_quant_type" doc:"nf4 or fp4 (bitsandbytes)"`
	BnB4BitUseDoubleQuant bool   `yaml:"bnb_4bit_use_double_quant" json:"bnb_4bit_use_double_quant" doc:"quantize the scales too (bitsandbytes)"`

	BnB4BitBlockSize int     `yaml:"bnb_4bit_blocksize" json:"bnb_4bit_blocksize" doc:"weights that share a scale with load_in_4bit, a power of two from 32 to 4096 (bitsandbytes)"`
	LLMInt8Threshold float64 `yaml:"llm_int8_threshold" json:"llm_int8_threshold" doc:"activations of at least this size are multiplied in float with load_in_8bit; 0: none (bitsandbytes)"`

	Calibrator string  `yaml:"calibrator" json:"calibrator" doc:"how ranges follow from calibration: mse, minmax, moving_average, percentile or entropy (static)"`
	Percentile float64 `yaml:"percentile" json:"percentile" doc:"percentage of values inside the range, for the calibrator percentile (static)"`

	WeightRanges           string  `yaml:"weight_ranges" json:"weight_ranges,omitempty" enum:"minmax,mse" doc:"what scales of weights cover: all values (minmax), or the range that loses least (mse) (static)"`
	CrossLayerEqualization bool    `yaml:"cross_layer_equalization" json:"cross_layer_equalization,omitempty" doc:"scale channels inside the model so that weights which follow each other have equal ranges (static)"`
	SmoothQuant            bool    `yaml:"smooth_quant" json:"smooth_quant,omitempty" doc:"scale channels so that activations with outlying channels become even (static, which then calibrates twice; w8a8)"`
	SmoothQuantAlpha       float64 `yaml:"smooth_quant_alpha" json:"smooth_quant_alpha,omitempty" doc:"how much of the difference smooth_quant moves from activations into weights, between 0 and 1 (static, w8a8)"`
	BiasCorrection         bool    `yaml:"bias_correction" json:"bias_correction" doc:"correct biases and scales of weights by what layers are off by on average on the samples (static; runs them twice more; not with statistics alone or format pt)"`

	Activations          string `yaml:"activations" json:"activations,omitempty" enum:"quint8,qint8,quint16,qint16" doc:"what activations are held in; those of 16 bits are for runtimes that have integer operators for them, others compute in float between the codes (static)"`
	SymmetricActivations bool   `yaml:"symmetric_activations" json:"symmetric_activations,omitempty" doc:"give activations codes with zero in the middle (static)"`

	BlockSize int `yaml:"block_size" json:"block_size,omitempty" doc:"weights along the inputs of a layer that share a scale, a power of two of at least 16; 0: all of a channel (static)"`

	QuantFormat string `yaml:"quant_format" json:"quant_format,omitempty" enum:"qdq,qoperator" doc:"how integer operators are written: float ones between QuantizeLinear and DequantizeLinear (qdq), or QLinearConv and its like (qoperator) (static)"`
	ReduceRange string `yaml:"reduce_range" json:"reduce_range,omitempty" enum:"none,needed,all" doc:"7-bit weights for CPUs that add products in 16 bits (no VNNI): none, only where they can overflow (needed), or all (static)"`

	NumCalibrationSamples int      `yaml:"num_calibration_samples" json:"num_calibration_samples" doc:"samples to calibrate with (static, gptq, awq, w8a8)"`
	CalibrationBatchSize  int      `yaml:"calibration_batch_size" json:"calibration_batch_size,omitempty" doc:"samples per call while calibrating, where the model leaves it free; more are faster and take more memory (static)"`
	CalibrationLength     int      `yaml:"calibration_length" json:"calibration_length,omitempty" doc:"tokens of a calibration sample of text (gptq, awq, w8a8)"`
	CalibrationSeed       uint64   `yaml:"calibration_seed" json:"calibration_seed,omitempty" doc:"of the texts that a language model writes itself to calibrate with where there is no data (gptq, awq, w8a8)"`
	Stats                 []string `yaml:"stats" json:"stats,omitempty" doc:"files of calibration statistics to use in place of samples, see 'neuroquant calibrate' (static)"`

	Search            bool          `yaml:"search" json:"search,omitempty" doc:"look for the layers to leave in float, as few as the accuracy asked for takes, and for the calibrators of the others (static)"`
	SearchTarget      string        `yaml:"search_target" json:"search_target,omitempty" doc:"accuracy to keep: sqnr=DB, agreement=FRACTION, top1=FRACTION, drop=FRACTION (of top-1), or several with commas between them; empty: drop=0.01 with labels, else sqnr=30"`
	SearchEvaluations int           `yaml:"search_evaluations" json:"search_evaluations,omitempty" doc:"most quantizations to measure; 0: until the search is through"`
	SearchTime        time.Duration `yaml:"search_time" json:"-" doc:"time for measuring quantizations, such as 10m; 0: until the search is through"`
	SearchSamples     int           `yaml:"search_samples" json:"search_samples,omitempty" doc:"samples to measure on (search, sensitivity); 0: all"`
	SearchCalibrators []string      `yaml:"search_calibrators" json:"search_calibrators,omitempty" doc:"calibrators to try; none: all, calibrator first"`

	// Format is that of the written file: "auto", what fits the method and the model; "onnx", the quantized graph; "gptq", "gptq_v2", "awq" or
	// "compressed-tensors", a Hugging Face folder with weights in that layout; or "pt", a PyTorch state dict with the weights as they were
	// rounded, in their float types: activations are not quantized in it.
	Format string `yaml:"format" json:"format,omitempty" doc:"what is written: onnx, the quantized graph; pt, a PyTorch state dict of the rounded weights in float; gptq, gptq_v2, awq or compressed-tensors, a Hugging Face folder with weights in that layout; auto: what fits the method and the model; several with commas between, such as gptq,awq,gguf: one after the other from the same codes, each in a folder of its name"`
	// PTQint8 stores the linear layers of a state dict as the packed qint8 tensors of PyTorch's dynamic quantization, in place of
	// floats: the state dict of a model that torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}) made.
	PTQint8            bool   `yaml:"pt_qint8" json:"pt_qint8,omitempty" doc:"format pt: linear layers as PyTorch's packed qint8 tensors, the state dict of torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}) (dynamic, dtype qint8)"`
	SaveQuantizedModel bool   `yaml:"save_quantized_model" json:"save_quantized_model" doc:"write the result; false: only report"`
	QuantizedModelPath string `yaml:"quantized_model_path" json:"quantized_model_path,omitempty" doc:"folder to write the result to"`
	AnalysisReportPath string `yaml:"analysis_report_path" json:"analysis_report_path,omitempty" doc:"folder to write the analysis report to; empty: none"`
}

// DefaultConfig returns the defaults: dynamic, qint8, per channel.
func DefaultConfig() Config {
	return Config{
		Enabled: true, Method: "dynamic", DType: "qint8", Device: "auto", PerChannel: true,
		Bits: 4, GroupSize: 128, BnB4BitComputeDType: "float16", BnB4BitQuantType: "nf4", BnB4BitBlockSize: 64, LLMInt8Threshold: 6,
		NumCalibrationSamples: 100, CalibrationBatchSize: 1, SmoothQuantAlpha: 0.5, BiasCorrection: true, WeightRanges: "minmax", Calibrator: quantize.Calibrators[0], Percentile: 99.999, ReduceRange: quantize.ReduceRanges[0], QuantFormat: quantize.Formats[0], Activations: quantize.ActivationTypes[0], SearchSamples: 300,
		Sym: true, ActGroupAware: true, DampPercent: 0.01, MSE: 2.4, CalibrationLength: 512,
		Format: formatAuto, SaveQuantizedModel: true,
	}
}

// DynamicConfig is the preset for 8-bit weights with activations quantized at run time.
func DynamicConfig() Config { return DefaultConfig() }

// StaticConfig is the preset for static int8 with calibration.
func StaticConfig() Config { c := DefaultConfig(); c.Method = "static"; return c }

// QATConfig is the preset for quantization-aware training.
func QATConfig() Config { c := DefaultConfig(); c.Method = "qat"; return c }

// GPTQ4BitConfig is the preset for GPTQ with 4 bits and groups of 128.
func GPTQ4BitConfig() Config { c := DefaultConfig(); c.Method = "gptq"; return c }

// AWQ4BitConfig is the preset for AWQ with 4 bits and groups of 128.
func AWQ4BitConfig() Config { c := DefaultConfig(); c.Method = "awq"; return c }

// RTN4BitConfig is the preset for plain rounding to 4 bits with groups of 128.
func RTN4BitConfig() Config { c := DefaultConfig(); c.Method = "rtn"; return c }

// BitsAndBytes4BitConfig is the preset for NF4 weights with double quantization.
func BitsAndBytes4BitConfig() Config {
	c := DefaultConfig()
	c.Method, c.LoadIn4Bit, c.BnB4BitUseDoubleQuant = "bitsandbytes", true, true
	return c
}

// BitsAndBytes8BitConfig is the preset for LLM.int8() weights.
func BitsAndBytes8BitConfig() Config {
	c := DefaultConfig()
	c.Method, c.LoadIn8Bit = "bitsandbytes", true
	return c
}

// W8A8Config is the preset for 8-bit weights and activations of language models with SmoothQuant.
func W8A8Config() Config { c := DefaultConfig(); c.Method, c.SmoothQuant = "w8a8", true; return c }

// MethodInfo says what a method is and whether this version has it.
type MethodInfo struct {
	Name      string   `json:"name"`
	Title     string   `json:"title"`
	Available bool     `json:"available"`
	Data      bool     `json:"needs_data"` // calibration samples
	DTypes    []string `json:"dtypes,omitempty"`
}

// catalogue is the family's six methods; which of them exist is quantize's to say.
var catalogue = []MethodInfo{
	{Name: "dynamic", Title: "8-bit weights, activations quantized at run time; no calibration data"},
	{Name: "static", Title: "8-bit weights and activations, scales from calibration data"},
	{Name: "qat", Title: "weights and activations of 2 to 8 bits, trained with rounding in place"},
	{Name: "gptq", Title: "2 to 8-bit weights of language models, error-compensated (GPTQ)"},
	{Name: "awq", Title: "4-bit weights of language models, activation-aware scales (AWQ)"},
	{Name: "rtn", Title: "2- to 8-bit weights, each rounded to the nearest; no calibration data"},
	{Name: "w8a8", Title: "8-bit weights and activations of language models, a scale for each output and token; with SmoothQuant"},
	{Name: "bitsandbytes", Title: "NF4, FP4 and LLM.int8() weights, for inference and LoRA training"},
}

// Methods lists the six methods and says which this version has.
func Methods() []MethodInfo {
	out := slices.Clone(catalogue)
	for i := range out {
		if m, err := quantize.Find(out[i].Name); err == nil {
			out[i].Available, out[i].DTypes, out[i].Title, out[i].Data = true, m.Weights, m.Title, m.Calibrate
		}
	}
	return out
}

// keysOf names, for settings that only some methods have, those methods.
var keysOf = []struct {
	key     string
	methods []string
	changed func(c, def Config) bool
}{
	{"bits", []string{"gptq", "awq", "rtn"}, func(c, d Config) bool { return c.Bits != d.Bits }},
	{"group_size", []string{"gptq", "awq", "rtn"}, func(c, d Config) bool { return c.GroupSize != d.GroupSize }},
	{"desc_act", []string{"gptq"}, func(c, d Config) bool { return c.DescAct != d.DescAct }},
	{"sym", []string{"gptq", "rtn"}, func(c, d Config) bool { return c.Sym != d.Sym }},
	{"static_groups", []string{"gptq"}, func(c, d Config) bool { return c.StaticGroups }},
	{"act_group_aware", []string{"gptq"}, func(c, d Config) bool { return c.ActGroupAware != d.ActGroupAware }},
	{"damp_percent", []string{"gptq"}, func(c, d Config) bool { return c.DampPercent != d.DampPercent }},
	{"mse", []string{"gptq"}, func(c, d Config) bool { return c.MSE != d.MSE }},
	{"gptaq", []string{"gptq"}, func(c, d Config) bool { return c.GPTAQ }},
	{"calibration_length", []string{"gptq", "awq", "w8a8"}, func(c, d Config) bool { return c.CalibrationLength != d.CalibrationLength }},
	{"calibration_seed", []string{"gptq", "awq", "w8a8"}, func(c, d Config) bool { return c.CalibrationSeed != d.CalibrationSeed }},
	{"lm_head", []string{"gptq", "awq", "rtn", "bitsandbytes", "w8a8"}, func(c, d Config) bool { return c.LMHead }},
	{"max_memory", []string{"gptq", "awq"}, func(c, d Config) bool { return c.MaxMemory != d.MaxMemory }},
	{"load_in_4bit", []string{"bitsandbytes"}, func(c, d Config) bool { return c.LoadIn4Bit }},
	{"load_in_8bit", []string{"bitsandbytes"}, func(c, d Config) bool { return c.LoadIn8Bit }},
	{"bnb_4bit_compute_dtype", []string{"bitsandbytes"}, func(c, d Config) bool { return c.BnB4BitComputeDType != d.BnB4BitComputeDType }},
	{"bnb_4bit_quant_type", []string{"bitsandbytes"}, func(c, d Config) bool { return c.BnB4BitQuantType != d.BnB4BitQuantType }},
	{"bnb_4bit_use_double_quant", []string{"bitsandbytes"}, func(c, d Config) bool { return c.BnB4BitUseDoubleQuant }},
	{"bnb_4bit_blocksize", []string{"bitsandbytes"}, func(c, d Config) bool { return c.BnB4BitBlockSize != d.BnB4BitBlockSize }},
	{"llm_int8_threshold", []string{"bitsandbytes"}, func(c, d Config) bool { return c.LLMInt8Threshold != d.LLMInt8Threshold }},
	{"num_calibration_samples", []string{"static", "qat", "gptq", "awq", "w8a8"}, func(c, d Config) bool { return c.NumCalibrationSamples != d.NumCalibrationSamples }},
	{"calibration_batch_size", []string{"static", "qat"}, func(c, d Config) bool { return c.CalibrationBatchSize != d.CalibrationBatchSize }},
	{"stats", []string{"static"}, func(c, d Config) bool { return len(c.Stats) > 0 }},
	{"calibrator", []string{"static", "qat"}, func(c, d Config) bool { return c.Calibrator != d.Calibrator }},
	{"percentile", []string{"static", "qat"}, func(c, d Config) bool { return c.Percentile != d.Percentile }},
	{"weight_ranges", []string{"static", "qat"}, func(c, d Config) bool { return c.WeightRanges != d.WeightRanges }},
	{"cross_layer_equalization", []string{"static"}, func(c, d Config) bool { return c.CrossLayerEqualization }},
	{"smooth_quant", []string{"static", "w8a8"}, func(c, d Config) bool { return c.SmoothQuant }},
	{"smooth_quant_alpha", []string{"static", "w8a8"}, func(c, d Config) bool { return c.SmoothQuantAlpha != d.SmoothQuantAlpha }},
	{"bias_correction", []string{"static"}, func(c, d Config) bool { return c.BiasCorrection != d.BiasCorrection }},
	{"activations", []string{"static"}, func(c, d Config) bool { return c.Activations != d.Activations }},
	{"symmetric_activations", []string{"static"}, func(c, d Config) bool { return c.SymmetricActivations }},
	{"block_size", []string{"static"}, func(c, d Config) bool { return c.BlockSize != d.BlockSize }},
	{"quant_format", []string{"static", "qat"}, func(c, d Config) bool { return c.QuantFormat != d.QuantFormat }},
	{"reduce_range", []string{"static"}, func(c, d Config) bool { return c.ReduceRange != d.ReduceRange }},
	{"search", []string{"static"}, func(c, d Config) bool { return c.Search }},
	{"search_target", []string{"static"}, func(c, d Config) bool { return c.SearchTarget != d.SearchTarget }},
	{"search_evaluations", []string{"static"}, func(c, d Config) bool { return c.SearchEvaluations != d.SearchEvaluations }},
	{"search_time", []string{"static"}, func(c, d Config) bool { return c.SearchTime != d.SearchTime }},
	{"search_samples", []string{"static"}, func(c, d Config) bool { return c.SearchSamples != d.SearchSamples }},
	{"search_calibrators", []string{"static"}, func(c, d Config) bool { return len(c.SearchCalibrators) > 0 }},
	{"per_channel", []string{"dynamic", "static", "qat"}, func(c, d Config) bool { return c.PerChannel != d.PerChannel }},
}

// FieldError is what is wrong with one setting.
type FieldError struct {
	Key string // the YAML key
	Err error
}

func (e *FieldError) Error() string { return e.Key + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *FieldError) Unwrap() error { return e.Err }

// Validate reports everything that is wrong with the settings, as joined [*FieldError]s: an unknown or unavailable method, a
// type that the method cannot store, a setting that the method does not have.
func (c Config) Validate() error {
	var errs []error
	bad := func(key, format string, a ...any) {
		errs = append(errs, &FieldError{key, fmt.Errorf(format, a...)})
	}
	i := slices.IndexFunc(catalogue, func(m MethodInfo) bool { return m.Name == c.Method })
	method, err := quantize.Find(c.Method)
	switch {
	case i < 0:
		bad("method", "unknown method %q%s; the methods are %s", c.Method, config.Suggest(c.Method, MethodNames(false)), strings.Join(MethodNames(false), ", "))
	case err != nil:
		bad("method", "%s is not available in this version; available: %s", c.Method, strings.Join(MethodNames(true), ", "))
	case method.Weights != nil && !slices.Contains(method.Weights, c.DType):
		bad("dtype", "unknown dtype %q%s; method %s stores %s", c.DType, config.Suggest(c.DType, method.Weights), c.Method, strings.Join(method.Weights, ", "))
	}
	if c.Device != "auto" && c.Device != "cpu" {
		bad("device", "want auto or cpu, got %q: this program computes on the CPU", c.Device)
	}
	c.validateFormats(bad)
	if f := c.formats()[0]; f != formatAuto && f != formatONNX && f != formatPT && !isLayout(f) {
		bad("format", "want auto, onnx, pt, %s, got %q", strings.Join(hf.LayoutNames(), ", "), f)
	} else if isLayout(f) && weightOnly[c.Method] == "" {
		bad("format", "%s is of methods %s", f, strings.Join(slices.Sorted(maps.Keys(weightOnly)), ", "))
	} else if f == formatPT && weightOnly[c.Method] != "" {
		bad("format", "method %s writes onnx or %s", c.Method, strings.Join(hf.LayoutNames(), ", "))
	} else if c.Search && f != formatONNX && f != formatAuto {
		bad("format", "a search measures quantized graphs and writes onnx")
	}
	if c.PTQint8 && (c.Format != formatPT || c.Method != "dynamic" || c.DType != "qint8") {
		bad("pt_qint8", "want format pt, method dynamic and dtype qint8: PyTorch's quantized linear layers hold nothing else")
	}
	def := DefaultConfig()
	for _, k := range keysOf {
		if i >= 0 && k.changed(c, def) && !slices.Contains(k.methods, c.Method) {
			bad(k.key, "method %s has no such setting; it belongs to %s", c.Method, strings.Join(k.methods, ", "))
		}
	}
	if weightOnly[c.Method] != "" {
		c.validateWeightOnly(bad)
	}
	switch {
	case c.Method == "bitsandbytes":
		c.validateBitsAndBytes(bad)
	case c.Method == "w8a8" && c.Format != formatAuto && c.Format != "compressed-tensors":
		bad("format", "method w8a8 writes compressed-tensors, got %q", c.Format)
	}
	if err == nil && method.Calibrate && c.NumCalibrationSamples < 1 {
		bad("num_calibration_samples", "want at least 1, got %d", c.NumCalibrationSamples)
	}
	if !(c.SmoothQuantAlpha > 0 && c.SmoothQuantAlpha <= 1) {
		bad("smooth_quant_alpha", "want more than 0 and at most 1, got %v", c.SmoothQuantAlpha)
	} else if c.SmoothQuantAlpha != def.SmoothQuantAlpha && !c.SmoothQuant {
		bad("smooth_quant_alpha", "it belongs to smooth_quant, which is off")
	}
	if err == nil && (c.Method == "static" || c.Method == "qat") {
		if cerr := (quantize.Calibrator{Method: c.Calibrator, Percentile: 99}).Check(); cerr != nil {
			bad("calibrator", "%w", cerr)
		}
		if c.Percentile <= 50 || c.Percentile > 100 {
			bad("percentile", "want more than 50 and at most 100, got %v", c.Percentile)
		} else if c.Calibrator != "percentile" && c.Percentile != def.Percentile {
			bad("percentile", "calibrator %s has no such setting; it belongs to percentile", c.Calibrator)
		}
		if !slices.Contains(quantize.Formats, c.QuantFormat) {
			bad("quant_format", "want one of %s, got %q", strings.Join(quantize.Formats, ", "), c.QuantFormat)
		}
		if !slices.Contains(quantize.ActivationTypes, c.Activations) {
			bad("activations", "want one of %s, got %q", strings.Join(quantize.ActivationTypes, ", "), c.Activations)
		}
		if n := c.BlockSize; n != 0 && (n < 16 || n&(n-1) != 0) {
			bad("block_size", "want a power of two of at least 16, or 0, got %d", n)
		} else if n != 0 && !c.PerChannel {
			bad("block_size", "weights have one scale in all (per_channel is off)")
		}
		if !slices.Contains(quantize.ReduceRanges, c.ReduceRange) {
			bad("reduce_range", "want one of %s, got %q", strings.Join(quantize.ReduceRanges, ", "), c.ReduceRange)
		}
		if c.WeightRanges != "minmax" && c.WeightRanges != "mse" {
			bad("weight_ranges", "want minmax or mse, got %q", c.WeightRanges)
		}
		if c.DType == "qint4" && c.ReduceRange != def.ReduceRange {
			bad("reduce_range", "products with 4-bit weights fit 16 bits as they are")
		}
		if c.SmoothQuant && len(c.Stats) > 0 {
			bad("smooth_quant", "it needs samples: stored statistics are of a model whose channels are not scaled")
		}
		if c.CalibrationBatchSize < 1 {
			bad("calibration_batch_size", "want at least 1, got %d", c.CalibrationBatchSize)
		}
	}
	c.validateSearch(bad)
	if err == nil && (c.DType == "float16" || c.DType == "bfloat16") && !c.PerChannel {
		bad("per_channel", "dtype %s has no scales", c.DType)
	}
	return errors.Join(errs...)
}

// MethodNames lists the names of [Methods], all or those that this version has.
func MethodNames(available bool) []string {
	var out []string
	for _, m := range Methods() {
		if m.Available || !available {
			out = append(out, m.Name)
		}
	}
	return out
}

// StoredAs names what weights are stored in: DType, or for methods that store them in few bits those.
func (c Config) StoredAs() string {
	switch {
	case c.Method == "w8a8", c.Method == "bitsandbytes" && c.LoadIn8Bit:
		return "int8"
	case c.Method == "bitsandbytes":
		return c.BnB4BitQuantType
	case weightOnly[c.Method] != "":
		return fmt.Sprintf("int%d", c.Bits)
	}
	return c.DType
}

// validateWeightOnly checks the settings of methods that store weights in few bits.
func (c Config) validateWeightOnly(bad func(key, format string, a ...any)) {
	if c.Bits < 2 || c.Bits > 8 {
		bad("bits", "want 2 to 8, got %d", c.Bits)
	}
	if c.GroupSize != -1 && (c.GroupSize < 16 || c.GroupSize > 1024) {
		bad("group_size", "want 16 to 1024, or -1 for whole rows, got %d", c.GroupSize)
	}
	if !(c.DampPercent > 0 && c.DampPercent < 1) {
		bad("damp_percent", "want more than 0 and less than 1, got %v", c.DampPercent)
	}
	if c.MSE != 0 && !(c.MSE >= 1 && c.MSE <= 4) {
		bad("mse", "want 1 to 4, or 0, got %v", c.MSE)
	}
	if c.StaticGroups && !c.DescAct {
		bad("static_groups", "it belongs to desc_act, which is off")
	}
	if _, err := parseBytes(c.MaxMemory); err != nil {
		bad("max_memory", "%w", err)
	}
	if c.CalibrationLength < 1 {
		bad("calibration_length", "want at least 1, got %d", c.CalibrationLength)
	}
}

// validateFormats checks formats that are written beside the first.
func (c Config) validateFormats(bad func(key, format string, a ...any)) {
	list := c.formats()
	others := append(gridFormats(), gguf.Name, formatONNX)
	for i, f := range list {
		switch {
		case len(list) > 1 && (c.Method != "gptq" && c.Method != "awq" && c.Method != "rtn" || list[0] == formatPT || list[0] == formatAuto):
			bad("format", "several formats are for the codes of methods gptq, awq and rtn, got %q", c.Format)
			return
		case i > 0 && !slices.Contains(others, f):
			bad("format", "want one of %s after the first, got %q", strings.Join(others, ", "), f)
		case slices.Contains(list[:i], f):
			bad("format", "%s is there twice", f)
		case list[0] == formatONNX && i > 0:
			bad("format", "onnx comes after the formats of Hugging Face folders, got %q", c.Format)
			return
		}
	}
}

// weights are the settings of methods that store weights in few bits.
func (c Config) weights() quantize.WeightSettings {
	o := quantize.WeightSettings{
		Bits: c.Bits, Group: max(c.GroupSize, 0), Symmetric: c.Sym && c.Method != "awq", Damp: c.DampPercent, Norm: c.MSE, Asymmetric: c.GPTAQ, ScaleType: tensor.Float16,
		Refuse: holdsAll(c.formats()),
	}
	if slices.Contains(c.formats(), "gptq") && !o.Symmetric {
		o.LeastZero = 1 // zero points are stored less one
	}
	if c.Method == "gptq" {
		switch {
		case c.StaticGroups:
			o.Order = solve.StaticGroups
		case c.DescAct:
			o.Order = solve.ActOrder
		case c.ActGroupAware && c.GroupSize > 0:
			o.Order = solve.GroupAware
		}
	}
	return o
}

// rounding is the encoding of method bitsandbytes.
func (c Config) rounding() packed.Rounding {
	if c.LoadIn8Bit {
		return packed.Rounding{Threshold: float32(c.LLMInt8Threshold)}
	}
	t, err := packed.ParseFourBit(c.BnB4BitQuantType)
	if err != nil { // which Validate reports
		t = packed.NF4
	}
	return packed.Rounding{Type: t, Block: c.BnB4BitBlockSize, Double: c.BnB4BitUseDoubleQuant}
}

// validateBitsAndBytes checks the settings of method bitsandbytes.
func (c Config) validateBitsAndBytes(bad func(key, format string, a ...any)) {
	if c.LoadIn4Bit == c.LoadIn8Bit {
		bad("load_in_4bit", "method bitsandbytes wants one of load_in_4bit and load_in_8bit")
	}
	if _, err := packed.ParseFourBit(c.BnB4BitQuantType); err != nil {
		bad("bnb_4bit_quant_type", "%w", err)
	}
	if t := c.BnB4BitComputeDType; t != "float16" && t != "bfloat16" && t != "float32" {
		bad("bnb_4bit_compute_dtype", "want float16, bfloat16 or float32, got %q", t)
	}
	if err := (packed.Rounding{Type: packed.NF4, Block: c.BnB4BitBlockSize}).Check(); err != nil {
		bad("bnb_4bit_blocksize", "%w", err)
	}
	if !(c.LLMInt8Threshold >= 0) {
		bad("llm_int8_threshold", "want 0 or more, got %v", c.LLMInt8Threshold)
	}
	if c.Format != formatAuto && c.Format != "bitsandbytes" {
		bad("format", "method bitsandbytes writes bitsandbytes, got %q", c.Format)
	}
}

// layoutSettings are what the configuration of a checkpoint says of how its codes came about.
func (c Config) layoutSettings() map[string]any {
	s := map[string]any{"meta": map[string]any{"quantizer": []string{recordTool + ":" + Version()}}}
	if c.Method == "bitsandbytes" {
		s["bnb_4bit_compute_dtype"] = c.BnB4BitComputeDType
	}
	if c.Method == "gptq" {
		s["damp_percent"], s["static_groups"] = c.DampPercent, c.StaticGroups
	}
	return s
}

func (c Config) recipe() quantize.Recipe {
	memory, _ := parseBytes(c.MaxMemory) // which Validate checks
	r := quantize.Recipe{
		Method: c.Method, Weight: c.DType, PerTensor: !c.PerChannel, Keep: c.Keep, Only: c.Only, Head: c.LMHead, ReduceRange: c.ReduceRange, Format: c.QuantFormat,
		Activations: c.Activations, SymmetricActivations: c.SymmetricActivations, BlockSize: c.BlockSize, FitWeights: c.WeightRanges == "mse",
		Calibrator: quantize.Calibrator{Method: c.Calibrator, Percentile: c.Percentile, Levels: 256},
		WeightOnly: c.weights(), Memory: memory,
		Rounding: c.rounding(),
		Repairs:  quantize.Repairs{CrossLayer: c.CrossLayerEqualization, Bias: c.BiasCorrection},
	}
	if c.SmoothQuant {
		r.Repairs.Smooth = c.SmoothQuantAlpha
	}
	return r
}
