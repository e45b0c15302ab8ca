// Command layer quantizes one weight matrix by GPTQ or AWQ, with inputs from numpy files, and writes what comes out as numpy files:
// for comparison with other implementations of the same algorithm, step by step and in time.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/internal/solve"
	"github.com/neurotrain/neuroquant/tensor"
)

type options struct {
	method, weight, inputs, original, out string
	threads, repeat                       int
	gptq                                  solve.GPTQOptions
	awq                                   solve.AWQOptions
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "layer:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var o options
	g := &o.gptq
	flag.StringVar(&o.method, "method", "gptq", "gptq or awq")
	flag.StringVar(&o.weight, "weight", "", "float32 matrix, rows x cols")
	flag.StringVar(&o.inputs, "inputs", "", "float32 matrix, tokens x cols")
	flag.StringVar(&o.original, "original", "", "inputs of the same tokens in the original network (GPTAQ)")
	flag.StringVar(&o.out, "out", "", "folder for codes.npy, scales.npy, zeros.npy, and index.npy or factors.npy; without it nothing is written")
	flag.IntVar(&o.threads, "threads", 0, "threads; 0: all")
	flag.IntVar(&o.repeat, "repeat", 1, "how often the inputs are added, to time what many tokens take")
	flag.IntVar(&g.Bits, "bits", 4, "2 to 8")
	flag.IntVar(&g.Group, "group", 128, "columns that share a scale; 0: all")
	flag.BoolVar(&g.Symmetric, "symmetric", false, "the zero point is the middle code")
	flag.StringVar((*string)(&g.Order), "order", "", "desc_act, static_groups, act_group_aware, or none")
	flag.Float64Var(&g.Damp, "damp", 0.01, "damping")
	flag.Float64Var(&g.Norm, "norm", 0, "exponent of the search for ranges; 0: whole ranges")
	flag.Float64Var(&g.Alpha, "alpha", 0.25, "share of the difference of inputs that is made up for")
	half := flag.Bool("half", false, "scales as float16 holds them")
	flag.Parse()
	g.ScaleType = tensor.Float32
	if *half {
		g.ScaleType = tensor.Float16
	}
	o.awq = solve.AWQOptions{Bits: g.Bits, Group: g.Group, Symmetric: g.Symmetric, ScaleType: g.ScaleType}

	w, rows, cols, err := matrix(o.weight)
	if err != nil {
		return err
	}
	x, tokens, width, err := matrix(o.inputs)
	if err != nil {
		return err
	}
	if width != cols {
		return fmt.Errorf("%s has rows of %d, %s of %d", o.weight, cols, o.inputs, width)
	}
	p := kernel.NewPool(o.threads)
	defer p.Close()
	var said any
	switch o.method {
	case "gptq":
		said, err = o.runGPTQ(ctx, p, w, rows, cols, x)
	case "awq":
		said, err = o.runAWQ(ctx, p, w, rows, cols, x, tokens)
	default:
		err = fmt.Errorf("method %q; want gptq or awq", o.method)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(said)
}

// matrix reads a float32 matrix.
func matrix(path string) (m []float32, rows, cols int, err error) {
	t, err := data.ReadNPYFile(path)
	if err != nil {
		return nil, 0, 0, err
	}
	if t.DType != tensor.Float32 || len(t.Shape) != 2 {
		return nil, 0, 0, fmt.Errorf("%s holds %v %v; want a float32 matrix", path, t.DType, t.Shape)
	}
	return tensor.Data[float32](t), t.Shape[0], t.Shape[1], nil
}

// saidGPTQ is printed as JSON; times in seconds.
type saidGPTQ struct {
	Hessian float64 `json:"hessian_s"`
	Factor  float64 `json:"factor_s"`
	Solve   float64 `json:"solve_s"`
	// Comparing is the part of Solve that finds out what plain rounding loses.
	Comparing float64 `json:"comparing_s"`
	Error     float64 `json:"error"`
	Rounding  float64 `json:"rounding"`
	Rounded   bool    `json:"rounded"`
	Damp      float64 `json:"damp"`
}

func (o *options) runGPTQ(ctx context.Context, p *kernel.Pool, w []float32, rows, cols int, x []float32) (any, error) {
	start := time.Now()
	h := solve.NewHessian(cols)
	for range o.repeat {
		h.Add(p, x)
	}
	said := saidGPTQ{Hessian: time.Since(start).Seconds()}
	var drift *solve.Drift
	if o.original != "" {
		x0, _, width, err := matrix(o.original)
		if err != nil {
			return nil, err
		}
		if width != cols || len(x0) != len(x) {
			return nil, fmt.Errorf("%s and %s differ in shape", o.original, o.inputs)
		}
		drift = solve.NewDrift(cols)
		drift.Add(p, x0, x)
	}
	start = time.Now()
	f, err := solve.Factorize(p, h, drift, o.gptq)
	if err != nil {
		return nil, err
	}
	said.Factor = time.Since(start).Seconds()
	start = time.Now()
	r, err := solve.GPTQ(ctx, p, rows, cols, w, f)
	if err != nil {
		return nil, err
	}
	said.Solve = time.Since(start).Seconds()
	start = time.Now()
	_ = f.Rounding(p, rows, cols, w)
	said.Comparing = time.Since(start).Seconds()
	said.Error, said.Rounding, said.Rounded, said.Damp = r.Error, r.Rounding, r.Rounded, r.Damp
	if err := o.write(r, rows, cols); err != nil {
		return nil, err
	}
	if r.Index != nil {
		if err := o.file("index", tensor.Of(tensor.Shape{cols}, r.Index)); err != nil {
			return nil, err
		}
	}
	return said, nil
}

// saidAWQ is printed as JSON; times in seconds.
type saidAWQ struct {
	Search   float64 `json:"search_s"`
	Clip     float64 `json:"clip_s"`
	Error    float64 `json:"error"`
	Rounding float64 `json:"rounding"`
	Exponent float64 `json:"exponent"`
	Weights  bool    `json:"weights"`
}

func (o *options) runAWQ(ctx context.Context, p *kernel.Pool, w []float32, rows, cols int, x []float32, tokens int) (any, error) {
	in := solve.NewInputs(cols, tokens)
	in.Add(x)
	m := solve.Matrix{Rows: rows, W: w}
	start := time.Now()
	s, err := solve.AWQScales(ctx, p, []solve.Matrix{m}, in, o.awq)
	if err != nil {
		return nil, err
	}
	said := saidAWQ{Search: time.Since(start).Seconds(), Error: s.Error, Rounding: s.Rounding, Exponent: s.Exponent, Weights: s.Weights}
	if s.S != nil {
		for i := range w {
			w[i] *= s.S[i%cols]
		}
		in.Scale(s.S)
	}
	start = time.Now()
	limits, err := solve.AWQClip(ctx, p, m, in, o.awq)
	if err != nil {
		return nil, err
	}
	said.Clip = time.Since(start).Seconds()
	r, err := solve.Round(p, m, cols, limits, o.awq)
	if err != nil {
		return nil, err
	}
	if err := o.write(r, rows, cols); err != nil {
		return nil, err
	}
	if s.S != nil {
		if err := o.file("factors", tensor.Of(tensor.Shape{cols}, s.S)); err != nil {
			return nil, err
		}
	}
	return said, nil
}

func (o *options) write(r *solve.Result, rows, cols int) error {
	for name, t := range map[string]*tensor.Tensor{
		"codes":  tensor.Of(tensor.Shape{rows, cols}, r.Codes),
		"scales": tensor.Of(tensor.Shape{rows, r.Groups}, r.Scales),
		"zeros":  tensor.Of(tensor.Shape{rows, r.Groups}, r.Zeros),
	} {
		if err := o.file(name, t); err != nil {
			return err
		}
	}
	return nil
}

func (o *options) file(name string, t *tensor.Tensor) error {
	if o.out == "" {
		return nil
	}
	return data.WriteNPYFile(filepath.Join(o.out, name+".npy"), t)
}
