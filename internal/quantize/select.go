package quantize

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/graph"
)

// selection applies the Keep and Only patterns of a recipe and notices patterns that match nothing.
type selection struct {
	keep, only []pattern
	tables     []string // of embeddings, which are no layers
}

type pattern struct {
	text string
	re   *regexp.Regexp
	hit  bool
}

func newSelection(r Recipe) (*selection, error) {
	s := &selection{}
	var errs []error
	compile := func(list []string) []pattern {
		var out []pattern
		for _, p := range list {
			if strings.TrimSpace(p) == "" {
				errs = append(errs, errors.New("an empty layer pattern"))
				continue
			}
			expr := "^" + strings.ReplaceAll(regexp.QuoteMeta(p), `\*`, ".*") + "$"
			out = append(out, pattern{text: p, re: regexp.MustCompile(expr)})
		}
		return out
	}
	s.keep, s.only = compile(r.Keep), compile(r.Only)
	return s, errors.Join(errs...)
}

// judge reports whether the layer is to be left alone, and why, and whether an Only pattern asks for it. Patterns are matched
// with the layer's name (with and without the names of the nodes around it), its weights' names and its operator.
func (s *selection) judge(at site, weights ...*graph.Value) (why string, skip, asked bool) {
	keep, only := match(s.keep, at, weights), match(s.only, at, weights)
	switch {
	case keep != "":
		return fmt.Sprintf("kept by pattern %q", keep), true, false
	case len(s.only) > 0 && only == "":
		return "no --only pattern matches", true, false
	}
	return "", false, only != ""
}

// keeps reports whether a Keep pattern names an operator that has no weights, and which.
func (s *selection) keeps(at site) (why string, skip bool) {
	if keep := match(s.keep, at, nil); keep != "" {
		return fmt.Sprintf("kept by pattern %q", keep), true
	}
	return "", false
}

// match returns the first pattern of the list that matches and notes all that do.
func match(list []pattern, at site, weights []*graph.Value) string {
	found := ""
	for i := range list {
		p := &list[i]
		ok := p.re.MatchString(at.layer) || p.re.MatchString(at.n.Name) || p.re.MatchString(at.n.Op.Kind())
		for _, w := range weights {
			ok = ok || w != nil && p.re.MatchString(w.Name)
		}
		if ok {
			p.hit = true
			if found == "" {
				found = p.text
			}
		}
	}
	return found
}

// check reports the patterns that matched no layer, with the names they could have matched.
func (s *selection) check(layers []string) error {
	var errs []error
	missed := func(flag string, list []pattern) {
		for _, p := range list {
			if p.hit {
				continue
			}
			if at := slices.IndexFunc(s.tables, func(name string) bool { return p.re.MatchString(name) || p.re.MatchString(name+".weight") }); at >= 0 && flag == "--only" {
				errs = append(errs, fmt.Errorf("%s pattern %q asks for the embedding %q: %s", flag, p.text, s.tables[at], noTables))
			} else {
				errs = append(errs, fmt.Errorf("%s pattern %q matches no layer; layers are %s", flag, p.text, abbreviate(layers)))
			}
		}
	}
	missed("--keep", s.keep)
	missed("--only", s.only)
	return errors.Join(errs...)
}

// noTables says why tables of embeddings have no codes.
const noTables = "transformers, gptqmodel and vLLM read embeddings in float from all layouts of quantized checkpoints and would not load codes; " +
	"llama.cpp does, from GGUF files: 'neuroquant convert MODEL OUT.gguf --type Q4_K_M' writes them"

// tablesOf lists the tables of embeddings of a graph, as checkpoints name modules.
func tablesOf(g *graph.Graph) []string {
	var out []string
	for _, n := range g.Nodes {
		if n.Op.Kind() != "Gather" || !g.IsParam(n.In[0]) {
			continue
		}
		if name, ok := strings.CutSuffix(n.In[0].Name, ".weight"); ok && len(n.In[0].Data.Shape()) == 2 {
			out = append(out, name)
		}
	}
	return out
}

func abbreviate(names []string) string {
	const most = 12
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s, ... (%d in all)", strings.Join(names[:most], ", "), len(names))
}
