package progress

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lmittmann/tint"
	"golang.org/x/term"
)

// Kinds are the names of the reporters; auto picks bar or plain by where the output goes.
var Kinds = []string{"auto", "bar", "plain", "json", "none"}

// Options choose a reporter.
type Options struct {
	Kind   string              // one of [Kinds]; "" is auto
	Output io.Writer           // usually os.Stderr, which is the default
	Env    func(string) string // os.Getenv by default

	now   func() time.Time
	width func() int    // of the terminal in columns; 0: unknown
	tick  time.Duration // between redraws of bars; below 0: never by itself
}

// New returns a reporter that the caller closes:
//
//   - bar draws a line per task on a terminal, ten times a second, with rate and time left;
//   - plain writes a line now and then, for tasks longer than a second;
//   - json writes one JSON object per line: event (start, progress, done, log), task, done, total, unit, rate, eta_seconds;
//   - none shows no tasks; log lines still appear.
//
// auto is bar on a terminal, and plain on pipes, under CI and with TERM=dumb.
func New(o Options) (Reporter, error) {
	if o.Output == nil {
		o.Output = os.Stderr
	}
	if o.Env == nil {
		o.Env = os.Getenv
	}
	if o.now == nil {
		o.now = time.Now
	}
	if o.width == nil {
		o.width = func() int { return terminalWidth(o.Output) }
	}
	if o.tick == 0 {
		o.tick = 100 * time.Millisecond
	}
	kind := o.Kind
	if kind == "" || kind == "auto" {
		kind = "plain"
		if o.width() > 0 && !isDumb(o.Env) && !isCI(o.Env) && !(runtime.GOOS == "windows" && o.Env("WT_SESSION") == "") {
			kind = "bar"
		}
	}
	switch kind {
	case "bar":
		return newBars(o), nil
	case "plain":
		return &plain{o: o}, nil
	case "json":
		return &events{o: o}, nil
	case "none":
		return &none{w: o.Output}, nil
	}
	return nil, fmt.Errorf("progress: want one of %s, got %q", strings.Join(Kinds, ", "), o.Kind)
}

// terminalWidth returns the columns of a terminal, 0 if w is none or does not tell.
func terminalWidth(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

func isDumb(env func(string) string) bool { return env("TERM") == "dumb" }

func isCI(env func(string) string) bool {
	return !slices.Contains([]string{"", "0", "false"}, strings.ToLower(env("CI")))
}

// Color reports whether text on w may be coloured: w is a terminal, and neither NO_COLOR nor TERM=dumb is set. A nil env is
// os.Getenv.
func Color(w io.Writer, env func(string) string) bool {
	if env == nil {
		env = os.Getenv
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && env("NO_COLOR") == "" && !isDumb(env)
}

// LogOptions choose a logger.
type LogOptions struct {
	Level slog.Leveler // the least level shown; nil: info
	Color bool
	JSON  bool // a JSON object per record
}

// NewLogger returns a logger whose lines go through r.
func NewLogger(r Reporter, o LogOptions) *slog.Logger {
	if o.JSON {
		return slog.New(slog.NewJSONHandler(Writer(r), &slog.HandlerOptions{Level: o.Level}))
	}
	return slog.New(tint.NewTextHandler(Writer(r), &tint.Options{Level: o.Level, NoColor: !o.Color, TimeFormat: time.TimeOnly}))
}

// none shows log lines only.
type none struct {
	mu sync.Mutex
	w  io.Writer
}

func (n *none) Start(string, int64, string) Task { return silent{} }
func (n *none) Close()                           {}
func (n *none) Log(line string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, _ = io.WriteString(n.w, line+"\n")
}
