package hf

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/material"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/tensor"
)

// rounded returns a model whose linear layers, but for the head, are rounded when they are loaded.
func rounded(t *testing.T, dir string, how packed.Rounding) *model.Model {
	t.Helper()
	m, err := Open(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	state := slices.Clone(m.StateDict())
	for i, e := range state {
		if strings.HasSuffix(e.Name, "_proj.weight") {
			state[i].Source = &packed.Rounded{Rounding: how, From: packed.NarrowSource(e.Source), Stored: e.DType()}
		}
	}
	c := m.With(m.Graph)
	c.State = state
	return c
}

// Folders of each encoding are written, read again as the same matrices, and compute nearly what the float model does.
func TestBitsAndBytesFolders(t *testing.T) {
	source := material.Path(t, "data/golm-15m")
	ids := answers(t, source)[0].PromptIDs
	want := tensor.Data[float32](run(t, session(t, source, true), ids))
	for name, c := range map[string]struct {
		how   packed.Rounding
		bound float64
	}{
		"nf4":        {packed.Rounding{Type: packed.NF4, Block: 64}, 0.2},
		"nf4 double": {packed.Rounding{Type: packed.NF4, Block: 128, Double: true}, 0.2},
		"fp4":        {packed.Rounding{Type: packed.FP4, Block: 32}, 0.3},
		"int8":       {packed.Rounding{Threshold: 6}, 0.03},
	} {
		m := rounded(t, source, c.how)
		dir := t.TempDir()
		if err := Save(context.Background(), dir, m, model.SaveOptions{Layout: bitsAndBytes}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		back, err := Open(context.Background(), dir)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		params := map[string]tensor.Source{}
		for _, v := range back.Graph.Params() {
			params[v.Name] = v.Data
		}
		a, b := make([]float32, 4096), make([]float32, 4096)
		for _, e := range m.State {
			r, ok := e.Source.(*packed.Rounded)
			if !ok {
				continue
			}
			x, err := r.Load()
			if err != nil {
				t.Fatal(err)
			}
			y, err := params[e.Name].Load()
			if err != nil {
				t.Fatalf("%s: %q: %v", name, e.Name, err)
			}
			if x.Packed.Scheme() != y.Packed.Scheme() {
				t.Fatalf("%s: %q: scheme %v, want %v", name, e.Name, y.Packed.Scheme(), x.Packed.Scheme())
			}
			n := x.Shape[1]
			for row := range x.Shape[0] {
				x.Packed.Row(a[:n], row)
				y.Packed.Row(b[:n], row)
				if !slices.Equal(a[:n], b[:n]) {
					t.Fatalf("%s: %q: row %d differs", name, e.Name, row)
				}
			}
		}
		if err := back.Close(); err != nil {
			t.Fatal(err)
		}
		got := tensor.Data[float32](run(t, session(t, dir, true), ids))
		var d, size float64
		for i, v := range want {
			d += float64(v-got[i]) * float64(v-got[i])
			size += float64(v) * float64(v)
		}
		if lost := math.Sqrt(d / size); !(lost < c.bound) {
			t.Errorf("%s: logits are off by %v of their size, want at most %v", name, lost, c.bound)
		}
	}
}

// What does not fit is refused when the folder is opened, or when the matrix is loaded.
func TestBitsAndBytesRefuses(t *testing.T) {
	text := func(s string) tensor.Source { return tensor.InMemory(tensor.Of(tensor.Shape{len(s)}, []byte(s))) }
	zeros := func(d tensor.DType, shape ...int) tensor.Source { return tensor.InMemory(tensor.New(d, shape...)) }
	good := `{"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [4, 64]}`
	parts := func(state string, absmax int, codes int) []tensor.Source {
		return []tensor.Source{zeros(tensor.Float32, absmax), nil, nil, nil, text(state), nil, zeros(tensor.Uint8, codes, 1)}
	}
	if _, err := readFourBit(parts(good, 4, 128)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		t    []tensor.Source
		want string
	}{
		{parts(good, 3, 128), "want shape [4], found [3]"},
		{parts(good, 4, 127), "want 128 bytes"},
		{parts(strings.Replace(good, "64", "63", 1), 4, 128), "blocks of 63"},
		{parts(strings.Replace(good, "nf4", "af4", 1), 4, 128), "unknown 4-bit type"},
		{parts(strings.Replace(good, "[4, 64]", "[4]", 1), 4, 128), "shape of a matrix"},
		{parts(strings.Replace(good, "[4, 64]", "[-4, 64]", 1), 4, 128), "shape of a matrix"},
		{parts("{", 4, 128), "quant_state"},
		{parts(strings.Replace(good, "}", `, "nested_blocksize": 7, "nested_offset": 1.5}`, 1), 4, 128), "nested_blocksize"},
		{append(parts(good, 4, 128)[:6], nil), "weight is missing"},
	} {
		if _, err := readFourBit(c.t); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want an error with %q, got %v", c.want, err)
		}
	}
	if _, err := readInt8([]tensor.Source{zeros(tensor.Float32, 4), text("\x01"), zeros(tensor.Int8, 4, 8)}, 6); err == nil || !strings.Contains(err.Error(), "weight_format") {
		t.Errorf("a format of columns: %v", err)
	}
	if _, err := readInt8([]tensor.Source{zeros(tensor.Float32, 3), nil, zeros(tensor.Int8, 4, 8)}, 6); err == nil || !strings.Contains(err.Error(), "SCB") {
		t.Errorf("too few scales: %v", err)
	}
}
