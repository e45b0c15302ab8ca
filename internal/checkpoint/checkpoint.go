// Package checkpoint reads the files that PyTorch writes: what torch.save made in any version (zip archives, the stream before
// version 1.6, the tar before 0.4), TorchScript archives and the archives of torch.export, and plain pickles.
//
// [Open] maps a file and reads its directory; [File.Object] gives what was saved, as package pickle has it, with a *[Tensor]
// wherever the file has a tensor. Nothing of a file is executed, and no tensor is read before [Tensor.Load]: it aliases the file
// where that is contiguous and little-endian. [File.Refused] lists the classes and functions that are not known here; objects
// of them are plain data.
//
// An archive may hold several pickles and other members: [File.Names], [File.Read], [File.Unpickle] and [File.Tensor] reach
// them by their names below the archive's root folder, for example
//
//	f, err := checkpoint.Open("model.pt")      // f.Kind is Saved, Script or Export
//	tree, err := f.Object()                    // data.pkl with its storages in data/
//	consts, err := f.Unpickle("constants.pkl", "constants")
//	code, err := f.Read("code/__torch__/net.py", 1<<24)
//	w, err := f.Tensor("data/weights/weight_0", tensor.Float32, shape, strides, offset)
//
// A module (torch.nn.Module, or a TorchScript one) is a *pickle.Object; [Modules] gives it with its parameters, buffers and
// submodules sorted out, [StateDict] finds the tensors by name in whatever was saved.
package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/neurotrain/neuroquant/internal/codec/mmap"
	"github.com/neurotrain/neuroquant/internal/codec/pickle"
	"github.com/neurotrain/neuroquant/internal/codec/zipfile"
	"github.com/neurotrain/neuroquant/tensor"
)

// Kind is what a file holds.
type Kind string

// Kinds of files.
const (
	Saved  Kind = "saved"        // of torch.save: a state dict, a whole module, or anything else
	Script Kind = "torchscript"  // of torch.jit.save
	Export Kind = "torch.export" // of torch.export.save, of any version
)

// Container is how a file is built.
type Container string

// Containers.
const (
	Zip    Container = "zip"
	Stream Container = "legacy stream" // five pickles and the storages
	Tar    Container = "legacy tar"
	Pickle Container = "pickle" // a plain pickle, without storages
)

// Errors that callers branch on.
var (
	ErrFormat      = errors.New("not a valid PyTorch file")
	ErrUnsupported = errors.New("not supported")
)

// File is an open file. Its tensors may alias it until it is closed.
type File struct {
	Path      string
	Kind      Kind
	Container Container
	BigEndian bool

	data   []byte
	file   *mmap.File // that data is mapped from; nil for other memory
	zip    *zipfile.Archive
	root   string // folder in the archive, with its slash
	report pickle.Report
	stores map[string]*Storage // by path of the member in the archive
	memory *budget

	read   bool // whether object and err are set
	object any
	err    error
}

// Match reports whether a file that begins like this may be one that [Open] reads.
func Match(head []byte) bool {
	if bytes.HasPrefix(head, []byte("PK\x03\x04")) || len(head) >= 2 && head[0] == 0x80 && head[1] >= 1 && head[1] <= 5 {
		return true
	}
	return isTar(head)
}

// Open maps the file at path and reads its directory.
func Open(path string) (*File, error) {
	m, err := mmap.Open(path)
	if err != nil {
		return nil, err
	}
	f, err := Parse(path, m.Bytes())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), m.Close())
	}
	f.file = m
	return f, nil
}

// Parse is [Open] for a file in memory, such as a member of another archive. The path is for messages only.
func Parse(path string, data []byte) (*File, error) {
	f := &File{Path: path, data: data, Kind: Saved, stores: map[string]*Storage{}, memory: &budget{maxCopies + 2*len(data)}}
	switch {
	case len(data) == 0:
		return nil, fmt.Errorf("%w: the file is empty", ErrFormat)
	case bytes.HasPrefix(data, []byte("PK")):
		f.Container = Zip
		return f, f.openZip()
	case isTar(data):
		f.Container = Tar
		return f, nil
	case bytes.HasPrefix(data, legacyMagic):
		f.Container = Stream
		return f, nil
	case data[0] == 0x80:
		f.Container = Pickle
		return f, nil
	}
	return nil, fmt.Errorf("%w: it starts with %q; accepted are the zip, tar and pickle forms of torch.save, TorchScript and torch.export archives", ErrFormat, data[:min(len(data), 16)])
}

