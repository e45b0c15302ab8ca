package checkpoint

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/neurotrain/neuroquant/internal/codec/pickle"
	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/tensor"
)

// Write writes v as torch.save does: an archive that torch.load reads. v is what package pickle writes, with a [tensor.Source]
// wherever there is a tensor; values that are one source are tensors of one storage, as tied weights are. Sources are loaded one
// after the other and released. The root is the name of the folder in the archive, which PyTorch gives the stem of the file's name.
func Write(ctx context.Context, w io.Writer, root string, v any) error {
	p := &pickled{keys: map[tensor.Source]int{}}
	v, err := p.value("", v, 0)
	if err = errors.Join(append(p.errs, err)...); err != nil {
		return err
	}
	object, err := pickle.Encode(v)
	if err != nil {
		return err
	}
	a := newArchive(w, root)
	task := progress.From(ctx).Start("write", int64(len(p.storages)), "tensors")
	defer task.Done()
	a.add("data.pkl", object)
	a.add("byteorder", []byte("little"))
	for i, s := range p.storages {
		if err := ctx.Err(); err != nil {
			return err
		}
		t, err := s.source.Load()
		if err != nil {
			return fmt.Errorf("tensor %q: %w", s.path, err)
		}
		a.add(fmt.Sprintf("data/%d", i), t.Bytes())
		tensor.Release(s.source)
		task.Add(1)
	}
	a.add("version", []byte("3\n"))
	return a.close()
}

// pickled collects the storages of a value.
type pickled struct {
	keys     map[tensor.Source]int
	storages []pathed
	errs     []error
}

type pathed struct {
	path   string
	source tensor.Source
}

