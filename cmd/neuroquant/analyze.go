package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/internal/report"
)

func (a *app) analyzeCommand() *cobra.Command {
	var d dataFlags
	var runs, warmUp int
	var force bool
	c := &cobra.Command{
		Use:   "analyze ORIGINAL QUANTIZED OUT [--data D]",
		Short: "Compare a quantized model with its original: size, speed, accuracy, error by layer",
		Long: `Compare QUANTIZED with ORIGINAL and write report.html, report.md and report.json to the folder OUT. Without --data
the inputs are random, and the report says so.`,
		Example: `  neuroquant analyze model.onnx out/ report/ --data test.npy --labels test_labels.npy`,
		Args:    cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := d.check(cmd.Flags()); err != nil {
				return err
			}
			if runs < 0 || warmUp < 0 {
				return usagef("--runs, --warm-up: want 0 or more, got %d and %d", runs, warmUp)
			}
			ctx := cmd.Context()
			if err := neuroquant.CheckOutput(args[2], force); err != nil {
				return err
			}
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
			an := &neuroquant.Analyzer{Original: orig, Quantized: quant, Batch: d.batch, Threads: a.threads, Runs: runs, WarmUp: warmUp, Output: d.output, Seed: d.seed}
			r, err := an.GenerateReport(ctx, set, d.describe(), args[2], force)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(r)
			}
			a.summary(r)
			a.printf("\nreport in %s: report.html, report.md, report.json\n", args[2])
			return nil
		},
	}
	c.Flags().IntVar(&runs, "runs", 0, "timed calls of each model (default 20)")
	c.Flags().IntVar(&warmUp, "warm-up", 0, "calls before them (default 3)")
	c.Flags().BoolVar(&force, "force", false, "replace files of an OUT that exists")
	d.add(c.Flags())
	d.addRun(c.Flags())
	return c
}

// summary prints the figures of a report as one table.
func (a *app) summary(r *neuroquant.Report) {
	rows := [][]string{
		{"size on disk", report.Bytes(r.Original.Size.DiskBytes), report.Bytes(r.Quantized.Size.DiskBytes), fmt.Sprintf("%.2fx smaller", r.Compression)},
		{"parameters in memory", report.Bytes(r.Original.Size.MemoryBytes), report.Bytes(r.Quantized.Size.MemoryBytes), ""},
	}
	for _, s := range r.Speed {
		rows = append(rows, []string{fmt.Sprintf("time, batch %d", s.Batch), fmt.Sprintf("%.3g ms", s.Original.Median), fmt.Sprintf("%.3g ms", s.Quantized.Median), speedText(s.Speedup)})
	}
	if x := r.Accuracy; x != nil {
		if x.Original != nil {
			rows = append(rows,
				[]string{"top-1", percent(x.Original.Top1), percent(x.Quantized.Top1), fmt.Sprintf("%+.2f points", 100*(x.Quantized.Top1-x.Original.Top1))},
				[]string{"loss", fmt.Sprintf("%.4f", x.Original.Loss), fmt.Sprintf("%.4f", x.Quantized.Loss), fmt.Sprintf("%+.4f", x.Quantized.Loss-x.Original.Loss)})
		}
		if x.Agreement != nil {
			rows = append(rows, []string{"same class first", "", percent(*x.Agreement), ""})
		}
		for _, o := range x.Outputs {
			rows = append(rows, []string{"SQNR of " + o.Name, "", report.DB(o.SQNR) + " dB", ""})
		}
	}
	a.table([]string{"", "original", "quantized", "change"}, rows, 1, 2, 3)
	if s := r.Saturation; s != nil && s.AtRisk > 0 {
		a.printf("without VNNI: sums of products can leave 16 bits in %d of %d channels, %d on %d samples; --reduce-range needed avoids it\n", s.AtRisk, s.Channels, s.Seen, s.Samples)
	}
	for _, n := range r.Notes {
		a.printf("note: %s\n", n)
	}
}

func speedText(speedup float64) string {
	if speedup < 1 {
		return fmt.Sprintf("%.2fx slower", 1/speedup)
	}
	return fmt.Sprintf("%.2fx faster", speedup)
}
