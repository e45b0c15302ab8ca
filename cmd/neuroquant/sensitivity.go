package main

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/internal/report"
)

func (a *app) sensitivityCommand() *cobra.Command {
	var d dataFlags
	var configFile string
	flags := neuroquant.StaticConfig()
	c := &cobra.Command{
		Use:   "sensitivity MODEL --data D",
		Short: "Measure what 8 bits cost every layer of a model, and say why",
		Long: `Quantize MODEL statically again and again, with one layer alone in 8 bits and with one layer alone in float, and compare
its outputs with the original's. Layers that cost most come first, each with its cause: values that are clipped, ranges that
a few values stretch, channels of very different size, single large weights, dead channels, sums near the end of their type.

Nothing is written. 'quantize --search' uses the same measures to choose the layers that stay in float.`,
		Example: `  neuroquant sensitivity model.onnx --data images/ --size 256 --crop 224
  neuroquant sensitivity model.onnx --data test.npy --calibrator minmax --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			cfg, err := a.settings(cmd.Flags(), configFile, neuroquant.StaticConfig(), flags)
			if err != nil {
				return err
			}
			if !needsData(cfg.Method) {
				return usagef("sensitivity: method %s does not calibrate; static does", cfg.Method)
			}
			if err := d.check(cmd.Flags()); err != nil {
				return err
			}
			if !d.given() {
				return usagef("sensitivity: --data is missing: the samples to compare the outputs on")
			}
			model, err := a.open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer model.Close()
			set, err := d.open(model)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, set.Close()) }()
			m := neuroquant.NewManager(cfg)
			m.Calibrate(set)
			m.Threads(a.threads)
			m.Output(d.output)
			r, err := m.Sensitivities(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(r)
			}
			a.sensitivities(r)
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&configFile, "config", "", "YAML file with a quantization block; flags override it")
	f.StringVar(&flags.Calibrator, "calibrator", flags.Calibrator, "how ranges follow from calibration: mse, minmax, moving_average, percentile or entropy")
	f.Float64Var(&flags.Percentile, "percentile", flags.Percentile, "percentage of values inside the range, for the calibrator percentile")
	f.BoolVar(&flags.PerChannel, "per-channel", flags.PerChannel, "one scale per output channel; --per-channel=false: one per weight")
	f.StringArrayVar(&flags.Keep, "keep", nil, "layers to leave in float: a pattern over layer names, weight names and operators; may be given several times")
	f.StringArrayVar(&flags.Only, "only", nil, "quantize these layers only: patterns as in --keep")
	f.IntVar(&flags.SearchSamples, "search-samples", flags.SearchSamples, "samples to measure on; 0: all")
	calibrationFlags(f, &flags)
	d.add(f)
	f.StringVar(&d.output, "output", "", "the output that holds class scores; default: the first with a row per sample")
	d.batch = 1
	complete(c, "calibrator", "mse", "minmax", "moving_average", "percentile", "entropy")
	return c
}

// sensitivities prints layers, those that cost most first.
func (a *app) sensitivities(r *neuroquant.SensitivityReport) {
	same := ""
	if r.Agreement != nil {
		same = ", same class first on " + percent(*r.Agreement)
	}
	a.printf("all layers in 8 bits (calibrator %s): SQNR %s dB%s, on %d samples\n", r.Calibrator, report.DB(r.SQNR), same, r.Samples)
	list := slices.Clone(r.Layers)
	key := func(s neuroquant.Sensitivity) float64 {
		switch {
		case s.Alone != nil:
			return *s.Alone
		case s.Without != nil && r.SQNR != nil: // what cannot stand alone comes behind, by what it gains in float
			return 1000 - (*s.Without - *r.SQNR)
		}
		return math.Inf(1)
	}
	slices.SortStableFunc(list, func(x, y neuroquant.Sensitivity) int { return cmp.Compare(key(x), key(y)) })
	var rows [][]string
	for _, s := range list {
		rows = append(rows, []string{s.Layer, s.Op, measuredDB(s.Alone, s.AloneExact), measuredDB(s.Without, s.WithoutExact), report.DB(s.SQNR), strings.Join(report.Causes(s), "\n")})
	}
	a.table([]string{"layer", "operator", "alone in 8 bits", "alone in float", "its own codes", "causes"}, rows, 2, 3, 4)
}

func measuredDB(v *float64, exact bool) string {
	if v == nil && !exact {
		return "-"
	}
	return report.DB(v) + " dB"
}
