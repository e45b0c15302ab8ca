package main

import (
	"bufio"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/tensor"
)

// A side is one of the two engines that are compared, with a model that is ready to run on inputs.
type side interface {
	// run calls the model count times.
	run(count int) (durations, error)
	// outputs returns what the model computes.
	outputs() (map[string]*tensor.Tensor, error)
	close() error
}

//go:embed onnxruntime_peer.py
var onnxruntimePeer string

//go:embed torch_peer.py
var torchPeer string

// durations are nanoseconds that calls took: on the clock, and of processor time on all threads.
type durations struct{ wall, cpu []float64 }

// peer is an engine in a Python process that lives as long as the benchmark.
type peer struct {
	version string
	mode    string // of PyTorch
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Scanner
	folder  string // for arrays on their way
}

// startPeer starts a Python interpreter on a script of this package.
func startPeer(python, script, mode string) (*peer, error) {
	folder, err := os.MkdirTemp("", "bench-peers-")
	if err != nil {
		return nil, err
	}
	p := &peer{mode: mode, cmd: exec.Command(python, "-c", script), folder: folder}
	p.cmd.Stderr = os.Stderr
	var out io.ReadCloser
	if p.in, err = p.cmd.StdinPipe(); err == nil {
		if out, err = p.cmd.StdoutPipe(); err == nil {
			err = p.cmd.Start()
		}
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	p.out = bufio.NewScanner(out)
	p.out.Buffer(nil, 1<<24)
	return p, nil
}

// answer is what the process says to a command.
type answer struct {
	Error   string            `json:"error"`
	Version string            `json:"version"`
	NS      []float64         `json:"ns"`
	CPUNS   []float64         `json:"cpu_ns"`
	Outputs map[string]string `json:"outputs"`
}

func (p *peer) ask(command map[string]any) (*answer, error) {
	line, err := json.Marshal(command)
	if err != nil {
		return nil, err
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		return nil, err
	}
	if !p.out.Scan() {
		return nil, fmt.Errorf("the peer's process has ended: %w", errors.Join(p.out.Err(), p.cmd.Wait()))
	}
	var a answer
	if err := json.Unmarshal(p.out.Bytes(), &a); err != nil {
		return nil, fmt.Errorf("the peer's answer: %w", err)
	}
	if a.Error != "" {
		return nil, errors.New(a.Error)
	}
	return &a, nil
}

// load makes a model file ready to run on inputs with a number of threads.
func (p *peer) load(model string, threads int, in map[string]*tensor.Tensor) error {
	paths := map[string]string{}
	for name, t := range in {
		paths[name] = filepath.Join(p.folder, fmt.Sprintf("input%d.npy", len(paths)))
		if err := data.WriteNPYFile(paths[name], t); err != nil {
			return err
		}
	}
	a, err := p.ask(map[string]any{"do": "load", "model": model, "threads": threads, "inputs": paths, "mode": p.mode})
	if err == nil {
		p.version = a.Version
	}
	return err
}

func (p *peer) run(count int) (durations, error) {
	a, err := p.ask(map[string]any{"do": "run", "count": count})
	if err != nil {
		return durations{}, err
	}
	return durations{a.NS, a.CPUNS}, nil
}

func (p *peer) outputs() (map[string]*tensor.Tensor, error) {
	a, err := p.ask(map[string]any{"do": "save", "folder": p.folder})
	if err != nil {
		return nil, err
	}
	res := map[string]*tensor.Tensor{}
	for name, path := range a.Outputs {
		if res[name], err = data.ReadNPYFile(path); err != nil {
			return nil, err
		}
	}
	return res, nil
}

func (p *peer) close() error {
	return errors.Join(p.in.Close(), p.cmd.Wait(), os.RemoveAll(p.folder))
}
