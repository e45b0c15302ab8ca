package onnx

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path"
	"sort"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/neurotrain/neuroquant/internal/material"
)

// conformanceCase is one model of the archive with its data sets: the files of inputs and outputs by index.
type conformanceCase struct {
	suite, name string
	model       []byte
	sets        []map[string][]byte
}

var archive struct {
	once  sync.Once
	files map[string][]byte
	err   error
}

// conformanceFiles reads the archive into memory, once.
func conformanceFiles(t *testing.T) map[string][]byte {
	t.Helper()
	p := material.Path(t, "onnx-conformance.tar.zst")
	archive.once.Do(func() { archive.files, archive.err = readArchive(p) })
	if archive.err != nil {
		t.Fatal(archive.err)
	}
	return archive.files
}

// readArchive returns the files of the archive by name.
func readArchive(p string) (map[string][]byte, error) {
	f, err := os.Open(p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	files := map[string][]byte{}
	r := tar.NewReader(z)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		b, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		files[strings.TrimPrefix(path.Clean(h.Name), "onnx-conformance/")] = b
	}
}

// conformanceCases returns the cases of the archive, sorted; those of the suite "light" are not among them.
func conformanceCases(t *testing.T) []*conformanceCase {
	files := conformanceFiles(t)
	byDir := map[string]*conformanceCase{}
	for name, b := range files {
		if path.Base(name) != "model.onnx" {
			continue
		}
		dir := path.Dir(name)
		byDir[dir] = &conformanceCase{suite: path.Dir(dir), name: path.Base(dir), model: b}
	}
	for name, b := range files {
		dir, file := path.Split(name)
		set := path.Base(dir)
		c := byDir[path.Dir(path.Clean(dir))]
		if c == nil || !strings.HasPrefix(set, "test_data_set_") {
			continue
		}
		k := int(set[len(set)-1] - '0')
		for len(c.sets) <= k {
			c.sets = append(c.sets, map[string][]byte{})
		}
		c.sets[k][strings.TrimSuffix(file, ".pb")] = b
	}
	cases := make([]*conformanceCase, 0, len(byDir))
	for _, c := range byDir {
		cases = append(cases, c)
	}
	sort.Slice(cases, func(i, j int) bool {
		return cases[i].suite+"/"+cases[i].name < cases[j].suite+"/"+cases[j].name
	})
	return cases
}