// Close releases the file. Tensors that alias it must not be used any more.
func (f *File) Close() error {
	if f.file == nil {
		return nil
	}
	return f.file.Close()
}

// Object returns what was saved: the pickle of the file. For [Script] that is the tree of modules; [Export] has none.
// It is read once.
func (f *File) Object() (any, error) {
	if !f.read {
		f.read = true
		switch f.Container {
		case Zip:
			f.object, f.err = f.Unpickle("data.pkl", "data")
		case Stream:
			f.object, f.err = f.readStream()
		case Tar:
			f.object, f.err = f.readTar()
		default:
			f.object, f.err = f.plain(f.data)
		}
	}
	return f.object, f.err
}

// plain reads a pickle that refers to nothing outside of it.
func (f *File) plain(data []byte) (any, error) {
	v, n, err := pickle.Load(data, f.options(nil))
	if err == nil && n < len(data) {
		err = fmt.Errorf("%d bytes follow the pickle of %d; files of torch.save begin with a number of their own", len(data)-n, n)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return v, nil
}

// options returns how pickles of this file are read: their values may take as much memory as the file, and a little.
func (f *File) options(persistent func(any) (any, error)) pickle.Options {
	return pickle.Options{
		Calls: f.call, Known: known, Persistent: persistent, Report: &f.report, Bytes: pickle.DefaultBytes + len(f.data),
	}
}

// Refused lists the classes and functions that the pickles read so far refer to and that are not known: what Python would
// have imported and, where it says so, called.
func (f *File) Refused() []pickle.Use { return f.report.List() }

func (f *File) openZip() error {
	z, err := zipfile.Parse(f.data)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if len(z.Members) == 0 {
		return fmt.Errorf("%w: an empty archive", ErrFormat)
	}
	f.zip = z
	has := func(name string) bool { _, ok := z.Find(f.root + name); return ok }
	if has("serialized_exported_program.json") { // before PyTorch 2.8 there was no root folder
		f.Kind = Export
		return nil
	}
	first := z.Members[0].Name
	if i := strings.IndexByte(first, '/'); i >= 0 {
		f.root = first[:i+1]
	}
	switch {
	case has("archive_format") && f.text("archive_format") == "pt2":
		f.Kind = Export
	case has("constants.pkl"):
		f.Kind = Script
	case !has("data.pkl"):
		return fmt.Errorf("%w: a zip archive without %sdata.pkl; it holds %s", ErrFormat, f.root, someNames(z))
	}
	switch order := f.text("byteorder"); order {
	case "", "little":
	case "big":
		f.BigEndian = true
	default:
		return fmt.Errorf("%w: byte order %.20q; want little or big", ErrFormat, order)
	}
	return nil
}

func someNames(z *zipfile.Archive) string {
	var names []string
	for _, m := range z.Members[:min(len(z.Members), 5)] {
		names = append(names, fmt.Sprintf("%.60q", m.Name))
	}
	if n := len(z.Members) - len(names); n > 0 {
		names = append(names, fmt.Sprintf("%d more", n))
	}
	return strings.Join(names, ", ")
}

// text returns a short member; "" where there is none.
func (f *File) text(name string) string {
	b, err := f.Read(name, 1<<10)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// Names lists the members of an archive by their names below the root folder, in the order of its directory.
func (f *File) Names() []string {
	if f.zip == nil {
		return nil
	}
	var names []string
	for _, m := range f.zip.Members {
		if name, ok := strings.CutPrefix(m.Name, f.root); ok {
			names = append(names, name)
		}
	}
	return names
}

// Has reports whether an archive has a member.
func (f *File) Has(name string) bool {
	if f.zip == nil {
		return false
	}
	_, ok := f.zip.Find(f.root + name)
	return ok
}

// Read returns the contents of a member of at most limit bytes. They may alias the file.
func (f *File) Read(name string, limit int) ([]byte, error) {
	m, err := f.member(name)
	if err != nil {
		return nil, err
	}
	return f.zip.Read(m, limit)
}

func (f *File) member(name string) (zipfile.Member, error) {
	if f.zip == nil {
		return zipfile.Member{}, fmt.Errorf("a %s has no members", f.Container)
	}
	m, ok := f.zip.Find(f.root + name)
	if !ok {
		return m, fmt.Errorf("%w: the archive has no member %s%.80s", ErrFormat, f.root, name)
	}
	return m, nil
}

// maxPickle bounds a pickle that is compressed; one that is stored is bounded by the file.
const maxPickle = 8 << 20

// maxCopies bounds the memory that copies of what a file holds may take beyond twice its size: members that are unpacked and
// tensors that do not lie in the file as they are used.
const maxCopies = 24 << 20

// budget is memory in bytes that may still be taken.
type budget struct{ left int }

// take takes n bytes, if there are as many.
func (b *budget) take(n int) bool {
	if n > b.left {
		return false
	}
	b.left -= n
	return true
}

// Unpickle reads a pickle of an archive whose storages are the members of a folder. Storages of the same name are the same
// for all pickles.
func (f *File) Unpickle(name, folder string) (any, error) {
	m, err := f.member(name)
	if err != nil {
		return nil, err
	}
	limit := maxPickle
	if m.Stored {
		limit = m.Size
	}
	b, err := f.zip.Read(m, limit)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	v, n, err := pickle.Load(b, f.options(func(id any) (any, error) { return f.zipStorage(folder, id) }))
	if err == nil && n < len(b) {
		err = fmt.Errorf("%d bytes follow the pickle of %d", len(b)-n, n)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s%s: %w", ErrFormat, f.root, name, err)
	}
	return v, nil
}

// zipStorage returns the storage that a persistent id refers to.
func (f *File) zipStorage(folder string, id any) (any, error) {
	s, err := parseID(id)
	if err != nil || s.class != nil {
		return s.classOr(), err
	}
	return f.storage(folder+"/"+s.key, s)
}

// storage returns the storage that a member is, once for all who ask.
func (f *File) storage(name string, id storageID) (*storageRef, error) {
	if id.location == "meta" {
		return &storageRef{dtype: id.dtype, quant: id.quant, raw: id.raw, len: id.len}, nil
	}
	st := f.stores[name]
	if st == nil {
		m, err := f.member(name)
		if err != nil {
			return nil, err
		}
		st = &Storage{Name: name, Bytes: m.Size, file: f}
		if m.Stored {
			if st.data, err = f.zip.Slice(m); err != nil {
				return nil, err
			}
		} else {
			if !f.memory.take(m.Size) {
				return nil, fmt.Errorf("storage %s unpacks to %d bytes, which with the others is too much for a file of %d: save it again without compression", name, m.Size, len(f.data))
			}
			st.unpack = func() ([]byte, error) { return f.zip.Read(m, m.Size) }
		}
		f.stores[name] = st
	}
	if want := id.dtype.ByteLen(id.len); want > st.Bytes {
		return nil, fmt.Errorf("storage %s has %d bytes; %d elements of %v take %d", name, st.Bytes, id.len, id.dtype, want)
	}
	return &storageRef{Storage: st, dtype: id.dtype, quant: id.quant, raw: id.raw, len: id.len}, nil
}

// Tensor returns a tensor over a member of raw elements. Strides and offset are in elements; nil strides: contiguous.
func (f *File) Tensor(name string, d tensor.DType, shape tensor.Shape, strides []int, offset int) (*Tensor, error) {
	m, err := f.member(name)
	if err != nil {
		return nil, err
	}
	if d.Size() == 0 {
		return nil, fmt.Errorf("a storage of %v is %w", d, ErrUnsupported)
	}
	ref, err := f.storage(name, storageID{dtype: d, len: m.Size / d.Size()})
	if err != nil {
		return nil, err
	}
	if strides == nil {
		strides = shape.Strides()
	}
	return newTensor(ref, d, offset, shape, strides)
}
