package progress

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// clock is a time that tests move.
type clock struct{ t time.Time }

func (c *clock) now() time.Time       { return c.t }
func (c *clock) pass(d time.Duration) { c.t = c.t.Add(d) }
func newClock() *clock                { return &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)} }
func noEnv(string) string             { return "" }
func env(kv ...string) func(string) string {
	return func(k string) string {
		for i := 0; i < len(kv); i += 2 {
			if kv[i] == k {
				return kv[i+1]
			}
		}
		return ""
	}
}

func reporter(t *testing.T, kind string, c *clock, out *bytes.Buffer) Reporter {
	t.Helper()
	r, err := New(Options{Kind: kind, Output: out, Env: noEnv, now: c.now, width: func() int { return 80 }, tick: -1})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestContext(t *testing.T) {
	r := From(context.Background())
	task := r.Start("x", 1, "y")
	task.Add(1)
	task.Done()
	r.Log("nothing")
	r.Close()
	var out bytes.Buffer
	mine := reporter(t, "none", newClock(), &out)
	From(With(context.Background(), mine)).Log("line")
	if out.String() != "line\n" {
		t.Errorf("got %q", out.String())
	}
}

func TestPlain(t *testing.T) {
	var out bytes.Buffer
	c := newClock()
	r := reporter(t, "plain", c, &out)
	short := r.Start("short", 10, "layers")
	for range 10 {
		c.pass(50 * time.Millisecond)
		short.Add(1)
	}
	short.Done()
	if out.Len() != 0 {
		t.Errorf("a short task writes %q", out.String())
	}
	task := r.Start("quantize", 400, "layers")
	for i := range 400 {
		c.pass(50 * time.Millisecond) // 20 a second: a tenth every two seconds
		if i == 100 {
			r.Log("a line")
		}
		task.Add(1)
	}
	task.Done()
	task.Done()
	task.Add(1)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	want := []string{"quantize: 10 % (40/400 layers), 20.0/s, 18 s left", "quantize: 20 % (80/400 layers), 20.0/s, 16 s left", "a line"}
	for i, w := range want {
		if lines[i] != w {
			t.Errorf("line %d: got %q, want %q", i, lines[i], w)
		}
	}
	if last := lines[len(lines)-1]; last != "quantize: 400 layers in 20 s, 20.0/s" || len(lines) != 11 {
		t.Errorf("%d lines, the last %q", len(lines), last)
	}
	// A long task of unknown length tells more and more rarely.
	out.Reset()
	task = r.Start("read", 0, "bytes")
	for range 3600 {
		c.pass(time.Second)
		task.Add(3 << 20)
	}
	task.Done()
	lines = strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) < 20 || len(lines) > 110 || lines[0] != "read: 15.0 MiB, 3.00 MiB/s" || lines[len(lines)-1] != "read: 10.5 GiB in 1 h 00 min, 3.00 MiB/s" {
		t.Errorf("%d lines, from %q to %q", len(lines), lines[0], lines[len(lines)-1])
	}
}

