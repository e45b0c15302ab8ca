// Package torchexport turns the archives of torch.export (.pt2) into graphs: the operators of the program, which is a list
// without branches, are recorded by package torchop, and its weights stay in the file.
package torchexport

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/checkpoint"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/torchop"
	"github.com/neurotrain/neuroquant/tensor"
)

// Options say what the archive does not.
type Options struct {
	// Input returns the dimensions of an input, nil where those of the archive are meant; without it they always are.
	Input func(name string) []graph.Dim
	// Weight takes the parameters and buffers of the state dict, in the order of the program; nil: nobody asks.
	Weight func(name string, s tensor.Source)
}

// program is an archive that is being translated.
type program struct {
	b       *torchop.Builder
	options Options
	weights *weights
	symbols map[string]string // names of dimensions by the symbols of the program
	taken   map[string]bool   // names of dimensions
	at      string
	depth   int
}

// names are the values of a graph by name.
type names map[string]any

// Build records the graph of the program in an archive.
func Build(ctx context.Context, name string, f *checkpoint.File, o Options) (*graph.Graph, error) {
	member, model, err := find(f)
	if err != nil {
		return nil, err
	}
	text, err := f.Read(member, maxProgram)
	if err != nil {
		return nil, err
	}
	var e exportedProgram
	if err := json.Unmarshal(text, &e); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", checkpoint.ErrFormat, member, err)
	}
	if v := e.SchemaVersion; v.Major < 4 || v.Major > 8 {
		return nil, fmt.Errorf("schema version %d.%d of torch.export (PyTorch %s) is %w; accepted are 4 to 8", v.Major, v.Minor, e.TorchVersion, checkpoint.ErrUnsupported)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p := &program{b: torchop.New(name), options: o, symbols: map[string]string{}, taken: map[string]bool{}}
	p.b.Where = func() string { return p.at }
	if p.weights, err = openWeights(f, model); err != nil {
		return nil, err
	}
	env := names{}
	if err := p.inputs(&e, env); err != nil {
		return nil, err
	}
	if err := p.nodes(ctx, &e.GraphModule.Graph, env); err != nil {
		return nil, p.failed(err)
	}
	if err := p.outputs(&e, env); err != nil {
		return nil, p.failed(err)
	}
	return p.b.Finish()
}

// failed reports what stopped the translation together with what was wrong before.
func (p *program) failed(err error) error {
	if _, before := p.b.Finish(); before != nil {
		return fmt.Errorf("%w\n%w", before, err)
	}
	return err
}

// find returns the member that holds the program, and its name.
func find(f *checkpoint.File) (member, name string, err error) {
	const old = "serialized_exported_program.json"
	if f.Has(old) {
		return old, "model", nil
	}
	var all []string
	for _, n := range f.Names() {
		if rest, ok := strings.CutPrefix(n, "models/"); ok && strings.HasSuffix(rest, ".json") {
			all = append(all, strings.TrimSuffix(rest, ".json"))
		}
	}
	switch {
	case len(all) == 1:
		name = all[0]
	case slices.Contains(all, "model"):
		name = "model"
	case len(all) == 0:
		return "", "", fmt.Errorf("%w: the archive holds no program (models/*.json)", checkpoint.ErrFormat)
	default:
		return "", "", fmt.Errorf("the archive holds several programs (%s), which is %w", strings.Join(all, ", "), checkpoint.ErrUnsupported)
	}
	return "models/" + name + ".json", name, nil
}

// inputs gives the inputs of the graph their values: tensors of the archive, and inputs of the network.
func (p *program) inputs(e *exportedProgram, env names) error {
	for i, raw := range e.GraphModule.Signature.InputSpecs {
		kind, value, err := union(raw)
		if err != nil {
			return fmt.Errorf("%w: input %d of the signature: %w", checkpoint.ErrFormat, i, err)
		}
		s := inputSpec{kind: kind}
		if err := json.Unmarshal(value, &s); err != nil {
			return fmt.Errorf("%w: input %d of the signature: %w", checkpoint.ErrFormat, i, err)
		}
		switch kind {
		case "parameter", "buffer", "tensor_constant":
			var arg nameJSON
			if err := json.Unmarshal(s.Arg, &arg); err != nil {
				return fmt.Errorf("%w: input %d of the signature: %w", checkpoint.ErrFormat, i, err)
			}
			t, err := p.weights.tensor(s.name())
			if err != nil {
				return err
			}
			if kind != "tensor_constant" && !s.Transient() && p.options.Weight != nil {
				p.options.Weight(s.name(), t.Source())
			}
			env[arg.Name] = t
		case "user_input":
			if err := p.userInput(e, s.Arg, env); err != nil {
				return err
			}
		case "constant_input", "token":
		default:
			return fmt.Errorf("an input of kind %q is %w", kind, checkpoint.ErrUnsupported)
		}
	}
	return nil
}

