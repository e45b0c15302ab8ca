package torchscript

import (
	"fmt"
	"slices"
	"strings"
)

// Parse parses the source text of a file. The name is for messages.
func Parse(name string, src []byte) (*File, error) {
	if len(src) > maxFile {
		return nil, fmt.Errorf("%s: %d bytes of code; accepted are %d", name, len(src), maxFile)
	}
	p := &parser{lexer: lexer{file: name, src: string(src), line: 1, indents: []int{0}, start: true}}
	if err := p.advance(); err != nil {
		return nil, err
	}
	return p.parseFile()
}

type parser struct {
	lexer
	tok   token
	depth int
}

func (p *parser) advance() error {
	t, err := p.next()
	p.tok = t
	return err
}

func (p *parser) fail(want string) error {
	return &Error{p.file, p.tok.line, fmt.Sprintf("found %v; want %s", p.tok, want)}
}

// is reports whether the present token is a symbol or a keyword.
func (p *parser) is(s string) bool {
	return (p.tok.kind == symbol || p.tok.kind == name) && p.tok.s == s
}

// accept takes a symbol or keyword if it is there.
func (p *parser) accept(s string) (bool, error) {
	if !p.is(s) {
		return false, nil
	}
	return true, p.advance()
}

func (p *parser) expect(s string) error {
	if !p.is(s) {
		return p.fail(fmt.Sprintf("%q", s))
	}
	return p.advance()
}

// keywords are names that no value has.
var keywords = map[string]bool{
	"and": true, "as": true, "assert": true, "break": true, "class": true, "continue": true, "def": true, "del": true, "elif": true, "else": true,
	"except": true, "finally": true, "for": true, "from": true, "global": true, "if": true, "import": true, "in": true, "is": true, "lambda": true,
	"nonlocal": true, "not": true, "or": true, "pass": true, "raise": true, "return": true, "try": true, "while": true, "with": true, "yield": true,
}

func (p *parser) identifier() (string, error) {
	if p.tok.kind != name || keywords[p.tok.s] {
		return "", p.fail("a name")
	}
	s := p.tok.s
	return s, p.advance()
}

func (p *parser) endLine() error {
	if _, err := p.accept(";"); err != nil {
		return err
	}
	switch p.tok.kind {
	case newline:
		return p.advance()
	case eof, dedent:
		return nil
	}
	return p.fail("the end of the line")
}

func (p *parser) parseFile() (*File, error) {
	f := &File{Name: p.file}
	for p.tok.kind != eof {
		switch {
		case p.tok.kind == newline:
			if err := p.advance(); err != nil {
				return nil, err
			}
		case p.is("class"):
			c, err := p.class()
			if err != nil {
				return nil, err
			}
			f.Classes = append(f.Classes, c)
		case p.is("def"):
			fn, err := p.function()
			if err != nil {
				return nil, err
			}
			f.Funcs = append(f.Funcs, fn)
		case p.is("import") || p.is("op_version_set"): // headers of archives before PyTorch 1.4
			for p.tok.kind != newline && p.tok.kind != eof {
				if err := p.advance(); err != nil {
					return nil, err
				}
			}
		default:
			return nil, p.fail("a class or a function")
		}
	}
	return f, nil
}

// block parses the indented lines after a colon, each by line.
func (p *parser) block(line func() error) error {
	if err := p.expect(":"); err != nil {
		return err
	}
	if p.tok.kind != newline {
		return line()
	}
	if err := p.advance(); err != nil {
		return err
	}
	if p.tok.kind != indent {
		return p.fail("an indented line")
	}
	if err := p.advance(); err != nil {
		return err
	}
	for p.tok.kind != dedent && p.tok.kind != eof {
		if p.tok.kind == newline {
			if err := p.advance(); err != nil {
				return err
			}
			continue
		}
		if err := line(); err != nil {
			return err
		}
	}
	if p.tok.kind == eof {
		return nil
	}
	return p.advance()
}

