package generate

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/neurotrain/neuroquant/internal/arch"
	"github.com/neurotrain/neuroquant/internal/format/hf"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/material"
)

// BenchmarkDecode generates with a small trained model on one thread. The metric "outside-%" is the share of the time that is
// spent outside of operators: the executor's order, slots and memory, the loop, the choice of tokens. With -v it lists operators.
func BenchmarkDecode(b *testing.B) {
	dir := material.Path(b, "data/golm-15m")
	m, err := hf.Open(context.Background(), dir)
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	inside, count := map[string]time.Duration{}, 0
	e, err := New(m.Graph, Options{Threads: 1, Positions: arch.Positions, Profile: func(n *graph.Node, d time.Duration) { inside[n.Op.Kind()] += d; count++ }})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	const tokens = 100
	var total time.Duration
	run := func() {
		_, t, err := e.Run(context.Background(), Request{Prompts: [][]int{{0}}, Tokens: tokens + 1})
		if err != nil {
			b.Fatal(err)
		}
		total += t.Decode
	}
	run()
	clear(inside)
	count, total = 0, 0
	for b.Loop() {
		run()
	}
	var ops time.Duration
	var lines []string
	for kind, d := range inside {
		ops += d
		lines = append(lines, fmt.Sprintf("%8.1f us a token  %s", d.Seconds()*1e6/float64(b.N*tokens), kind))
	}
	slices.Sort(lines)
	slices.Reverse(lines)
	for _, l := range lines {
		b.Log(l)
	}
	// What the clock of the profile costs is taken off: the part that it measures of itself, and the part that it does not.
	seen, cost := clockCost()
	ops -= time.Duration(count) * seen
	total -= time.Duration(count) * cost
	b.ReportMetric(float64(total.Microseconds())/float64(b.N*tokens), "us/token")
	b.ReportMetric(100*(1-ops.Seconds()/total.Seconds()), "outside-%")
	b.ReportMetric(float64(count)/float64(b.N*tokens), "nodes/token")
}

// clockCost is what timing adds to a time that is measured, and what it takes as a whole.
func clockCost() (seen, cost time.Duration) {
	const n = 200000
	var sum time.Duration
	start := time.Now()
	for range n {
		t := time.Now()
		sum += time.Since(t)
	}
	return sum / n, time.Since(start) / n
}
