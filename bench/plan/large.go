package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// The limits that a model of 7 billion parameters is held to.
const (
	roundingLimit = 512 << 20
	solvingLimit  = 4 << 30
)

// large makes a folder of the shape of Llama-2-7B and measures the memory of what makes few bits of it.
func (b *bench) large() error {
	model, out := filepath.Join(b.dir, "llama-7b"), filepath.Join(b.dir, "out")
	if err := b.make(model, fmt.Sprintf("llama-7b/%d", b.blocks)); err != nil {
		return err
	}
	text := filepath.Join(b.shared, "data/golm-15m/eval/calib-train-mix.txt")
	for _, c := range []struct {
		name  string
		limit int64
		flags []string
	}{
		{"rtn", roundingLimit, []string{"--method", "rtn"}},
		{"NF4", roundingLimit, []string{"--method", "bitsandbytes", "--load-in-4bit"}},
		{"gptq, 8 x 512 tokens, 4 GiB", solvingLimit, []string{"--method", "gptq", "--max-memory", "4GiB", "--data", text, "--num-calibration-samples", "8", "--calibration-length", "512"}},
	} {
		flags := append([]string{model, out, "-q", "--json"}, c.flags...)
		planned, err := b.forecast(append([]string{model, out, "-q", "--json"}, c.flags...))
		if err != nil {
			return err
		}
		solved := 0
		var stop func() bool
		if c.limit == solvingLimit && b.layers > 0 {
			stop = func() bool {
				solved = solvedLayers(out)
				return solved >= 7*b.layers
			}
		}
		t, err := b.execute(stop, append([]string{"quantize"}, flags...)...)
		if err != nil {
			return err
		}
		state := "complete"
		if stop != nil {
			state = fmt.Sprintf("interrupted with %d of %d matrices solved", solved, 7*b.blocks)
		} else if err := b.complete(out, planned.Bytes); err != nil {
			return err
		}
		verdict := ""
		if t.peak >= c.limit {
			verdict = "MISS"
			b.missed++
		}
		b.rows = append(b.rows, []string{
			c.name, state, fmt.Sprintf("%.1f", mib(t.peak)), fmt.Sprintf("%.1f", mib(c.limit)), fmt.Sprintf("%.1f", mib(planned.Peak)), fmt.Sprintf("%.1f", t.seconds), fmt.Sprintf("%.1f", planned.Seconds), verdict,
		})
		if err := errors.Join(os.RemoveAll(out), os.RemoveAll(workOf(out))); err != nil {
			return err
		}
	}
	return b.print(fmt.Sprintf("A model of the shape of Llama-2-7B, %d blocks of 32, bfloat16", b.blocks), []string{"method", "output", "peak, MiB", "limit", "planned", "seconds", "planned", ""})
}

// complete reports an output of another size than was planned.
func (b *bench) complete(out string, planned int64) error {
	written, err := folderBytes(out)
	if err == nil && written != planned {
		err = fmt.Errorf("%s: %d bytes; %d were planned", out, written, planned)
	}
	return err
}

// workOf is the folder of unfinished work on an output.
func workOf(out string) string {
	return filepath.Join(filepath.Dir(out), "."+filepath.Base(out)+".neuroquant-work")
}

// solvedLayers counts the layers in the journal of an unfinished work.
func solvedLayers(out string) int {
	text, err := os.ReadFile(filepath.Join(workOf(out), "journal.jsonl"))
	if err != nil {
		return 0
	}
	return bytes.Count(text, []byte(`"layer":{`))
}
