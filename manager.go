package neuroquant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/analyze"
	"github.com/neurotrain/neuroquant/internal/calibrate"
	"github.com/neurotrain/neuroquant/internal/codec/outfile"
	"github.com/neurotrain/neuroquant/internal/format"
	"github.com/neurotrain/neuroquant/internal/format/gguf"
	"github.com/neurotrain/neuroquant/internal/format/hf"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/internal/quantize"
)

// ErrNothing is in the chain of the error for a model of which a method quantizes nothing.
var ErrNothing = quantize.ErrNothing

// Manager quantizes models with one set of settings.
type Manager struct {
	config      Config
	resolved    Config // for the model that is open
	last        *Result
	calibration data.Set
	written     data.Set // what the model that is open wrote where there is no calibration
	statistics  *Statistics
	evaluation  data.Set
	output      string
	threads     int
	workBeside  string // the output folder beside which unfinished work is kept; empty: none is
	workFolder  string // where work was last kept
}

// NewManager returns a manager; wrong settings are reported when they are first used.
func NewManager(c Config) *Manager { return &Manager{config: c} }

// Output names the output that holds class scores, for what a search measures; by default it is the first that can.
func (m *Manager) Output(name string) { m.output = name }

// Threads sets how many threads a search measures with; 0, the default, means all.
func (m *Manager) Threads(n int) { m.threads = n }

// Decision is what becomes of one layer or parameter, and why.
type Decision = quantize.Decision

// LayerErrors say what the output of a layer lost.
type LayerErrors = quantize.LayerErrors

// Plan is what a quantization would do, known from the model's headers.
type Plan struct {
	Input     string     `json:"input"`
	Method    string     `json:"method"`
	DType     string     `json:"dtype"`
	Decisions []Decision `json:"decisions"`
	// OriginalBytes and QuantizedBytes are those of all parameters; QuantizedBytes is exact but for names and structure.
	OriginalBytes    int64   `json:"original_bytes"`
	QuantizedBytes   int64   `json:"quantized_bytes"`
	CompressionRatio float64 `json:"compression_ratio"`
	// Placement says where codes are, in the order of the graph: a line for each node that computes numbers, and each input, with how
	// it is computed and how what it makes is held. It is nil for methods that do not calibrate.
	Placement []string `json:"placement,omitempty"`
}

// Result is a quantized model with the decisions that made it.
type Result struct {
	*Model
	Decisions []Decision
	// FrozenInputs are inputs of the original that had a default, which is a constant of the result.
	FrozenInputs []string
	Config       Config
	// Calibration says how well the samples cover the values; nil for methods that do not calibrate.
	Calibration *CalibrationDiagnosis
	// CalibrationText says how calibration samples came about that the model wrote itself; nil where it did not.
	CalibrationText *CalibrationText
	// Sensitivity says what the codes of every layer lose and why; nil for methods that do not calibrate.
	Sensitivity []Sensitivity
	// Search is what a search found; nil without one. SearchPicture has the latencies too.
	Search        *SearchResult
	SearchPicture *SearchPicture
	// Repairs are what was done to the model besides rounding it.
	Repairs []string
	// Errors say what the outputs of each layer lost; nil for methods that quantize activations too.
	Errors []LayerErrors
	// Experts say how many calibration tokens the experts of mixtures saw; nil where there are none.
	Experts []ExpertCoverage
	// Placement says where codes are, a line for each node and input, see [Plan]; nil for methods that do not calibrate.
	Placement []string

	original *model.Model
	input    inputRecord
	also     []string       // formats that it is converted to when it is saved
	work     *quantize.Work // that holds its codes; nil: memory does
}

// Close releases the result and the original that it was made from. Work that was not saved stays on the disk.
func (r *Result) Close() error {
	err := errors.Join(r.Model.Close(), r.original.Close())
	if r.work != nil {
		err = errors.Join(err, r.work.Close())
	}
	return err
}

// InputBytes returns what the original takes on disk.
func (r *Result) InputBytes() int64 { return r.input.Bytes }

// Plan decides what [Manager.Quantize] would do to the model at path, from headers alone.
func (m *Manager) Plan(ctx context.Context, path string) (*Plan, error) {
	orig, work, p, err := m.plan(ctx, path)
	if err != nil {
		return nil, err
	}
	defer orig.Close()
	m.stateDecisions(p)
	out := m.planned(path, orig, work, p)
	return &out, nil
}

// planned is a plan as it is shown.
func (m *Manager) planned(path string, orig, work *model.Model, p *quantize.Plan) Plan {
	before, after := p.Bytes()
	out := Plan{
		Input: path, Method: m.config.Method, DType: m.config.StoredAs(), Decisions: p.Decisions,
		OriginalBytes: analyze.SizeOf(orig).MemoryBytes, QuantizedBytes: analyze.SizeOf(work).MemoryBytes - int64(before) + int64(after), Placement: p.Placement(),
	}
	out.CompressionRatio = float64(out.OriginalBytes) / float64(max(out.QuantizedBytes, 1))
	return out
}

