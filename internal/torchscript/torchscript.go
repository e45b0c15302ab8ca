// Package torchscript turns TorchScript archives, of torch.jit.trace and torch.jit.script, into graphs.
//
// The code in the archive is parsed and followed with symbolic tensors: methods of submodules are entered, loops are run and
// branches taken as far as their conditions are known before a run, and what operators compute is recorded by package torchop.
// Nothing of the archive is executed: the operators are those of the table there, and all that are not in it are named at once.
package torchscript

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/checkpoint"
	source "github.com/neurotrain/neuroquant/internal/codec/torchscript"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/torchop"
)

// Options say what the archive does not.
type Options struct {
	// Input returns the dimensions of an input, nil where they are not given; without it none are.
	Input func(name string) []graph.Dim
	// Usual returns the dimensions of the images that a class of networks takes, nil where it has no usual ones.
	Usual func(class string) []graph.Dim
}

// Limits of what code may do.
const (
	maxSteps = 1 << 21  // expressions that are evaluated
	maxDepth = 200      // calls in one another
	maxCode  = 16 << 20 // bytes of a file of code
	maxNodes = 1 << 15
)

// Class returns the class of the module that an archive holds, without the marks of TorchScript.
func Class(f *checkpoint.File) (string, error) {
	p := &program{file: f}
	root, err := p.root()
	if err != nil {
		return "", err
	}
	return plainClass(root.class), nil
}

