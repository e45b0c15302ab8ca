package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"time"

	"github.com/neurotrain/neuroquant/bench/measure"
)

// crowdRoom is how much more than the share of the machine that others take a run may lose to them.
const crowdRoom = 0.3

// crowded is what other processes that compute without pause cost the calls of both sides.
type crowded struct {
	Model    string  `json:"model"`
	Kind     string  `json:"type"`
	Threads  int     `json:"threads"`
	Spinners int     `json:"spinning_processes"`
	Alone    pair    `json:"alone"`
	Beside   pair    `json:"beside"`
	Peer     float64 `json:"peer_growth"` // time beside them over time alone
	Ours     float64 `json:"ours_growth"`
	Limit    float64 `json:"limit"` // what a fair share of the processors makes of it, and crowdRoom
	Pass     bool    `json:"pass"`
}

// spin computes until it is ended.
func spin() {
	for i := 0; ; i++ {
		if i == 1<<62 {
			return
		}
	}
}

// beside runs f while so many processes spin.
func beside(ctx context.Context, spinners int, f func() error) (err error) {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for range spinners {
		c := exec.CommandContext(ctx, self, "-spin")
		if err := c.Start(); err != nil {
			return err
		}
		defer func() { _ = c.Process.Kill(); _ = c.Wait() }()
	}
	time.Sleep(200 * time.Millisecond)
	return f()
}

// crowd compares calls alone and beside spinning processes, at batch 1 on as many threads as are asked for.
func (o *options) crowd(ctx context.Context, s *summary, made map[string]*files) (err error) {
	p, err := startPeer(o.python, onnxruntimePeer, "")
	if err != nil {
		return fmt.Errorf("onnxruntime: %w", err)
	}
	defer func() { err = errors.Join(err, p.close()) }()
	us := &ours{ctx: ctx}
	defer func() { err = errors.Join(err, us.close()) }()
	m := &measure.Meter{Children: []int{p.cmd.Process.Pid}}
	threads := slices.Max(o.threads)
	for _, name := range o.models {
		for _, kind := range o.kinds {
			c := crowded{Model: name, Kind: kind, Threads: threads, Spinners: o.spinners}
			if c.Alone, err = o.one(p, us, made[name], kind, 1, threads, m); err != nil {
				return fmt.Errorf("%s %s: %w", name, kind, err)
			}
			err := beside(ctx, o.spinners, func() (err error) {
				c.Beside, err = compare(p, us, o.rounds, m)
				return err
			})
			if err != nil {
				return fmt.Errorf("%s %s: %w", name, kind, err)
			}
			s.Machine.Peers = []string{p.version}
			c.Peer, c.Ours = c.Beside.Peer/c.Alone.Peer, c.Beside.Ours/c.Alone.Ours
			c.Limit = max(1, float64(threads+o.spinners)/float64(runtime.NumCPU())) + crowdRoom
			c.Pass = c.Ours <= c.Limit
			s.Crowded = append(s.Crowded, c)
			fmt.Fprintf(os.Stderr, "%s %s beside %d spinning processes: peer %s, ours %s, limit %s\n", name, kind, o.spinners, measure.Times(c.Peer), measure.Times(c.Ours), measure.Times(c.Limit))
		}
	}
	return nil
}
