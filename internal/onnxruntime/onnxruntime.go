// Package onnxruntime runs model files in ONNX Runtime where the user has it: in a Python of this machine, as a process of its own.
// Nothing needs it; it shows that a file computes the same in another runtime.
package onnxruntime

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/tensor"
)

//go:embed peer.py
var script string

// ErrNone is wrapped by the error of [Start] where there is no ONNX Runtime.
var ErrNone = errors.New("no ONNX Runtime")

// Runtime is ONNX Runtime in a running Python. It is used by one goroutine at a time.
type Runtime struct {
	Python  string
	Version string

	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Scanner
	folder string // for arrays on their way
	said   *tail  // what the process wrote to its error output
}

// Start starts the Python at path; without a path the first of python3 and python in the search path that has the packages
// onnxruntime and numpy. The process ends with ctx.
func Start(ctx context.Context, path string) (*Runtime, error) {
	candidates := []string{path}
	if path == "" {
		candidates = []string{"python3", "python"}
	}
	var whys []string
	for _, c := range candidates {
		r, err := start(ctx, c)
		if err == nil {
			return r, nil
		}
		whys = append(whys, fmt.Sprintf("%s: %v", c, err))
	}
	return nil, fmt.Errorf("%w: %s", ErrNone, strings.Join(whys, "; "))
}

func start(ctx context.Context, path string) (*Runtime, error) {
	folder, err := os.MkdirTemp("", "neuroquant-onnxruntime-")
	if err != nil {
		return nil, err
	}
	r := &Runtime{Python: path, cmd: exec.CommandContext(ctx, path, "-c", script), folder: folder, said: &tail{}}
	r.cmd.Stderr = r.said
	var out io.ReadCloser
	if r.in, err = r.cmd.StdinPipe(); err == nil {
		if out, err = r.cmd.StdoutPipe(); err == nil {
			err = r.cmd.Start()
		}
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	r.out = bufio.NewScanner(out)
	r.out.Buffer(nil, 1<<26)
	a, err := r.answer()
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	r.Version = a.Version
	return r, nil
}

// answer is what the process says to a command.
type answer struct {
	Error   string            `json:"error"`
	Version string            `json:"version"`
	Session int               `json:"session"`
	Outputs map[string]string `json:"outputs"`
}

func (r *Runtime) answer() (*answer, error) {
	if !r.out.Scan() {
		ended := r.cmd.Wait() // what it said last is there by then
		return nil, fmt.Errorf("the process has ended: %w", errors.Join(r.out.Err(), r.said.err(), ended))
	}
	var a answer
	if err := json.Unmarshal(r.out.Bytes(), &a); err != nil {
		return nil, fmt.Errorf("what it says is no answer: %.100q: %w", r.out.Text(), err)
	}
	if a.Error != "" {
		return nil, errors.New(a.Error)
	}
	return &a, nil
}

func (r *Runtime) ask(command map[string]any) (*answer, error) {
	line, err := json.Marshal(command)
	if err != nil {
		return nil, err
	}
	if _, err := r.in.Write(append(line, '\n')); err != nil {
		return nil, fmt.Errorf("the process has ended: %w", errors.Join(err, r.said.err()))
	}
	return r.answer()
}

// Session is a model that is ready to run.
type Session struct {
	r  *Runtime
	id int
}

// Load makes a model file ready to run.
func (r *Runtime) Load(path string, threads int) (*Session, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	a, err := r.ask(map[string]any{"do": "load", "model": abs, "threads": threads})
	if err != nil {
		return nil, fmt.Errorf("ONNX Runtime %s: %w", r.Version, err)
	}
	return &Session{r, a.Session}, nil
}

// Run computes the outputs of the model by name; those that are no tensors of numbers are left out. Inputs that the model does not
// have are not looked at.
func (s *Session) Run(in map[string]*tensor.Tensor) (map[string]*tensor.Tensor, error) {
	r := s.r
	paths := map[string]string{}
	for name, t := range in {
		paths[name] = filepath.Join(r.folder, fmt.Sprintf("input%d.npy", len(paths)))
		if err := data.WriteNPYFile(paths[name], t); err != nil {
			return nil, fmt.Errorf("input %q: %w", name, err)
		}
	}
	a, err := r.ask(map[string]any{"do": "run", "session": s.id, "inputs": paths, "folder": r.folder})
	if err != nil {
		return nil, fmt.Errorf("ONNX Runtime %s: %w", r.Version, err)
	}
	out := map[string]*tensor.Tensor{}
	for name, path := range a.Outputs {
		if out[name], err = data.ReadNPYFile(path); err != nil {
			return nil, fmt.Errorf("output %q: %w", name, err)
		}
	}
	return out, nil
}

// Close ends the process.
func (r *Runtime) Close() error {
	_ = r.in.Close()
	err := r.cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) || err != nil && strings.Contains(err.Error(), "already called") {
		err = nil // it was told to end, or has done so
	}
	return errors.Join(err, os.RemoveAll(r.folder))
}

// tail keeps the last bytes that were written to it.
type tail struct{ text []byte }

const tailBytes = 1 << 12

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	if n := len(t.text) - tailBytes; n > 0 {
		t.text = append(t.text[:0], t.text[n:]...)
	}
	return len(p), nil
}

func (t *tail) err() error {
	if s := strings.TrimSpace(string(t.text)); s != "" {
		return errors.New(s)
	}
	return nil
}
