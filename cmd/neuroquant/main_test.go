package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/example"
	"github.com/neurotrain/neuroquant/internal/shapes"
	"github.com/neurotrain/neuroquant/tensor"
)

// limits sets up a child process as its environment says, where the system can.
var limits = func() {}

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"neuroquant": func() { limits(); main() }})
}

// The scripts use these commands beside testscript's own:
//
//	code N COMMAND...           run a command whose exit code must be N
//	decoder FOLDER              write a small language model with a chat template
//	json PATH[=VALUE]...        stdout of the last command is one JSON document that has these values
//	model NAME FILE             write an embedded model
//	perceptron FILE [OUTPUT]    write a model of one layer, 4 values in and 3 out
//	samples NAME N X.npy Y.npy  write test samples of an embedded model and their labels
//	zeros DTYPE SHAPE FILE      write an array, such as 2x4
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"code": scriptCode,
			"decoder": func(ts *testscript.TestScript, _ bool, args []string) {
				d := shapes.Decoder{Type: "llama", Layers: 2, Hidden: 64, Inner: 96, Heads: 4, KVHeads: 2, Vocabulary: 258, RopeTheta: 1e4, Seed: 5}
				dir := ts.MkAbs(args[0])
				ts.Check(d.WriteCheckpoint(dir))
				const template = `{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}<|endoftext|>{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}`
				ts.Check(os.WriteFile(filepath.Join(dir, "chat_template.jinja"), []byte(template), 0o644))
			},
			"json": scriptJSON,
			"model": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(os.WriteFile(ts.MkAbs(args[1]), embedded(ts, args[0]).ONNX, 0o644))
			},
			"perceptron": func(ts *testscript.TestScript, _ bool, args []string) {
				m := perceptron()
				if len(args) > 1 {
					m.Graph.Outputs[0].Name, m.Graph.Nodes[1].Outputs[0] = args[1], args[1]
				}
				b, err := m.Marshal()
				ts.Check(err)
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o644))
			},
			"samples": func(ts *testscript.TestScript, _ bool, args []string) {
				n, err := strconv.Atoi(args[1])
				ts.Check(err)
				x, labels := embedded(ts, args[0]).Test(n)
				ts.Check(data.WriteNPYFile(ts.MkAbs(args[2]), x))
				y := tensor.New(tensor.Int64, n)
				for i, l := range labels {
					tensor.Data[int64](y)[i] = int64(l)
				}
				ts.Check(data.WriteNPYFile(ts.MkAbs(args[3]), y))
			},
			"zeros": scriptZeros,
		},
	})
}

// scriptCode runs a command whose exit code must be that of the first argument.
func scriptCode(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d; stdout:\n%s\nstderr:\n%s", got, want, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
}

// scriptJSON checks that stdout is one JSON document with values at paths.
func scriptJSON(ts *testscript.TestScript, neg bool, args []string) {
	dec := json.NewDecoder(strings.NewReader(ts.ReadFile("stdout")))
	dec.UseNumber()
	var doc any
	if err := dec.Decode(&doc); err != nil {
		ts.Fatalf("stdout is not JSON: %v", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		ts.Fatalf("stdout has more than one JSON document")
	}
	for _, arg := range args {
		path, want, compare := strings.Cut(arg, "=")
		got, ok := lookup(doc, path)
		switch {
		case ok == neg:
			ts.Fatalf("%s: present is %v in %s", path, ok, ts.ReadFile("stdout"))
		case compare && fmt.Sprint(got) != want:
			ts.Fatalf("%s: got %v, want %s", path, got, want)
		}
	}
}

// scriptZeros writes an array.
func scriptZeros(ts *testscript.TestScript, _ bool, args []string) {
	d := map[string]tensor.DType{"float32": tensor.Float32, "float64": tensor.Float64, "int64": tensor.Int64}[args[0]]
	var shape []int
	for _, s := range strings.Split(args[1], "x") {
		n, err := strconv.Atoi(s)
		ts.Check(err)
		shape = append(shape, n)
	}
	ts.Check(data.WriteNPYFile(ts.MkAbs(args[2]), tensor.New(d, shape...)))
}

func embedded(ts *testscript.TestScript, name string) example.Model {
	i := slices.IndexFunc(example.Models(), func(m example.Model) bool { return m.Name == name })
	if i < 0 {
		ts.Fatalf("no model %q", name)
	}
	return example.Models()[i]
}

// lookup finds a value by a path such as inputs.0.name; len is the length of a list.
func lookup(doc any, path string) (any, bool) {
	for _, key := range strings.Split(path, ".") {
		switch d := doc.(type) {
		case map[string]any:
			v, ok := d[key]
			if !ok {
				return nil, false
			}
			doc = v
		case []any:
			if key == "len" {
				doc = len(d)
				continue
			}
			i, err := strconv.Atoi(key)
			if err != nil || i < 0 || i >= len(d) {
				return nil, false
			}
			doc = d[i]
		default:
			return nil, false
		}
	}
	return doc, true
}

// Names of outputs become file names that common systems accept.
func TestFileNames(t *testing.T) {
	for name, want := range map[string]string{
		"logits": "logits", "a/b": "a_b", `a\b:c*d?e"f<g>h|i`: "a_b_c_d_e_f_g_h_i", "": "_", ".": "_", "..": "_", "../x": ".._x", "a\x00b\n": "a_b_", "größe 1": "größe 1",
	} {
		if got := fileName(name); got != want {
			t.Errorf("%q becomes %q, want %q", name, got, want)
		}
		if got := filepath.Join("d", fileName(name)+".npy"); filepath.Dir(got) != "d" {
			t.Errorf("%q leaves the folder: %s", name, got)
		}
	}
}

// Names from a model cannot send commands to a terminal.
func TestControlCharactersAreShown(t *testing.T) {
	if got := printable("a\x1b[2Jb\tc\nd\x7f\u0085é"); got != "a\\x1b[2Jb\tc\nd\\x7f\\x85é" {
		t.Errorf("got %q", got)
	}
}

// Settings, their flags and the settings that flags override are one list.
func TestEverySettingHasAFlag(t *testing.T) {
	a := &app{stdout: io.Discard, stderr: io.Discard}
	c, _, err := a.command().Find([]string{"quantize"})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{
		"method", "dtype", "device", "trust_remote_code", "per_channel", "keep", "only", "bits", "group_size", "desc_act", "load_in_4bit", "load_in_8bit",
		"bnb_4bit_compute_dtype", "bnb_4bit_quant_type", "bnb_4bit_use_double_quant", "num_calibration_samples",
	} {
		if c.Flags().Lookup(strings.ReplaceAll(key, "_", "-")) == nil {
			t.Errorf("no flag for %s", key)
		}
	}
}
