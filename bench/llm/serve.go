package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"time"

	"github.com/neurotrain/neuroquant/internal/arch"
	"github.com/neurotrain/neuroquant/internal/format"
	"github.com/neurotrain/neuroquant/internal/generate"
	"github.com/neurotrain/neuroquant/internal/model"
)

// server is the side that is ours.
type server struct {
	model  *model.Model
	engine *generate.Engine
}

// serveProfiled serves standard input, and writes a profile of the time to a file if one is named.
func serveProfiled(ctx context.Context, profile string) error {
	if profile == "" {
		return serve(ctx, os.Stdin, os.Stdout)
	}
	f, err := os.Create(profile)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return errors.Join(err, f.Close())
	}
	err = serve(ctx, os.Stdin, os.Stdout)
	pprof.StopCPUProfile()
	return errors.Join(err, f.Close())
}

// serve answers commands until there are no more.
func serve(ctx context.Context, in io.Reader, out io.Writer) (err error) {
	var s server
	defer func() { err = errors.Join(err, s.unload()) }()
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var c command
		a, err := &answer{}, json.Unmarshal(lines.Bytes(), &c)
		if err == nil {
			a.NS, err = s.do(ctx, c)
		}
		if err != nil {
			a.Error = err.Error()
		}
		line, err := json.Marshal(a)
		if err != nil {
			return err
		}
		if _, err := out.Write(append(line, '\n')); err != nil {
			return err
		}
	}
	return lines.Err()
}

func (s *server) do(ctx context.Context, c command) ([]float64, error) {
	start := time.Now()
	since := func() []float64 { return []float64{float64(time.Since(start))} }
	switch c.Do {
	case "first":
		if err := s.load(ctx, c.Model, c.Threads); err != nil {
			return nil, err
		}
		if _, err := s.engine.Batch(1).Feed(ctx, 0, prompt(c.Count)); err != nil {
			return nil, err
		}
		return since(), s.unload()
	case "load":
		return nil, s.load(ctx, c.Model, c.Threads)
	case "prefill":
		_, err := s.engine.Batch(1).Feed(ctx, 0, prompt(c.Count))
		return since(), err
	case "decode":
		return s.decode(ctx, c.Count)
	}
	return nil, fmt.Errorf("unknown command %q", c.Do)
}

// prompt returns n tokens.
func prompt(n int) []int {
	ids := make([]int, n)
	for i := range ids {
		ids[i] = i*79%255 + 1
	}
	return ids
}

func (s *server) load(ctx context.Context, path string, threads int) (err error) {
	if err := s.unload(); err != nil {
		return err
	}
	if s.model, err = format.Open(ctx, path); err != nil {
		return err
	}
	if _, err := s.model.OpenTokenizer(); err != nil { // llama.cpp reads it too
		return err
	}
	s.engine, err = generate.New(s.model.Graph, generate.Options{Threads: threads, Context: 1024, Positions: arch.Positions})
	return err
}

func (s *server) unload() error {
	if s.engine != nil {
		s.engine.Close()
	}
	m := s.model
	s.model, s.engine = nil, nil
	if m == nil {
		return nil
	}
	return m.Close()
}

func (s *server) decode(ctx context.Context, count int) ([]float64, error) {
	b := s.engine.Batch(1)
	if _, err := b.Feed(ctx, 0, []int{1}); err != nil {
		return nil, err
	}
	ns := make([]float64, count)
	for i, id := range prompt(count) {
		start := time.Now()
		if _, err := b.Step(ctx, []int{0}, []int{id}); err != nil {
			return nil, err
		}
		ns[i] = float64(time.Since(start))
	}
	return ns, nil
}
