package neuroquant_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/neurotrain/neuroquant/internal/material"
	"github.com/neurotrain/neuroquant/tensor"
)

// TestTextsOfAFileWithItsOwnTokenizer cuts the same texts for a folder and for a GGUF file with no tokenizer beside it.
func TestTextsOfAFileWithItsOwnTokenizer(t *testing.T) {
	dir := material.Path(t, "data/stories260k")
	list, whole := filepath.Join(t.TempDir(), "a.json"), filepath.Join(t.TempDir(), "a.raw")
	for path, text := range map[string]string{list: `["A cat sat.", {"text": "The dog ran away."}]`, whole: "A cat sat."} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var want []int64
	for _, path := range []string{dir, filepath.Join(dir, "gguf/stories260k-f16.gguf")} {
		set, err := open(t, path).Texts([]string{list, whole}, 4)
		if err != nil {
			t.Fatal(err)
		}
		b, err := set.Read(t.Context(), []int{0, 1, 2})
		if err != nil {
			t.Fatal(err)
		}
		got := tensor.Data[int64](b.Inputs[0])
		if want == nil {
			want = got
		}
		if len(got) != 12 || got[0] != 1 || !slices.Equal(got, want) {
			t.Errorf("%s: %v; want %v", path, got, want)
		}
	}
}
