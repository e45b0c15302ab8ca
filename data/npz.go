package data

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/tensor"
)

// NPZ is an open .npz archive. Only headers are read until a member is asked for.
type NPZ struct {
	path    string
	f       *os.File
	names   []string
	members map[string]*npzMember
}

type npzMember struct {
	file   *zip.File
	header *NPYHeader
}

// OpenNPZ opens an archive and checks the header of every member against the size that the archive announces.
func OpenNPZ(path string) (*NPZ, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	z, err := readNPZ(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: npz: %w", path, err)
	}
	z.path, z.f = path, f
	return z, nil
}

func readNPZ(f *os.File) (*NPZ, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	r, err := zip.NewReader(f, st.Size())
	if err != nil {
		return nil, err
	}
	z := &NPZ{members: map[string]*npzMember{}}
	var errs []error
	for _, file := range r.File {
		name, ok := strings.CutSuffix(file.Name, ".npy")
		if !ok {
			errs = append(errs, fmt.Errorf("member %q is not an .npy array", file.Name))
			continue
		}
		if z.members[name] != nil {
			errs = append(errs, fmt.Errorf("member %q twice", file.Name))
			continue
		}
		h, err := npzHeader(file)
		if err != nil {
			errs = append(errs, fmt.Errorf("member %q: %w", file.Name, err))
			continue
		}
		z.names = append(z.names, name)
		z.members[name] = &npzMember{file, h}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if len(z.names) == 0 {
		return nil, errors.New("no arrays")
	}
	return z, nil
}

func npzHeader(file *zip.File) (*NPYHeader, error) {
	if err := plausibleMember(file); err != nil {
		return nil, err
	}
	r, err := file.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	h, err := readNPYHeader(r)
	if err != nil {
		return nil, err
	}
	size, _ := h.byteLen(h.Shape.Len())
	if have := file.UncompressedSize64 - uint64(h.length); uint64(size) > have {
		return nil, fmt.Errorf("%v of shape %v takes %d bytes, found %d", h.DType, h.Shape, size, have)
	}
	return h, nil
}

func plausibleMember(f *zip.File) error { return plausible(f.UncompressedSize64, f.CompressedSize64) }

// plausible refuses compressed data made to exhaust memory: deflate cannot expand more than 1,032 times, and nothing that is
// worth reading above 256 MiB shrinks 200 times.
func plausible(size, packed uint64) error {
	if packed < 1<<50 && size <= 1032*packed+64 && (size <= 256<<20 || size/200 <= packed) {
		return nil
	}
	return fmt.Errorf("refused as a decompression bomb: %d bytes announced from %d", size, packed)
}

// Names returns the arrays in the archive's order, without the .npy suffix.
func (z *NPZ) Names() []string { return slices.Clone(z.names) }

// Header returns the header of an array.
func (z *NPZ) Header(name string) (*NPYHeader, error) {
	m, err := z.member(name)
	if err != nil {
		return nil, err
	}
	h := *m.header
	return &h, nil
}

// Load reads an array.
func (z *NPZ) Load(name string) (*tensor.Tensor, error) {
	m, err := z.member(name)
	if err != nil {
		return nil, err
	}
	r, err := m.file.Open()
	if err != nil {
		return nil, fmt.Errorf("%s: member %q: %w", z.path, m.file.Name, err)
	}
	defer r.Close()
	t, err := ReadNPY(r)
	if err == nil {
		// Reading to the end checks the checksum.
		_, err = io.Copy(io.Discard, r)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: member %q: %w", z.path, m.file.Name, err)
	}
	return t, nil
}

// Open returns an array whose rows are read on demand if the archive stores it uncompressed (numpy.savez does), or nil if
// it has to be loaded whole. The array lives as long as the archive is open.
func (z *NPZ) Open(name string) (*NPY, error) {
	m, err := z.member(name)
	if err != nil || m.file.Method != zip.Store {
		return nil, err
	}
	at, err := m.file.DataOffset()
	if err != nil {
		return nil, fmt.Errorf("%s: member %q: %w", z.path, m.file.Name, err)
	}
	size := int64(m.file.UncompressedSize64)
	a, err := newNPY(io.NewSectionReader(z.f, at, size), size)
	if err != nil {
		return nil, fmt.Errorf("%s: member %q: npy: %w", z.path, m.file.Name, err)
	}
	return a, nil
}

func (z *NPZ) member(name string) (*npzMember, error) {
	if m := z.members[name]; m != nil {
		return m, nil
	}
	return nil, fmt.Errorf("%s: no array %q; it has %s", z.path, name, strings.Join(z.names, ", "))
}

// Close closes the archive.
func (z *NPZ) Close() error { return z.f.Close() }

// WriteNPZ writes arrays as numpy.savez does, uncompressed. names and arrays are parallel.
func WriteNPZ(w io.Writer, names []string, arrays []*tensor.Tensor) error {
	z := zip.NewWriter(w)
	for i, name := range names {
		if name == "" || path.Clean("/"+name) != "/"+name {
			return fmt.Errorf("npz: %q cannot name a member", name)
		}
		m, err := z.CreateHeader(&zip.FileHeader{Name: name + ".npy", Method: zip.Store})
		if err != nil {
			return fmt.Errorf("npz: member %q: %w", name, err)
		}
		if err := WriteNPY(m, arrays[i]); err != nil {
			return fmt.Errorf("npz: member %q: %w", name, err)
		}
	}
	return z.Close()
}
