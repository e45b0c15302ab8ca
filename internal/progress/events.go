package progress

import (
	"encoding/json"
	"math"
	"sync"
	"time"
)

// events writes one JSON object per line.
type events struct {
	o  Options
	mu sync.Mutex
}

// event is a line of the json reporter.
type event struct {
	Event string   `json:"event"` // start, progress, done, log
	Task  string   `json:"task,omitempty"`
	Done  *int64   `json:"done,omitempty"`
	Total int64    `json:"total,omitempty"`
	Unit  string   `json:"unit,omitempty"`
	Rate  float64  `json:"rate,omitempty"` // units per second
	ETA   *float64 `json:"eta_seconds,omitempty"`
	Spent *float64 `json:"seconds,omitempty"`
	Note  string   `json:"note,omitempty"`
	Line  string   `json:"line,omitempty"`
}

func (e *events) write(v event) {
	_ = json.NewEncoder(e.o.Output).Encode(v)
}

type eventTask struct {
	e *events
	meter
	told time.Time
}

func (e *events) Start(name string, total int64, unit string) Task {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.o.now()
	e.write(event{Event: "start", Task: name, Total: total, Unit: unit})
	return &eventTask{e: e, meter: meter{name: name, unit: unit, total: total, start: now}, told: now}
}

func (e *events) Log(line string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.write(event{Event: "log", Line: line})
}

func (e *events) Close() {}

// eventEvery is the least time between two progress events of a task.
const eventEvery = 200 * time.Millisecond

func (t *eventTask) Add(n int64) {
	t.e.mu.Lock()
	defer t.e.mu.Unlock()
	if t.ended {
		return
	}
	t.done += n
	now := t.e.o.now()
	if now.Sub(t.told) < eventEvery {
		return
	}
	t.told = now
	t.tell("progress", now)
}

func (t *eventTask) Note(text string) {
	t.e.mu.Lock()
	defer t.e.mu.Unlock()
	t.note = text
}

func (t *eventTask) Done() {
	t.e.mu.Lock()
	defer t.e.mu.Unlock()
	if t.ended {
		return
	}
	t.ended = true
	t.tell("done", t.e.o.now())
}

func (t *eventTask) tell(kind string, now time.Time) {
	done := t.done
	spent := milli(now.Sub(t.start).Seconds())
	v := event{Event: kind, Task: t.name, Done: &done, Total: t.total, Unit: t.unit, Rate: milli(t.rate(now)), Spent: &spent, Note: t.note}
	if left := t.left(now); left >= 0 && kind == "progress" {
		s := milli(left.Seconds())
		v.ETA = &s
	}
	t.e.write(v)
}

func milli(v float64) float64 { return math.Round(v*1000) / 1000 }
