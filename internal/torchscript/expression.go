package torchscript

import (
	"fmt"
	"math"
	"strings"

	"github.com/neurotrain/neuroquant/internal/checkpoint"
	source "github.com/neurotrain/neuroquant/internal/codec/torchscript"
	"github.com/neurotrain/neuroquant/internal/torchop"
	"github.com/neurotrain/neuroquant/tensor"
)

// operators maps the operators of the language to names in the table.
var operators = map[string]string{
	"+": "add", "-": "sub", "*": "mul", "/": "div", "//": "floordiv", "%": "remainder", "**": "pow", "@": "matmul",
	"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge", "is": "__is__", "is not": "__isnot__",
	"&": "__and__", "|": "__or__", "^": "__xor__", "<<": "__lshift__", ">>": "__rshift__",
}

// qualified is a name that begins with __torch__: a function, a class, or a part of their names.
type qualified string

func (q qualified) String() string { return string(q) }

func (p *program) eval(e source.Expr, fr *frame) (any, error) {
	if p.steps++; p.steps > maxSteps {
		return nil, p.errorf("more than %d steps are %w", maxSteps, checkpoint.ErrUnsupported)
	}
	if p.steps%4096 == 0 {
		if err := p.ctx.Err(); err != nil {
			return nil, err
		}
		if n := p.b.Count(); n > maxNodes {
			return nil, p.errorf("more than %d nodes are %w", maxNodes, checkpoint.ErrUnsupported)
		}
	}
	switch e := e.(type) {
	case *source.Const:
		if n, ok := e.Value.(int64); ok {
			return torchop.N(n), nil
		}
		return e.Value, nil
	case *source.Name:
		return p.name(e, fr)
	case *source.Attr:
		return p.attr(e, fr)
	case *source.Call:
		return p.apply(e, fr)
	case *source.Index:
		return p.index(e, fr)
	case *source.List:
		items, err := p.evals(e.Items, fr)
		return &torchop.List{Items: items}, err
	case *source.Tuple:
		items, err := p.evals(e.Items, fr)
		return torchop.Tuple(items), err
	case *source.Dict:
		d := torchop.NewDict()
		for i := range e.Keys {
			k, err := p.eval(e.Keys[i], fr)
			if err != nil {
				return nil, err
			}
			v, err := p.eval(e.Values[i], fr)
			if err != nil {
				return nil, err
			}
			if err := d.Set(k, v); err != nil {
				return nil, p.errorf("%w", err)
			}
		}
		return d, nil
	case *source.Unary:
		return p.unary(e, fr)
	case *source.Binary:
		return p.binary(e, fr)
	case *source.Cond:
		ok, known, err := p.condition(e.Test, fr)
		switch {
		case err != nil:
			return nil, err
		case !known:
			return nil, p.errorf("a choice on %v, which is not known before a run, is %w", e.Test, checkpoint.ErrUnsupported)
		case ok:
			return p.eval(e.Then, fr)
		}
		return p.eval(e.Else, fr)
	}
	return nil, p.errorf("%v is %w", e, checkpoint.ErrUnsupported)
}

func (p *program) evals(list []source.Expr, fr *frame) ([]any, error) {
	out := make([]any, len(list))
	for i, e := range list {
		v, err := p.eval(e, fr)
		if err != nil {
			return nil, err
		}
		out[i] = v
	}
	return out, nil
}

func (p *program) name(e *source.Name, fr *frame) (any, error) {
	if v, ok := fr.names[e.Id]; ok {
		return v, nil
	}
	switch e.Id {
	case "__torch__":
		return qualified(e.Id), nil
	case "torch", "ops", "CONSTANTS":
		return nil, p.errorf("%s is no value", e.Id)
	}
	return nil, p.errorf("the name %q is not known", e.Id)
}

// dotted returns the full name of what an expression refers to, if it begins with a name that is no variable.
func dotted(e source.Expr, fr *frame) (string, bool) {
	switch e := e.(type) {
	case *source.Name:
		_, local := fr.names[e.Id]
		return e.Id, !local
	case *source.Attr:
		x, ok := dotted(e.X, fr)
		return x + "." + e.Name, ok
	}
	return "", false
}

func (p *program) attr(e *source.Attr, fr *frame) (any, error) {
	if name, ok := dotted(e, fr); ok {
		switch {
		case strings.HasPrefix(name, "CONSTANTS."):
			return p.constant(e.Name)
		case strings.HasPrefix(name, "__torch__."):
			return p.qualifiedValue(name)
		}
		return opaque(name), nil // torch.strided and others
	}
	x, err := p.eval(e.X, fr)
	if err != nil {
		return nil, err
	}
	return p.attribute(x, e.Name)
}

