package torchexport

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"github.com/neurotrain/neuroquant/internal/checkpoint"
	"github.com/neurotrain/neuroquant/internal/torchop"
)

// nodes translates the nodes of a graph in order.
func (p *program) nodes(ctx context.Context, g *graphJSON, env names) error {
	for i := range g.Nodes {
		if i%256 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		n := &g.Nodes[i]
		p.at = "node " + n.Name
		if n.Name == "" {
			p.at = fmt.Sprintf("node %d", i)
		}
		var err error
		p.b.Root(func() {
			if path := modulePath(n.Metadata["nn_module_stack"]); path != "" {
				p.b.Scope(path, func() { err = p.node(ctx, n, env) })
			} else {
				err = p.node(ctx, n, env)
			}
		})
		if err != nil {
			return fmt.Errorf("%s (%.100s): %w", p.at, n.Target, err)
		}
	}
	return nil
}

// modulePath returns the path of the innermost module of a stack: "id,path,class;id,path,class".
func modulePath(stack string) string {
	last := stack[strings.LastIndexByte(stack, ';')+1:]
	parts := strings.Split(last, ",")
	if len(parts) != 3 || len(parts[1]) > 200 {
		return ""
	}
	return strings.Trim(strings.ReplaceAll(parts[1], "slice(None", ""), " ")
}

// pythonOps are functions of Python by the names in the table.
var pythonOps = map[string]string{
	"_operator.add": "add", "_operator.sub": "sub", "_operator.mul": "mul", "_operator.truediv": "div", "_operator.floordiv": "floordiv", "_operator.mod": "remainder",
	"_operator.neg": "neg", "_operator.pow": "pow", "_operator.eq": "eq", "_operator.ne": "ne", "_operator.lt": "lt", "_operator.le": "le", "_operator.gt": "gt", "_operator.ge": "ge",
	"_operator.and_": "__and__", "_operator.or_": "__or__", "_operator.not_": "__not__", "_operator.getitem": "__getitem__",
	"math.ceil": "ceil", "math.floor": "floor", "math.trunc": "trunc", "math.sqrt": "sqrt", "round": "round", "builtins.round": "round",
	"torch.sym_max": "sym_max", "torch.sym_min": "sym_min", "torch.sym_not": "__not__", "torch._sym_sqrt": "sqrt",
}

func (p *program) node(ctx context.Context, n *nodeJSON, env names) error {
	if strings.HasPrefix(n.Target, "torch.ops.higher_order.") {
		return p.higherOrder(ctx, n, env)
	}
	var result any
	name, isOp := strings.CutPrefix(n.Target, "torch.ops.")
	switch {
	case isOp:
		space, base, _ := strings.Cut(name, ".")
		if space != "aten" && space != "quantized_decomposed" {
			result = p.b.Refuse(space + "::" + base)
			break
		}
		var args []torchop.Arg
		for _, a := range n.Inputs {
			v, err := p.value(a.Arg, env)
			if err != nil {
				return err
			}
			args = append(args, torchop.Arg{Name: a.Name, Value: v})
		}
		result = p.b.CallNamed(strings.TrimSuffix(base, ".default"), args)
	default:
		var args []any
		for _, a := range n.Inputs {
			v, err := p.value(a.Arg, env)
			if err != nil {
				return err
			}
			args = append(args, v)
		}
		switch {
		case n.Target == "torch.sym_sum" && len(args) == 1:
			result = p.b.Call("sum", args, nil)
		case n.Target == "torch.sym_float" || n.Target == "torch.sym_int":
			var ok bool
			if result, ok = p.b.Convert(strings.TrimPrefix(n.Target, "torch.sym_"), args[0]); !ok {
				return fmt.Errorf("a conversion of a %s is %w", torchop.TypeName(args[0]), checkpoint.ErrUnsupported)
			}
		case pythonOps[n.Target] != "":
			result = p.b.Call(pythonOps[n.Target], args, nil)
		default:
			result = p.b.Refuse(n.Target)
		}
	}
	return p.bind(n.Outputs, result, env)
}

// maxDepth bounds graphs in one another.
const maxDepth = 16

