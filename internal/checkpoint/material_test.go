package checkpoint

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"testing"

	"github.com/neurotrain/neuroquant/internal/codec/pickle"
)

// Files for tests, built as PyTorch builds them.

// member is a member of an archive.
type member struct {
	name    string
	data    []byte
	deflate bool
}

// zipOf writes an archive.
func zipOf(t testing.TB, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, m := range members {
		h := &zip.FileHeader{Name: m.name, Method: zip.Store}
		var f io.Writer
		var err error
		if m.deflate {
			h.Method = zip.Deflate
			f, err = w.CreateHeader(h)
		} else {
			h.CRC32, h.CompressedSize64, h.UncompressedSize64 = crc32.ChecksumIEEE(m.data), uint64(len(m.data)), uint64(len(m.data))
			f, err = w.CreateRaw(h)
		}
		if err == nil {
			_, err = f.Write(m.data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// saved is a file of torch.save: a pickle and storages named by numbers.
func saved(t testing.TB, object []byte, storages ...[]byte) []byte {
	t.Helper()
	members := []member{{name: "m/data.pkl", data: object}, {name: "m/byteorder", data: []byte("little")}}
	for i, s := range storages {
		members = append(members, member{name: fmt.Sprint("m/data/", i), data: s})
	}
	return zipOf(t, append(members, member{name: "m/version", data: []byte("3\n")})...)
}

// encode pickles a value.
func encode(t testing.TB, v any) []byte {
	t.Helper()
	b, err := pickle.Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func global(module, name string) pickle.Global { return pickle.Global{Module: module, Name: name} }

// called is an object that a pickle makes by applying a global.
func called(g pickle.Global, args ...any) *pickle.Object {
	return &pickle.Object{Class: g, Called: true, Args: args}
}

// storage is the reference to a storage of n elements.
func storage(class, key string, n int) pickle.Persistent {
	return pickle.Persistent{ID: pickle.Tuple{"storage", global("torch", class), key, "cpu", n}}
}

// tensorOf is a tensor as PyTorch pickles it.
func tensorOf(store any, offset int, shape, strides pickle.Tuple) *pickle.Object {
	return called(global("torch._utils", "_rebuild_tensor_v2"), store, offset, shape, strides, false, called(global("collections", "OrderedDict")))
}

// dict is an OrderedDict of keys and values that alternate.
func dict(pairs ...any) *pickle.Dict {
	d := &pickle.Dict{Class: global("collections", "OrderedDict")}
	for i := 0; i < len(pairs); i += 2 {
		if err := d.Set(pairs[i], pairs[i+1]); err != nil {
			panic(err)
		}
	}
	return d
}

// stream is a file of the form before PyTorch 1.6; each storage is its number of elements and its bytes.
func stream(t testing.TB, object []byte, keys []string, storages ...[]byte) []byte {
	t.Helper()
	names := make([]any, len(keys))
	for i, k := range keys {
		names[i] = k
	}
	info := new(pickle.Dict)
	if err := info.Set("little_endian", true); err != nil {
		t.Fatal(err)
	}
	b := bytes.Clone(legacyMagic)
	b = append(b, encode(t, legacyProtocol)...)
	b = append(b, encode(t, info)...)
	b = append(b, object...)
	b = append(b, encode(t, &pickle.List{Items: names})...)
	return append(b, bytes.Join(storages, nil)...)
}

// counted is a storage of a stream: a count and bytes.
func counted(n int, data []byte) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, uint64(n)), data...)
}

// legacyStorage is the reference to a storage as a stream has it.
func legacyStorage(class, key string, n int, view any) pickle.Persistent {
	return pickle.Persistent{ID: pickle.Tuple{"storage", global("torch", class), key, "cpu", n, view}}
}

// tarOf is a tar archive of members by name.
func tarOf(names []string, contents ...[]byte) []byte {
	var b []byte
	for i, name := range names {
		h := make([]byte, 512)
		copy(h, name)
		copy(h[124:], fmt.Sprintf("%011o", len(contents[i])))
		h[156] = '0'
		copy(h[257:], "ustar")
		b = append(b, h...)
		b = append(b, contents[i]...)
		b = append(b, make([]byte, (512-len(contents[i])%512)%512)...)
	}
	return append(b, make([]byte, 1024)...)
}
