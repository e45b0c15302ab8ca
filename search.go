package neuroquant

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/analyze"
	"github.com/neurotrain/neuroquant/internal/calibrate"
	"github.com/neurotrain/neuroquant/internal/codec/outfile"
	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/internal/quantize"
	"github.com/neurotrain/neuroquant/internal/search"
)

type (
	// SearchResult is what a search for the layers to leave in float found.
	SearchResult = search.Result
	// SearchPicture is a search with the latency of the choices that are worth comparing.
	SearchPicture = search.Picture
)

// searchFile is the journal of a search, beside the model.
const searchFile = "search.jsonl"

// SearchOn gives the manager the samples that a search measures accuracy on; without it they are those given to
// [Manager.Calibrate]. At most search_samples of them are used, drawn evenly.
func (m *Manager) SearchOn(set data.Set) { m.evaluation = set }

// CheckSearchOutput is [CheckOutput] for [Manager.Search]: a folder with the journal of a search is gone on with, so it may be there.
func CheckSearchOutput(out string, overwrite bool) error {
	return outfile.CheckFolder(out, overwrite || isSearchFolder(out))
}

func isSearchFolder(out string) bool {
	text, err := os.ReadFile(filepath.Join(out, searchFile))
	return err == nil && search.IsJournal(text)
}

// Search quantizes the model at path as the settings say, leaving as few layers in float as the accuracy asked for takes, and writes
// it to the folder out. The best that was found so far is there at any time, complete; a search that is stopped, in whatever
// way, goes on when it is started again with the same settings and samples, and ends with the same result. A folder of other
// contents is refused unless overwrite is set.
func (m *Manager) Search(ctx context.Context, path, out string, overwrite bool) (*Result, error) {
	if !m.config.Search {
		return nil, errors.New("the settings do not ask for a search")
	}
	if err := CheckSearchOutput(out, overwrite); err != nil {
		return nil, err
	}
	return m.search(ctx, path, out, overwrite)
}

// search looks for the best quantization; out is empty where nothing is to be written.
func (m *Manager) search(ctx context.Context, path, out string, overwrite bool) (res *Result, err error) {
	orig, work, p, err := m.plan(ctx, path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, orig.Close())
		}
	}()
	fail := func(err error) (*Result, error) { return nil, fmt.Errorf("%s: %w", path, err) }
	set, err := m.evaluationSet()
	if err != nil {
		return fail(err)
	}
	ref, closeRef, err := m.reference(ctx, work, set)
	if err != nil {
		return fail(err)
	}
	defer closeRef()
	options, err := m.config.searchOptions(ref)
	if err != nil {
		return fail(err)
	}
	in, err := recordInput(ctx, orig)
	if err != nil {
		return fail(err)
	}
	c, repairs, err := m.calibrated(ctx, orig, work, p)
	if err != nil {
		return fail(err)
	}
	subject, err := search.NewModel(ctx, work, p.Recipe, c, ref, m.threads)
	if err != nil {
		return fail(err)
	}
	made := func(ctx context.Context, pt search.Point, found *SearchResult) (*Result, error) {
		q, plan, err := subject.Build(ctx, pt.Choice)
		if err != nil {
			return nil, err
		}
		if m.config.Format == formatPT {
			if err := m.toState(orig, q, work.Graph, plan); err != nil {
				return nil, err
			}
		}
		r := &Result{Model: &Model{m: q}, Decisions: plan.Decisions, FrozenInputs: p.Frozen, Config: m.resolved, Calibration: calibrate.Diagnose(c.Values), Repairs: repairs, Search: found, Placement: plan.Placement(), original: orig, input: in}
		if r.Sensitivity, err = subject.Causes(ctx, pt.Calibrator); err != nil {
			return nil, err
		}
		found.Note(r.Sensitivity)
		r.explain(pt)
		return r, nil
	}
	var journal *search.Journal
	keep := func(ctx context.Context, pt search.Point) error {
		progress.From(ctx).Log("search: " + describePoint(pt))
		if out == "" {
			return nil
		}
		r, err := made(progress.With(ctx, search.Silent), pt, &SearchResult{Target: options.Target.String(), Met: pt.Meets, Best: pt, Points: []search.Point{pt}, Stopped: "interrupted"})
		if err != nil {
			return err
		}
		return m.Save(ctx, r, out, true)
	}
	if out != "" {
		if journal, err = m.openJournal(ctx, out, overwrite, in, c, ref); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, journal.Close()) }()
	}
	found, err := search.Run(ctx, subject, options, journal, keep)
	if err != nil {
		return fail(err)
	}
	if res, err = made(ctx, found.Best, found); err != nil {
		return fail(err)
	}
	if out != "" {
		if err := m.Save(ctx, res, out, true); err != nil {
			return nil, err
		}
	}
	timings, err := subject.Time(ctx, journal, found.FrontChoices())
	if err != nil {
		return fail(err)
	}
	res.SearchPicture = search.NewPicture(found, analyze.SizeOf(work).MemoryBytes, timings)
	m.last = res
	return res, nil
}

