package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/example"
	"github.com/neurotrain/neuroquant/internal/format"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/tensor"
)

// outlier writes the embedded convolutional network with one channel between two convolutions a thousand times as large, and the
// weights behind it as much smaller: it computes what it did, but 8 bits for all channels leave the others nothing. It returns
// the names of the two layers, which only in float together leave the value alone.
func outlier(t *testing.T, path string) []string {
	t.Helper()
	ctx := context.Background()
	plain := filepath.Join(t.TempDir(), "plain.onnx")
	write(t, plain, example.Models()[0].ONNX)
	m, err := format.Open(ctx, plain)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := pass.Clean(m.Graph); err != nil { // batch normalization goes into the convolutions
		t.Fatal(err)
	}
	uses := m.Graph.Uses()
	const factor = 1000
	scale := func(v *graph.Value, f float32, in func(i int, shape tensor.Shape) bool) {
		w, err := v.Data.Load()
		if err != nil {
			t.Fatal(err)
		}
		x := slices.Clone(tensor.Data[float32](w))
		for i := range x {
			if in(i, w.Shape) {
				x[i] *= f
			}
		}
		v.Data = tensor.InMemory(tensor.Of(w.Shape, x))
	}
	const channel = 1
	for _, first := range m.Graph.Nodes[1:] { // not the one that reads the images
		if first.Op.Kind() != "Conv" || len(uses[first.Out[0]]) != 1 || uses[first.Out[0]][0].Op.Kind() != "Relu" {
			continue
		}
		relu := uses[first.Out[0]][0]
		if len(uses[relu.Out[0]]) != 1 || uses[relu.Out[0]][0].Op.Kind() != "Conv" {
			continue
		}
		second := uses[relu.Out[0]][0]
		scale(first.In[1], factor, func(i int, s tensor.Shape) bool { return i/s[1:].Len() == channel })
		scale(first.In[2], factor, func(i int, _ tensor.Shape) bool { return i == channel })
		scale(second.In[1], 1.0/factor, func(i int, s tensor.Shape) bool { return i/s[2:].Len()%s[1] == channel })
		f, err := format.Find("onnx")
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Save(ctx, path, m, model.SaveOptions{}); err != nil {
			t.Fatal(err)
		}
		return []string{first.Name, second.Name}
	}
	t.Fatal("no two convolutions in a row")
	return nil
}

// A search that is killed, whenever that is, leaves a model that is whole, or none yet. Started again, again and again, it ends
// with the same bytes as one that ran in one go, and measures nothing twice.
func TestSearchSurvivesKills(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "model.onnx")
	layers := outlier(t, path)
	x, y := filepath.Join(dir, "x.npy"), filepath.Join(dir, "y.npy")
	e := example.Models()[0]
	images, labels := e.Test(60)
	for p, a := range map[string]*tensor.Tensor{x: images, y: tensor.Vector(labels64(labels)...)} {
		if err := data.WriteNPYFile(p, a); err != nil {
			t.Fatal(err)
		}
	}
	command := func(out string) *exec.Cmd {
		return exec.Command("neuroquant", "quantize", path, out, "--method", "static", "--data", x, "--labels", y, "--search", "--search-target", "sqnr=25,drop=0.05", "--json", "-q")
	}
	finish := func(out string) (doc quantizeResult) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		c := command(out)
		c.Stdout, c.Stderr = &stdout, &stderr
		if err := c.Run(); err != nil {
			t.Fatalf("%v: %s%s", err, stdout.String(), stderr.String())
		}
		if err := json.Unmarshal(stdout.Bytes(), &doc); err != nil {
			t.Fatal(err)
		}
		return doc
	}
	read := func(path ...string) []byte {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(path...))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	// measures are the lines of the journal without times.
	measures := func(out string) (list []string) {
		for line := range strings.Lines(string(read(out, "search.jsonl"))) {
			line, _, _ = strings.Cut(line, `,"seconds":`)
			if !strings.Contains(line, `"timing":`) {
				list = append(list, line)
			}
		}
		return list
	}

	whole := filepath.Join(dir, "whole")
	doc := finish(whole)
	if !doc.Search.Met || !slices.Equal(doc.Search.Best.Float, layers) {
		t.Fatalf("the search leaves %v in float, met %v; want %v", doc.Search.Best.Float, doc.Search.Met, layers)
	}
	if first := doc.Search.Points[0]; *first.SQNR > 20 {
		t.Errorf("all in 8 bits reach %v dB: nothing hurts", *first.SQNR)
	}
	want := measures(whole)

	ctx := context.Background()
	out := filepath.Join(dir, "killed")
	lines := func() int {
		b, _ := os.ReadFile(filepath.Join(out, "search.jsonl"))
		return bytes.Count(b, []byte("\n"))
	}
	saving := func() bool { f, _ := filepath.Glob(filepath.Join(out, ".partial-*")); return len(f) > 0 }
	kills := 0
	kill := func(when string, now func() bool) {
		t.Helper()
		c := command(out)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- c.Wait() }()
		for !now() {
			select {
			case err := <-ended:
				t.Fatalf("%s: it ended before that, %v", when, err)
			default:
			}
		}
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-ended
		kills++
		if _, err := os.Stat(filepath.Join(out, "model.onnx")); err != nil {
			if n := lines(); n > 3 {
				t.Errorf("%s: no model after %d lines of the journal", when, n)
			}
			return
		}
		m, err := neuroquant.Open(ctx, out)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		defer m.Close()
		res, err := m.Run(ctx, map[string]*tensor.Tensor{e.Input: tensor.New(tensor.Float32, 1, 3, 32, 32)})
		if err != nil || res["logits"].Len() != 10 {
			t.Errorf("%s: the model that is left gives %v, %v", when, res, err)
		}
	}
	kill("before it measures", func() bool { return lines() >= 1 })
	kill("while it saves", saving)
	for n := 3; n < len(want); n += 1 + len(want)/5 {
		if lines() < n {
			kill("between measures", func() bool { return lines() >= n })
		}
	}
	for _, after := range []time.Duration{0, 2 * time.Millisecond, 5 * time.Millisecond} {
		n := lines()
		if n+2 >= len(want) {
			break
		}
		kill("some time after a measure", func() bool {
			if lines() <= n {
				return false
			}
			time.Sleep(after)
			return true
		})
	}
	t.Logf("killed %d times in %d measures", kills, len(want)-1)
	doc = finish(out)
	if got := measures(out); !slices.Equal(got, want) {
		t.Errorf("measured %d choices, in one go %d", len(got), len(want))
	}
	for _, name := range []string{"model.onnx", "neuroquant.json"} {
		if !bytes.Equal(read(out, name), read(whole, name)) {
			t.Errorf("%s is another than that of the search in one go", name)
		}
	}
	entries, err := os.ReadDir(out)
	if err != nil || len(entries) != 3 {
		t.Errorf("the folder holds %v, %v", entries, err)
	}
}

func labels64(labels []int) []int64 {
	out := make([]int64, len(labels))
	for i, l := range labels {
		out[i] = int64(l)
	}
	return out
}
