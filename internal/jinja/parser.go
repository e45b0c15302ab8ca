package jinja

import (
	"fmt"
	"strconv"
	"strings"
)

// parser builds the tree of a template, by recursive descent with jinja2's precedences.
type parser struct {
	tokens []token
	at     int
	depth  int
}

func (p *parser) peek() token { return p.tokens[p.at] }

func (p *parser) next() token {
	t := p.tokens[p.at]
	if t.kind != tokenEOF {
		p.at++
	}
	return t
}

func (p *parser) errorf(format string, a ...any) error {
	return fmt.Errorf("line %d: "+format, append([]any{p.peek().line}, a...)...)
}

func (t token) String() string {
	switch t.kind {
	case tokenText:
		return "text"
	case tokenOutputBegin:
		return "{{"
	case tokenOutputEnd:
		return "}}"
	case tokenBlockBegin:
		return "{%"
	case tokenBlockEnd:
		return "%}"
	case tokenEOF:
		return "the end of the template"
	}
	return strconv.Quote(t.text)
}

// op takes an operator if it is next.
func (p *parser) op(text string) bool {
	if t := p.peek(); t.kind == tokenOperator && t.text == text {
		p.at++
		return true
	}
	return false
}

// word takes a keyword if it is next.
func (p *parser) word(text string) bool {
	if t := p.peek(); t.kind == tokenName && t.text == text {
		p.at++
		return true
	}
	return false
}

func (p *parser) isOp(text string) bool {
	t := p.peek()
	return t.kind == tokenOperator && t.text == text
}

func (p *parser) expectOp(text string) error {
	if !p.op(text) {
		return p.errorf("want %q, got %s", text, p.peek())
	}
	return nil
}

func (p *parser) name() (string, error) {
	t := p.peek()
	if t.kind != tokenName {
		return "", p.errorf("want a name, got %s", t)
	}
	p.at++
	return t.text, nil
}

func (p *parser) blockEnd() error {
	if p.peek().kind != tokenBlockEnd {
		return p.errorf("want %%}, got %s", p.peek())
	}
	p.at++
	return nil
}

func (p *parser) parse() ([]node, error) {
	body, _, err := p.body()
	return body, err
}

// body reads up to a block whose name is among ends, of which it takes {% and the name; without ends up to the end.
func (p *parser) body(ends ...string) ([]node, string, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, "", p.errorf("blocks are nested more than %d deep", maxDepth)
	}
	defer func() { p.depth-- }()
	var body []node
	for {
		t := p.peek()
		switch t.kind {
		case tokenText:
			p.at++
			if t.text != "" {
				body = append(body, textNode{t.text, t.line})
			}
		case tokenOutputBegin:
			p.at++
			e, err := p.tupleOrExpr()
			if err != nil {
				return nil, "", err
			}
			if p.peek().kind != tokenOutputEnd {
				return nil, "", p.errorf("want }}, got %s", p.peek())
			}
			p.at++
			body = append(body, outputNode{e, t.line})
		case tokenBlockBegin:
			p.at++
			name, err := p.name()
			if err != nil {
				return nil, "", err
			}
			for _, end := range ends {
				if name == end {
					return body, name, nil
				}
			}
			n, err := p.statement(name, t.line)
			if err != nil {
				return nil, "", err
			}
			body = append(body, n...)
		default:
			if len(ends) > 0 {
				return nil, "", p.errorf("want %s, got %s", strings.Join(ends, " or "), t)
			}
			return body, "", nil
		}
	}
}

func (p *parser) statement(name string, line int) ([]node, error) {
	var n node
	var err error
	switch name {
	case "if":
		n, err = p.ifStatement(line)
	case "for":
		n, err = p.forStatement(line)
	case "set":
		n, err = p.setStatement(line)
	case "macro":
		n, err = p.macroStatement(line)
	case "call":
		n, err = p.callStatement(line)
	case "break", "continue":
		n, err = &loopControl{name == "continue", line}, p.blockEnd()
	case "generation": // marks what an assistant says; the text is the same
		if err := p.blockEnd(); err != nil {
			return nil, err
		}
		body, _, err := p.body("endgeneration")
		if err != nil {
			return nil, err
		}
		return body, p.blockEnd()
	default:
		return nil, fmt.Errorf("line %d: the statement %q is not supported; supported are break, call, continue, for, generation, if, macro, raw, set", line, name)
	}
	return []node{n}, err
}

