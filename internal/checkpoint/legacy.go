package checkpoint

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/neurotrain/neuroquant/internal/codec/pickle"
	"github.com/neurotrain/neuroquant/tensor"
)

// legacyMagic is how the stream form begins: protocol 2 and the number 0x1950a86a20f9469cfc6c.
var legacyMagic = []byte("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.")

const legacyProtocol = 1001

// keyed is the storage of a key in the forms that have their elements elsewhere.
type keyed struct {
	Storage
	class storageID
}

// readStream reads the form before PyTorch 1.6: the pickles of a magic number, a protocol, the writing machine, the object and
// the list of storage keys, then for each key the number of elements and the elements.
func (f *File) readStream() (any, error) {
	rest := f.data[len(legacyMagic):]
	next := func(what string, persistent func(any) (any, error)) (any, error) {
		v, n, err := pickle.Load(rest, f.options(persistent))
		if err != nil {
			return nil, fmt.Errorf("%w: %s, at byte %d: %w", ErrFormat, what, len(f.data)-len(rest), err)
		}
		rest = rest[n:]
		return v, nil
	}
	v, err := next("protocol", nil)
	if err != nil {
		return nil, err
	}
	if v != int64(legacyProtocol) {
		return nil, fmt.Errorf("%w: protocol %s; want %d", ErrFormat, show(v), legacyProtocol)
	}
	info, err := next("writing machine", nil)
	if err != nil {
		return nil, err
	}
	if d, ok := info.(*pickle.Dict); ok {
		little, ok := d.Get("little_endian")
		f.BigEndian = ok && little == false
	}
	stores := map[string]*keyed{}
	object, err := next("object", func(id any) (any, error) { return f.streamStorage(stores, id) })
	if err != nil {
		return nil, err
	}
	keys, err := next("list of storages", nil)
	if err != nil {
		return nil, err
	}
	list, ok := keys.(*pickle.List)
	if !ok {
		return nil, fmt.Errorf("%w: the list of storages is a %s", ErrFormat, pickle.TypeName(keys))
	}
	for _, k := range list.Items {
		name, err := keyOf(k)
		if err != nil {
			return nil, fmt.Errorf("%w: the list of storages holds %w", ErrFormat, err)
		}
		st := stores[name]
		if st == nil {
			return nil, fmt.Errorf("%w: the list of storages names %.80q, which the object does not have", ErrFormat, name)
		}
		if st.data != nil {
			return nil, fmt.Errorf("%w: storage %.80q is listed twice", ErrFormat, name)
		}
		if st.data, rest, err = f.elements(rest, st.class.dtype, st.class.len); err != nil {
			return nil, fmt.Errorf("%w: storage %.80q: %w", ErrFormat, name, err)
		}
	}
	for name, st := range stores {
		if st.data == nil {
			return nil, fmt.Errorf("%w: the elements of storage %.80q are missing", ErrFormat, name)
		}
	}
	return object, nil
}

