package format

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/example"
)

func TestFilesThatAreNoModel(t *testing.T) {
	for name, test := range map[string]struct{ contents, want string }{
		"empty":       {"", "the file is empty"},
		"numpy":       {"\x93NUMPY\x01\x00", "a numpy array"},
		"HDF5":        {"\x89HDF\r\n\x1a\n", "an HDF5 file"},
		"gzip":        {"\x1f\x8b\x08\x00", "compressed by gzip"},
		"LFS":         {"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n", "git lfs pull"},
		"web page":    {"<!DOCTYPE html><title>Not found</title>", "a web page"},
		"safetensors": {"\x10\x00\x00\x00\x00\x00\x00\x00{\"a\":{}}", "safetensors"},
		"text":        {"layers:\n  - größe\n", `a text file that starts with "layers:`},
		"bytes":       {"\x00\x01\x02\x03", `it starts with "\x00\x01\x02\x03"`},
	} {
		t.Run(name, func(t *testing.T) {
			for _, file := range []string{"m.onnx", "m.bin"} {
				if name == "bytes" && file == "m.onnx" {
					continue // only the parser can tell
				}
				path := filepath.Join(t.TempDir(), file)
				if err := os.WriteFile(path, []byte(test.contents), 0o644); err != nil {
					t.Fatal(err)
				}
				_, err := Open(context.Background(), path)
				if !errors.Is(err, ErrNotModel) {
					t.Fatalf("%s: error %v", file, err)
				}
				for _, part := range []string{path, test.want, "accepted: ONNX"} {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("%s: %q does not say %q", file, err, part)
					}
				}
			}
		})
	}
}

func TestModelsAreFoundByContentAndInFolders(t *testing.T) {
	dir := t.TempDir()
	m := example.Models()[0]
	put := func(name string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, m.ONNX, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"weights.bin", "UPPER.ONNX", "one/shapes.onnx", "ours/model.onnx", "ours/other.onnx", "two/a.onnx", "two/b.onnx"} {
		put(name)
	}
	if err := os.Mkdir(filepath.Join(dir, "none"), 0o755); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"weights.bin": "", "UPPER.ONNX": "", "one": "", "ours": "",
		"two": "2 models; name one of", "none": "the folder holds no model", "missing": "no such file or folder",
	} {
		got, err := Open(context.Background(), filepath.Join(dir, path))
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", path, err)
		case want == "":
			if path == "ours" && filepath.Base(got.Path) != "model.onnx" {
				t.Errorf("%s: opened %s", path, got.Path)
			}
			if err := got.Close(); err != nil {
				t.Error(err)
			}
		case err == nil || !strings.Contains(err.Error(), want):
			t.Errorf("%s: error %v, want %q", path, err, want)
		}
	}
	if _, err := Find("tflite"); err == nil || !strings.Contains(err.Error(), `unknown format "tflite"; formats are pt, hf, gguf, onnx`) {
		t.Errorf("Find: %v", err)
	}
}
