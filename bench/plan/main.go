// Command plan holds what 'neuroquant plan' says of a quantization against what the quantization takes: bytes of the written files, peak memory,
// time. With -large it tells the share of matrix products in GPTQ of a model of a billion parameters, then makes a folder of the shape of Llama-2-7B,
// 13.5 GB, and holds rounding to few bits and GPTQ to their memory.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/neurotrain/neuroquant/bench/measure"
	"github.com/neurotrain/neuroquant/internal/shapes"
)

func main() {
	var b bench
	flag.StringVar(&b.program, "neuroquant", "bin/neuroquant", "the program")
	flag.StringVar(&b.shared, "shared", "../shared", "folder with the trained models")
	flag.StringVar(&b.dir, "dir", "", "where models are made and written, which are removed again; by default a temporary folder")
	flag.IntVar(&b.repeat, "repeat", 1, "runs of each quantization at least, of which the fastest counts; short ones are repeated more")
	large := flag.Bool("large", false, "the share of matrix products of a large model and the memory of one of 7 billion parameters, in place of the plans of three small ones")
	products := flag.Bool("products", false, "the share of matrix products in GPTQ of a model of a billion parameters alone, which -large begins with")
	flag.IntVar(&b.layers, "layers", 0, "with -large: GPTQ is interrupted when so many layers are solved; 0: it goes to the end")
	flag.IntVar(&b.blocks, "blocks", 32, "with -large: blocks of the model; memory does not depend on their number, disk and time do")
	made := flag.String("make", "", "make the folder of a model there and end: that of -shape")
	shape := flag.String("shape", "llama-7b", "with -make: llama-7b, llama-1b or qwen2-0.5b, with fewer blocks as llama-7b/4")
	flag.Parse()
	var err error
	if *made != "" {
		err = makeModel(*made, *shape)
	} else {
		err = b.run(*large, *products)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "plan:", err)
		os.Exit(1)
	}
}

// bench runs the program and collects what misses its limit.
type bench struct {
	program, shared, dir string
	repeat, layers       int
	blocks               int
	missed               int
	rows                 [][]string
}

func (b *bench) run(large, products bool) (err error) {
	if b.dir, err = os.MkdirTemp(b.dir, "neuroquant-plan-"); err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-stop
		_ = os.RemoveAll(b.dir)
		os.Exit(1)
	}()
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	switch {
	case products:
		err = b.products()
	case large:
		if err = b.products(); err == nil {
			err = b.large()
		}
	default:
		err = b.plans()
	}
	if err != nil {
		return err
	}
	if b.missed > 0 {
		return fmt.Errorf("%d figures miss their limits", b.missed)
	}
	return nil
}

// took is what a run of the program took.
type took struct {
	seconds float64
	peak    int64 // bytes
	out     []byte
}