func (p *program) userInput(e *exportedProgram, raw json.RawMessage, env names) error {
	var a argument
	if err := json.Unmarshal(raw, &a); err != nil {
		return fmt.Errorf("%w: an input: %w", checkpoint.ErrFormat, err)
	}
	switch a.Kind {
	case "as_tensor":
		var n nameJSON
		if err := json.Unmarshal(a.Value, &n); err != nil {
			return fmt.Errorf("%w: an input: %w", checkpoint.ErrFormat, err)
		}
		m := e.GraphModule.Graph.TensorValues[n.Name]
		if m == nil {
			return fmt.Errorf("%w: input %q has no type", checkpoint.ErrFormat, n.Name)
		}
		d, ok := dtypes[m.DType]
		if !ok {
			return fmt.Errorf("input %q: element type %d of the schema is %w", n.Name, m.DType, checkpoint.ErrUnsupported)
		}
		if d == tensor.Float16 || d == tensor.BFloat16 {
			d = tensor.Float32
		}
		var dims []graph.Dim
		if p.options.Input != nil {
			dims = p.options.Input(n.Name)
		}
		if dims == nil {
			for i, s := range m.Sizes {
				dims = append(dims, p.dim(s, i, len(m.Sizes)))
			}
		}
		env[n.Name] = torchop.Of(p.b.Input(n.Name, graph.Ranked(d, dims...)))
		return nil
	case "as_none", "as_int", "as_float", "as_bool", "as_string": // fixed when the program was made
		return nil
	}
	return fmt.Errorf("an input that is %q is %w; accepted are tensors", a.Kind, checkpoint.ErrUnsupported)
}

// dim returns a dimension of an input. Symbols are named by what they most likely are.
func (p *program) dim(s symInt, axis, rank int) graph.Dim {
	if s.Known {
		return graph.Known(int(max(s.Int, 0)))
	}
	symbol, ok := s.symbol()
	if !ok {
		return graph.Unknown
	}
	if name := p.symbols[symbol]; name != "" {
		return graph.Named(name)
	}
	name := symbol
	switch {
	case axis == 0:
		name = "batch"
	case rank == 4 && axis >= 2:
		name = []string{"height", "width"}[axis-2]
	}
	if p.taken[name] {
		name = symbol
	}
	p.symbols[symbol], p.taken[name] = name, true
	return graph.Named(name)
}

// outputs declares what the program gives to its user.
func (p *program) outputs(e *exportedProgram, env names) error {
	var results []any
	for i, raw := range e.GraphModule.Signature.OutputSpecs {
		kind, value, err := union(raw)
		if err != nil {
			return fmt.Errorf("%w: output %d of the signature: %w", checkpoint.ErrFormat, i, err)
		}
		if kind != "user_output" {
			continue
		}
		var s struct {
			Arg argument `json:"arg"`
		}
		if err := json.Unmarshal(value, &s); err != nil {
			return fmt.Errorf("%w: output %d of the signature: %w", checkpoint.ErrFormat, i, err)
		}
		v, err := p.value(s.Arg, env)
		if err != nil {
			return err
		}
		if t, ok := v.(*torchop.Tensor); ok {
			results = append(results, t)
		}
	}
	if len(results) == 0 {
		return fmt.Errorf("%w: the program gives no tensor", checkpoint.ErrUnsupported)
	}
	for i, v := range results {
		name := "output"
		if len(results) > 1 {
			name = fmt.Sprintf("output_%d", i)
		}
		p.b.Root(func() {
			x := p.b.ValueOf(v)
			if x.Node == nil || p.b.IsOutput(x) {
				x = p.b.Node("Identity", nil, x)
			}
			p.b.Output(name, x)
		})
	}
	return nil
}
