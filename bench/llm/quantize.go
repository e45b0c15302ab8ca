package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/bench/measure"
)

//go:embed quantize_peer.py
var quantizePeer string

// quantizations are what a float16 model is made into, all matrices in the one type, with what our rate is to be over the peer's.
var quantizations = []struct {
	name, peer string
	limit      float64
}{{"NF4", "torch", 20}, {"Q4_0", "llama.cpp", 4}, {"Q4_K", "llama.cpp", 5}}

// quantizeMemory is the most memory that it is to take, whatever the size of the model.
const quantizeMemory = 512 << 20

// quantized is the outcome for one type.
type quantized struct {
	Kind  string  `json:"type"`
	Peer  string  `json:"peer"`
	Rate  float64 `json:"bytes_per_s"` // of float16 weights
	Other float64 `json:"peer_bytes_per_s,omitempty"`
	Peak  int64   `json:"peak_bytes"` // of memory that no file backs, and of buffers; pages of mapped files left out
	Pass  bool    `json:"pass"`
}

// quantizeAll measures quantizing the first network.
func (o *options) quantizeAll(ctx context.Context) ([]quantized, error) {
	n := &networks[0]
	source, err := n.folder(o.dir)
	if err != nil {
		return nil, err
	}
	half, size, err := n.file(ctx, o.dir, "F16")
	if err != nil {
		return nil, err
	}
	var all []quantized
	for _, q := range quantizations {
		r := quantized{Kind: q.name, Peer: q.peer}
		for range 2 { // in turn; the first finds memory and files as they are
			got, err := o.quantizeOne(ctx, q.name, source)
			if err != nil {
				return nil, err
			}
			r.Rate, r.Peak = max(r.Rate, float64(size)/got.Seconds), max(r.Peak, got.Peak)
			if o.python == "" {
				continue
			}
			other, err := o.peerRate(ctx, q.name, half)
			if err != nil {
				return nil, err
			}
			r.Other = max(r.Other, other)
		}
		r.Pass = r.Rate >= q.limit*r.Other && r.Peak <= quantizeMemory
		all = append(all, r)
		fmt.Fprintf(os.Stderr, "%s: %.2f GB/s, %s %.3f GB/s, peak %s\n", q.name, r.Rate/1e9, q.peer, r.Other/1e9, measure.MiB(r.Peak))
	}
	return all, nil
}

// once is what one quantization took.
type once struct {
	Seconds float64 `json:"seconds"`
	Peak    int64   `json:"peak"`
}

// quantizeOne runs this program on the model, so that memory is that of the quantization alone.
func (o *options) quantizeOne(ctx context.Context, kind, source string) (once, error) {
	var got once
	self, err := os.Executable()
	if err != nil {
		return got, err
	}
	target := filepath.Join(o.out, "quantized")
	if err := os.RemoveAll(target); err != nil {
		return got, err
	}
	defer os.RemoveAll(target)
	var out bytes.Buffer
	c := exec.CommandContext(ctx, self, "-quantize-one", kind, "-dir", target, source)
	c.Env = append(os.Environ(), "GOMAXPROCS="+strconv.Itoa(o.threads[len(o.threads)-1]))
	c.Stdout, c.Stderr = &out, os.Stderr
	if err := c.Run(); err != nil {
		return got, fmt.Errorf("%s: %w", kind, err)
	}
	return got, json.Unmarshal(out.Bytes(), &got)
}

// quantizeHere quantizes a folder and prints what that took. The memory is sampled on the way.
func quantizeHere(ctx context.Context, kind, source, target string) error {
	stop, peak := make(chan struct{}), make(chan int64)
	go func() {
		most := int64(0)
		for {
			select {
			case <-stop:
				peak <- most
				return
			case <-time.After(2 * time.Millisecond):
				most = max(most, anonymous())
			}
		}
	}()
	start := time.Now()
	err := quantizeTo(ctx, kind, source, target)
	got := once{Seconds: time.Since(start).Seconds()}
	close(stop)
	got.Peak = <-peak
	return errors.Join(err, json.NewEncoder(os.Stdout).Encode(got))
}

func quantizeTo(ctx context.Context, kind, source, target string) error {
	if kind != "NF4" {
		if err := os.MkdirAll(target, 0o755); err != nil { //nolint:gosec // as of [network.folder]
			return err
		}
		if kind == "Q4_K" {
			kind = "Q4_K_S"
		}
		_, err := neuroquant.Convert(ctx, source, filepath.Join(target, "model.gguf"), neuroquant.ConvertOptions{Type: kind, Pure: true})
		return err
	}
	c := neuroquant.BitsAndBytes4BitConfig()
	m := neuroquant.NewManager(c)
	res, err := m.Quantize(ctx, source)
	if err != nil {
		return err
	}
	return errors.Join(m.Save(ctx, res, target, false), res.Close())
}

// anonymous is the memory of this process that no file backs; 0 where the system does not tell.
func anonymous() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.SplitSeq(string(status), "\n") {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err == nil {
				return kib << 10
			}
		}
	}
	return 0
}

// peerRate measures the other side.
func (o *options) peerRate(ctx context.Context, kind, half string) (float64, error) {
	threads := strconv.Itoa(o.threads[len(o.threads)-1])
	args := []string{"-c", quantizePeer, "torch", threads}
	if kind != "NF4" {
		if o.packages == "" {
			return 0, nil
		}
		libs, err := filepath.Glob(filepath.Join(o.packages, "node_modules/@node-llama-cpp/*/bins/*"))
		if err != nil || len(libs) == 0 {
			return 0, errors.Join(err, fmt.Errorf("%s: there is no llama.cpp", o.packages))
		}
		target := filepath.Join(o.out, "quantized.gguf")
		defer os.Remove(target)
		args = []string{"-c", quantizePeer, "llama", libs[0], half, target, kind, threads}
	}
	var out bytes.Buffer
	c := exec.CommandContext(ctx, o.python, args...)
	c.Stdout, c.Stderr = &out, os.Stderr
	if err := c.Run(); err != nil {
		return 0, fmt.Errorf("%s: %w", kind, err)
	}
	var got struct {
		Rate float64 `json:"bytes_per_s"`
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		return 0, fmt.Errorf("%s: %w", kind, err)
	}
	return got.Rate, nil
}

// quantizeGrid is the table of that.
func quantizeGrid(all []quantized) measure.Grid {
	g := measure.Grid{
		Title:  fmt.Sprintf("Quantizing %s from float16, memory at most %s", networks[0].name, measure.MiB(quantizeMemory)),
		Header: []string{"type", "ours", "peer", "peer's", "ratio", "limit", "memory", ""},
	}
	for i, r := range all {
		ratio := "-"
		if r.Other > 0 {
			ratio = measure.Times(r.Rate / r.Other)
		}
		g.Rows = append(g.Rows, []string{
			r.Kind, fmt.Sprintf("%.2f GB/s", r.Rate/1e9), r.Peer, fmt.Sprintf("%.3f GB/s", r.Other/1e9), ratio, measure.Times(quantizations[i].limit),
			measure.MiB(r.Peak), measure.Verdict(r.Pass),
		})
	}
	return g
}