// execute runs the program; stopped, if it is not nil, is asked now and then whether to end it.
func (b *bench) execute(stopped func() bool, args ...string) (*took, error) {
	c := exec.Command(b.program, args...) //nolint:gosec // the program that is measured
	var out, errs strings.Builder
	c.Stdout, c.Stderr = &out, &errs
	start := time.Now()
	if err := c.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	killed := false
	var err error
	for running := true; running; {
		select {
		case err = <-ended:
			running = false
		case <-time.After(time.Second):
			if stopped != nil && !killed && stopped() {
				killed = true
				_ = c.Process.Kill()
			}
		}
	}
	if err != nil && !killed {
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	t := &took{seconds: time.Since(start).Seconds(), out: []byte(out.String())}
	if u, ok := c.ProcessState.SysUsage().(*syscall.Rusage); ok {
		t.peak = u.Maxrss << 10
	}
	return t, nil
}

// shapesByName are the models that can be made.
var shapesByName = map[string]shapes.Decoder{"llama-7b": shapes.Llama7B, "llama-1b": shapes.Llama1B, "qwen2-0.5b": shapes.Qwen05B}

// makeModel writes the folder of a model with random weights.
func makeModel(dir, shape string) error {
	name, layers, fewer := strings.Cut(shape, "/")
	d, ok := shapesByName[name]
	if !ok {
		return fmt.Errorf("shape %q; want llama-7b, llama-1b or qwen2-0.5b", name)
	}
	if fewer {
		n, err := strconv.Atoi(layers)
		if err != nil || n < 1 {
			return fmt.Errorf("shape %q: want a number of blocks behind the /", shape)
		}
		d.Layers = n
	}
	return d.WriteCheckpoint(dir)
}

// make has a process of its own write a model: what a process has taken before it starts another counts for that as well.
func (b *bench) make(dir, shape string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	out, err := exec.Command(self, "-make", dir, "-shape", shape).CombinedOutput() //nolint:gosec // this program
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// plans compares plans of three models with what happens.
func (b *bench) plans() error {
	made := filepath.Join(b.dir, "qwen2-0.5b-6")
	if err := b.make(made, "qwen2-0.5b/6"); err != nil {
		return err
	}
	stories, golm := filepath.Join(b.shared, "data/stories260k"), filepath.Join(b.shared, "data/golm-15m")
	text := filepath.Join(golm, "eval/calib-train-mix.txt")
	for _, m := range []struct {
		name, path, data string
		flags            []string
	}{
		{"stories260k", stories, filepath.Join(stories, "eval/tinystories-calib.json"), []string{"--group-size", "32"}},
		{"golm-15m", golm, text, nil},
		{"qwen2-0.5b, 6 layers", made, text, []string{"--num-calibration-samples", "16"}},
	} {
		calibrated := append([]string{"--data", m.data}, m.flags...)
		var group []string
		if len(m.flags) > 0 && m.flags[0] == "--group-size" {
			group = m.flags
		}
		for _, method := range [][]string{
			append([]string{"--method", "gptq"}, calibrated...),
			append([]string{"--method", "awq"}, calibrated...),
			append([]string{"--method", "rtn"}, group...),
			{"--method", "bitsandbytes", "--load-in-4bit"},
		} {
			if err := b.plan(m.name, m.path, method); err != nil {
				return err
			}
		}
	}
	return b.print("Plans and what happened", []string{"model", "method", "bytes planned", "written", "peak planned, MiB", "taken", "ratio", "seconds planned", "taken", "ratio", ""})
}

// repeated is how many seconds all runs of a quantization take at least: what is short depends on chance.
const repeated = 1

// plan compares one plan.
func (b *bench) plan(name, path string, flags []string) error {
	out := filepath.Join(b.dir, "out")
	best := &took{}
	spent := 0.0
	for i := 0; i < b.repeat || spent < repeated; i++ {
		if err := os.RemoveAll(out); err != nil {
			return err
		}
		t, err := b.execute(nil, append([]string{"quantize", path, out, "-q", "--json"}, flags...)...)
		if err != nil {
			return err
		}
		if i == 0 || t.seconds < best.seconds {
			best.seconds = t.seconds
		}
		best.peak, spent = max(best.peak, t.peak), spent+t.seconds
	}
	f, err := b.forecast(append([]string{path, filepath.Join(b.dir, "planned"), "-q", "--json"}, flags...))
	if err != nil {
		return err
	}
	written, err := folderBytes(out)
	if err != nil {
		return err
	}
	memory, duration := float64(f.Peak)/float64(best.peak), f.Seconds/best.seconds
	bad := ""
	if written != f.Bytes || memory < 1 || memory > 1.15 || duration < 0.7 || duration > 1.3 {
		bad = "MISS"
		b.missed++
	}
	b.rows = append(b.rows, []string{
		name, flags[1], fmt.Sprint(f.Bytes), fmt.Sprint(written), fmt.Sprintf("%.1f", mib(f.Peak)), fmt.Sprintf("%.1f", mib(best.peak)), fmt.Sprintf("%.3f", memory),
		fmt.Sprintf("%.2f", f.Seconds), fmt.Sprintf("%.2f", best.seconds), fmt.Sprintf("%.2f", duration), bad,
	})
	return nil
}

// forecast is what a plan says.
type forecast struct {
	Bytes   int64   `json:"output_bytes"`
	Peak    int64   `json:"peak_bytes"`
	Seconds float64 `json:"seconds"`
}

func (b *bench) forecast(words []string) (*forecast, error) {
	p, err := b.execute(nil, append([]string{"plan"}, words...)...)
	if err != nil {
		return nil, err
	}
	f := new(forecast)
	return f, json.Unmarshal(p.out, f)
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// folderBytes sums the files of a folder but for the record.
func folderBytes(dir string) (n int64, err error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	for _, e := range list {
		info, err := e.Info()
		if err != nil {
			return 0, err
		}
		if e.Name() != "neuroquant.json" {
			n += info.Size()
		}
	}
	return n, nil
}

func (b *bench) print(heading string, header []string) error {
	return measure.Text(os.Stdout, heading, []measure.Grid{{Header: header, Rows: b.rows}})
}
