package search

import (
	"context"
	"errors"
	"slices"

	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/internal/quantize"
)

// Causes says of every unit, quantized by a calibrator, what its codes lose and why; nothing is measured.
func (s *Model) Causes(ctx context.Context, calibrator string) ([]quantize.Sensitivity, error) {
	_, p, err := s.plan(Choice{Calibrator: calibrator})
	if err != nil {
		return nil, err
	}
	return p.Sensitivities(ctx, s.calibration)
}

// Sensitivities measures, on all samples or the first so many, what every unit costs: the outputs with it alone in 8 bits and with it
// alone in float. The measure is that of all in 8 bits.
func (s *Model) Sensitivities(ctx context.Context, calibrator string, samples int) ([]quantize.Sensitivity, Measure, error) {
	list, err := s.Causes(ctx, calibrator)
	if err != nil {
		return nil, Measure{}, err
	}
	task := progress.From(ctx).Start("sensitivity", int64(2*len(list)+1), "evaluations")
	defer task.Done()
	all, err := s.Measure(ctx, Choice{Calibrator: calibrator}, samples)
	if err != nil {
		return nil, all, err
	}
	task.Add(1)
	var layers []string
	for _, x := range list {
		layers = append(layers, x.Layer)
	}
	measure := func(float []string) (db *float64, exact bool, err error) {
		defer task.Add(1)
		m, err := s.Measure(ctx, Choice{Calibrator: calibrator, Float: float}, samples)
		if errors.Is(err, quantize.ErrNothing) { // an Add that nothing gives codes to
			return nil, false, nil
		}
		return m.SQNR, m.SQNR == nil, err
	}
	for i := range list {
		x := &list[i]
		if x.Without, x.WithoutExact, err = measure([]string{x.Layer}); err != nil {
			return nil, all, err
		}
		others := slices.DeleteFunc(slices.Clone(layers), func(l string) bool { return l == x.Layer })
		if x.Alone, x.AloneExact, err = measure(others); err != nil {
			return nil, all, err
		}
	}
	return list, all, nil
}

// Note adds what a ranking measured to sensitivities.
func (r *Result) Note(list []quantize.Sensitivity) {
	for i := range list {
		for _, rank := range r.Ranking {
			if slices.Equal(rank.Layers, []string{list[i].Layer}) {
				list[i].Without, list[i].WithoutExact = rank.SQNR, rank.SQNR == nil
			}
		}
	}
}
