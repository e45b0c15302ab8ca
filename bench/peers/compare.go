package main

import (
	"fmt"
	"math"
	"time"

	"github.com/neurotrain/neuroquant/bench/measure"
	"github.com/neurotrain/neuroquant/tensor"
)

// A sample is a burst of calls of one side. Sides take turns, A B A B, so that a drift of the machine meets both; the ratio is
// the median of those of neighbouring bursts.
const (
	burst  = 80 * time.Millisecond // least length of a burst
	settle = 15 * time.Millisecond // pause between bursts, in which the other side's spinning threads come to rest
)

// pair is the outcome of a comparison; times are milliseconds a call.
type pair struct {
	Peer  float64 `json:"peer_ms"`
	Ours  float64 `json:"ours_ms"`
	Ratio float64 `json:"ratio"` // peer over ours
	// Processor time of a call. On a busy machine it tells more of one thread than the clock; of several it counts those that spin too.
	PeerCPU  float64 `json:"peer_cpu_ms"`
	OursCPU  float64 `json:"ours_cpu_ms"`
	RatioCPU float64 `json:"ratio_cpu"`
	Others   float64 `json:"others"` // share of the machine that other processes took meanwhile; negative where it cannot be told
	Error    float64 `json:"error"`  // root mean square of the difference of the outputs over that of the peer's
}

// compare runs two loaded sides in turn.
func compare(peer, ours side, rounds int, meter *measure.Meter) (pair, error) {
	var p pair
	want, err := peer.outputs()
	if err != nil {
		return p, fmt.Errorf("peer: %w", err)
	}
	got, err := ours.outputs()
	if err != nil {
		return p, fmt.Errorf("ours: %w", err)
	}
	if p.Error, err = difference(got, want); err != nil {
		return p, err
	}
	sides := [2]side{peer, ours}
	var count [2]int
	for i, s := range sides { // two calls to warm up, the second of which says how many make a burst
		time.Sleep(settle)
		d, err := s.run(2)
		if err != nil {
			return p, err
		}
		count[i] = max(1, min(500, int(float64(burst)/d.wall[1]+1)))
	}
	var ms, cpu [2][]float64
	meter.Start()
	for r := range rounds {
		for k := range sides {
			i := (k + r) % 2 // A B B A
			time.Sleep(settle)
			d, err := sides[i].run(count[i] + 1)
			if err != nil {
				return p, err
			}
			// The first call finds the caches as the other side left them.
			ms[i], cpu[i] = append(ms[i], measure.Median(d.wall[1:])/1e6), append(cpu[i], measure.Median(d.cpu[1:])/1e6)
		}
	}
	p.Others = meter.Stop()
	p.Peer, p.Ours, p.Ratio = measure.Median(ms[0]), measure.Median(ms[1]), measure.MedianRatio(ms[0], ms[1])
	p.PeerCPU, p.OursCPU, p.RatioCPU = measure.Median(cpu[0]), measure.Median(cpu[1]), measure.MedianRatio(cpu[0], cpu[1])
	return p, nil
}

// difference is the root of the mean square of got-want over that of want, over all outputs.
func difference(got, want map[string]*tensor.Tensor) (float64, error) {
	var noise, signal float64
	for name, w := range want {
		g := got[name]
		if g == nil || !g.Shape.Equal(w.Shape) || g.DType != w.DType {
			return 0, fmt.Errorf("output %q: peer gives %v, ours is %v", name, w, g)
		}
		a, err := g.Floats()
		if err != nil {
			return 0, err
		}
		b, err := w.Floats()
		if err != nil {
			return 0, err
		}
		for i := range b {
			d := float64(a[i]) - float64(b[i])
			noise += d * d
			signal += float64(b[i]) * float64(b[i])
		}
	}
	return math.Sqrt(noise / signal), nil
}
