package torchscript

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/checkpoint"
	"github.com/neurotrain/neuroquant/internal/codec/pickle"
	"github.com/neurotrain/neuroquant/internal/torchop"
	"github.com/neurotrain/neuroquant/tensor"
)

// maxNest bounds how deep values of an archive hold one another.
const maxNest = 500

// value returns a value of a pickle as the program has it. The same object is the same here. The path is that of the module
// or tensor in the tree.
func (p *program) value(path string, v any, depth int) (any, error) {
	if depth > maxNest {
		return nil, fmt.Errorf("%w: objects are nested deeper than %d", checkpoint.ErrFormat, maxNest)
	}
	switch v := v.(type) {
	case nil, bool, float64, string, complex128:
		return v, nil
	case int64:
		return torchop.N(v), nil
	case pickle.Tuple:
		out := make(torchop.Tuple, len(v))
		for i, x := range v {
			y, err := p.value(fmt.Sprintf("%s.%d", path, i), x, depth+1)
			if err != nil {
				return nil, err
			}
			out[i] = y
		}
		return out, nil
	}
	if p.objects == nil {
		p.objects = map[any]any{}
	}
	switch v := v.(type) {
	case *checkpoint.Tensor, *pickle.List, *pickle.Dict, *pickle.Object:
		if x, ok := p.objects[v]; ok {
			return x, nil
		}
	}
	switch v := v.(type) {
	case *checkpoint.Tensor:
		if v.Err() != nil {
			return nil, fmt.Errorf("%s: %w", path, v.Err())
		}
		x := torchop.Param(path, parameter(v))
		p.objects[v] = x
		return x, nil
	case *pickle.List:
		out := &torchop.List{}
		p.objects[v] = out
		for i, x := range v.Items {
			y, err := p.value(fmt.Sprintf("%s.%d", path, i), x, depth+1)
			if err != nil {
				return nil, err
			}
			out.Items = append(out.Items, y)
		}
		return out, nil
	case *pickle.Dict:
		out := torchop.NewDict()
		p.objects[v] = out
		for i, k := range v.Keys {
			key, err := p.value(path, k, depth+1)
			if err != nil {
				return nil, err
			}
			y, err := p.value(fmt.Sprintf("%s.%v", path, key), v.Values[i], depth+1)
			if err != nil {
				return nil, err
			}
			if err := out.Set(key, y); err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
		}
		return out, nil
	case *pickle.Object:
		return p.instance(path, v, depth)
	}
	return opaque(pickle.TypeName(v)), nil
}

// opaque is a value that the program only hands on.
type opaque string

func (o opaque) String() string { return string(o) }

// instance returns a module or an object of a class of the archive.
func (p *program) instance(path string, v *pickle.Object, depth int) (any, error) {
	out := &object{class: v.Class.String(), path: path, attrs: map[string]any{}}
	p.objects[v] = out
	state, ok := v.State.(*pickle.Dict)
	if !ok {
		out.attrs["__state__"] = opaque(pickle.TypeName(v.State))
		return out, nil
	}
	for i, k := range state.Keys {
		name, ok := k.(string)
		if !ok {
			return nil, fmt.Errorf("%w: %s (%v) has an attribute named by a %s", checkpoint.ErrFormat, path, v.Class, pickle.TypeName(k))
		}
		below := name
		if path != "" {
			below = path + "." + name
		}
		x, err := p.value(below, state.Values[i], depth+1)
		if err != nil {
			return nil, err
		}
		out.attrs[name] = x
	}
	return out, nil
}

// parameter returns the source of a tensor, in float32 for the half types: a network that was saved in those is computed in
// float32.
func parameter(t *checkpoint.Tensor) tensor.Source {
	switch {
	case t.Quant != nil:
		return dequantized{t}
	case t.DType() == tensor.Float16 || t.DType() == tensor.BFloat16:
		return aten.Float32(t)
	}
	return t
}

// dequantized is a quantized tensor as the values that it stands for.
type dequantized struct{ *checkpoint.Tensor }

func (dequantized) DType() tensor.DType { return tensor.Float32 }

func (d dequantized) Load() (*tensor.Tensor, error) { return d.Real() }

// constant returns element k of the constants of the code.
func (p *program) constant(name string) (any, error) {
	if !p.read {
		v, err := p.file.Unpickle("constants.pkl", "constants")
		if err != nil {
			return nil, err
		}
		x, err := p.value("constants", v, 0)
		if err != nil {
			return nil, err
		}
		p.consts, _ = torchop.Items(x)
		p.read = true
	}
	var k int
	if _, err := fmt.Sscanf(name, "c%d", &k); err != nil || k < 0 || k >= len(p.consts) {
		return nil, fmt.Errorf("%w: there is no constant %s; the archive has %d", checkpoint.ErrFormat, name, len(p.consts))
	}
	return p.consts[k], nil
}
