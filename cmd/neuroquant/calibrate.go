package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/neurotrain/neuroquant"
)

// calibrateResult is what calibrate --json prints.
type calibrateResult struct {
	Output    string                           `json:"output"`
	Diagnosis *neuroquant.CalibrationDiagnosis `json:"diagnosis"`
}

func (a *app) calibrateCommand() *cobra.Command {
	var d dataFlags
	var force bool
	var configFile string
	flags := neuroquant.StaticConfig()
	c := &cobra.Command{
		Use:   "calibrate MODEL STATS --data D",
		Short: "Run a model on samples and keep what its values were, for methods that calibrate",
		Long: `Run MODEL on calibration samples and write the file STATS: what static quantization needs to know of them. 'quantize
--stats STATS' then needs no samples, and takes any calibrator and any choice of layers. The file's size does not depend on
the number of samples.

--stats adds statistics collected before, here or on other machines, to those of the samples; without --data it only merges.
Merged statistics are those of one run on all samples. Statistics of another model are refused.

What is printed says how well the samples cover the values: how ranges grew with samples, which samples stretch ranges alone,
whether more samples would help.`,
		Example: `  neuroquant calibrate model.onnx a.json --data images/ --size 256 --crop 224 --num-calibration-samples 500
  neuroquant calibrate model.onnx all.json --stats a.json --stats b.json
  neuroquant quantize model.onnx out/ --method static --stats all.json --calibrator percentile`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			cfg, err := a.settings(cmd.Flags(), configFile, neuroquant.StaticConfig(), flags)
			if err != nil {
				return err
			}
			if !needsData(cfg.Method) {
				return usagef("calibrate: method %s does not calibrate", cfg.Method)
			}
			if err := d.check(cmd.Flags()); err != nil {
				return err
			}
			if !d.given() && len(cfg.Stats) == 0 {
				return usagef("calibrate: --data is missing: the samples to run the model on (or --stats: files to merge)")
			}
			if _, err := os.Lstat(args[1]); !force && err == nil {
				return fmt.Errorf("%s exists; --force replaces it", args[1])
			} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			m := neuroquant.NewManager(cfg)
			if d.given() {
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
				m.Calibrate(set)
			}
			s, err := m.Statistics(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := s.Save(args[1]); err != nil {
				return err
			}
			doc := &calibrateResult{args[1], s.Diagnose()}
			if a.json {
				return a.printJSON(doc)
			}
			a.diagnosis(doc.Diagnosis, true)
			a.printf("written to %s\n", doc.Output)
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&configFile, "config", "", "YAML file with a quantization block; flags override it")
	f.BoolVar(&force, "force", false, "replace STATS if it exists")
	calibrationFlags(f, &flags)
	d.add(f)
	return c
}

// diagnosis prints how well calibration samples cover the values, with the growth of ranges if whole.
func (a *app) diagnosis(d *neuroquant.CalibrationDiagnosis, whole bool) {
	if d == nil {
		return
	}
	a.printf("calibrated on %d samples: %s\n", d.Samples, d.Advice)
	if whole && len(d.Growth) > 1 {
		var rows [][]string
		for _, g := range d.Growth {
			rows = append(rows, []string{fmt.Sprint(g.Samples), percent(g.Width)})
		}
		a.table([]string{"samples", "width of ranges"}, rows, 0, 1)
	}
	if len(d.Outliers) > 0 {
		var rows [][]string
		for _, o := range d.Outliers {
			rows = append(rows, []string{o.Sample, fmt.Sprint(o.Values), o.Most, fmt.Sprintf("%.2fx", o.Factor)})
		}
		a.table([]string{"outlier sample", "ranges it stretches", "most", "by"}, rows, 1, 3)
	}
	if n := len(d.Dead); n > 0 {
		a.printf("note: %d of %d values were always zero, such as %s\n", n, d.Values, d.Dead[0])
	}
	if d.DeadChannels > 0 && whole {
		a.printf("note: %d channels were always zero\n", d.DeadChannels)
	}
}
