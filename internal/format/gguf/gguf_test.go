package gguf

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/format/hf"
	"github.com/neurotrain/neuroquant/internal/material"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/packed"
)

func TestRowsOfQueriesComeBack(t *testing.T) {
	for _, c := range []struct {
		family string
		name   string
		rows   int
	}{{"llama", "blk.0.attn_q.weight", 48}, {"llama", "blk.3.attn_k.bias", 16}, {"gptneox", "blk.1.attn_qkv.weight", 80}, {"falcon", "blk.1.attn_qkv.weight", 80}} {
		f, err := familyNamed(c.family, func(string) bool { return false })
		if err != nil {
			t.Fatal(err)
		}
		order := f.order(c.name, 6, 2, c.rows)
		if order == nil {
			t.Fatalf("%s: no order", c.name)
		}
		back := inverseOrder(order, c.rows)
		moved := false
		for r := range c.rows {
			moved = moved || order(r) != r
			if order(back(r)) != r {
				t.Errorf("%s: row %d comes back as %d", c.name, r, order(back(r)))
			}
		}
		if !moved {
			t.Errorf("%s: nothing moves", c.name)
		}
	}
}

func TestNamesThereAndBack(t *testing.T) {
	for _, f := range families {
		for prefix, names := range map[string][][2]string{"": f.outer, f.block + "12.": slices.Concat(f.inner, f.stacked)} {
			for _, n := range names {
				name := prefix + n[0] + ".weight"
				to := f.toGGUF(strings.ReplaceAll(name, "%d", "7"))
				if to.name == "" || f.toCheckpoint(to.name) != name || (to.index == 7) != strings.Contains(name, "%d") {
					t.Errorf("%s: %s is %+v there and %q back", f.name, name, to, f.toCheckpoint(to.name))
				}
			}
		}
		if to := f.toGGUF("model.layers.x.mlp.up_proj.weight"); to.name != "" {
			t.Errorf("%s: a layer that is no number is %+v", f.name, to)
		}
	}
}

func TestSplitFilesAndImportance(t *testing.T) {
	dir := material.Path(t, "data/stories260k")
	m := open(t, hf.Open, dir)
	whole := save(t, m, model.SaveOptions{Type: "Q8_0"})
	parts := save(t, m, model.SaveOptions{Type: "Q8_0", SplitBytes: 100_000})
	files, err := filepath.Glob(strings.TrimSuffix(parts, ".gguf") + "-*.gguf")
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	same(t, files[0], whole)
	if _, err := OpenFile(files[1]); err == nil || !strings.Contains(err.Error(), "open the first") {
		t.Errorf("the second part: %v", err)
	}
	name := "model.layers.0.self_attn.q_proj.weight"
	path := filepath.Join(t.TempDir(), "i.gguf")
	sums := make([]float32, 64)
	for i := range sums {
		sums[i] = float32(i)
	}
	if err := WriteImportance(path, m, map[string]Squares{name: {sums, 4}}, "text"); err != nil {
		t.Fatal(err)
	}
	got, err := ReadImportance(path, m)
	if err != nil || len(got[name]) != 64 || got[name][8] != 2 {
		t.Errorf("%v %v", got[name], err)
	}
	old := "\x01\x00\x00\x00\x13\x00\x00\x00blk.0.attn_q.weight\x02\x00\x00\x00\x01\x00\x00\x00\x00\x00\x80\x40"
	if err := os.WriteFile(path, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadImportance(path, m); err != nil || got[name][0] != 2 {
		t.Errorf("%v %v", got, err)
	}
	for n := range len(old) {
		if _, err := parseOldImportance([]byte(old[:n])); err == nil {
			t.Errorf("cut at %d: accepted", n)
		}
	}
}

// With --pure llama.cpp's quantizer gives every matrix the type of the mixture, the head too, whose rows of 384 fit no block of Q6_K.
func TestPureTypes(t *testing.T) {
	m := open(t, hf.Open, material.Path(t, "data/golm-15m"))
	for pure, head := range map[bool]packed.Kind{false: packed.Q8_0, true: packed.Q4_0} {
		p, err := NewPlan(m, Options{Type: "Q4_0", Pure: pure})
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range p.Tensors() {
			want := packed.Q4_0
			switch {
			case len(one.Shape) == 1:
				want = packed.F32
			case one.Name == "output.weight":
				want = head
			}
			if one.Kind != want {
				t.Errorf("pure %v: %s is %v, want %v", pure, one.Name, one.Kind, want)
			}
		}
	}
}

func TestFilesThatAreRefused(t *testing.T) {
	file, err := os.ReadFile(filepath.Join(material.Path(t, "data/stories260k"), "gguf/stories260k-q8_0.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		change func(b []byte) []byte
		want   string
	}{
		{func(b []byte) []byte { return b[:len(b)-100] }, "incomplete"},
		{func(b []byte) []byte { return []byte(strings.Replace(string(b), "blk.4.ffn_up", "blk.4.ffn_xp", 1)) }, "no place"},
		{func(b []byte) []byte {
			return []byte(strings.Replace(string(b), "\x05\x00\x00\x00\x00\x00\x00\x00llama", "\x05\x00\x00\x00\x00\x00\x00\x00lhama", 1))
		}, `"lhama" is not known`},
		{func(b []byte) []byte {
			return []byte(strings.Replace(string(b), "llama.block_count", "llama.block_kount", 1))
		}, "block_count) is missing"},
	} {
		path := filepath.Join(t.TempDir(), "m.gguf")
		if err := os.WriteFile(path, c.change([]byte(string(file))), 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := Open(context.Background(), path)
		if err == nil {
			m.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}