// higherOrder enters the graph of a context that means nothing here, such as one without gradients.
func (p *program) higherOrder(ctx context.Context, n *nodeJSON, env names) error {
	kind := strings.TrimPrefix(n.Target, "torch.ops.higher_order.")
	if kind != "wrap_with_set_grad_enabled" && kind != "wrap_with_autocast" {
		return p.bind(n.Outputs, p.b.Refuse("higher_order::"+kind), env)
	}
	if p.depth++; p.depth > maxDepth {
		return fmt.Errorf("graphs are nested deeper than %d, which is %w", maxDepth, checkpoint.ErrUnsupported)
	}
	defer func() { p.depth-- }()
	at := -1
	for i, a := range n.Inputs {
		if a.Arg.Kind == "as_graph" {
			at = i
		}
	}
	if at < 0 {
		return fmt.Errorf("%w: there is no graph", checkpoint.ErrFormat)
	}
	var inner struct {
		Graph graphJSON `json:"graph"`
	}
	if err := json.Unmarshal(n.Inputs[at].Arg.Value, &inner); err != nil {
		return fmt.Errorf("%w: %w", checkpoint.ErrFormat, err)
	}
	args := n.Inputs[at+1:]
	if len(args) != len(inner.Graph.Inputs) {
		return fmt.Errorf("%w: %d values for %d inputs of a graph", checkpoint.ErrFormat, len(args), len(inner.Graph.Inputs))
	}
	sub := names{}
	for i, a := range args {
		v, err := p.value(a.Arg, env)
		if err != nil {
			return err
		}
		if err := p.bindOne(inner.Graph.Inputs[i], v, sub); err != nil {
			return err
		}
	}
	if err := p.nodes(ctx, &inner.Graph, sub); err != nil {
		return err
	}
	var results torchop.Tuple
	for _, o := range inner.Graph.Outputs {
		v, err := p.value(o, sub)
		if err != nil {
			return err
		}
		results = append(results, v)
	}
	return p.bind(n.Outputs, results, env)
}

// bind gives the results of a node their names.
func (p *program) bind(outputs []argument, result any, env names) error {
	if len(outputs) == 1 {
		if t, ok := result.(torchop.Tuple); ok && outputs[0].Kind != "as_tensors" && len(t) > 0 {
			result = t[0]
		}
		return p.bindOne(outputs[0], result, env)
	}
	items, ok := torchop.Items(result)
	for i, o := range outputs {
		var v any = torchop.Missing{}
		if ok && i < len(items) {
			v = items[i]
		}
		if err := p.bindOne(o, v, env); err != nil {
			return err
		}
	}
	return nil
}

func (p *program) bindOne(o argument, v any, env names) error {
	switch o.Kind {
	case "as_tensor", "as_optional_tensor":
		var n nameJSON
		if err := json.Unmarshal(o.Value, &n); err != nil {
			return fmt.Errorf("%w: a result: %w", checkpoint.ErrFormat, err)
		}
		env[n.Name] = v
	case "as_tensors":
		var list []nameJSON
		if err := json.Unmarshal(o.Value, &list); err != nil {
			return fmt.Errorf("%w: a result: %w", checkpoint.ErrFormat, err)
		}
		items, ok := torchop.Items(v)
		for i, n := range list {
			env[n.Name] = torchop.Missing{}
			if ok && i < len(items) {
				env[n.Name] = items[i]
			} else if ok {
				return fmt.Errorf("%d results; the program expects %d", len(items), len(list))
			}
		}
	case "as_sym_int", "as_sym_bool", "as_sym_float":
		var n struct {
			Name string `json:"as_name"`
		}
		if err := json.Unmarshal(o.Value, &n); err != nil {
			return fmt.Errorf("%w: a result: %w", checkpoint.ErrFormat, err)
		}
		env[n.Name] = v
	}
	return nil
}

// typeCodes are the numbers of element types at run time by those of the schema.
var typeCodes = map[int64]int64{
	1: 0, 2: 1, 3: 2, 4: 3, 5: 4, 6: 5, 7: 6, 8: 7, 9: 8, 10: 9, 11: 10, 12: 11, 13: 15, 28: 27, 29: 24, 30: 23, 31: 26, 32: 25,
}

