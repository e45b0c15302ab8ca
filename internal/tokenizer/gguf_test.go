package tokenizer

import (
	"reflect"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/material"
)

// A vocabulary written for GGUF and read again gives the same ids.
func TestVocabThereAndBack(t *testing.T) {
	models := map[string]string{
		"golm-15m": "gpt2 gpt-2", "stories260k": "llama ", "tokenizers/gpt2": "gpt2 gpt-2", "tokenizers/bert-base-uncased": "bert ",
	}
	for folder, want := range models {
		t.Run(folder, func(t *testing.T) {
			tok, err := Open(material.Path(t, "data/"+folder))
			if err != nil {
				t.Fatal(err)
			}
			v, err := tok.Vocab()
			if err != nil {
				t.Fatal(err)
			}
			if got := v.Model + " " + v.Pre; got != want {
				t.Errorf("model and pre %q, want %q", got, want)
			}
			back, err := FromVocab(v)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range storedCases(t, folder) {
				if strings.Contains(c.Text, "<unk>") {
					continue // the unknown token is no text in GGUF
				}
				got, err := back.Encode(c.Text, true)
				if err != nil || !reflect.DeepEqual(got, c.IDs) && len(got)+len(c.IDs) > 0 {
					t.Errorf("%q:\n got %v\nwant %v (%v)", c.Text, got, c.IDs, err)
				}
			}
		})
	}
}

func TestFromVocabErrors(t *testing.T) {
	none := Vocab{BOS: -1, EOS: -1, UNK: -1, SEP: -1, PAD: -1, CLS: -1, MASK: -1}
	cases := []struct {
		change func(*Vocab)
		want   string
	}{
		{func(v *Vocab) { v.Tokens = nil }, "no tokens"},
		{func(v *Vocab) { v.Model = "rwkv" }, `"rwkv" is not known; known are bert, gpt2, llama, t5`},
		{func(v *Vocab) { v.Merges = nil }, "needs tokenizer.ggml.merges"},
		{func(v *Vocab) { v.Pre = "nowhere" }, `"nowhere" is not known; known are bloom`},
		{func(v *Vocab) { v.EOS = 7 }, "id 7 of a special token is out of range"},
		{func(v *Vocab) { v.Types = []int32{1} }, "1 token types for 3 tokens"},
		{func(v *Vocab) { v.Merges = []string{"a c"} }, `"c" is not in the vocabulary`},
		{func(v *Vocab) { v.Merges = []string{"ab"} }, "two tokens with a space between"},
		{func(v *Vocab) { v.Model = "llama" }, "3 tokens, 0 scores"},
		{func(v *Vocab) { v.Model = "llama"; v.Types = []int32{1, 9, 1} }, "has type 9"},
	}
	for _, c := range cases {
		v := none
		v.Model, v.Tokens, v.Merges = "gpt2", []string{"a", "b", "ab"}, []string{"a b"}
		c.change(&v)
		if _, err := FromVocab(v); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}
