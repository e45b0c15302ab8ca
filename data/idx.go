package data

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/neurotrain/neuroquant/tensor"
)

// idxTypes are the element codes of the IDX format (the MNIST distribution describes it); data is big-endian.
var idxTypes = map[byte]tensor.DType{
	0x08: tensor.Uint8, 0x09: tensor.Int8, 0x0b: tensor.Int16, 0x0c: tensor.Int32, 0x0d: tensor.Float32, 0x0e: tensor.Float64,
}

func isGzip(head []byte) bool { return len(head) > 2 && head[0] == 0x1f && head[1] == 0x8b }

func isIDX(head []byte) bool {
	if len(head) < 4 || head[0] != 0 || head[1] != 0 || head[3] == 0 || head[3] > 8 {
		return false
	}
	_, ok := idxTypes[head[2]]
	return ok
}

// ReadIDX reads an IDX array, the format of MNIST. Memory grows with the bytes that arrive.
func ReadIDX(r io.Reader) (*tensor.Tensor, error) {
	return readIDX(r, func(int) error { return nil })
}

// ReadIDXFile reads an IDX file, gzip-compressed or not.
func ReadIDXFile(path string) (*tensor.Tensor, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	t, err := decodeIDX(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

func decodeIDX(raw []byte) (*tensor.Tensor, error) {
	if !isGzip(raw) {
		t, err := ReadIDX(bytes.NewReader(raw))
		if err != nil {
			return nil, err
		}
		if want := 4 + 4*len(t.Shape) + t.ByteLen(); want != len(raw) {
			return nil, fmt.Errorf("idx: %v takes %d bytes with its header, the file has %d", t, want, len(raw))
		}
		return t, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	t, err := readIDX(z, func(size int) error { return plausible(uint64(size), uint64(len(raw))) })
	if err != nil {
		return nil, err
	}
	if _, err := io.CopyN(io.Discard, z, 1); !errors.Is(err, io.EOF) { // reads the checksum
		if err == nil {
			err = errors.New("there is data after the array")
		}
		return nil, fmt.Errorf("idx: %w", err)
	}
	return t, nil
}

func readIDX(r io.Reader, check func(size int) error) (*tensor.Tensor, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, fmt.Errorf("idx: magic: %w", shortRead(err))
	}
	if !isIDX(head[:]) {
		return nil, fmt.Errorf("idx: want the magic 00 00 type rank, found % x", head)
	}
	d := idxTypes[head[2]]
	dims := make([]byte, 4*int(head[3]))
	if _, err := io.ReadFull(r, dims); err != nil {
		return nil, fmt.Errorf("idx: dimensions: %w", shortRead(err))
	}
	shape := make(tensor.Shape, head[3])
	for i := range shape {
		shape[i] = int(binary.BigEndian.Uint32(dims[4*i:]))
	}
	n, ok := shape.CheckedLen()
	if !ok {
		return nil, fmt.Errorf("idx: shape %v overflows", shape)
	}
	size := d.ByteLen(n)
	if err := check(size); err != nil {
		return nil, fmt.Errorf("idx: %w", err)
	}
	raw, err := readGrowing(r, size)
	if err != nil {
		return nil, fmt.Errorf("idx: data: %w", err)
	}
	swapBytes(raw, d.Size())
	t := tensor.New(d, shape...)
	copy(t.Bytes(), raw)
	return t, nil
}