// value returns v with the calls that make tensors in place of sources.
func (p *pickled) value(path string, v any, depth int) (any, error) {
	const most = 900
	if depth++; depth > most {
		return nil, fmt.Errorf("%.100s...: values are nested deeper than %d", path, most)
	}
	list := func(path string, in []any) (out []any, err error) {
		out = make([]any, len(in))
		for i, x := range in {
			if out[i], err = p.value(fmt.Sprintf("%s.%d", path, i), x, depth); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	var err error
	switch v := v.(type) {
	case *Codes:
		return p.codes(path, v), nil
	case tensor.Source:
		return p.tensor(path, v), nil
	case pickle.Tuple:
		out, err := list(path, v)
		return pickle.Tuple(out), err
	case *pickle.List:
		out, err := list(path, v.Items)
		return &pickle.List{Items: out}, err
	case *pickle.Dict:
		out := &pickle.Dict{Class: v.Class, Args: v.Args}
		for i, k := range v.Keys {
			name := fmt.Sprint(k)
			if path != "" {
				name = path + "." + name
			}
			x, err := p.value(name, v.Values[i], depth)
			if err != nil {
				return nil, err
			}
			if err := out.Set(k, x); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
		out.State, err = p.value(path, v.State, depth)
		return out, err
	case *pickle.Object:
		out := *v
		if out.Args, err = list(path, v.Args); err != nil {
			return nil, err
		}
		out.State, err = p.value(path, v.State, depth)
		return &out, err
	}
	return v, nil
}

// elementClasses are the classes of module torch for storages of an element type. Others are bytes, and the tensor says its type.
var elementClasses = map[tensor.DType]string{
	tensor.Float64: "DoubleStorage", tensor.Float32: "FloatStorage", tensor.Float16: "HalfStorage", tensor.BFloat16: "BFloat16Storage",
	tensor.Int64: "LongStorage", tensor.Int32: "IntStorage", tensor.Int16: "ShortStorage", tensor.Int8: "CharStorage", tensor.Uint8: "ByteStorage",
	tensor.Bool: "BoolStorage", tensor.Complex64: "ComplexFloatStorage", tensor.Complex128: "ComplexDoubleStorage",
}

// byteTypes are the names in module torch of the element types of such others.
var byteTypes = map[tensor.DType]string{
	tensor.Uint16: "uint16", tensor.Uint32: "uint32", tensor.Uint64: "uint64",
	tensor.Float8E4M3FN: "float8_e4m3fn", tensor.Float8E5M2: "float8_e5m2", tensor.Float8E4M3FNUZ: "float8_e4m3fnuz", tensor.Float8E5M2FNUZ: "float8_e5m2fnuz",
	tensor.Float8E8M0: "float8_e8m0fnu",
}

// OrderedDict returns an empty dictionary of the class that state dicts have.
func OrderedDict() *pickle.Dict {
	return &pickle.Dict{Class: pickle.Global{Module: "collections", Name: "OrderedDict"}}
}

// tensor returns the call that makes a tensor of a storage.
func (p *pickled) tensor(path string, s tensor.Source) any {
	key, known := p.keys[s]
	if !known {
		key = len(p.storages)
		p.keys[s] = key
		p.storages = append(p.storages, pathed{path, s})
	}
	call := &pickle.Object{Class: pickle.Global{Module: "torch._utils", Name: "_rebuild_tensor_v2"}, Called: true}
	class, elements := pickle.Global{Module: "torch", Name: elementClasses[s.DType()]}, s.Shape().Len()
	name, raw := byteTypes[s.DType()]
	if raw {
		call.Class.Name = "_rebuild_tensor_v3"
		class, elements = pickle.Global{Module: "torch.storage", Name: "UntypedStorage"}, s.DType().ByteLen(elements)
	} else if class.Name == "" {
		p.errs = append(p.errs, fmt.Errorf("tensor %q: PyTorch has no elements of type %v", path, s.DType()))
	}
	storage := pickle.Persistent{ID: pickle.Tuple{"storage", class, fmt.Sprint(key), "cpu", elements}}
	hooks := &pickle.Object{Class: OrderedDict().Class, Called: true}
	call.Args = []any{storage, 0, sizes(s.Shape()), sizes(s.Shape().Strides()), false, hooks}
	if raw {
		call.Args = append(call.Args, pickle.Global{Module: "torch", Name: name})
	}
	return call
}

func sizes(list []int) pickle.Tuple {
	out := make(pickle.Tuple, len(list))
	for i, n := range list {
		out[i] = n
	}
	return out
}

// archive writes a zip file whose members are stored and begin at multiples of 64 bytes, so that readers can map them.
type archive struct {
	out  io.Writer
	root string
	at   int64 // bytes written
	zip  *zip.Writer
	err  error
}

const alignment = 64

func newArchive(w io.Writer, root string) *archive {
	a := &archive{out: w, root: root}
	a.zip = zip.NewWriter(a)
	return a
}

func (a *archive) Write(b []byte) (int, error) {
	n, err := a.out.Write(b)
	a.at += int64(n)
	return n, err
}

// add writes a member. After an error it does nothing.
func (a *archive) add(name string, data []byte) {
	if a.err == nil {
		a.err = a.zip.Flush()
	}
	if a.err != nil {
		return
	}
	name = a.root + "/" + name
	const header = 30 // of a member, without its name and its extra field
	pad := int(-(a.at + header + int64(len(name)) + 4) & (alignment - 1))
	extra := append([]byte{'F', 'B', byte(pad), 0}, make([]byte, pad)...) // a field of padding, as PyTorch writes it
	n := uint64(len(data))
	var w io.Writer
	w, a.err = a.zip.CreateRaw(&zip.FileHeader{Name: name, Method: zip.Store, Extra: extra, CRC32: crc32.ChecksumIEEE(data), CompressedSize64: n, UncompressedSize64: n})
	if a.err == nil {
		_, a.err = w.Write(data)
	}
}

func (a *archive) close() error {
	if a.err == nil {
		a.err = a.zip.Close()
	}
	return a.err
}
