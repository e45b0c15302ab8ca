package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/codec/protobuf"
	"github.com/neurotrain/neuroquant/internal/example"
	"github.com/neurotrain/neuroquant/internal/material"
	"github.com/neurotrain/neuroquant/tensor"
)

// What the environment of a child process may ask for.
const (
	envFileSize = "NEUROQUANT_TEST_FILE_SIZE" // no file may grow beyond this many bytes, as on a disk that is full
	// Writes fail as those to a disk that is full do: the number of a system call, of one of its arguments, and from which value of that on.
	envFullDisk = "NEUROQUANT_TEST_FULL_DISK"
	envUser     = "NEUROQUANT_TEST_USER" // run as this user, since root may write anywhere
)

func init() {
	limits = func() {
		if s := os.Getenv(envFileSize); s != "" {
			n, err := strconv.ParseUint(s, 10, 64)
			if err == nil {
				signal.Ignore(syscall.SIGXFSZ) // writes then fail instead
				err = syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: n})
			}
			if err != nil {
				panic(err)
			}
		}
		if s := os.Getenv(envFullDisk); s != "" {
			var call, argument int
			var least uint32
			_, err := fmt.Sscanf(s, "%d %d %d", &call, &argument, &least)
			if err == nil {
				err = failCalls(call, argument, least)
			}
			if err != nil {
				panic(err)
			}
		}
		if s := os.Getenv(envUser); s != "" {
			id, err := strconv.Atoi(s)
			if err == nil {
				err = syscall.Setgid(id)
			}
			if err == nil {
				err = syscall.Setuid(id)
			}
			if err != nil {
				panic(err)
			}
		}
	}
}

