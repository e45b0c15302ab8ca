package quantize

import (
	"context"
	"errors"
	"fmt"

	"github.com/neurotrain/neuroquant/internal/calibrate"
	"github.com/neurotrain/neuroquant/internal/equalize"
	"github.com/neurotrain/neuroquant/internal/model"
)

// Repairs are what is done to a model for the sake of its codes. Those of channels come before its values are observed: they
// leave what the model computes as it is. For method static.
type Repairs struct {
	// CrossLayer equalizes the ranges of weights that follow each other, channel by channel.
	CrossLayer bool
	// Smooth, if it is not zero, moves so much of the difference between the channels of an activation into the weights that
	// read it: the alpha of SmoothQuant, between 0 and 1. It needs samples.
	Smooth float64
	// Bias takes out of the biases what outputs are off by on average. It needs samples.
	Bias bool
}

// Check reports values that there are not.
func (r Repairs) Check() error {
	if r.Smooth < 0 || r.Smooth > 1 {
		return fmt.Errorf("smoothing: want a number between 0 and 1, got %v", r.Smooth)
	}
	return nil
}

// Observed names the repairs that values must have been observed with; statistics of a model without them say nothing of it.
func (r Repairs) Observed() []string {
	var out []string
	if r.CrossLayer {
		out = append(out, "cross_layer_equalization")
	}
	if r.Smooth > 0 {
		out = append(out, fmt.Sprintf("smooth_quant %v", r.Smooth))
	}
	return out
}

// Repair equalizes the channels of m as the plan's recipe asks, and returns what was done. m's graph is the one that the plan
// was made for. Only smoothing looks at the samples.
func Repair(ctx context.Context, m *model.Model, p *Plan, samples Samples) (done []string, err error) {
	r := p.Recipe.Repairs
	if r.CrossLayer {
		g := equalize.Find(m.Graph)
		if err := g.CrossLayer(); err != nil {
			return nil, fmt.Errorf("cross-layer equalization: %w", err)
		}
		done = append(done, fmt.Sprintf("cross-layer equalization of %d channels", g.Len()))
	}
	if r.Smooth > 0 {
		if samples.All == nil {
			return nil, errors.New("SmoothQuant needs calibration samples")
		}
		c, err := Calibrate(ctx, m, p, samples)
		if err != nil {
			return nil, err
		}
		g := equalize.Find(m.Graph)
		if err := g.Smooth(r.Smooth, false, func(v string, axis int) []float64 { return magnitudes(c.Values[v], axis) }); err != nil {
			return nil, fmt.Errorf("SmoothQuant: %w", err)
		}
		done = append(done, fmt.Sprintf("SmoothQuant of %d channels, alpha %v", g.Len(), r.Smooth))
	}
	return done, nil
}

// magnitudes returns the largest magnitude of every channel of a value, nil if it is not known.
func magnitudes(s *calibrate.Stats, axis int) []float64 {
	if s == nil || s.Channels == nil || s.Channels.Axis != axis {
		return nil
	}
	out := make([]float64, len(s.Channels.Min))
	for i, lo := range s.Channels.Min {
		if hi := s.Channels.Max[i]; lo <= hi { // something was seen
			out[i] = float64(max(-lo, hi))
		}
	}
	return out
}
