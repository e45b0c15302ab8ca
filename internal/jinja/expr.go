package jinja

import (
	"errors"
	"fmt"
	"math"
	"strings"
)

// expr is an expression.
type expr interface {
	eval(r *renderer, s *scope) (any, error)
}

// eval evaluates e and counts.
func (r *renderer) eval(e expr, s *scope) (any, error) {
	if r.steps++; r.steps > maxSteps {
		return nil, fmt.Errorf("rendering takes more than %d steps", maxSteps)
	}
	return e.eval(r, s)
}

func (r *renderer) evalAll(list []expr, s *scope) ([]any, error) {
	out := make([]any, len(list))
	for i, e := range list {
		var err error
		if out[i], err = r.eval(e, s); err != nil {
			return nil, err
		}
	}
	return out, nil
}

type constExpr struct{ value any }

func (e constExpr) eval(*renderer, *scope) (any, error) { return e.value, nil }

type nameExpr struct {
	name string
	line int
}

func (e nameExpr) eval(_ *renderer, s *scope) (any, error) {
	if v, ok := s.get(e.name); ok {
		return v, nil
	}
	return undefined{e.name}, nil
}

type listExpr struct {
	items []expr
	tuple bool
	line  int
}

func (e listExpr) eval(r *renderer, s *scope) (any, error) {
	items, err := r.evalAll(e.items, s)
	if e.tuple {
		return tuple(items), err
	}
	return items, err
}

type dictExpr struct {
	keys, values []expr
	line         int
}

func (e dictExpr) eval(r *renderer, s *scope) (any, error) {
	d := NewDict()
	for i := range e.keys {
		k, err := r.eval(e.keys[i], s)
		if err != nil {
			return nil, err
		}
		v, err := r.eval(e.values[i], s)
		if err != nil {
			return nil, err
		}
		if err := d.Set(k, v); err != nil {
			return nil, fmt.Errorf("line %d: %w", e.line, err)
		}
	}
	return d, nil
}

type condExpr struct{ condition, yes, no expr }

func (e condExpr) eval(r *renderer, s *scope) (any, error) {
	c, err := r.eval(e.condition, s)
	switch {
	case err != nil:
		return nil, err
	case truth(c):
		return r.eval(e.yes, s)
	case e.no == nil:
		return undefined{"the other case of an if"}, nil
	}
	return r.eval(e.no, s)
}

type logicExpr struct {
	left, right expr
	or          bool
}

func (e logicExpr) eval(r *renderer, s *scope) (any, error) {
	v, err := r.eval(e.left, s)
	if err != nil || truth(v) == e.or {
		return v, err
	}
	return r.eval(e.right, s)
}

type notExpr struct{ of expr }

func (e notExpr) eval(r *renderer, s *scope) (any, error) {
	v, err := r.eval(e.of, s)
	return !truth(v), err
}

type compareExpr struct {
	first expr
	ops   []string
	rest  []expr
	line  int
}

func (e compareExpr) eval(r *renderer, s *scope) (any, error) {
	left, err := r.eval(e.first, s)
	if err != nil {
		return nil, err
	}
	for i, op := range e.ops {
		right, err := r.eval(e.rest[i], s)
		if err != nil {
			return nil, err
		}
		ok, err := compareBy(op, left, right)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", e.line, err)
		}
		if !ok {
			return false, nil
		}
		left = right
	}
	return true, nil
}

func compareBy(op string, a, b any) (bool, error) {
	switch op {
	case "==":
		return equal(a, b), nil
	case "!=":
		return !equal(a, b), nil
	case "in", "not in":
		ok, err := contains(b, a)
		return ok == (op == "in"), err
	}
	c, err := compare(a, b)
	if err != nil {
		return false, fmt.Errorf("%s: %w", op, err)
	}
	switch op {
	case "<":
		return c < 0, nil
	case "<=":
		return c <= 0, nil
	case ">":
		return c > 0, nil
	}
	return c >= 0, nil
}

type signExpr struct {
	of    expr
	minus bool
	line  int
}

func (e signExpr) eval(r *renderer, s *scope) (any, error) {
	v, err := r.eval(e.of, s)
	if err != nil {
		return nil, err
	}
	switch n := number(v).(type) {
	case int64:
		if e.minus {
			return -n, nil
		}
		return n, nil
	case float64:
		if e.minus {
			return -n, nil
		}
		return n, nil
	}
	return nil, fmt.Errorf("line %d: a sign before %s, which is no number", e.line, typeName(v))
}

type binaryExpr struct {
	op          string
	left, right expr
	line        int
}

func (e binaryExpr) eval(r *renderer, s *scope) (any, error) {
	a, err := r.eval(e.left, s)
	if err != nil {
		return nil, err
	}
	b, err := r.eval(e.right, s)
	if err != nil {
		return nil, err
	}
	v, err := binary(e.op, a, b)
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", e.line, err)
	}
	return v, nil
}