// elements cuts a count and as many elements off b.
func (f *File) elements(b []byte, d tensor.DType, want int) (data, rest []byte, err error) {
	if len(b) < 8 {
		return nil, nil, fmt.Errorf("the file ends before its elements: it is cut short")
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if f.BigEndian {
		order = binary.BigEndian
	}
	n := order.Uint64(b)
	if n != uint64(want) {
		return nil, nil, fmt.Errorf("it has %d elements, and %d where it is used", n, want)
	}
	size := d.ByteLen(want)
	if size > len(b)-8 {
		return nil, nil, fmt.Errorf("its %d bytes reach beyond the end of the file: it is cut short", size)
	}
	return b[8 : 8+size : 8+size], b[8+size:], nil
}

// streamStorage returns the storage, or the part of one, that a persistent id refers to.
func (f *File) streamStorage(stores map[string]*keyed, id any) (any, error) {
	s, err := parseID(id)
	if err != nil || s.class != nil {
		return s.classOr(), err
	}
	if s.location == "meta" {
		return &storageRef{dtype: s.dtype, quant: s.quant, len: s.len}, nil
	}
	st := stores[s.key]
	if st == nil {
		// A storage takes its bytes in the file, which bounds how many an object can have.
		if size := s.dtype.ByteLen(s.len); size > len(f.data) {
			return nil, fmt.Errorf("storage %.80q of %d bytes in a file of %d", s.key, size, len(f.data))
		}
		st = &keyed{Storage{Name: s.key, Bytes: s.dtype.ByteLen(s.len), file: f}, s}
		stores[s.key] = st
	}
	if st.class.dtype != s.dtype || st.class.len != s.len {
		return nil, fmt.Errorf("storage %.80q has %d elements of %v in one place and %d of %v in another", s.key, st.class.len, st.class.dtype, s.len, s.dtype)
	}
	ref := &storageRef{Storage: &st.Storage, dtype: s.dtype, quant: s.quant, raw: s.raw, len: s.len}
	if s.view != nil {
		ref.first, ref.len = s.view.offset, s.view.len
	}
	return ref, nil
}

// isTar reports whether a file begins like a tar archive.
func isTar(head []byte) bool {
	return len(head) >= 262 && string(head[257:262]) == "ustar" || len(head) >= 512 && tarName(head) != "" && bytes.HasPrefix(head, []byte("sys_info\x00"))
}

func tarName(h []byte) string {
	name, _, _ := bytes.Cut(h[:100], []byte{0})
	return string(name)
}

// tarMembers returns the files of a tar archive by name.
func tarMembers(data []byte) (map[string][]byte, error) {
	members := map[string][]byte{}
	for at := 0; at+512 <= len(data); {
		h := data[at : at+512]
		if h[0] == 0 {
			break // the end is marked by empty blocks
		}
		name := strings.TrimPrefix(tarName(h), "./")
		size, err := tarSize(h[124:136])
		if err != nil || size > len(data)-at-512 {
			return nil, fmt.Errorf("member %.80q of the tar archive reaches beyond its end: it is cut short", name)
		}
		body := data[at+512 : at+512+size]
		if kind := h[156]; kind == '0' || kind == 0 {
			if _, twice := members[name]; twice {
				return nil, fmt.Errorf("member %.80q of the tar archive occurs twice", name)
			}
			members[name] = body
		}
		at += 512 + (size+511)/512*512
	}
	return members, nil
}

// tarSize reads an octal number, or one of base 256, which begins with a byte of 0x80.
func tarSize(b []byte) (int, error) {
	var n uint64
	if b[0]&0x80 != 0 {
		for _, c := range b[len(b)-7:] {
			n = n<<8 | uint64(c)
		}
		return int(n), nil
	}
	for _, c := range bytes.Trim(b, " \x00") {
		if c < '0' || c > '7' {
			return 0, fmt.Errorf("a size of %q", b)
		}
		n = n<<3 | uint64(c-'0')
	}
	return int(n), nil
}

// tarReader reads what follows one another in a member of the tar form.
type tarReader struct {
	f    *File
	name string
	data []byte
}

func (r *tarReader) pickle() (any, error) {
	v, n, err := pickle.Load(r.data, r.f.options(nil))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrFormat, r.name, err)
	}
	r.data = r.data[n:]
	return v, nil
}

// count reads how many entries follow; each takes at least a byte.
func (r *tarReader) count() (int, error) {
	v, err := r.pickle()
	if err != nil {
		return 0, err
	}
	n, ok := v.(int64)
	if !ok || n < 0 || n > int64(len(r.data)) {
		return 0, fmt.Errorf("%w: %s: %s entries in %d bytes", ErrFormat, r.name, show(v), len(r.data))
	}
	return int(n), nil
}

// int64s reads numbers of eight bytes.
func (r *tarReader) int64s(n int) ([]int, error) {
	if n > len(r.data)/8 {
		return nil, fmt.Errorf("%w: %s is cut short", ErrFormat, r.name)
	}
	out := make([]int, n)
	for i := range out {
		out[i] = int(int64(binary.LittleEndian.Uint64(r.data[8*i:])))
	}
	r.data = r.data[8*n:]
	return out, nil
}

