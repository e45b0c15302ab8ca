//go:build linux

// Command lora trains adapters of a model on its floats and on its weights in NF4, on the first four fifths of a text, and compares what the
// rest of the text gains in perplexity and the memory of the processes at its peak.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/neurotrain/neuroquant/bench/measure"
)

func main() {
	tool := flag.String("tool", "bin/neuroquant", "the binary")
	base := flag.String("base", "../shared/data/golm-15m", "folder of a model of floats")
	text := flag.String("text", "", "text that the model has not seen; default: that beside the model")
	steps := flag.Int("steps", 150, "updates")
	rate := flag.Float64("rate", 1e-3, "learning rate")
	batch := flag.Int("batch", 4, "samples of an update")
	length := flag.Int("length", 256, "tokens of a sample")
	threads := flag.Int("threads", 1, "threads")
	flag.Parse()
	if *text == "" {
		*text = filepath.Join(*base, "eval", "wikitext2-test-part1.txt")
	}
	if err := compare(*tool, *base, *text, []string{
		"--max-steps", strconv.Itoa(*steps), "--epochs", "1000", "--batch-size", strconv.Itoa(*batch), "--length", strconv.Itoa(*length), "--threads", strconv.Itoa(*threads),
		"--learning-rate", strconv.FormatFloat(*rate, 'g', -1, 64),
	}); err != nil {
		fmt.Fprintln(os.Stderr, "lora:", err)
		os.Exit(1)
	}
}

// run is what a training showed.
type run struct {
	Before float64 `json:"perplexity_before"`
	After  float64 `json:"perplexity_after"`
	peak   int64
}

func compare(tool, base, text string, flags []string) error {
	dir, err := os.MkdirTemp("", "lora")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	all, err := os.ReadFile(text)
	if err != nil {
		return err
	}
	cut := len(all) * 4 / 5
	cut += bytes.IndexByte(all[cut:], '\n') + 1
	learn, held, nf4 := filepath.Join(dir, "learn.txt"), filepath.Join(dir, "held.txt"), filepath.Join(dir, "nf4")
	for path, part := range map[string][]byte{learn: all[:cut], held: all[cut:]} {
		if err := os.WriteFile(path, part, 0o644); err != nil {
			return err
		}
	}
	if _, err := command(tool, nil, "quantize", base, nf4, "--method", "bitsandbytes", "--load-in-4bit", "--quiet"); err != nil {
		return err
	}
	fmt.Printf("%s, %d bytes of it to learn from, %d held out; perplexity on these, process memory at its peak\n\n", filepath.Base(text), cut, len(all)-cut)
	var float, coded run
	for _, c := range []struct {
		name, model string
		more        []string
		to          *run
	}{
		{"floats", base, nil, &float},
		{"floats, values computed again", base, []string{"--recompute-parts", "9"}, nil},
		{"NF4", nf4, nil, &coded},
		{"NF4, values kept", nf4, []string{"--recompute-parts", "1"}, nil},
	} {
		var r run
		args := append([]string{"train", c.model, filepath.Join(dir, "out"), "--force", "--method", "lora", "--data", learn, "--valid", held, "--json", "--quiet"}, flags...)
		if r.peak, err = command(tool, &r, append(args, c.more...)...); err != nil {
			return err
		}
		fmt.Printf("%-30s %.3f -> %.3f, falls by %.3f; %s\n", c.name, r.Before, r.After, r.Before-r.After, measure.MiB(r.peak))
		if c.to != nil {
			*c.to = r
		}
	}
	gain, memory := (coded.Before-coded.After)/(float.Before-float.After), float64(coded.peak)/float64(float.peak)
	fmt.Printf("\nNF4 against floats: %.1f %% of the fall (want 95), %.1f %% of the memory (want at most 45): %s\n", 100*gain, 100*memory, measure.Verdict(gain >= 0.95 && memory <= 0.45))
	return nil
}

// command runs the binary, reads what it prints as JSON into v unless that is nil, and returns the memory at its peak in bytes.
func command(tool string, v any, args ...string) (peak int64, err error) {
	c := exec.Command(tool, args...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		return 0, fmt.Errorf("%s: %w: %s", args[0], err, errs.String())
	}
	if v != nil {
		if err := json.Unmarshal(out.Bytes(), v); err != nil {
			return 0, fmt.Errorf("%s: %w", args[0], err)
		}
	}
	if u, ok := c.ProcessState.SysUsage().(*syscall.Rusage); ok {
		peak = u.Maxrss << 10
	}
	return peak, nil
}