// plainClass is the name of a class in Python.
func plainClass(name string) string {
	var parts []string
	for p := range strings.SplitSeq(strings.TrimPrefix(name, "__torch__."), ".") {
		if !strings.HasPrefix(p, "___torch_mangle_") {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, ".")
}

// Build records the graph of the method forward of the module in an archive.
func Build(ctx context.Context, name string, f *checkpoint.File, o Options) (*graph.Graph, error) {
	// Earlier passes tell the inputs by what is done with them, each with what the one before it told; their errors come again
	// in the last.
	hints := torchop.Hints{}
	for range maxProbes {
		probe := &program{ctx: ctx, file: f, options: o, b: torchop.New(name), hints: hints, dims: map[string]string{}}
		probe.b.Probe(hints)
		before := hints.String()
		_, _ = probe.build()
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if hints.String() == before {
			break
		}
	}
	p := &program{ctx: ctx, file: f, options: o, b: torchop.New(name), hints: hints, dims: map[string]string{}}
	g, err := p.build()
	if err != nil && len(p.guessed) > 0 {
		err = fmt.Errorf("%w\nthe archive does not say what shapes its inputs have; taken were %s. --input-shape says otherwise, such as %s=1x3x224x224", err, strings.Join(p.guessed, ", "), p.first)
	}
	return g, err
}

// maxProbes bounds the passes that look for the types of the inputs.
const maxProbes = 4

// program is an archive that is being followed.
type program struct {
	ctx     context.Context
	file    *checkpoint.File
	options Options
	b       *torchop.Builder

	code    map[string]*source.File // by the name of the member
	objects map[any]any             // what values of the archive are here
	consts  []any
	read    bool // whether consts is

	path    string // of the module whose method is followed
	at      string // file and line
	steps   int
	depth   int
	hints   torchop.Hints
	guessed []string          // inputs as they were taken
	first   string            // name of the first of them
	dims    map[string]string // inputs by the names of dimensions that they are the first to have
}

// object is a module, or an instance of a class of the archive.
type object struct {
	class string
	path  string // in the tree of modules
	attrs map[string]any
}

func (o *object) String() string { return plainClass(o.class) }

func (p *program) root() (*object, error) {
	v, err := p.file.Object()
	if err != nil {
		return nil, err
	}
	x, err := p.value("", v, 0)
	if err != nil {
		return nil, err
	}
	o, ok := x.(*object)
	if !ok {
		return nil, fmt.Errorf("%w: data.pkl holds a %s; want a module", checkpoint.ErrFormat, torchop.TypeName(x))
	}
	return o, nil
}

func (p *program) build() (*graph.Graph, error) {
	root, err := p.root()
	if err != nil {
		return nil, err
	}
	p.b.Where = func() string { return p.at }
	forward, err := p.method(root.class, "forward")
	if err != nil {
		return nil, err
	}
	args := []any{root}
	for _, a := range forward.Params[min(1, len(forward.Params)):] {
		v, err := p.input(root, a)
		if err != nil {
			return nil, err
		}
		args = append(args, v)
	}
	out, err := p.call(forward, "", args, nil)
	if err != nil {
		return nil, p.failed(err)
	}
	if err := p.output("output", out, 0); err != nil {
		return nil, p.failed(err)
	}
	g, err := p.b.Finish()
	if err != nil {
		return nil, err
	}
	if len(g.Outputs) == 0 {
		return nil, fmt.Errorf("%w: forward of %v gives no tensor", checkpoint.ErrUnsupported, root)
	}
	return g, nil
}

// failed reports what stopped the program together with what was wrong before: the operators that are not supported come first.
func (p *program) failed(err error) error {
	if _, before := p.b.Finish(); before != nil {
		return fmt.Errorf("%w\n%w", before, err)
	}
	return err
}

// input declares an argument of forward as an input of the graph.
func (p *program) input(root *object, a source.Param) (any, error) {
	typ := "Tensor"
	if a.Type != nil {
		typ = a.Type.String()
	}
	switch {
	case a.Default != nil:
		return p.eval(a.Default, &frame{})
	case typ == "Tensor":
		return p.tensorInput(root, a.Name)
	case strings.HasPrefix(typ, "Optional["):
		return nil, nil
	case strings.HasPrefix(typ, "Tuple["):
		t := torchop.Tuple{}
		ix, _ := a.Type.(*source.Index)
		items := []source.Expr{ix.I}
		if l, ok := ix.I.(*source.Tuple); ok {
			items = l.Items
		}
		for i, e := range items {
			v, err := p.input(root, source.Param{Name: fmt.Sprintf("%s_%d", a.Name, i), Type: e})
			if err != nil {
				return nil, err
			}
			t = append(t, v)
		}
		return t, nil
	}
	return nil, fmt.Errorf("argument %s of forward is a %s; accepted are tensors, tuples of them, and arguments with a default: %w", a.Name, typ, checkpoint.ErrUnsupported)
}

func (p *program) tensorInput(root *object, name string) (any, error) {
	t := p.hints.Type(name)
	if usual := p.options.Usual; usual != nil && t.Ranked {
		if d := usual(plainClass(root.class)); len(d) > 1 && len(d) == len(t.Dims) {
			if t.Dims[1].IsKnown() {
				d[1] = t.Dims[1]
			}
			t.Dims = d
		}
	}
	var d []graph.Dim
	if p.options.Input != nil {
		d = p.options.Input(name)
	}
	if d != nil {
		t.Ranked, t.Dims = true, d
	} else {
		p.apart(name, &t)
		p.guessed = append(p.guessed, fmt.Sprintf("%s %v", name, t))
		if p.first == "" {
			p.first = name
		}
	}
	return torchop.Of(p.b.Input(name, t)), nil
}

// apart renames the dimensions of an input that another has too: only samples are known to be as many.
func (p *program) apart(name string, t *graph.Type) {
	t.Dims = slices.Clone(t.Dims)
	for i, d := range t.Dims {
		if n := d.Name; n != "" && n != "batch" && p.dims[n] != "" && p.dims[n] != name {
			t.Dims[i] = graph.Named(name + "_" + n)
		} else if n != "" {
			p.dims[n] = name
		}
	}
}

// output declares the tensors of a result as outputs of the graph.
func (p *program) output(name string, v any, depth int) error {
	if depth > 8 {
		return fmt.Errorf("the result of forward is nested deeper than 8: %w", checkpoint.ErrUnsupported)
	}
	switch v := v.(type) {
	case *torchop.Tensor:
		p.b.Output(name, p.result(v))
		return nil
	case nil, torchop.Absent, torchop.Missing, string, bool, float64:
		return nil
	case torchop.Int:
		p.b.Output(name, p.result(v))
		return nil
	case *torchop.Dict:
		for _, k := range v.Keys {
			x, _ := v.Get(k)
			key := fmt.Sprint(k)
			if depth > 0 {
				key = name + "." + key
			}
			if err := p.output(key, x, depth+1); err != nil {
				return err
			}
		}
		return nil
	case *record:
		for i, f := range v.fields {
			key := f
			if depth > 0 {
				key = name + "." + f
			}
			if err := p.output(key, v.Tuple[i], depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	items, ok := torchop.Items(v)
	if !ok {
		return fmt.Errorf("forward gives a %s; accepted are tensors, and tuples, lists and dictionaries of them: %w", torchop.TypeName(v), checkpoint.ErrUnsupported)
	}
	for i, x := range items {
		if err := p.output(fmt.Sprintf("%s_%d", name, i), x, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// result returns a value that no other output is and that is no input.
func (p *program) result(v any) *graph.Value {
	x := p.b.ValueOf(v)
	if x.Node == nil || p.b.IsOutput(x) {
		x = p.b.Node("Identity", nil, x)
	}
	return x
}

// record is an instance of a NamedTuple.
type record struct {
	torchop.Tuple
	class  string
	fields []string
}

// load parses the file of a class or function, once.
func (p *program) load(module string) (*source.File, error) {
	name := path.Join("code", strings.ReplaceAll(module, ".", "/")) + ".py"
	if f := p.code[name]; f != nil {
		return f, nil
	}
	text, err := p.file.Read(name, maxCode)
	if err != nil {
		return nil, err
	}
	f, err := source.Parse(name, text)
	if err != nil {
		return nil, err
	}
	if p.code == nil {
		p.code = map[string]*source.File{}
	}
	p.code[name] = f
	return f, nil
}

// split cuts a qualified name at its last dot.
func split(name string) (module, base string) {
	i := strings.LastIndexByte(name, '.')
	return name[:max(i, 0)], name[i+1:]
}

// class returns the source of a class, nil where the name is none.
func (p *program) class(name string) (*source.Class, error) {
	module, base := split(name)
	f, err := p.load(module)
	if err != nil {
		return nil, err
	}
	for _, c := range f.Classes {
		if c.Name == base {
			return c, nil
		}
	}
	return nil, nil
}

func (p *program) method(class, name string) (*function, error) {
	c, err := p.class(class)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return nil, fmt.Errorf("%w: there is no code of class %s", checkpoint.ErrFormat, class)
	}
	m := c.Method(name)
	if m == nil { // the first of several forms
		m = c.Method(name + "__0")
	}
	if m == nil {
		return nil, fmt.Errorf("%w: class %s has no method %s", checkpoint.ErrFormat, class, name)
	}
	module, _ := split(class)
	return &function{m, module}, nil
}

// function is a function of the archive with the file it is in.
type function struct {
	*source.Func
	file string
}

func (f *function) String() string { return f.Name }
