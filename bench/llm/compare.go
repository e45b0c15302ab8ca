package main

import (
	"slices"
	"time"

	"github.com/neurotrain/neuroquant/bench/measure"
	"github.com/neurotrain/neuroquant/internal/kernel"
)

// comparison is two sides on a file with a number of threads; peer may be nil.
type comparison struct {
	ours, peer *side
	path       string
	threads    int
	rounds     int
	meter      measure.Meter
}

const (
	promptTokens = 512
	shortPrompt  = 8 // before the first token
	burst        = 600 * time.Millisecond
	patience     = 15 * time.Second // after which two rounds are enough
	bufferBytes  = 1 << 30          // read to measure the bandwidth: far more than caches hold, of which some have 256 MiB
)

// phases are what is measured of a model, in this order.
var phases = []struct {
	name string
	run  func(c *comparison, r *result) error
}{
	{"first token", (*comparison).first}, {"prefill", (*comparison).prefill}, {"decode", (*comparison).decode},
}

// sides lists who is there, the peer first in odd rounds.
func (c *comparison) sides(round int) []*side {
	s := []*side{c.ours}
	if c.peer != nil {
		s = append(s, c.peer)
	}
	if round%2 == 1 {
		slices.Reverse(s)
	}
	return s
}

// first compares the times from nothing to the logits after a short prompt; the file is in the system's cache.
func (c *comparison) first(r *result) error {
	return c.turns(r, min(c.rounds, 3), func(s *side) (float64, error) {
		a, err := s.ask(command{Do: "first", Model: c.path, Threads: c.threads, Count: shortPrompt})
		if err != nil {
			return 0, err
		}
		return a.NS[0], nil
	}, true)
}

func (c *comparison) load() error {
	for _, s := range c.sides(0) {
		if _, err := s.ask(command{Do: "load", Model: c.path, Threads: c.threads}); err != nil {
			return err
		}
	}
	return nil
}

// prefill compares the times of a prompt, per token.
func (c *comparison) prefill(r *result) error {
	if err := c.load(); err != nil {
		return err
	}
	pool := kernel.NewPool(c.threads)
	defer pool.Close()
	r.PeakInt8 = kernel.MeasurePeak(pool, kernel.PeakInt8, 50*time.Millisecond)
	r.PeakBF16 = kernel.MeasurePeak(pool, kernel.PeakBF16, 50*time.Millisecond)
	return c.turns(r, c.rounds, func(s *side) (float64, error) {
		a, err := s.ask(command{Do: "prefill", Count: promptTokens})
		if err != nil {
			return 0, err
		}
		return a.NS[0] / promptTokens, nil
	}, true)
}

// decode compares the times of single tokens, which come after the prefill of a model that is loaded. The bandwidth of the memory is measured
// before each burst.
func (c *comparison) decode(r *result) error {
	count := map[*side]int{}
	for _, s := range c.sides(0) {
		a, err := s.ask(command{Do: "decode", Count: 4})
		if err != nil {
			return err
		}
		count[s] = max(8, min(64, int(float64(burst)/measure.Median(a.NS))))
	}
	var bandwidth []float64
	err := c.turns(r, c.rounds, func(s *side) (float64, error) {
		pool := kernel.NewPool(c.threads)
		bandwidth = append(bandwidth, kernel.MeasureRead(pool, bufferBytes, 60*time.Millisecond))
		pool.Close()
		time.Sleep(settle)
		a, err := s.ask(command{Do: "decode", Count: count[s]})
		if err != nil {
			return 0, err
		}
		return measure.Median(a.NS), nil
	}, false)
	r.Bandwidth = measure.Median(bandwidth)
	return err
}

// turns measures the sides in turn and keeps the medians and that of the ratios of neighbours. With warm the first turn does not count.
func (c *comparison) turns(r *result, rounds int, run func(*side) (float64, error), warm bool) error {
	times := map[*side][]float64{}
	first := 0
	if warm {
		first = -1
	}
	begun := time.Now()
	for round := first; round < rounds && (round < 2 || time.Since(begun) < patience); round++ {
		if round == 0 {
			c.meter.Start()
		}
		for _, s := range c.sides(round + 1) {
			time.Sleep(settle)
			t, err := run(s)
			if err != nil {
				return err
			}
			if round >= 0 {
				times[s] = append(times[s], t)
			}
		}
	}
	r.Others = c.meter.Stop()
	r.Ours = measure.Median(times[c.ours]) / 1e9
	if c.peer != nil {
		r.Peer = measure.Median(times[c.peer]) / 1e9
		r.Ratio = measure.MedianRatio(times[c.peer], times[c.ours])
	}
	return nil
}
