package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/codec/outfile"
	"github.com/neurotrain/neuroquant/internal/example"
	"github.com/neurotrain/neuroquant/internal/report"
	"github.com/neurotrain/neuroquant/tensor"
)

// exampleRow is one line of the example's table.
type exampleRow struct {
	Model          string   `json:"model"`
	Method         string   `json:"method"`
	DType          string   `json:"dtype"`
	OriginalBytes  int64    `json:"original_bytes"`
	QuantizedBytes int64    `json:"quantized_bytes"`
	Ratio          float64  `json:"compression_ratio"`
	Speedup        float64  `json:"speedup"`
	Top1           float64  `json:"top1"`
	QuantizedTop1  float64  `json:"quantized_top1"`
	Agreement      float64  `json:"agreement"`
	SQNR           *float64 `json:"sqnr_db"`
	Output         string   `json:"output"`
	Report         string   `json:"report"`
}

// exampleTypes lists the weight types that the example shows of each method.
var exampleTypes = map[string][]string{"dynamic": {"qint8", "float16"}}

func (a *app) exampleCommand() *cobra.Command {
	var method, out string
	var samples int
	var force bool
	c := &cobra.Command{
		Use:   "example",
		Short: "Do the whole job on models that are built in: quantize, compare, report",
		Long: `Quantize two small models that are built into the program, a convolutional network that names rendered shapes and a
transformer that names the grammar of token sequences, compare them with the originals on test data that the program
renders, print one table and write the models and reports.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			methods := []string{method}
			if method == "all" {
				methods = neuroquant.MethodNames(true)
			}
			if samples < 1 {
				return usagef("--samples: want at least 1, got %d", samples)
			}
			for _, m := range methods {
				cfg := neuroquant.DefaultConfig()
				cfg.Method = m
				if err := cfg.Validate(); err != nil {
					return &usageError{flagNames(err)}
				}
			}
			var rows []exampleRow
			err := outfile.WriteFolder(out, force, func(dir string) error {
				for _, m := range methods {
					for _, dtype := range dtypesOf(m) {
						for _, model := range example.Models() {
							row, err := a.exampleRun(cmd.Context(), model, m, dtype, dir, samples)
							if errors.Is(err, neuroquant.ErrNothing) {
								continue // a method for other models
							}
							if err != nil {
								return fmt.Errorf("example %s, method %s, %s: %w", model.Name, m, dtype, err)
							}
							row.Output, row.Report = filepath.Join(out, row.Output), filepath.Join(out, row.Report)
							rows = append(rows, *row)
						}
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
			return a.printExample(rows, out)
		},
	}
	c.Flags().StringVar(&method, "method", "dynamic", "the method to show, or all that there are")
	c.Flags().StringVar(&out, "out", "neuroquant-example", "folder for models and reports")
	c.Flags().IntVar(&samples, "samples", 500, "test samples to compare on")
	c.Flags().BoolVar(&force, "force", false, "replace files of a folder that exists")
	complete(c, "method", append(neuroquant.MethodNames(true), "all")...)
	return c
}

func dtypesOf(method string) []string {
	if t := exampleTypes[method]; t != nil {
		return t
	}
	return []string{neuroquant.DefaultConfig().DType}
}

// exampleRun does the whole job on one model. Paths in the row are relative to out.
func (a *app) exampleRun(ctx context.Context, model example.Model, method, dtype, out string, samples int) (*exampleRow, error) {
	cfg := neuroquant.DefaultConfig()
	cfg.Method, cfg.DType = method, dtype
	file := filepath.Join(out, model.Name+".onnx")
	if err := os.WriteFile(file, model.ONNX, 0o644); err != nil {
		return nil, err
	}
	x, labels := model.Test(samples)
	set, err := data.Arrays([]string{model.Input}, []*tensor.Tensor{x}, labels)
	if err != nil {
		return nil, err
	}
	name := strings.Join([]string{model.Name, method, cfg.StoredAs()}, "-")
	dir := filepath.Join(out, name)
	if method == "qat" {
		if err := a.exampleTraining(ctx, model, cfg, file, dir); err != nil {
			return nil, err
		}
		return a.exampleCompare(ctx, model, cfg, set, file, out, name)
	}
	m := neuroquant.NewManager(cfg)
	if needsData(method) {
		cx, clabels := model.Calibration(cfg.NumCalibrationSamples)
		cal, err := data.Arrays([]string{model.Input}, []*tensor.Tensor{cx}, clabels)
		if err != nil {
			return nil, err
		}
		m.Calibrate(cal)
	}
	res, err := m.Quantize(ctx, file)
	if err != nil {
		return nil, err
	}
	defer res.Close()
	if err := m.Save(ctx, res, dir, false); err != nil {
		return nil, err
	}
	return a.exampleCompare(ctx, model, res.Config, set, file, out, name)
}

// exampleSamples is how many samples the example trains on.
const exampleSamples = 512

// exampleTraining trains the model at file with rounding in place and writes it to dir.
func (a *app) exampleTraining(ctx context.Context, model example.Model, cfg neuroquant.Config, file, dir string) error {
	x, labels := model.Training(exampleSamples)
	set, err := data.Arrays([]string{model.Input}, []*tensor.Tensor{x}, labels)
	if err != nil {
		return err
	}
	c := neuroquant.DefaultTrainConfig()
	c.Method, c.Epochs, c.LearningRate = "qat", 2, 1e-3
	t := neuroquant.NewTrainer(c, cfg)
	t.Threads = a.threads
	if err := t.Setup(ctx, file); err != nil {
		return err
	}
	defer t.Close()
	if _, err := t.Train(ctx, set, nil); err != nil {
		return err
	}
	return t.Save(ctx, dir, false)
}

// exampleCompare compares what was written with the original.
func (a *app) exampleCompare(ctx context.Context, model example.Model, cfg neuroquant.Config, set data.Set, file, out, name string) (*exampleRow, error) {
	dir := filepath.Join(out, name)
	orig, err := a.open(ctx, file)
	if err != nil {
		return nil, err
	}
	defer orig.Close()
	quant, err := a.open(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer quant.Close()
	an := &neuroquant.Analyzer{Original: orig, Quantized: quant, Batch: 1, Threads: a.threads}
	report := filepath.Join(out, name+"-report")
	r, err := an.GenerateReport(ctx, set, "test data rendered by the program", report, false)
	if err != nil {
		return nil, err
	}
	row := &exampleRow{
		Model: model.Name, Method: cfg.Method, DType: cfg.StoredAs(), OriginalBytes: orig.DiskBytes(), QuantizedBytes: quant.DiskBytes(),
		Ratio: r.Compression, Output: name, Report: filepath.Join(name+"-report", "report.html"),
	}
	if len(r.Speed) > 0 {
		row.Speedup = r.Speed[0].Speedup
	}
	if x := r.Accuracy; x != nil && x.Original != nil && x.Agreement != nil {
		row.Top1, row.QuantizedTop1, row.Agreement = x.Original.Top1, x.Quantized.Top1, *x.Agreement
		if len(x.Outputs) > 0 {
			row.SQNR = x.Outputs[0].SQNR
		}
	}
	return row, nil
}

func (a *app) printExample(rows []exampleRow, out string) error {
	if a.json {
		return a.printJSON(map[string]any{"results": rows})
	}
	var t [][]string
	for _, r := range rows {
		t = append(t, []string{
			r.Model, r.Method, r.DType, report.Bytes(r.OriginalBytes), report.Bytes(r.QuantizedBytes), fmt.Sprintf("%.2fx", r.Ratio), speedText(r.Speedup),
			percent(r.Top1), percent(r.QuantizedTop1), percent(r.Agreement), report.DB(r.SQNR) + " dB",
		})
	}
	a.table([]string{"model", "method", "dtype", "float32", "quantized", "smaller", "speed", "top-1", "quantized", "same class", "SQNR"}, t, 3, 4, 5, 6, 7, 8, 9, 10)
	a.printf("\nIn %s: the original models, a folder each with model.onnx and neuroquant.json, and the reports:\n", out)
	for _, r := range rows {
		a.printf("  %s\n", r.Report)
	}
	return nil
}