func binary(op string, a, b any) (any, error) {
	for _, v := range []any{a, b} {
		if u, ok := v.(undefined); ok && op != "~" {
			return nil, u.err()
		}
	}
	if op == "~" {
		return joinText(toString(a), toString(b))
	}
	switch x := a.(type) {
	case string:
		switch y := b.(type) {
		case string:
			if op == "+" {
				return joinText(x, y)
			}
		case int64:
			if op == "*" {
				return repeatText(x, y)
			}
		}
		if op == "%" {
			return nil, errors.New("formatting a string with % is not supported")
		}
	case []any:
		if y, ok := b.([]any); ok && op == "+" && len(x)+len(y) <= maxRange*10 {
			return append(append(make([]any, 0, len(x)+len(y)), x...), y...), nil
		}
	case tuple:
		if y, ok := b.(tuple); ok && op == "+" && len(x)+len(y) <= maxRange*10 {
			return append(append(make(tuple, 0, len(x)+len(y)), x...), y...), nil
		}
	}
	return arithmetic(op, a, b)
}

func joinText(a, b string) (any, error) {
	if len(a)+len(b) > maxOutput {
		return nil, fmt.Errorf("a string of more than %d bytes", maxOutput)
	}
	return a + b, nil
}

func repeatText(s string, n int64) (any, error) {
	if n <= 0 || s == "" {
		return "", nil
	}
	if n > int64(maxOutput/len(s)) {
		return nil, fmt.Errorf("a string of more than %d bytes", maxOutput)
	}
	return strings.Repeat(s, int(n)), nil
}

func arithmetic(op string, a, b any) (any, error) {
	x, y := number(a), number(b)
	i, ok1 := x.(int64)
	j, ok2 := y.(int64)
	if ok1 && ok2 && op != "/" && !(op == "**" && j < 0) {
		return integerArithmetic(op, i, j)
	}
	f, ok1 := toFloat(x)
	g, ok2 := toFloat(y)
	if !ok1 || !ok2 {
		return nil, fmt.Errorf("%s %s %s is not possible", typeName(a), op, typeName(b))
	}
	switch op {
	case "+":
		return f + g, nil
	case "-":
		return f - g, nil
	case "*":
		return f * g, nil
	case "**":
		return math.Pow(f, g), nil
	}
	if g == 0 {
		return nil, errors.New("division by zero")
	}
	switch op {
	case "/":
		return f / g, nil
	case "//":
		return math.Floor(f / g), nil
	}
	m := math.Mod(f, g)
	if m != 0 && (m < 0) != (g < 0) {
		m += g
	}
	return m, nil
}

// integerArithmetic is Python's, whose division rounds down; a result beyond 64 bits is an error.
func integerArithmetic(op string, i, j int64) (any, error) {
	overflow := fmt.Errorf("%d %s %d has more than 64 bits", i, op, j)
	switch op {
	case "+":
		if v := i + j; (v > i) == (j > 0) {
			return v, nil
		}
		return nil, overflow
	case "-":
		if v := i - j; (v < i) == (j > 0) {
			return v, nil
		}
		return nil, overflow
	case "*":
		if v := i * j; i == 0 || v/i == j && !(i == -1 && j == math.MinInt64) {
			return v, nil
		}
		return nil, overflow
	case "**":
		v := int64(1)
		for range j {
			w, err := integerArithmetic("*", v, i)
			if err != nil {
				return nil, overflow
			}
			if w == v {
				break
			}
			v = w.(int64)
			if i == -1 {
				return 1 - 2*(j&1), nil
			}
		}
		return v, nil
	}
	if j == 0 {
		return nil, errors.New("division by zero")
	}
	if j == -1 {
		if op == "%" {
			return int64(0), nil
		}
		return integerArithmetic("-", 0, i)
	}
	q, m := i/j, i%j
	if m != 0 && (m < 0) != (j < 0) {
		q, m = q-1, m+j
	}
	if op == "%" {
		return m, nil
	}
	return q, nil
}

type attrExpr struct {
	of   expr
	name string
	line int
}

func (e attrExpr) eval(r *renderer, s *scope) (any, error) {
	v, err := r.eval(e.of, s)
	if err != nil {
		return nil, err
	}
	v, err = attribute(v, e.name)
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", e.line, err)
	}
	return v, nil
}

type itemExpr struct {
	of, index expr
	line      int
}

func (e itemExpr) eval(r *renderer, s *scope) (any, error) {
	v, err := r.eval(e.of, s)
	if err != nil {
		return nil, err
	}
	i, err := r.eval(e.index, s)
	if err != nil {
		return nil, err
	}
	v, err = item(v, i)
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", e.line, err)
	}
	return v, nil
}

