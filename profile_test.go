package neuroquant

import (
	"bytes"
	"compress/gzip"
	"io"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/shapes"
	"github.com/neurotrain/neuroquant/tensor"
)

func smallNet(t *testing.T) *Model {
	g, err := shapes.ResNet{Blocks: [4]int{1, 1, 1, 1}, Width: 8, Classes: 10, Side: 32, Seed: 1}.Graph()
	if err != nil {
		t.Fatal(err)
	}
	return &Model{m: &model.Model{Graph: g}}
}

func TestProfileCountsEveryNode(t *testing.T) {
	m := smallNet(t)
	in := map[string]*tensor.Tensor{"images": tensor.New(tensor.Float32, 2, 3, 32, 32)}
	want, err := m.Run(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	p, out, err := m.Profile(t.Context(), in, 3)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out["logits"].Bytes(), want["logits"].Bytes()) {
		t.Error("a profiled run computes something else")
	}
	if len(p.Nodes) != len(m.session.Graph().Nodes) || p.Runs != 3 {
		t.Errorf("%d nodes over %d runs, want %d over 3", len(p.Nodes), p.Runs, len(m.session.Graph().Nodes))
	}
	total, share := 0.0, 0.0
	for i, n := range p.Nodes {
		if n.Calls != 3 {
			t.Errorf("%s: %d calls", n.Node, n.Calls)
		}
		if i > 0 && n.TotalMS > p.Nodes[i-1].TotalMS {
			t.Errorf("%s is out of order", n.Node)
		}
		total += n.TotalMS
		share += n.Share
	}
	if share < 0.999 || share > 1.001 || total > 3*p.RunMS {
		t.Errorf("shares sum to %v, nodes to %v ms of %v", share, total, 3*p.RunMS)
	}
	if _, _, err := m.Profile(t.Context(), in, 0); err == nil {
		t.Error("accepts no runs")
	}
}

func TestRunPlanGrowsWithTheBatch(t *testing.T) {
	m := smallNet(t)
	one, err := m.RunPlan(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	four, err := m.RunPlan(t.Context(), map[string][]int{"images": {4, 3, 32, 32}})
	if err != nil {
		t.Fatal(err)
	}
	if one.PeakBytes == 0 || four.PeakBytes < 3*one.PeakBytes || one.KeptBytes > one.PeakBytes*2 || !strings.Contains(one.Graph, "PackedConv") {
		t.Errorf("%d bytes for one, %d for four; %d kept", one.PeakBytes, four.PeakBytes, one.KeptBytes)
	}
	if got := one.Inputs["images"]; len(got) != 4 || got[0] != 1 {
		t.Errorf("shape %v", got)
	}
	b, err := shapes.BERT{Layers: 1, Hidden: 8, Heads: 2, Intermediate: 8, Vocabulary: 10, Positions: 16, Seed: 1}.Graph()
	if err != nil {
		t.Fatal(err)
	}
	m = &Model{m: &model.Model{Graph: b}}
	if _, err := m.RunPlan(t.Context(), nil); err == nil || !strings.Contains(err.Error(), `input "attention_mask" (int64[batch,tokens]): give its shape: dimension 1 is not declared`) {
		t.Errorf("%v", err)
	}
	// One input's shape settles the named dimensions of the others.
	p, err := m.RunPlan(t.Context(), map[string][]int{"input_ids": {2, 7}})
	if err != nil {
		t.Fatal(err)
	}
	if s := p.Inputs["attention_mask"]; len(s) != 2 || s[0] != 2 || s[1] != 7 {
		t.Errorf("shape %v", s)
	}
}

func TestLabelsReachTheProfile(t *testing.T) {
	m := smallNet(t)
	m.SetThreads(2)
	m.LabelProfiles()
	in := map[string]*tensor.Tensor{"images": tensor.New(tensor.Float32, 8, 3, 32, 32)}
	for length := 300 * time.Millisecond; ; length *= 2 {
		var buf bytes.Buffer
		if err := pprof.StartCPUProfile(&buf); err != nil {
			t.Skip("another profile is being taken")
		}
		for start := time.Now(); time.Since(start) < length; {
			if _, err := m.Run(t.Context(), in); err != nil {
				t.Fatal(err)
			}
		}
		pprof.StopCPUProfile()
		z, err := gzip.NewReader(&buf)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(raw, []byte("operator")) && bytes.Contains(raw, []byte("PackedConv")) {
			return
		}
		if length > 10*time.Second {
			t.Fatal("no labels in the profile")
		}
	}
}
