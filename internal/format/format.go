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

	"github.com/neurotrain/neuroquant/internal/format/onnx"
	"github.com/neurotrain/neuroquant/internal/model"
)

// Formats lists the formats in the order in which they are tried.
var Formats = []*model.Format{&onnx.Format}

// ErrNotModel is in the chain of the error for a file of no known format.
var ErrNotModel = errors.New("not a model of a known format")

// headLen is how much of a file the formats judge by.
const headLen = 64

// Open opens the model file at path, or the model in the folder at path, by the first format that matches. Parameters stay in
// the file until they are used; the caller closes the model.
func Open(ctx context.Context, path string) (*model.Model, error) {
	info, err := os.Stat(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s: no such file or folder", path)
		}
		return nil, err
	}
	file := path
	if info.IsDir() {
		if file, err = inFolder(path); err != nil {
			return nil, err
		}
	}
	head, err := readHead(file)
	if err != nil {
		return nil, err
	}
	for _, f := range Formats {
		if f.Match(file, head) {
			return f.Open(ctx, file)
		}
	}
	return nil, fmt.Errorf("%s: %w: %s; accepted: %s", file, ErrNotModel, describe(head), accepted())
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
	if p := filepath.Join(dir, "model.onnx"); exists(p) {
		return p, nil
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.onnx"))
	if err != nil {
		return "", err
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
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return head[:n], nil
}

func accepted() string { return "ONNX (.onnx), or a folder with one" }

// describe says what a file that no format takes looks like.
func describe(head []byte) string {
	s := string(head)
	switch {
	case len(head) == 0:
		return "the file is empty"
	case strings.HasPrefix(s, "PK\x03\x04"):
		return "a zip archive, as PyTorch and npz files are"
	case strings.HasPrefix(s, "GGUF"):
		return "a GGUF file"
	case strings.HasPrefix(s, "\x80\x02") || strings.HasPrefix(s, "\x80\x04"):
		return "a Python pickle"
	case strings.HasPrefix(s, "\x93NUMPY"):
		return "a numpy array"
	case strings.HasPrefix(s, "\x89HDF"):
		return "an HDF5 file"
	case len(head) > 8 && head[8] == '{':
		return "it looks like safetensors"
	}
	return fmt.Sprintf("it starts with %q", s[:min(len(s), 16)])
}
