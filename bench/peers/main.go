// Command peers measures this library against other engines on the same model files and prints the ratios, with the share of
// the machine's peak that each reaches.
//
// The files are made here: networks of well-known shapes with seeded weights, in float32 and in int8 of the same weights.
// Both sides run in turn; ONNX Runtime, and PyTorch where asked, live in Python processes of their own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/neurotrain/neuroquant/bench/measure"
	"github.com/neurotrain/neuroquant/internal/impl"
	"github.com/neurotrain/neuroquant/internal/kernel"
)

type options struct {
	python, torch    string
	dir              string
	models, kinds    []string
	modes            []string // of PyTorch
	batches, threads []int
	rounds, spinners int
	checks, onlyMake bool
	json, markdown   string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var all, usual []string
	for _, n := range networks {
		all = append(all, n.name)
		if n.of == "" {
			usual = append(usual, n.name)
		}
	}
	var o options
	flag.StringVar(&o.python, "python", ".peers/interop/bin/python", "interpreter that has ONNX Runtime; empty leaves it out")
	flag.StringVar(&o.torch, "torch", "", "interpreter that has PyTorch; without it PyTorch is left out")
	flag.StringVar(&o.dir, "dir", ".peers/bench-models", "folder for the model files")
	flag.BoolVar(&o.checks, "checks", true, "check memory, allocations, and equal results for any number of threads")
	flag.BoolVar(&o.onlyMake, "make", false, "make the model files and end")
	flag.IntVar(&o.rounds, "rounds", 7, "bursts of each side in a comparison")
	flag.StringVar(&o.json, "json", "", "write the results to this JSON file")
	flag.StringVar(&o.markdown, "markdown", "", "write the results to this Markdown file")
	models := flag.String("models", strings.Join(usual, ","), "networks to measure, of "+strings.Join(all, ", "))
	kinds := flag.String("types", "float32,int8", "element types to measure")
	modes := flag.String("torch-modes", "eager,compiled,int8", "how PyTorch runs: the first two in float32")
	batches := flag.String("batches", "1,8", "batch sizes")
	threads := flag.String("threads", "1,4", "numbers of threads; more than the machine has become as many as it has")
	flag.IntVar(&o.spinners, "spinners", 0, "instead, compare calls at batch 1 alone and beside so many processes that compute without pause")
	spinning := flag.Bool("spin", false, "compute without pause until ended")
	memory := flag.String("memory-of", "", "print the memory that this process takes to run a model file, and end")
	flag.Parse()
	if *spinning {
		spin()
	}
	if *memory != "" {
		return reportMemory(ctx, *memory)
	}
	o.models, o.kinds, o.modes = strings.Split(*models, ","), strings.Split(*kinds, ","), strings.Split(*modes, ",")
	var err error
	if o.batches, err = measure.Numbers(*batches); err != nil {
		return err
	}
	if o.threads, err = measure.Numbers(*threads); err != nil {
		return err
	}
	for i, n := range o.threads {
		o.threads[i] = min(n, runtime.GOMAXPROCS(0))
	}
	o.threads = slices.Compact(o.threads)
	for _, m := range o.models {
		if !slices.Contains(all, m) {
			return fmt.Errorf("-models: %q is none of %s", m, strings.Join(all, ", "))
		}
	}
	s, err := o.measure(ctx)
	if err != nil || o.onlyMake {
		return err
	}
	s.conclude()
	for path, write := range map[string]func(io.Writer) error{o.json: func(w io.Writer) error { return measure.JSON(w, s) }, o.markdown: s.markdown} {
		if path == "" {
			continue
		}
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		if err := errors.Join(write(f), f.Close()); err != nil {
			return err
		}
	}
	return s.text(os.Stdout)
}