func (p *parser) ifStatement(line int) (node, error) {
	n := &ifNode{line: line}
	for {
		condition, err := p.expr()
		if err != nil {
			return nil, err
		}
		if err := p.blockEnd(); err != nil {
			return nil, err
		}
		body, end, err := p.body("elif", "else", "endif")
		if err != nil {
			return nil, err
		}
		n.conditions, n.bodies = append(n.conditions, condition), append(n.bodies, body)
		if end == "elif" {
			continue
		}
		if end == "else" {
			if err := p.blockEnd(); err != nil {
				return nil, err
			}
			if n.otherwise, _, err = p.body("endif"); err != nil {
				return nil, err
			}
		}
		return n, p.blockEnd()
	}
}

// targets reads names that are assigned to, with commas between.
func (p *parser) targets() ([]string, error) {
	paren := p.op("(")
	var names []string
	for {
		name, err := p.name()
		if err != nil {
			return nil, err
		}
		if names = append(names, name); !p.op(",") {
			break
		}
	}
	if paren {
		return names, p.expectOp(")")
	}
	return names, nil
}

func (p *parser) forStatement(line int) (node, error) {
	n := &forNode{line: line}
	var err error
	if n.targets, err = p.targets(); err != nil {
		return nil, err
	}
	if !p.word("in") {
		return nil, p.errorf("want in, got %s", p.peek())
	}
	if n.over, err = p.tupleOf(p.or); err != nil { // without the conditional expression, whose if is the loop's
		return nil, err
	}
	if p.word("if") {
		if n.filter, err = p.expr(); err != nil {
			return nil, err
		}
	}
	if p.word("recursive") {
		return nil, p.errorf("recursive loops are not supported")
	}
	if err := p.blockEnd(); err != nil {
		return nil, err
	}
	end := ""
	if n.body, end, err = p.body("else", "endfor"); err != nil {
		return nil, err
	}
	if end == "else" {
		if err := p.blockEnd(); err != nil {
			return nil, err
		}
		if n.otherwise, _, err = p.body("endfor"); err != nil {
			return nil, err
		}
	}
	return n, p.blockEnd()
}

func (p *parser) setStatement(line int) (node, error) {
	n := &setNode{line: line}
	var err error
	if n.targets, err = p.targets(); err != nil {
		return nil, err
	}
	if len(n.targets) == 1 && p.op(".") {
		if n.field, err = p.name(); err != nil {
			return nil, err
		}
	}
	if p.op("=") {
		if n.value, err = p.tupleOrExpr(); err != nil {
			return nil, err
		}
		return n, p.blockEnd()
	}
	if p.isOp("|") {
		return nil, p.errorf("a filter on a set block is not supported")
	}
	if err := p.blockEnd(); err != nil {
		return nil, err
	}
	if n.body, _, err = p.body("endset"); err != nil {
		return nil, err
	}
	n.block = true
	return n, p.blockEnd()
}

func (p *parser) macroStatement(line int) (node, error) {
	n := &macroNode{line: line}
	var err error
	if n.name, err = p.name(); err != nil {
		return nil, err
	}
	if err := p.params(n); err != nil {
		return nil, err
	}
	if err := p.blockEnd(); err != nil {
		return nil, err
	}
	if n.body, _, err = p.body("endmacro"); err != nil {
		return nil, err
	}
	return n, p.blockEnd()
}

// params reads the parameters of a macro in their parentheses.
func (p *parser) params(n *macroNode) error {
	if err := p.expectOp("("); err != nil {
		return err
	}
	for !p.op(")") {
		if len(n.params) > 0 {
			if err := p.expectOp(","); err != nil {
				return err
			}
		}
		name, err := p.name()
		if err != nil {
			return err
		}
		var value expr
		if p.op("=") {
			if value, err = p.expr(); err != nil {
				return err
			}
		}
		n.params, n.defaults = append(n.params, name), append(n.defaults, value)
	}
	return nil
}

// callStatement reads {% call(params) macro(...) %}...{% endcall %}: the body is the macro's caller().
func (p *parser) callStatement(line int) (node, error) {
	n := &callNode{caller: &macroNode{name: "caller", line: line}, line: line}
	if p.isOp("(") {
		if err := p.params(n.caller); err != nil {
			return nil, err
		}
	}
	e, err := p.expr()
	if err != nil {
		return nil, err
	}
	call, ok := e.(callExpr)
	if !ok {
		return nil, fmt.Errorf("line %d: call: want the call of a macro", line)
	}
	n.call = call
	if err := p.blockEnd(); err != nil {
		return nil, err
	}
	if n.caller.body, _, err = p.body("endcall"); err != nil {
		return nil, err
	}
	return n, p.blockEnd()
}