// plan opens the model and returns it, a portable copy of it that may be rewritten, and the plan for the copy.
func (m *Manager) plan(ctx context.Context, path string) (orig, work *model.Model, p *quantize.Plan, err error) {
	if err := m.config.Validate(); err != nil {
		return nil, nil, nil, err
	}
	orig, err = format.Open(ctx, path)
	if err != nil {
		return nil, nil, nil, err
	}
	fail := func(err error) (*model.Model, *model.Model, *quantize.Plan, error) {
		return nil, nil, nil, errors.Join(fmt.Errorf("%s: %w", path, err), orig.Close())
	}
	m.resolved = m.config.resolve(orig)
	work = orig.With(orig.Graph.Clone())
	work.Path, work.Files = "", nil // not what is in those files any more
	frozen := pass.FreezeInputs(work.Graph)
	if err := pass.Clean(work.Graph); err != nil {
		return fail(err)
	}
	var gemms []pass.SplitGemm
	if weightOnly[m.config.Method] == "" { // integer operators multiply by matrices that are turned
		err = pass.Standard(work.Graph)
	} else { // others replace products alone
		gemms, err = pass.SplitGemms(work.Graph)
	}
	if err != nil {
		return fail(err)
	}
	recipe := m.resolved.recipe()
	if len(m.config.formats()) > 1 { // all of which have to hold the codes
		all := m.resolved
		all.Format = m.config.Format
		recipe.WeightOnly = all.weights()
	}
	if p, err = quantize.NewPlan(work, recipe); err != nil {
		return fail(err)
	}
	p.Frozen, p.Gemms = frozen, gemms
	return orig, work, p, nil
}

// Quantize quantizes the model at path. Nothing is written; see [Manager.Save]. With Enabled false the result is the model as
// it is.
func (m *Manager) Quantize(ctx context.Context, path string) (*Result, error) {
	if !m.config.Enabled {
		orig, err := format.Open(ctx, path)
		if err != nil {
			return nil, err
		}
		m.resolved = m.config.resolve(orig)
		in, err := recordInput(ctx, orig)
		if err != nil {
			return nil, errors.Join(err, orig.Close())
		}
		return m.result(orig, orig.With(orig.Graph), &quantize.Plan{Decisions: []Decision{}}, in), nil
	}
	if m.config.Method == "qat" {
		return nil, errors.New("method qat trains: use the command train, or a Trainer, which take samples with labels")
	}
	if m.config.Search {
		return m.search(ctx, path, "", false)
	}
	orig, work, p, err := m.plan(ctx, path)
	if err != nil {
		return nil, err
	}
	in := describeInput(orig)
	if p.Calibrates() || solvesLayers(m.config.Method) { // else it is hashed while the result is written, which reads it anyway
		if in.XXH128, err = hashInput(ctx, orig); err != nil {
			return nil, errors.Join(err, orig.Close())
		}
	}
	float := work.Graph.Clone()
	var c *quantize.Calibration
	var repairs []string
	var lost []Sensitivity
	var own *CalibrationText
	m.written = nil
	if p.Calibrates() {
		if c, repairs, err = m.calibrated(ctx, orig, work, p); err == nil {
			lost, err = p.Sensitivities(ctx, c)
		}
		if err == nil {
			float = work.Graph.Clone() // with its channels scaled
			err = quantize.Apply(ctx, work, p, c)
		}
	} else {
		if own = m.ownText(orig); own != nil {
			m.written, err = own.write(ctx, orig, p.Recipe.Memory)
		}
		var samples quantize.Samples
		if err == nil {
			samples, err = m.samples(orig, work.Graph)
		}
		if err == nil {
			p.Work, err = m.openWork(ctx, in, samples, p)
		}
		if err == nil {
			err = quantize.Run(ctx, work, p, samples)
		}
	}
	switch {
	case err != nil:
	case isLayout(m.resolved.Format):
		err = toCheckpoint(orig, work, p)
	case m.resolved.Format == formatPT:
		err = m.toState(orig, work, float, p)
	case weightOnly[m.config.Method] != "":
		pass.RestoreGemms(work.Graph, p.Gemms)
		if err = quantize.ToMatMulNBits(work.Graph); err == nil {
			err = pass.Standard(work.Graph)
		}
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
		if p.Work != nil {
			err = errors.Join(err, p.Work.Close())
		}
		return nil, errors.Join(err, orig.Close())
	}
	r := m.result(orig, work, p, in)
	r.CalibrationText, r.Experts = own, expertCoverage(p.Errors, p.Tokens)
	warnOfExperts(ctx, r.Experts)
	if c != nil {
		r.Calibration, r.Repairs, r.Sensitivity = calibrate.Diagnose(c.Values), repairs, lost
	}
	return r, nil
}

