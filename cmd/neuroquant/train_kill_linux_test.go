package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/neurotrain/neuroquant/internal/material"
)

// A training of adapters on 4-bit codes that is killed, more than once, goes on from its last checkpoint when the same command is given again, and
// ends with the bytes of one that was not, whatever the number of threads.
func TestKilledAdapterTrainingGoesOn(t *testing.T) {
	folder := material.Path(t, "data/stories260k")
	dir := t.TempDir()
	base := filepath.Join(dir, "nf4")
	if code, _, stderr := child(t, nil, "quantize", folder, base, "--method", "bitsandbytes", "--load-in-4bit"); code != exitDone {
		t.Fatal(stderr)
	}
	text := filepath.Join(dir, "verses.txt")
	write(t, text, []byte(strings.Repeat("O river, run to the sea. O wind, carry the sand. O moon, walk over the hill. ", 60)))
	train := func(out, threads string) []string {
		return []string{
			"train", base, out, "--method", "lora", "--data", text, "--length", "32", "--epochs", "2", "--batch-size", "4", "--lora-rank", "4",
			"--lora-dropout", "0.1", "--checkpoint-steps", "1", "--threads", threads,
		}
	}
	whole := filepath.Join(dir, "whole")
	if code, _, stderr := child(t, nil, train(whole, "1")...); code != exitDone {
		t.Fatal(stderr)
	}
	want := contents(t, whole)
	out := filepath.Join(dir, "killed")
	killed := 0
	for i, updates := range []int{1, 3, 6} {
		var last time.Time
		seen := 0
		c := exec.Command("neuroquant", train(out, fmt.Sprint(1+i%2))...)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		killWhen(c, func() bool {
			s, err := os.Stat(out + ".checkpoint.safetensors")
			if err == nil && s.ModTime() != last {
				last = s.ModTime()
				seen++
			}
			return seen > updates // the first is what the run before it left, but for the first run
		})
		if c.ProcessState.ExitCode() == -1 {
			killed++
		}
	}
	if killed == 0 {
		t.Error("every training ended before it was killed")
	}
	if _, err := os.Stat(out); err != nil {
		code, _, stderr := child(t, nil, train(out, "2")...)
		if code != exitDone {
			t.Fatalf("exit code %d, stderr %q", code, stderr)
		}
	}
	if got := contents(t, out); got != want {
		t.Errorf("the bytes are not those of a training that was not killed:\n%s\nwant\n%s", got, want)
	}
	t.Logf("killed %d times", killed)
}
