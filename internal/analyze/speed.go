package analyze

import (
	"context"
	"fmt"
	"time"

	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/tensor"
)

// SpeedOptions says how speed is measured.
type SpeedOptions struct {
	WarmUp  int           // runs of each model that are not counted; default 3
	Runs    int           // runs of each model that are; default 20
	MaxTime time.Duration // stop after this long if at least five runs are counted; default 10 s
}

// Speed compares the time of one call of each model on the same inputs.
type Speed struct {
	Batch     int    `json:"batch"`
	Threads   int    `json:"threads"`
	WarmUp    int    `json:"warm_up"`
	Runs      int    `json:"runs"`
	Original  Timing `json:"original"`
	Quantized Timing `json:"quantized"`
	// Speedup is the median of the ratios original/quantized of neighbouring runs, which drifts of the machine cancel out of.
	Speedup float64 `json:"speedup"`
}

// CompareSpeed runs both sessions in turn, A B B A, so that neither profits from the machine's mood.
func CompareSpeed(ctx context.Context, original, quantized *exec.Session, in []*tensor.Tensor, batch, threads int, o SpeedOptions) (*Speed, error) {
	if o.WarmUp == 0 {
		o.WarmUp = 3
	}
	if o.Runs == 0 {
		o.Runs = 20
	}
	if o.MaxTime == 0 {
		o.MaxTime = 10 * time.Second
	}
	run := func(s *exec.Session, what string) (float64, error) {
		in := InputsOf(original.Graph(), s.Graph(), in)
		t0 := time.Now()
		if _, err := s.Run(ctx, in); err != nil {
			return 0, fmt.Errorf("%s model: %w", what, err)
		}
		return float64(time.Since(t0).Nanoseconds()) / 1e6, nil
	}
	both := func(i int) (a, b float64, err error) {
		if i%2 == 0 {
			if a, err = run(original, "original"); err == nil {
				b, err = run(quantized, "quantized")
			}
			return a, b, err
		}
		if b, err = run(quantized, "quantized"); err == nil {
			a, err = run(original, "original")
		}
		return a, b, err
	}
	task := progress.From(ctx).Start("speed", int64(o.WarmUp+o.Runs), "runs")
	defer task.Done()
	var a, b, ratio []float64
	start := time.Now()
	for i := range o.WarmUp + o.Runs {
		x, y, err := both(i)
		if err != nil {
			return nil, err
		}
		task.Add(1)
		if i < o.WarmUp && time.Since(start) < o.MaxTime/2 {
			continue
		}
		a, b, ratio = append(a, x), append(b, y), append(ratio, x/y)
		if len(a) >= 5 && time.Since(start) > o.MaxTime {
			break
		}
	}
	return &Speed{Batch: batch, Threads: threads, WarmUp: o.WarmUp, Runs: len(a), Original: timing(a), Quantized: timing(b), Speedup: timing(ratio).Median}, nil
}