func (m *Manager) result(orig, work *model.Model, p *quantize.Plan, in inputRecord) *Result {
	m.last = &Result{Model: &Model{m: work}, Decisions: p.Decisions, FrozenInputs: p.Frozen, Config: m.resolved, Errors: p.Errors, Placement: p.Placement(), original: orig, input: in, work: p.Work, also: m.config.formats()[1:]}
	return m.last
}

const (
	modelStem    = "model"           // the name of a saved model, without the extension
	recordFile   = "neuroquant.json" // the name of the record beside it
	recordTool   = "neuroquant"
	recordSchema = 1
)

// Record is what [Manager.Save] writes beside the model: how the model came about. It holds no times and no paths, so that
// the same work gives the same bytes.
type Record struct {
	Schema    int         `json:"schema"`
	Tool      string      `json:"tool"`
	Version   string      `json:"version"`
	Input     inputRecord `json:"input"`
	Settings  Config      `json:"settings"`
	Output    fileRecord  `json:"output"`
	Sizes     sizeRecord  `json:"sizes"`
	Decisions []Decision  `json:"decisions"`
	// Calibration says how well the calibration samples cover what values can be.
	Calibration *CalibrationDiagnosis `json:"calibration,omitempty"`
	// CalibrationText says how calibration samples came about that the model wrote itself.
	CalibrationText *CalibrationText `json:"calibration_text,omitempty"`
	Sensitivity     []Sensitivity    `json:"sensitivity,omitempty"`
	Search          *SearchResult    `json:"search,omitempty"`
	Errors          []LayerErrors    `json:"layer_errors,omitempty"`
	Experts         []ExpertCoverage `json:"experts,omitempty"`
	// Placement says where codes are, see [Plan].
	Placement []string `json:"placement,omitempty"`
	// Repairs are what was done to the model besides rounding it.
	Repairs []string `json:"repairs,omitempty"`
	// FrozenInputs are inputs of the original that had a default, which became constants.
	FrozenInputs []string `json:"frozen_inputs,omitempty"`
}

type fileRecord struct {
	File   string `json:"file"`
	Bytes  int64  `json:"bytes"`
	Format string `json:"format"`
}

type sizeRecord struct {
	OriginalBytes    int64   `json:"original_bytes"`
	QuantizedBytes   int64   `json:"quantized_bytes"`
	CompressionRatio float64 `json:"compression_ratio"`
}

// Save writes a result to the folder out: the model and neuroquant.json. The folder appears as a whole or not at all; one
// that exists and is not empty is refused unless overwrite is set, and then replaced only by what is written. Of several formats each is a
// folder in out of the format's name.
func (m *Manager) Save(ctx context.Context, r *Result, out string, overwrite bool) error {
	if len(r.also) == 0 {
		return m.save(ctx, r, out, overwrite)
	}
	first := filepath.Join(out, r.Config.Format)
	if err := m.save(ctx, r, first, overwrite); err != nil {
		return err
	}
	for _, f := range r.also {
		path := filepath.Join(out, f)
		if f == gguf.Name || f == formatONNX {
			if err := os.MkdirAll(path, 0o755); err != nil {
				return err
			}
			path = filepath.Join(path, modelStem+"."+f)
		}
		c, err := Convert(ctx, first, path, ConvertOptions{To: f, Overwrite: overwrite})
		if err != nil {
			return fmt.Errorf("%s is written; format %s: %w", first, f, err)
		}
		if c.Differ > 0 {
			return fmt.Errorf("%s is written, but %d of its tensors decode to other values than those of %s", path, c.Differ, first)
		}
	}
	return nil
}

