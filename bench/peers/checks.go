package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/tensor"
)

// memoryRoom is what a process may take beyond the weights of ResNet-50 at batch 1 on up to four threads.
const memoryRoom = 25 << 20

// memoryUse is what a fresh process reports of itself after some runs of a model.
type memoryUse struct {
	Weights int64 `json:"weight_bytes"`
	Peak    int64 `json:"peak_bytes"`  // most that was resident, pages of mapped files included
	Heap    int64 `json:"anonymous"`   // resident at the end and not of a file
	Mapped  int64 `json:"file_mapped"` // resident at the end and of a file, the program's own included
	Limit   int64 `json:"limit_bytes"`
}

// memoryOf runs a model in a process of its own.
func memoryOf(ctx context.Context, model string, weights int64) (*memoryUse, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "-memory-of", model)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, err
	}
	var m memoryUse
	err = json.Unmarshal(out.Bytes(), &m)
	m.Weights, m.Limit = weights, weights+memoryRoom
	return &m, err
}

// reportMemory is what the process of its own does.
func reportMemory(ctx context.Context, path string) error {
	o := &ours{ctx: ctx}
	if err := o.load(path, min(4, runtime.GOMAXPROCS(0)), 1); err != nil {
		return err
	}
	if _, err := o.run(5); err != nil {
		return err
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	var m memoryUse
	for _, line := range strings.Split(string(status), "\n") {
		for name, to := range map[string]*int64{"VmHWM:": &m.Peak, "RssAnon:": &m.Heap, "RssFile:": &m.Mapped} {
			if rest, ok := strings.CutPrefix(line, name); ok {
				var kib int64
				if _, err := fmt.Sscan(rest, &kib); err != nil {
					return err
				}
				*to = kib << 10
			}
		}
	}
	return errors.Join(json.NewEncoder(os.Stdout).Encode(m), o.close())
}

// steady is what must hold of a model from run to run.
type steady struct {
	Model   string  `json:"model"`
	Kind    string  `json:"type"`
	Equal   bool    `json:"equal"`        // the same bits for 1, 2, 3 and 4 threads
	Allocs  float64 `json:"allocations"`  // on the heap, of a call after the first that fills outputs of an earlier one
	Bytes   float64 `json:"allocated"`    // what they take
	Outputs int     `json:"output_bytes"` // what the caller gets of that
	threads []int   // that were compared
}

// checkSteady compares the outputs for several numbers of threads and counts the allocations of a run.
func checkSteady(ctx context.Context, path string) (s steady, err error) {
	s.Equal, s.threads = true, []int{1, 2, 3, 4}
	var want map[string]*tensor.Tensor
	for _, threads := range s.threads {
		got, err := s.try(ctx, path, threads)
		if err != nil {
			return s, err
		}
		if want == nil {
			want = got
		}
		for name, w := range want {
			s.Equal = s.Equal && bytes.Equal(got[name].Bytes(), w.Bytes())
		}
	}
	return s, nil
}

func (s *steady) try(ctx context.Context, path string, threads int) (res map[string]*tensor.Tensor, err error) {
	m, err := neuroquant.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if e := m.Close(); err == nil {
			err = e
		}
	}()
	m.SetThreads(threads)
	in := input(m.Inputs(), 1, 3)
	res = map[string]*tensor.Tensor{}
	for range 3 {
		if err = m.RunInto(ctx, in, res); err != nil {
			return nil, err
		}
	}
	if threads != 1 {
		return res, nil
	}
	const runs = 10
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		if err = m.RunInto(ctx, in, res); err != nil {
			return nil, err
		}
	}
	runtime.ReadMemStats(&after)
	s.Allocs, s.Bytes = float64(after.Mallocs-before.Mallocs)/runs, float64(after.TotalAlloc-before.TotalAlloc)/runs
	for _, t := range res {
		s.Outputs += t.ByteLen()
	}
	return res, nil
}
