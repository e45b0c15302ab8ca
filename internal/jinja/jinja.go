// Package jinja renders templates in the part of the Jinja language that published chat templates use: output, if, for, set,
// macro, filters, tests, calls, Python's operators and the usual methods of strings, lists and mappings. The behavior is that
// of the library jinja2 3.1 in the environment in which transformers renders chat templates: trim_blocks and lstrip_blocks are
// on, values cannot be changed, tojson does not escape. What is not known is an error that names it with its line.
package jinja

import (
	"errors"
	"fmt"
	"strings"
)

// Limits of a rendering; a template comes with a model and may be anything.
const (
	maxTemplate = 1 << 22 // bytes
	maxOutput   = 1 << 26 // bytes
	maxSteps    = 5_000_000
	maxDepth    = 200     // of calls, and of expressions within each other
	maxRange    = 100_000 // as jinja2's sandbox has it
)

// Template is a template that was parsed. It may be used from several goroutines at once.
type Template struct{ body []node }

// Parse reads a template.
func Parse(source string) (*Template, error) {
	if len(source) > maxTemplate {
		return nil, fmt.Errorf("template of %d bytes, want at most %d", len(source), maxTemplate)
	}
	tokens, err := lex(source)
	if err != nil {
		return nil, err
	}
	p := &parser{tokens: tokens}
	body, err := p.parse()
	if err != nil {
		return nil, err
	}
	return &Template{body}, nil
}

// Function is a function that a template can call.
type Function func(args []any, kwargs map[string]any) (any, error)

// Render renders the template with variables: nil, bool, int, float64, string, []any, *Dict, map[string]any, Function, and
// what is made of them.
func (t *Template) Render(variables map[string]any) (string, error) {
	r := &renderer{}
	globals := &scope{vars: map[string]any{}}
	for name, f := range builtinFunctions {
		globals.vars[name] = f
	}
	for name, v := range variables {
		globals.vars[name] = fromGo(v)
	}
	r.root = &scope{vars: map[string]any{}, parent: globals}
	err := r.run(t.body, r.root)
	var stop *loopControl
	if errors.As(err, &stop) {
		err = fmt.Errorf("line %d: %s stands outside a loop", stop.line, stop.kind())
	}
	if err != nil {
		return "", err
	}
	return r.out.String(), nil
}

// renderer is one rendering.
type renderer struct {
	out   strings.Builder
	root  *scope
	steps int
	depth int
}

// scope holds variables; a for loop and a macro have one of their own.
type scope struct {
	vars   map[string]any
	parent *scope
}

func (s *scope) get(name string) (any, bool) {
	for ; s != nil; s = s.parent {
		if v, ok := s.vars[name]; ok {
			return v, true
		}
	}
	return nil, false
}

// step counts work, so that a hostile template ends.
func (r *renderer) step(line int) error {
	if r.steps++; r.steps > maxSteps {
		return fmt.Errorf("line %d: rendering takes more than %d steps", line, maxSteps)
	}
	return nil
}

func (r *renderer) write(line int, s string) error {
	if r.out.Len()+len(s) > maxOutput {
		return fmt.Errorf("line %d: the rendered text has more than %d bytes", line, maxOutput)
	}
	r.out.WriteString(s)
	return nil
}

func (r *renderer) run(body []node, s *scope) error {
	for _, n := range body {
		if err := n.render(r, s); err != nil {
			return err
		}
	}
	return nil
}

// capture renders body to a string of its own.
func (r *renderer) capture(body []node, s *scope) (string, error) {
	outer := r.out
	r.out = strings.Builder{}
	err := r.run(body, s)
	text := r.out.String()
	r.out = outer
	return text, err
}
