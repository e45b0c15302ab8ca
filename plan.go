package neuroquant

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/neurotrain/neuroquant/internal/format/hf"
	"github.com/neurotrain/neuroquant/internal/format/onnx"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/internal/quantize"
	"github.com/neurotrain/neuroquant/tensor"
)

// Loader says whether a program loads a written folder.
type Loader = hf.Acceptance

// Forecast is a [Plan] with what carrying it out takes and gives, for methods that quantize weights alone. What cannot be told is nil, and
// Notes say why.
type Forecast struct {
	Plan
	Format string `json:"format"`
	// OutputBytes are those of all written files but neuroquant.json, exactly.
	OutputBytes *int64 `json:"output_bytes,omitempty"`
	// PeakBytes is the most memory that the process takes, files that are mapped and read included: an upper bound, at most 15 % above.
	PeakBytes *int64 `json:"peak_bytes,omitempty"`
	// Seconds is the time from start to end; Parts are its parts.
	Seconds *float64           `json:"seconds,omitempty"`
	Parts   map[string]float64 `json:"seconds_of,omitempty"`
	Samples int                `json:"samples,omitempty"`
	Tokens  int                `json:"tokens_of_a_sample,omitempty"`
	Splits  []Split            `json:"splits,omitempty"`
	Loaders []Loader           `json:"loaders,omitempty"`
	Notes   []string           `json:"notes,omitempty"`
}

// ForecastOptions are the choices of [Manager.Forecast].
type ForecastOptions struct {
	// Output is the folder that would be written; the disk below it is what is measured. Empty: the current folder.
	Output string
	// NoTime leaves the time out, which takes some seconds to estimate.
	NoTime bool
}

