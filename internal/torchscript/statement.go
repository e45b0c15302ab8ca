package torchscript

import (
	"errors"
	"fmt"

	"github.com/neurotrain/neuroquant/internal/checkpoint"
	source "github.com/neurotrain/neuroquant/internal/codec/torchscript"
	"github.com/neurotrain/neuroquant/internal/torchop"
)

// frame holds the names of a function that is followed.
type frame struct {
	file  string
	names map[string]any
	value any // what was returned
}

// How a block of statements ended.
type ending int

const (
	ran ending = iota
	returned
	broke
	continued
)

// call follows a function with arguments. The path is that of the module whose method it is.
func (p *program) call(f *function, path string, args []any, named []torchop.Arg) (any, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, fmt.Errorf("%w: functions call one another deeper than %d", checkpoint.ErrUnsupported, maxDepth)
	}
	at, outer := p.at, p.path
	p.path = path
	defer func() { p.depth, p.at, p.path = p.depth-1, at, outer }()
	fr := &frame{file: f.file, names: map[string]any{}}
	if len(args) > len(f.Params) {
		return nil, p.errorf("%s has %d parameters and is called with %d", f.Name, len(f.Params), len(args))
	}
	for i, a := range f.Params {
		switch {
		case i < len(args):
			fr.names[a.Name] = args[i]
		case a.Default != nil:
			v, err := p.eval(a.Default, fr)
			if err != nil {
				return nil, err
			}
			fr.names[a.Name] = v
		}
	}
	for _, a := range named {
		fr.names[a.Name] = a.Value
	}
	for _, a := range f.Params {
		if _, ok := fr.names[a.Name]; !ok {
			return nil, p.errorf("%s is called without its parameter %s", f.Name, a.Name)
		}
	}
	_, err := p.block(f.Body, fr)
	return fr.value, err
}

// errorf is an error with the place in the code.
func (p *program) errorf(format string, a ...any) error {
	return fmt.Errorf("%s: %w", p.at, fmt.Errorf(format, a...))
}

func (p *program) block(list []source.Stmt, fr *frame) (ending, error) {
	for _, s := range list {
		p.at = fmt.Sprintf("%s:%d", fr.file, s.Pos())
		end, err := p.statement(s, fr)
		if err != nil || end != ran {
			return end, err
		}
	}
	return ran, nil
}

func (p *program) statement(s source.Stmt, fr *frame) (ending, error) {
	switch s := s.(type) {
	case *source.Assign:
		return ran, p.assign(s, fr)
	case *source.Return:
		if s.Value != nil {
			v, err := p.eval(s.Value, fr)
			if err != nil {
				return ran, err
			}
			fr.value = v
		}
		return returned, nil
	case *source.ExprStmt:
		_, err := p.eval(s.X, fr)
		return ran, err
	case *source.Pass:
		switch s.Keyword {
		case "break":
			return broke, nil
		case "continue":
			return continued, nil
		}
		return ran, nil
	case *source.If:
		return p.branch(s, fr)
	case *source.For:
		return p.loop(s, fr)
	case *source.While:
		return p.while(s, fr)
	case *source.With:
		if _, err := p.eval(s.Context, fr); err != nil {
			return ran, err
		}
		return p.block(s.Body, fr)
	case *source.Assert:
		ok, known, err := p.condition(s.Cond, fr)
		if err == nil && known && !ok {
			err = p.errorf("the assertion %v does not hold", s.Cond)
		}
		return ran, err
	case *source.Raise:
		return ran, p.errorf("the code fails: %v", s.Value)
	}
	return ran, p.errorf("a statement that is %w", checkpoint.ErrUnsupported)
}

// condition evaluates a condition; known is false where it depends on what is not known before a run.
func (p *program) condition(e source.Expr, fr *frame) (ok, known bool, err error) {
	v, err := p.eval(e, fr)
	if err != nil {
		return false, false, err
	}
	ok, known = p.b.Truth(v)
	return ok, known, nil
}

// branch takes the branch of a condition that is known. Of one that is not, a branch that only fails is not taken: it checks
// what is given at a run.
func (p *program) branch(s *source.If, fr *frame) (ending, error) {
	ok, known, err := p.condition(s.Cond, fr)
	switch {
	case err != nil:
		return ran, err
	case !known && fails(s.Then):
		ok = false
	case !known && fails(s.Else):
		ok = true
	case !known && p.b.Probing(): // whatever comes there says something
	case !known:
		return ran, p.errorf("a branch on %v, which is not known before a run, is %w; trace the model instead: torch.jit.trace(model, example)", s.Cond, checkpoint.ErrUnsupported)
	}
	if ok {
		return p.block(s.Then, fr)
	}
	return p.block(s.Else, fr)
}

