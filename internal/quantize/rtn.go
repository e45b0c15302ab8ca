package quantize

import (
	"context"
	"fmt"

	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/internal/solve"
)

// rtn rounds weights to the nearest code of few bits: the baseline of methods that quantize weights alone.
var rtn = Method{
	Name:  "rtn",
	Title: "2- to 8-bit weights, each rounded to the nearest; no calibration data",
	plan:  planWeightOnly,
	run:   runRTN,
}

func planWeightOnly(m *model.Model, r Recipe) (*Plan, error) {
	_, p, err := fewBits(m, r)
	return p, err
}

// fewBits lists the layers whose weights become codes of few bits.
func fewBits(m *model.Model, r Recipe) ([]weightLayer, *Plan, error) {
	o := &r.WeightOnly
	if o.Bits < 2 || o.Bits > 8 {
		return nil, nil, fmt.Errorf("method %s: %d bits; want 2 to 8", r.Method, o.Bits)
	}
	return weightOnly(m, r, o.scheme(), o.bytes)
}

func (o *WeightSettings) rounding() solve.AWQOptions {
	return solve.AWQOptions{Bits: o.Bits, Group: o.Group, Symmetric: o.Symmetric, ScaleType: o.ScaleType, LeastZero: o.LeastZero}
}

func runRTN(ctx context.Context, m *model.Model, p *Plan, _ Samples) error {
	layers, _, err := fewBits(m, p.Recipe)
	if err != nil {
		return err
	}
	task := progress.From(ctx).Start("quantize", int64(len(layers)), "layers")
	defer task.Done()
	for i := range layers {
		if err := ctx.Err(); err != nil {
			return err
		}
		l := &layers[i]
		w, err := l.weights()
		if err != nil {
			return err
		}
		r, err := solve.Round(kernel.Shared(), solve.Matrix{Rows: l.rows, W: w}, l.cols, nil, p.Recipe.WeightOnly.rounding())
		if err != nil {
			return fmt.Errorf("layer %q: %w", l.name(), err)
		}
		if err := l.keep(p, r, p.Recipe.WeightOnly); err != nil {
			return err
		}
		task.Add(1)
	}
	return nil
}
