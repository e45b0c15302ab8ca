package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/internal/report"
)

func (a *app) verifyCommand() *cobra.Command {
	var d dataFlags
	var o neuroquant.VerifyOptions
	var all bool
	c := &cobra.Command{
		Use:   "verify ORIGINAL QUANTIZED [--data D]",
		Short: "Check a quantized model against its original and against ONNX Runtime, operator by operator",
		Long: `Compare QUANTIZED with ORIGINAL, here and, where a Python with the packages onnxruntime and numpy is installed, in ONNX Runtime: the outputs of
both models in both, and every operator of QUANTIZED by itself, computed from the same values here and there. Without --data the inputs are random.

Of language models, Hugging Face folders and GGUF files, every tensor of QUANTIZED is decoded and compared with that of ORIGINAL, and both predict the
tokens of --data, or of a prompt with what ORIGINAL makes of it: logits, the most probable token and the Kullback-Leibler divergence. --weights-only
holds one tensor at a time, for models larger than memory. ONNX Runtime is asked only where --python names it.

The exit status is 1 if ONNX Runtime does not load QUANTIZED, if less than 99.9 % of the 8-bit codes of an operator are within one of ONNX
Runtime's, if another operator is less than 40 dB near it, if both runtimes differ more from each other than QUANTIZED from ORIGINAL, or if an output
keeps less than --min-sqnr. Of language models also if a tensor is missing, decodes to values that are not finite, or if --min-weight-sqnr, --min-agreement or
--max-divergence is not kept.`,
		Example: `  neuroquant verify model.onnx out/ --data test.npy
  neuroquant verify model.onnx out/ --data images/ --python ~/venv/bin/python --min-sqnr 25
  neuroquant verify ./llama ./llama-gptq --prompt 'The capital of France is' --min-agreement 0.9
  neuroquant verify ./llama ./llama-gptq --weights-only`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := d.check(cmd.Flags()); err != nil {
				return err
			}
			if o.Here && o.Python != "" {
				return usagef("--here: not with --python")
			}
			ctx := cmd.Context()
			orig, err := a.open(ctx, args[0])
			if err != nil {
				return err
			}
			defer orig.Close()
			quant, err := a.open(ctx, args[1])
			if err != nil {
				return err
			}
			defer quant.Close()
			an := &neuroquant.Analyzer{Original: orig, Quantized: quant, Batch: d.batch, Threads: a.threads, Output: d.output, Seed: d.seed}
			v, err := verified(ctx, cmd.Flags(), an, &d, o)
			if err != nil {
				return err
			}
			if a.json {
				if err := a.printJSON(v); err != nil {
					return err
				}
			} else {
				a.verification(v, all)
			}
			if n := len(v.Failed); n > 0 {
				return fmt.Errorf("verify: %s: %d of the checks failed; the first: %s", args[1], n, v.Failed[0])
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&o.Python, "python", "", "the Python that has onnxruntime; default: python3 or python of the search path, if it has")
	f.BoolVar(&o.Here, "here", false, "leave ONNX Runtime out")
	f.Float64Var(&o.MinSQNR, "min-sqnr", 0, "what every output has to keep, in dB; 0: anything")
	f.StringVar(&o.Prompt, "prompt", "", "language models: what both continue where no --data is given (default "+fmt.Sprintf("%q", neuroquant.DefaultPrompt)+")")
	f.IntVar(&o.Tokens, "tokens", 0, "language models: by how many tokens the prompt is continued (default 32)")
	f.IntVar(&o.Context, "context", 0, "language models: tokens of a window of --data; default 512, or what the model was made for if that is less")
	f.IntVar(&o.Windows, "windows", 0, "language models: windows of --data to compare on at most (default 16)")
	f.BoolVar(&o.WeightsOnly, "weights-only", false, "language models: decode and compare the weights, one after the other, and run neither model")
	f.Float64Var(&o.MinWeightSQNR, "min-weight-sqnr", 0, "language models: what every decoded matrix has to keep, in dB; 0: 6 for every bit but two")
	f.Float64Var(&o.MinAgreement, "min-agreement", 0, "language models: share of tokens for which both have to find the same most probable, such as 0.9; 0: anything")
	f.Float64Var(&o.MaxDivergence, "max-divergence", 0, "language models: largest mean Kullback-Leibler divergence of the predictions, in nats; 0: anything")
	f.BoolVar(&all, "all", false, "list every operator and layer, not the worst only")
	d.add(f)
	d.addRun(f)
	return c
}

// textOnly are the flags for language models.
var textOnly = []string{"prompt", "tokens", "context", "windows", "weights-only", "min-weight-sqnr", "min-agreement", "max-divergence"}

// verified compares language models by their weights and predictions, others by their outputs.
func verified(ctx context.Context, f *pflag.FlagSet, an *neuroquant.Analyzer, d *dataFlags, o neuroquant.VerifyOptions) (*neuroquant.Verification, error) {
	if an.Original.PredictsText() && an.Quantized.PredictsText() {
		if d.given() && (f.Changed("prompt") || f.Changed("tokens")) {
			return nil, usagef("--prompt, --tokens: not with --data")
		}
		if !d.given() && (f.Changed("context") || f.Changed("windows")) {
			return nil, usagef("--context, --windows: only with --data")
		}
		var texts []string
		for _, path := range d.specs {
			list, err := neuroquant.ReadTexts(path)
			if err != nil {
				return nil, err
			}
			texts = append(texts, list...)
		}
		return an.VerifyText(ctx, texts, d.describe(), o)
	}
	for _, name := range textOnly {
		if f.Changed(name) {
			return nil, usagef("--%s: only for language models with their tokenizers", name)
		}
	}
	set, err := d.open(an.Original)
	if err != nil {
		return nil, err
	}
	if set != nil {
		defer set.Close()
	}
	return an.Verify(ctx, set, d.describe(), o)
}

// shownWorst is how many of the worst operators are shown where not all are asked for.
const shownWorst = 10

func (a *app) verification(v *neuroquant.Verification, all bool) {
	switch {
	case v.Samples == 0:
	case v.Prompt != "":
		a.printf("prompt %q, continued by the original with %q\n\n", v.Prompt, v.Answer)
	case v.Runtime != "":
		a.printf("%s of %s; %d samples (%s)\n\n", v.Runtime, v.Python, v.Samples, v.Data)
	default:
		a.printf("%s; compared here only, on %d samples (%s)\n\n", cmp.Or(v.Missing, "ONNX Runtime was left out"), v.Samples, v.Data)
	}
	a.weightErrors(v.Weights, all)
	if d := v.Divergence; d != nil {
		a.printf("\npredictions of %d tokens\n", v.Perplexity.Predicted)
		a.divergence(d)
		a.printf("\n")
	}
	var rows [][]string
	for _, p := range v.Outputs {
		for _, o := range p.Outputs {
			rows = append(rows, []string{p.What, o.Name, report.DB(o.SQNR) + " dB", fmt.Sprintf("%.4g", o.MaxDiff), agreementText(p.Agreement)})
		}
	}
	if len(rows) > 0 {
		a.table([]string{"outputs", "", "SQNR", "largest difference", "same class first"}, rows, 2, 3, 4)
	}
	ops := slices.Clone(v.Operators)
	if !all {
		slices.SortStableFunc(ops, func(x, y neuroquant.OperatorParity) int {
			return cmp.Or(cmp.Compare(x.Within, y.Within), cmp.Compare(x.Equal, y.Equal))
		})
		ops = ops[:min(len(ops), shownWorst)]
	}
	if len(ops) > 0 {
		rows = nil
		for _, p := range ops {
			near := "-"
			if p.Bytes() {
				near = fmt.Sprintf("%.4f %%", 100*p.Within)
			}
			rows = append(rows, []string{p.Node, p.Operator, p.DType, fmt.Sprint(p.Values), fmt.Sprintf("%.4f %%", 100*p.Equal), near, report.DB(p.SQNR) + " dB"})
		}
		a.printf("\n%d operators here and in ONNX Runtime, each from the same values%s\n", len(v.Operators), worstText(len(ops), len(v.Operators)))
		a.table([]string{"node", "operator", "result", "values", "equal", "within one", "SQNR"}, rows, 3, 4, 5, 6)
	}
	layers := slices.Clone(v.Layers)
	if !all {
		slices.SortStableFunc(layers, func(x, y neuroquant.LayerError) int { return cmp.Compare(orMost(x.SQNR), orMost(y.SQNR)) })
		layers = layers[:min(len(layers), shownWorst)]
	}
	if len(layers) > 0 {
		rows = nil
		for _, l := range layers {
			rows = append(rows, []string{l.Layer, l.Op, report.DB(l.SQNR) + " dB", fmt.Sprintf("%.4g", l.MaxDiff)})
		}
		a.printf("\nvalues of the quantized model against the original's, here%s\n", worstText(len(layers), len(v.Layers)))
		a.table([]string{"layer", "operator", "SQNR", "largest difference"}, rows, 2, 3)
	}
	for _, n := range v.Notes {
		a.printf("note: %s\n", n)
	}
	for _, f := range v.Failed {
		a.printf("failed: %s\n", f)
	}
	if len(v.Failed) == 0 {
		a.printf("verified\n")
	}
}

// weightErrors prints decoded tensors against the original's: matrices of codes, and others that are not what they were.
func (a *app) weightErrors(list []neuroquant.WeightError, all bool) {
	var of []neuroquant.WeightError
	codes, same := 0, 0
	for _, w := range list {
		switch {
		case w.Quantized:
			codes++
		case w.SQNR == nil:
			same++
		}
		if w.Quantized || w.SQNR != nil {
			of = append(of, w)
		}
	}
	if len(list) == 0 {
		return
	}
	shown := of
	if !all {
		shown = slices.Clone(of)
		slices.SortStableFunc(shown, func(x, y neuroquant.WeightError) int { return cmp.Compare(orMost(x.SQNR), orMost(y.SQNR)) })
		shown = shown[:min(len(shown), shownWorst)]
	}
	a.printf("%d decoded tensors against the original's: %d matrices of codes, %d of the others equal%s\n", len(list), codes, same, worstText(len(shown), len(of)))
	var rows [][]string
	for _, w := range shown {
		up := ""
		if w.Rescaled {
			up = "up to scales"
		}
		rows = append(rows, []string{w.Tensor, w.Stored, fmt.Sprint(w.Shape), report.DB(w.SQNR) + " dB", fmt.Sprintf("%.4g", w.MaxDiff), fmt.Sprintf("%.6f", w.Cosine), up})
	}
	if len(rows) > 0 {
		a.table([]string{"tensor", "stored as", "shape", "SQNR", "largest difference", "cosine", ""}, rows, 3, 4, 5)
	}
}

func worstText(shown, of int) string {
	if shown == of {
		return ""
	}
	return fmt.Sprintf(" (the worst %d; --all shows all)", shown)
}

func agreementText(x *float64) string {
	if x == nil {
		return ""
	}
	return percent(*x)
}

// orMost is a ratio for sorting: what is exact comes last.
func orMost(db *float64) float64 {
	if db == nil {
		return 1e9
	}
	return *db
}
