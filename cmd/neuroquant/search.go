package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/internal/report"
)

// searchFlags binds the settings of the search.
func searchFlags(f *pflag.FlagSet, c *neuroquant.Config) {
	f.BoolVar(&c.Search, "search", c.Search, "look for the layers to leave in float, as few as the accuracy asked for takes, and for calibrators (static)")
	f.StringVar(&c.SearchTarget, "search-target", c.SearchTarget, "accuracy to keep: sqnr=DB, agreement=FRACTION, top1=FRACTION or drop=FRACTION (of top-1), or several with commas (default drop=0.01 with labels, else sqnr=30)")
	f.IntVar(&c.SearchEvaluations, "search-evaluations", c.SearchEvaluations, "most quantizations to measure; 0: until the search is through")
	f.DurationVar(&c.SearchTime, "search-time", c.SearchTime, "time for measuring quantizations, such as 10m; 0: until the search is through")
	f.IntVar(&c.SearchSamples, "search-samples", c.SearchSamples, "samples to measure on; 0: all")
	f.StringSliceVar(&c.SearchCalibrators, "search-calibrators", nil, "calibrators to try, with commas (default all, --calibrator first)")
}

func searchFromFlags(set map[string]func(), cfg, flags *neuroquant.Config) {
	set["search"] = func() { cfg.Search = flags.Search }
	set["search-target"] = func() { cfg.SearchTarget = flags.SearchTarget }
	set["search-evaluations"] = func() { cfg.SearchEvaluations = flags.SearchEvaluations }
	set["search-time"] = func() { cfg.SearchTime = flags.SearchTime }
	set["search-samples"] = func() { cfg.SearchSamples = flags.SearchSamples }
	set["search-calibrators"] = func() { cfg.SearchCalibrators = flags.SearchCalibrators }
}

// search runs a search and, if it is interrupted, says what there is.
func (a *app) search(ctx context.Context, m *neuroquant.Manager, c *comparison, model, out string, force bool) (*neuroquant.Result, error) {
	m.Threads(a.threads)
	m.Output(c.data.output)
	if out == "" {
		return m.Quantize(ctx, model)
	}
	res, err := m.Search(ctx, model, out, force)
	if err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		what := "interrupted before anything was measured"
		if _, serr := os.Stat(filepath.Join(out, "model.onnx")); serr == nil {
			what = fmt.Sprintf("interrupted; %s has the best that was found so far", out)
		}
		return nil, &interruptedError{what + "; the same command goes on from there"}
	}
	return res, err
}

// interruptedError says what a command that was interrupted has done.
type interruptedError struct{ what string }

func (e *interruptedError) Error() string { return e.what }
func (e *interruptedError) Unwrap() error { return context.Canceled }

// printSearch shows what a search found and the choices worth comparing.
func (a *app) printSearch(x *neuroquant.SearchPicture) {
	if x == nil {
		return
	}
	verb := "is met"
	if !x.Met {
		verb = "is NOT met: the nearest"
	}
	how := ""
	if x.Stopped != "" {
		how = fmt.Sprintf("; stopped by the budget of %s", x.Stopped)
	}
	a.printf("search: target %s %s by %s; %d evaluations%s\n", x.Target, verb, inFloat(x.Best.Float), x.Evaluations, how)
	var rows [][]string
	for _, p := range x.Front {
		mark := ""
		if p.Cost == x.Best.Cost && p.Calibrator == x.Best.Calibrator && strings.Join(p.Float, " ") == strings.Join(x.Best.Float, " ") {
			mark = "<- written"
		}
		row := []string{fmt.Sprint(len(p.Float)), report.DB(p.SQNR), "", "", report.Bytes(p.Bytes), "", p.Calibrator, mark}
		if p.Top1 != nil {
			row[2] = percent(*p.Top1)
		}
		if p.Agreement != nil {
			row[3] = percent(*p.Agreement)
		}
		if p.Timing != nil {
			row[5] = fmt.Sprintf("%.3g ms", p.Timing.MS)
		}
		rows = append(rows, row)
	}
	a.table([]string{"layers in float", "SQNR dB", "top-1", "same class", "parameters", "time", "calibrator", ""}, rows, 0, 1, 2, 3, 4, 5)
}

func inFloat(layers []string) string {
	const most = 8
	switch n := len(layers); {
	case n == 0:
		return "all layers in 8 bits"
	case n > most:
		return fmt.Sprintf("%d layers in float: %s and %d more", n, strings.Join(layers[:most], ", "), n-most)
	}
	return fmt.Sprintf("%d in float: %s", len(layers), strings.Join(layers, ", "))
}
