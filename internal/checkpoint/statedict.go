package checkpoint

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/codec/pickle"
)

// State is the tensors of a model by name.
type State struct {
	Tensors []NamedTensor
	Where   string // keys that lead to it in what was saved, such as "state_dict"; empty: the whole
	Prefix  string // that all names had and that was taken off, such as "module."
	Other   []Entry
	Module  *Module // the module that they are of; nil for a dictionary
	// Versions are those of the modules by path, as far as they are known; paths have the prefix.
	Versions map[string]int
}

// Entry is something in a state dict that is no tensor.
type Entry struct {
	Name  string
	Value any
}

// Get returns the tensor of a name; nil where there is none.
func (s *State) Get(name string) *Tensor {
	for _, t := range s.Tensors {
		if t.Name == name {
			return t.Tensor
		}
	}
	return nil
}

// stateKeys are the keys under which training programs keep the weights of a model, in the order in which they are tried.
// Averaged weights come after the plain ones: they are an extra.
var stateKeys = []string{
	"state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "weights", "params", "generator", "encoder", "backbone",
	"ema_state_dict", "model_ema", "ema", "params_ema", "teacher", "student",
}

// prefixes are put before all names by what wraps a model: DataParallel, torch.compile, trainers.
var prefixes = []string{"module.", "_orig_mod.", "model.", "net.", "network.", "backbone.module."}

// StateDict finds the weights of a model in what was saved: a dictionary of tensors, a module, or either of them under one of
// the usual keys.
func StateDict(v any) (*State, error) {
	s, err := findState(v, "", 0)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return nil, fmt.Errorf("%w: no dictionary of tensors and no module in what was saved, which is a %s", ErrUnsupported, describe(v))
	}
	s.strip()
	if s.Module == nil {
		s.tie()
	}
	return s, nil
}

// tie makes tensors that are the same in the file the same here.
func (s *State) tie() {
	seen := map[string]*Tensor{}
	for i, t := range s.Tensors {
		if t.Storage == nil || t.Storage.Bytes == 0 {
			continue
		}
		key := fmt.Sprintf("%p %v %d %v %v %t", t.Storage, t.dtype, t.Offset, t.shape, t.Strides, t.Quant != nil)
		switch first := seen[key]; {
		case first == nil:
			seen[key] = t.Tensor
		case first.Quant == nil:
			s.Tensors[i].Tensor = first
		}
	}
}

// versions reads the attribute of a state dict that has the versions of modules.
func versions(d *pickle.Dict) map[string]int {
	attrs, ok := d.State.(*pickle.Dict)
	if !ok {
		return nil
	}
	v, _ := attrs.Get("_metadata")
	list := entries(v)
	if list == nil {
		return nil
	}
	out := map[string]int{}
	for i, k := range list.Keys {
		path, ok := k.(string)
		if of := entries(list.Values[i]); ok && of != nil {
			if n, _ := of.Get("version"); n != nil {
				if n, ok := n.(int64); ok {
					out[path] = int(n)
				}
			}
		}
	}
	return out
}

func findState(v any, where string, depth int) (*State, error) {
	if m, err := Modules(v); m != nil || err != nil {
		if err != nil {
			return nil, err
		}
		ts, err := m.Tensors()
		if err != nil {
			return nil, err
		}
		return &State{Tensors: ts, Where: where, Module: m, Versions: m.Versions()}, nil
	}
	d := entries(v)
	if d == nil || depth > 4 {
		return nil, nil
	}
	s := &State{Where: where, Versions: versions(d)}
	for i, k := range d.Keys {
		name, ok := k.(string)
		if !ok {
			name = show(k)
		}
		switch x := d.Values[i].(type) {
		case *Tensor:
			s.Tensors = append(s.Tensors, NamedTensor{name, x})
		case *Array:
			if x.Tensor != nil {
				s.Tensors = append(s.Tensors, NamedTensor{name, x.Tensor})
			}
		default:
			s.Other = append(s.Other, Entry{name, x})
		}
	}
	s.unpackLinear()
	for _, k := range stateKeys {
		x, ok := d.Get(k)
		if !ok {
			continue
		}
		path := k
		if where != "" {
			path = where + "." + k
		}
		if found, err := findState(x, path, depth+1); found != nil && len(found.Tensors) >= len(s.Tensors) || err != nil {
			return found, err
		}
	}
	if len(s.Tensors) == 0 {
		if depth > 0 {
			return nil, nil
		}
		return onlyState(d, depth)
	}
	return s, nil
}

