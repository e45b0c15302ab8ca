package quantize

import (
	"context"
	"fmt"

	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/tensor"
)

// bitsAndBytes rounds weights to the encodings of bitsandbytes: NF4 and FP4 in blocks, or LLM.int8() by rows. Each weight is rounded when it is
// written or used, so that a model of any size takes the memory of one matrix.
var bitsAndBytes = Method{
	Name:  "bitsandbytes",
	Title: "4-bit NF4 or FP4 weights in blocks, or 8-bit ones with outliers apart (LLM.int8()); no calibration data",
	plan: func(m *model.Model, r Recipe) (*Plan, error) {
		_, p, err := roundedLayers(m, r)
		return p, err
	},
	run: runBitsAndBytes,
}

func roundedLayers(m *model.Model, r Recipe) ([]weightLayer, *Plan, error) {
	if err := r.Rounding.Check(); err != nil {
		return nil, nil, fmt.Errorf("method %s: %w", r.Method, err)
	}
	return weightOnly(m, r, r.Rounding.Scheme(), func(l *weightLayer) int { return r.Rounding.ByteLen(l.rows, l.cols) })
}

func runBitsAndBytes(_ context.Context, m *model.Model, p *Plan, _ Samples) error {
	layers, _, err := roundedLayers(m, p.Recipe)
	if err != nil {
		return err
	}
	for i := range layers {
		l := &layers[i]
		stored := inFile(l.w.Data).DType()
		if stored != tensor.Float16 && stored != tensor.BFloat16 {
			stored = tensor.Float32
		}
		l.replace(&packed.Rounded{Rounding: p.Recipe.Rounding, From: l.w.Data, ByInput: l.byInput, Stored: stored})
	}
	return nil
}
