package safetensors

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/tensor"
)

// file puts a header before data.
func file(header string, data ...byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), data...)
}

func TestHostileHeaders(t *testing.T) {
	one := `"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}`
	for _, c := range []struct {
		name string
		data []byte
		err  string
	}{
		{"empty", nil, "truncated: 0 bytes"},
		{"no header", make([]byte, 7), "truncated"},
		{"huge header", binary.LittleEndian.AppendUint64(nil, 1<<63), "at most 100000000 are accepted"},
		{"header beyond the file", file("{}")[:9], "truncated: the header takes 2 bytes, the file has 1"},
		{"no object", file("[]"), "want a JSON object"},
		{"cut object", file(`{"a":`), "header"},
		{"text after it", file(`{} {}`), "followed by"},
		{"twice", file("{"+one+","+one+"}", 1, 2), `"a": occurs twice`},
		{"key twice", file(`{"a":{"dtype":"U8","dtype":"U8","shape":[],"data_offsets":[0,1]}}`, 1), `"dtype": occurs twice`},
		{"metadata twice", file(`{"__metadata__":{"k":"1","k":"2"}}`), `"k": occurs twice`},
		{"metadata number", file(`{"__metadata__":{"k":1}}`), "want a text, found 1"},
		{"unknown type", file(`{"a":{"dtype":"F7","shape":[],"data_offsets":[0,1]}}`, 1), `unknown element type "F7"; known are BF16`},
		{"more keys", file(`{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1],"x":1}}`, 1), "nothing else"},
		{"no shape", file(`{"a":{"dtype":"U8","data_offsets":[0,1]}}`, 1), "shape is missing"},
		{"negative", file(`{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}`, 1), "not negative, found -1"},
		{"fraction", file(`{"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}}`, 1), "found 1.5"},
		{"overflow", file(`{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,1]}}`, 1), "too large"},
		{"large", file(`{"a":{"dtype":"F64","shape":[2305843009213693951],"data_offsets":[0,1]}}`, 1), "too large"},
		{"wrong size", file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}`, 1, 2, 3, 4), "takes 8 bytes, data_offsets 0 to 4 are 4"},
		{"backward", file(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[2,0]}}`, 1, 2), "takes 2 bytes"},
		{"half a byte", file(`{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}}`, 1, 2), "no whole number of bytes"},
		{"overlap", file("{"+one+`,"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, 1, 2, 3), `"b" overlaps "a"`},
		{"hole", file("{"+one+`,"b":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}}`, 1, 2, 3, 4), `1 bytes before tensor "b"`},
		{"truncated data", file("{"+one+"}", 1), `truncated: tensor "a" ends at byte 2 of the data, the file has 1`},
		{"more data", file("{"+one+"}", 1, 2, 3), "1 bytes after the last tensor"},
		{"list for an entry", file(`{"a":[]}`), "want {, found ["},
	} {
		if _, err := Parse(c.data); err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: want %q, got %v", c.name, c.err, err)
		}
	}
	h, err := Parse(file(`{"e":{"dtype":"F32","shape":[0,3],"data_offsets":[0,0]},"__metadata__":{"format":"pt"},"s":{"dtype":"I64","shape":[],"data_offsets":[0,8]}}  `, 1, 0, 0, 0, 0, 0, 0, 0))
	if err != nil || len(h.Entries) != 2 || h.Metadata["format"] != "pt" {
		t.Errorf("a valid file: %+v, %v", h, err)
	}
}

func put(t *testing.T, path string, data []byte) string {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestShardsOfAnIndex(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	a := put(t, at("a.safetensors"), file(`{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 7))
	put(t, at("b.safetensors"), file(`{"y":{"dtype":"I16","shape":[1],"data_offsets":[0,2]},"x":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}`, 1, 1, 9))
	for _, c := range [][2]string{
		{`{"weight_map":{"x":"a.safetensors","y":"c.safetensors"}}`, "1 of 2 shards are missing: c.safetensors"},
		{`{"weight_map":{"x":"../a.safetensors"}}`, "not the name of a file in the same folder"},
		{`{"weight_map":{}}`, "weight_map is missing or empty"},
		{`{"weight_map":`, "index.json"},
		{`{"weight_map":{"z":"a.safetensors"}}`, "1 tensors are not in the shards that the index names: z (a.safetensors)"},
		{`{"weight_map":{"y":"b.safetensors","z":"a.safetensors"}}`, "is in a.safetensors as well"},
		{`{"weight_map":{"x":"a.safetensors","y":"/b.safetensors"}}`, "not the name"},
		{`{"weight_map":{"x":"b.safetensors\u0000","y":"b"}}`, "missing"},
		{`{"weight_map":{"x":"a.safetensors","q":"b.safetensors"}}`, "q (b.safetensors)"},
		{`{"metadata":1,"weight_map":{"x":"a.safetensors","y":"b.s"}}`, "index.json"},
	} {
		text, want := c[0], c[1]
		if _, err := Open(put(t, at("index.json"), []byte(text))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: want %q, got %v", text, want, err)
		}
	}
	s, err := Open(put(t, at("index.json"), []byte(`{"weight_map":{"x":"a.safetensors","y":"b.safetensors"}}`)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if x := s.Tensor("x"); x.File != "a.safetensors" || x.Bytes()[0] != 7 || len(s.Tensors()) != 2 || s.Tensor("z") != nil {
		t.Errorf("x is %v in %s", x.Bytes(), x.File)
	}
	if v, err := s.Tensor("y").Load(); err != nil || tensor.Item[int16](v) != 257 {
		t.Errorf("y: %v, %v", v, err)
	}
	if _, err := Open(at("none.safetensors")); err == nil {
		t.Error("a missing file was opened")
	}
	one, err := Open(a)
	if err != nil || !slices.Equal(one.Files, []string{"a.safetensors"}) {
		t.Fatal(err)
	}
	if err := one.Close(); err != nil || one.Close() != nil {
		t.Error(err)
	}
}

func TestElementsAtOddAddresses(t *testing.T) {
	path := put(t, filepath.Join(t.TempDir(), "m.safetensors"), file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[2],"data_offsets":[1,9]}}`, 1, 0, 0, 0x80, 0x3f, 0, 0, 0, 0x40))
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	v, err := s.Tensor("b").Load()
	if err != nil || !slices.Equal(tensor.Data[float32](v), []float32{1, 2}) {
		t.Errorf("%v, %v", v, err)
	}
	s.Tensor("b").Release()
	if v, err = s.Tensor("b").Load(); err != nil || tensor.Data[float32](v)[1] != 2 {
		t.Errorf("after its release: %v, %v", v, err)
	}
}

func TestWhatIsWrittenIsReadInEveryType(t *testing.T) {
	for _, shard := range []int{0, 100, 1} {
		dir := t.TempDir()
		var entries []Entry
		values := map[string]*tensor.Tensor{}
		for name, d := range types {
			v := tensor.New(d, 2, 4)
			for i := range v.Bytes() {
				v.Bytes()[i] = byte(7 * i)
			}
			entries = append(entries, Entry{Name: "t." + name, DType: d, Shape: v.Shape})
			values["t."+name] = v
		}
		entries = append(entries, Entry{Name: "none", DType: tensor.Float32, Shape: tensor.Shape{0}}, Entry{Name: "scalar", DType: tensor.Int64, Shape: tensor.Shape{}})
		values["none"], values["scalar"] = tensor.New(tensor.Float32, 0), tensor.Scalar(int64(5))
		w, err := Create(dir, entries, WriteOptions{ShardBytes: shard})
		if err != nil {
			t.Fatal(err)
		}
		for name, v := range values { // in any order
			if err := w.Write(name, v); err != nil {
				t.Fatal(err)
			}
		}
		if list, _ := filepath.Glob(filepath.Join(dir, "model*")); len(list) != 0 {
			t.Errorf("before the end there is %v", list)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "model.safetensors")
		if shard > 0 {
			path = filepath.Join(dir, "model.safetensors.index.json")
		}
		s, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Tensors()) != len(values) || s.Metadata["format"] != "pt" || !slices.Equal(s.Files, w.Files()) || (shard == 0) != (len(s.Files) == 1) {
			t.Errorf("%d tensors, metadata %v, files %v", len(s.Tensors()), s.Metadata, s.Files)
		}
		for name, want := range values {
			got, err := s.Tensor(name).Load()
			if err != nil || got.DType != want.DType || !got.Shape.Equal(want.Shape) || !bytes.Equal(got.Bytes(), want.Bytes()) {
				t.Errorf("%s: want %v, got %v, %v", name, want, got, err)
			}
		}
		s.Close()
	}
}

func TestWriterRefuses(t *testing.T) {
	dir := t.TempDir()
	entry := Entry{Name: "a", DType: tensor.Float32, Shape: tensor.Shape{2}}
	for want, list := range map[string][]Entry{
		"cannot be written twice":  {entry, entry},
		"name that is taken":       {{Name: MetadataKey, DType: tensor.Float32}},
		"cannot hold int4":         {{Name: "a", DType: tensor.Int4, Shape: tensor.Shape{2}}},
		"negative or too large":    {{Name: "a", DType: tensor.Int8, Shape: tensor.Shape{-1}}},
		"no whole number of bytes": {{Name: "a", DType: tensor.Float4E2M1, Shape: tensor.Shape{1}}},
	} {
		if _, err := Create(dir, list, WriteOptions{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	w, err := Create(dir, []Entry{entry, {Name: "b", DType: tensor.Int8, Shape: tensor.Shape{1}}}, WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for want, v := range map[string]*tensor.Tensor{"want float32[2], got float32[3]": tensor.New(tensor.Float32, 3), "got int32[2]": tensor.New(tensor.Int32, 2)} {
		if err := w.Write("a", v); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	if err := w.Write("c", tensor.New(tensor.Int8, 1)); err == nil || !strings.Contains(err.Error(), "not announced") {
		t.Error(err)
	}
	if err := w.Write("a", tensor.New(tensor.Float32, 2)); err != nil {
		t.Error(err)
	}
	if err := w.Write("a", tensor.New(tensor.Float32, 2)); err == nil || !strings.Contains(err.Error(), "came twice") {
		t.Error(err)
	}
	if err := w.Close(); err == nil || !strings.Contains(err.Error(), "not written: b") {
		t.Error(err)
	}
	if list, _ := os.ReadDir(dir); len(list) != 0 {
		t.Errorf("left %v", list)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(file(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"__metadata__":{"format":"pt"}}`, 1, 2))
	f.Add(file(`{"a":{"dtype":"BF16","shape":[1,2],"data_offsets":[0,4]},"b":{"dtype":"F4","shape":[2],"data_offsets":[4,5]}}   `, 1, 2, 3, 4, 5))
	f.Add(file(`{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,1]}}`, 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := Parse(data)
		if err != nil {
			return
		}
		at := 0
		for _, e := range h.Entries {
			if e.Begin != at || e.End < e.Begin || h.Len+e.End > len(data) {
				t.Fatalf("tensor %q has bytes %d to %d, want them from %d on, of %d", e.Name, e.Begin, e.End, at, len(data)-h.Len)
			}
			if _, err := tensor.FromBytes(e.DType, e.Shape, data[h.Len+e.Begin:h.Len+e.End]); err != nil {
				t.Fatalf("tensor %q: %v", e.Name, err)
			}
			at = e.End
		}
	})
}
