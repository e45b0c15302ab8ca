package generate

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/neurotrain/neuroquant/internal/arch"
	"github.com/neurotrain/neuroquant/internal/format/gguf"
	"github.com/neurotrain/neuroquant/internal/format/hf"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/material"
	"github.com/neurotrain/neuroquant/internal/model"
)

// BenchmarkDecode generates with a small trained model on one thread, from bfloat16 weights and from 4-bit ones. The metric "outside-%" is the share of the time that is
// spent outside of operators: the executor's order, slots and memory, the loop, the choice of tokens. With -v it lists operators.
func BenchmarkDecode(b *testing.B) {
	for name, open := range map[string]func() (*model.Model, error){
		"bfloat16": func() (*model.Model, error) { return hf.Open(context.Background(), material.Path(b, "data/golm-15m")) },
		"int4": func() (*model.Model, error) {
			return gguf.Open(context.Background(), material.Path(b, "data/golm-15m/gguf/golm-15m-q4_0.gguf"))
		},
	} {
		b.Run(name, func(b *testing.B) { benchmarkDecode(b, open) })
	}
}

func benchmarkDecode(b *testing.B, open func() (*model.Model, error)) {
	m, err := open()
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	inside, count := map[*graph.Node]time.Duration{}, 0
	note := func(n *graph.Node, d time.Duration) { inside[n] += d; count++ }
	e, err := New(m.Graph, Options{Threads: 1, Positions: arch.Positions, Profile: note})
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
	kinds := map[string]time.Duration{}
	for n, d := range inside {
		ops += d
		kinds[n.Op.Kind()] += d
	}
	var lines []string
	for kind, d := range kinds {
		lines = append(lines, fmt.Sprintf("%8.1f us a token  %s", d.Seconds()*1e6/float64(b.N*tokens), kind))
	}
	slices.Sort(lines)
	slices.Reverse(lines)
	for _, l := range lines {
		b.Log(l)
	}
	// What the profile costs is taken off: the part that its clock measures of itself, and the part that it does not.
	nodes := count
	seen, cost := profileCost(slices.Collect(maps.Keys(inside)), note)
	ops -= time.Duration(nodes) * seen
	total -= time.Duration(nodes) * cost
	b.ReportMetric(float64(total.Microseconds())/float64(b.N*tokens), "us/token")
	b.ReportMetric(100*(1-ops.Seconds()/total.Seconds()), "outside-%")
	b.ReportMetric(float64(nodes)/float64(b.N*tokens), "nodes/token")
}

// profileCost is what timing a node adds to the time that is measured, and what it takes as a whole.
func profileCost(nodes []*graph.Node, note func(n *graph.Node, d time.Duration)) (seen, cost time.Duration) {
	const n = 200000
	var sum time.Duration
	start := time.Now()
	for i := range n {
		t := time.Now()
		d := time.Since(t)
		sum += d
		note(nodes[i%len(nodes)], d)
	}
	return sum / n, time.Since(start) / n
}
