package jinja

import (
	"fmt"
	"strconv"
)

// tupleOrExpr reads an expression, or several with commas between.
func (p *parser) tupleOrExpr() (expr, error) { return p.tupleOf(p.expr) }

func (p *parser) tupleOf(part func() (expr, error)) (expr, error) {
	line := p.peek().line
	first, err := part()
	if err != nil || !p.isOp(",") {
		return first, err
	}
	items := []expr{first}
	for p.op(",") {
		if k := p.peek().kind; k == tokenBlockEnd || k == tokenOutputEnd || p.isOp(")") {
			break
		}
		e, err := part()
		if err != nil {
			return nil, err
		}
		items = append(items, e)
	}
	return listExpr{items, true, line}, nil
}

// expr reads an expression with its condition: a if b else c.
func (p *parser) expr() (expr, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, p.errorf("expressions are nested more than %d deep", maxDepth)
	}
	defer func() { p.depth-- }()
	e, err := p.or()
	for err == nil && p.peek().kind == tokenName && p.peek().text == "if" {
		p.at++
		c := condExpr{yes: e}
		if c.condition, err = p.or(); err != nil {
			return nil, err
		}
		if p.word("else") {
			if c.no, err = p.expr(); err != nil {
				return nil, err
			}
		}
		e = c
	}
	return e, err
}

func (p *parser) or() (expr, error) {
	left, err := p.and()
	for err == nil && p.word("or") {
		var right expr
		if right, err = p.and(); err == nil {
			left = logicExpr{left, right, true}
		}
	}
	return left, err
}

func (p *parser) and() (expr, error) {
	left, err := p.not()
	for err == nil && p.word("and") {
		var right expr
		if right, err = p.not(); err == nil {
			left = logicExpr{left, right, false}
		}
	}
	return left, err
}

func (p *parser) not() (expr, error) {
	if p.word("not") {
		if p.depth++; p.depth > maxDepth {
			return nil, p.errorf("expressions are nested more than %d deep", maxDepth)
		}
		defer func() { p.depth-- }()
		e, err := p.not()
		return notExpr{e}, err
	}
	return p.compare()
}

func (p *parser) compare() (expr, error) {
	line := p.peek().line
	first, err := p.sum()
	if err != nil {
		return nil, err
	}
	c := compareExpr{first: first, line: line}
	for {
		t := p.peek()
		op := ""
		switch {
		case t.kind == tokenOperator && (t.text == "==" || t.text == "!=" || t.text == "<" || t.text == "<=" || t.text == ">" || t.text == ">="):
			op = t.text
			p.at++
		case p.word("in"):
			op = "in"
		case t.kind == tokenName && t.text == "not" && p.tokens[p.at+1].kind == tokenName && p.tokens[p.at+1].text == "in":
			p.at += 2
			op = "not in"
		}
		if op == "" {
			break
		}
		right, err := p.sum()
		if err != nil {
			return nil, err
		}
		c.ops, c.rest = append(c.ops, op), append(c.rest, right)
	}
	if len(c.ops) == 0 {
		return first, nil
	}
	return c, nil
}

// binary reads operators of one precedence, from left to right.
func (p *parser) binary(part func() (expr, error), ops ...string) (expr, error) {
	left, err := part()
	for err == nil {
		op, line := "", p.peek().line
		for _, o := range ops {
			if p.op(o) {
				op = o
				break
			}
		}
		if op == "" {
			break
		}
		var right expr
		if right, err = part(); err == nil {
			left = binaryExpr{op, left, right, line}
		}
	}
	return left, err
}

func (p *parser) sum() (expr, error)    { return p.binary(p.joined, "+", "-") }
func (p *parser) joined() (expr, error) { return p.binary(p.product, "~") }
func (p *parser) product() (expr, error) {
	return p.binary(func() (expr, error) { return p.unary(true) }, "*", "//", "/", "%")
}