// measure makes the files and compares.
func (o *options) measure(ctx context.Context) (*summary, error) {
	s := &summary{Machine: machine{CPU: measure.CPUName(), CPUs: runtime.NumCPU(), Implementation: impl.Current(), Peaks: map[string]float64{}}}
	made := map[string]*files{}
	for i := range networks {
		n := &networks[i]
		if !slices.Contains(o.models, n.name) {
			continue
		}
		f, err := n.makeFiles(ctx, o.dir)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n.name, err)
		}
		made[n.name] = f
	}
	if o.onlyMake {
		return nil, nil
	}
	if o.spinners > 0 {
		return s, o.crowd(ctx, s, made)
	}
	for _, threads := range o.threads {
		p := kernel.NewPool(threads)
		for kind, peak := range map[string]kernel.Peak{"float32": kernel.PeakF32, "int8": kernel.PeakInt8} {
			s.Machine.Peaks[peakKey(kind, threads)] = kernel.MeasurePeak(p, peak, 100*time.Millisecond)
		}
		p.Close()
	}
	if o.python != "" {
		if err := o.against(ctx, s, made, "onnxruntime", o.python, onnxruntimePeer, ""); err != nil {
			return nil, err
		}
	}
	if o.torch != "" {
		for _, mode := range o.modes {
			if err := o.against(ctx, s, made, "torch "+mode, o.torch, torchPeer, mode); err != nil {
				return nil, err
			}
		}
	}
	if !o.checks {
		return s, nil
	}
	for _, name := range o.models {
		for _, kind := range o.kinds {
			c, err := checkSteady(ctx, made[name].path(kind))
			if err != nil {
				return nil, fmt.Errorf("%s %s: %w", name, kind, err)
			}
			c.Model, c.Kind = name, kind
			s.Steady = append(s.Steady, c)
		}
	}
	if f := made["resnet50"]; f != nil {
		var err error
		if s.Memory, err = memoryOf(ctx, f.Float32, f.Weights); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func peakKey(kind string, threads int) string { return fmt.Sprintf("%s %d", kind, threads) }

// against compares with one peer in all the cases that are asked for.
func (o *options) against(ctx context.Context, s *summary, made map[string]*files, engine, python, script, mode string) (err error) {
	p, err := startPeer(python, script, mode)
	if err != nil {
		return fmt.Errorf("%s: %w", engine, err)
	}
	defer func() { err = errors.Join(err, p.close()) }()
	us := &ours{ctx: ctx}
	defer func() { err = errors.Join(err, us.close()) }()
	m := &measure.Meter{Children: []int{p.cmd.Process.Pid}}
	for _, name := range o.models {
		for _, kind := range o.kinds {
			if mode != "" && (mode == "int8") != (kind == "int8") {
				continue
			}
			for _, batch := range o.batches {
				for _, threads := range o.threads {
					if err := ctx.Err(); err != nil {
						return err
					}
					f := made[name]
					r := result{Engine: engine, Model: name, Kind: kind, Batch: batch, Threads: threads, Limit: caseBar}
					if mode != "" {
						r.Limit = torchCaseBar
					}
					if r.pair, err = o.one(p, us, f, kind, batch, threads, m); err != nil {
						return fmt.Errorf("%s: %s %s, batch %d, %d threads: %w", engine, name, kind, batch, threads, err)
					}
					peak := s.Machine.Peaks[peakKey(kind, threads)]
					ops := f.Ops * float64(batch)
					r.PeerShare, r.OursShare = ops/(r.Peer/1e3)/peak, ops/(r.Ours/1e3)/peak
					r.Pass = r.Ratio >= r.Limit
					s.Results = append(s.Results, r)
					if !slices.Contains(s.Machine.Peers, p.version) {
						s.Machine.Peers = append(s.Machine.Peers, p.version)
					}
					fmt.Fprintf(os.Stderr, "%s %s %s batch %d threads %d: peer %s ms, ours %s ms, %s (processor time %s)\n", engine, name, kind, batch, threads,
						measure.Milliseconds(r.Peer), measure.Milliseconds(r.Ours), measure.Times(r.Ratio), measure.Times(r.RatioCPU))
				}
			}
		}
	}
	return nil
}

// one compares both sides on a file.
func (o *options) one(p *peer, us *ours, f *files, kind string, batch, threads int, m *measure.Meter) (pair, error) {
	if err := us.load(f.path(kind), threads, batch); err != nil {
		return pair{}, err
	}
	theirs := f.path(kind)
	if p.mode != "" {
		theirs = f.Float32 // it quantizes by itself
	}
	if err := p.load(theirs, threads, us.in); err != nil {
		return pair{}, err
	}
	return compare(p, us, o.rounds, m)
}
