package checkpoint

import (
	"fmt"
	"strings"

	"github.com/neurotrain/neuroquant/internal/codec/pickle"
	"github.com/neurotrain/neuroquant/tensor"
)

// Device is a torch.device, such as "cuda:0".
type Device string

// rebuilders maps the functions of PyTorch that make a tensor from its parts.
var rebuilders = map[string]pickle.Call{
	"torch._utils._rebuild_tensor":                        rebuildTensor,
	"torch._utils._rebuild_tensor_v2":                     rebuildTensor,
	"torch._utils._rebuild_tensor_v3":                     rebuildTensor3,
	"torch._utils._rebuild_parameter":                     rebuildParameter,
	"torch._utils._rebuild_parameter_with_state":          rebuildParameter,
	"torch._utils._rebuild_qtensor":                       rebuildQuantized,
	"torch._utils._rebuild_sparse_tensor":                 rebuildSparse,
	"torch._utils._rebuild_sparse_csr_tensor":             rebuildSparse,
	"torch._utils._rebuild_nested_tensor":                 rebuildNested,
	"torch._utils._rebuild_meta_tensor_no_storage":        rebuildMeta,
	"torch._utils._rebuild_wrapper_subclass":              rebuildWrapper,
	"torch._utils._rebuild_device_tensor_from_numpy":      rebuildDevice,
	"torch._utils._rebuild_device_tensor_from_cpu_tensor": rebuildDevice,
	"torch._utils._rebuild_xla_tensor":                    rebuildDevice,
}

// calls maps the other functions and classes that a pickle may apply to what makes their values here.
var calls = map[string]pickle.Call{
	"torch._tensor._rebuild_from_type":    rebuildType,
	"torch._tensor._rebuild_from_type_v2": rebuildType,
	"torch.nn.parameter.Parameter":        newParameter,
	"torch.Size":                          newSize,
	"torch.device":                        newDevice,
	"torch.serialization._get_layout":     newLayout,
	"torch.jit._pickle.build_intlist":     firstArg,
	"torch.jit._pickle.build_doublelist":  firstArg,
	"torch.jit._pickle.build_boollist":    firstArg,
	"torch.jit._pickle.build_tensorlist":  firstArg,
	"torch.jit._pickle.restore_type_tag":  firstArg,
	"numpy.core.multiarray._reconstruct":  newArray,
	"numpy._core.multiarray._reconstruct": newArray,
	"numpy.core.multiarray.scalar":        newScalar,
	"numpy._core.multiarray.scalar":       newScalar,
	"numpy.core.numeric._frombuffer":      arrayFromBuffer,
	"numpy._core.numeric._frombuffer":     arrayFromBuffer,
}

// call returns what makes the values of a global, nil where it is not known.
func (f *File) call(g pickle.Global) pickle.Call {
	if c := rebuilders[g.String()]; c != nil {
		return c
	}
	if g.Module == "numpy" && g.Name == "dtype" {
		return f.newNumpyType
	}
	return calls[g.String()]
}

// known reports whether a global is expected in such files, as a name or as the class of plain data.
func known(g pickle.Global) bool {
	switch g.Module {
	case "torch":
		_, isType := dtypes[g.Name]
		_, isStorage := storageClasses[g.Name]
		switch g.Name {
		case "Tensor", "strided", "sparse_coo", "sparse_csr", "contiguous_format", "channels_last", "preserve_format",
			"per_tensor_affine", "per_channel_affine", "per_tensor_symmetric", "per_channel_symmetric", "per_channel_affine_float_qparams":
			return true
		}
		return isType || isStorage
	case "torch.cuda", "torch.storage":
		return strings.HasSuffix(g.Name, "Storage")
	case "numpy", "torch._C._nn", "torch._C._VariableFunctions":
		return true
	case "argparse":
		return g.Name == "Namespace"
	}
	for _, p := range []string{"torch.nn.", "torch.ao.nn.", "torchvision.models.", "torchvision.ops.", "__torch__."} {
		if strings.HasPrefix(g.Module+".", p) {
			return true
		}
	}
	return false
}

func argsError(args []any, want string) error {
	var got []string
	for _, a := range args[:min(len(args), 10)] {
		got = append(got, show(a))
	}
	return fmt.Errorf("arguments (%s); want (%s)", strings.Join(got, ", "), want)
}

func firstArg(args []any) (any, error) {
	if len(args) == 0 {
		return nil, argsError(args, "value")
	}
	return args[0], nil
}

