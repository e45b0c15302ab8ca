package torchscript

import "fmt"

// statement parses a statement with the end of its line.
func (p *parser) statement() (Stmt, error) {
	line := Line(p.tok.line)
	if p.tok.kind == name {
		switch p.tok.s {
		case "if":
			return p.ifStmt(line)
		case "for":
			return p.forStmt(line)
		case "while":
			return p.whileStmt(line)
		case "with":
			return p.withStmt(line)
		}
	}
	s, err := p.simple(line)
	if err != nil {
		return nil, err
	}
	return s, p.endLine()
}

// simple parses a statement of one line.
func (p *parser) simple(line Line) (Stmt, error) {
	if p.tok.kind == name {
		switch kw := p.tok.s; kw {
		case "return":
			if err := p.advance(); err != nil {
				return nil, err
			}
			if p.tok.kind == newline || p.tok.kind == eof || p.tok.kind == dedent {
				return &Return{Line: line}, nil
			}
			v, err := p.expressions()
			return &Return{line, v}, err
		case "pass", "break", "continue":
			return &Pass{line, kw}, p.advance()
		case "assert":
			return p.assert(line)
		case "raise":
			if err := p.advance(); err != nil {
				return nil, err
			}
			v, err := p.expression()
			return &Raise{line, v}, err
		}
	}
	return p.assignment(line)
}

func (p *parser) assert(line Line) (Stmt, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	s := &Assert{Line: line}
	var err error
	if s.Cond, err = p.expression(); err != nil {
		return nil, err
	}
	if ok, err := p.accept(","); err != nil || !ok {
		return s, err
	}
	s.Msg, err = p.expression()
	return s, err
}

var augmented = map[string]string{
	"+=": "+", "-=": "-", "*=": "*", "/=": "/", "//=": "//", "%=": "%", "**=": "**", "@=": "@", "&=": "&", "|=": "|", "^=": "^", "<<=": "<<", ">>=": ">>",
}

// assignment parses an assignment, or an expression that is evaluated for its effect.
func (p *parser) assignment(line Line) (Stmt, error) {
	x, err := p.expressions()
	if err != nil {
		return nil, err
	}
	s := &Assign{Line: line, Targets: []Expr{x}}
	switch {
	case p.is(":"):
		if err := p.advance(); err != nil {
			return nil, err
		}
		if s.Type, err = p.expression(); err != nil {
			return nil, err
		}
		if !p.is("=") {
			return &Pass{line, "pass"}, p.target(x) // a declaration alone
		}
	case p.tok.kind == symbol && augmented[p.tok.s] != "":
		s.Op = augmented[p.tok.s]
	case !p.is("="):
		return &ExprStmt{line, x}, nil
	}
	if t, ok := x.(*Tuple); ok {
		s.Targets, s.Unpack = t.Items, true
	}
	for _, t := range s.Targets {
		if err := p.target(t); err != nil {
			return nil, err
		}
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	s.Value, err = p.expressions()
	return s, err
}

// target checks that a value can be bound to an expression.
func (p *parser) target(x Expr) error {
	switch x := x.(type) {
	case *Name, *Attr, *Index:
		return nil
	case *Tuple:
		return &Error{p.file, x.Pos(), "a tuple within a tuple cannot be assigned to"}
	}
	return &Error{p.file, x.Pos(), fmt.Sprintf("%v cannot be assigned to", x)}
}

func (p *parser) ifStmt(line Line) (Stmt, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	s := &If{Line: line}
	var err error
	if s.Cond, err = p.expression(); err != nil {
		return nil, err
	}
	if s.Then, err = p.body(); err != nil {
		return nil, err
	}
	switch {
	case p.is("elif"):
		if p.depth++; p.depth > maxNest {
			return nil, p.fail(fmt.Sprintf("at most %d branches of one if", maxNest))
		}
		defer func() { p.depth-- }()
		e, err := p.ifStmt(Line(p.tok.line))
		s.Else = []Stmt{e}
		return s, err
	case p.is("else"):
		if err := p.advance(); err != nil {
			return nil, err
		}
		s.Else, err = p.body()
	}
	return s, err
}

func (p *parser) forStmt(line Line) (Stmt, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	s := &For{Line: line}
	for {
		n, err := p.identifier()
		if err != nil {
			return nil, err
		}
		s.Targets = append(s.Targets, &Name{line, n})
		ok, err := p.accept(",")
		if err != nil {
			return nil, err
		}
		if !ok || p.is("in") {
			break
		}
	}
	if err := p.expect("in"); err != nil {
		return nil, err
	}
	var err error
	if s.Seq, err = p.expressions(); err != nil {
		return nil, err
	}
	s.Body, err = p.body()
	return s, err
}

func (p *parser) whileStmt(line Line) (Stmt, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	s := &While{Line: line}
	var err error
	if s.Cond, err = p.expression(); err != nil {
		return nil, err
	}
	s.Body, err = p.body()
	return s, err
}

func (p *parser) withStmt(line Line) (Stmt, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	s := &With{Line: line}
	var err error
	if s.Context, err = p.expression(); err != nil {
		return nil, err
	}
	if ok, err := p.accept("as"); err != nil {
		return nil, err
	} else if ok {
		n, err := p.identifier()
		if err != nil {
			return nil, err
		}
		s.As = &Name{line, n}
	}
	s.Body, err = p.body()
	return s, err
}