// readTar reads the form before PyTorch 0.4: a tar archive of storages, the tensors that lie in them, and the pickle of the
// object, which refers to tensors and storages by number.
func (f *File) readTar() (any, error) {
	members, err := tarMembers(f.data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	for _, name := range []string{"storages", "tensors", "pickle"} {
		if members[name] == nil {
			return nil, fmt.Errorf("%w: a tar archive without a member %s", ErrFormat, name)
		}
	}
	values := map[string]any{}
	if err := f.tarStorages(&tarReader{f, "storages", members["storages"]}, values); err != nil {
		return nil, err
	}
	if err := f.tarTensors(&tarReader{f, "tensors", members["tensors"]}, values); err != nil {
		return nil, err
	}
	v, _, err := pickle.Load(members["pickle"], f.options(func(id any) (any, error) {
		if t, ok := id.(pickle.Tuple); ok && len(t) > 0 { // a class with its source
			if g, ok := t[0].(pickle.Global); ok {
				return g, nil
			}
		}
		key, err := keyOf(id)
		if err != nil {
			return nil, err
		}
		if v := values[key]; v != nil {
			return v, nil
		}
		return nil, fmt.Errorf("it refers to %.80q, which is neither a tensor nor a storage", key)
	}))
	if err != nil {
		return nil, fmt.Errorf("%w: pickle: %w", ErrFormat, err)
	}
	return v, nil
}

func (f *File) tarStorages(r *tarReader, values map[string]any) error {
	n, err := r.count()
	if err != nil {
		return err
	}
	for range n {
		v, err := r.pickle()
		if err != nil {
			return err
		}
		t, ok := v.(pickle.Tuple)
		if !ok || len(t) != 3 {
			return fmt.Errorf("%w: storages: an entry that is a %s", ErrFormat, pickle.TypeName(v))
		}
		key, err := keyOf(t[0])
		if err != nil {
			return fmt.Errorf("%w: storages: %w", ErrFormat, err)
		}
		if len(r.data) < 8 {
			return fmt.Errorf("%w: storages is cut short", ErrFormat)
		}
		s, err := parseID(pickle.Tuple{"storage", t[2], key, t[1], int64(binary.LittleEndian.Uint64(r.data))})
		if err != nil {
			return fmt.Errorf("%w: storages: %w", ErrFormat, err)
		}
		data, rest, err := f.elements(r.data, s.dtype, s.len)
		if err != nil {
			return fmt.Errorf("%w: storage %.80q: %w", ErrFormat, key, err)
		}
		r.data = rest
		values[key] = &storageRef{Storage: &Storage{Name: key, Bytes: len(data), data: data, file: f}, dtype: s.dtype, len: s.len}
	}
	v, err := r.pickle()
	if err != nil {
		return err
	}
	views, _ := pickle.Items(v)
	for _, v := range views { // (key, key of the whole, offset, elements)
		t, ok := v.(pickle.Tuple)
		if !ok || len(t) != 4 {
			return fmt.Errorf("%w: storages: a view that is a %s", ErrFormat, pickle.TypeName(v))
		}
		key, err1 := keyOf(t[0])
		whole, err2 := keyOf(t[1])
		ref, ok := values[whole].(*storageRef)
		off, ok1 := t[2].(int64)
		n, ok2 := t[3].(int64)
		if err1 != nil || err2 != nil || !ok || !ok1 || !ok2 || off < 0 || n < 0 || off > int64(ref.len) || n > int64(ref.len)-off {
			return fmt.Errorf("%w: storages: view %s of %s: %s elements at %s", ErrFormat, show(t[0]), show(t[1]), show(t[3]), show(t[2]))
		}
		part := *ref
		part.first, part.len = ref.first+int(off), int(n)
		values[key] = &part
	}
	return nil
}

func (f *File) tarTensors(r *tarReader, values map[string]any) error {
	n, err := r.count()
	if err != nil {
		return err
	}
	for range n {
		v, err := r.pickle()
		if err != nil {
			return err
		}
		t, ok := v.(pickle.Tuple)
		if !ok || len(t) != 3 {
			return fmt.Errorf("%w: tensors: an entry that is a %s", ErrFormat, pickle.TypeName(v))
		}
		key, err1 := keyOf(t[0])
		of, err2 := keyOf(t[1])
		ref, ok := values[of].(*storageRef)
		if err1 != nil || err2 != nil || !ok {
			return fmt.Errorf("%w: tensor %s lies in storage %s, which is missing", ErrFormat, show(t[0]), show(t[1]))
		}
		if len(r.data) < 8 {
			return fmt.Errorf("%w: tensors is cut short", ErrFormat)
		}
		rank := int(int32(binary.LittleEndian.Uint32(r.data)))
		if rank < 0 || rank > maxRank {
			return fmt.Errorf("%w: tensor %.80q of %d dimensions", ErrFormat, key, rank)
		}
		r.data = r.data[8:]
		nums, err := r.int64s(2*rank + 1)
		if err != nil {
			return err
		}
		x, err := newTensor(ref, ref.dtype, nums[2*rank], nums[:rank], nums[rank:2*rank])
		if err != nil {
			return fmt.Errorf("%w: tensor %.80q: %w", ErrFormat, key, err)
		}
		values[key] = x
	}
	return nil
}
