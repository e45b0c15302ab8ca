package jinja

import (
	"errors"
	"fmt"
)

// node is a part of a template that writes text or changes variables.
type node interface {
	render(r *renderer, s *scope) error
}

type textNode struct {
	text string
	line int
}

func (n textNode) render(r *renderer, _ *scope) error { return r.write(n.line, n.text) }

type outputNode struct {
	value expr
	line  int
}

func (n outputNode) render(r *renderer, s *scope) error {
	v, err := r.eval(n.value, s)
	if err != nil {
		return err
	}
	return r.write(n.line, toString(v))
}

type ifNode struct {
	conditions []expr
	bodies     [][]node
	otherwise  []node
	line       int
}

func (n *ifNode) render(r *renderer, s *scope) error {
	if err := r.step(n.line); err != nil {
		return err
	}
	for i, c := range n.conditions {
		v, err := r.eval(c, s)
		if err != nil {
			return err
		}
		if truth(v) {
			return r.run(n.bodies[i], s)
		}
	}
	return r.run(n.otherwise, s)
}

// loopControl is break or continue; while it is carried out it is the error that ends the loop's body.
type loopControl struct {
	goOn bool
	line int
}

func (n *loopControl) render(*renderer, *scope) error { return n }
func (n *loopControl) Error() string                  { return n.kind() }

func (n *loopControl) kind() string {
	if n.goOn {
		return "continue"
	}
	return "break"
}

type forNode struct {
	targets         []string
	over, filter    expr
	body, otherwise []node
	line            int
}

func (n *forNode) render(r *renderer, s *scope) error {
	over, err := r.eval(n.over, s)
	if err != nil {
		return err
	}
	items, err := iterate(over)
	if err != nil {
		return fmt.Errorf("line %d: for: %w", n.line, err)
	}
	if n.filter != nil {
		kept := make([]any, 0, len(items))
		for _, item := range items {
			inner := &scope{vars: map[string]any{}, parent: s}
			if err := assign(inner, n.targets, item, n.line); err != nil {
				return err
			}
			v, err := r.eval(n.filter, inner)
			if err != nil {
				return err
			}
			if truth(v) {
				kept = append(kept, item)
			}
		}
		items = kept
	}
	if len(items) == 0 {
		return r.run(n.otherwise, s)
	}
	loop := &loopValue{items: items}
	for i, item := range items {
		if err := r.step(n.line); err != nil {
			return err
		}
		loop.index = i
		inner := &scope{vars: map[string]any{"loop": loop}, parent: s}
		if err := assign(inner, n.targets, item, n.line); err != nil {
			return err
		}
		err := r.run(n.body, inner)
		var stop *loopControl
		if errors.As(err, &stop) {
			if stop.goOn {
				continue
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// assign sets one name to v, or several to its items.
func assign(s *scope, targets []string, v any, line int) error {
	if len(targets) == 1 {
		s.vars[targets[0]] = v
		return nil
	}
	items, err := iterate(v)
	if err != nil {
		return fmt.Errorf("line %d: %w", line, err)
	}
	if len(items) != len(targets) {
		return fmt.Errorf("line %d: %d values for %d names", line, len(items), len(targets))
	}
	for i, t := range targets {
		s.vars[t] = items[i]
	}
	return nil
}

type setNode struct {
	targets []string
	field   string // of a namespace; "" for a variable
	value   expr
	body    []node
	block   bool
	line    int
}

func (n *setNode) render(r *renderer, s *scope) error {
	if err := r.step(n.line); err != nil {
		return err
	}
	var v any
	var err error
	if n.block {
		v, err = r.capture(n.body, &scope{vars: map[string]any{}, parent: s})
	} else {
		v, err = r.eval(n.value, s)
	}
	if err != nil {
		return err
	}
	if n.field == "" {
		return assign(s, n.targets, v, n.line)
	}
	object, _ := s.get(n.targets[0])
	ns, ok := object.(*namespace)
	if !ok {
		return fmt.Errorf("line %d: %s is no namespace, so %s.%s cannot be set", n.line, n.targets[0], n.targets[0], n.field)
	}
	ns.vars[n.field] = v
	return nil
}

type macroNode struct {
	name     string
	params   []string
	defaults []expr // nil where a parameter has none
	body     []node
	line     int
}

func (n *macroNode) render(_ *renderer, s *scope) error {
	s.vars[n.name] = &macro{n, s}
	return nil
}

// call renders the macro's body to a string.
func (m *macro) call(r *renderer, args []any, kwargs map[string]any) (any, error) {
	n := m.node
	if len(args) > len(n.params) {
		return nil, fmt.Errorf("macro %s takes at most %d arguments, got %d", n.name, len(n.params), len(args))
	}
	inner := &scope{vars: map[string]any{}, parent: m.scope}
	used := 0
	if caller, ok := kwargs["caller"]; ok {
		inner.vars["caller"] = caller
		used++
	}
	for i, param := range n.params {
		switch v, named := kwargs[param]; {
		case i < len(args) && named:
			return nil, fmt.Errorf("macro %s got two values for %s", n.name, param)
		case i < len(args):
			inner.vars[param] = args[i]
		case named:
			inner.vars[param] = v
			used++
		case n.defaults[i] != nil:
			v, err := r.eval(n.defaults[i], inner)
			if err != nil {
				return nil, err
			}
			inner.vars[param] = v
		default:
			inner.vars[param] = undefined{param}
		}
	}
	if used < len(kwargs) {
		return nil, fmt.Errorf("macro %s has no such argument as one of %s", n.name, known(kwargs))
	}
	text, err := r.capture(n.body, inner)
	var stop *loopControl
	if errors.As(err, &stop) {
		return nil, fmt.Errorf("line %d: %s stands outside a loop", stop.line, stop.kind())
	}
	return text, err
}

// callNode calls a macro with its body as the function caller.
type callNode struct {
	call   callExpr
	caller *macroNode
	line   int
}

func (n *callNode) render(r *renderer, s *scope) error {
	call := n.call
	call.args.names = append(call.args.names[:len(call.args.names):len(call.args.names)], "caller")
	call.args.named = append(call.args.named[:len(call.args.named):len(call.args.named)], constExpr{&macro{n.caller, s}})
	v, err := r.eval(call, s)
	if err != nil {
		return err
	}
	return r.write(n.line, toString(v))
}