func TestJSONEvents(t *testing.T) {
	var out bytes.Buffer
	c := newClock()
	r := reporter(t, "json", c, &out)
	task := r.Start("calibrate", 4, "samples")
	for range 4 {
		c.pass(500 * time.Millisecond)
		task.Add(1)
		task.Add(0) // too soon for another event
	}
	r.Log("a <line>")
	task.Done()
	type ev = map[string]any
	var got []ev
	for line := range strings.Lines(out.String()) {
		var e ev
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	if len(got) != 7 {
		t.Fatalf("got %d events: %v", len(got), got)
	}
	if e := got[1]; e["event"] != "progress" || e["task"] != "calibrate" || e["done"] != 1.0 || e["total"] != 4.0 || e["rate"] != 2.0 || e["eta_seconds"] != 1.5 {
		t.Errorf("progress: %v", e)
	}
	if e := got[5]; e["event"] != "log" || e["line"] != "a <line>" {
		t.Errorf("log: %v", e)
	}
	if e := got[6]; e["event"] != "done" || e["done"] != 4.0 || e["seconds"] != 2.0 {
		t.Errorf("done: %v", e)
	}
}

// screen interprets what the bars write: text, \r, \n, cursor up and erase below.
type screen struct {
	rows     []string
	row, col int
}

func (s *screen) write(t *testing.T, text string) {
	t.Helper()
	for len(text) > 0 {
		for s.row >= len(s.rows) {
			s.rows = append(s.rows, "")
		}
		switch {
		case text[0] == '\r':
			s.col, text = 0, text[1:]
		case text[0] == '\n':
			s.row, s.col, text = s.row+1, 0, text[1:]
		case strings.HasPrefix(text, "\x1b[J"):
			s.rows[s.row] = s.rows[s.row][:s.col]
			s.rows, text = s.rows[:s.row+1], text[3:]
		case strings.HasPrefix(text, "\x1b["):
			end := strings.IndexByte(text, 'A')
			n, err := strconv.Atoi(text[2:max(end, 2)])
			if err != nil || n > s.row {
				t.Fatalf("escape %q at row %d", text[:min(len(text), 8)], s.row)
			}
			s.row, text = s.row-n, text[end+1:]
		default:
			line := s.rows[s.row]
			if s.col < len(line) {
				t.Fatalf("%q is written over %q", text[:1], line)
			}
			s.rows[s.row], s.col, text = line+text[:1], s.col+1, text[1:]
		}
	}
}

func (s *screen) String() string { return strings.Join(s.rows, "\n") }

func TestBars(t *testing.T) {
	var out bytes.Buffer
	c := newClock()
	r := reporter(t, "bar", c, &out)
	b := r.(*bars)
	s := &screen{}
	show := func() string {
		s.write(t, out.String())
		out.Reset()
		return s.String()
	}
	draw := func() string {
		b.mu.Lock()
		b.draw("")
		b.mu.Unlock()
		return show()
	}
	layers := r.Start("quantize", 40, "layers")
	if got := draw(); got != "" {
		t.Errorf("drawn at once: %q", got)
	}
	c.pass(2 * time.Second)
	layers.Add(10)
	const one = "quantize  [==========>                             ]   25 %  10/40 layers  5.00/s  6.0 s left"
	wide := strings.ReplaceAll(one, "[==========>                             ]", "[======>                 ]")
	if got := draw(); !strings.HasPrefix(got, "quantize  [") || !strings.HasSuffix(got, " 25 %  10/40 layers  5.00/s  6.0 s left") || len(got) > 79 {
		t.Errorf("got %q, want something like %q", got, wide)
	}
	r.Log("first line")
	other := r.Start("read", 0, "bytes")
	c.pass(time.Second)
	other.Add(5 << 20)
	r.Log("second line")
	rows := strings.Split(show(), "\n")
	if len(rows) != 4 || rows[0] != "first line" || rows[1] != "second line" || !strings.HasPrefix(rows[2], "quantize  [") || !strings.HasPrefix(rows[3], "read      [") {
		t.Errorf("rows %q", rows)
	}
	layers.Add(30)
	layers.Done()
	rows = strings.Split(show(), "\n")
	if len(rows) != 4 || rows[2] != "quantize: 40 layers in 3.0 s, 13.3/s" || !strings.HasPrefix(rows[3], "read  [") || !strings.Contains(rows[3], "5.00 MiB  5.00 MiB/s") {
		t.Errorf("rows %q", rows)
	}
	r.Close()
	if rows = strings.Split(show(), "\n"); len(rows) != 4 || rows[3] != "" {
		t.Errorf("after closing: %q", rows)
	}
	other.Add(1)
	other.Done()
	r.Start("late", 1, "x").Done()
	r.Log("late line")
	if rows = strings.Split(show(), "\n"); rows[3] != "late line" {
		t.Errorf("after closing: %q", rows)
	}
}

func TestBarsFitTheTerminal(t *testing.T) {
	for _, width := range []int{1, 8, 20, 40, 79, 80, 200} {
		c := newClock()
		var out bytes.Buffer
		r, err := New(Options{Kind: "bar", Output: &out, Env: noEnv, now: c.now, width: func() int { return width }, tick: -1})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 12 {
			r.Start(fmt.Sprintf("a task with a long name %d", i), int64(i*100), "samples").Add(int64(i * 7))
		}
		c.pass(time.Minute)
		lines := r.(*bars).lines()
		if len(lines) != maxBars+1 {
			t.Errorf("width %d: %d lines", width, len(lines))
		}
		for _, l := range lines {
			if len([]rune(l)) > width-1 {
				t.Errorf("width %d: %q", width, l)
			}
		}
	}
}

func TestBarsConcurrently(t *testing.T) {
	var mu sync.Mutex
	var out bytes.Buffer
	r, err := New(Options{Kind: "bar", Output: writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return out.Write(p)
	}), Env: noEnv, width: func() int { return 60 }, tick: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			task := r.Start(fmt.Sprint("t", i), 100, "x")
			for range 100 {
				task.Add(1)
				r.Log("line")
			}
			task.Done()
		})
	}
	wg.Wait()
	r.Close()
	if n := strings.Count(out.String(), "line\n"); n != 400 {
		t.Errorf("%d lines of 400", n)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestAutoPicks(t *testing.T) {
	for _, c := range []struct {
		width int
		env   func(string) string
		want  string
	}{
		{80, noEnv, "*progress.bars"},
		{0, noEnv, "*progress.plain"},
		{80, env("TERM", "dumb"), "*progress.plain"},
		{80, env("CI", "true"), "*progress.plain"},
		{80, env("CI", "false"), "*progress.bars"},
		{80, env("NO_COLOR", "1"), "*progress.bars"},
	} {
		r, err := New(Options{Output: &bytes.Buffer{}, Env: c.env, width: func() int { return c.width }})
		if err != nil || fmt.Sprintf("%T", r) != c.want {
			t.Errorf("%+v: got %T, %v", c, r, err)
		}
	}
	if _, err := New(Options{Kind: "fancy"}); err == nil || !strings.Contains(err.Error(), "want one of auto, bar, plain, json, none") {
		t.Errorf("unknown kind: %v", err)
	}
	f, err := os.CreateTemp(t.TempDir(), "x")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if Color(f, noEnv) || terminalWidth(f) != 0 {
		t.Error("a file counts as a terminal")
	}
}

func TestLogger(t *testing.T) {
	var out bytes.Buffer
	r := reporter(t, "none", newClock(), &out)
	log := NewLogger(r, LogOptions{Level: slog.LevelWarn})
	log.Info("hidden")
	log.Warn("seen", "layer", "conv1")
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "WRN seen layer=conv1") || strings.Contains(got, "\x1b") {
		t.Errorf("got %q", got)
	}
	out.Reset()
	NewLogger(r, LogOptions{JSON: true}).Info("seen")
	if !json.Valid(out.Bytes()) {
		t.Errorf("got %q", out.String())
	}
	out.Reset()
	NewLogger(r, LogOptions{Color: true}).Info("seen")
	if !strings.Contains(out.String(), "\x1b[") {
		t.Errorf("got %q", out.String())
	}
}

