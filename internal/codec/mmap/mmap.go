// Package mmap maps files into memory for reading.
//
// On Linux and other Unix systems the pages come from the file when they are touched; on other systems the file is read into
// memory at once. A mapped file must not be truncated while it is open: touching a page that is gone ends the program.
package mmap

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"sync"
	"unsafe"
)

// File is a read-only mapping of a whole file.
type File struct {
	data  []byte
	close sync.Once
	err   error
}

// hugePage is the size of a large page on the systems that have them.
const hugePage = 2 << 20

// Anonymous returns n zeroed bytes that are no part of the Go heap, on large pages where they are many and the system has
// such, and a function that gives them back. n is positive. It fails where the system has no such call.
func Anonymous(n int) (b []byte, free func() error, err error) {
	if b, err = anonymous(n); err != nil {
		return nil, nil, err
	}
	if n >= hugePage {
		huge(b)
	}
	return b, func() error { return unmap(b) }, nil
}

// Advice tells the system how a range will be used.
type Advice int

// Kinds of advice.
const (
	Sequential Advice = iota // read once, from the front
	Random                   // no read-ahead
	WillNeed                 // read ahead now
	DontNeed                 // drop the pages; they come back from the file when touched again
)

// Open maps the file at path.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Map(f)
}

// Map maps the whole of an open file, which the caller may close afterwards. A large one is asked for on large pages, which file systems that have
// them read it into: weights that are multiplied where they lie, float16 above all, are read faster from such.
func Map(f *os.File) (*File, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", f.Name())
	}
	n := info.Size()
	if n == 0 {
		return &File{}, nil
	}
	if n > math.MaxInt {
		return nil, fmt.Errorf("%s: %d bytes do not fit the address space", f.Name(), n)
	}
	data, err := mapFile(f, int(n))
	if err != nil {
		return nil, fmt.Errorf("%s: map into memory: %w", f.Name(), err)
	}
	if n >= hugePage {
		huge(data)
	}
	return &File{data: data}, nil
}

// Stream calls each with the contents of the file at path, front to back, in pieces of at most n bytes that are valid during the call. It reads
// them: what is touched once comes faster so than by mapping it page after page.
func Stream(path string, n int, each func(b []byte) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, n)
	for {
		got, err := f.Read(b)
		if got > 0 {
			if err := each(b[:got]); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// Bytes returns the contents. They are read-only and must not be used after [File.Close].
func (f *File) Bytes() []byte { return f.data }

// Advise hints how n bytes from offset will be used. It does nothing where the system has no such call.
func (f *File) Advise(offset, n int, a Advice) error {
	if offset < 0 || n < 0 || offset > len(f.data) || n > len(f.data)-offset {
		return fmt.Errorf("range of %d bytes at %d is outside the file of %d", n, offset, len(f.data))
	}
	if n == 0 {
		return nil
	}
	return advise(f.data, offset, n, a)
}

// Drop lets go of the memory pages that lie wholly in b, a part of [File.Bytes]; they come back from the file when they are
// touched again. It does nothing for other memory and where the system has no such call.
func (f *File) Drop(b []byte) {
	if len(b) == 0 || len(f.data) == 0 {
		return
	}
	page := uintptr(os.Getpagesize())
	base, start := uintptr(unsafe.Pointer(&f.data[0])), uintptr(unsafe.Pointer(&b[0]))
	if start < base || start+uintptr(len(b)) > base+uintptr(len(f.data)) {
		return
	}
	first := (start - base + page - 1) / page * page
	if end := start - base + uintptr(len(b)); end/page*page > first {
		_ = f.Advise(int(first), int(end/page*page-first), DontNeed) // a hint
	}
}

// Rest lets go of all memory pages; they come back from the file when they are touched again.
func (f *File) Rest() { f.Drop(f.data) }

// Close removes the mapping. Closing again does nothing.
func (f *File) Close() error {
	f.close.Do(func() {
		if f.data != nil {
			f.err = unmap(f.data)
			f.data = nil
		}
	})
	return f.err
}
