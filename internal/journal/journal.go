// Package journal keeps files of JSON lines that long work writes what it has done to, each line flushed to the disk before the work
// goes on. The first line says what the work is; the last one may have been cut off.
package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Kind is what a journal is of, and the version of its lines.
type Kind struct {
	Name   string
	Schema int
}

// head is the first line of a journal whose work is named by a key.
type head[K any] struct {
	Kind   string `json:"kind"`
	Schema int    `json:"schema"`
	Key    K      `json:"key"`
}

// Parse reads a journal: the key of its work into key, a pointer; entry is called with each further line. It returns how many bytes of it are
// whole lines, none for an empty one. The last line may have been cut off, every other one must be right.
func (k Kind) Parse(text []byte, key any, entry func(line []byte) error) (whole int, err error) {
	for n := 1; ; n++ {
		end := bytes.IndexByte(text[whole:], '\n')
		if end < 0 {
			return whole, nil
		}
		line := text[whole : whole+end]
		if n == 1 {
			h := head[json.RawMessage]{}
			if err := Strict(line, &h); err != nil || h.Kind != k.Name {
				return 0, errors.Join(fmt.Errorf("line 1: this is no journal of a %s", k.Name), err)
			}
			if h.Schema != k.Schema {
				return 0, fmt.Errorf("line 1: a journal of schema %d; this version reads schema %d", h.Schema, k.Schema)
			}
			err = Strict(h.Key, key)
		} else {
			err = entry(line)
		}
		if err != nil {
			return 0, fmt.Errorf("line %d: %w", n, err)
		}
		whole += end + 1
	}
}

// Strict decodes a line that holds one value without unknown fields.
func Strict(line []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("more than one value in a line")
	}
	return nil
}

// File is a journal that is written.
type File struct{ f *os.File }

// Open opens the journal at path behind its first whole bytes, which stay, or begins it with the key if there are none. The folder
// must exist.
func (k Kind) Open(path string, whole int, key any) (*File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	j := &File{f}
	// What a line that was cut off left behind goes.
	if err = f.Truncate(int64(whole)); err == nil {
		_, err = f.Seek(int64(whole), io.SeekStart)
	}
	if err == nil && whole == 0 {
		err = j.Add(head[any]{k.Name, k.Schema, key})
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return j, nil
}

// Add writes a line, which is on the disk when Add returns.
func (j *File) Add(v any) error {
	text, err := json.Marshal(v)
	if err == nil {
		_, err = j.f.Write(append(text, '\n'))
	}
	if err == nil {
		err = j.f.Sync()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(j.f.Name()), err)
	}
	return nil
}

// Close closes the file, which is complete at any time.
func (j *File) Close() error { return j.f.Close() }