// save writes a result in one format.
func (m *Manager) save(ctx context.Context, r *Result, out string, overwrite bool) error {
	if r.Config.Format == formatONNX {
		if err := r.checkRuntime(ctx); err != nil {
			return err
		}
		if err := r.original.Damaged(ctx, true); err != nil {
			return err
		}
	}
	hashed, stop := r.hashBeside(ctx)
	defer stop()
	var files []string // of the model
	err := outfile.WriteFolder(out, overwrite, func(dir string) error {
		f, err := format.Find(formatOf(r.Config.Format))
		if err != nil {
			return err
		}
		path := filepath.Join(dir, modelFile(r.Config.Format))
		o := model.SaveOptions{}
		if isLayout(r.Config.Format) {
			path, o.Layout, o.Settings = dir, r.Config.Format, r.Config.layoutSettings()
			c, err := hf.ContentsOf(r.m, o)
			if err != nil {
				return err
			}
			defer quantize.HoldHeap(c.Heap)()
		}
		if err := f.Save(ctx, path, r.m, o); err != nil {
			return damaged(ctx, r.original, err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			files = append(files, e.Name())
		}
		bytes, err := modelBytes(dir)
		if err != nil {
			return err
		}
		if err := hashed(); err != nil {
			return err
		}
		rec := r.record(bytes)
		text, err := json.MarshalIndent(rec, "", "  ")
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, recordFile), append(text, '\n'), 0o644)
	})
	if err != nil {
		return err
	}
	// A model of another format, and external data of one that was replaced, belong to nothing any more.
	for _, stale := range []string{modelFile(formatONNX), modelFile(formatONNX) + ".data", modelFile(formatPT)} {
		if overwrite && !slices.Contains(files, stale) {
			if err := os.Remove(filepath.Join(out, stale)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	if r.work != nil {
		r.work.Remove()
		m.workFolder = ""
	} else if dir, err := quantize.AbandonWork(out); err != nil {
		return err
	} else if dir != "" {
		progress.From(ctx).Log(fmt.Sprintf("quantize: removed %s, unfinished work of another run on %s", dir, out))
	}
	r.m.Path, r.m.Dir, r.m.Files = filepath.Join(out, modelFile(r.Config.Format)), out, files
	r.bytes = diskBytes(r.m)
	return nil
}

func (r *Result) record(bytes int64) Record {
	settings := r.Config
	settings.QuantizedModelPath, settings.AnalysisReportPath = "", "" // where things go is not how they came about
	settings.Stats = nil
	for _, path := range r.Config.Stats {
		settings.Stats = append(settings.Stats, filepath.Base(path))
	}
	return Record{
		Schema: recordSchema, Tool: recordTool, Version: Version(), Input: r.input, Settings: settings,
		Output:    fileRecord{File: modelFile(r.Config.Format), Bytes: bytes, Format: r.Config.Format},
		Sizes:     sizeRecord{r.input.Bytes, bytes, float64(r.input.Bytes) / float64(max(bytes, 1))},
		Decisions: r.Decisions, Calibration: r.Calibration, CalibrationText: r.CalibrationText, Repairs: r.Repairs, Sensitivity: r.Sensitivity, Search: r.Search, Errors: r.Errors, Experts: r.Experts, Placement: r.Placement, FrozenInputs: r.FrozenInputs,
	}
}

// Load opens what Save wrote: the model of the folder and its record.
func (m *Manager) Load(ctx context.Context, dir string) (*Model, *Record, error) {
	rec, err := readRecord(dir)
	if err != nil {
		return nil, nil, err
	}
	if filepath.Base(rec.Output.File) != rec.Output.File {
		return nil, nil, fmt.Errorf("%s: the record names %q as the model, which is no file of the folder", dir, rec.Output.File)
	}
	path := filepath.Join(dir, rec.Output.File)
	if isLayout(rec.Output.Format) { // which is the folder
		path = dir
	}
	mod, err := Open(ctx, path)
	if err != nil {
		return nil, nil, err
	}
	return mod, rec, nil
}

func readRecord(dir string) (*Record, error) {
	path := filepath.Join(dir, recordFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: not a folder that this tool wrote: %w", dir, err)
	}
	rec, err := parseRecord(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return rec, nil
}

func parseRecord(text []byte) (*Record, error) {
	rec := new(Record)
	if err := json.Unmarshal(text, rec); err != nil {
		return nil, err
	}
	if rec.Tool != recordTool || rec.Schema != recordSchema {
		return nil, fmt.Errorf("want a record of %s with schema %d, got tool %q and schema %d", recordTool, recordSchema, rec.Tool, rec.Schema)
	}
	return rec, nil
}

// SizeInfo measures a model: values, bytes on disk and in memory, by element type.
func (m *Manager) SizeInfo(mod *Model) Size { return analyze.SizeOf(mod.m) }

// Info describes the settings and, after Quantize, what was done.
type Info struct {
	Config    Config `json:"config"`
	Quantized bool   `json:"quantized"`
	Input     string `json:"input,omitempty"`
	Layers    int    `json:"layers,omitempty"` // decisions that changed a layer
	Kept      int    `json:"kept,omitempty"`   // decisions that left one
}

// Info returns the manager's settings and what its last Quantize did.
func (m *Manager) Info() Info {
	i := Info{Config: m.config}
	if m.last == nil {
		return i
	}
	i.Quantized, i.Input = m.config.Enabled, m.last.input.File
	for _, d := range m.last.Decisions {
		if d.Quantized {
			i.Layers++
		} else {
			i.Kept++
		}
	}
	return i
}