func TestFormats(t *testing.T) {
	for d, want := range map[time.Duration]string{
		800 * time.Millisecond: "0.8 s", 9960 * time.Millisecond: "10 s", 59600 * time.Millisecond: "1 min 00 s", 200 * time.Second: "3 min 20 s", 3900 * time.Second: "1 h 05 min",
	} {
		if got := durationText(d); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
	for v, want := range map[float64]string{512: "512 B", 1536: "1.50 KiB", 3 << 20: "3.00 MiB", 250 << 30: "250 GiB"} {
		if got := bytesText(v); got != want {
			t.Errorf("%v: got %q, want %q", v, got, want)
		}
	}
}

func TestNote(t *testing.T) {
	for kind, want := range map[string]string{
		"plain": "train: 50 % (5/10 updates), 2.50/s, 2.0 s left, loss 0.5\n", "bar": "2.0 s left  loss 0.5", "json": `"note":"loss 0.5"`,
	} {
		var out bytes.Buffer
		c := newClock()
		r := reporter(t, kind, c, &out)
		task := r.Start("train", 10, "updates")
		c.pass(2 * time.Second)
		task.Note("loss 0.5")
		task.Add(5)
		r.Log("line")
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s: %q does not have %q", kind, out.String(), want)
		}
		task.Done()
		r.Close()
	}
}
