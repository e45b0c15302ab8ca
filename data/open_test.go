package data

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/tensor"
)

// pngOf returns a file of one colour.
func pngOf(t *testing.T, w, h int, v uint8) []byte {
	t.Helper()
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			m.Set(x, y, color.NRGBA{v, v / 2, 255 - v, 255})
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// write makes files below a new folder.
func write(t *testing.T, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func zipOf(t *testing.T, method uint16, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	names := make([]string, 0, len(files))
	for n := range files {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		w, err := z.CreateHeader(&zip.FileHeader{Name: n, Method: method})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(files[n]); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func npyOf(t *testing.T, a *tensor.Tensor) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteNPY(&b, a); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func idxOf(kind byte, dims []int, data []byte) []byte {
	b := []byte{0, 0, kind, byte(len(dims))}
	for _, d := range dims {
		b = binary.BigEndian.AppendUint32(b, uint32(d))
	}
	return append(b, data...)
}

func gz(t *testing.T, raw []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// classFolders holds two classes of images below a common prefix, with things that are not samples.
func classFolders(t *testing.T) map[string][]byte {
	return map[string][]byte{
		"test/dog/2.png": pngOf(t, 4, 4, 20), "test/dog/10.png": pngOf(t, 4, 4, 10), "test/cat/deep/a.PNG": pngOf(t, 4, 4, 30),
		"test/cat/.hidden.png": {1}, "__MACOSX/test/cat/a.png": {1}, "test/readme.txt": []byte("text"),
	}
}

func TestClassFolders(t *testing.T) {
	files := classFolders(t)
	dir := write(t, files)
	archive := filepath.Join(write(t, map[string][]byte{"d.zip": zipOf(t, zip.Deflate, files)}), "d.zip")
	for _, spec := range []string{dir, filepath.Join(dir, "test"), archive, archive + "#test", dir + "#test"} {
		s, err := Open(spec, Options{Transform: Transform{Scale: 1}})
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.Read(t.Context(), []int{0, 1, 2})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(Classes(s), []string{"cat", "dog"}) || !slices.Equal(b.Labels, []int{0, 1, 1}) || !strings.HasSuffix(b.IDs[1], "dog/10.png") {
			t.Errorf("%s: classes %v, labels %v, ids %v", spec, Classes(s), b.Labels, b.IDs)
		}
		v := tensor.Data[float32](b.Inputs[0])
		if v[0] != 30 || v[16] != 15 || v[32] != 225 || v[48] != 10 || v[96] != 20 {
			t.Errorf("%s: values %v %v %v %v %v", spec, v[0], v[16], v[32], v[48], v[96])
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	// A list of classes fixes the indices, also of a single folder.
	s, err := Open(filepath.Join(dir, "test", "dog"), Options{Classes: []string{"bird", "cat", "dog"}})
	if err != nil || s.Labels() != nil {
		t.Errorf("images without folders: %v %v", s, err)
	}
	if s, err = Open(dir, Options{Classes: []string{"dog", "bird", "cat"}}); err != nil || !slices.Equal(s.Labels(), []int{0, 0, 2}) {
		t.Errorf("labels by the given classes: %v", err)
	}
	only := write(t, map[string][]byte{"test/dog/1.png": pngOf(t, 2, 2, 1)})
	if s, err = Open(only, Options{Classes: []string{"cat", "dog"}}); err != nil || !slices.Equal(s.Labels(), []int{1}) {
		t.Errorf("one class folder: %v", err)
	}
}

func TestArraySources(t *testing.T) {
	x := tensor.Of(tensor.Shape{4, 2}, []float32{0, 1, 2, 3, 4, 5, 6, 7})
	ids := tensor.Of(tensor.Shape{4, 1}, []int64{10, 11, 12, 13})
	y := tensor.Vector[int64](3, 2, 1, 0)
	files := map[string][]byte{"x.npy": npyOf(t, x), "ids.npy": npyOf(t, ids), "labels.npy": npyOf(t, y)}
	dir := write(t, map[string][]byte{
		"stored.npz": zipOf(t, zip.Store, files), "packed.npz": zipOf(t, zip.Deflate, files),
		"folder/x.npy": files["x.npy"], "folder/ids.npy": files["ids.npy"], "folder/labels.npy": files["labels.npy"],
		"one.npy": files["x.npy"], "one_labels.npy": files["labels.npy"],
	})
	for _, name := range []string{"stored.npz", "packed.npz", "folder"} {
		s, err := Open(filepath.Join(dir, name), Options{})
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.Read(t.Context(), []int{2, 0})
		if err != nil {
			t.Fatal(err)
		}
		in, err := b.For([]string{"ids", "x"})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(tensor.Data[int64](in[0]), []int64{12, 10}) || !slices.Equal(tensor.Data[float32](in[1]), []float32{4, 5, 0, 1}) || !slices.Equal(b.Labels, []int{1, 3}) {
			t.Errorf("%s: got %v %v", name, in, b.Labels)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	s, err := Open(filepath.Join(dir, "one.npy"), Options{})
	if err != nil || !slices.Equal(s.Labels(), []int{3, 2, 1, 0}) {
		t.Fatalf("labels beside the array: %v", err)
	}
	if s, err = Open(filepath.Join(dir, "one.npy"), Options{Labels: NoLabels}); err != nil || s.Labels() != nil {
		t.Fatalf("no labels: %v", err)
	}
	if s, err = Open(filepath.Join(dir, "stored.npz#x"), Options{}); err != nil || len(s.Fields()) != 1 || s.Fields()[0].Name != "" || s.Labels() != nil {
		t.Fatalf("one array of an npz: %v", err)
	}
}

func TestNPZWriteRead(t *testing.T) {
	var b bytes.Buffer
	a := tensor.Vector[float32](1, 2, 3)
	if err := WriteNPZ(&b, []string{"a", "b"}, []*tensor.Tensor{a, tensor.Vector(true)}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(write(t, map[string][]byte{"x.npz": b.Bytes()}), "x.npz")
	z, err := OpenNPZ(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	got, err := z.Load("a")
	if err != nil || !slices.Equal(z.Names(), []string{"a", "b"}) || !bytes.Equal(got.Bytes(), a.Bytes()) {
		t.Errorf("got %v %v, %v", z.Names(), got, err)
	}
	if h, err := z.Header("b"); err != nil || h.DType != tensor.Bool {
		t.Errorf("header: %v %v", h, err)
	}
	if _, err := z.Load("c"); err == nil || !strings.HasSuffix(err.Error(), `no array "c"; it has a, b`) {
		t.Errorf("missing array: %v", err)
	}
}

func TestIDXAndCIFAR(t *testing.T) {
	img := idxOf(8, []int{3, 2, 2}, []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11})
	lab := idxOf(8, []int{3}, []byte{7, 0, 9})
	dir := write(t, map[string][]byte{
		"plain/t10k-images-idx3-ubyte": img, "plain/t10k-labels-idx1-ubyte": lab,
		"packed/train-images-idx3-ubyte.gz": gz(t, img), "packed/train-labels-idx1-ubyte.gz": gz(t, lab),
		"wide.idx": idxOf(0x0d, []int{2}, []byte{0x3f, 0x80, 0, 0, 0xc0, 0, 0, 0}),
	})
	for _, spec := range []string{"plain", "packed", "plain/t10k-images-idx3-ubyte"} {
		s, err := Open(filepath.Join(dir, spec), Options{Transform: Transform{Scale: 1}})
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.Read(t.Context(), []int{2})
		if err != nil || !slices.Equal(tensor.Data[float32](b.Inputs[0]), []float32{8, 9, 10, 11}) || b.Labels[0] != 9 || !b.Inputs[0].Shape.Equal(tensor.Shape{1, 1, 2, 2}) {
			t.Errorf("%s: got %v %v", spec, b, err)
		}
	}
	if w, err := ReadIDXFile(filepath.Join(dir, "wide.idx")); err != nil || !slices.Equal(tensor.Data[float32](w), []float32{1, -2}) {
		t.Errorf("float IDX: %v %v", w, err)
	}

	record := func(v byte, labels ...byte) []byte {
		pix := make([]byte, cifarPixels)
		for i := range pix {
			pix[i] = v + byte(i/1024)
		}
		return append(labels, pix...)
	}
	dir = write(t, map[string][]byte{
		"ten/data_batch_1.bin": append(record(10, 3), record(20, 9)...), "ten/data_batch_2.bin": record(30, 0),
		"both/data_batch_1.bin": record(1, 3), "both/test_batch.bin": record(1, 3),
		"test.bin": append(record(1, 19, 99), record(2, 0, 4)...), "odd.bin": make([]byte, 3000), "class.bin": record(1, 11),
	})
	s, err := Open(filepath.Join(dir, "ten"), Options{Transform: Transform{Scale: 1}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Read(t.Context(), []int{1, 2})
	if err != nil || !slices.Equal(b.Labels, []int{9, 0}) {
		t.Fatalf("got %v %v", b.Labels, err)
	}
	if v := tensor.Data[float32](b.Inputs[0]); v[0] != 20 || v[1024] != 21 || v[2048] != 22 || v[3072+2048] != 32 {
		t.Error("planes are mixed up")
	}
	if s, err := Open(filepath.Join(dir, "test.bin"), Options{}); err != nil || !slices.Equal(s.Labels(), []int{99, 4}) {
		t.Errorf("CIFAR-100: %v", err)
	}
	for spec, want := range map[string]string{"both": "found training and test files", "odd.bin": "found 3000 bytes that are neither", "class.bin": "neither"} {
		if _, err := Open(filepath.Join(dir, spec), Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", spec, err)
		}
	}
}

func TestLabelFiles(t *testing.T) {
	ids := []string{"a/1.png", "a/2.png", "b/3.png"}
	for _, c := range []struct {
		name, text string
		classes    []string
		want       []int
		names      []string
	}{
		{"lines", "2\n0\n\n1\n", nil, []int{2, 0, 1}, nil},
		{"names", "# classes\ncat\ngreat white\ncat\n", nil, []int{0, 1, 0}, []string{"cat", "great white"}},
		{"known names", "cat\ndog\ncat\n", []string{"dog", "cat"}, []int{1, 0, 1}, []string{"dog", "cat"}},
		{"keyed", "3.png 7\n1.png 5\n2.png 6\n", nil, []int{5, 6, 7}, nil},
		{"table", "file,label\na/2.png,1\na/1.png,0\nb/3.png,2\n", nil, []int{0, 1, 2}, nil},
		{"json", "[3, 1, 2]", nil, []int{3, 1, 2}, nil},
		{"json names", `["x", "y", "x"]`, nil, []int{0, 1, 0}, []string{"x", "y"}},
		{"json object", `{"3.png": 1, "a/1.png": 2, "2.png": 0}`, nil, []int{2, 0, 1}, nil},
		{"npy", string(npyOf(t, tensor.Of(tensor.Shape{3, 1}, []uint8{4, 5, 6}))), nil, []int{4, 5, 6}, nil},
		{"whole floats", string(npyOf(t, tensor.Vector[float32](4, 5, 6))), nil, []int{4, 5, 6}, nil},
		{"idx", string(idxOf(8, []int{3}, []byte{1, 2, 3})), nil, []int{1, 2, 3}, nil},
	} {
		path := filepath.Join(write(t, map[string][]byte{"l": []byte(c.text)}), "l")
		got, names, err := ReadLabels(path, ids, c.classes)
		if err != nil || !slices.Equal(got, c.want) || !slices.Equal(names, c.names) {
			t.Errorf("%s: got %v %v, %v", c.name, got, names, err)
		}
	}
	for _, c := range []struct{ text, want string }{
		{"", "no labels"},
		{"1\n2\n", "2 labels for 3 samples"},
		{"1\n-2\n3", "label of a/2.png: class index -2 is below 0"},
		{"1.png 7\n2.png 6\n", "no label for 1 of 3 samples: b/3.png"},
		{"[1, null, 2]", "label 1: want a class index or name, found null"},
		{"[1, 2", "labels: unexpected end"},
		{string(npyOf(t, tensor.New(tensor.Float32, 3, 10))), "want one class index per sample, found float32[3x10]"},
		{string(npyOf(t, tensor.Vector[float32](0.5, 1, 2))), "want whole numbers, found 0.5 for sample 0"},
		{"\x01\x02\x00\x03", "found binary data"},
	} {
		path := filepath.Join(write(t, map[string][]byte{"labels.x": []byte(c.text)}), "labels.x")
		if _, _, err := ReadLabels(path, ids, nil); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "labels.x: ") {
			t.Errorf("%.20q: got %v, want %q", c.text, err, c.want)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	bad := classFolders(t)
	bad["test/dog/5.jpg"] = []byte("\xff\xd8\xff\xe0 not a jpeg")
	sizes := map[string][]byte{"a/1.png": pngOf(t, 4, 4, 1), "b/2.png": pngOf(t, 6, 4, 1)}
	bomb := npyWith("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999,), }\n", "1234")
	zeros := zipOf(t, zip.Deflate, map[string][]byte{"a.npy": npyOf(t, tensor.New(tensor.Uint8, 1<<20))})
	grown := bytes.Clone(zeros)
	// The central directory announces 1 GiB for the member.
	at := bytes.LastIndex(grown, []byte("PK\x01\x02"))
	binary.LittleEndian.PutUint32(grown[at+24:], 1<<30)
	dir := write(t, map[string][]byte{
		"bad.zip": zipOf(t, zip.Store, bad), "sizes.zip": zipOf(t, zip.Store, sizes), "empty.zip": zipOf(t, zip.Store, map[string][]byte{"x.txt": {1}}),
		"loose/1.png": pngOf(t, 2, 2, 1), "loose/a/2.png": pngOf(t, 2, 2, 1),
		"parts/train/a/1.png": pngOf(t, 2, 2, 1), "parts/test/a/2.png": pngOf(t, 2, 2, 1),
		"nothing/readme.md": []byte("x"), "text.txt": []byte("hello"),
		"lens/a.npy": npyOf(t, tensor.New(tensor.Float32, 3, 2)), "lens/b.npy": npyOf(t, tensor.New(tensor.Float32, 4, 2)),
		"scalar.npy": npyOf(t, tensor.Scalar[float32](1)), "float.npy": npyOf(t, tensor.New(tensor.Float32, 3, 2)), "none.npy": npyOf(t, tensor.New(tensor.Float32, 0, 2)),
		"bomb.npz": zipOf(t, zip.Deflate, map[string][]byte{"a.npy": bomb}), "grown.npz": grown, "cut.zip": zeros[:100],
		"mixed.npz":  zipOf(t, zip.Store, map[string][]byte{"a.npy": npyOf(t, tensor.New(tensor.Float32, 3, 2)), "b.txt": {1}}),
		"labels.txt": []byte("1\n2\n"), "labelsonly/labels.npy": npyOf(t, tensor.New(tensor.Int64, 3)),
		"cut.idx": idxOf(8, []int{3, 2, 2}, []byte{1}), "huge.idx": idxOf(0x0e, []int{1 << 30, 1 << 30, 1 << 30}, nil),
		"bomb.gz": gz(t, idxOf(8, []int{1 << 30}, make([]byte, 1<<16))), "long.idx": idxOf(8, []int{1}, []byte{1, 2}),
	})
	for _, c := range []struct {
		spec string
		o    Options
		want string
	}{
		{"absent", Options{}, "does not exist; want an .npy"},
		{"text.txt", Options{}, `found a file that starts with "hello"`},
		{"text.txt#a", Options{}, "names a part"},
		{"empty.zip", Options{}, "empty.zip: no images (.jpg"},
		{"cut.zip", Options{}, "cut.zip: zip: not a valid zip file"},
		{"nothing", Options{}, "found neither images"},
		{"loose", Options{}, "found 1.png beside the folders a"},
		{"parts", Options{}, "found the parts test, train of a data set: name one by appending #test"},
		{"parts#test", Options{Classes: []string{"x", "y"}, Labels: "labels.txt"}, "2 labels for 1 samples"},
		{"bad.zip#nowhere", Options{}, "no images"},
		{"bad.zip", Options{Classes: []string{"dog"}}, "folders cat are not in the list of classes: dog"},
		{"bad.zip", Options{Transform: Transform{Filter: "x"}}, "filter: want one of"},
		{"bad.zip", Options{Limit: -1}, "limit: want at least 0, got -1"},
		{"lens", Options{}, "arrays differ in their number of samples: a has 3, b has 4"},
		{"scalar.npy", Options{}, "scalar.npy: want an array whose first dimension counts the samples, found a scalar"},
		{"none.npy", Options{}, "no samples"},
		{"float.npy", Options{Transform: Transform{Size: Size{Height: 3}}}, "found float32[2], which is passed as it is"},
		{"float.npy", Options{Labels: "labels.txt"}, "float.npy: "},
		{"float.npy", Options{Labels: "labels.txt"}, "labels.txt: 2 labels for 3 samples"},
		{"bomb.npz", Options{}, `bomb.npz: npz: member "a.npy": float32 of shape 99999999 takes 399999996 bytes, found 4`},
		{"grown.npz", Options{}, "refused as a decompression bomb"},
		{"mixed.npz", Options{}, `member "b.txt" is not an .npy array`},
		{"labelsonly", Options{}, ""},
		{"cut.idx", Options{}, "cut.idx: idx: data: want 12 bytes, found 1"},
		{"huge.idx", Options{}, "idx: shape 1073741824x1073741824x1073741824 overflows"},
		{"bomb.gz", Options{}, "refused as a decompression bomb"},
		{"long.idx", Options{}, "takes 9 bytes with its header, the file has 10"},
		{"random:x", Options{}, "want random:N"},
		{"random:4", Options{}, "want a number of samples and the model's inputs"},
	} {
		if c.o.Labels != "" {
			c.o.Labels = filepath.Join(dir, c.o.Labels)
		}
		spec := c.spec
		if !strings.HasPrefix(spec, "random") {
			spec = filepath.Join(dir, spec)
		}
		s, err := Open(spec, c.o)
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.spec, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, %v; want %q", c.spec, s, err, c.want)
		}
	}
	for _, c := range []struct{ spec, want string }{
		{"bad.zip", "bad.zip: test/dog/5.jpg: jpeg: "},
		{"sizes.zip", "sizes.zip: b/2.png: images differ in size: this one is 4x6"},
	} {
		s, err := Open(filepath.Join(dir, c.spec), Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Read(t.Context(), seq(s.Len()))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.spec, err, c.want)
		}
	}
}

func FuzzReadIDX(f *testing.F) {
	f.Add(idxOf(8, []int{3, 2, 2}, make([]byte, 12)))
	f.Add(idxOf(0x0d, []int{2}, make([]byte, 8)))
	f.Fuzz(func(t *testing.T, file []byte) {
		a, err := ReadIDX(bytes.NewReader(file))
		if err == nil && a.ByteLen() > len(file) {
			t.Fatalf("%v out of %d bytes", a, len(file))
		}
	})
}

func FuzzDecodeLabels(f *testing.F) {
	f.Add([]byte("a 1\nb,2\n3"))
	f.Add([]byte(`{"a": 1}`))
	f.Fuzz(func(t *testing.T, file []byte) {
		list, err := parseLabels(file)
		if err != nil {
			return
		}
		labels, classes, err := resolveLabels(list, []string{"a", "b"}, nil)
		if err == nil && len(labels) != 2 {
			t.Fatalf("%d labels", len(labels))
		}
		for _, l := range labels {
			if err == nil && (l < 0 || classes != nil && l >= len(classes)) {
				t.Fatalf("label %d of %d classes", l, len(classes))
			}
		}
	})
}