// fails reports whether statements end in an exception.
func fails(list []source.Stmt) bool {
	if len(list) == 0 {
		return false
	}
	for _, s := range list {
		switch s := s.(type) {
		case *source.Raise:
			return true
		case *source.ExprStmt:
			if c, ok := s.X.(*source.Call); ok && c.Func.String() == "ops.prim.RaiseException" {
				return true
			}
		}
	}
	return false
}

func (p *program) loop(s *source.For, fr *frame) (ending, error) {
	v, err := p.eval(s.Seq, fr)
	if err != nil {
		return ran, err
	}
	items, ok := torchop.Items(v)
	if d, is := v.(*torchop.Dict); is {
		items, ok = d.Keys, true
	}
	if t, is := v.(*torchop.Tensor); is {
		l, isList := p.b.Call("unbind", []any{t}, nil).(*torchop.List)
		if isList {
			items, ok = l.Items, true
		}
	}
	if !ok {
		return ran, p.errorf("a loop over a %s is %w", torchop.TypeName(v), checkpoint.ErrUnsupported)
	}
	for _, x := range append([]any(nil), items...) {
		if err := p.bind(s.Targets, len(s.Targets) > 1, x, fr); err != nil {
			return ran, err
		}
		end, err := p.block(s.Body, fr)
		if err != nil || end == returned {
			return end, err
		}
		if end == broke {
			break
		}
	}
	return ran, nil
}

func (p *program) while(s *source.While, fr *frame) (ending, error) {
	for {
		ok, known, err := p.condition(s.Cond, fr)
		if err == nil && !known {
			err = p.errorf("a loop while %v, which is not known before a run, is %w", s.Cond, checkpoint.ErrUnsupported)
		}
		if err != nil || !ok {
			return ran, err
		}
		end, err := p.block(s.Body, fr)
		if err != nil || end == returned {
			return end, err
		}
		if end == broke {
			return ran, nil
		}
	}
}

func (p *program) assign(s *source.Assign, fr *frame) error {
	v, err := p.eval(s.Value, fr)
	if err != nil {
		return err
	}
	if s.Op != "" {
		old, err := p.eval(s.Targets[0], fr)
		if err != nil {
			return err
		}
		v = p.b.Call(operators[s.Op], []any{old, v}, nil)
	}
	return p.bind(s.Targets, s.Unpack, v, fr)
}

// bind gives a value to a target, or the elements of a sequence to several.
func (p *program) bind(targets []source.Expr, unpack bool, v any, fr *frame) error {
	if !unpack {
		return p.set(targets[0], v, fr)
	}
	if _, missing := v.(torchop.Missing); missing {
		for _, t := range targets {
			if err := p.set(t, v, fr); err != nil {
				return err
			}
		}
		return nil
	}
	items, ok := p.b.Unpack(v, len(targets))
	if !ok {
		return p.errorf("a %s of %d values for %d names", torchop.TypeName(v), len(items), len(targets))
	}
	for i, t := range targets {
		if err := p.set(t, items[i], fr); err != nil {
			return err
		}
	}
	return nil
}

func (p *program) set(target source.Expr, v any, fr *frame) error {
	switch t := target.(type) {
	case *source.Name:
		fr.names[t.Id] = v
		return nil
	case *source.Attr:
		x, err := p.eval(t.X, fr)
		if err != nil {
			return err
		}
		o, ok := x.(*object)
		if !ok {
			return p.errorf("attribute %s of a %s cannot be set", t.Name, torchop.TypeName(x))
		}
		o.attrs[t.Name] = v
		return nil
	case *source.Index:
		x, err := p.eval(t.X, fr)
		if err != nil {
			return err
		}
		i, err := p.eval(t.I, fr)
		if err != nil {
			return err
		}
		if d, ok := x.(*torchop.Dict); ok {
			return d.Set(i, v)
		}
		p.b.Call("_set_item", []any{x, i, v}, nil)
		return nil
	}
	return errors.New("a target that is no name")
}
