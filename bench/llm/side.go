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
	"strconv"
)

//go:embed llamacpp_peer.cjs
var llamacppPeer []byte

// side is an engine in a process of its own, which lives for one number of threads. Commands and answers are lines of JSON.
type side struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Scanner
	done func() error
}

// command is what a side is asked to do: "version"; "first", the time from nothing to the logits after Count tokens; "load" a model; "prefill"
// Count tokens; "decode" Count tokens after a first one.
type command struct {
	Do      string `json:"do"`
	Model   string `json:"model,omitempty"`
	Threads int    `json:"threads,omitempty"`
	Count   int    `json:"count,omitempty"`
}

// answer is what a side says to a command.
type answer struct {
	Error   string    `json:"error,omitempty"`
	Version string    `json:"version,omitempty"`
	NS      []float64 `json:"ns,omitempty"`
}

// startOurs starts this program as the side that is ours; with profile it writes one to that file.
func startOurs(threads int, profile string) (*side, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := exec.Command(self, "-serve", "-cpuprofile", profile)
	c.Env = append(os.Environ(), "GOMAXPROCS="+strconv.Itoa(threads))
	return start(c, func() error { return nil })
}

// startPeer starts llama.cpp: node is the program of Node.js, packages the folder in which node-llama-cpp was installed.
func startPeer(node, packages string) (*side, error) {
	folder, err := os.MkdirTemp("", "bench-llm-")
	if err != nil {
		return nil, err
	}
	script := filepath.Join(folder, "peer.cjs")
	done := func() error { return os.RemoveAll(folder) }
	if err := os.WriteFile(script, llamacppPeer, 0o600); err != nil {
		return nil, errors.Join(err, done())
	}
	return start(exec.Command(node, script, packages), done)
}

func start(c *exec.Cmd, done func() error) (*side, error) {
	s := &side{cmd: c, done: done}
	c.Stderr = os.Stderr
	var out io.ReadCloser
	var err error
	if s.in, err = c.StdinPipe(); err == nil {
		if out, err = c.StdoutPipe(); err == nil {
			err = c.Start()
		}
	}
	if err != nil {
		return nil, errors.Join(err, done())
	}
	s.out = bufio.NewScanner(out)
	s.out.Buffer(nil, 1<<24)
	return s, nil
}

func (s *side) ask(c command) (*answer, error) {
	line, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	if _, err := s.in.Write(append(line, '\n')); err != nil {
		return nil, err
	}
	if !s.out.Scan() {
		return nil, fmt.Errorf("%s has ended: %w", s.cmd.Path, errors.Join(s.out.Err(), s.cmd.Wait()))
	}
	var a answer
	if err := json.Unmarshal(s.out.Bytes(), &a); err != nil {
		return nil, fmt.Errorf("%s: its answer: %w", s.cmd.Path, err)
	}
	if a.Error != "" {
		return nil, fmt.Errorf("%s: %s: %s", s.cmd.Path, c.Do, a.Error)
	}
	return &a, nil
}

func (s *side) close() error { return errors.Join(s.in.Close(), s.cmd.Wait(), s.done()) }
