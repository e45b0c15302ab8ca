package op

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// stringOps are the operators on text.
var stringOps = table{
	"StringConcat":     fresh[StringConcat],
	"StringSplit":      fresh[StringSplit],
	"StringNormalizer": fresh[StringNormalizer],
	"RegexFullMatch":   fresh[RegexFullMatch],
	"TfIdfVectorizer":  fresh[TfIdfVectorizer],
}

var textTypes = dtypes(tensor.String)

// textArgs checks that there are n inputs, all of them strings.
func textArgs(in []*tensor.Tensor, n int) error {
	if err := want(in, n, n); err != nil {
		return err
	}
	for i, t := range in {
		if t.DType != tensor.String {
			return fmt.Errorf("input %d: want strings, got %v", i, t.DType)
		}
	}
	return nil
}

func inferText(in []graph.Type, n int) error {
	if err := want(in, n, n); err != nil {
		return err
	}
	for i, t := range in {
		if err := textTypes.check(i, t.DType); err != nil {
			return err
		}
	}
	return nil
}

// StringConcat joins the strings of its two inputs, which are broadcast.
type StringConcat struct{}

func (*StringConcat) Kind() string { return "StringConcat" }

func (*StringConcat) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := inferText(in, 2); err != nil {
		return nil, err
	}
	return one(broadcastTypes(tensor.String, in...))
}

func (*StringConcat) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := textArgs(in, 2); err != nil {
		return nil, err
	}
	shape, err := broadcastShapes(in...)
	if err != nil {
		return nil, err
	}
	out := e.New(tensor.String, shape...)
	dst, a, b := out.Text(), in[0].Text(), in[1].Text()
	w := newBroadcast(shape, in[0].Shape, in[1].Shape)
	w.each(0, w.n, func(o, n int, at []int) {
		for i := range n {
			dst[o+i] = a[at[0]+i*w.step[0]] + b[at[1]+i*w.step[1]]
		}
	})
	return []*tensor.Tensor{out}, nil
}

// StringSplit cuts each string at Delimiter, or at runs of white space if that is empty, at most MaxSplit times. The pieces lie
// along a new last dimension, filled up with empty strings; the second output counts them.
type StringSplit struct {
	Delimiter string `attr:"delimiter"`
	MaxSplit  *int   `attr:"maxsplit"`
}

func (*StringSplit) Kind() string { return "StringSplit" }

func (o *StringSplit) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := inferText(in, 1); err != nil {
		return nil, err
	}
	y := retyped(in[0], tensor.String)
	if y.Ranked {
		y.Dims = append(slices.Clone(y.Dims), graph.Unknown)
	}
	return []graph.Type{y, retyped(in[0], tensor.Int64)}, nil
}

func (o *StringSplit) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := textArgs(in, 1); err != nil {
		return nil, err
	}
	counts := e.New(tensor.Int64, in[0].Shape.Clone()...)
	pieces := make([][]string, in[0].Len())
	most := 0
	for i, s := range in[0].Text() {
		pieces[i] = o.split(s)
		most = max(most, len(pieces[i]))
		tensor.Data[int64](counts)[i] = int64(len(pieces[i]))
	}
	shape := append(in[0].Shape.Clone(), most)
	if err := checkSize(shape); err != nil {
		return nil, err
	}
	out := e.New(tensor.String, shape...)
	for i, p := range pieces {
		copy(out.Text()[i*most:], p)
	}
	return []*tensor.Tensor{out, counts}, nil
}

func (o *StringSplit) split(s string) []string {
	n := -1
	if o.MaxSplit != nil && *o.MaxSplit >= 0 {
		n = *o.MaxSplit + 1
	}
	if o.Delimiter != "" {
		return strings.SplitN(s, o.Delimiter, n)
	}
	// The rest behind the last split keeps its inner and trailing white space.
	var out []string
	for s = strings.TrimLeftFunc(s, unicode.IsSpace); s != ""; s = strings.TrimLeftFunc(s, unicode.IsSpace) {
		end := strings.IndexFunc(s, unicode.IsSpace)
		if end < 0 || len(out) == n-1 {
			return append(out, s)
		}
		out = append(out, s[:end])
		s = s[end:]
	}
	return out
}

