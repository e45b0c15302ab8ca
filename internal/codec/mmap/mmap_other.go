//go:build !unix

package mmap

import (
	"io"
	"os"
)

func mapFile(f *os.File, n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, int64(n)), b); err != nil {
		return nil, err
	}
	return b, nil
}

func unmap([]byte) error { return nil }
