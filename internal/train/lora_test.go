package train

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/arch"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/tensor"
)

// checkpoint are weights by name.
type checkpoint map[string]*tensor.Tensor

func (c checkpoint) Tensor(name string) tensor.Source {
	if c[name] == nil {
		return nil
	}
	return tensor.InMemory(c[name])
}

func (c checkpoint) Names() []string { return slices.Sorted(maps.Keys(c)) }

// smallLlama returns weights of a Llama of two layers.
func smallLlama() checkpoint {
	c := checkpoint{"model.embed_tokens.weight": draw(1, 1, 40, 32), "lm_head.weight": draw(2, 0.3, 40, 32), "model.norm.weight": draw(3, 1, 32)}
	for i := range 2 {
		l, s := fmt.Sprintf("model.layers.%d.", i), uint64(10*i+10)
		for k, w := range []struct {
			name     string
			out, in  int
			onlyRows bool
		}{
			{"self_attn.q_proj", 32, 32, false},
			{"self_attn.k_proj", 16, 32, false},
			{"self_attn.v_proj", 16, 32, false},
			{"self_attn.o_proj", 32, 32, false},
			{"mlp.gate_proj", 64, 32, false},
			{"mlp.up_proj", 64, 32, false},
			{"mlp.down_proj", 32, 64, false},
			{"input_layernorm", 32, 0, true},
			{"post_attention_layernorm", 32, 0, true},
		} {
			if c[l+w.name+".weight"] = draw(s+uint64(k), 0.3, w.out, max(w.in, 1)); w.onlyRows {
				c[l+w.name+".weight"] = draw(s+uint64(k), 1, w.out)
			}
		}
	}
	return c
}

