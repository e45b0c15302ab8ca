package onnx

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"

	"github.com/neurotrain/neuroquant/internal/codec/mmap"
	"github.com/neurotrain/neuroquant/internal/codec/protobuf"
)

// external maps the files that hold external data of a model, each once. Only files in the folder of the model are opened: the
// location must be relative, and neither ".." nor a symbolic link may lead out of it.
type external struct {
	path  string // of the model
	files map[string]*mmap.File
}

// slice returns the n bytes that an external data reference points to, and the file that they are in.
func (x *external) slice(refs []protobuf.StringEntry, n int) ([]byte, *mmap.File, error) {
	var location string
	offset, length := uint64(0), uint64(n)
	for _, r := range refs {
		var err error
		switch r.Key {
		case "location":
			location = r.Value
		case "offset":
			offset, err = strconv.ParseUint(r.Value, 10, 63)
		case "length":
			length, err = strconv.ParseUint(r.Value, 10, 63)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("external data: %s: want a number of bytes, got %q", r.Key, r.Value)
		}
	}
	if location == "" {
		return nil, nil, errors.New("external data: the location is missing")
	}
	if length != uint64(n) {
		return nil, nil, fmt.Errorf("external data: the tensor takes %d bytes, length says %d", n, length)
	}
	if n == 0 {
		return []byte{}, nil, nil
	}
	f, err := x.open(location)
	if err != nil {
		return nil, nil, fmt.Errorf("external data: %w", err)
	}
	size := uint64(len(f.Bytes()))
	if offset > size || length > size-offset {
		return nil, nil, fmt.Errorf("external data: %s has %d bytes, want %d at offset %d", location, size, length, offset)
	}
	at, ok := checkedInt(offset)
	if !ok {
		return nil, nil, fmt.Errorf("external data: offset %d", offset)
	}
	return f.Bytes()[at : at+n : at+n], f, nil
}

func (x *external) open(location string) (*mmap.File, error) {
	if f := x.files[location]; f != nil {
		return f, nil
	}
	name := filepath.FromSlash(location)
	if !filepath.IsLocal(name) {
		return nil, fmt.Errorf("location %q is not a file below the folder of the model", location)
	}
	f, err := openBelow(filepath.Dir(x.path), name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		// Download caches keep a model and its data side by side in one folder and link to both: what lies beside the model's real
		// file is as good as what lies beside the link.
		if f2, err2 := openLinked(x.path, name); err2 == nil {
			f, err = f2, nil
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("file %q is missing beside the model; copy it there", location)
	}
	if err != nil {
		return nil, fmt.Errorf("location %q: %w", location, err)
	}
	defer f.Close()
	m, err := mmap.Map(f)
	if err != nil {
		return nil, fmt.Errorf("location %q: %w", location, err)
	}
	if x.files == nil {
		x.files = map[string]*mmap.File{}
	}
	x.files[location] = m
	return m, nil
}

// openBelow opens a file without leaving dir, not even through a symbolic link.
func openBelow(dir, name string) (*os.File, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	// A pipe would block in Open, so look first.
	info, err := root.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil { // the system's words for a link that escapes differ
		return nil, fmt.Errorf("the file cannot be reached, or a link leads out of the folder of the model: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	return root.Open(name)
}

// openLinked opens the file that name links to if it lies in the folder of the file that the model links to.
func openLinked(path, name string) (*os.File, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	target, err := filepath.EvalSymlinks(filepath.Join(filepath.Dir(path), name))
	if err != nil {
		return nil, err
	}
	rel, err := filepath.Rel(filepath.Dir(real), target)
	if err != nil {
		return nil, err
	}
	if !filepath.IsLocal(rel) || real == path {
		return nil, fs.ErrPermission
	}
	return openBelow(filepath.Dir(real), rel)
}

// Close removes the mappings.
func (x *external) Close() error {
	var errs []error
	for _, f := range x.files {
		errs = append(errs, f.Close())
	}
	x.files = nil
	return errors.Join(errs...)
}

// names lists the model file and the files of external data.
func (x *external) names(modelFile string) []string {
	names := []string{modelFile}
	for location := range x.files {
		names = append(names, filepath.FromSlash(location))
	}
	sort.Strings(names[1:])
	return names
}
