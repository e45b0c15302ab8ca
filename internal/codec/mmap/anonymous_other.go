//go:build !unix

package mmap

import "errors"

func anonymous(int) ([]byte, error) { return nil, errors.ErrUnsupported }