// Forecast says what [Manager.Quantize] and [Manager.Save] would do to the model at path, from its headers, and what that takes: of samples
// given by [Manager.Calibrate] the number and the sizes count, without any the settings say both. It is an error if the work is impossible:
// a format that cannot hold the codes, or less memory than the largest layer takes.
func (m *Manager) Forecast(ctx context.Context, path string, o ForecastOptions) (*Forecast, error) {
	start := time.Now()
	orig, work, p, err := m.plan(ctx, path)
	if err != nil {
		return nil, err
	}
	defer orig.Close()
	m.stateDecisions(p)
	f := &Forecast{Plan: m.planned(path, orig, work, p), Format: m.resolved.Format}
	if weightOnly[m.config.Method] == "" {
		f.Notes = append(f.Notes, fmt.Sprintf("bytes of files, memory and time are told of methods that quantize weights alone; method %s does more", m.config.Method))
		return f, nil
	}
	if isLayout(f.Format) {
		f.Splits = splits(p, orig.Config)
		f.Loaders = hf.Loaders(f.Format, schemeOf(p), m.resolved.LMHead)
	}
	if solvesLayers(m.config.Method) {
		err = m.forecastSolving(ctx, orig, work, p, f, o)
	}
	opening := time.Since(start)
	if err == nil {
		err = m.forecastWriting(ctx, orig, work, p, f, o)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if o.NoTime || f.Parts == nil {
		f.Parts = nil
		return f, nil
	}
	f.Parts["opening"] = (opening - time.Duration(f.Parts["probe"]*float64(time.Second))).Seconds()
	delete(f.Parts, "probe")
	total := 0.0
	for _, s := range f.Parts {
		total += s
	}
	f.Seconds = &total
	return f, nil
}

// schemeOf is that of the first layer that is quantized; layouts hold one.
func schemeOf(p *quantize.Plan) tensor.Scheme {
	for _, d := range p.Decisions {
		if d.Quantized {
			return d.Scheme
		}
	}
	return tensor.Scheme{}
}

// forecastSolving adds what methods take that solve layer after layer.
func (m *Manager) forecastSolving(ctx context.Context, orig, work *model.Model, p *quantize.Plan, f *Forecast, o ForecastOptions) error {
	shapes, samples, err := m.sampleShapes(ctx, orig, work)
	if err != nil {
		return err
	}
	if shapes == nil {
		f.Notes = append(f.Notes, "memory and time depend on the sizes of samples, which the model leaves open: give samples with --data")
		return nil
	}
	own := m.ownText(orig)
	if own != nil {
		f.Notes = append(f.Notes, fmt.Sprintf("without data the model writes its %d samples of %d tokens itself (seed %d); texts given as data serve it better", own.Samples, own.Tokens, own.Seed))
	}
	f.Samples, f.Tokens = samples, shapes[0][len(shapes[0])-1]
	if note := expertsForecast(p, orig.Config, samples*f.Tokens); note != "" {
		f.Notes = append(f.Notes, note)
	}
	costs, err := quantize.CostsFor(work, p, shapes, samples)
	if err != nil {
		return err
	}
	peak, err := costs.Peak(p.Recipe.Memory)
	if err != nil {
		return fmt.Errorf("max_memory: %w", err)
	}
	if own != nil {
		writing := quantize.LastingPeak(own.memory(orig))
		if limit := p.Recipe.Memory; limit > 0 && writing > limit {
			return fmt.Errorf("max_memory: memory of %d MiB; without data the model writes calibration text, which takes %d MiB", limit>>20, (writing+1<<20-1)>>20)
		}
		peak = max(peak, writing)
	}
	bytes := int64(peak)
	f.PeakBytes = &bytes
	if o.NoTime {
		return nil
	}
	start := time.Now()
	f.Parts = map[string]float64{}
	if own != nil {
		took, err := own.time(ctx, orig)
		if err != nil {
			return err
		}
		f.Parts["calibration text"] = took.Seconds()
	}
	t, err := quantize.Probe(ctx, work, p, shapes, samples, m.beside(o))
	if err != nil {
		return err
	}
	for part, took := range map[string]time.Duration{
		"probe": time.Since(start), "forward": t.Forward, "inputs of layers": t.Inputs, "solving": t.Solve, "keeping finished layers": t.Keep,
	} {
		f.Parts[part] = took.Seconds()
	}
	return nil
}

// beside is a folder of the disk that the output goes to.
func (m *Manager) beside(o ForecastOptions) string {
	dir := filepath.Clean(o.Output)
	for {
		if info, err := os.Stat(dir); err == nil && info.IsDir() || filepath.Dir(dir) == dir {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

// sampleShapes returns the shapes of the inputs of a call and the number of calls; nil: they are not known.
func (m *Manager) sampleShapes(ctx context.Context, orig, work *model.Model) ([]tensor.Shape, int, error) {
	if m.calibration != nil {
		s, err := m.samples(orig, work.Graph)
		if err != nil {
			return nil, 0, err
		}
		for call, err := range s.All(ctx) {
			if err != nil {
				return nil, 0, err
			}
			var out []tensor.Shape
			for _, t := range call.In {
				if t == nil {
					return nil, 0, errors.New("a sample lacks an input")
				}
				out = append(out, t.Shape)
			}
			return out, s.Len, nil
		}
		return nil, 0, errors.New("there are no calibration samples")
	}
	in := work.Graph.Inputs
	if work.Arch == "" || len(in) != 1 || !in[0].Type.Ranked || len(in[0].Type.Dims) != 2 {
		return nil, 0, nil
	}
	length := m.config.CalibrationLength
	if own := m.ownText(orig); own != nil {
		length = own.Tokens
	}
	return []tensor.Shape{{1, length}}, m.config.NumCalibrationSamples, nil
}

// forecastWriting rehearses the plan and adds what is written, and what that takes.
func (m *Manager) forecastWriting(ctx context.Context, orig, work *model.Model, p *quantize.Plan, f *Forecast, o ForecastOptions) error {
	if err := quantize.Rehearse(work, p); err != nil {
		return err
	}
	if !isLayout(f.Format) {
		return m.forecastONNX(ctx, work, p, f)
	}
	if err := toCheckpoint(orig, work, p); err != nil {
		return err
	}
	c, err := hf.ContentsOf(work, model.SaveOptions{Layout: f.Format, Settings: m.resolved.layoutSettings()})
	if err != nil {
		return err
	}
	f.OutputBytes = &c.Bytes
	if len(m.config.formats()) > 1 {
		f.Notes = append(f.Notes, fmt.Sprintf("bytes are those of format %s, the first", f.Format))
	}
	if m.config.Method == "w8a8" && m.config.SmoothQuant {
		f.Notes = append(f.Notes, "memory and time are not told with smooth_quant, which runs the whole model on the samples before")
		return nil
	}
	if peak := int64(quantize.WritingPeak(c.Heap+c.Garbage, c.Mapped+hashPiece)); f.PeakBytes != nil {
		*f.PeakBytes = max(*f.PeakBytes, peak)
	} else if !solvesLayers(m.config.Method) {
		f.PeakBytes = &peak
	}
	if o.NoTime {
		return nil
	}
	return m.timeWriting(ctx, orig, work, c, f, o)
}

// forecastONNX adds the bytes of an ONNX file.
func (m *Manager) forecastONNX(ctx context.Context, work *model.Model, p *quantize.Plan, f *Forecast) error {
	pass.RestoreGemms(work.Graph, p.Gemms)
	if err := quantize.ToMatMulNBits(work.Graph); err != nil {
		return err
	}
	if err := pass.Standard(work.Graph); err != nil {
		return err
	}
	bytes, err := onnx.ByteLen(ctx, modelFile(f.Format), work, model.SaveOptions{})
	if err != nil {
		return err
	}
	f.OutputBytes = &bytes
	return nil
}
