package generate

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/neurotrain/neuroquant/internal/arch"
	"github.com/neurotrain/neuroquant/internal/format/hf"
	"github.com/neurotrain/neuroquant/internal/material"
	"github.com/neurotrain/neuroquant/tensor"
)

// TestTrainedModelsContinue compares with the tokens that PyTorch chose in float32: each prompt alone, and all in a batch, with
// each type of cache, in chunks that cut a prompt.
func TestTrainedModelsContinue(t *testing.T) {
	for _, name := range []string{"golm-15m", "stories260k"} {
		dir := material.Path(t, "data/"+name)
		text, err := os.ReadFile(filepath.Join(dir, "expected/greedy.json"))
		if err != nil {
			t.Fatal(err)
		}
		var want []struct {
			Prompt []int `json:"prompt_ids"`
			Answer []int `json:"greedy_ids"`
		}
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatal(err)
		}
		m, err := hf.Open(context.Background(), dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			cache tensor.DType
			chunk int
		}{{tensor.Float16, 0}, {tensor.Float32, 7}} {
			e, err := New(m.Graph, Options{Cache: c.cache, Chunk: c.chunk, Context: 512, Positions: arch.Positions})
			if err != nil {
				t.Fatal(err)
			}
			var prompts [][]int
			most := 0
			for _, w := range want {
				prompts = append(prompts, w.Prompt)
				most = max(most, len(w.Answer))
			}
			out, timing, err := e.Run(context.Background(), Request{Prompts: prompts, Tokens: most})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s, %v: %+v", name, c.cache, timing)
			for i, w := range want {
				if got := out[i].IDs[:len(w.Answer)]; !slices.Equal(got, w.Answer) || out[i].End != EndLength {
					t.Errorf("%s, cache %v: prompt %d: want %v, got %v, %s", name, c.cache, i, w.Answer, got, out[i].End)
				}
			}
			one, _, err := e.Run(context.Background(), Request{Prompts: prompts[1:2], Tokens: len(want[1].Answer), End: []int{want[1].Answer[8]}})
			if err != nil {
				t.Fatal(err)
			}
			if k := slices.Index(want[1].Answer, want[1].Answer[8]); !slices.Equal(one[0].IDs, want[1].Answer[:k]) || one[0].End != EndToken {
				t.Errorf("%s: alone, to its end: %+v", name, one[0])
			}
			e.Close()
		}
		m.Close()
	}
}

func TestContextEndsASequence(t *testing.T) {
	dir := material.Path(t, "data/stories260k")
	m, err := hf.Open(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	e, err := New(m.Graph, Options{Context: 20, Cache: tensor.Int8, Positions: arch.Positions})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	calls := 0
	r := Request{Prompts: [][]int{{1, 2, 3}, {1}}, Tokens: 100, Each: func(sequence, _ int) (bool, error) {
		calls++
		return sequence == 1 && calls > 6, nil
	}}
	out, timing, err := e.Run(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	if len(out[0].IDs) != 18 || out[0].End != EndContext || out[1].End != EndStop || timing.Generated != calls || timing.Prompt != 4 || timing.CacheBytes == 0 {
		t.Errorf("%+v %+v, %d calls", out, timing, calls)
	}
	for _, bad := range [][]int{{600}, {-1}, {}, make([]int, 21)} {
		if _, _, err := e.Run(context.Background(), Request{Prompts: [][]int{bad}, Tokens: 1}); err == nil {
			t.Errorf("prompt %v was taken", bad)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.Each = func(int, int) (bool, error) { cancel(); return false, nil }
	if _, _, err := e.Run(ctx, r); err == nil {
		t.Error("a cancelled run went on")
	}
}