func (p *parser) class() (*Class, error) {
	c := &Class{Line: p.tok.line}
	err := p.advance()
	if err != nil {
		return nil, err
	}
	if c.Name, err = p.identifier(); err != nil {
		return nil, err
	}
	if ok, err := p.accept("("); err != nil {
		return nil, err
	} else if ok {
		if p.tok.kind == name {
			base, err := p.expression()
			if err != nil {
				return nil, err
			}
			c.Base = base.String()
		}
		if err := p.expect(")"); err != nil {
			return nil, err
		}
	}
	return c, p.block(func() error { return p.member(c) })
}

// member parses a line of a class.
func (p *parser) member(c *Class) error {
	switch {
	case p.is("def"):
		m, err := p.function()
		if err == nil {
			c.Methods = append(c.Methods, m)
		}
		return err
	case p.is("pass") || p.tok.kind == text: // a comment as Python has them
		if err := p.advance(); err != nil {
			return err
		}
		return p.endLine()
	}
	target, err := p.expression()
	if err != nil {
		return err
	}
	f := Field{}
	switch t := target.(type) {
	case *Name:
		f.Name = t.Id
	case *Index: // __annotations__["0"] = T: an attribute whose name is no identifier
		x, ok1 := t.X.(*Name)
		key, ok2 := t.I.(*Const)
		if ok1 && ok2 && x.Id == "__annotations__" {
			f.Name, _ = key.Value.(string)
		}
	}
	if f.Name == "" {
		return &Error{p.file, target.Pos(), fmt.Sprintf("found %v; want an attribute", target)}
	}
	if ok, err := p.accept(":"); err != nil {
		return err
	} else if ok {
		if f.Type, err = p.expression(); err != nil {
			return err
		}
	}
	if ok, err := p.accept("="); err != nil {
		return err
	} else if ok {
		if f.Value, err = p.expression(); err != nil {
			return err
		}
	}
	if _, isIndex := target.(*Index); isIndex {
		f.Type, f.Value = f.Value, nil
	}
	if !strings.HasPrefix(f.Name, "__") { // __parameters__ and __buffers__ say what the data says as well
		c.Fields = append(c.Fields, f)
	}
	return p.endLine()
}

func (p *parser) function() (*Func, error) {
	f := &Func{Line: p.tok.line}
	err := p.advance()
	if err != nil {
		return nil, err
	}
	if f.Name, err = p.identifier(); err != nil {
		return nil, err
	}
	if err := p.expect("("); err != nil {
		return nil, err
	}
	for !p.is(")") {
		if ok, err := p.accept("*"); err != nil { // what follows is given by name
			return nil, err
		} else if ok {
			if err := p.expect(","); err != nil {
				return nil, err
			}
			continue
		}
		a := Param{}
		if a.Name, err = p.identifier(); err != nil {
			return nil, err
		}
		if ok, err := p.accept(":"); err != nil {
			return nil, err
		} else if ok {
			if a.Type, err = p.expression(); err != nil {
				return nil, err
			}
		}
		if ok, err := p.accept("="); err != nil {
			return nil, err
		} else if ok {
			if a.Default, err = p.expression(); err != nil {
				return nil, err
			}
		}
		if slices.ContainsFunc(f.Params, func(o Param) bool { return o.Name == a.Name }) {
			return nil, &Error{p.file, p.tok.line, fmt.Sprintf("function %s has two parameters named %s", f.Name, a.Name)}
		}
		f.Params = append(f.Params, a)
		if ok, err := p.accept(","); err != nil {
			return nil, err
		} else if !ok {
			break
		}
	}
	if err := p.expect(")"); err != nil {
		return nil, err
	}
	if ok, err := p.accept("->"); err != nil {
		return nil, err
	} else if ok {
		if f.Result, err = p.expression(); err != nil {
			return nil, err
		}
	}
	f.Body, err = p.body()
	return f, err
}

// body parses the statements of a block.
func (p *parser) body() ([]Stmt, error) {
	if p.depth++; p.depth > maxNest {
		return nil, &Error{p.file, p.tok.line, fmt.Sprintf("more than %d blocks in one another", maxNest)}
	}
	defer func() { p.depth-- }()
	var list []Stmt
	err := p.block(func() error {
		s, err := p.statement()
		if err == nil {
			list = append(list, s)
		}
		return err
	})
	return list, err
}
