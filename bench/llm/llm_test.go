package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/bench/measure"
	"github.com/neurotrain/neuroquant/internal/shapes"
)

// small is a model of the kind that is measured, cut down.
var small = network{"small", shapes.Decoder{Type: "qwen2", Layers: 1, Hidden: 256, Inner: 512, Heads: 4, KVHeads: 2, Vocabulary: 512, RopeTheta: 1e4, Seed: 1}, 0.5}

// TestServe makes the files of a small model and measures our side on them.
func TestServe(t *testing.T) {
	dir := t.TempDir()
	for _, k := range kinds {
		path, size, err := small.file(t.Context(), dir, k.name)
		if err != nil {
			t.Fatal(err)
		}
		if again, same, err := small.file(t.Context(), dir, k.name); err != nil || again != path || same != size {
			t.Errorf("a second call: %s %d %v", again, same, err)
		}
		var out bytes.Buffer
		in := fmt.Sprintf(`{"do":"first","model":%[1]q,"threads":1,"count":8}
{"do":"load","model":%[1]q,"threads":2}
{"do":"prefill","count":16}
{"do":"decode","count":4}
{"do":"dance"}
`, path)
		if err := serve(t.Context(), strings.NewReader(in), &out); err != nil {
			t.Fatal(err)
		}
		var got []answer
		for line := range strings.Lines(out.String()) {
			var a answer
			if err := json.Unmarshal([]byte(line), &a); err != nil {
				t.Fatal(err)
			}
			got = append(got, a)
		}
		if len(got) != 5 || len(got[0].NS) != 1 || got[0].NS[0] <= 0 || got[1].Error != "" || len(got[2].NS) != 1 || len(got[3].NS) != 4 || got[4].Error == "" {
			t.Errorf("%s: %+v", k.name, got)
		}
	}
}

// TestQuantize makes what is measured of a small model.
func TestQuantize(t *testing.T) {
	folder, err := small.folder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range quantizations {
		target := filepath.Join(t.TempDir(), "out")
		if err := quantizeTo(t.Context(), q.name, folder, target); err != nil {
			t.Fatalf("%s: %v", q.name, err)
		}
		if files, err := os.ReadDir(target); err != nil || len(files) == 0 {
			t.Errorf("%s: %v, %v", q.name, files, err)
		}
	}
	s := summary{Quantized: []quantized{{Kind: "NF4", Peer: "torch", Rate: 2e9, Other: 1e8, Pass: true}}}
	var text bytes.Buffer
	if err := measure.Text(&text, s.String(), s.grids()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), "20.00x") {
		t.Error(text.String())
	}
}

// TestReport checks shares and limits.
func TestReport(t *testing.T) {
	s := summary{CPU: "x", CPUs: 2, Peer: "llama.cpp"}
	for _, r := range []result{
		{Phase: "decode", Peer: 2e-3, Ours: 1e-3, Ratio: 2, Bandwidth: 1e9},
		{Phase: "decode", Peer: 1.1e-3, Ours: 1e-3, Ratio: 1.1, Bandwidth: 1e9},
		{Phase: "decode", Peer: 2e-3, Ours: 1e-3, Ratio: 2, Bandwidth: 2e9},
		{Phase: "prefill", Peer: 2e-3, Ours: 1e-3, Ratio: 2, PeakInt8: 1e12, PeakBF16: 1e11},
		{Phase: "first token", Ours: 1},
	} {
		r.conclude(&small, &kinds[0], 9e5)
		s.Results = append(s.Results, r)
	}
	var passed []bool
	for _, r := range s.Results {
		passed = append(passed, r.Pass)
	}
	if got := fmt.Sprint(passed); got != "[true false false true true]" {
		t.Errorf("%s: %+v", got, s.Results)
	}
	if r := s.Results[0]; r.OursShare != 0.9 || r.PeerShare != 0.45 {
		t.Errorf("shares %v and %v", r.OursShare, r.PeerShare)
	}
	var text bytes.Buffer
	if err := measure.Text(&text, s.String(), s.grids()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"MISSED", "1000.0/s", "1000.0 ms", "1.0 GB/s"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &text)
		}
	}
}
