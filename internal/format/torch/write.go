package torch

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/codec/outfile"
	"github.com/neurotrain/neuroquant/internal/codec/pickle"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/tensor"
)

// Save writes the state dict of m to a file that torch.load reads, with weights_only too: an OrderedDict of tensors by name. The
// graph of m is not in it. Tensors that are one source are one storage, as tied weights are in PyTorch.
func Save(ctx context.Context, path string, m *model.Model, _ model.SaveOptions) error {
	if err := save(ctx, path, m); err != nil {
		return fmt.Errorf("torch: %s: %w", path, err)
	}
	return nil
}

func save(ctx context.Context, path string, m *model.Model) error {
	state := m.StateDict()
	if len(state) == 0 {
		return errors.New("the model has no tensors")
	}
	dict, storages, err := describe(state, m.Versions)
	if err != nil {
		return err
	}
	object, err := pickle.Encode(dict)
	if err != nil {
		return err
	}
	var files outfile.Set
	defer files.Abort()
	f, err := files.Create(path)
	if err != nil {
		return err
	}
	root := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)) + "/"
	w := newArchive(f)
	task := progress.From(ctx).Start("write", int64(len(storages)), "tensors")
	defer task.Done()
	w.add(root+"data.pkl", object)
	w.add(root+"byteorder", []byte("little"))
	for i, s := range storages {
		if err := ctx.Err(); err != nil {
			return err
		}
		t, err := s.Load()
		if err != nil {
			return fmt.Errorf("tensor %q: %w", s.Name, err)
		}
		w.add(fmt.Sprintf("%sdata/%d", root, i), t.Bytes())
		tensor.Release(s.Source)
		task.Add(1)
	}
	w.add(root+"version", []byte("3\n"))
	if err := w.close(); err != nil {
		return err
	}
	return files.Commit()
}

// storageClasses are the classes of module torch for storages of an element type. Others are bytes, and the tensor says its type.
var storageClasses = map[tensor.DType]string{
	tensor.Float64: "DoubleStorage", tensor.Float32: "FloatStorage", tensor.Float16: "HalfStorage", tensor.BFloat16: "BFloat16Storage",
	tensor.Int64: "LongStorage", tensor.Int32: "IntStorage", tensor.Int16: "ShortStorage", tensor.Int8: "CharStorage", tensor.Uint8: "ByteStorage",
	tensor.Bool: "BoolStorage", tensor.Complex64: "ComplexFloatStorage", tensor.Complex128: "ComplexDoubleStorage",
}

// typeNames are the names in module torch of the element types of such others.
var typeNames = map[tensor.DType]string{
	tensor.Uint16: "uint16", tensor.Uint32: "uint32", tensor.Uint64: "uint64",
	tensor.Float8E4M3FN: "float8_e4m3fn", tensor.Float8E5M2: "float8_e5m2", tensor.Float8E4M3FNUZ: "float8_e4m3fnuz", tensor.Float8E5M2FNUZ: "float8_e5m2fnuz",
	tensor.Float8E8M0: "float8_e8m0fnu",
}

// describe returns what is pickled of a state dict, and its storages in the order of their keys.
func describe(state []model.Entry, versions map[string]int) (*pickle.Dict, []model.Entry, error) {
	dict := orderedDict()
	keys := map[tensor.Source]int{}
	var storages []model.Entry
	var errs []error
	for _, e := range state {
		if _, twice := dict.Get(e.Name); twice {
			errs = append(errs, fmt.Errorf("two tensors are called %q", e.Name))
			continue
		}
		key, known := keys[e.Source]
		if !known {
			key = len(storages)
			keys[e.Source] = key
			storages = append(storages, e)
		}
		x, err := rebuilt(e.Source, key)
		if err != nil {
			errs = append(errs, fmt.Errorf("tensor %q: %w", e.Name, err))
			continue
		}
		if err := dict.Set(e.Name, x); err != nil {
			return nil, nil, err
		}
	}
	if len(versions) > 0 {
		metadata := orderedDict()
		for _, path := range slices.Sorted(maps.Keys(versions)) {
			if err := metadata.Set(path, pairs("version", versions[path])); err != nil {
				return nil, nil, err
			}
		}
		dict.State = pairs("_metadata", metadata)
	}
	return dict, storages, errors.Join(errs...)
}

func orderedDict() *pickle.Dict {
	return &pickle.Dict{Class: pickle.Global{Module: "collections", Name: "OrderedDict"}}
}

// pairs returns a dictionary of one entry.
func pairs(key string, value any) *pickle.Dict {
	d := new(pickle.Dict)
	if err := d.Set(key, value); err != nil {
		panic(err) // a text is a key
	}
	return d
}

// rebuilt is the call that makes a tensor of the storage of a key.
func rebuilt(s tensor.Source, key int) (*pickle.Object, error) {
	size := pickle.Tuple{}
	for _, n := range s.Shape() {
		size = append(size, n)
	}
	strides := pickle.Tuple{}
	for _, n := range s.Shape().Strides() {
		strides = append(strides, n)
	}
	call := &pickle.Object{Class: pickle.Global{Module: "torch._utils", Name: "_rebuild_tensor_v2"}, Called: true}
	class, elements := pickle.Global{Module: "torch", Name: storageClasses[s.DType()]}, s.Shape().Len()
	name, raw := typeNames[s.DType()]
	if raw {
		call.Class.Name = "_rebuild_tensor_v3"
		class, elements = pickle.Global{Module: "torch.storage", Name: "UntypedStorage"}, s.DType().ByteLen(elements)
	} else if class.Name == "" {
		return nil, fmt.Errorf("PyTorch has no elements of type %v", s.DType())
	}
	hooks := &pickle.Object{Class: orderedDict().Class, Called: true}
	storage := pickle.Persistent{ID: pickle.Tuple{"storage", class, fmt.Sprint(key), "cpu", elements}}
	call.Args = []any{storage, 0, size, strides, false, hooks}
	if raw {
		call.Args = append(call.Args, pickle.Global{Module: "torch", Name: name})
	}
	return call, nil
}

// archive writes a zip file whose members are stored and begin at multiples of 64 bytes, so that readers can map them.
type archive struct {
	out io.Writer
	at  int64 // bytes written
	zip *zip.Writer
	err error
}

const alignment = 64

func newArchive(f io.Writer) *archive {
	a := &archive{out: f}
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
	if a.err != nil {
		return
	}
	if a.err = a.zip.Flush(); a.err != nil {
		return
	}
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
