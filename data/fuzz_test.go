package data

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/codec/picture"
	"github.com/neurotrain/neuroquant/tensor"
)

// archiveOf returns a zip archive of one member.
func archiveOf(tb testing.TB, name string, method uint16, content []byte) []byte {
	tb.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: method})
	if err == nil {
		_, err = w.Write(content)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func arrayOf(tb testing.TB, t *tensor.Tensor) []byte {
	tb.Helper()
	var b bytes.Buffer
	if err := WriteNPY(&b, t); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// grayPixmap is a small image.
const grayPixmap = "P5 2 2 255\n\x00\x40\x80\xff"

// FuzzOpenNPZ opens an archive of one member of arbitrary content in which one byte, of a header or the directory say, is changed.
func FuzzOpenNPZ(f *testing.F) {
	array := arrayOf(f, tensor.Of(tensor.Shape{2, 2}, []float32{1, 2, 3, 4}))
	f.Add("x.npy", array, false, uint16(0), byte(0))
	f.Add("x.npy", array, true, uint16(20), byte(1))
	f.Add("x/y.npy", arrayOf(f, tensor.Strings(tensor.Shape{2}, []string{"a", "bc"})), true, uint16(200), byte(8))
	path := filepath.Join(f.TempDir(), "x.npz")
	f.Fuzz(func(t *testing.T, name string, member []byte, deflate bool, at uint16, flip byte) {
		method := zip.Store
		if deflate {
			method = zip.Deflate
		}
		if len(name) > 1<<10 || strings.HasSuffix(name, "/") {
			return // too long for an archive, or a folder
		}
		file := archiveOf(t, name, method, member)
		file[int(at)%len(file)] ^= flip
		if err := os.WriteFile(path, file, 0o644); err != nil {
			t.Fatal(err)
		}
		z, err := OpenNPZ(path)
		if err != nil {
			return
		}
		defer z.Close()
		for _, name := range z.Names() {
			h, err := z.Header(name)
			if err != nil {
				t.Fatal(err)
			}
			whole, err := z.Load(name)
			if err != nil {
				continue
			}
			if !whole.Shape.Equal(h.Shape) {
				t.Fatalf("%s: shape %v, announced %v", name, whole.Shape, h.Shape)
			}
			a, err := z.Open(name)
			if err != nil || a == nil {
				continue
			}
			if rows, err := a.Load(); err != nil || !bytes.Equal(rows.Bytes(), whole.Bytes()) || !slices.Equal(rows.Text(), whole.Text()) {
				t.Fatalf("%s: %v in place, %v whole, %v", name, rows, whole, err)
			}
		}
	})
}

func FuzzReadCIFAR(f *testing.F) {
	f.Add(make([]byte, cifar10))
	f.Add(slices.Repeat([]byte{7}, 2*cifar100))
	path := filepath.Join(f.TempDir(), "x.bin")
	f.Fuzz(func(t *testing.T, file []byte) {
		if len(file) < cifar10 { // short inputs stand for the start of whole records
			file = append(file, make([]byte, cifar10+len(file)&1-len(file))...)
		}
		if err := os.WriteFile(path, file, 0o644); err != nil {
			t.Fatal(err)
		}
		images, labels, err := ReadCIFAR(path)
		if err != nil {
			return
		}
		if !images.Shape.Equal(tensor.Shape{len(labels), 3, 32, 32}) || slices.ContainsFunc(labels, func(l int) bool { return l < 0 || l > 99 }) {
			t.Fatalf("%v with labels %v", images, labels)
		}
	})
}

// FuzzOpen opens a file of arbitrary bytes under the names that matter, reads all of its samples and checks them against what the
// set announces.
func FuzzOpen(f *testing.F) {
	array := arrayOf(f, tensor.Of(tensor.Shape{2, 3, 3, 3}, make([]uint8, 54)))
	f.Add(uint8(0), array)
	f.Add(uint8(1), archiveOf(f, "x.npy", zip.Store, array))
	f.Add(uint8(2), archiveOf(f, "cat/1.pgm", zip.Deflate, []byte(grayPixmap)))
	f.Add(uint8(3), []byte(grayPixmap))
	f.Add(uint8(4), idxOf(8, []int{3, 2, 2}, make([]byte, 12)))
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(idxOf(8, []int{3, 2, 2}, make([]byte, 12))); err != nil {
		f.Fatal(err)
	}
	if err := z.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(uint8(5), packed.Bytes())
	f.Add(uint8(6), make([]byte, cifar100))
	names := []string{"x.npy", "x.npz", "x.zip", "x.pgm", "x-images-idx3-ubyte", "x-images-idx3-ubyte.gz", "x.bin"}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, which uint8, file []byte) {
		if w, h, err := picture.Size(file); err == nil && w*h > 1<<20 {
			return // memory, not code
		}
		path := filepath.Join(dir, names[int(which)%len(names)])
		if err := os.WriteFile(path, file, 0o644); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path, Options{Limit: 4, Transform: Transform{Size: Size{4, 4}}})
		if err != nil {
			return
		}
		defer s.Close()
		for b, err := range Batches(t.Context(), s, 3) {
			if err != nil {
				return
			}
			if len(b.Inputs) != len(s.Fields()) || len(b.IDs) == 0 {
				t.Fatalf("%d inputs, %d samples of %v", len(b.Inputs), len(b.IDs), s.Fields())
			}
			for i, x := range b.Inputs {
				if w := s.Fields()[i]; x.DType != w.DType || x.Shape[0] != len(b.IDs) || !x.Shape[1:].Equal(w.Shape) {
					t.Fatalf("input %d is %v, announced %v", i, x, w)
				}
			}
		}
	})
}
