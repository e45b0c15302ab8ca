package progress

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	// Shorter tasks draw no bar, so that quick commands do not flicker.
	barAfter = 300 * time.Millisecond
	// maxBars bounds the lines drawn.
	maxBars = 8
)

// bars draws one line per running task at the bottom of a terminal. Everything goes out in single writes under one lock: the
// bars are erased, lines that stay are written, and the bars are drawn again below them.
type bars struct {
	o     Options
	mu    sync.Mutex
	tasks []*barTask
	drawn int           // lines on the screen; the cursor is at the end of the last
	stop  chan struct{} // of the ticker; nil: none runs
	done  bool
}

type barTask struct {
	b *bars
	meter
}

func newBars(o Options) *bars { return &bars{o: o} }

func (b *bars) Start(name string, total int64, unit string) Task {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := &barTask{b, meter{name: name, unit: unit, total: total, start: b.o.now()}}
	if b.done {
		t.ended = true
		return t
	}
	b.tasks = append(b.tasks, t)
	if b.stop == nil && b.o.tick > 0 {
		b.stop = make(chan struct{})
		go b.run(b.stop)
	}
	return t
}

// run redraws until the last task ends.
func (b *bars) run(stop chan struct{}) {
	tick := time.NewTicker(b.o.tick)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			b.mu.Lock()
			if b.stop == stop {
				b.draw("")
			}
			b.mu.Unlock()
		}
	}
}

// draw erases the bars, writes text (whole lines) and draws the bars that are due.
func (b *bars) draw(text string) {
	var s strings.Builder
	if b.drawn > 0 {
		s.WriteByte('\r')
		if b.drawn > 1 {
			fmt.Fprintf(&s, "\x1b[%dA", b.drawn-1)
		}
		s.WriteString("\x1b[J")
	}
	s.WriteString(text)
	lines := b.lines()
	s.WriteString(strings.Join(lines, "\n"))
	b.drawn = len(lines)
	if s.Len() > 0 {
		_, _ = io.WriteString(b.o.Output, s.String())
	}
}

func (b *bars) lines() []string {
	now := b.o.now()
	width := b.o.width()
	if width < 1 {
		width = 80
	}
	var due []*barTask
	for _, t := range b.tasks {
		if now.Sub(t.start) >= barAfter {
			due = append(due, t)
		}
	}
	more := len(due) - maxBars
	if more > 0 {
		due = due[:maxBars]
	}
	longest := 0
	for _, t := range due {
		longest = max(longest, utf8.RuneCountInString(t.name))
	}
	var lines []string
	for _, t := range due {
		lines = append(lines, t.line(now, min(longest, max(width/3, 8)), width-1))
	}
	if more > 0 {
		lines = append(lines, clip(fmt.Sprintf("and %d more", more), width-1))
	}
	return lines
}

// line draws the task in at most width columns, its name in label columns.
func (t *barTask) line(now time.Time, label, width int) string {
	var right []string
	if t.total > 0 {
		right = append(right, fmt.Sprintf("%3.0f %%", 100*t.fraction()))
	}
	right = append(right, t.counts())
	if s := t.speed(now); s != "" {
		right = append(right, s)
	}
	if left := t.left(now); left >= 0 {
		right = append(right, durationText(left)+" left")
	}
	if t.note != "" {
		right = append(right, t.note)
	}
	name := clip(t.name, label)
	name += strings.Repeat(" ", label-utf8.RuneCountInString(name))
	tail := strings.Join(right, "  ")
	cells := min(width-label-utf8.RuneCountInString(tail)-6, 40)
	if cells < 5 {
		return clip(name+"  "+tail, width)
	}
	return name + "  " + t.bar(now, cells) + "  " + tail
}

// bar draws the part done; without a total a mark that wanders.
func (t *barTask) bar(now time.Time, cells int) string {
	if t.total <= 0 {
		at := int(now.Sub(t.start)/(150*time.Millisecond)) % (2 * (cells - 1))
		if at >= cells {
			at = 2*(cells-1) - at
		}
		return "[" + strings.Repeat(" ", at) + "=" + strings.Repeat(" ", cells-at-1) + "]"
	}
	full := int(t.fraction() * float64(cells))
	if full == cells {
		return "[" + strings.Repeat("=", cells) + "]"
	}
	return "[" + strings.Repeat("=", full) + ">" + strings.Repeat(" ", cells-full-1) + "]"
}

// clip shortens text to n characters.
func clip(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	if n <= 3 {
		return string(r[:max(n, 0)])
	}
	return string(r[:n-3]) + "..."
}

func (b *bars) Log(line string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.draw(line + "\n")
}

func (b *bars) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range b.tasks {
		t.ended = true
	}
	b.tasks = nil
	b.halt()
	b.draw("")
	b.done = true
}

func (b *bars) halt() {
	if b.stop != nil {
		close(b.stop)
		b.stop = nil
	}
}

func (t *barTask) Add(n int64) {
	t.b.mu.Lock()
	defer t.b.mu.Unlock()
	if !t.ended {
		t.done += n
	}
}

func (t *barTask) Note(text string) {
	t.b.mu.Lock()
	defer t.b.mu.Unlock()
	t.note = text
}

func (t *barTask) Done() {
	b := t.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if t.ended {
		return
	}
	t.ended = true
	b.tasks = slices.DeleteFunc(b.tasks, func(o *barTask) bool { return o == t })
	if len(b.tasks) == 0 {
		b.halt()
	}
	text := ""
	if now := b.o.now(); now.Sub(t.start) >= plainAfter {
		text = t.summary(now) + "\n"
	}
	b.draw(text)
}
