package shapes

import (
	"path/filepath"
	"testing"

	"github.com/neurotrain/neuroquant/internal/format/hf"
	"github.com/neurotrain/neuroquant/tensor"
)

// TestDecoder opens small checkpoints: the weights are those that the shape says, drawn anew from the same seed.
func TestDecoder(t *testing.T) {
	for _, d := range []Decoder{
		{Type: "llama", Layers: 2, Hidden: 64, Inner: 96, Heads: 4, KVHeads: 2, Vocabulary: 300, RopeTheta: 1e4, Seed: 3},
		{Type: "qwen2", Layers: 1, Hidden: 32, Inner: 64, Heads: 2, KVHeads: 1, Vocabulary: 258, RopeTheta: 1e4, Seed: 3},
	} {
		var first []byte
		for range 2 {
			dir := filepath.Join(t.TempDir(), "model")
			if err := d.WriteCheckpoint(dir); err != nil {
				t.Fatal(err)
			}
			m, err := hf.Open(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			matrices := 0
			for _, e := range m.StateDict() {
				if len(e.Shape()) == 2 && e.Name != "model.embed_tokens.weight" {
					matrices += e.Shape().Len()
				}
				w, err := e.Load()
				if err != nil {
					t.Fatal(err)
				}
				if e.DType() != tensor.Float16 {
					t.Errorf("%s is %v", e.Name, e.DType())
				}
				if e.Name == "model.embed_tokens.weight" {
					if first == nil {
						first = append(first, w.Bytes()...)
					} else if string(first) != string(w.Bytes()) {
						t.Error("the same seed gives other weights")
					}
				}
			}
			if matrices != d.Matrices() {
				t.Errorf("%d weights in matrices, Matrices says %d", matrices, d.Matrices())
			}
			tok, err := m.OpenTokenizer()
			if err != nil {
				t.Fatal(err)
			}
			const text = "then: ä\n"
			ids, err := tok.Encode(text, false)
			if err != nil {
				t.Fatal(err)
			}
			if got := tok.Decode(ids, false); got != text || ids[0] != 256 {
				t.Errorf("%q became %v and that %q", text, ids, got)
			}
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := (Decoder{}).WriteCheckpoint(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a shape without sizes was accepted")
	}
}