// evaluationSet returns the samples that accuracy is measured on.
func (m *Manager) evaluationSet() (data.Set, error) {
	switch {
	case m.evaluation != nil:
		return m.evaluation, nil
	case m.calibration != nil:
		return m.calibration, nil
	}
	return nil, errors.New("there are no samples to measure accuracy on")
}

// reference prepares the original and computes its outputs on the samples of the search.
func (m *Manager) reference(ctx context.Context, work *model.Model, set data.Set) (*analyze.Reference, func(), error) {
	if m.config.SearchSamples > 0 {
		set = data.Sample(set, m.config.SearchSamples, 0)
	}
	feeds, err := analyze.FromSet(work.Graph, set, searchBatch)
	if err != nil {
		return nil, nil, err
	}
	low, err := pass.Lower(work.Graph)
	if err != nil {
		return nil, nil, err
	}
	s, err := exec.NewSession(low, exec.Options{Threads: m.threads})
	if err != nil {
		return nil, nil, err
	}
	ref, err := analyze.NewReference(ctx, s, feeds, m.output, searchMemory)
	if err != nil {
		s.Close()
		return nil, nil, err
	}
	return ref, s.Close, nil
}

const (
	searchBatch  = 8         // samples per call
	searchMemory = 256 << 20 // bytes of inputs and outputs that are kept; the others are computed again
	rankSamples  = 64        // that layers are ranked on
)

func (c Config) searchOptions(ref *analyze.Reference) (search.Options, error) {
	text := c.SearchTarget
	if text == "" {
		text = search.DefaultTarget
		if ref.Labeled && ref.Scores != nil {
			text = search.DefaultLabelledTarget
		}
	}
	target, err := search.ParseTarget(text)
	if err != nil {
		return search.Options{}, err
	}
	o := search.Options{Target: target, Calibrators: c.SearchCalibrators, Evaluations: c.SearchEvaluations, Time: c.SearchTime}
	if ref.Scores != nil {
		o.OriginalTop1 = &ref.Scores.Top1
	}
	if err := target.Check(o.OriginalTop1); err != nil {
		return o, err
	}
	if len(o.Calibrators) == 0 {
		o.Calibrators = []string{c.Calibrator}
		for _, x := range quantize.Calibrators {
			if x != c.Calibrator {
				o.Calibrators = append(o.Calibrators, x)
			}
		}
	}
	if ref.Samples > rankSamples {
		o.RankSamples = rankSamples
	}
	return o, nil
}

