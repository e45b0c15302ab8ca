//go:build !unix

package mmap

import (
	"io"
	"os"
)

// lazy is whether pages come from the file when they are touched.
const lazy = false

func mapFile(f *os.File, n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, int64(n)), b); err != nil {
		return nil, err
	}
	return b, nil
}

func unmap([]byte) error { return nil }
