package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/report"
)

// quantizeResult is what quantize --json prints.
type quantizeResult struct {
	Output           string                           `json:"output"`
	File             string                           `json:"file,omitempty"` // the model in it
	Method           string                           `json:"method"`
	DType            string                           `json:"dtype"`
	OriginalBytes    int64                            `json:"original_bytes"`
	QuantizedBytes   int64                            `json:"quantized_bytes"`
	CompressionRatio float64                          `json:"compression_ratio"`
	DryRun           bool                             `json:"dry_run,omitempty"`
	Decisions        []neuroquant.Decision            `json:"decisions"`
	Calibration      *neuroquant.CalibrationDiagnosis `json:"calibration,omitempty"`
	Search           *neuroquant.SearchPicture        `json:"search,omitempty"`
	CalibrationText  *neuroquant.CalibrationText      `json:"calibration_text,omitempty"`
	Experts          []neuroquant.ExpertCoverage      `json:"experts,omitempty"`
	Repairs          []string                         `json:"repairs,omitempty"`
	Placement        []string                         `json:"placement,omitempty"`
	Accuracy         *neuroquant.Accuracy             `json:"accuracy,omitempty"`
	Report           string                           `json:"report,omitempty"`
}

func (a *app) quantizeCommand() *cobra.Command {
	var d dataFlags
	var configFile, report string
	var dryRun, force, placement bool
	flags := neuroquant.DefaultConfig()
	c := &cobra.Command{
		Use:   "quantize MODEL OUT --method M",
		Short: "Quantize a model and write it, with a record of every decision, to the folder OUT",
		Long: `Quantize MODEL and write the folder OUT: model.onnx and neuroquant.json, which holds the settings, the hash of the
input and what was decided for every layer. OUT appears whole or not at all.

With --format pt it is model.pt, a state dict that PyTorch loads in place of the original one: the weights are what their codes stand for, in
float, so that it shows in Python what the rounding costs; it is not smaller, and activations are not quantized in it.

Methods that calibrate take --data for it, or --stats: what 'neuroquant calibrate' wrote. Without either, a language model with its tokenizer writes
its own calibration texts for gptq, awq and w8a8, as many and as long as the settings say, from --calibration-seed. With --data the result is also compared with the original on those samples; --report DIR writes the full analysis.

gptq and awq keep each layer that is finished in a hidden folder beside OUT until OUT is written. A run that was stopped, killed or had no space left
goes on from there when the same command is given again, and ends with the same bytes.

--search leaves as few layers in float as the accuracy of --search-target takes, and chooses the calibrators. The best so far is in OUT at any time;
a search that was stopped goes on when the same command is given again.`,
		Example: `  neuroquant quantize model.onnx out/ --method dynamic
  neuroquant quantize model.onnx out/ --method dynamic --keep 'head*' --dry-run
  neuroquant quantize model.onnx out/ --method static --data images/ --search --search-target drop=0.005
  neuroquant quantize model.pt out/ --method dynamic --format pt
  neuroquant quantize ./llama out/ --method gptq --format gptq,awq,gguf --data calibration.txt
  neuroquant quantize model.onnx out/ --config run.yaml --data images/ --size 256 --crop 224`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := a.settings(cmd.Flags(), configFile, neuroquant.DefaultConfig(), flags)
			if err != nil {
				return err
			}
			if report == "" {
				report = cfg.AnalysisReportPath
			}
			out := cfg.QuantizedModelPath
			if len(args) == 2 {
				out = args[1]
			}
			if out == "" && cfg.SaveQuantizedModel && !dryRun {
				return usagef("quantize: OUT is missing: the folder to write to (or quantized_model_path in the configuration)")
			}
			if err := d.check(cmd.Flags()); err != nil {
				return err
			}
			m := neuroquant.NewManager(cfg)
			if cfg.SaveQuantizedModel {
				m.KeepWork(out)
			}
			if dryRun {
				return a.dryRun(cmd.Context(), m, args[0], out, placement)
			}
			if cfg.SaveQuantizedModel {
				check := neuroquant.CheckOutput
				if cfg.Search {
					check = neuroquant.CheckSearchOutput
				}
				if err := check(out, force); err != nil {
					return err
				}
			}
			var c *comparison
			if d.given() || report != "" { // what it needs is opened first, so that mistakes cost no work
				d.length = cfg.CalibrationLength
				if c, err = a.comparison(cmd.Context(), &d, args[0], out, report, force); err != nil {
					return err
				}
				defer c.close()
			}
			if needsData(cfg.Method) || cfg.SmoothQuant {
				none := c == nil || c.set == nil
				if none && cfg.BiasCorrection && cmd.Flags().Changed("bias-correction") {
					return usagef("--bias-correction needs samples: give them with --data")
				}
				own := false
				if none && cfg.WritesCalibration() {
					if own, err = a.predictsText(cmd.Context(), args[0]); err != nil {
						return err
					}
				}
				if none && !own && len(cfg.Stats) == 0 {
					return usagef("method %s needs calibration samples: give them with --data, such as --data images/ (random:64 works too, but scales found on noise do not fit real inputs), or what 'neuroquant calibrate' wrote with --stats", cfg.Method)
				}
				if !none {
					m.Calibrate(c.set)
				}
			}
			if cfg.Search && (c == nil || c.set == nil) {
				return usagef("--search needs samples to measure accuracy on: give them with --data")
			}
			var res *neuroquant.Result
			if cfg.Search {
				res, err = a.search(cmd.Context(), m, c, args[0], out, force)
			} else {
				res, err = m.Quantize(cmd.Context(), args[0])
			}
			if err != nil {
				return goesOn(m, err)
			}
			defer res.Close()
			doc := &quantizeResult{Method: cfg.Method, DType: cfg.StoredAs(), Decisions: res.Decisions, OriginalBytes: res.InputBytes(), Calibration: res.Calibration, CalibrationText: res.CalibrationText, Experts: res.Experts, Repairs: res.Repairs, Search: res.SearchPicture, Placement: res.Placement}
			if cfg.SaveQuantizedModel {
				if !cfg.Search { // which has written it
					if err := m.Save(cmd.Context(), res, out, force); err != nil {
						return goesOn(m, err)
					}
				}
				doc.Output, doc.File, doc.QuantizedBytes = out, filepath.Base(res.Path()), res.DiskBytes()
				if dir := filepath.Dir(res.Path()); dir != filepath.Clean(out) { // the first of several formats
					doc.Output = dir
				}
				doc.CompressionRatio = float64(doc.OriginalBytes) / float64(max(doc.QuantizedBytes, 1))
			}
			// Of layers in a language model's folder each error is known, and token ids are as much of a text as words are.
			solved := len(res.Errors) > 0 && res.Config.Format != "onnx"
			if c != nil && (report != "" || !d.text() && !solved) {
				if err := a.measure(cmd.Context(), c, res, doc); err != nil {
					if doc.Output != "" {
						err = fmt.Errorf("%s is written and complete, but comparing it with the original failed: %w", doc.Output, err)
					}
					return err
				}
			}
			return a.printQuantized(doc, placement)
		},
	}
	f := c.Flags()
	configFlags(f, &flags)
	f.StringVar(&configFile, "config", "", "YAML file with a quantization block; flags override it")
	f.BoolVar(&dryRun, "dry-run", false, "print what would be done to every layer, and the sizes; write nothing")
	f.BoolVar(&placement, "print-placement", false, "print where codes are, a line for each node: what is computed on codes, what shares a scale, what stays in float and why; with --dry-run before anything is calibrated (static)")
	f.BoolVar(&force, "force", false, "replace files of an OUT that exists")
	f.StringVar(&report, "report", "", "also write the analysis report to this folder")
	d.add(f)
	d.addRun(f)
	complete(c, "method", neuroquant.MethodNames(true)...)
	complete(c, "dtype", neuroquant.Methods()[0].DTypes...)
	complete(c, "device", "auto", "cpu")
	complete(c, "search-calibrators", "mse", "minmax", "moving_average", "percentile", "entropy")
	complete(c, "format", "auto", "onnx", "pt", "gptq", "gptq_v2", "awq", "compressed-tensors")
	complete(c, "weight-ranges", "minmax", "mse")
	complete(c, "activations", "quint8", "qint8", "quint16", "qint16")
	complete(c, "quant-format", "qdq", "qoperator")
	complete(c, "reduce-range", "none", "needed", "all")
	return c
}

