package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/internal/shapes"
)

// What GPTQ of a model of a billion parameters is held to: the share of the processor's time that goes into matrix products, and how near those are
// to what one product alone reaches.
const (
	leastShare = 0.8
	leastPeak  = 0.75
)

// productFunctions are the matrix products with what they do to their factors, by the names of their functions.
const productFunctions = `internal/kernel\.(\(\*(blocked|linear|packedProduct)|floatKernel|Gemm|Syrk|Trsm|InverseFactor|tileF|PackB|pack|transposeStrips|copyColumns|addWidened)`

// What is quantized: blocks of the shape of Llama-3.2-1B, all of which take the same, and calibration samples with their tokens.
const (
	productBlocks  = 2
	productSamples = 128
	productLength  = 512
)

// products quantizes a model by GPTQ and tells the share of matrix products.
func (b *bench) products() error {
	d := shapes.Llama1B
	d.Layers = productBlocks
	model, out, profile := filepath.Join(b.dir, "llama-1b"), filepath.Join(b.dir, "out"), filepath.Join(b.dir, "cpu.prof")
	if err := b.make(model, fmt.Sprintf("llama-1b/%d", productBlocks)); err != nil {
		return err
	}
	peak := peakOperations()
	t, err := b.execute(nil, "quantize", model, out, "-q", "--json", "--method", "gptq", "--cpuprofile", profile,
		"--data", filepath.Join(b.shared, "data/golm-15m/eval/calib-train-mix.txt"), "--num-calibration-samples", strconv.Itoa(productSamples), "--calibration-length", strconv.Itoa(productLength))
	if err != nil {
		return err
	}
	all, err := profiled(profile, "")
	if err != nil {
		return err
	}
	in, err := profiled(profile, productFunctions)
	if err != nil {
		return err
	}
	share, near := in/all, operations(d, productSamples*productLength)/(in*peak)
	verdict := ""
	if share < leastShare || near < leastPeak {
		verdict = "MISS"
		b.missed++
	}
	b.rows = [][]string{{
		fmt.Sprintf("%d x %d", productSamples, productLength), fmt.Sprintf("%.1f", t.seconds), fmt.Sprintf("%.1f", all), fmt.Sprintf("%.1f %%", 100*share), fmt.Sprintf("%.0f %%", 100*leastShare),
		fmt.Sprintf("%.1f", peak/1e9), fmt.Sprintf("%.1f %%", 100*near), fmt.Sprintf("%.0f %%", 100*leastPeak), verdict,
	}}
	err = b.print(fmt.Sprintf("GPTQ of a model of the shape of Llama-3.2-1B, %d blocks of 16", productBlocks),
		[]string{"tokens", "seconds", "CPU seconds", "in matrix products", "at least", "peak, Gflop/s a core", "reached in products", "at least", ""})
	b.rows = nil
	return errors.Join(err, os.RemoveAll(model), os.RemoveAll(out))
}

// operations are those of the matrix products of GPTQ, as of float32: those of float64, of which a core does half as many, count twice.
func operations(d shapes.Decoder, tokens float64) float64 {
	hidden, inner, kv := float64(d.Hidden), float64(d.Inner), float64(d.Hidden/d.Heads*d.KVHeads)
	sum := 0.0
	for _, set := range []struct{ cols, rows float64 }{{hidden, hidden + 2*kv}, {hidden, hidden}, {hidden, 2 * inner}, {inner, hidden}} {
		n := set.cols
		sum += 2 * set.rows * n * tokens // the layers on all tokens
		sum += n * n * tokens            // the lower triangle of the Hessian
		sum += 2 * 2.0 / 3 * n * n * n   // its factor and the inverse of that, in float64
		sum += 2 * set.rows * n * n      // what columns make up for, and what plain rounding would lose
	}
	return sum * float64(d.Layers)
}

// peakOperations are how many operations of float32 a core does a second in a product of large matrices, the most of some tries.
func peakOperations() float64 {
	const n = 2048
	a, c := make([]float32, n*n), make([]float32, n*n)
	for i := range a {
		a[i] = float32(i%7) - 3
	}
	p := kernel.NewPool(1)
	defer p.Close()
	least := math.Inf(1)
	for range 5 {
		start := cpuSeconds() // which others that run beside this do not count for
		kernel.GemmF32(p, false, true, n, n, n, 1, a, n, a, n, 0, c, n)
		least = min(least, cpuSeconds()-start)
	}
	return 2 * n * n * n / least
}

// cpuSeconds is what this process has had of processors.
func cpuSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return math.NaN()
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

var totalOf = regexp.MustCompile(`Showing nodes accounting for ([0-9.]+)s, `)

// profiled returns the seconds of a CPU profile in functions that match a pattern and what they call.
func profiled(file, pattern string) (float64, error) {
	args := []string{"tool", "pprof", "-top", "-unit=s", "-nodefraction=0", "-edgefraction=0", "-nodecount=1000000"}
	if pattern != "" {
		args = append(args, "-focus="+pattern)
	}
	text, err := exec.Command("go", append(args, file)...).Output() //nolint:gosec // of this program
	if err != nil {
		return 0, fmt.Errorf("go tool pprof: %w", err)
	}
	m := totalOf.FindSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("go tool pprof: no total in %q", text)
	}
	return strconv.ParseFloat(string(m[1]), 64)
}
