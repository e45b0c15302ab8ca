package gguf

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/arch/archtest"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/tensor"
)

// TestFamiliesComeBack writes small models of all architectures as files and reads them: tensors are the same, logits those of the
// checkpoint. What GGUF has no word for is refused.
func TestFamiliesComeBack(t *testing.T) {
	dir := t.TempDir()
	tokens := map[string]int{}
	for i := range 32 {
		tokens[string(rune('A'+i))] = i
	}
	bytes := map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}
	text, err := json.Marshal(map[string]any{
		"model": map[string]any{"type": "BPE", "vocab": tokens, "merges": []string{}}, "pre_tokenizer": bytes, "decoder": bytes,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tokenizer.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	done, windows := map[*family]bool{}, 0
	for i, c := range archtest.Golden(t) {
		m := &model.Model{Dir: dir, Path: dir, Config: c.Config}
		for _, name := range c.Names() {
			m.State = append(m.State, model.Entry{Name: name, Source: c.Tensor(name)})
		}
		path := filepath.Join(dir, fmt.Sprintf("%d.gguf", i))
		if err := Save(context.Background(), path, m, model.SaveOptions{Type: "F32"}); err != nil {
			if text := err.Error(); !strings.Contains(text, "cannot say") && !strings.Contains(text, "cannot be ") && !strings.Contains(text, "no form in GGUF") {
				t.Errorf("%s: %v", c.Name, err)
			}
			continue
		}
		back := open(t, Open, path)
		for _, key := range []string{"model_type", "sliding_window", "max_position_embeddings"} {
			if want, have := c.Config[key], back.Config[key]; want != nil && have != nil && fmt.Sprint(want) != fmt.Sprint(have) {
				t.Errorf("%s: %s is %v, was %v", c.Name, key, have, want)
			}
		}
		windows += len(notesOf(t, m))
		sameState(t, c, back)
		c.Check(t, back.Graph)
		fam, err := familyFor(m)
		if err != nil {
			t.Fatal(err)
		}
		done[fam] = true
	}
	if windows < 3 { // of Mistral, Mixtral, StarCoder2
		t.Errorf("%d files say that their context is a sliding window", windows)
	}
	for _, f := range families {
		if !done[f] {
			t.Errorf("no model of %s (%v) was written", f.name, f.types)
		}
	}
}

// TestImportanceOfExperts writes what was seen of some experts, one of them without a token, and reads it.
func TestImportanceOfExperts(t *testing.T) {
	for _, c := range archtest.Golden(t) {
		if c.Type() != "mixtral" {
			continue
		}
		m := &model.Model{Config: c.Config}
		for _, name := range c.Names() {
			m.State = append(m.State, model.Entry{Name: name, Source: c.Tensor(name)})
		}
		expert := func(i int) string { return fmt.Sprintf("model.layers.1.block_sparse_moe.experts.%d.w2.weight", i) }
		path := filepath.Join(t.TempDir(), "i.gguf")
		squares := map[string]Squares{expert(0): {[]float32{2, 4, 6}, 2}, expert(2): {[]float32{1, 1, 8}, 1}}
		if err := WriteImportance(path, m, squares, "text"); err != nil {
			t.Fatal(err)
		}
		got, err := ReadImportance(path, m)
		if err != nil || len(got) != 2 || fmt.Sprint(got[expert(0)], got[expert(2)]) != "[1 2 3] [1 1 8]" {
			t.Errorf("%v %v", got, err)
		}
		return
	}
}

// sameState compares the tensors of a model with those that it was written from.
func sameState(t *testing.T, c *archtest.Case, m *model.Model) {
	t.Helper()
	got := map[string]tensor.Source{}
	for _, e := range m.StateDict() {
		got[e.Name] = e.Source
	}
	for name := range got {
		if c.Shapes[name] == nil {
			t.Errorf("%s: %s is new", c.Name, name)
		}
	}
	for _, name := range c.Names() {
		want, err := c.Tensor(name).Load()
		if err != nil {
			t.Fatal(err)
		}
		if got[name] == nil {
			t.Errorf("%s: %s is missing", c.Name, name)
			continue
		}
		have, err := got[name].Load()
		if err != nil {
			t.Fatal(err)
		}
		off := 0.0
		for i, v := range tensor.Data[float32](want) {
			off = max(off, float64(max(v-tensor.Data[float32](have)[i], tensor.Data[float32](have)[i]-v)))
		}
		if !want.Shape.Equal(have.Shape) || off > 1e-6 { // of weights that are stored less one
			t.Errorf("%s: %s%v is %v, off by %v", c.Name, name, want.Shape, have.Shape, off)
		}
	}
}

func notesOf(t *testing.T, m *model.Model) []string {
	t.Helper()
	p, err := NewPlan(m, Options{Type: "F32"})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range p.Notes() {
		if !strings.Contains(n, "llama.cpp knows no sliding window") {
			t.Error(n)
		}
	}
	return p.Notes()
}
