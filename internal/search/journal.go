package search

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/neurotrain/neuroquant/internal/journal"
)

// Key names what a search measures by content: where keys are equal, equal choices have equal measures.
type Key struct {
	Version     string `json:"version"`     // of this program
	Model       string `json:"model"`       // hash of the file
	Settings    string `json:"settings"`    // of the quantization, as text
	Calibration string `json:"calibration"` // hash of the statistics
	Evaluation  string `json:"evaluation"`  // hash of the samples that choices are measured on
}

// differs says in what a key differs from k, nothing if in nothing.
func (k Key) differs(o Key) string {
	var what []string
	for _, x := range []struct{ name, a, b string }{
		{"version of the program", k.Version, o.Version},
		{"model", k.Model, o.Model},
		{"settings", k.Settings, o.Settings},
		{"calibration samples", k.Calibration, o.Calibration},
		{"evaluation samples", k.Evaluation, o.Evaluation},
	} {
		if x.a != x.b {
			what = append(what, x.name)
		}
	}
	return strings.Join(what, ", ")
}

// Journal is the file that a search writes what it measured to, a line each, flushed to the disk before the search goes on. Times
// of whole models stand in it too.
type Journal struct {
	f        *journal.File
	measures map[string]Measure
	seconds  map[string]float64 // spent until then
	timings  map[string]Timing
}

var journals = journal.Kind{Name: "neuroquant search", Schema: 1}

// entry is any other line.
type entry struct {
	Choice Choice `json:"choice"`
	// Rank is how many samples it was measured on; 0: all.
	Rank    int     `json:"rank,omitempty"`
	Measure Measure `json:"measure"`
	Seconds float64 `json:"seconds,omitempty"` // that the search has spent on measuring until now
	// Timing is set in lines that say what a choice takes to run; they have no measure.
	Timing *Timing `json:"timing,omitempty"`
}

// Timing is how long one call of the original and of a choice takes.
type Timing struct {
	OriginalMS float64 `json:"original_ms"`
	MS         float64 `json:"ms"`
	Speedup    float64 `json:"speedup"`
}

func entryKey(c Choice, rank int) string { return fmt.Sprintf("%d %s", rank, c.key()) }

// OpenJournal opens the journal at path to go on with it, or begins it. One of another search is an error unless restart is set; it
// is then begun anew. The folder must exist.
func OpenJournal(path string, key Key, restart bool) (*Journal, error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	j := &Journal{measures: map[string]Measure{}, seconds: map[string]float64{}, timings: map[string]Timing{}}
	whole := 0
	if len(text) > 0 && !restart {
		was, entries, n, err := parseJournal(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if n > 0 {
			if d := was.differs(key); d != "" {
				return nil, fmt.Errorf("%s: is of a search with other %s; choose another folder, or pass --force to begin anew", path, d)
			}
			j.fill(entries)
		}
		whole = n
	}
	j.f, err = journals.Open(path, whole, key)
	return j, err
}

func (j *Journal) fill(entries []entry) {
	for _, e := range entries {
		k := entryKey(e.Choice, e.Rank)
		if e.Timing != nil {
			j.timings[k] = *e.Timing
			continue
		}
		j.measures[k], j.seconds[k] = e.Measure, e.Seconds
	}
}

// Len returns how many measures the journal holds.
func (j *Journal) Len() int { return len(j.measures) }

func (j *Journal) add(e entry) error {
	k := entryKey(e.Choice, e.Rank)
	if e.Timing == nil {
		j.seconds[k] = e.Seconds
	}
	return j.f.Add(e)
}

// Close closes the file, which is complete at any time.
func (j *Journal) Close() error { return j.f.Close() }

// IsJournal reports whether the text of a file begins as a journal does.
func IsJournal(text []byte) bool {
	_, _, n, err := parseJournal(text)
	return err == nil && n > 0
}

// parseJournal reads a journal and returns how many bytes of it are whole lines. The last line may have been cut off, every other
// one must be right.
func parseJournal(text []byte) (key Key, entries []entry, whole int, err error) {
	whole, err = journals.Parse(text, &key, func(line []byte) error {
		var e entry
		err := journal.Strict(line, &e)
		entries = append(entries, e)
		return err
	})
	if err != nil {
		return key, nil, 0, err
	}
	return key, entries, whole, nil
}
