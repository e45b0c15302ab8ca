package neuroquant

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"path/filepath"
	"slices"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/analyze"
	"github.com/neurotrain/neuroquant/internal/calibrate"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/quantize"
)

// CalibrationDiagnosis says how well calibration samples cover what values can be: how ranges grew, which samples stretch them
// alone, whether more samples would help.
type CalibrationDiagnosis = calibrate.Diagnosis

// Statistics are what the values of a model were on calibration samples. Their size does not depend on how many those were;
// every calibrator can be applied to them later. Statistics of several runs, on one machine or on many, merge into those that
// one run on all samples gives, to the bit.
type Statistics struct{ file *calibrate.File }

// LoadStatistics reads files that [Statistics.Save] wrote and merges them; they must be of the same model.
func LoadStatistics(ctx context.Context, paths ...string) (*Statistics, error) {
	f, err := calibrate.LoadAll(ctx, paths)
	if err != nil {
		return nil, err
	}
	return &Statistics{f}, nil
}

// Save writes the statistics to a file, whole or not at all.
func (s *Statistics) Save(path string) error { return s.file.Save(path) }

// Merge adds other statistics of the same model.
func (s *Statistics) Merge(o *Statistics) error { return s.file.Merge(o.file) }

// Samples returns how many samples were seen.
func (s *Statistics) Samples() int64 { return s.file.Samples }

// Values returns the names of the values that were watched.
func (s *Statistics) Values() []string { return slices.Sorted(maps.Keys(s.file.Values())) }

// Diagnose says how well the samples cover the values.
func (s *Statistics) Diagnose() *CalibrationDiagnosis { return calibrate.Diagnose(s.file.Values()) }

// Calibrate gives the manager the samples that methods such as static find their scales with; at most
// num_calibration_samples of them are used, drawn evenly. The set stays the caller's.
func (m *Manager) Calibrate(set data.Set) { m.calibration = set }

// UseStatistics gives the manager statistics to find scales from, in place of samples and of the files that the settings name.
func (m *Manager) UseStatistics(s *Statistics) { m.statistics = s }

// Statistics runs the model at path on the samples given to [Manager.Calibrate] and adds the statistics given to
// [Manager.UseStatistics] or named in the settings, which must be of that model. What it returns serves [Manager.Quantize] with any
// calibrator and any choice of layers.
func (m *Manager) Statistics(ctx context.Context, path string) (*Statistics, error) {
	all := &Manager{config: m.config, calibration: m.calibration}
	all.config.Keep, all.config.Only = nil, nil
	orig, work, p, err := all.plan(ctx, path)
	if err != nil {
		return nil, err
	}
	defer orig.Close()
	fail := func(err error) (*Statistics, error) { return nil, fmt.Errorf("%s: calibration: %w", path, err) }
	if !p.Calibrates() {
		return nil, fmt.Errorf("method %s does not calibrate", m.config.Method)
	}
	if m.config.SmoothQuant {
		return fail(errors.New("smooth_quant: statistics of a model whose channels were scaled by samples serve no other run"))
	}
	id, err := identify(ctx, orig)
	if err != nil {
		return fail(err)
	}
	stored, err := m.stored(ctx, id) // first, so that mistakes cost no work
	if err != nil {
		return fail(err)
	}
	samples, err := all.samples(orig, work.Graph)
	if err != nil {
		return fail(err)
	}
	if samples.All == nil {
		if stored == nil {
			return fail(errors.New("there are no samples"))
		}
		return stored, nil
	}
	if _, err := quantize.Repair(ctx, work, p, samples); err != nil {
		return fail(err)
	}
	c, err := quantize.Calibrate(ctx, work, p, samples)
	if err != nil {
		return fail(err)
	}
	s := &Statistics{calibrate.New(id, c.Samples, p.Recipe.Repairs.Observed(), c.Values)}
	if stored != nil {
		if err := s.Merge(stored); err != nil {
			return fail(err)
		}
	}
	return s, nil
}

// stored returns the statistics that were given or named in the settings, nil if none were; they are of the model id.
func (m *Manager) stored(ctx context.Context, id calibrate.Identity) (*Statistics, error) {
	s := m.statistics
	if s == nil && len(m.config.Stats) > 0 {
		var err error
		if s, err = LoadStatistics(ctx, m.config.Stats...); err != nil {
			return nil, err
		}
	}
	if s == nil {
		return nil, nil
	}
	if err := s.file.Check(id, m.config.recipe().Repairs.Observed()); err != nil {
		return nil, err
	}
	return s, nil
}

// identify names the original by content.
func identify(ctx context.Context, orig *model.Model) (calibrate.Identity, error) {
	defer orig.Rest()
	name := filepath.Base(orig.Path)
	if orig.Path == "" {
		name = orig.Graph.Name
	}
	return calibrate.Identify(ctx, name, orig.Graph)
}

// calibrated equalizes the channels of work as the plan asks and returns what its scales follow from, stored statistics if there
// are any, else those of the samples, and what was done to the model.
func (m *Manager) calibrated(ctx context.Context, orig, work *model.Model, p *quantize.Plan) (*quantize.Calibration, []string, error) {
	fail := func(err error) (*quantize.Calibration, []string, error) {
		return nil, nil, fmt.Errorf("calibration: %w", err)
	}
	samples, err := m.samples(orig, work.Graph)
	if err != nil {
		return fail(err)
	}
	stored := m.statistics != nil || len(m.config.Stats) > 0
	if samples.All == nil && !stored {
		return nil, nil, fmt.Errorf("method %s needs calibration data", p.Recipe.Method)
	}
	var c *quantize.Calibration
	if stored {
		id, err := identify(ctx, orig)
		if err != nil {
			return fail(err)
		}
		s, err := m.stored(ctx, id)
		if err != nil {
			return fail(err)
		}
		c = &quantize.Calibration{Values: s.file.Values(), Samples: s.file.Samples}
	}
	done, err := quantize.Repair(ctx, work, p, samples)
	if err != nil {
		return fail(err)
	}
	if c == nil {
		if c, err = quantize.Calibrate(ctx, work, p, samples); err != nil {
			return fail(err)
		}
	}
	switch {
	case !p.Recipe.Repairs.Bias:
	case samples.All == nil:
		done = append(done, "no bias correction: statistics alone do not show what layers are off by")
	default:
		if err := quantize.CorrectBias(ctx, work, p, c, samples, m.config.Search); err != nil {
			return fail(err)
		}
		done = append(done, fmt.Sprintf("bias correction of %d layers on %d samples", len(c.Correction), samples.Len))
	}
	return c, done, nil
}

// samples returns the calibration samples as calls of the model. What was read of its files before they are used is let go of.
func (m *Manager) samples(orig *model.Model, g *graph.Graph) (quantize.Samples, error) {
	set := m.calibration
	if set == nil {
		set = m.written
	}
	if set == nil {
		return quantize.Samples{}, nil
	}
	set = data.Sample(set, m.config.NumCalibrationSamples, 0)
	feeds, err := analyze.FromSet(g, set, m.config.CalibrationBatchSize)
	if err != nil {
		return quantize.Samples{}, err
	}
	return quantize.Samples{Len: feeds.Samples, All: func(ctx context.Context) iter.Seq2[quantize.Call, error] {
		return func(yield func(quantize.Call, error) bool) {
			orig.Rest()
			for f, err := range feeds.All(ctx) {
				if !yield(quantize.Call{In: f.In, Samples: f.Samples, IDs: f.IDs}, err) || err != nil {
					return
				}
			}
		}
	}}, nil
}