func (p *parser) unary(withFilter bool) (expr, error) {
	line := p.peek().line
	var e expr
	var err error
	switch {
	case p.isOp("-") || p.isOp("+"):
		if p.depth++; p.depth > maxDepth {
			return nil, p.errorf("expressions are nested more than %d deep", maxDepth)
		}
		defer func() { p.depth-- }()
		minus := p.next().text == "-"
		if e, err = p.unary(false); err == nil {
			e = signExpr{e, minus, line}
		}
	default:
		e, err = p.primary()
	}
	if err != nil {
		return nil, err
	}
	if e, err = p.postfix(e); err != nil {
		return nil, err
	}
	if p.op("**") {
		right, err := p.unary(false)
		if err != nil {
			return nil, err
		}
		e = binaryExpr{"**", e, right, line}
	}
	if withFilter {
		return p.filters(e)
	}
	return e, nil
}

func (p *parser) primary() (expr, error) {
	t := p.next()
	switch t.kind {
	case tokenName:
		switch t.text {
		case "true", "True":
			return constExpr{true}, nil
		case "false", "False":
			return constExpr{false}, nil
		case "none", "None":
			return constExpr{nil}, nil
		}
		return nameExpr{t.text, t.line}, nil
	case tokenString:
		s := t.text
		for p.peek().kind == tokenString {
			s += p.next().text
		}
		return constExpr{s}, nil
	case tokenInt:
		v, err := strconv.ParseInt(t.text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("line %d: the number %s is too large", t.line, t.text)
		}
		return constExpr{v}, nil
	case tokenFloat:
		v, err := strconv.ParseFloat(t.text, 64)
		if err != nil {
			return nil, fmt.Errorf("line %d: %q is no number", t.line, t.text)
		}
		return constExpr{v}, nil
	case tokenOperator:
		switch t.text {
		case "(":
			if p.op(")") {
				return listExpr{nil, true, t.line}, nil
			}
			e, err := p.tupleOrExpr()
			if err != nil {
				return nil, err
			}
			return e, p.expectOp(")")
		case "[":
			items, err := p.list("]")
			return listExpr{items, false, t.line}, err
		case "{":
			return p.dict(t.line)
		}
	}
	p.at--
	if t.kind == tokenEOF {
		p.at++
	}
	return nil, fmt.Errorf("line %d: want an expression, got %s", t.line, t)
}

// list reads expressions with commas between, up to end.
func (p *parser) list(end string) ([]expr, error) {
	var items []expr
	for !p.op(end) {
		if len(items) > 0 {
			if err := p.expectOp(","); err != nil {
				return nil, err
			}
			if p.op(end) {
				break
			}
		}
		e, err := p.expr()
		if err != nil {
			return nil, err
		}
		items = append(items, e)
	}
	return items, nil
}

func (p *parser) dict(line int) (expr, error) {
	d := dictExpr{line: line}
	for !p.op("}") {
		if len(d.keys) > 0 {
			if err := p.expectOp(","); err != nil {
				return nil, err
			}
			if p.op("}") {
				break
			}
		}
		k, err := p.expr()
		if err != nil {
			return nil, err
		}
		if err := p.expectOp(":"); err != nil {
			return nil, err
		}
		v, err := p.expr()
		if err != nil {
			return nil, err
		}
		d.keys, d.values = append(d.keys, k), append(d.values, v)
	}
	return d, nil
}

// postfix reads .name, [index] and calls.
func (p *parser) postfix(e expr) (expr, error) {
	for {
		line := p.peek().line
		var err error
		switch {
		case p.op("."):
			if t := p.peek(); t.kind == tokenInt {
				p.at++
				i, err := strconv.ParseInt(t.text, 10, 64)
				if err != nil {
					return nil, p.errorf("the number %s is too large", t.text)
				}
				e = itemExpr{e, constExpr{i}, line}
				continue
			}
			name, err := p.name()
			if err != nil {
				return nil, err
			}
			e = attrExpr{e, name, line}
		case p.op("["):
			if e, err = p.subscript(e, line); err != nil {
				return nil, err
			}
		case p.op("("):
			c := callExpr{callee: e, line: line}
			if c.args, err = p.arguments(); err != nil {
				return nil, err
			}
			e = c
		default:
			return e, nil
		}
	}
}