// predictsText reports whether the model at path is a language model with a tokenizer.
func (a *app) predictsText(ctx context.Context, path string) (bool, error) {
	m, err := a.open(ctx, path)
	if err != nil {
		return false, err
	}
	return m.PredictsText(), m.Close()
}

// goesOn says of a run that keeps its work and ended early, by an interrupt or for want of space, how it goes on.
func goesOn(m *neuroquant.Manager, err error) error {
	dir := m.WorkFolder()
	switch {
	case dir == "":
	case errors.Is(err, context.Canceled):
		return &interruptedError{fmt.Sprintf("interrupted; what is finished is in %s: the same command goes on from there", dir)}
	case fullDisk(err):
		return fmt.Errorf("%w; what is finished is in %s: with more space the same command goes on from there", err, dir)
	}
	return err
}

// fullDisk reports whether an error is that there is no space left, in any of the ways in which systems say so.
func fullDisk(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

func needsData(method string) bool {
	for _, m := range neuroquant.Methods() {
		if m.Name == method {
			return m.Data
		}
	}
	return false
}

// configFlags binds the settings to flags named like their keys, dashes for underscores.
func configFlags(f *pflag.FlagSet, c *neuroquant.Config) {
	f.StringVar(&c.Method, "method", c.Method, "how to quantize; see 'neuroquant list'")
	f.StringVar(&c.DType, "dtype", c.DType, "what weights are stored in: qint8, quint8, qint4, float16, bfloat16")
	f.StringVar(&c.Device, "device", c.Device, "auto or cpu")
	f.BoolVar(&c.TrustRemoteCode, "trust-remote-code", c.TrustRemoteCode, "accepted for compatibility: code in a model is never executed")
	f.StringVar(&c.Format, "format", c.Format, "what is written: onnx, the quantized graph; pt, a PyTorch state dict of the rounded weights in float; gptq, gptq_v2, awq, compressed-tensors, a Hugging Face folder in that layout; auto: what fits; several with commas between, such as gptq,awq,gguf: each in a folder of its name, from the same codes")
	f.BoolVar(&c.PTQint8, "pt-qint8", c.PTQint8, "format pt: linear layers as PyTorch's packed qint8 tensors, the state dict of torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}) (dynamic, dtype qint8)")
	f.BoolVar(&c.PerChannel, "per-channel", c.PerChannel, "one scale per output channel; --per-channel=false: one per weight")
	f.StringArrayVar(&c.Keep, "keep", nil, "layers to leave in float: a pattern over layer names, weight names and operators; may be given several times")
	f.StringArrayVar(&c.Only, "only", nil, "quantize these layers only: patterns as in --keep")
	f.BoolVar(&c.LMHead, "lm-head", c.LMHead, "quantize the layer that gives logits too; 'plan' names the loaders that take it (gptq, awq, rtn, bitsandbytes, w8a8)")
	f.IntVar(&c.Bits, "bits", c.Bits, "bits per weight (gptq, awq, rtn)")
	f.IntVar(&c.GroupSize, "group-size", c.GroupSize, "weights that share a scale; -1: a whole row (gptq, awq, rtn)")
	f.BoolVar(&c.DescAct, "desc-act", c.DescAct, "columns by falling activation size (gptq)")
	f.BoolVar(&c.Sym, "sym", c.Sym, "codes around a middle one; --sym=false: with a zero point (gptq, rtn)")
	f.BoolVar(&c.StaticGroups, "static-groups", c.StaticGroups, "with --desc-act: groups as they lie in the matrix (gptq)")
	f.BoolVar(&c.ActGroupAware, "act-group-aware", c.ActGroupAware, "groups, and columns inside them, by falling activation size (gptq)")
	f.Float64Var(&c.DampPercent, "damp-percent", c.DampPercent, "what is added to the diagonal of the Hessian, as a share of its mean (gptq)")
	f.Float64Var(&c.MSE, "mse", c.MSE, "exponent of the error by which ranges are searched for; 0: whole ranges (gptq)")
	f.BoolVar(&c.GPTAQ, "gptaq", c.GPTAQ, "calibrate with the activations of the original network as well (gptq)")
	f.StringVar(&c.MaxMemory, "max-memory", c.MaxMemory, "most memory to take, such as 4GiB: what does not fit lies in files; empty: as much as it needs (gptq, awq)")
	f.BoolVar(&c.LoadIn4Bit, "load-in-4bit", c.LoadIn4Bit, "4-bit weights (bitsandbytes)")
	f.BoolVar(&c.LoadIn8Bit, "load-in-8bit", c.LoadIn8Bit, "8-bit weights (bitsandbytes)")
	f.StringVar(&c.BnB4BitComputeDType, "bnb-4bit-compute-dtype", c.BnB4BitComputeDType, "type to compute in (bitsandbytes)")
	f.StringVar(&c.BnB4BitQuantType, "bnb-4bit-quant-type", c.BnB4BitQuantType, "nf4 or fp4 (bitsandbytes)")
	f.IntVar(&c.BnB4BitBlockSize, "bnb-4bit-blocksize", c.BnB4BitBlockSize, "weights that share a scale with 4 bits, a power of two from 32 to 4096 (bitsandbytes)")
	f.Float64Var(&c.LLMInt8Threshold, "llm-int8-threshold", c.LLMInt8Threshold, "with 8 bits, activations of at least this size are multiplied in float; 0: none (bitsandbytes)")
	f.BoolVar(&c.BnB4BitUseDoubleQuant, "bnb-4bit-use-double-quant", c.BnB4BitUseDoubleQuant, "quantize the scales too (bitsandbytes)")
	f.StringVar(&c.Calibrator, "calibrator", c.Calibrator, "how ranges follow from calibration: mse, minmax, moving_average, percentile or entropy (static)")
	f.Float64Var(&c.Percentile, "percentile", c.Percentile, "percentage of values inside the range, for the calibrator percentile (static)")
	f.StringVar(&c.WeightRanges, "weight-ranges", c.WeightRanges, "what scales of weights cover: minmax, all values; mse, the range that loses least (static)")
	f.BoolVar(&c.BiasCorrection, "bias-correction", c.BiasCorrection, "correct biases and scales of weights by what layers are off by on average on the samples of --data (static)")
	f.StringVar(&c.Activations, "activations", c.Activations, "what activations are held in: quint8, qint8, quint16 or qint16; those of 16 bits are computed in float between the codes where a runtime has no integer operators for them (static)")
	f.BoolVar(&c.SymmetricActivations, "symmetric-activations", c.SymmetricActivations, "codes of activations with zero in the middle (static)")
	f.IntVar(&c.BlockSize, "block-size", c.BlockSize, "weights along the inputs of a layer that share a scale, a power of two of at least 16; 0: all of a channel (static)")
	f.StringVar(&c.QuantFormat, "quant-format", c.QuantFormat, "how integer operators are written: float ones between QuantizeLinear and DequantizeLinear (qdq), or QLinearConv and its like (qoperator) (static)")
	f.StringVar(&c.ReduceRange, "reduce-range", c.ReduceRange, "weights of 7 bits for CPUs without VNNI: none, needed (only channels that can overflow) or all (static)")
	calibrationFlags(f, c)
	searchFlags(f, c)
}

// calibrationFlags binds the settings of how values are observed.
func calibrationFlags(f *pflag.FlagSet, c *neuroquant.Config) {
	f.BoolVar(&c.SmoothQuant, "smooth-quant", c.SmoothQuant, "scale channels so that activations with outlying channels become even (static, w8a8)")
	f.Float64Var(&c.SmoothQuantAlpha, "smooth-quant-alpha", c.SmoothQuantAlpha, "how much of the difference --smooth-quant moves from activations into weights, between 0 and 1 (static, w8a8)")
	f.IntVar(&c.NumCalibrationSamples, "num-calibration-samples", c.NumCalibrationSamples, "samples to calibrate with (static, gptq, awq, w8a8)")
	f.IntVar(&c.CalibrationLength, "calibration-length", c.CalibrationLength, "tokens of a calibration sample of text (gptq, awq, w8a8)")
	f.Uint64Var(&c.CalibrationSeed, "calibration-seed", c.CalibrationSeed, "of the texts that a language model writes itself where there is no --data (gptq, awq, w8a8)")
	f.IntVar(&c.CalibrationBatchSize, "calibration-batch-size", c.CalibrationBatchSize, "samples per call while calibrating; more are faster and take more memory (static)")
	f.BoolVar(&c.CrossLayerEqualization, "cross-layer-equalization", c.CrossLayerEqualization, "scale channels so that weights which follow each other have equal ranges (static)")
	f.StringArrayVar(&c.Stats, "stats", nil, "a file of calibration statistics that 'neuroquant calibrate' wrote, in place of samples; may be given several times, they are merged (static)")
}

// settings merges the defaults cfg, the configuration file and the flags that were given, and checks the result.
func (a *app) settings(f *pflag.FlagSet, file string, cfg, flags neuroquant.Config) (neuroquant.Config, error) {
	if file != "" {
		var err error
		if cfg, err = neuroquant.LoadConfig(file); err != nil {
			return cfg, configError(err)
		}
	}
	fromFlags := map[string]func(){
		"method": func() { cfg.Method = flags.Method }, "dtype": func() { cfg.DType = flags.DType }, "device": func() { cfg.Device = flags.Device },
		"trust-remote-code": func() { cfg.TrustRemoteCode = flags.TrustRemoteCode }, "per-channel": func() { cfg.PerChannel = flags.PerChannel },
		"keep": func() { cfg.Keep = flags.Keep }, "only": func() { cfg.Only = flags.Only }, "bits": func() { cfg.Bits = flags.Bits },
		"group-size": func() { cfg.GroupSize = flags.GroupSize }, "desc-act": func() { cfg.DescAct = flags.DescAct },
		"sym": func() { cfg.Sym = flags.Sym }, "static-groups": func() { cfg.StaticGroups = flags.StaticGroups }, "act-group-aware": func() { cfg.ActGroupAware = flags.ActGroupAware },
		"damp-percent": func() { cfg.DampPercent = flags.DampPercent }, "mse": func() { cfg.MSE = flags.MSE }, "gptaq": func() { cfg.GPTAQ = flags.GPTAQ },
		"calibration-length": func() { cfg.CalibrationLength = flags.CalibrationLength },
		"calibration-seed":   func() { cfg.CalibrationSeed = flags.CalibrationSeed },
		"lm-head":            func() { cfg.LMHead = flags.LMHead },
		"max-memory":         func() { cfg.MaxMemory = flags.MaxMemory },
		"load-in-4bit":       func() { cfg.LoadIn4Bit = flags.LoadIn4Bit }, "load-in-8bit": func() { cfg.LoadIn8Bit = flags.LoadIn8Bit },
		"bnb-4bit-compute-dtype":    func() { cfg.BnB4BitComputeDType = flags.BnB4BitComputeDType },
		"bnb-4bit-quant-type":       func() { cfg.BnB4BitQuantType = flags.BnB4BitQuantType },
		"bnb-4bit-blocksize":        func() { cfg.BnB4BitBlockSize = flags.BnB4BitBlockSize },
		"llm-int8-threshold":        func() { cfg.LLMInt8Threshold = flags.LLMInt8Threshold },
		"bnb-4bit-use-double-quant": func() { cfg.BnB4BitUseDoubleQuant = flags.BnB4BitUseDoubleQuant },
		"calibrator":                func() { cfg.Calibrator = flags.Calibrator }, "percentile": func() { cfg.Percentile = flags.Percentile },
		"format": func() { cfg.Format = flags.Format }, "pt-qint8": func() { cfg.PTQint8 = flags.PTQint8 },
		"cross-layer-equalization": func() { cfg.CrossLayerEqualization = flags.CrossLayerEqualization }, "smooth-quant": func() { cfg.SmoothQuant = flags.SmoothQuant },
		"smooth-quant-alpha": func() { cfg.SmoothQuantAlpha = flags.SmoothQuantAlpha }, "bias-correction": func() { cfg.BiasCorrection = flags.BiasCorrection },
		"weight-ranges": func() { cfg.WeightRanges = flags.WeightRanges },
		"activations":   func() { cfg.Activations = flags.Activations }, "symmetric-activations": func() { cfg.SymmetricActivations = flags.SymmetricActivations },
		"block-size":              func() { cfg.BlockSize = flags.BlockSize },
		"quant-format":            func() { cfg.QuantFormat = flags.QuantFormat },
		"reduce-range":            func() { cfg.ReduceRange = flags.ReduceRange },
		"num-calibration-samples": func() { cfg.NumCalibrationSamples = flags.NumCalibrationSamples },
		"calibration-batch-size":  func() { cfg.CalibrationBatchSize = flags.CalibrationBatchSize }, "stats": func() { cfg.Stats = flags.Stats },
	}
	searchFromFlags(fromFlags, &cfg, &flags)
	f.Visit(func(x *pflag.Flag) {
		if set := fromFlags[x.Name]; set != nil {
			set()
		}
	})
	if err := cfg.Validate(); err != nil {
		return cfg, &usageError{flagNames(err)}
	}
	return cfg, nil
}

// flagNames words errors about settings in terms of flags.
func flagNames(err error) error {
	var lines []string
	var walk func(error)
	walk = func(e error) {
		if j, ok := e.(interface{ Unwrap() []error }); ok {
			for _, x := range j.Unwrap() {
				walk(x)
			}
			return
		}
		var f *neuroquant.FieldError
		if errors.As(e, &f) {
			lines = append(lines, fmt.Sprintf("--%s: %v", strings.ReplaceAll(f.Key, "_", "-"), f.Err))
			return
		}
		lines = append(lines, e.Error())
	}
	walk(err)
	return errors.New(strings.Join(lines, "\n"))
}

func (a *app) dryRun(ctx context.Context, m *neuroquant.Manager, model, out string, placement bool) error {
	p, err := m.Plan(ctx, model)
	if err != nil {
		return err
	}
	doc := &quantizeResult{
		Output: out, Method: p.Method, DType: p.DType, OriginalBytes: p.OriginalBytes, QuantizedBytes: p.QuantizedBytes,
		CompressionRatio: p.CompressionRatio, DryRun: true, Decisions: p.Decisions, Placement: p.Placement,
	}
	if a.json {
		return a.printJSON(doc)
	}
	a.decisions(p.Decisions)
	if placement {
		a.printf("\n")
		a.placement(p.Placement)
	}
	a.printf("\nparameters %s -> %s (%.2fx); nothing was written\n", report.Bytes(p.OriginalBytes), report.Bytes(p.QuantizedBytes), p.CompressionRatio)
	return nil
}

// comparison is what measuring a result against its original takes.
type comparison struct {
	data   *dataFlags
	orig   *neuroquant.Model
	set    data.Set // nil: random inputs
	report string   // folder; empty: none
	force  bool
}

func (a *app) comparison(ctx context.Context, d *dataFlags, model, out, report string, force bool) (*comparison, error) {
	if report != "" {
		if filepath.Clean(report) == filepath.Clean(out) {
			return nil, usagef("--report: %s is where the model goes; name another folder", report)
		}
		if err := neuroquant.CheckOutput(report, force); err != nil {
			return nil, err
		}
	}
	c := &comparison{data: d, report: report, force: force}
	var err error
	if c.orig, err = a.open(ctx, model); err != nil {
		return nil, err
	}
	if c.set, err = d.open(c.orig); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *comparison) close() {
	if c.set != nil {
		_ = c.set.Close()
	}
	_ = c.orig.Close()
}

// measure compares the result with the original and adds what it found to doc.
func (a *app) measure(ctx context.Context, c *comparison, res *neuroquant.Result, doc *quantizeResult) error {
	quant := res.Model
	if doc.Output != "" && res.Config.Format != "pt" { // measure what was written
		var err error
		if quant, err = a.open(ctx, doc.Output); err != nil {
			return err
		}
		defer quant.Close()
	}
	an := &neuroquant.Analyzer{Original: c.orig, Quantized: quant, Batch: c.data.batch, Threads: a.threads, Output: c.data.output, Seed: c.data.seed}
	if c.report == "" {
		var err error
		doc.Accuracy, err = an.CompareAccuracy(ctx, c.set)
		return err
	}
	r, err := an.GenerateReport(ctx, c.set, c.data.describe(), c.report, c.force)
	if err != nil {
		return err
	}
	doc.Accuracy, doc.Report = r.Accuracy, c.report
	return nil
}

func (a *app) printQuantized(doc *quantizeResult, placement bool) error {
	if a.json {
		return a.printJSON(doc)
	}
	quantized := 0
	var kept []neuroquant.Decision
	for _, x := range doc.Decisions {
		if x.Quantized {
			quantized++
		} else {
			kept = append(kept, x)
		}
	}
	a.printf("%d of %d weights quantized (%s, %s)\n", quantized, len(doc.Decisions), doc.Method, doc.DType)
	if len(kept) > 0 {
		a.decisions(kept)
	}
	if placement {
		a.placement(doc.Placement)
	}
	a.diagnosis(doc.Calibration, false)
	a.experts(doc.Experts)
	if doc.CalibrationText != nil {
		a.printf("%v\n", doc.CalibrationText)
	}
	for _, r := range doc.Repairs {
		a.printf("%s\n", r)
	}
	a.printSearch(doc.Search)
	if doc.Output != "" {
		a.printf("%s -> %s (%.2fx smaller)\nwritten to %s: %s, neuroquant.json\n", report.Bytes(doc.OriginalBytes), report.Bytes(doc.QuantizedBytes), doc.CompressionRatio, doc.Output, doc.File)
	}
	a.accuracy(doc.Accuracy)
	if doc.Report != "" {
		a.printf("report in %s: report.html, report.md, report.json\n", doc.Report)
	}
	return nil
}

// experts prints how many calibration tokens experts saw.
func (a *app) experts(list []neuroquant.ExpertCoverage) {
	var rows [][]string
	for _, e := range list {
		few := fmt.Sprint(len(e.Few))
		if len(e.Few) > 0 {
			few += fmt.Sprintf(" %v", e.Few)
		}
		sum := 0
		for _, n := range e.Tokens {
			sum += n
		}
		rows = append(rows, []string{e.Mixture, fmt.Sprint(len(e.Tokens)), fmt.Sprint(slices.Min(e.Tokens)), fmt.Sprint(sum / len(e.Tokens)), fmt.Sprint(slices.Max(e.Tokens)), few})
	}
	if len(rows) > 0 {
		a.table([]string{"tokens of", "experts", "least", "mean", "most", "too few"}, rows, 1, 2, 3, 4)
	}
}

// placement prints lines that say where codes are.
func (a *app) placement(lines []string) {
	if len(lines) == 0 {
		a.printf("the method places no quantizers: activations are not held in codes of constant scales\n")
	}
	for _, l := range lines {
		a.printf("%s\n", l)
	}
}

func (a *app) decisions(list []neuroquant.Decision) {
	var rows [][]string
	for _, d := range list {
		rows = append(rows, []string{d.Layer, d.Op, fmt.Sprint(d.Shape), d.Stored, report.Bytes(int64(d.Before)), report.Bytes(int64(d.After)), d.Why})
	}
	a.table([]string{"layer", "operator", "weight", "stored as", "before", "after", "why"}, rows, 4, 5)
}

func (a *app) accuracy(x *neuroquant.Accuracy) {
	if x == nil {
		return
	}
	if x.Original != nil {
		a.printf("top-1 %s -> %s, top-5 %s -> %s, loss %.4f -> %.4f on %d samples\n", percent(x.Original.Top1), percent(x.Quantized.Top1),
			percent(x.Original.Top5), percent(x.Quantized.Top5), x.Original.Loss, x.Quantized.Loss, x.Samples)
	}
	if x.Agreement != nil {
		a.printf("same class first on %s of %d samples\n", percent(*x.Agreement), x.Samples)
	}
	for _, o := range x.Outputs {
		a.printf("output %s: SQNR %s dB, cosine %.6f, largest difference %.4g\n", o.Name, report.DB(o.SQNR), o.Cosine, o.MaxDiff)
		if o.NonFinite > 0 {
			a.printf("output %s: %d values are NaN or infinite in one of the models only\n", o.Name, o.NonFinite)
		}
	}
}
