package neuroquant_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/arch"
	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/format"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/shapes"
	"github.com/neurotrain/neuroquant/tensor"
)

var mixture = shapes.Decoder{Type: "mixtral", Layers: 1, Hidden: 64, Inner: 96, Heads: 4, KVHeads: 2, Vocabulary: 320, RopeTheta: 1e4, Seed: 5, Untied: true, Experts: 8}

// routed counts, with the float model, how many of the tokens each expert of the only block gets.
func routed(t *testing.T, dir string, ids []int64) []int64 {
	t.Helper()
	ctx := context.Background()
	m, err := format.Open(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var counts []int64
	s, err := exec.NewSession(m.Graph, exec.Options{Tap: func(n *graph.Node, _, out []*tensor.Tensor) {
		for i, v := range n.Out {
			if v != nil && strings.HasSuffix(v.Name, arch.Counts) {
				counts = append(counts, tensor.Data[int64](out[i])...)
			}
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Run(ctx, []*tensor.Tensor{tensor.Of(tensor.Shape{1, len(ids)}, ids)}); err != nil {
		t.Fatal(err)
	}
	return counts
}

// TestExpertCoverage calibrates a mixture of experts with attention kept in float, so that its router sees what it does in the float model.
func TestExpertCoverage(t *testing.T) {
	ctx := context.Background()
	dir := checkpointOf(t, mixture)
	for _, c := range []struct {
		method string
		tokens int
		few    bool // there are experts with fewer than 16 of the tokens
		change func(c *neuroquant.Config)
	}{
		{"gptq", 256, false, nil},
		{"gptq", 24, true, nil},
		{"gptq", 24, true, func(c *neuroquant.Config) { c.DescAct, c.ActGroupAware = true, false }},
		{"awq", 24, true, nil},
	} {
		ids := make([]int64, c.tokens)
		for i := range ids {
			ids[i] = int64(i*i*7%250 + 3)
		}
		set, err := data.Windows(arch.InputIDs, ids, c.tokens)
		if err != nil {
			t.Fatal(err)
		}
		cfg := neuroquant.DefaultConfig()
		cfg.Method, cfg.GroupSize, cfg.Keep = c.method, 32, []string{"*self_attn*"}
		if c.change != nil {
			c.change(&cfg)
		}
		m := neuroquant.NewManager(cfg)
		m.Calibrate(set)
		r, err := m.Quantize(ctx, dir)
		if err != nil {
			t.Fatalf("%s on %d tokens: %v", c.method, c.tokens, err)
		}
		if len(r.Experts) != 1 || r.Experts[0].Mixture != "model.layers.0.block_sparse_moe.experts" {
			t.Fatalf("%s on %d tokens: coverage %+v", c.method, c.tokens, r.Experts)
		}
		got := r.Experts[0]
		var few []int
		for e, n := range routed(t, dir, ids) {
			if e >= len(got.Tokens) || got.Tokens[e] != int(n) {
				t.Fatalf("%s on %d tokens: experts saw %v, expert %d got %d in the float model", c.method, c.tokens, got.Tokens, e, n)
			}
			if n < 16 {
				few = append(few, e)
			}
		}
		if len(few) != len(got.Few) || (len(few) > 0) != c.few {
			t.Errorf("%s on %d tokens: too few are %v of %v", c.method, c.tokens, got.Few, got.Tokens)
		}
		rounded := 0
		for _, d := range r.Decisions {
			if strings.Contains(d.Why, "plain rounding: the layer saw") {
				rounded++
			}
		}
		if c.method == "gptq" && rounded != 3*len(few) {
			t.Errorf("%d matrices were rounded plainly, want those of %d experts", rounded, len(few))
		}
		out := filepath.Join(t.TempDir(), "out")
		if err := m.Save(ctx, r, out, false); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		back, rec, err := m.Load(ctx, out)
		if err != nil {
			t.Fatal(err)
		}
		if len(rec.Experts) != 1 || len(rec.Experts[0].Tokens) != 8 {
			t.Errorf("the record says %+v", rec.Experts)
		}
		if err := back.Close(); err != nil {
			t.Fatal(err)
		}
	}
	cfg := neuroquant.GPTQ4BitConfig()
	cfg.GroupSize, cfg.NumCalibrationSamples, cfg.CalibrationLength = 32, 4, 100
	m := neuroquant.NewManager(cfg)
	f, err := m.Forecast(ctx, dir, neuroquant.ForecastOptions{NoTime: true})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(strings.Join(f.Notes, "\n"), "each of 8 experts sees 100 of the 400 calibration tokens on average") {
		t.Errorf("plan: %v", f.Notes)
	}
}
