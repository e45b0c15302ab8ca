package checkpoint

import (
	"fmt"
	"strings"

	"github.com/neurotrain/neuroquant/internal/codec/pickle"
)

// Module is a torch.nn.Module, or a module of a TorchScript archive, as plain data.
type Module struct {
	Class    string // "torch.nn.modules.linear.Linear"
	Training bool
	Attrs    *pickle.Dict // what is set on it beside the rest, such as in_features; never nil
	Params   []NamedTensor
	Buffers  []NamedTensor
	Children []NamedModule // in the order of declaration

	plain     []NamedTensor   // tensors that are attributes only
	transient map[string]bool // buffers that a state dict does not have
}

// NamedTensor is a tensor under a name. A nil Tensor is a parameter that was declared absent, such as the bias of a layer
// without one.
type NamedTensor struct {
	Name string
	*Tensor
}

// NamedModule is a module under a name. A nil Module is one that was declared absent.
type NamedModule struct {
	Name string
	*Module
}

// Attr returns an attribute, nil where it is not set.
func (m *Module) Attr(name string) any {
	v, _ := m.Attrs.Get(name)
	return v
}

// Param returns a parameter, a buffer or another tensor that was set on the module; nil where there is none.
func (m *Module) Param(name string) *Tensor {
	for _, list := range [][]NamedTensor{m.Params, m.Buffers, m.plain} {
		for _, p := range list {
			if p.Name == name {
				return p.Tensor
			}
		}
	}
	return nil
}

// Child returns a submodule; nil where there is none.
func (m *Module) Child(name string) *Module {
	for _, c := range m.Children {
		if c.Name == name {
			return c.Module
		}
	}
	return nil
}

// Modules returns an object of a file as a tree of modules, or nil if it is none. A module that occurs in several places is
// the same in all of them.
func Modules(v any) (*Module, error) {
	o, ok := v.(*pickle.Object)
	if !ok || !isModule(o) {
		return nil, nil
	}
	return (&moduleReader{done: map[*pickle.Object]*Module{}, open: map[*pickle.Object]bool{}}).module(o)
}

// isModule reports whether an object has what every module has, or is of a class of a TorchScript archive.
func isModule(o *pickle.Object) bool {
	if strings.HasPrefix(o.Class.Module+".", "__torch__.") {
		return true
	}
	_, ok := o.Attr("_modules")
	return ok
}

type moduleReader struct {
	done map[*pickle.Object]*Module
	open map[*pickle.Object]bool // on the way from the root
}

// internals are attributes of every module that mean nothing to what it computes.
var internals = map[string]bool{
	"_parameters": true, "_buffers": true, "_modules": true, "training": true, "_backend": true,
	"_is_full_backward_hook": true, "call_super_init": true, "dump_patches": true, "_compiled_call_impl": true,
}

func (r *moduleReader) module(o *pickle.Object) (*Module, error) {
	if m := r.done[o]; m != nil {
		return m, nil
	}
	if r.open[o] {
		return nil, fmt.Errorf("%w: module %v holds itself", ErrFormat, o.Class)
	}
	r.open[o] = true
	defer delete(r.open, o)
	m := &Module{Class: o.Class.String(), Attrs: new(pickle.Dict)}
	state, ok := o.State.(*pickle.Dict)
	if !ok {
		return nil, fmt.Errorf("%w: the state of module %v is a %s", ErrFormat, o.Class, pickle.TypeName(o.State))
	}
	for i, k := range state.Keys {
		name, ok := k.(string)
		if !ok {
			return nil, fmt.Errorf("%w: module %v has an attribute named by a %s", ErrFormat, o.Class, pickle.TypeName(k))
		}
		if err := r.attribute(m, name, state.Values[i]); err != nil {
			return nil, err
		}
	}
	r.done[o] = m
	return m, nil
}

