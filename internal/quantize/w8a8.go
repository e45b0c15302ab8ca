package quantize

import (
	"context"
	"errors"
	"fmt"

	"github.com/neurotrain/neuroquant/internal/calibrate"
	"github.com/neurotrain/neuroquant/internal/equalize"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/tensor"
)

// w8a8 stores weights in 8 bits with a scale for each output, and has activations rounded to 8 bits by tokens when products are computed.
// SmoothQuant before it moves outlying channels of activations into the weights that read them.
var w8a8 = Method{
	Name:  "w8a8",
	Title: "8-bit weights of language models with activations rounded to 8 bits by tokens; with smooth_quant calibrated with text",
	plan: func(m *model.Model, r Recipe) (*Plan, error) {
		_, p, err := int8Layers(m, r)
		return p, err
	},
	run: runW8A8,
}

func int8Layers(m *model.Model, r Recipe) ([]weightLayer, *Plan, error) {
	scheme := packed.Rounding{Scales: tensor.Float32}.Scheme()
	return weightOnly(m, r, scheme, func(l *weightLayer) int {
		return packed.Rounding{Scales: scalesOf(l)}.ByteLen(l.rows, l.cols)
	})
}

// scalesOf is the type that scales of a layer are stored as: that of its weights, which loaders compute in.
func scalesOf(l *weightLayer) tensor.DType {
	if d := inFile(l.w.Data).DType(); d == tensor.Float16 || d == tensor.BFloat16 {
		return d
	}
	return tensor.Float32
}

func runW8A8(ctx context.Context, m *model.Model, p *Plan, samples Samples) error {
	return roundInt8(m, p, func(layers []weightLayer) error {
		alpha := p.Recipe.Repairs.Smooth
		if alpha <= 0 {
			return nil
		}
		if err := p.changing(m.Graph, layers, func() error { return smooth(ctx, m, layers, alpha, samples) }); err != nil {
			return fmt.Errorf("SmoothQuant: %w", err)
		}
		return nil
	})
}

// roundInt8 has the layers rounded to 8 bits when they are loaded, after prepare has seen them.
func roundInt8(m *model.Model, p *Plan, prepare func(layers []weightLayer) error) error {
	layers, _, err := int8Layers(m, p.Recipe)
	if err != nil {
		return err
	}
	scales := tensor.Float32
	if len(layers) > 0 {
		scales = scalesOf(&layers[0])
	}
	if err := prepare(layers); err != nil {
		return err
	}
	for i := range layers {
		l := &layers[i]
		l.replace(&packed.Rounded{Rounding: packed.Rounding{Scales: scales}, From: l.w.Data, ByInput: l.byInput})
	}
	return nil
}

// smooth scales the channels of what layers read. Factors are powers of two, so that the values of normalizations and of weights
// stay exact in the types that they are stored in, and the model computes just what it did.
func smooth(ctx context.Context, m *model.Model, layers []weightLayer, alpha float64, samples Samples) error {
	if samples.All == nil {
		return errors.New("it needs calibration samples")
	}
	var values []*graph.Value
	seen := map[*graph.Value]bool{}
	for i := range layers {
		if x := layers[i].x; !seen[x] {
			seen[x] = true
			values = append(values, x)
		}
	}
	_, stats, err := calibrate.Run(ctx, m.Graph, values, samples)
	if err != nil {
		return err
	}
	for _, v := range values {
		if s := stats[v.Name]; s != nil && s.NonFinite > 0 {
			return fmt.Errorf("value %q is not finite on %s", v.Name, s.Broken)
		}
	}
	return equalize.Find(m.Graph).Smooth(alpha, true, func(v string, axis int) []float64 { return magnitudes(stats[v], axis) })
}