// value returns an argument as a value.
func (p *program) value(a argument, env names) (any, error) {
	into := func(dst any) error {
		if err := json.Unmarshal(a.Value, dst); err != nil {
			return fmt.Errorf("%w: %s: %w", checkpoint.ErrFormat, a.Kind, err)
		}
		return nil
	}
	switch a.Kind {
	case "as_none", "", "as_device", "as_layout", "as_memory_format":
		return nil, nil
	case "as_tensor":
		var n nameJSON
		if err := into(&n); err != nil {
			return nil, err
		}
		return env.get(n.Name)
	case "as_tensors", "as_nested_tensors":
		var list []nameJSON
		if err := into(&list); err != nil {
			return nil, err
		}
		out := &torchop.List{}
		for _, n := range list {
			v, err := env.get(n.Name)
			if err != nil {
				return nil, err
			}
			out.Items = append(out.Items, v)
		}
		return out, nil
	case "as_optional_tensor":
		var inner argument
		if err := into(&inner); err != nil {
			return nil, err
		}
		return p.value(inner, env)
	case "as_optional_tensors":
		var list []argument
		if err := into(&list); err != nil {
			return nil, err
		}
		out := &torchop.List{}
		for _, x := range list {
			v, err := p.value(x, env)
			if err != nil {
				return nil, err
			}
			out.Items = append(out.Items, v)
		}
		return out, nil
	case "as_int", "as_scalar_type":
		var n int64
		if err := into(&n); err != nil {
			return nil, err
		}
		if a.Kind == "as_scalar_type" {
			code, ok := typeCodes[n]
			if !ok {
				return nil, fmt.Errorf("element type %d of the schema is %w", n, checkpoint.ErrUnsupported)
			}
			n = code
		}
		return torchop.N(n), nil
	case "as_ints":
		var list []int64
		if err := into(&list); err != nil {
			return nil, err
		}
		out := &torchop.List{}
		for _, n := range list {
			out.Items = append(out.Items, torchop.N(n))
		}
		return out, nil
	case "as_float":
		return number(a.Value)
	case "as_floats":
		var list []json.RawMessage
		if err := into(&list); err != nil {
			return nil, err
		}
		out := &torchop.List{}
		for _, x := range list {
			f, err := number(x)
			if err != nil {
				return nil, err
			}
			out.Items = append(out.Items, f)
		}
		return out, nil
	case "as_bool":
		var v bool
		err := into(&v)
		return v, err
	case "as_bools":
		var list []bool
		if err := into(&list); err != nil {
			return nil, err
		}
		out := &torchop.List{}
		for _, v := range list {
			out.Items = append(out.Items, v)
		}
		return out, nil
	case "as_string":
		var s string
		err := into(&s)
		return s, err
	case "as_sym_int", "as_sym_bool", "as_sym_float":
		return p.symbolic(a.Value, env)
	case "as_sym_ints", "as_sym_floats":
		var list []json.RawMessage
		if err := into(&list); err != nil {
			return nil, err
		}
		out := &torchop.List{}
		for _, x := range list {
			v, err := p.symbolic(x, env)
			if err != nil {
				return nil, err
			}
			out.Items = append(out.Items, v)
		}
		return out, nil
	}
	return nil, fmt.Errorf("an argument that is %q is %w", a.Kind, checkpoint.ErrUnsupported)
}

// number reads a float, which may be one that JSON has no form for.
func number(raw json.RawMessage) (any, error) {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		switch s {
		case "Infinity":
			return math.Inf(1), nil
		case "-Infinity":
			return math.Inf(-1), nil
		case "NaN":
			return math.NaN(), nil
		}
	}
	var f float64
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, fmt.Errorf("%w: a number: %w", checkpoint.ErrFormat, err)
	}
	return f, nil
}

// symbolic returns a number or a name of one.
func (p *program) symbolic(raw json.RawMessage, env names) (any, error) {
	kind, value, err := union(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: a size: %w", checkpoint.ErrFormat, err)
	}
	switch kind {
	case "as_name":
		var name string
		if err := json.Unmarshal(value, &name); err != nil {
			return nil, fmt.Errorf("%w: a size: %w", checkpoint.ErrFormat, err)
		}
		return env.get(name)
	case "as_int":
		var n int64
		if err := json.Unmarshal(value, &n); err != nil {
			return nil, fmt.Errorf("%w: a size: %w", checkpoint.ErrFormat, err)
		}
		return torchop.N(n), nil
	case "as_float":
		return number(value)
	case "as_bool":
		return string(value) == "true", nil
	}
	return nil, fmt.Errorf("a size that is %q is %w", kind, checkpoint.ErrUnsupported)
}

func (n names) get(name string) (any, error) {
	v, ok := n[name]
	if !ok {
		return nil, fmt.Errorf("%w: there is no value %q", checkpoint.ErrFormat, name)
	}
	return v, nil
}
