// Package outfile writes files that appear under their names only when all of them are complete.
package outfile

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
)

// Set is a group of files, such as a model and its weights. They are written under temporary names in their folders;
// [Set.Commit] renames them, [Set.Abort] removes them. The zero value is an empty set.
type Set struct {
	files []*File
	done  bool
}

// File is one file of a set. It is buffered.
type File struct {
	*bufio.Writer
	f    *os.File
	path string
}

// Create starts the file that will be at path. The folder must exist. A file that is there already keeps its contents until
// Commit, so it may be read, even be mapped into memory, while its successor is written.
func (s *Set) Create(path string) (*File, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s exists and is not a regular file", path)
	}
	for range 100 {
		tmp := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%08x.tmp", filepath.Base(path), rand.Uint32()))
		f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, named(path, err)
		}
		file := &File{bufio.NewWriterSize(f, 1<<18), f, path}
		s.files = append(s.files, file)
		return file, nil
	}
	return nil, fmt.Errorf("%s: no free temporary name", path)
}

// WriteAt writes b at an offset, past the buffer: for files whose parts come in any order and that are written this way alone.
func (f *File) WriteAt(b []byte, offset int64) error {
	if _, err := f.f.WriteAt(b, offset); err != nil {
		return named(f.path, err)
	}
	return nil
}

// Commit flushes all files to the disk and gives them their names, in the order in which they were created. After an error
// nothing of the set is left behind but what had its name already.
func (s *Set) Commit() error {
	for _, f := range s.files {
		err := f.Flush()
		if err == nil {
			err = f.f.Sync()
		}
		if err != nil {
			s.Abort()
			return named(f.path, err)
		}
	}
	for _, f := range s.files {
		if err := f.f.Close(); err != nil {
			s.Abort()
			return named(f.path, err)
		}
	}
	dirs := map[string]bool{}
	for _, f := range s.files {
		if err := os.Rename(f.f.Name(), f.path); err != nil {
			s.Abort()
			return err
		}
		dirs[filepath.Dir(f.path)] = true
	}
	s.done = true
	for d := range dirs {
		syncDir(d)
	}
	return nil
}

// named gives an error of the system the name that the file was to have; the temporary one would say nothing.
func named(path string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return &fs.PathError{Op: "write", Path: path, Err: p.Err}
	}
	return err
}

// syncDir makes renames durable where the system can.
func syncDir(dir string) {
	if runtime.GOOS == "windows" {
		return
	}
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync() // some file systems cannot; the files themselves are on the disk
		d.Close()
	}
}

// Abort removes the temporary files. After Commit it does nothing, so that it can be deferred.
func (s *Set) Abort() {
	if s.done {
		return
	}
	s.done = true
	for _, f := range s.files {
		f.f.Close()
		os.Remove(f.f.Name())
	}
}