// child runs the program in a process of its own and returns what it printed.
func child(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	c := exec.Command("neuroquant", args...)
	c.Env = append(os.Environ(), env...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	if c.ProcessState == nil {
		t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), out.String(), errs.String()
}

// A disk that fills up while a file is written fails the command and leaves nothing behind.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	model, quantized := filepath.Join(dir, "shapes.onnx"), filepath.Join(dir, "quantized")
	write(t, model, example.Models()[0].ONNX)
	x := filepath.Join(dir, "x.npy")
	array(t, x, make([]float32, 200*3*32*32), 200, 3, 32, 32)
	if code, _, stderr := child(t, nil, "quantize", model, quantized); code != exitDone {
		t.Fatal(stderr)
	}
	for _, test := range []struct {
		size string
		args []string
	}{
		{"100000", []string{"quantize", model, filepath.Join(dir, "a/b/out")}},
		{"0", []string{"quantize", model, filepath.Join(dir, "out")}},
		{"100000", []string{"quantize", model, quantized, "--force", "--dtype", "float16"}},
		{"5000", []string{"analyze", model, quantized, filepath.Join(dir, "out"), "--runs", "1"}},
		{"1000", []string{"run", model, "--input", x, "--out", filepath.Join(dir, "out")}},
		{"100", []string{"config", "init", filepath.Join(dir, "c.yaml")}},
		{"100000", []string{"example", "--samples", "2", "--out", filepath.Join(dir, "out")}},
	} {
		before := files(t, dir)
		code, stdout, stderr := child(t, []string{envFileSize + "=" + test.size}, test.args...)
		if code != exitFailed || stdout != "" || !strings.Contains(stderr, "file too large") {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", test.args, code, stdout, stderr)
		}
		if test.args[0] != "config" && !strings.Contains(stderr, "cannot write there") {
			t.Errorf("%s: the message gives no advice: %s", test.args, stderr)
		}
		if after := files(t, dir); after != before {
			t.Errorf("%s: left behind:\n%s\nwas:\n%s", test.args, after, before)
		}
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	for _, args := range [][]string{{"list"}, {"list", "--json"}, {"config", "schema"}, {"help"}} {
		c := exec.Command("neuroquant", args...)
		var errs bytes.Buffer
		c.Stdout, c.Stderr = full, &errs
		_ = c.Run()
		if code := c.ProcessState.ExitCode(); code != exitFailed || !strings.Contains(errs.String(), "no space left on device") {
			t.Errorf("%s on a full device: exit code %d, stderr %q", args, code, &errs)
		}
	}
}

// A folder that may not be written to is noticed before work starts.
func TestReadOnlyFolder(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} { // another user must get there
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var env []string
	if os.Getuid() == 0 {
		env = []string{envUser + "=65534"}
	}
	model, locked := filepath.Join(dir, "shapes.onnx"), filepath.Join(dir, "locked")
	write(t, model, example.Models()[0].ONNX)
	if err := os.Mkdir(locked, 0o555); err != nil {
		t.Fatal(err)
	}
	x := filepath.Join(dir, "x.npy")
	array(t, x, make([]float32, 3*32*32), 1, 3, 32, 32)
	for _, args := range [][]string{
		{"quantize", model, locked},
		{"quantize", model, filepath.Join(locked, "out")},
		{"quantize", model, filepath.Join(locked, "a", "out")},
		{"analyze", model, model, filepath.Join(locked, "out")},
		{"run", model, "--input", x, "--out", filepath.Join(locked, "out")},
		{"example", "--out", filepath.Join(locked, "out")},
		{"config", "init", filepath.Join(locked, "c.yaml")},
	} {
		before := files(t, dir)
		code, stdout, stderr := child(t, env, args...)
		if code != exitFailed || stdout != "" || !strings.Contains(stderr, "permission denied") || !strings.Contains(stderr, "locked") {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", args, code, stdout, stderr)
		}
		if after := files(t, dir); after != before {
			t.Errorf("%s: left behind:\n%s\nwas:\n%s", args, after, before)
		}
	}
}

// large writes a model of layers square matrices of the given side.
func large(t *testing.T, path string, layers, side int) {
	t.Helper()
	m := perceptron()
	g := m.Graph
	g.Inputs, g.Outputs = []*protobuf.ValueInfo{value("x", onnxFloat, dims("batch", side))}, []*protobuf.ValueInfo{value("x"+strconv.Itoa(layers), onnxFloat, dims("batch", side))}
	g.Nodes, g.Initializers = nil, nil
	raw := make([]byte, 4*side*side)
	for i := range side * side {
		binary.LittleEndian.PutUint32(raw[4*i:], math.Float32bits(float32(i%255-127)/1000))
	}
	for i := range layers {
		w := fmt.Sprintf("w%d", i)
		g.Initializers = append(g.Initializers, &protobuf.Tensor{Name: w, Dims: []int64{int64(side), int64(side)}, DataType: onnxFloat, HasRaw: true, RawData: raw})
		g.Nodes = append(g.Nodes, node("MatMul", fmt.Sprintf("m%d", i), []string{"x" + strconv.Itoa(i), w}, []string{"x" + strconv.Itoa(i+1)}))
	}
	g.Nodes[0].Inputs[0] = "x"
	save(t, m, path)
}

// interrupt starts a command, sends it an interrupt when ready says so, and returns its exit code and stderr.
func interrupt(t *testing.T, ready func(stderr *bytes.Buffer) bool, args ...string) (int, string) {
	t.Helper()
	c := exec.Command("neuroquant", args...)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c.Stderr = w
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	lines := make(chan []byte, 1000)
	go func() {
		defer close(lines)
		for {
			b := make([]byte, 4096)
			n, err := r.Read(b)
			if err != nil {
				return
			}
			lines <- b[:n]
		}
	}()
	var stderr bytes.Buffer
	sent := false
	for open := true; open; {
		select {
		case b, ok := <-lines:
			if open = ok; ok {
				stderr.Write(b)
			}
		case <-time.After(200 * time.Microsecond):
		}
		if !sent && ready(&stderr) {
			sent = true
			_ = c.Process.Signal(os.Interrupt)
		}
	}
	_ = c.Wait()
	return c.ProcessState.ExitCode(), stderr.String()
}

// An interrupt in the middle of writing leaves nothing, not even where an older result stood.
func TestInterruptedWhileWriting(t *testing.T) {
	for _, layers := range []int{4, 16, 64} { // until the machine is slow enough to be caught
		dir := t.TempDir()
		model := filepath.Join(dir, "large.onnx")
		large(t, model, layers, 1024)
		before := files(t, dir)
		out := filepath.Join(dir, "out")
		code, stderr := interrupt(t, func(*bytes.Buffer) bool {
			found, err := filepath.Glob(filepath.Join(dir, ".out.partial-*", "*"))
			if err != nil {
				t.Fatal(err)
			}
			hidden, _ := filepath.Glob(filepath.Join(dir, ".out.partial-*", ".*"))
			return len(found)+len(hidden) > 0
		}, "quantize", model, out, "--dtype", "float16")
		if code == exitDone {
			continue // it was faster than the signal
		}
		if code != exitInterrupted || !strings.Contains(stderr, "interrupted") {
			t.Errorf("exit code %d, stderr %q", code, stderr)
		}
		if after := files(t, dir); after != before {
			t.Errorf("left behind:\n%s\nwas:\n%s", after, before)
		}
		return
	}
	t.Error("every run was complete before the interrupt came")
}

// An interrupt stops a long evaluation at once, however many samples are left.
func TestInterruptedEvaluation(t *testing.T) {
	dir := t.TempDir()
	m := example.Models()[1]
	model := filepath.Join(dir, "grammars.onnx")
	write(t, model, m.ONNX)
	const n = 40_000 // some seconds of work
	x := tensor.New(tensor.Int64, n, m.Shape[0])
	if err := data.WriteNPYFile(filepath.Join(dir, "x.npy"), x); err != nil {
		t.Fatal(err)
	}
	array(t, filepath.Join(dir, "y.npy"), make([]int64, n), n)
	before := files(t, dir)
	for _, test := range []struct {
		when string // stderr has this
		args []string
	}{
		{" samples)", []string{"eval", model}}, // the first line of progress
		{"opened", []string{"analyze", model, model, filepath.Join(dir, "report"), "-v", "--json"}},
	} {
		args := append(test.args, "--data", filepath.Join(dir, "x.npy"), "--labels", filepath.Join(dir, "y.npy"))
		code, stderr := interrupt(t, func(b *bytes.Buffer) bool { return strings.Contains(b.String(), test.when) }, args...)
		if code != exitInterrupted {
			t.Errorf("%s: exit code %d, stderr %q", args[0], code, stderr)
		}
		if after := files(t, dir); after != before {
			t.Errorf("%s: left behind:\n%s\nwas:\n%s", args[0], after, before)
		}
	}
}

// contents are the names of the files of a folder and the hashes of their bytes.
func contents(t *testing.T, out string) string {
	t.Helper()
	var all strings.Builder
	entries, err := os.ReadDir(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(out, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&all, "%s %x\n", e.Name(), sha256.Sum256(b))
	}
	return all.String()
}

// killWhen kills a started process, which cannot clean up then, as soon as ready says so, and returns when it has ended, by that or by itself.
func killWhen(c *exec.Cmd, ready func() bool) {
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	for {
		select {
		case <-ended:
			return
		case <-time.After(time.Millisecond):
			if ready() {
				_ = c.Process.Kill()
			}
		}
	}
}

// A run that is killed goes on from the layers that are finished when the same command is given again, and ends with the same bytes, whatever
// the number of threads.
func TestKilledWorkGoesOn(t *testing.T) {
	folder := material.Path(t, "data/stories260k")
	dir := t.TempDir()
	quantize := func(out, method, threads string, more ...string) []string {
		return append([]string{
			"quantize", folder, out, "--method", method, "--threads", threads, "--group-size", "32",
			"--data", filepath.Join(folder, "eval", "tinystories-calib.json"), "--num-calibration-samples", "24",
		}, more...)
	}
	for _, method := range []string{"gptq", "awq"} {
		whole := filepath.Join(dir, method)
		if code, _, stderr := child(t, nil, quantize(whole, method, "1")...); code != exitDone {
			t.Fatal(stderr)
		}
		want := contents(t, whole)
		for i, lines := range []int{1, 2, 9, 17} {
			out := filepath.Join(dir, fmt.Sprint(method, lines))
			journal := filepath.Join(dir, fmt.Sprintf(".%s%d.neuroquant-work", method, lines), "journal.jsonl")
			c := exec.Command("neuroquant", quantize(out, method, fmt.Sprint(1+i%2))...)
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			killWhen(c, func() bool {
				text, _ := os.ReadFile(journal)
				return bytes.Count(text, []byte("\n")) >= lines
			})
			if i == 2 { // other settings begin anew
				if code, _, stderr := child(t, nil, quantize(filepath.Join(dir, fmt.Sprint(method, lines)), method, "1", "--group-size", "64")...); code != exitDone || !strings.Contains(stderr, "with other settings; starting over") {
					t.Errorf("exit code %d, stderr %q", code, stderr)
				}
				continue
			}
			code, _, stderr := child(t, nil, quantize(out, method, fmt.Sprint(1+(i+1)%2))...)
			if code != exitDone || lines > 2 && !strings.Contains(stderr, "going on from there") {
				t.Errorf("%s, %d lines: exit code %d, stderr %q", method, lines, code, stderr)
			}
			if got := contents(t, out); got != want {
				t.Errorf("%s, %d lines: the bytes are not those of a whole run:\n%s\n%s", method, lines, got, want)
			}
		}
		out := filepath.Join(dir, "full"+method)
		before := files(t, dir)
		code, _, stderr := child(t, []string{envFileSize + "=30000"}, quantize(out, method, "1")...)
		if code != exitFailed || !strings.Contains(stderr, "cannot write there") || !strings.Contains(stderr, "goes on from there") {
			t.Errorf("%s on a full disk: exit code %d, stderr %q", method, code, stderr)
		}
		if code, _, stderr := child(t, nil, quantize(out, method, "2")...); code != exitDone || !strings.Contains(stderr, "going on from there") || contents(t, out) != want {
			t.Errorf("%s after a full disk: exit code %d, stderr %q", method, code, stderr)
		}
		if err := os.RemoveAll(out); err != nil {
			t.Fatal(err)
		}
		if after := files(t, dir); after != before {
			t.Errorf("left behind:\n%s\nwas:\n%s", after, before)
		}
	}
}