func (p *parser) subscript(e expr, line int) (expr, error) {
	var parts [3]expr
	n := 0
	slice := false
	for {
		switch {
		case p.op("]"):
			if !slice && parts[0] == nil {
				return nil, p.errorf("an index is missing")
			}
			if slice {
				return sliceExpr{e, parts, line}, nil
			}
			return itemExpr{e, parts[0], line}, nil
		case p.op(":"):
			if n++; n > 2 {
				return nil, p.errorf("a slice has more than three parts")
			}
			slice = true
		case parts[n] == nil:
			var err error
			if parts[n], err = p.expr(); err != nil {
				return nil, err
			}
		default:
			return nil, p.errorf("want ], got %s", p.peek())
		}
	}
}

// arguments reads up to the closing parenthesis.
func (p *parser) arguments() (arguments, error) {
	var a arguments
	for first := true; !p.op(")"); first = false {
		if !first {
			if err := p.expectOp(","); err != nil {
				return a, err
			}
			if p.op(")") {
				break
			}
		}
		if double := p.isOp("**"); double || p.isOp("*") {
			p.at++
			e, err := p.expr()
			if err != nil {
				return a, err
			}
			if double {
				a.mapping = append(a.mapping, e)
			} else {
				a.plain = append(a.plain, spreadExpr{e})
			}
			continue
		}
		name := ""
		if t := p.peek(); t.kind == tokenName && p.tokens[p.at+1].kind == tokenOperator && p.tokens[p.at+1].text == "=" {
			name = t.text
			p.at += 2
		}
		e, err := p.expr()
		if err != nil {
			return a, err
		}
		if name != "" {
			a.names, a.named = append(a.names, name), append(a.named, e)
		} else if len(a.names) > 0 {
			return a, p.errorf("an argument without a name follows one with a name")
		} else {
			a.plain = append(a.plain, e)
		}
	}
	return a, nil
}

// filters reads |filter and is tests after an expression.
func (p *parser) filters(e expr) (expr, error) {
	for {
		var err error
		switch {
		case p.op("|"):
			e, err = p.filter(e)
		case p.word("is"):
			e, err = p.test(e)
		case p.isOp("("):
			line := p.next().line
			c := callExpr{callee: e, line: line}
			c.args, err = p.arguments()
			e = c
		default:
			return e, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func (p *parser) filter(e expr) (expr, error) {
	f := filterExpr{of: e, line: p.peek().line}
	var err error
	if f.name, err = p.name(); err != nil {
		return nil, err
	}
	if builtinFilters[f.name] == nil {
		return nil, fmt.Errorf("line %d: the filter %q is not supported; supported are %s", f.line, f.name, known(builtinFilters))
	}
	if p.op("(") {
		f.args, err = p.arguments()
	}
	return f, err
}

func (p *parser) test(e expr) (expr, error) {
	t := testExpr{of: e, line: p.peek().line, negated: p.word("not")}
	var err error
	if t.name, err = p.name(); err != nil {
		return nil, err
	}
	if builtinTests[t.name] == nil {
		return nil, fmt.Errorf("line %d: the test %q is not supported; supported are %s", t.line, t.name, known(builtinTests))
	}
	if p.op("(") {
		t.args, err = p.arguments()
		return t, err
	}
	// A test may take one argument without parentheses.
	next := p.peek()
	word := next.kind == tokenName && next.text != "else" && next.text != "or" && next.text != "and" && next.text != "is" && next.text != "if" && next.text != "in" && next.text != "not"
	if next.kind == tokenString || next.kind == tokenInt || next.kind == tokenFloat || word || p.isOp("[") || p.isOp("{") {
		arg, err := p.primary()
		if err != nil {
			return nil, err
		}
		if arg, err = p.postfix(arg); err != nil {
			return nil, err
		}
		t.args.plain = []expr{arg}
	}
	return t, nil
}
