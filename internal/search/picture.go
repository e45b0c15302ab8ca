package search

import (
	"errors"
	"io/fs"
	"os"
)

// Picture is what a report shows of a search: what it found, and what the choices of its front take to run.
type Picture struct {
	*Result
	OriginalBytes int64   `json:"original_bytes"` // of all parameters
	Front         []Timed `json:"front"`
}

// Timed is a point with its latency, if that was measured.
type Timed struct {
	Point
	Timing *Timing `json:"timing,omitempty"`
}

// mostTimed bounds how many points of a front are timed.
const mostTimed = 12

// FrontChoices returns the choices of the front that are worth timing: all, or where there are many some between the ends, and the
// best.
func (r *Result) FrontChoices() []Choice {
	front := Front(r.Points)
	var out []Choice
	n := min(len(front), mostTimed)
	best := false
	for i := range n {
		p := front[i]
		if n > 1 {
			p = front[i*(len(front)-1)/(n-1)]
		}
		best = best || p.key() == r.Best.key()
		out = append(out, p.Choice)
	}
	if !best {
		out = append(out, r.Best.Choice)
	}
	return out
}

// NewPicture joins a result with the latencies that a journal has.
func NewPicture(r *Result, originalBytes int64, timings map[string]Timing) *Picture {
	x := &Picture{Result: r, OriginalBytes: originalBytes}
	front := Front(r.Points)
	inFront := false
	for _, p := range front {
		inFront = inFront || p.key() == r.Best.key()
	}
	if !inFront {
		front = append(front, r.Best)
	}
	for _, p := range front {
		y := Timed{Point: p}
		if t, ok := timings[p.key()]; ok {
			y.Timing = &t
		}
		x.Front = append(x.Front, y)
	}
	return x
}

// ReadTimings returns the latencies that the journal at path has, by choice; none where there is no journal.
func ReadTimings(path string) (map[string]Timing, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	_, entries, _, err := parseJournal(text)
	if err != nil {
		return nil, err
	}
	out := map[string]Timing{}
	for _, e := range entries {
		if e.Timing != nil {
			out[e.Choice.key()] = *e.Timing
		}
	}
	return out, nil
}
