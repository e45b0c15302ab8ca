package op

import (
	"slices"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

func words(v ...string) *tensor.Tensor { return tensor.Strings(tensor.Shape{len(v)}, v) }

// TestText compares with Python's str.split, re2.fullmatch and ONNX Runtime's StringNormalizer.
func TestText(t *testing.T) {
	for _, c := range []struct {
		op    graph.Op
		in    []*tensor.Tensor
		shape tensor.Shape
		want  []string
	}{
		{newOp(t, "StringConcat"), []*tensor.Tensor{tensor.Strings(tensor.Shape{2, 1}, []string{"a", "b"}), words("x", "é")}, tensor.Shape{2, 2}, []string{"ax", "aé", "bx", "bé"}},
		{newOp(t, "StringSplit", "maxsplit", int64(1)), []*tensor.Tensor{words("  1  2   3  ", "", " a")}, tensor.Shape{3, 2}, []string{"1", "2   3  ", "", "", "a", ""}},
		{newOp(t, "StringSplit", "delimiter", "--"), []*tensor.Tensor{words("a----b", "")}, tensor.Shape{2, 3}, []string{"a", "", "b", "", "", ""}},
		{newOp(t, "StringSplit", "delimiter", "-", "maxsplit", int64(0)), []*tensor.Tensor{words("a-b")}, tensor.Shape{1, 1}, []string{"a-b"}},
		{newOp(t, "StringNormalizer", "stopwords", []string{"Monday"}, "case_change_action", "UPPER"), []*tensor.Tensor{words("monday", "Tue", "")}, tensor.Shape{2}, []string{"TUE", ""}},
		{newOp(t, "StringNormalizer", "stopwords", []string{"Monday"}, "is_case_sensitive", int64(1), "case_change_action", "LOWER"), []*tensor.Tensor{words("monday", "Monday", "ÄB")}, tensor.Shape{2}, []string{"monday", "äb"}},
		{newOp(t, "StringNormalizer", "stopwords", []string{"a"}), []*tensor.Tensor{tensor.Strings(tensor.Shape{1, 2}, []string{"a", "A"})}, tensor.Shape{1, 1}, []string{""}},
	} {
		got := mustEval(t, nil, c.op, c.in...)[0]
		if !got.Shape.Equal(c.shape) || !slices.Equal(got.Text(), c.want) {
			t.Errorf("%s of %q: got %v %q, want %v %q", c.op.Kind(), c.in[0].Text(), got.Shape, got.Text(), c.shape, c.want)
		}
	}
	for _, c := range []struct {
		pattern string
		want    []bool
	}{
		{"a|ab", []bool{true, true, false, false}},
		{"(?i)AB?", []bool{true, true, false, false}},
		{"a.*", []bool{true, true, true, false}}, // a dot does not match the end of a line
		{"", []bool{false, false, false, false}},
	} {
		got := tensor.Data[bool](mustEval(t, nil, newOp(t, "RegexFullMatch", "pattern", c.pattern), words("a", "ab", "abc", "a\nb"))[0])
		if !slices.Equal(got, c.want) {
			t.Errorf("RegexFullMatch %q: got %v, want %v", c.pattern, got, c.want)
		}
	}
	counts := mustEval(t, nil, newOp(t, "StringSplit", "delimiter", ","), words("a,b", ""))[1]
	if !slices.Equal(tensor.Data[int64](counts), []int64{2, 1}) {
		t.Errorf("StringSplit counts: got %v", tensor.Data[int64](counts))
	}
	bigrams := newOp(t, "TfIdfVectorizer", "mode", "TF", "min_gram_length", int64(2), "max_gram_length", int64(2), "max_skip_count", int64(1),
		"ngram_counts", []int64{0, 0}, "ngram_indexes", []int64{1, 0}, "pool_strings", []string{"the", "dog", "a", "cat"})
	got := mustEval(t, nil, bigrams, words("the", "a", "dog", "cat", "a", "cat"))[0]
	if !slices.Equal(tensor.Data[float32](got), []float32{2, 1}) {
		t.Errorf("TfIdfVectorizer: got %v", tensor.Data[float32](got))
	}
}
