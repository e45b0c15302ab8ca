// Command llm measures language models against llama.cpp on the same files: tokens a second while a prompt is read and while text is
// generated, the time to the first token, and the shares of the machine's bandwidth and peak that they reach.
//
// The files are made here: the shapes of Llama-3.2-1B and Qwen2.5-0.5B with seeded random weights. Both sides live in processes of their
// own and run in turn.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/neurotrain/neuroquant/bench/measure"
)

type options struct {
	node, packages string
	dir            string
	models, kinds  []string
	threads        []int
	rounds         int
	json, markdown string
	profile        string
	python         string
	out            string // folder for what quantizing writes
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "llm:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var o options
	flag.StringVar(&o.node, "node", "node", "program of Node.js")
	flag.StringVar(&o.packages, "packages", ".peers/llamacpp", "folder in which node-llama-cpp was installed; empty leaves llama.cpp out")
	flag.StringVar(&o.dir, "dir", ".peers/bench-llm", "folder for the model files")
	flag.IntVar(&o.rounds, "rounds", 5, "bursts of each side in a comparison")
	flag.StringVar(&o.json, "json", "", "write the results to this JSON file")
	flag.StringVar(&o.markdown, "markdown", "", "write the results to this Markdown file")
	models := flag.String("models", "llama-3.2-1b,qwen2.5-0.5b", "networks to measure")
	types := flag.String("types", "Q4_0,Q8_0,F16", "types of weights to measure")
	threads := flag.String("threads", "1,2", "numbers of threads; more than the machine has become as many as it has")
	onlyMake := flag.Bool("make", false, "make the model files and end")
	serving := flag.Bool("serve", false, "be the side that is measured: take commands from standard input")
	flag.StringVar(&o.profile, "cpuprofile", "", "write profiles of our side, for Go's pprof, to files of this name with the case behind it")
	quantizing := flag.Bool("quantize", false, "instead, measure how fast models are quantized")
	flag.StringVar(&o.python, "python", "", "with -quantize, interpreter that has PyTorch, to compare with that and with llama.cpp")
	flag.StringVar(&o.out, "out", "", "with -quantize, folder for what both sides write, such as a RAM disk; that of the model files by default")
	quantizeOne := flag.String("quantize-one", "", "quantize the folder that is named to this type, print what that took, and end")
	flag.Parse()
	if *quantizeOne != "" {
		return quantizeHere(ctx, *quantizeOne, flag.Arg(0), o.dir)
	}
	if *serving {
		return serveProfiled(ctx, o.profile)
	}
	if o.out == "" {
		o.out = o.dir
	}
	o.models, o.kinds = strings.Split(*models, ","), strings.Split(*types, ",")
	var err error
	if o.threads, err = measure.Numbers(*threads); err != nil {
		return err
	}
	for i, n := range o.threads {
		o.threads[i] = min(n, measure.CPUs())
	}
	o.threads = slices.Compact(o.threads)
	s := &summary{CPU: measure.CPUName(), CPUs: measure.CPUs()}
	if *quantizing {
		s.Quantized, err = o.quantizeAll(ctx)
	} else {
		err = o.measure(ctx, s, *onlyMake)
	}
	if err != nil || *onlyMake {
		return err
	}
	for path, write := range map[string]func(io.Writer) error{
		o.json:     func(w io.Writer) error { return measure.JSON(w, s) },
		o.markdown: func(w io.Writer) error { return measure.Markdown(w, s.String(), s.grids()) },
	} {
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
	return measure.Text(os.Stdout, s.String(), s.grids())
}

// measure makes the files and compares.
func (o *options) measure(ctx context.Context, s *summary, onlyMake bool) error {
	for _, name := range o.models {
		i := slices.IndexFunc(networks, func(n network) bool { return n.name == name })
		if i < 0 {
			return fmt.Errorf("-models: %q is none of the networks", name)
		}
		for _, kind := range o.kinds {
			k := slices.IndexFunc(kinds, func(k kindOf) bool { return k.name == kind })
			if k < 0 {
				return fmt.Errorf("-types: %q is none of the types", kind)
			}
			path, bytes, err := networks[i].file(ctx, o.dir, kind)
			if err != nil {
				return err
			}
			if onlyMake {
				continue
			}
			for _, threads := range o.threads {
				if err := o.one(ctx, s, &networks[i], &kinds[k], path, bytes, threads); err != nil {
					return fmt.Errorf("%s %s, %d threads: %w", name, kind, threads, err)
				}
			}
		}
	}
	return nil
}

// one compares on a file with a number of threads.
func (o *options) one(ctx context.Context, s *summary, n *network, k *kindOf, path string, bytes int64, threads int) (err error) {
	c := &comparison{rounds: o.rounds, path: path, threads: threads}
	if c.ours, err = startOurs(threads, o.profileOf(n, k, threads)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.ours.close()) }()
	c.meter.Children = []int{c.ours.cmd.Process.Pid}
	if o.packages != "" {
		if c.peer, err = startPeer(o.node, o.packages); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, c.peer.close()) }()
		c.meter.Children = append(c.meter.Children, c.peer.cmd.Process.Pid)
		a, err := c.peer.ask(command{Do: "version"})
		if err != nil {
			return err
		}
		s.Peer = a.Version
	}
	for _, phase := range phases {
		if err := ctx.Err(); err != nil {
			return err
		}
		r := result{Model: n.name, Kind: k.name, Threads: threads, Phase: phase.name}
		if err := phase.run(c, &r); err != nil {
			return err
		}
		r.conclude(n, k, bytes)
		s.Results = append(s.Results, r)
		fmt.Fprintln(os.Stderr, r.String())
	}
	return nil
}

// profileOf is the file of a case's profile; empty for none.
func (o *options) profileOf(n *network, k *kindOf, threads int) string {
	if o.profile == "" {
		return ""
	}
	return fmt.Sprintf("%s-%s-%s-%d", o.profile, n.name, k.name, threads)
}

// settle is the pause between bursts, in which the other side's spinning threads come to rest.
const settle = 15 * time.Millisecond