// attribute sorts an attribute in.
func (r *moduleReader) attribute(m *Module, name string, v any) error {
	switch {
	case name == "training":
		m.Training = v == true
	case name == "_parameters":
		return tensorsOf(&m.Params, m.Class, v)
	case name == "_buffers":
		return tensorsOf(&m.Buffers, m.Class, v)
	case name == "_non_persistent_buffers_set":
		items, _ := pickle.Items(v)
		m.transient = map[string]bool{}
		for _, x := range items {
			if name, ok := x.(string); ok {
				m.transient[name] = true
			}
		}
	case name == "_modules":
		d, ok := v.(*pickle.Dict)
		if !ok {
			return fmt.Errorf("%w: the submodules of %s are a %s", ErrFormat, m.Class, pickle.TypeName(v))
		}
		for i, k := range d.Keys {
			name, ok := k.(string)
			if !ok {
				return fmt.Errorf("%w: a submodule of %s is named by a %s", ErrFormat, m.Class, pickle.TypeName(k))
			}
			child, err := r.child(m, name, d.Values[i])
			if err != nil {
				return err
			}
			m.Children = append(m.Children, NamedModule{name, child})
		}
	case internals[name] || strings.HasSuffix(name, "_hooks") || strings.Contains(name, "_hooks_"):
	default:
		if o, ok := v.(*pickle.Object); ok && isModule(o) { // TorchScript keeps submodules among the attributes
			child, err := r.module(o)
			if err != nil {
				return err
			}
			m.Children = append(m.Children, NamedModule{name, child})
			return nil
		}
		if t, ok := v.(*Tensor); ok {
			list := &m.plain
			if strings.HasPrefix(m.Class, "__torch__.") { // TorchScript keeps parameters there
				list = &m.Params
			}
			*list = append(*list, NamedTensor{name, t})
			return nil
		}
		return m.Attrs.Set(name, v)
	}
	return nil
}

func (r *moduleReader) child(m *Module, name string, v any) (*Module, error) {
	if v == nil {
		return nil, nil
	}
	o, ok := v.(*pickle.Object)
	if !ok || !isModule(o) {
		return nil, fmt.Errorf("%w: submodule %s of %s is a %s", ErrFormat, name, m.Class, pickle.TypeName(v))
	}
	return r.module(o)
}

func tensorsOf(list *[]NamedTensor, class string, v any) error {
	d, ok := v.(*pickle.Dict)
	if !ok {
		return fmt.Errorf("%w: the tensors of %s are a %s", ErrFormat, class, pickle.TypeName(v))
	}
	for i, k := range d.Keys {
		name, ok := k.(string)
		if !ok {
			return fmt.Errorf("%w: a tensor of %s is named by a %s", ErrFormat, class, pickle.TypeName(k))
		}
		t, ok := d.Values[i].(*Tensor)
		if !ok && d.Values[i] != nil {
			return fmt.Errorf("%w: %s of %s is a %s, not a tensor", ErrFormat, name, class, pickle.TypeName(d.Values[i]))
		}
		*list = append(*list, NamedTensor{name, t})
	}
	return nil
}

// moduleVersions are the versions of the classes of torch.nn and torchvision that have another one than 1; one that ends in a dot
// stands for all classes of its module.
var moduleVersions = map[string]int{
	"torch.nn.modules.batchnorm.": 2, "torchvision.models.mnasnet.MNASNet": 2, "torchvision.models.vision_transformer.MLPBlock": 2,
}

// Versions returns the versions of a module and of all below it by path, as a state dict has them.
func (m *Module) Versions() map[string]int {
	out := map[string]int{}
	var walk func(m *Module, path string)
	walk = func(m *Module, path string) {
		if _, twice := out[path]; twice || len(out) > maxTensors {
			return
		}
		out[path] = 1
		for _, class := range []string{m.Class, m.Class[:strings.LastIndexByte(m.Class, '.')+1]} {
			if v := moduleVersions[class]; v > 0 {
				out[path] = v
			}
		}
		for _, c := range m.Children {
			if c.Module != nil {
				walk(c.Module, strings.TrimPrefix(path+"."+c.Name, "."))
			}
		}
	}
	walk(m, "")
	return out
}

// maxTensors bounds what a tree of modules that share one another is spelled out to.
const maxTensors = 1 << 20

// Tensors lists the parameters and buffers of a module and of all below it by their full names, as a state dict has them.
func (m *Module) Tensors() ([]NamedTensor, error) {
	var out []NamedTensor
	steps := 0
	var walk func(m *Module, prefix string) error
	walk = func(m *Module, prefix string) error {
		if steps++; steps > maxTensors || len(prefix) > 1<<12 {
			return fmt.Errorf("%w: a tree of more than %d modules", ErrFormat, maxTensors)
		}
		for _, list := range [][]NamedTensor{m.Params, m.Buffers} {
			for _, p := range list {
				if p.Tensor != nil && !m.transient[p.Name] {
					out = append(out, NamedTensor{prefix + p.Name, p.Tensor})
				}
			}
		}
		for _, c := range m.Children {
			if c.Module != nil {
				if err := walk(c.Module, prefix+c.Name+"."); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return out, walk(m, "")
}