// qualifiedValue is a function, or a member of an Enum.
func (p *program) qualifiedValue(name string) (any, error) {
	module, member := split(name)
	if outer, base := split(module); outer != "" && p.file.Has("code/"+strings.ReplaceAll(outer, ".", "/")+".py") {
		c, err := p.class(module)
		if err != nil {
			return nil, err
		}
		if c != nil && c.Base == "Enum" {
			if f := c.Field(member); f != nil && f.Value != nil {
				return p.eval(f.Value, &frame{file: base})
			}
		}
	}
	return qualified(name), nil
}

// attribute returns an attribute of a value.
func (p *program) attribute(x any, name string) (any, error) {
	switch x := x.(type) {
	case torchop.Missing:
		return x, nil
	case *object:
		if v, ok := x.attrs[name]; ok {
			return v, nil
		}
		c, err := p.class(x.class)
		if err != nil {
			return nil, err
		}
		if c != nil {
			if f := c.Field(name); f != nil && f.Value != nil {
				return p.eval(f.Value, &frame{file: x.class})
			}
		}
		return nil, p.errorf("%s (%v) has no attribute %s", x.path, x, name)
	case *record:
		for i, f := range x.fields {
			if f == name && i < len(x.Tuple) {
				return x.Tuple[i], nil
			}
		}
	case *torchop.Tensor:
		switch name {
		case "dtype", "device", "shape", "requires_grad", "is_cuda", "layout", "data":
			return p.prim(name, []any{x})
		case "T":
			return p.b.Call("numpy_T", []any{x}, nil), nil
		case "mT":
			return p.b.Call("mT", []any{x}, nil), nil
		}
	case qualified:
		return p.qualifiedValue(string(x) + "." + name)
	case opaque:
		return opaque(string(x) + "." + name), nil
	case torchop.Device:
		if name == "type" {
			return string(x), nil
		}
	}
	if name == "value" || name == "name" { // of a member of an Enum
		return x, nil
	}
	return nil, p.errorf("attribute %s of a %s is %w", name, torchop.TypeName(x), checkpoint.ErrUnsupported)
}

func (p *program) index(e *source.Index, fr *frame) (any, error) {
	x, err := p.eval(e.X, fr)
	if err != nil {
		return nil, err
	}
	if s, ok := e.I.(*source.Slice); ok {
		args := []any{x, nil, nil, nil}
		for i, part := range []source.Expr{s.Lo, s.Hi, s.Step} {
			if part == nil {
				continue
			}
			if args[i+1], err = p.eval(part, fr); err != nil {
				return nil, err
			}
		}
		if _, ok := x.(*torchop.Tensor); ok {
			if args[3] == nil {
				args[3] = torchop.N(1)
			}
			return p.b.Call("slice", []any{x, torchop.N(0), args[1], args[2], args[3]}, nil), nil
		}
		return p.b.Call("slice", args, nil), nil
	}
	i, err := p.eval(e.I, fr)
	if err != nil {
		return nil, err
	}
	switch v := x.(type) {
	case *torchop.Tensor:
		return p.b.Call("select", []any{x, torchop.N(0), i}, nil), nil
	case *record:
		x = v.Tuple
	case torchop.Missing:
		return v, nil
	case *object:
		if m, err := p.method(v.class, "__getitem__"); err == nil {
			return p.call(m, v.path, []any{v, i}, nil)
		}
	}
	return p.b.Call("__getitem__", []any{x, i}, nil), nil
}

func (p *program) unary(e *source.Unary, fr *frame) (any, error) {
	x, err := p.eval(e.X, fr)
	if err != nil {
		return nil, err
	}
	switch e.Op {
	case "not":
		return p.b.Call("__not__", []any{x}, nil), nil
	case "-":
		return p.b.Call("neg", []any{x}, nil), nil
	case "~":
		return p.b.Call("bitwise_not", []any{x}, nil), nil
	}
	return x, nil
}

func (p *program) binary(e *source.Binary, fr *frame) (any, error) {
	x, err := p.eval(e.X, fr)
	if err != nil {
		return nil, err
	}
	if e.Op == "and" || e.Op == "or" {
		ok, known := p.b.Truth(x)
		if known && ok == (e.Op == "or") {
			return x, nil
		}
		y, err := p.eval(e.Y, fr)
		if err != nil || known {
			return y, err
		}
		return torchop.Undecided(e.String()), nil
	}
	y, err := p.eval(e.Y, fr)
	if err != nil {
		return nil, err
	}
	switch e.Op {
	case "in":
		return p.b.Call("__contains__", []any{y, x}, nil), nil
	case "not in":
		return p.b.Call("__not__", []any{p.b.Call("__contains__", []any{y, x}, nil)}, nil), nil
	}
	return p.b.Call(operators[e.Op], []any{x, y}, nil), nil
}

