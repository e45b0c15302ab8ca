package hf

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/tensor"
)

// codes is a random matrix of codes that every layout in question can hold.
func codes(r *rand.Rand, bits, rows, cols, group int, symmetric, reordered bool) *packed.Affine {
	groups := (cols + group - 1) / group
	q, scales, zeros := make([]byte, rows*cols), make([]float32, rows*groups), make([]byte, rows*groups)
	for i := range q {
		q[i] = byte(r.IntN(1 << bits))
	}
	for i := range scales {
		scales[i] = float32(1+r.IntN(1000)) / 1024
		zeros[i] = byte(1 + r.IntN(1<<bits-1))
	}
	if symmetric {
		zeros = nil
	}
	var index []int32
	if reordered {
		for _, c := range r.Perm(cols) {
			index = append(index, int32(c/group))
		}
	}
	a, err := packed.NewAffine(bits, rows, cols, group, q, scales, tensor.Float16, zeros, index)
	if err != nil {
		panic(err)
	}
	return a
}

// storedOf are the tensors of a state as a checkpoint has them.
func storedOf(t *testing.T, state []model.Entry) *Weights {
	w := &Weights{byName: map[string]tensor.Source{}}
	for _, e := range state {
		x, err := e.Load()
		if err != nil {
			t.Fatal(err)
		}
		if !x.Shape.Equal(e.Shape()) || x.DType != e.DType() {
			t.Fatalf("tensor %q was announced as %v %v, is %v", e.Name, e.DType(), e.Shape(), x)
		}
		if err := w.add(e.Name, tensor.InMemory(x)); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// TestLayoutsGiveBackWhatTheyTake stores matrices in every layout that takes them and reads them back.
func TestLayoutsGiveBackWhatTheyTake(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, l := range layoutsWritten {
		taken := 0
		for _, bits := range []int{2, 3, 4, 5, 6, 7, 8} {
			for _, group := range []int{16, 32, 96} {
				for _, symmetric := range []bool{true, false} {
					for _, reordered := range []bool{true, false} {
						a := codes(r, bits, 64, 96, group, symmetric, reordered && group < 96)
						if l.refuse(a) != "" {
							continue
						}
						taken++
						m := &model.Model{Config: map[string]any{"model_type": "llama"}, State: []model.Entry{{Name: "model.a.weight", Source: a.Source()}, {Name: "lm_head.weight", Source: tensor.InMemory(tensor.New(tensor.Float16, 4, 4))}}}
						state, config, err := l.laidOut(m, nil)
						if err != nil {
							t.Fatal(err)
						}
						w, err := quantized(config, storedOf(t, state))
						if err != nil {
							t.Fatalf("%s, %v: %v", l.name, a.Scheme(), err)
						}
						if names := w.Names(); !slices.Contains(names, "model.a.weight") || !slices.Contains(names, "lm_head.weight") || len(names) != 2 {
							t.Fatalf("%s: names %v", l.name, names)
						}
						got, err := w.Tensor("model.a.weight").(packed.Coded).Affine()
						if err != nil {
							t.Fatalf("%s, %v: %v", l.name, a.Scheme(), err)
						}
						if !bytes.Equal(got.Codes, a.Codes) || !slices.Equal(got.Scales, a.Scales) || !slices.Equal(got.Zeros, a.Zeros) || !slices.Equal(got.Index, a.Index) || got.Scheme() != a.Scheme() {
							t.Errorf("%s, %v: another matrix came back, %v", l.name, a.Scheme(), got.Scheme())
						}
					}
				}
			}
		}
		if taken == 0 {
			t.Errorf("layout %s takes nothing", l.name)
		}
	}
}

// TestKeptModules checks that loaders of the layout are told which modules have no codes.
func TestKeptModules(t *testing.T) {
	l, err := findLayout("gptq")
	if err != nil {
		t.Fatal(err)
	}
	float := func(name string) model.Entry {
		return model.Entry{Name: name + ".weight", Source: tensor.InMemory(tensor.New(tensor.Float16, 4, 4))}
	}
	a := codes(rand.New(rand.NewPCG(3, 3)), 4, 32, 32, 32, true, false)
	m := &model.Model{Config: map[string]any{}, State: []model.Entry{
		float("model.embed_tokens"), {Name: "model.layers.0.q.weight", Source: a.Source()}, float("model.layers.0.down"), float("lm_head"),
	}}
	_, config, err := l.laidOut(m, nil)
	if err != nil {
		t.Fatal(err)
	}
	dynamic, _ := config["quantization_config"].(map[string]any)["dynamic"].(map[string]any)
	if len(dynamic) != 1 || dynamic[`-:^model\.layers\.0\.down$`] == nil {
		t.Errorf("patterns of modules without codes: %v", dynamic)
	}
	if list := config["quantization_config"].(map[string]any)["modules_in_block_to_quantize"]; !reflect.DeepEqual(list, [][]string{{"q"}}) {
		t.Errorf("modules of codes: %v", list)
	}
	d := &described{coded: []string{"model.layers.0.q", "model.layers.1.up"}, kept: []string{"model.layers.1.q"}}
	if list := d.inBlocks(); !slices.Equal(list, d.coded) {
		t.Errorf("modules of codes in some blocks: %v", list)
	}
}

// TestGroupsOfAllLayers checks that the configuration has the groups of the layers that have some, and that others must go with them.
func TestGroupsOfAllLayers(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	for _, l := range layoutsWritten {
		lay := func(cols ...int) (map[string]any, error) {
			m := &model.Model{Config: map[string]any{}}
			for i, n := range cols {
				m.State = append(m.State, model.Entry{Name: fmt.Sprintf("model.layers.%d.weight", i), Source: codes(r, 4, 64, n, min(n, 64), true, false).Source()})
			}
			_, config, err := l.laidOut(m, nil)
			if err != nil {
				return nil, err
			}
			q := config["quantization_config"].(map[string]any)
			if g, ok := q["config_groups"].(map[string]any); ok {
				q = g["group_0"].(map[string]any)["weights"].(map[string]any)
			}
			return q, nil
		}
		for _, cols := range [][]int{{64, 128}, {128, 64}} {
			if q, err := lay(cols...); err != nil || q["group_size"] != 64 {
				t.Errorf("%s, %d inputs: groups of %v, %v", l.name, cols, q["group_size"], err)
			}
		}
		whole := codes(r, 4, 64, 128, 128, true, false)
		m := &model.Model{Config: map[string]any{}, State: []model.Entry{
			{Name: "a.weight", Source: whole.Source()}, {Name: "b.weight", Source: codes(r, 4, 64, 128, 64, true, false).Source()},
		}}
		if _, _, err := l.laidOut(m, nil); err == nil || !strings.Contains(err.Error(), "rows of 128 inputs have one scale") {
			t.Errorf("%s: %v", l.name, err)
		}
	}
}

// TestWordsOfTheSpecification has the words that the formats' descriptions give.
func TestWordsOfTheSpecification(t *testing.T) {
	for _, c := range []struct {
		bits int
		want []uint32
	}{
		{4, []uint32{0x76543210}},
		{3, []uint32{0x88fac688, 0xc688fac6, 0xfac688fa}},
	} {
		words := make([]uint32, len(c.want))
		for i := range 32 * len(c.want) / c.bits {
			code := uint32(i)
			if c.bits == 3 {
				code = uint32(i % 8)
			}
			putCode(words, 1, i, c.bits, code)
		}
		if !slices.Equal(words, c.want) {
			t.Errorf("%d bits: %08x, want %08x", c.bits, words, c.want)
		}
	}
	var word uint32
	for c := range 8 {
		word |= uint32(c) << awqShift(c)
	}
	if word != 0x75316420 {
		t.Errorf("awq: %08x, want 75316420", word)
	}
	// The zero points of symmetric codes, stored less one and as they are.
	for _, c := range []struct {
		layout string
		bits   int
		want   int32
	}{{"gptq", 4, 0x77777777}, {"gptq", 8, 0x7f7f7f7f}, {"gptq", 2, 0x55555555}, {"gptq_v2", 4, -0x77777778}, {"gptq_v2", 8, -0x7f7f7f80}} {
		l, err := findLayout(c.layout)
		if err != nil {
			t.Fatal(err)
		}
		a := codes(rand.New(rand.NewPCG(2, 2)), c.bits, 32, 32, 32, true, false)
		for _, v := range tensor.Data[int32](l.parts[1].data(a)) {
			if v != c.want {
				t.Errorf("%s, %d bits: %08x", c.layout, c.bits, uint32(v))
			}
		}
	}
}

func TestLayoutsRefuse(t *testing.T) {
	scheme := tensor.Scheme{Code: "int", Bits: 4, Group: 32, Symmetric: true}
	for _, c := range []struct {
		layout     string
		s          func(s *tensor.Scheme)
		rows, cols int
		want       string
	}{
		{"gptq", func(s *tensor.Scheme) { s.Bits = 5 }, 64, 64, "5 bits"},
		{"gptq", func(*tensor.Scheme) {}, 64, 65, "multiples of 32"},
		{"awq", func(s *tensor.Scheme) { s.Reordered = true }, 64, 64, "order"},
		{"awq", func(s *tensor.Scheme) { s.Bits = 3 }, 64, 64, "3 bits"},
		{"awq", func(*tensor.Scheme) {}, 64, 48, "multiples of the group"},
		{"compressed-tensors", func(*tensor.Scheme) {}, 64, 48, "multiples of the group"},
		{"gguf", func(*tensor.Scheme) {}, 64, 64, "known are gptq"},
	} {
		s := scheme
		c.s(&s)
		if err := CheckLayout(c.layout, s, c.rows, c.cols); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s, %v, %dx%d: %v", c.layout, s, c.rows, c.cols, err)
		}
	}
	if err := CheckLayout("gptq", scheme, 64, 64); err != nil {
		t.Error(err)
	}
	// Broken checkpoints.
	gptq := map[string]any{"quant_method": "gptq", "bits": 4, "group_size": 32}
	one := func(d tensor.DType, shape ...int) tensor.Source { return tensor.InMemory(tensor.New(d, shape...)) }
	for _, c := range []struct {
		config map[string]any
		w      map[string]tensor.Source
		want   string
	}{
		{map[string]any{"quant_method": "hqq"}, nil, "hqq"},
		{map[string]any{"quant_method": "gptq", "bits": 7}, nil, "bits: want 2, 3, 4 or 8"},
		{map[string]any{"quant_method": "gptq", "bits": "four"}, nil, "want a whole number"},
		{gptq, map[string]tensor.Source{"a.qweight": one(tensor.Int32, 8, 64)}, "qzeros is missing"},
		{gptq, map[string]tensor.Source{"a.qweight": one(tensor.Float16, 8, 64)}, "qweight: want"},
		{gptq, map[string]tensor.Source{"a.qweight": one(tensor.Int32, 8, 64), "a.qzeros": one(tensor.Int32, 2, 7)}, "qzeros: want shape [2 8]"},
		{map[string]any{"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemv"}, nil, "gemv"},
		{map[string]any{"quant_method": "compressed-tensors", "format": "float-quantized"}, nil, "float-quantized"},
	} {
		w := &Weights{byName: map[string]tensor.Source{}}
		for name, s := range c.w {
			if err := w.add(name, s); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := quantized(map[string]any{"quantization_config": c.config}, w); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.config, err, c.want)
		}
	}
}