// ints returns the whole numbers of a tuple, list or size.
func ints(v any) ([]int, bool) {
	items, ok := pickle.Items(v)
	if !ok || len(items) > maxRank {
		return nil, false
	}
	out := make([]int, len(items))
	for i, x := range items {
		n, ok := x.(int64)
		if !ok {
			return nil, false
		}
		out[i] = int(n)
	}
	return out, true
}

// layout reads the arguments (offset, size, stride) that follow a storage.
func layout(args []any) (offset int, shape tensor.Shape, strides []int, ok bool) {
	off, ok1 := args[0].(int64)
	size, ok2 := ints(args[1])
	strides, ok3 := ints(args[2])
	return int(off), size, strides, ok1 && ok2 && ok3
}

func rebuildTensor(args []any) (any, error) {
	const want = "storage, offset, size, stride, requires_grad, hooks"
	if len(args) < 4 {
		return nil, argsError(args, want)
	}
	ref, ok := args[0].(*storageRef)
	offset, shape, strides, ok2 := layout(args[1:4])
	if !ok || !ok2 {
		return nil, argsError(args, want)
	}
	t, err := newTensor(ref, ref.dtype, offset, shape, strides)
	if err != nil {
		return nil, err
	}
	if len(args) > 4 {
		t.RequiresGrad = args[4] == true
	}
	if len(args) > 6 {
		t.view(args[6])
	}
	return t, nil
}

// view notes what a tensor is a lazy view of: its conjugate or negative.
func (t *Tensor) view(metadata any) {
	d, ok := metadata.(*pickle.Dict)
	if !ok {
		return
	}
	for _, k := range []string{"conj", "neg"} {
		if v, _ := d.Get(k); v == true && t.bad == nil {
			t.bad = fmt.Errorf("a tensor that is a lazy %s view: %w", k, ErrUnsupported)
		}
	}
}

// rebuildTensor3 makes a tensor of an element type that is not that of its storage.
func rebuildTensor3(args []any) (any, error) {
	const want = "storage, offset, size, stride, requires_grad, hooks, dtype"
	if len(args) < 7 {
		return nil, argsError(args, want)
	}
	ref, ok := args[0].(*storageRef)
	offset, shape, strides, ok2 := layout(args[1:4])
	if !ok || !ok2 {
		return nil, argsError(args, want)
	}
	d, ok := DType(args[6])
	if !ok {
		return refusedTensor(tensor.Invalid, shape, "element type %s", show(args[6])), nil
	}
	raw := *ref
	raw.raw = true
	if raw.Storage != nil {
		if bytes := ref.dtype.ByteLen(ref.len); bytes < raw.Bytes { // no more than the storage was said to have
			raw = storageRef{Storage: raw.Storage, dtype: d, len: bytes * 8 / d.Bits()}
		}
	}
	t, err := newTensor(&raw, d, offset, shape, strides)
	if err != nil {
		return nil, err
	}
	t.RequiresGrad = args[4] == true
	if len(args) > 7 {
		t.view(args[7])
	}
	return t, nil
}

func rebuildParameter(args []any) (any, error) {
	if len(args) < 2 {
		return nil, argsError(args, "tensor, requires_grad, hooks")
	}
	t, ok := args[0].(*Tensor)
	if !ok {
		return nil, argsError(args, "tensor, requires_grad, hooks")
	}
	p := t.copy()
	p.Parameter, p.RequiresGrad = true, args[1] == true
	if len(args) > 3 {
		p.State = args[3]
	}
	return p, nil
}

// copy returns the tensor with nothing loaded.
func (t *Tensor) copy() *Tensor {
	return &Tensor{
		Storage: t.Storage, Offset: t.Offset, Strides: t.Strides, Quant: t.Quant, Parameter: t.Parameter, RequiresGrad: t.RequiresGrad,
		Class: t.Class, State: t.State, shape: t.shape, dtype: t.dtype, bad: t.bad,
	}
}

// newParameter is the constructor, which old files call.
func newParameter(args []any) (any, error) {
	if len(args) == 1 {
		args = append(args, true)
	}
	return rebuildParameter(args)
}

// Build takes attributes.
func (t *Tensor) Build(state any) error {
	t.State = state
	return nil
}

func rebuildQuantized(args []any) (any, error) {
	const want = "storage, offset, size, stride, quantizer, requires_grad, hooks"
	if len(args) < 5 {
		return nil, argsError(args, want)
	}
	ref, ok := args[0].(*storageRef)
	offset, shape, strides, ok2 := layout(args[1:4])
	if !ok || !ok2 || !ref.quant {
		return nil, argsError(args, want)
	}
	t, err := newTensor(ref, ref.dtype, offset, shape, strides)
	if err != nil {
		return nil, err
	}
	t.Quant, err = newQuant(args[4], shape)
	return t, err
}