// apply calls what an expression refers to.
func (p *program) apply(e *source.Call, fr *frame) (any, error) {
	name, global := dotted(e.Func, fr)
	if global {
		if v, done, err := p.special(name, e, fr); done {
			return v, err
		}
	}
	args, err := p.evals(e.Args, fr)
	if err != nil {
		return nil, err
	}
	var named []torchop.Arg
	for _, k := range e.Kwargs {
		v, err := p.eval(k.Value, fr)
		if err != nil {
			return nil, err
		}
		named = append(named, torchop.Arg{Name: k.Name, Value: v})
	}
	if global {
		switch root, rest, _ := strings.Cut(name, "."); root {
		case "torch":
			_, base := split(name)
			return p.operator(base, args, named), nil
		case "ops":
			space, base, _ := strings.Cut(rest, ".")
			switch space {
			case "aten":
				return p.operator(base, args, named), nil
			case "prim":
				return p.prim(base, args)
			}
			return p.b.Refuse(space + "::" + base), nil
		case "__torch__":
			return p.callQualified(name, args, named)
		}
		return p.builtin(name, args)
	}
	if a, ok := e.Func.(*source.Attr); ok {
		x, err := p.eval(a.X, fr)
		if err != nil {
			return nil, err
		}
		switch x := x.(type) {
		case torchop.Missing:
			return x, nil
		case *object:
			m, err := p.method(x.class, a.Name)
			if err != nil {
				return nil, p.errorf("%w", err)
			}
			return p.follow(m, x, args, named)
		case qualified:
			return p.callQualified(string(x)+"."+a.Name, args, named)
		}
		return p.operator(a.Name, append([]any{x}, args...), named), nil // a method of a tensor or list
	}
	f, err := p.eval(e.Func, fr)
	if err != nil {
		return nil, err
	}
	if q, ok := f.(qualified); ok {
		return p.callQualified(string(q), args, named)
	}
	return nil, p.errorf("a %s cannot be called", torchop.TypeName(f))
}

// operator applies an operator of the table. Tuples with names are tuples for it.
func (p *program) operator(name string, args []any, named []torchop.Arg) any {
	for i, a := range args {
		if r, ok := a.(*record); ok {
			args[i] = r.Tuple
		}
	}
	if name == "_set_item" && len(args) == 3 {
		if d, ok := args[0].(*torchop.Dict); ok {
			if err := d.Set(args[1], args[2]); err != nil {
				p.b.Fault("%w", err)
			}
			return nil
		}
	}
	return p.b.Call(name, args, named)
}

// follow enters a method of an object; nodes are named by the path of the module.
func (p *program) follow(m *function, o *object, args []any, named []torchop.Arg) (v any, err error) {
	args = append([]any{o}, args...)
	p.b.Root(func() {
		if o.path == "" {
			v, err = p.call(m, o.path, args, named)
			return
		}
		p.b.Scope(o.path, func() { v, err = p.call(m, o.path, args, named) })
	})
	return v, err
}

// special evaluates calls whose arguments are no values.
func (p *program) special(name string, e *source.Call, fr *frame) (v any, done bool, err error) {
	switch name {
	case "annotate", "unchecked_cast", "torch.jit.annotate":
		if len(e.Args) == 2 {
			v, err = p.eval(e.Args[1], fr)
			return v, true, err
		}
	case "uninitialized":
		return nil, true, nil
	case "torch.device":
		return torchop.Device("cpu"), true, nil
	case "getattr":
		if len(e.Args) == 2 {
			x, err := p.eval(e.Args[0], fr)
			if err != nil {
				return nil, true, err
			}
			c, ok := e.Args[1].(*source.Const)
			if !ok {
				return nil, true, p.errorf("an attribute without a name")
			}
			s, _ := c.Value.(string)
			v, err = p.attribute(x, s)
			return v, true, err
		}
	case "ops.prim.RaiseException":
		msg := any("")
		if len(e.Args) > 0 {
			if msg, err = p.eval(e.Args[0], fr); err != nil {
				return nil, true, err
			}
		}
		return nil, true, p.errorf("the code fails: %.500s", fmt.Sprint(msg))
	}
	return nil, false, nil
}

