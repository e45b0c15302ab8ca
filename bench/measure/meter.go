// Package measure is what benchmarks share: how busy the machine is, medians of figures taken in turn, tables.
package measure

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"time"
)

// Meter tells how much of the machine other processes use while something is measured: a figure from a busy machine is worth
// little. It reads Linux's /proc and knows nothing elsewhere.
type Meter struct {
	Children []int // processes that count as ours

	begun     time.Time
	all, mine float64
	known     bool
}

// ticks is the unit of the times in /proc on every Linux that Go runs on.
const ticks = 100

// Start begins a measurement.
func (m *Meter) Start() {
	m.begun = time.Now()
	m.all, m.mine, m.known = m.read()
}

// shortest is the shortest measurement that Stop tells the share of. The kernel counts whole ticks, and brings a process's and
// the machine's up to date at different moments: in a shorter one that is most of what it tells.
const shortest = 100 * time.Millisecond

// Stop returns the share of all processors since Start, from 0 to 1; -1 where it cannot be told.
func (m *Meter) Stop() float64 {
	elapsed := time.Since(m.begun)
	all, mine, ok := m.read()
	if !ok || !m.known || elapsed < shortest {
		return -1
	}
	busy := (all - m.all) - (mine - m.mine)
	return min(max(0, busy/ticks/(elapsed.Seconds()*float64(CPUs()))), 1)
}

// read returns the ticks that all processes and ours have used.
func (m *Meter) read() (all, mine float64, ok bool) {
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, false
	}
	line, _, _ := bytes.Cut(raw, []byte("\n"))
	for i, word := range strings.Fields(string(line)) {
		if i == 1 || i == 2 || i == 3 || i == 6 || i == 7 { // user, nice, system, interrupts
			all += number(word)
		}
	}
	for _, pid := range append([]int{os.Getpid()}, m.Children...) {
		raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil {
			continue
		}
		// The second field, the name, is in brackets and may hold anything.
		words := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
		if len(words) > 12 {
			mine += number(words[11]) + number(words[12])
		}
	}
	return all, mine, true
}

func number(s string) float64 {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0
	}
	return v
}
