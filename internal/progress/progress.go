// Package progress is how long work tells what it does. Library code takes a [Reporter] from its context with [From] and
// reports; who runs it decides with [With] what becomes of the reports. Without a reporter everything is silent.
//
// [New] makes the reporters: bars on a terminal, plain lines on pipes and in CI, JSON events, or none. Log lines go through the
// same reporter ([Writer], [NewLogger]), so that they never tear a bar.
package progress

import (
	"context"
	"io"
	"strings"
)

// Reporter shows tasks. Its methods may be called from several goroutines.
type Reporter interface {
	// Start begins a task of total units (0: not known beforehand), such as "layers" or "samples".
	Start(name string, total int64, unit string) Task
	// Log prints a line without tearing what is shown.
	Log(line string)
	// Close ends what is shown.
	Close()
}

// Task is one piece of work in progress.
type Task interface {
	// Add counts n more units as done.
	Add(n int64)
	// Note is a few words that are shown with the counts from now on, such as the loss of a training.
	Note(text string)
	// Done ends the task, complete or not.
	Done()
}

type key struct{}

// With returns a context that carries r.
func With(ctx context.Context, r Reporter) context.Context { return context.WithValue(ctx, key{}, r) }

// From returns the reporter of ctx, or one that does nothing; never nil.
func From(ctx context.Context) Reporter {
	if r, ok := ctx.Value(key{}).(Reporter); ok {
		return r
	}
	return silent{}
}

type silent struct{}

func (silent) Start(string, int64, string) Task { return silent{} }
func (silent) Log(string)                       {}
func (silent) Close()                           {}
func (silent) Add(int64)                        {}
func (silent) Note(string)                      {}
func (silent) Done()                            {}

// Writer returns a writer that logs each line of a write to r.
func Writer(r Reporter) io.Writer { return lineWriter{r} }

type lineWriter struct{ r Reporter }

func (w lineWriter) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		w.r.Log(strings.TrimRight(line, "\r\n"))
	}
	return len(p), nil
}
