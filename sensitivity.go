package neuroquant

import (
	"context"
	"errors"
	"fmt"

	"github.com/neurotrain/neuroquant/internal/quantize"
	"github.com/neurotrain/neuroquant/internal/search"
)

type (
	// Sensitivity is what 8 bits cost a layer, and why.
	Sensitivity = quantize.Sensitivity
	// ValueStrain is what 8 bits do to an activation.
	ValueStrain = quantize.ValueStrain
	// WeightStrain is what 8 bits do to a weight.
	WeightStrain = quantize.WeightStrain
	// SumStrain is how near the integer sums of a layer come to the end of their type.
	SumStrain = quantize.SumStrain
	// StrainingCause is one reason why a layer loses accuracy, or may.
	StrainingCause = quantize.StrainingCause
)

// SensitivityReport is what 8 bits cost every layer of a model.
type SensitivityReport struct {
	Input      string `json:"input"`
	Samples    int    `json:"samples"`
	Calibrator string `json:"calibrator"`
	// SQNR is that of the outputs with all layers in 8 bits, the lowest of several, in dB; nil where they are exact.
	SQNR      *float64      `json:"sqnr_db"`
	Agreement *float64      `json:"agreement,omitempty"`
	Layers    []Sensitivity `json:"layers"` // in the order of the graph
}

// Sensitivities measures what 8 bits cost every layer of the model at path: the outputs with it alone in 8 bits, and with all others
// in 8 bits, on the samples of a search (see [Manager.SearchOn]); and says why.
func (m *Manager) Sensitivities(ctx context.Context, path string) (_ *SensitivityReport, err error) {
	orig, work, p, err := m.plan(ctx, path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, orig.Close()) }()
	fail := func(err error) (*SensitivityReport, error) { return nil, fmt.Errorf("%s: %w", path, err) }
	if !p.Calibrates() {
		return fail(fmt.Errorf("method %s has no sensitivities; static has", p.Recipe.Method))
	}
	set, err := m.evaluationSet()
	if err != nil {
		return fail(err)
	}
	ref, closeRef, err := m.reference(ctx, work, set)
	if err != nil {
		return fail(err)
	}
	defer closeRef()
	c, _, err := m.calibrated(ctx, orig, work, p)
	if err != nil {
		return fail(err)
	}
	subject, err := search.NewModel(ctx, work, p.Recipe, c, ref, m.threads)
	if err != nil {
		return fail(err)
	}
	list, all, err := subject.Sensitivities(ctx, p.Recipe.Calibrator.Method, 0)
	if err != nil {
		return fail(err)
	}
	return &SensitivityReport{Input: path, Samples: all.Samples, Calibrator: p.Recipe.Calibrator.Method, SQNR: all.SQNR, Agreement: all.Agreement, Layers: list}, nil
}