// unpackLinear makes the weights and biases of linear layers that torch.ao.quantization made tensors by the names that they have in
// a layer of floats; weights stay in codes.
func (s *State) unpackLinear() {
	const packed = "_packed_params._packed_params"
	layers := map[string]pickle.Tuple{}
	for _, o := range s.Other {
		if prefix, ok := strings.CutSuffix(o.Name, packed); ok {
			if v, ok := o.Value.(pickle.Tuple); ok && len(v) == 2 {
				if w, ok := v[0].(*Tensor); ok && w.Quant != nil {
					layers[prefix] = v
				}
			}
		}
	}
	if len(layers) == 0 {
		return
	}
	var tensors []NamedTensor
	add := func(prefix string) {
		v := layers[prefix]
		delete(layers, prefix)
		tensors = append(tensors, NamedTensor{prefix + "weight", v[0].(*Tensor)})
		if b, ok := v[1].(*Tensor); ok {
			tensors = append(tensors, NamedTensor{prefix + "bias", b})
		}
	}
	unpacked := maps.Clone(layers)
	for _, t := range s.Tensors {
		prefix, scale := strings.CutSuffix(t.Name, "scale")
		if scale && layers[prefix] != nil {
			add(prefix) // where the layer was
			continue
		}
		if prefix, zero := strings.CutSuffix(t.Name, "zero_point"); zero && unpacked[prefix] != nil || scale && unpacked[prefix] != nil {
			continue
		}
		tensors = append(tensors, t)
	}
	for _, prefix := range slices.Sorted(maps.Keys(layers)) {
		add(prefix)
	}
	s.Tensors = tensors
	s.Other = slices.DeleteFunc(s.Other, func(e Entry) bool {
		prefix, of := strings.CutSuffix(e.Name, packed)
		if !of {
			prefix, of = strings.CutSuffix(e.Name, "_packed_params.dtype")
		}
		return of && unpacked[prefix] != nil
	})
}

// onlyState finds the weights under a key of another name, if there is one such.
func onlyState(d *pickle.Dict, depth int) (*State, error) {
	var only *State
	for i, k := range d.Keys {
		name, ok := k.(string)
		if !ok || strings.Contains(name, "optim") {
			continue
		}
		found, err := findState(d.Values[i], name, depth+1)
		if err != nil {
			return nil, err
		}
		if found != nil && len(found.Tensors) > 0 {
			if only != nil {
				return nil, fmt.Errorf("%w: weights under %q and under %q; which are the model's cannot be told", ErrFormat, only.Where, found.Where)
			}
			only = found
		}
	}
	return only, nil
}

// entries returns a dictionary, or that of an object which is one.
func entries(v any) *pickle.Dict {
	switch v := v.(type) {
	case *pickle.Dict:
		return v
	case *pickle.Object:
		if v.Pairs != nil {
			return v.Pairs
		}
	}
	return nil
}

// strip takes prefixes off that all names have.
func (s *State) strip() {
	for again := true; again; {
		again = false
		for _, p := range prefixes {
			all := len(s.Tensors) > 0
			for _, t := range s.Tensors {
				all = all && strings.HasPrefix(t.Name, p) && len(t.Name) > len(p)
			}
			if all {
				for i := range s.Tensors {
					s.Tensors[i].Name = s.Tensors[i].Name[len(p):]
				}
				for i := range s.Other {
					s.Other[i].Name = strings.TrimPrefix(s.Other[i].Name, p)
				}
				s.Prefix += p
				again = true
			}
		}
	}
}

// describe says what a value is, with its first keys.
func describe(v any) string {
	d := entries(v)
	if d == nil {
		return pickle.TypeName(v)
	}
	var keys []string
	for _, k := range d.Keys[:min(len(d.Keys), 8)] {
		keys = append(keys, show(k))
	}
	if n := d.Len() - len(keys); n > 0 {
		keys = append(keys, fmt.Sprintf("%d more", n))
	}
	return fmt.Sprintf("%s of %s", pickle.TypeName(v), strings.Join(keys, ", "))
}
