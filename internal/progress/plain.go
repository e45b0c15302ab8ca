package progress

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Shorter tasks leave no line.
const plainAfter = time.Second

// plain writes lines: for a task longer than a second one whenever a tenth more is done or five seconds have passed, more
// rarely the longer it takes, and one at the end.
type plain struct {
	o  Options
	mu sync.Mutex
}

type plainTask struct {
	p *plain
	meter
	told     time.Time // of the last line
	toldDone int64
}

func (p *plain) Start(name string, total int64, unit string) Task {
	now := p.o.now()
	return &plainTask{p: p, meter: meter{name: name, unit: unit, total: total, start: now}, told: now}
}

func (p *plain) Log(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.write(line)
}

func (p *plain) Close() {}

func (p *plain) write(line string) { _, _ = io.WriteString(p.o.Output, line+"\n") }

func (t *plainTask) Add(n int64) {
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	if t.ended {
		return
	}
	t.done += n
	now := t.p.o.now()
	elapsed, silence := now.Sub(t.start), now.Sub(t.told)
	tenth := t.total > 0 && t.done-t.toldDone >= (t.total+9)/10
	if elapsed < plainAfter || silence < plainAfter || !tenth && silence < min(max(5*time.Second, elapsed/10), time.Minute) || t.total > 0 && t.done >= t.total {
		return
	}
	t.told, t.toldDone = now, t.done
	var parts []string
	if t.total > 0 {
		parts = append(parts, fmt.Sprintf("%.0f %% (%s)", 100*t.fraction(), t.counts()))
	} else {
		parts = append(parts, t.counts())
	}
	if s := t.speed(now); s != "" {
		parts = append(parts, s)
	}
	if left := t.left(now); left >= 0 {
		parts = append(parts, durationText(left)+" left")
	}
	if t.note != "" {
		parts = append(parts, t.note)
	}
	t.p.write(t.name + ": " + strings.Join(parts, ", "))
}

func (t *plainTask) Note(text string) {
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	t.note = text
}

func (t *plainTask) Done() {
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	if t.ended {
		return
	}
	t.ended = true
	if now := t.p.o.now(); now.Sub(t.start) >= plainAfter {
		t.p.write(t.summary(now))
	}
}
