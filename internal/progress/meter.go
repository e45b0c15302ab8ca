package progress

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// meter counts the units of a task. Its owner's lock guards it.
type meter struct {
	name, unit  string
	note        string
	total, done int64
	start       time.Time
	ended       bool
}

// rate returns units per second since the start, 0 if it is too early to tell.
func (m *meter) rate(now time.Time) float64 {
	s := now.Sub(m.start).Seconds()
	if s <= 0 {
		return 0
	}
	return float64(m.done) / s
}

// left estimates the time to the end at the average rate; below 0: unknown.
func (m *meter) left(now time.Time) time.Duration {
	r := m.rate(now)
	if r == 0 || m.total <= 0 || m.done > m.total {
		return -1
	}
	s := float64(m.total-m.done) / r
	if s > 1e8 {
		return -1
	}
	return time.Duration(s * float64(time.Second))
}

// fraction is the part done, in [0, 1]; 0 without a total.
func (m *meter) fraction() float64 {
	if m.total <= 0 {
		return 0
	}
	return min(max(float64(m.done)/float64(m.total), 0), 1)
}

// counts gives "120/400 layers" or "120 layers".
func (m *meter) counts() string {
	if m.unit == "bytes" {
		if m.total > 0 {
			return bytesText(float64(m.done)) + "/" + bytesText(float64(m.total))
		}
		return bytesText(float64(m.done))
	}
	s := fmt.Sprint(m.done)
	if m.total > 0 {
		s = fmt.Sprintf("%d/%d", m.done, m.total)
	}
	return strings.TrimSpace(s + " " + m.unit)
}

// speed gives "35.2/s"; "" if nothing is done.
func (m *meter) speed(now time.Time) string {
	r := m.rate(now)
	switch {
	case r == 0:
		return ""
	case m.unit == "bytes":
		return bytesText(r) + "/s"
	case r < 0.1:
		return fmt.Sprintf("%.1f/min", r*60)
	}
	return number(r) + "/s"
}

// summary says what a finished task did.
func (m *meter) summary(now time.Time) string {
	done := *m
	if done.done == done.total {
		done.total = 0 // "400 layers", not "400/400 layers"
	}
	parts := []string{done.counts() + " in " + durationText(now.Sub(m.start))}
	if s := m.speed(now); s != "" {
		parts = append(parts, s)
	}
	if m.note != "" {
		parts = append(parts, m.note)
	}
	return m.name + ": " + strings.Join(parts, ", ")
}

// number prints three significant digits without an exponent.
func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func bytesText(v float64) string {
	for _, unit := range []string{"B", "KiB", "MiB", "GiB"} {
		if v < 1024 {
			if unit == "B" {
				return fmt.Sprintf("%.0f B", v)
			}
			return number(v) + " " + unit
		}
		v /= 1024
	}
	return number(v) + " TiB"
}

// durationText gives "0.8 s", "12 s", "3 min 20 s", "1 h 05 min".
func durationText(d time.Duration) string {
	s := d.Seconds()
	switch r := int(math.Round(s)); {
	case s < 9.95:
		return fmt.Sprintf("%.1f s", s)
	case r < 60:
		return fmt.Sprintf("%d s", r)
	case r < 3600:
		return fmt.Sprintf("%d min %02d s", r/60, r%60)
	default:
		return fmt.Sprintf("%d h %02d min", r/3600, r/60%60)
	}
}
