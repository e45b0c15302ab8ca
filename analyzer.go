package neuroquant

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/klauspost/cpuid/v2"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/analyze"
	"github.com/neurotrain/neuroquant/internal/codec/outfile"
	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/impl"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/internal/report"
	"github.com/neurotrain/neuroquant/internal/search"
)

// Results of an [Analyzer].
type (
	// Size is what a model takes.
	Size = analyze.Size
	// Speed compares the time of one call of two models.
	Speed = analyze.Speed
	// Accuracy compares the outputs of two models on the same samples.
	Accuracy = analyze.Accuracy
	// Scores are a classifier's results on labelled samples.
	Scores = analyze.Scores
	// LayerError is how far one value inside the quantized model is from the original's.
	LayerError = analyze.LayerError
	// Saturation tells which channels overflow on CPUs that add products of 8-bit codes in 16 bits.
	Saturation = analyze.Saturation
	// Report is everything that a comparison found.
	Report = report.Report
)

// Analyzer compares an original model with its quantized form.
type Analyzer struct {
	Original, Quantized *Model

	Batch   int           // samples per call when accuracy is measured; default 1
	Threads int           // default: all
	Runs    int           // timed calls of each model; default 20
	WarmUp  int           // calls before them; default 3
	MaxTime time.Duration // for one speed measurement; default 10 s
	Output  string        // the output that holds class scores; default: the first that can
	Seed    uint64        // of the random inputs used where there is no data
}

// Evaluate scores a classifier on labelled samples, batch at a time: top-1, top-5 and loss. The class scores are the output
// named output, or the first output with a row per sample.
func Evaluate(ctx context.Context, m *Model, set data.Set, batch int, output string) (*Scores, error) {
	if err := m.prepare(); err != nil {
		return nil, err
	}
	feeds, err := analyze.FromSet(m.m.Graph, set, batch)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.name(), err)
	}
	s, err := analyze.Evaluate(ctx, m.session, feeds, output)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.name(), err)
	}
	return s, nil
}

// CompareSizes measures both models.
func (a *Analyzer) CompareSizes() (original, quantized Size, ratio float64) {
	original, quantized = analyze.SizeOf(a.Original.m), analyze.SizeOf(a.Quantized.m)
	if original.DiskBytes > 0 && quantized.DiskBytes > 0 {
		return original, quantized, float64(original.DiskBytes) / float64(quantized.DiskBytes)
	}
	return original, quantized, float64(original.MemoryBytes) / float64(max(quantized.MemoryBytes, 1))
}

// feeds turns samples into calls of the models; without samples, into calls on random inputs.
func (a *Analyzer) feeds(set data.Set, batch, randomCalls int) (*analyze.Feeds, error) {
	g := a.Original.m.Graph
	if set == nil {
		f, err := analyze.Random(g, randomCalls, batch, a.Seed)
		if err != nil {
			return nil, fmt.Errorf("%s: %w; give samples with --data", a.Original.name(), err)
		}
		return f, nil
	}
	f, err := analyze.FromSet(g, set, batch)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.Original.name(), err)
	}
	return f, nil
}

// CompareSpeed times both models in turn on the first batch samples of set, or on random inputs if set is nil.
func (a *Analyzer) CompareSpeed(ctx context.Context, set data.Set, batch int) (*Speed, error) {
	orig, quant, threads, err := a.sessions()
	if err != nil {
		return nil, err
	}
	feeds, err := a.feeds(set, batch, 1)
	if err != nil {
		return nil, err
	}
	for f, err := range feeds.All(ctx) {
		if err != nil {
			return nil, err
		}
		return analyze.CompareSpeed(ctx, orig, quant, f.In, f.Samples, threads, analyze.SpeedOptions{WarmUp: a.WarmUp, Runs: a.Runs, MaxTime: a.MaxTime})
	}
	return nil, errors.New("the data has no samples")
}

// CompareAccuracy runs both models on all samples, or on random inputs if set is nil: scores where there are labels, and the
// error of every output.
func (a *Analyzer) CompareAccuracy(ctx context.Context, set data.Set) (*Accuracy, error) {
	orig, quant, _, err := a.sessions()
	if err != nil {
		return nil, err
	}
	feeds, err := a.feeds(set, max(a.Batch, 1), randomSamples)
	if err != nil {
		return nil, err
	}
	return analyze.CompareAccuracy(ctx, orig, quant, feeds, a.Output)
}