func rebuildSparse(args []any) (any, error) {
	var shape tensor.Shape
	d := tensor.Invalid
	layout := ""
	if len(args) > 0 {
		layout = show(args[0])
	}
	if len(args) > 1 {
		if parts, ok := pickle.Items(args[1]); ok {
			for _, p := range parts { // the values come last, the size is the only tuple
				if t, ok := p.(*Tensor); ok {
					d = t.dtype
				}
				if s, ok := ints(p); ok && len(s) > 0 {
					shape = s
				}
			}
		}
	}
	if _, ok := shape.CheckedLen(); !ok {
		return nil, fmt.Errorf("a sparse tensor of shape %v", []int(shape))
	}
	return refusedTensor(d, shape, "a sparse tensor (%s)", layout), nil
}

func rebuildNested([]any) (any, error) {
	return refusedTensor(tensor.Invalid, nil, "a nested tensor"), nil
}

func rebuildMeta(args []any) (any, error) {
	if len(args) < 2 {
		return nil, argsError(args, "dtype, size, stride, requires_grad")
	}
	d, _ := DType(args[0])
	shape, ok := ints(args[1])
	if !ok {
		return nil, argsError(args, "dtype, size, stride, requires_grad")
	}
	if _, ok := tensor.Shape(shape).CheckedLen(); !ok {
		return nil, fmt.Errorf("a tensor of shape %v", shape)
	}
	return refusedTensor(d, shape, "a tensor without data (device meta)"), nil
}

func rebuildWrapper(args []any) (any, error) {
	if len(args) < 3 {
		return nil, argsError(args, "class, dtype, size, ...")
	}
	d, _ := DType(args[1])
	shape, ok := ints(args[2])
	if _, fits := tensor.Shape(shape).CheckedLen(); !ok || !fits {
		return nil, argsError(args, "class, dtype, size, ...")
	}
	return refusedTensor(d, shape, "a tensor of class %s", show(args[0])), nil
}

// rebuildDevice makes a tensor of another device from one of the CPU or an array.
func rebuildDevice(args []any) (any, error) {
	const want = "array, dtype, device, requires_grad"
	if len(args) < 2 {
		return nil, argsError(args, want)
	}
	t, ok := args[0].(*Tensor)
	if !ok {
		return nil, argsError(args, want)
	}
	d, known := DType(args[1])
	if !known || d == t.dtype {
		return t, nil
	}
	return refusedTensor(d, t.shape, "a tensor of %v that is stored as %v", d, t.dtype), nil
}

// rebuildType makes a tensor of a subclass: (function, class, arguments, state).
func rebuildType(args []any) (any, error) {
	const want = "function, class, arguments, state"
	if len(args) != 4 {
		return nil, argsError(args, want)
	}
	f, ok1 := args[0].(pickle.Global)
	class, ok2 := args[1].(pickle.Global)
	list, ok3 := args[2].(pickle.Tuple)
	if !ok1 || !ok2 || !ok3 {
		return nil, argsError(args, want)
	}
	c := rebuilders[f.String()]
	if c == nil {
		return nil, fmt.Errorf("%v is %w", f, ErrUnsupported)
	}
	v, err := c(list)
	if err != nil {
		return nil, err
	}
	if t, ok := v.(*Tensor); ok {
		if class != (pickle.Global{Module: "torch", Name: "Tensor"}) {
			t.Class = class.String()
		}
		if class.String() == "torch.nn.parameter.Parameter" {
			t.Class, t.Parameter = "", true
		}
		t.State = args[3]
	}
	return v, nil
}

func newSize(args []any) (any, error) {
	if len(args) == 0 {
		return pickle.Tuple(nil), nil
	}
	items, ok := pickle.Items(args[0])
	if !ok || len(args) != 1 {
		return nil, argsError(args, "tuple of sizes")
	}
	return pickle.Tuple(items), nil
}

func newDevice(args []any) (any, error) {
	if len(args) == 1 || len(args) == 2 {
		if name, ok := args[0].(string); ok {
			if len(args) == 2 {
				return Device(fmt.Sprintf("%s:%s", name, show(args[1]))), nil
			}
			return Device(name), nil
		}
	}
	return nil, argsError(args, "type, index")
}

func newLayout(args []any) (any, error) {
	if len(args) == 1 {
		if name, ok := args[0].(string); ok {
			return pickle.Global{Module: "torch", Name: strings.TrimPrefix(name, "torch.")}, nil
		}
	}
	return nil, argsError(args, "name")
}