type sliceExpr struct {
	of    expr
	parts [3]expr // nil where left out
	line  int
}

func (e sliceExpr) eval(r *renderer, s *scope) (any, error) {
	v, err := r.eval(e.of, s)
	if err != nil {
		return nil, err
	}
	var parts [3]any
	for i, p := range e.parts {
		if p != nil {
			if parts[i], err = r.eval(p, s); err != nil {
				return nil, err
			}
		}
	}
	v, err = slice(v, parts)
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", e.line, err)
	}
	return v, nil
}

type arguments struct {
	plain   []expr
	names   []string
	named   []expr
	mapping []expr // after **
}

// spreadExpr is an argument after *: its items are arguments.
type spreadExpr struct{ of expr }

func (e spreadExpr) eval(r *renderer, s *scope) (any, error) { return r.eval(e.of, s) }

func (a arguments) eval(r *renderer, s *scope) ([]any, map[string]any, error) {
	args := make([]any, 0, len(a.plain))
	for _, e := range a.plain {
		v, err := r.eval(e, s)
		if err != nil {
			return nil, nil, err
		}
		if _, spread := e.(spreadExpr); !spread {
			args = append(args, v)
			continue
		}
		items, err := iterate(v)
		if err != nil {
			return nil, nil, fmt.Errorf("*: %w", err)
		}
		args = append(args, items...)
	}
	var err error
	kwargs := make(map[string]any, len(a.names))
	for _, e := range a.mapping {
		v, err := r.eval(e, s)
		if err != nil {
			return nil, nil, err
		}
		d, ok := v.(*Dict)
		if !ok {
			return nil, nil, fmt.Errorf("**: want a mapping, got %s", typeName(v))
		}
		for _, k := range d.keys {
			kwargs[toString(k)] = d.at(k)
		}
	}
	for i, name := range a.names {
		if kwargs[name], err = r.eval(a.named[i], s); err != nil {
			return nil, nil, err
		}
	}
	return args, kwargs, nil
}

type callExpr struct {
	callee expr
	args   arguments
	line   int
}

func (e callExpr) eval(r *renderer, s *scope) (any, error) {
	if r.depth++; r.depth > maxDepth {
		return nil, fmt.Errorf("line %d: calls are nested more than %d deep", e.line, maxDepth)
	}
	defer func() { r.depth-- }()
	f, err := r.eval(e.callee, s)
	if err != nil {
		return nil, err
	}
	args, kwargs, err := e.args.eval(r, s)
	if err != nil {
		return nil, err
	}
	if name, ok := e.callee.(nameExpr); ok && name.name == "dict" && len(e.args.names) > 0 {
		f = dictOf(e.args.names) // the one function to which the order of its arguments matters
	}
	var v any
	switch f := f.(type) {
	case Function:
		v, err = f(args, kwargs)
	case *macro:
		v, err = f.call(r, args, kwargs)
	case undefined:
		err = f.err()
	default:
		err = fmt.Errorf("%s cannot be called", typeName(f))
	}
	if err != nil {
		return nil, atLine(e.line, err)
	}
	return v, nil
}

// atLine puts the line before an error, unless it has one.
func atLine(line int, err error) error {
	var stop *loopControl
	if errors.As(err, &stop) || strings.HasPrefix(err.Error(), "line ") {
		return err
	}
	var raised *RaisedError
	if errors.As(err, &raised) {
		return err
	}
	return fmt.Errorf("line %d: %w", line, err)
}

type filterExpr struct {
	of   expr
	name string
	args arguments
	line int
}

func (e filterExpr) eval(r *renderer, s *scope) (any, error) {
	v, err := r.eval(e.of, s)
	if err != nil {
		return nil, err
	}
	args, kwargs, err := e.args.eval(r, s)
	if err != nil {
		return nil, err
	}
	if v, err = applyFilter(e.name, v, args, kwargs); err != nil {
		return nil, atLine(e.line, err)
	}
	return v, nil
}

type testExpr struct {
	of      expr
	name    string
	negated bool
	args    arguments
	line    int
}

func (e testExpr) eval(r *renderer, s *scope) (any, error) {
	v, err := r.eval(e.of, s)
	if err != nil {
		return nil, err
	}
	args, kwargs, err := e.args.eval(r, s)
	if err != nil {
		return nil, err
	}
	if len(kwargs) > 0 {
		return nil, fmt.Errorf("line %d: the test %s takes no named arguments", e.line, e.name)
	}
	ok, err := builtinTests[e.name](v, args)
	if err != nil {
		return nil, fmt.Errorf("line %d: %s: %w", e.line, e.name, err)
	}
	return ok != e.negated, nil
}