// CompareLayers measures the error of every value that both models name alike.
func (a *Analyzer) CompareLayers(ctx context.Context, set data.Set) ([]LayerError, error) {
	g, err := a.Original.portable()
	if err != nil {
		return nil, err
	}
	q, err := a.Quantized.portable()
	if err != nil {
		return nil, err
	}
	feeds, err := a.feeds(set, max(a.Batch, 1), randomSamples)
	if err != nil {
		return nil, err
	}
	return analyze.Layers(ctx, g, q, feeds, a.Threads)
}

// portable returns the cleaned graph of a model, unfused.
func (m *Model) portable() (*graph.Graph, error) {
	g := m.m.Graph.Clone()
	if err := pass.Clean(g); err != nil {
		return nil, fmt.Errorf("%s: %w", m.name(), err)
	}
	return g, nil
}

// FindSaturation lists the channels of the quantized model that overflow where products are added in pairs in 16 bits: runtimes
// do so on CPUs with AVX2 or AVX-512 but without VNNI. Without samples it tells what any activations could do.
func (a *Analyzer) FindSaturation(ctx context.Context, set data.Set) (*Saturation, error) {
	q, err := a.Quantized.portable()
	if err != nil {
		return nil, err
	}
	var feeds *analyze.Feeds
	if set != nil {
		if feeds, err = a.feeds(set, max(a.Batch, 1), randomSamples); err != nil {
			return nil, err
		}
	}
	s, err := analyze.FindSaturation(ctx, q, feeds, a.Threads)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.Quantized.name(), err)
	}
	return s, nil
}

// layerSamples bounds the samples of the layer-by-layer part of a report: it runs unfused and keeps every value of a batch.
const layerSamples = 32

// randomSamples is how many random samples stand in where there is no data.
const randomSamples = 16

// Analyze measures everything: sizes, speed at batch 1 and at batch, accuracy, error by layer. set may be nil: then inputs are
// random, and the report says so.
func (a *Analyzer) Analyze(ctx context.Context, set data.Set, description string) (*Report, error) {
	r := &report.Report{Schema: 1, Tool: "neuroquant", Version: Version(), Data: description}
	orig, quant, ratio := a.CompareSizes()
	r.Original = report.Subject{File: filepath.Base(a.Original.name()), Size: orig}
	r.Quantized = report.Subject{File: filepath.Base(a.Quantized.name()), Size: quant}
	r.Compression = ratio
	r.Title = fmt.Sprintf("%s quantized", r.Original.File)
	r.Machine = machine(a.threads())
	if set == nil {
		r.Data = "random inputs"
		r.Notes = append(r.Notes, "No data was given: inputs are random, so the errors show the arithmetic and not the task. Give real samples with --data.")
	} else if set.Labels() == nil {
		r.Notes = append(r.Notes, "The data has no labels: accuracy is how well the outputs agree, not how right they are.")
	}
	var err error
	for _, batch := range []int{1, 8} {
		s, err := a.CompareSpeed(ctx, set, batch)
		if err != nil {
			return nil, err
		}
		if len(r.Speed) == 0 || s.Batch != r.Speed[0].Batch { // a declared or small batch is measured once
			r.Speed = append(r.Speed, *s)
		}
	}
	if r.Accuracy, err = a.CompareAccuracy(ctx, set); err != nil {
		return nil, err
	}
	if set != nil && r.Accuracy.Samples < set.Len() {
		r.Notes = append(r.Notes, fmt.Sprintf("The model takes batches of a fixed size: the last %d samples do not fill one and were left out.", set.Len()-r.Accuracy.Samples))
	}
	for _, o := range r.Accuracy.Outputs {
		if o.NonFinite > 0 {
			r.Notes = append(r.Notes, fmt.Sprintf("Output %s: %d values are NaN or infinite in one of the models and not in the other; the errors leave them out.", o.Name, o.NonFinite))
		}
	}
	few := set
	if few != nil {
		few = data.Sample(set, layerSamples, a.Seed)
	}
	if r.Layers, err = a.CompareLayers(ctx, few); err != nil {
		return nil, err
	}
	s, err := a.FindSaturation(ctx, few)
	if err != nil {
		return nil, err
	}
	if len(s.Layers) > 0 {
		r.Saturation = s
	}
	return r, nil
}

