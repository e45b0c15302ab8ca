// Package format is the table of model formats: [Open] finds the one that a file or folder is of, [Save] picks one by name.
package format

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/neurotrain/neuroquant/internal/format/gguf"
	"github.com/neurotrain/neuroquant/internal/format/hf"
	"github.com/neurotrain/neuroquant/internal/format/onnx"
	"github.com/neurotrain/neuroquant/internal/format/torch"
	"github.com/neurotrain/neuroquant/internal/model"
)

// Formats lists the formats in the order in which they are tried.
var Formats = []*model.Format{&torch.Format, &hf.Format, &gguf.Format, &onnx.Format}

// ErrNotModel is in the chain of the error for a file of no known format.
var ErrNotModel = errors.New("not a model of a known format")

// headLen is how much of a file the formats judge by.
const headLen = 512

// Open opens the model file at path, or the model in the folder at path, by the first format that matches. Parameters stay in
// the file until they are used; the caller closes the model.
func Open(ctx context.Context, path string) (*model.Model, error) {
	f, file, err := of(path)
	if err != nil {
		return nil, err
	}
	return f.Open(ctx, file)
}

// Describe returns what the file at path, or the model in the folder at path, holds beside a graph or in place of one; nil where
// files of its format are graphs.
func Describe(ctx context.Context, path string) (*model.Contents, error) {
	f, file, err := of(path)
	if err != nil || f.Describe == nil {
		return nil, err
	}
	return f.Describe(ctx, file)
}

// of returns the format of a file, or of the model in a folder, and the file.
func of(path string) (f *model.Format, file string, err error) {
	info, err := os.Stat(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, "", fmt.Errorf("%s: no such file or folder", path)
		}
		return nil, "", err
	}
	file = path
	if info.IsDir() {
		if hf.Match(path, nil) {
			return &hf.Format, path, nil
		}
		if file, err = inFolder(path); err != nil {
			return nil, "", err
		}
	}
	head, err := readHead(file)
	if err != nil {
		return nil, "", err
	}
	if hf.Match(file, head) {
		return &hf.Format, file, nil
	}
	what := recognize(head)
	for _, f := range Formats {
		if what == "" && f.Match(file, head) {
			return f, file, nil
		}
	}
	if what == "" && strings.HasPrefix(string(head), "PK\x03\x04") {
		what = "a zip archive that is not called like a model"
	}
	if what == "" {
		what = fmt.Sprintf("it starts with %q", head[:min(len(head), 16)])
	}
	return nil, "", fmt.Errorf("%s: %w: %s; accepted: %s", file, ErrNotModel, what, accepted())
}

// Find returns the format of a name.
func Find(name string) (*model.Format, error) {
	var names []string
	for _, f := range Formats {
		if f.Name == name {
			return f, nil
		}
		names = append(names, f.Name)
	}
	return nil, fmt.Errorf("unknown format %q; formats are %s", name, strings.Join(names, ", "))
}

// inFolder returns the model file of a folder that this tool wrote, or the only one that there is.
func inFolder(dir string) (string, error) {
	for _, name := range []string{"model.onnx", "model.pt"} {
		if p := filepath.Join(dir, name); exists(p) {
			return p, nil
		}
	}
	var found []string
	for _, pattern := range []string{"*.onnx", "*.pt", "*.pth", "*.pt2", "*.gguf"} {
		some, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return "", err
		}
		found = append(found, some...)
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", fmt.Errorf("%s: %w: the folder holds no model; accepted: %s", dir, ErrNotModel, accepted())
	}
	return "", fmt.Errorf("%s: the folder holds %d models; name one of %s", dir, len(found), strings.Join(found, ", "))
}

func exists(p string) bool {
	_, err := os.Stat(p)
	return err == nil
}

func readHead(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, headLen)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return head[:n], nil
}

func accepted() string {
	return "ONNX (.onnx), PyTorch (.pt, .pth, .bin and others), safetensors with a config.json, GGUF (.gguf), or a folder with one"
}

// recognize says what a file is that is certainly no model of a format above, whatever its name; "" if it may be one.
func recognize(head []byte) string {
	s := string(head)
	for _, k := range []struct{ begins, what string }{
		{"\x93NUMPY", "a numpy array"},
		{"\x89HDF", "an HDF5 file"},
		{"\x1f\x8b", "compressed by gzip; unpack it first"},
		{"version https://git-lfs", "a Git LFS pointer, not the file itself; get it with 'git lfs pull'"},
		{"<!DOCTYPE", "a web page; download the file itself"},
		{"<html", "a web page; download the file itself"},
	} {
		if strings.HasPrefix(s, k.begins) {
			return k.what
		}
	}
	switch {
	case len(head) == 0:
		return "the file is empty"
	case len(head) > 8 && string(head[4:9]) == "\x00\x00\x00\x00{": // after a length of eight bytes
		return "it looks like safetensors; call it model.safetensors and put its config.json beside it"
	case isText(s):
		return fmt.Sprintf("a text file that starts with %q", s[:min(len(s), 16)])
	}
	return ""
}

// isText reports whether a file begins with nothing but printable characters, which the binary formats never do.
func isText(s string) bool {
	if len(s) == headLen {
		s = strings.ToValidUTF8(s, "") // the last character may be cut
	}
	return len(s) > 0 && !strings.ContainsFunc(s, func(r rune) bool { return r == unicode.ReplacementChar || !unicode.IsPrint(r) && !unicode.IsSpace(r) })
}