// openJournal begins the journal of a search or finds that of an earlier run of it.
func (m *Manager) openJournal(ctx context.Context, out string, overwrite bool, in inputRecord, c *quantize.Calibration, ref *analyze.Reference) (*search.Journal, error) {
	settings := m.config
	// What is measured does not depend on the target or the budget: others go on with the same measures.
	settings.SearchTarget, settings.SearchCalibrators, settings.SearchEvaluations, settings.SearchTime = "", nil, 0, 0
	settings.QuantizedModelPath, settings.AnalysisReportPath, settings.SaveQuantizedModel, settings.Stats = "", "", true, nil
	text, err := json.Marshal(settings)
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	if _, err := calibrate.New(calibrate.Identity{}, c.Samples, nil, c.Values).WriteTo(h); err != nil {
		return nil, err
	}
	key := search.Key{
		Version: Version(), Model: in.XXH128, Settings: string(text) + " " + m.output,
		Calibration: hex.EncodeToString(h.Sum(nil)), Evaluation: ref.Digest,
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return nil, err
	}
	path := filepath.Join(out, searchFile)
	j, err := search.OpenJournal(path, key, overwrite)
	if err != nil {
		return nil, err
	}
	if n := j.Len(); n > 0 {
		progress.From(ctx).Log(fmt.Sprintf("search: %s has %d evaluations; going on from there", path, n))
	}
	return j, errors.Join(removePartial(out))
}

// removePartial removes the unfinished folders of a run that was killed.
func removePartial(out string) error {
	stale, err := filepath.Glob(filepath.Join(out, ".partial-*"))
	if err != nil {
		return err
	}
	for _, dir := range stale {
		if err := os.RemoveAll(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// describePoint says in one line what a choice is.
func describePoint(p search.Point) string {
	parts := []string{"SQNR exact"}
	if p.SQNR != nil {
		parts[0] = fmt.Sprintf("SQNR %.2f dB", *p.SQNR)
	}
	if p.Top1 != nil {
		parts = append(parts, fmt.Sprintf("top-1 %.2f %%", 100**p.Top1))
	}
	parts = append(parts, fmt.Sprintf("in float %d", len(p.Float)), "calibrator "+p.Calibrator)
	if n := len(p.Ranges); n > 0 {
		parts = append(parts, fmt.Sprintf("ranges by others %d", n))
	}
	if p.Meets {
		parts = append(parts, "meets the target")
	}
	return strings.Join(parts, ", ")
}

// explain gives the layers that the search left in float their reason.
func (r *Result) explain(p search.Point) {
	for i, d := range r.Decisions {
		if d.Quantized || !slices.Contains(p.Float, d.Layer) {
			continue
		}
		why := "left in float by the search"
		for _, s := range r.Sensitivity {
			if s.Layer != d.Layer {
				continue
			}
			if s.Without != nil && r.Search.Baseline != nil {
				why += fmt.Sprintf("; alone in float it changes the SQNR of all in 8 bits from %.1f to %.1f dB", *r.Search.Baseline, *s.Without)
			}
			if len(s.Causes) > 0 {
				why += fmt.Sprintf("; %s: %s", s.Causes[0].Kind, s.Causes[0].Text)
			}
		}
		r.Decisions[i].Why = why
	}
}

// validateSearch reports what is wrong with the settings of the search.
func (c Config) validateSearch(bad func(key, format string, a ...any)) {
	if c.SearchSamples < 0 {
		bad("search_samples", "want 0 (all) or more, got %d", c.SearchSamples)
	}
	if !c.Search { // sensitivities are measured on so many samples too
		for _, k := range keysOf {
			if strings.HasPrefix(k.key, "search_") && k.key != "search_samples" && slices.Contains(k.methods, c.Method) && k.changed(c, DefaultConfig()) {
				bad(k.key, "only with search")
			}
		}
		return
	}
	if c.SearchTarget != "" {
		if _, err := search.ParseTarget(c.SearchTarget); err != nil {
			bad("search_target", "%w", err)
		}
	}
	if c.SearchEvaluations < 0 {
		bad("search_evaluations", "want 0 (no bound) or more, got %d", c.SearchEvaluations)
	}
	if c.SearchTime < 0 {
		bad("search_time", "want 0 (no bound) or more, got %v", c.SearchTime)
	}
	if c.SearchTime > 0 && c.SearchTime < time.Millisecond {
		bad("search_time", "want a time with its unit, such as 10m, got %v", c.SearchTime)
	}
	for i, x := range c.SearchCalibrators {
		if err := (quantize.Calibrator{Method: x, Percentile: 99}).Check(); err != nil {
			bad("search_calibrators", "%w", err)
		} else if slices.Contains(c.SearchCalibrators[:i], x) {
			bad("search_calibrators", "%s: given twice", x)
		}
	}
}