// GenerateReport analyses and writes report.json, report.md and report.html to the folder out.
func (a *Analyzer) GenerateReport(ctx context.Context, set data.Set, description, out string, overwrite bool) (*Report, error) {
	if err := CheckOutput(out, overwrite); err != nil {
		return nil, err
	}
	r, err := a.Analyze(ctx, set, description)
	if err != nil {
		return nil, err
	}
	if rec := a.Quantized.record(); rec != nil {
		r.Method, r.DType, r.Decisions, r.Calibration = rec.Settings.Method, rec.Settings.DType, rec.Decisions, rec.Calibration
		r.Sensitivity = rec.Sensitivity
		if r.Training, err = readHistory(filepath.Dir(a.Quantized.m.Path)); err != nil {
			return nil, err
		}
		if rec.Search != nil {
			timings, err := search.ReadTimings(filepath.Join(filepath.Dir(a.Quantized.m.Path), searchFile))
			if err != nil {
				return nil, err
			}
			r.Search = search.NewPicture(rec.Search, r.Original.Size.MemoryBytes, timings)
		}
	}
	return r, WriteReport(r, out, overwrite)
}

// WriteReport writes report.json, report.md and report.html to the folder out, all or nothing.
func WriteReport(r *Report, out string, overwrite bool) error {
	return outfile.WriteFolder(out, overwrite, func(dir string) error {
		for _, f := range []struct {
			name  string
			write func(*bytes.Buffer) error
		}{
			{"report.json", func(b *bytes.Buffer) error { return report.JSON(b, r) }},
			{"report.md", func(b *bytes.Buffer) error { return report.Markdown(b, r) }},
			{"report.html", func(b *bytes.Buffer) error { return report.HTML(b, r) }},
		} {
			var b bytes.Buffer
			if err := f.write(&b); err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
			if err := os.WriteFile(filepath.Join(dir, f.name), b.Bytes(), 0o644); err != nil {
				return err
			}
		}
		return nil
	})
}

func (a *Analyzer) threads() int {
	if a.Threads > 0 {
		return a.Threads
	}
	return runtime.GOMAXPROCS(0)
}

func (a *Analyzer) sessions() (orig, quant *exec.Session, threads int, err error) {
	for _, m := range []*Model{a.Original, a.Quantized} {
		m.threads = a.Threads
		if err := m.prepare(); err != nil {
			return nil, nil, 0, err
		}
	}
	return a.Original.session, a.Quantized.session, a.threads(), nil
}

// record returns the record beside the model, or nil.
func (m *Model) record() *Record {
	if m.m.Path == "" {
		return nil
	}
	rec, err := readRecord(filepath.Dir(m.m.Path))
	if err != nil {
		return nil
	}
	return rec
}

func machine(threads int) report.Machine {
	cpu := cpuid.CPU.BrandName
	if cpu == "" {
		cpu = runtime.GOARCH
	}
	return report.Machine{CPU: cpu, Cores: runtime.NumCPU(), Threads: threads, ISA: impl.Current(), OS: runtime.GOOS + "/" + runtime.GOARCH}
}

// SampleFields describes one sample of the model's inputs, for random data. Every dimension but the first, which counts
// samples, must be a number.
func (m *Model) SampleFields() ([]data.Field, error) {
	var out []data.Field
	for _, v := range m.m.Graph.Inputs {
		if v.Data != nil {
			continue
		}
		if !v.Type.Ranked || len(v.Type.Dims) == 0 {
			return nil, fmt.Errorf("%s: input %q (%v) has no dimension that counts samples", m.name(), v.Name, v.Type)
		}
		f := data.Field{Name: v.Name, DType: v.Type.DType}
		for _, d := range v.Type.Dims[1:] {
			if !d.IsKnown() {
				return nil, fmt.Errorf("%s: input %q (%v): dimension %v has no declared size", m.name(), v.Name, v.Type, d)
			}
			f.Shape = append(f.Shape, d.Size)
		}
		out = append(out, f)
	}
	return out, nil
}
