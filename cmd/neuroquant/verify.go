package main

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

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

The exit status is 1 if ONNX Runtime does not load QUANTIZED, if less than 99.9 % of the 8-bit codes of an operator are within one of ONNX
Runtime's, if another operator is less than 40 dB near it, if both runtimes differ more from each other than QUANTIZED from ORIGINAL, or if an output
keeps less than --min-sqnr.`,
		Example: `  neuroquant verify model.onnx out/ --data test.npy
  neuroquant verify model.onnx out/ --data images/ --python ~/venv/bin/python --min-sqnr 25`,
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
			set, err := d.open(orig)
			if err != nil {
				return err
			}
			if set != nil {
				defer set.Close()
			}
			an := &neuroquant.Analyzer{Original: orig, Quantized: quant, Batch: d.batch, Threads: a.threads, Output: d.output, Seed: d.seed}
			v, err := an.Verify(ctx, set, d.describe(), o)
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
	f.BoolVar(&all, "all", false, "list every operator and layer, not the worst only")
	d.add(f)
	d.addRun(f)
	return c
}

// shownWorst is how many of the worst operators are shown where not all are asked for.
const shownWorst = 10

func (a *app) verification(v *neuroquant.Verification, all bool) {
	if v.Runtime != "" {
		a.printf("%s of %s; %d samples (%s)\n\n", v.Runtime, v.Python, v.Samples, v.Data)
	} else {
		a.printf("%s; compared here only, on %d samples (%s)\n\n", cmp.Or(v.Missing, "ONNX Runtime was left out"), v.Samples, v.Data)
	}
	var rows [][]string
	for _, p := range v.Outputs {
		for _, o := range p.Outputs {
			rows = append(rows, []string{p.What, o.Name, report.DB(o.SQNR) + " dB", fmt.Sprintf("%.4g", o.MaxDiff), agreementText(p.Agreement)})
		}
	}
	a.table([]string{"outputs", "", "SQNR", "largest difference", "same class first"}, rows, 2, 3, 4)
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