// builtin applies a function of the language.
func (p *program) builtin(name string, args []any) (any, error) {
	if len(args) > 0 {
		if _, ok := args[0].(torchop.Missing); ok {
			return args[0], nil
		}
	}
	switch name {
	case "range":
		return p.span(args)
	case "int", "float", "bool":
		if len(args) == 1 {
			if v, ok := p.b.Convert(name, args[0]); ok {
				return v, nil
			}
			return nil, p.errorf("%s(%s), which is not known before a run, is %w", name, torchop.TypeName(args[0]), checkpoint.ErrUnsupported)
		}
	case "str":
		return "", nil
	case "len", "list", "min", "max", "abs", "sum", "round":
		return p.b.Call(name, args, nil), nil
	case "dict":
		return torchop.NewDict(), nil
	case "isinstance":
		return torchop.Undecided("isinstance"), nil
	}
	return nil, p.errorf("the function %s is %w", name, checkpoint.ErrUnsupported)
}

// maxRange bounds a loop.
const maxRange = 1 << 16

func (p *program) span(args []any) (any, error) {
	var n [3]int64
	n[2] = 1
	if len(args) < 1 || len(args) > 3 {
		return nil, p.errorf("range with %d arguments", len(args))
	}
	for i, a := range args {
		v, ok := a.(torchop.Int)
		k, known := v.Const()
		if !ok || !known {
			return nil, p.errorf("a range of %v, which is not known before a run, is %w", a, checkpoint.ErrUnsupported)
		}
		n[i] = k
	}
	if len(args) == 1 {
		n[0], n[1] = 0, n[0]
	}
	if n[2] == 0 || n[1]-n[0] > maxRange || n[0]-n[1] > maxRange && n[2] < 0 {
		return nil, p.errorf("a range from %d to %d by %d; accepted are %d steps", n[0], n[1], n[2], maxRange)
	}
	out := &torchop.List{}
	for i := n[0]; n[2] > 0 && i < n[1] || n[2] < 0 && i > n[1]; i += n[2] {
		out.Items = append(out.Items, torchop.N(i))
	}
	return out, nil
}

// callQualified calls a function of the archive, or makes an instance of a class.
func (p *program) callQualified(name string, args []any, named []torchop.Arg) (any, error) {
	if class, ok := strings.CutSuffix(name, ".__new__"); ok {
		return &object{class: class, attrs: map[string]any{}}, nil
	}
	module, base := split(name)
	f, err := p.load(module)
	if err != nil {
		return nil, p.errorf("%w", err)
	}
	for _, fn := range f.Funcs {
		if fn.Name == base {
			return p.call(&function{fn, module}, p.path, args, named)
		}
	}
	c, err := p.class(name)
	if err != nil || c == nil {
		return nil, p.errorf("there is no function or class %s: %w", name, checkpoint.ErrFormat)
	}
	if c.Base == "NamedTuple" {
		r := &record{Tuple: args, class: name}
		for _, fd := range c.Fields {
			r.fields = append(r.fields, fd.Name)
		}
		for _, a := range named {
			r.Tuple = append(r.Tuple, a.Value)
		}
		if len(r.Tuple) != len(r.fields) {
			return nil, p.errorf("%s has %d fields and is made of %d", name, len(r.fields), len(r.Tuple))
		}
		return r, nil
	}
	o := &object{class: name, attrs: map[string]any{}}
	m, err := p.method(name, "__init__")
	if err != nil {
		return nil, p.errorf("%w", err)
	}
	_, err = p.call(m, p.path, append([]any{o}, args...), named)
	return o, err
}

// prim applies an operator that asks about a value.
func (p *program) prim(name string, args []any) (any, error) {
	if len(args) == 0 {
		return nil, p.errorf("prim::%s without arguments", name)
	}
	if _, ok := args[0].(torchop.Missing); ok {
		return args[0], nil
	}
	switch name {
	case "NumToTensor", "data", "unchecked_unwrap_optional", "unchecked_cast":
		return args[0], nil
	case "dtype":
		return p.b.DTypeOf(args[0])
	case "device":
		return torchop.Device("cpu"), nil
	case "type":
		return "cpu", nil
	case "layout":
		return opaque("torch.strided"), nil
	case "shape":
		return p.b.Call("size", args, nil), nil
	case "ndim":
		return p.b.Call("dim", args, nil), nil
	case "is_cuda", "is_nested", "is_sparse", "is_sparse_csr", "is_quantized", "is_mkldnn", "is_mps", "is_xpu", "is_xla", "is_meta", "is_vulkan", "is_ipu", "is_maia", "requires_grad", "isComplex":
		return false, nil
	case "itemsize":
		return torchop.N(tensor.Float32.Size()), nil
	case "min", "max", "abs":
		return p.b.Call(name, args, nil), nil
	case "TupleIndex", "TupleUnpack":
		return p.b.Call("__getitem__", args, nil), nil
	case "isinstance":
		return torchop.Undecided("isinstance"), nil
	case "rangelist":
		return p.span(args)
	case "id":
		return torchop.N(math.MaxInt32), nil
	}
	return p.b.Refuse("prim::" + name), nil
}