func build(t *testing.T, c checkpoint) *graph.Graph {
	t.Helper()
	g, _, err := arch.Build(map[string]any{
		"model_type": "llama", "vocab_size": 40, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
	}, c)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// encoded rounds the matrices of linear layers by f, and returns them as codes and as the values of those.
func encoded(t *testing.T, f encoding) (codes, values checkpoint) {
	t.Helper()
	codes, values = smallLlama(), smallLlama()
	for name, w := range codes {
		if !strings.Contains(name, "_proj") {
			continue
		}
		rows, cols := w.Shape[0], w.Shape[1]
		codes[name] = tensor.NewPacked(tensor.Float32, w.Shape, f(rows, cols, func(dst []float32, r int) { copy(dst, tensor.Data[float32](w)[r*cols:(r+1)*cols]) }))
		v, err := codes[name].Floats()
		if err != nil {
			t.Fatal(err)
		}
		values[name] = tensor.Of(w.Shape, slices.Clone(v))
	}
	return codes, values
}

// encoding makes the codes of a matrix of which row gives the rows.
type encoding func(rows, cols int, row func([]float32, int)) tensor.Packed

func fourBit(t *testing.T, kind *packed.FourBitType, double bool) encoding {
	return func(rows, cols int, row func([]float32, int)) tensor.Packed {
		p, err := packed.NewFourBit(kernel.Shared(), kind, rows, cols, 32, double, row)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
}

func llmInt8(t *testing.T) encoding {
	return func(rows, cols int, row func([]float32, int)) tensor.Packed {
		p, err := packed.NewLLMInt8(kernel.Shared(), rows, cols, 6, row)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
}

// grouped rounds to codes of 4 bits as GPTQ stores them: scales and zero points for groups of columns, which with order are not neighbours.
func grouped(t *testing.T, order bool) encoding {
	const group = 16
	return func(rows, cols int, row func([]float32, int)) tensor.Packed {
		index := make([]int32, cols)
		for c := range index {
			index[c] = int32(c / group)
			if order {
				index[c] = int32(c * 5 % cols / group)
			}
		}
		groups := cols / group
		codes, zeros, scales := make([]byte, rows*cols), make([]byte, rows*groups), make([]float32, rows*groups)
		line := make([]float32, cols)
		for r := range rows {
			row(line, r)
			for g := range groups {
				lo, hi := float32(0), float32(0)
				for c, v := range line {
					if index[c] == int32(g) {
						lo, hi = min(lo, v), max(hi, v)
					}
				}
				scales[r*groups+g] = (hi - lo) / 15
				zeros[r*groups+g] = byte(math.RoundToEven(float64(-lo / scales[r*groups+g])))
			}
			for c, v := range line {
				at := r*groups + int(index[c])
				codes[r*cols+c] = byte(min(15, max(0, math.RoundToEven(float64(v/scales[at]))+float64(zeros[at]))))
			}
		}
		if !order {
			index = nil
		}
		a, err := packed.NewAffine(4, rows, cols, group, codes, scales, tensor.Float32, zeros, index)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
}

func nf4(t *testing.T) encoding { return fourBit(t, packed.NF4, false) }

// tokens are sequences in which each token follows from the one before.
func tokens(t *testing.T, samples int) data.Set {
	t.Helper()
	ids := make([]int64, samples*12)
	for i := range ids {
		ids[i] = int64(i*7%40+i/12) % 40
	}
	set, err := data.Windows(arch.InputIDs, ids, 12)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

var loraSettings = Settings{Epochs: 3, Batch: 4, Optimizer: Optimizer{Name: "adamw", Rate: 0.01}, Clip: 1, Seed: 5, Before: true}

func fitLoRA(t *testing.T, c checkpoint, l LoRA, s Settings, recompute int) (*Trainer, *History, []Adapter) {
	t.Helper()
	g := build(t, c)
	adapters, err := l.Insert(g, 1)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := New(&Task{Graph: g, Trained: Parameters(adapters), LoRA: &l, Loss: "next_token", Recompute: recompute}, s.Optimizer, s.Clip, s.Seed, 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.Close)
	h, err := tr.Fit(context.Background(), s, tokens(t, 16), tokens(t, 4), nil)
	if err != nil {
		t.Fatal(err)
	}
	return tr, h, adapters
}

// Adapters on codes learn what they learn on the float values of those codes; where products round activations to 8 bits as well, with
// LLM.int8() and with codes on an even scale, nearly that.
func TestAdaptersOnCodes(t *testing.T) {
	for name, f := range map[string]encoding{
		"nf4":             nf4(t),
		"nf4 double":      fourBit(t, packed.NF4, true),
		"fp4":             fourBit(t, packed.FP4, false),
		"llm.int8":        llmInt8(t),
		"gptq":            grouped(t, false),
		"gptq, act order": grouped(t, true),
		"bfloat16": func(rows, cols int, row func([]float32, int)) tensor.Packed {
			wide := make([]float64, 0, rows*cols)
			line := make([]float32, cols)
			for r := range rows {
				row(line, r)
				for _, v := range line {
					wide = append(wide, float64(v))
				}
			}
			d, err := tensor.FromFloat64s(tensor.BFloat16, tensor.Shape{rows, cols}, wide)
			if err != nil {
				t.Fatal(err)
			}
			n, err := packed.NewNarrow(d)
			if err != nil {
				t.Fatal(err)
			}
			return n.Packed
		},
	} {
		t.Run(name, func(t *testing.T) {
			codes, values := encoded(t, f)
			l, bound := LoRA{Rank: 4, Alpha: 8}, 2e-4
			rounds := name == "llm.int8" || strings.HasPrefix(name, "gptq")
			if rounds {
				bound = 1e-2
			}
			tr, h, adapters := fitLoRA(t, codes, l, loraSettings, 0)
			_, want, _ := fitLoRA(t, values, l, loraSettings, 0)
			if len(adapters) != 14 {
				t.Errorf("%d adapters; want 14, of all linear layers but the head", len(adapters))
			}
			if *h.Before-h.Losses[0] > 0.5 || *h.Before-*h.Epochs[2].Valid < 0.5 {
				t.Errorf("validation loss %v before, %v after, first %v", *h.Before, *h.Epochs[2].Valid, h.Losses[0])
			}
			for i, x := range h.Losses {
				if math.Abs(x-want.Losses[i]) > bound*want.Losses[i] {
					t.Errorf("update %d: loss %v on codes, %v on their values", i+1, x, want.Losses[i])
				}
			}
			for _, b := range tr.bound { // no product reads a matrix of codes as floats
				for _, n := range b.p.g.Nodes {
					for _, v := range n.In {
						if v != nil && strings.Contains(v.Name, "_proj.weight") {
							t.Errorf("node %q (%s) reads %q", n.Name, n.Op.Kind(), v.Name)
						}
					}
				}
			}
			for name, w := range tr.task.frozen {
				if w != nil && !rounds && !w.InPlace() {
					t.Errorf("%s: the codes are held twice", name)
				}
			}
		})
	}
}

// What recomputation saves in memory it changes in no bit, and dropout stays the same through it.
func TestAdaptersWithRecomputation(t *testing.T) {
	codes, _ := encoded(t, nf4(t))
	l := LoRA{Rank: 4, Alpha: 8, Dropout: 0.2}
	_, whole, _ := fitLoRA(t, codes, l, loraSettings, 0)
	_, parts, _ := fitLoRA(t, codes, l, loraSettings, 4)
	if !slices.Equal(whole.Losses, parts.Losses) {
		t.Errorf("losses %v with recomputation, %v without", parts.Losses, whole.Losses)
	}
}

// A training of adapters with dropout that goes on from a checkpoint ends with the bytes of one that was never stopped.
func TestAdaptersGoOn(t *testing.T) {
	codes, _ := encoded(t, nf4(t))
	l := LoRA{Rank: 4, Alpha: 8, Dropout: 0.2, RankStabilized: true}
	s := loraSettings
	whole, _, _ := fitLoRA(t, codes, l, s, 0)
	s.Checkpoint, s.CheckpointEvery = filepath.Join(t.TempDir(), "c.safetensors"), 1
	cut := s
	g := build(t, codes)
	adapters, err := l.Insert(g, 1)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := New(&Task{Graph: g, Trained: Parameters(adapters), LoRA: &l, Loss: "next_token"}, s.Optimizer, s.Clip, s.Seed, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	ctx, cancel := context.WithCancel(context.Background())
	left := 6
	tr.task.After = func(int) {
		if left--; left == 0 {
			cancel()
		}
	}
	if _, err := tr.Fit(ctx, cut, tokens(t, 16), tokens(t, 4), nil); err == nil {
		t.Fatal("the training was not stopped")
	}
	if _, err := os.Stat(s.Checkpoint); err != nil {
		t.Fatal(err)
	}
	on, _, _ := fitLoRA(t, codes, l, s, 0)
	for i, w := range whole.params {
		if !bytes.Equal(w.Bytes(), on.params[i].Bytes()) {
			t.Errorf("%s differs", whole.trained[i].Name)
		}
	}
	other := l
	other.Alpha = 16
	g = build(t, codes)
	if adapters, err = other.Insert(g, 1); err != nil {
		t.Fatal(err)
	}
	tr2, err := New(&Task{Graph: g, Trained: Parameters(adapters), LoRA: &other, Loss: "next_token"}, s.Optimizer, s.Clip, s.Seed, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer tr2.Close()
	if _, err := tr2.Fit(context.Background(), s, tokens(t, 16), nil, nil); err == nil || !strings.Contains(err.Error(), "other settings") {
		t.Errorf("a checkpoint of another alpha: %v", err)
	}
}

func TestTargets(t *testing.T) {
	for _, c := range []struct {
		targets []string
		count   int
		want    string
	}{
		{nil, 14, ""},
		{[]string{"q_proj", "v_proj"}, 4, ""},
		{[]string{"layers.1.mlp.up_proj"}, 1, ""},
		{[]string{"lm_head"}, 1, ""},
		{[]string{"q_proj", "query", "proj"}, 0, `no linear layer is called "query", "proj"; the model has q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, lm_head`},
	} {
		l := LoRA{Rank: 2, Alpha: 4, Targets: c.targets}
		g := build(t, smallLlama())
		before := g.Outputs[0].Name
		a, err := l.Insert(g, 1)
		switch {
		case c.want != "":
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v: %v; want %s", c.targets, err, c.want)
			}
			continue
		case err != nil:
			t.Errorf("%v: %v", c.targets, err)
			continue
		}
		if err := g.Verify(); err != nil || len(a) != c.count || g.Outputs[0].Name != before {
			t.Errorf("%v: %d adapters, output %q: %v", c.targets, len(a), g.Outputs[0].Name, err)
		}
		if n := slices.IndexFunc(g.Nodes, func(n *graph.Node) bool { o, ok := n.Op.(*op.FusedMatMul); return ok && o.Alpha == 2 }); n < 0 {
			t.Errorf("%v: nothing is multiplied by alpha/rank", c.targets)
		}
	}
	if err := (&LoRA{Alpha: -1, Dropout: 1, Targets: []string{""}}).Check(); err == nil || strings.Count(err.Error(), "\n") != 3 {
		t.Errorf("settings that cannot be meant: %v", err)
	}
}
