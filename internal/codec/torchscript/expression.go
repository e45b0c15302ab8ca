package torchscript

import (
	"fmt"
	"math"
)

// expressions parses an expression, or several with commas: a tuple.
func (p *parser) expressions() (Expr, error) {
	line := Line(p.tok.line)
	x, err := p.expression()
	if err != nil || !p.is(",") {
		return x, err
	}
	t := &Tuple{line, []Expr{x}}
	for p.is(",") {
		if err := p.advance(); err != nil {
			return nil, err
		}
		if p.ends() {
			break
		}
		if x, err = p.expression(); err != nil {
			return nil, err
		}
		t.Items = append(t.Items, x)
	}
	return t, nil
}

// ends reports whether no expression can follow here.
func (p *parser) ends() bool {
	switch p.tok.kind {
	case newline, eof, dedent:
		return true
	case symbol:
		switch p.tok.s {
		case "=", ")", "]", "}", ":":
			return true
		}
		return augmented[p.tok.s] != ""
	}
	return false
}

// expression parses "a if c else b" and all that binds tighter.
func (p *parser) expression() (Expr, error) {
	if p.depth++; p.depth > maxNest {
		return nil, &Error{p.file, p.tok.line, fmt.Sprintf("more than %d expressions in one another", maxNest)}
	}
	defer func() { p.depth-- }()
	line := Line(p.tok.line)
	x, err := p.binary(0)
	if err != nil || !p.is("if") {
		return x, err
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	c := &Cond{Line: line, Then: x}
	if c.Test, err = p.binary(0); err != nil {
		return nil, err
	}
	if err := p.expect("else"); err != nil {
		return nil, err
	}
	c.Else, err = p.expression()
	return c, err
}

// levels lists the binary operators, loosest first.
var levels = [][]string{
	{"or"}, {"and"}, {"not"}, {"==", "!=", "<", "<=", ">", ">=", "is", "in", "not"}, {"|"}, {"^"}, {"&"}, {"<<", ">>"}, {"+", "-"}, {"*", "/", "//", "%", "@"},
}

const (
	levelNot     = 2
	levelCompare = 3
)

// operator takes a binary operator of the level, if one is there.
func (p *parser) operator(level int) (string, error) {
	for _, op := range levels[level] {
		if !p.is(op) {
			continue
		}
		if err := p.advance(); err != nil {
			return "", err
		}
		switch {
		case op == "not":
			return "not in", p.expect("in")
		case op == "is" && p.is("not"):
			return "is not", p.advance()
		}
		return op, nil
	}
	return "", nil
}

func (p *parser) binary(level int) (Expr, error) {
	if level == len(levels) {
		return p.unary()
	}
	line := Line(p.tok.line)
	if level == levelNot {
		n := 0
		for p.is("not") {
			if n++; n > maxNest {
				return nil, p.fail("fewer negations")
			}
			if err := p.advance(); err != nil {
				return nil, err
			}
		}
		x, err := p.binary(level + 1)
		for ; n > 0 && err == nil; n-- {
			x = &Unary{line, "not", x}
		}
		return x, err
	}
	x, err := p.binary(level + 1)
	if err != nil {
		return nil, err
	}
	for n := 0; ; n++ {
		op, err := p.operator(level)
		if err != nil || op == "" {
			return x, err
		}
		if n == maxNest {
			return nil, p.fail(fmt.Sprintf("at most %d operators in a row", maxNest))
		}
		if level == levelCompare && n > 0 {
			return nil, &Error{p.file, p.tok.line, "a chain of comparisons; torch.jit.save does not write any"}
		}
		y, err := p.binary(level + 1)
		if err != nil {
			return nil, err
		}
		x = &Binary{line, op, x, y}
	}
}

// unary parses signs, powers and what binds tighter.
func (p *parser) unary() (Expr, error) {
	line := Line(p.tok.line)
	for _, op := range []string{"-", "+", "~"} {
		if p.is(op) {
			if p.depth++; p.depth > maxNest {
				return nil, p.fail("fewer signs")
			}
			defer func() { p.depth-- }()
			if err := p.advance(); err != nil {
				return nil, err
			}
			x, err := p.unary()
			if err != nil {
				return nil, err
			}
			return negated(line, op, x), nil
		}
	}
	x, err := p.primary()
	if err != nil || !p.is("**") {
		return x, err
	}
	if p.depth++; p.depth > maxNest {
		return nil, p.fail("fewer powers")
	}
	defer func() { p.depth-- }()
	if err := p.advance(); err != nil {
		return nil, err
	}
	y, err := p.unary()
	return &Binary{line, "**", x, y}, err
}

// negated returns a number with its sign as one literal.
func negated(line Line, op string, x Expr) Expr {
	if c, ok := x.(*Const); ok && op == "-" {
		switch v := c.Value.(type) {
		case int64:
			if v >= 0 {
				return &Const{line, -v}
			}
			if v == math.MinInt64 {
				return c
			}
		case float64:
			return &Const{line, -v}
		}
	}
	return &Unary{line, op, x}
}

// primary parses an atom with what is applied to it.
func (p *parser) primary() (Expr, error) {
	line := Line(p.tok.line)
	x, err := p.atom()
	for n := 0; err == nil; n++ {
		if n > maxNest {
			return nil, p.fail(fmt.Sprintf("at most %d calls and attributes in a row", maxNest))
		}
		switch {
		case p.is("."):
			if err := p.advance(); err != nil {
				return nil, err
			}
			if p.tok.kind != name { // keywords are attributes too: "ops.aten.is"
				return nil, p.fail("the name of an attribute")
			}
			x = &Attr{line, x, p.tok.s}
			err = p.advance()
		case p.is("("):
			x, err = p.call(line, x)
		case p.is("["):
			x, err = p.index(line, x)
		default:
			return x, nil
		}
	}
	return nil, err
}

func (p *parser) call(line Line, f Expr) (Expr, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	c := &Call{Line: line, Func: f}
	for !p.is(")") {
		x, err := p.expression()
		if err != nil {
			return nil, err
		}
		if p.is("=") {
			n, ok := x.(*Name)
			if !ok {
				return nil, p.fail("the name of an argument before it")
			}
			if err := p.advance(); err != nil {
				return nil, err
			}
			if x, err = p.expression(); err != nil {
				return nil, err
			}
			c.Kwargs = append(c.Kwargs, Kwarg{n.Id, x})
		} else {
			if len(c.Kwargs) > 0 {
				return nil, &Error{p.file, x.Pos(), "an argument without a name after one with a name"}
			}
			c.Args = append(c.Args, x)
		}
		if ok, err := p.accept(","); err != nil {
			return nil, err
		} else if !ok {
			break
		}
	}
	return c, p.expect(")")
}

func (p *parser) index(line Line, x Expr) (Expr, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	i, err := p.indexItem()
	if err != nil {
		return nil, err
	}
	if p.is(",") {
		t := &Tuple{line, []Expr{i}}
		for p.is(",") {
			if err := p.advance(); err != nil {
				return nil, err
			}
			if p.is("]") {
				break
			}
			if i, err = p.indexItem(); err != nil {
				return nil, err
			}
			t.Items = append(t.Items, i)
		}
		i = t
	}
	return &Index{line, x, i}, p.expect("]")
}

// indexItem parses an index or a slice.
func (p *parser) indexItem() (Expr, error) {
	s := &Slice{Line: Line(p.tok.line)}
	parts := []*Expr{&s.Lo, &s.Hi, &s.Step}
	colons := 0
	for {
		if p.is(":") {
			if colons++; colons > 2 {
				return nil, p.fail("\"]\"")
			}
			if err := p.advance(); err != nil {
				return nil, err
			}
			continue
		}
		if p.is("]") || p.is(",") {
			break
		}
		if *parts[colons] != nil {
			return nil, p.fail("\"]\"")
		}
		x, err := p.expression()
		if err != nil {
			return nil, err
		}
		*parts[colons] = x
	}
	switch {
	case colons > 0:
		return s, nil
	case s.Lo == nil:
		return nil, p.fail("an index")
	}
	return s.Lo, nil
}

var literals = map[string]any{
	"None": nil, "True": true, "False": false, "inf": math.Inf(1), "nan": math.NaN(), "infj": complex(0, math.Inf(1)), "nanj": complex(0, math.NaN()),
}

func (p *parser) atom() (Expr, error) {
	line := Line(p.tok.line)
	switch t := p.tok; t.kind {
	case number:
		return &Const{line, t.value}, p.advance()
	case text:
		s := t.s
		if err := p.advance(); err != nil {
			return nil, err
		}
		for p.tok.kind == text { // neighbours are one
			s += p.tok.s
			if err := p.advance(); err != nil {
				return nil, err
			}
		}
		return &Const{line, s}, nil
	case name:
		if v, ok := literals[t.s]; ok {
			return &Const{line, v}, p.advance()
		}
		n, err := p.identifier()
		return &Name{line, n}, err
	case symbol:
		switch t.s {
		case "...":
			return &Const{line, Ellipsis{}}, p.advance()
		case "(":
			return p.parenthesized(line)
		case "[":
			items, err := p.items("]")
			return &List{line, items}, err
		case "{":
			return p.dict(line)
		}
	}
	return nil, p.fail("an expression")
}

// items parses a bracket and what is in it up to the closing one.
func (p *parser) items(closing string) ([]Expr, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	var list []Expr
	for !p.is(closing) {
		x, err := p.expression()
		if err != nil {
			return nil, err
		}
		list = append(list, x)
		if ok, err := p.accept(","); err != nil {
			return nil, err
		} else if !ok {
			break
		}
	}
	return list, p.expect(closing)
}

func (p *parser) parenthesized(line Line) (Expr, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	if p.is(")") {
		return &Tuple{Line: line}, p.advance()
	}
	x, err := p.expressions()
	if err != nil {
		return nil, err
	}
	return x, p.expect(")")
}

func (p *parser) dict(line Line) (Expr, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	d := &Dict{Line: line}
	for !p.is("}") {
		k, err := p.expression()
		if err != nil {
			return nil, err
		}
		if err := p.expect(":"); err != nil {
			return nil, err
		}
		v, err := p.expression()
		if err != nil {
			return nil, err
		}
		d.Keys, d.Values = append(d.Keys, k), append(d.Values, v)
		if ok, err := p.accept(","); err != nil {
			return nil, err
		} else if !ok {
			break
		}
	}
	return d, p.expect("}")
}