// StringNormalizer drops stop words from a vector (or a matrix of one row) of words and changes the case of the others. If
// nothing is left, the result is one empty string.
type StringNormalizer struct {
	CaseChangeAction string   `attr:"case_change_action,NONE"`
	IsCaseSensitive  bool     `attr:"is_case_sensitive,0"`
	Locale           string   `attr:"locale"`
	StopWords        []string `attr:"stopwords"`
}

func (*StringNormalizer) Kind() string { return "StringNormalizer" }

func (o *StringNormalizer) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := inferText(in, 1); err != nil {
		return nil, err
	}
	if !in[0].Ranked {
		return []graph.Type{graph.Unranked(tensor.String)}, nil
	}
	switch len(in[0].Dims) {
	case 1:
		return []graph.Type{graph.Ranked(tensor.String, graph.Unknown)}, nil
	case 2:
		return []graph.Type{graph.Ranked(tensor.String, graph.Known(1), graph.Unknown)}, nil
	}
	return nil, fmt.Errorf("want a vector or a matrix of one row, got rank %d", len(in[0].Dims))
}

func (o *StringNormalizer) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := textArgs(in, 1); err != nil {
		return nil, err
	}
	if r := in[0].Rank(); r != 1 && (r != 2 || in[0].Shape[0] != 1) {
		return nil, fmt.Errorf("want shape [C] or [1, C], got %v", in[0].Shape)
	}
	lower, upper := strings.ToLower, strings.ToUpper
	if strings.HasPrefix(o.Locale, "tr") || strings.HasPrefix(o.Locale, "az") {
		lower = func(s string) string { return strings.ToLowerSpecial(unicode.TurkishCase, s) }
		upper = func(s string) string { return strings.ToUpperSpecial(unicode.TurkishCase, s) }
	}
	key := func(s string) string { return s }
	if !o.IsCaseSensitive {
		key = lower
	}
	change := func(s string) string { return s }
	switch o.CaseChangeAction {
	case "NONE":
	case "LOWER":
		change = lower
	case "UPPER":
		change = upper
	default:
		return nil, fmt.Errorf("case_change_action: %q is none of NONE, LOWER, UPPER", o.CaseChangeAction)
	}
	stop := make(map[string]bool, len(o.StopWords))
	for _, w := range o.StopWords {
		stop[key(w)] = true
	}
	var words []string
	for _, w := range in[0].Text() {
		if !stop[key(w)] {
			words = append(words, change(w))
		}
	}
	if len(words) == 0 {
		words = []string{""}
	}
	shape := in[0].Shape.Clone()
	shape[len(shape)-1] = len(words)
	return []*tensor.Tensor{tensor.Strings(shape, words)}, nil
}

// RegexFullMatch tells for each string whether Pattern, in RE2 syntax, matches the whole of it.
type RegexFullMatch struct {
	Pattern string `attr:"pattern"`
}

func (*RegexFullMatch) Kind() string { return "RegexFullMatch" }

func (o *RegexFullMatch) compile() (*regexp.Regexp, error) {
	// The pattern alone must be valid: it must not close the group that is put around it.
	if _, err := regexp.Compile(o.Pattern); err != nil {
		return nil, fmt.Errorf("pattern: %w", err)
	}
	return regexp.Compile(`\A(?:` + o.Pattern + `)\z`)
}

func (o *RegexFullMatch) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := inferText(in, 1); err != nil {
		return nil, err
	}
	if _, err := o.compile(); err != nil {
		return nil, err
	}
	return []graph.Type{retyped(in[0], tensor.Bool)}, nil
}

func (o *RegexFullMatch) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := textArgs(in, 1); err != nil {
		return nil, err
	}
	re, err := o.compile()
	if err != nil {
		return nil, err
	}
	out := e.New(tensor.Bool, in[0].Shape.Clone()...)
	dst, src := tensor.Data[bool](out), in[0].Text()
	e.For(len(src), 256, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			dst[i] = re.MatchString(src[i])
		}
	})
	return []*tensor.Tensor{out}, nil
}
