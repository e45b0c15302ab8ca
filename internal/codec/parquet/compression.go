package parquet

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// codecs by number.
var codecs = []string{"UNCOMPRESSED", "SNAPPY", "GZIP", "LZO", "BROTLI", "LZ4", "ZSTD", "LZ4_RAW"}

// decompress returns the size bytes that b holds.
func decompress(codec int64, b []byte, size int) (out []byte, err error) {
	name := fmt.Sprint("number ", codec)
	if codec >= 0 && codec < int64(len(codecs)) {
		name = codecs[codec]
	}
	switch name {
	case "UNCOMPRESSED":
		out = b
	case "SNAPPY":
		if n, err := s2.DecodedLen(b); err != nil || n != size || n > 32*len(b)+64 { // a copy of 64 bytes takes three
			return nil, fmt.Errorf("a page of %d bytes that %s makes %d of %d: %w", size, name, n, len(b), errors.Join(err, s2.ErrCorrupt))
		}
		out, err = s2.Decode(nil, b)
	case "GZIP":
		var z *gzip.Reader
		if z, err = gzip.NewReader(bytes.NewReader(b)); err == nil {
			out, err = io.ReadAll(io.LimitReader(z, int64(size)+1))
		}
	case "ZSTD":
		var z *zstd.Decoder
		if z, err = zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(uint64(max(size, 1<<20)))); err == nil {
			out, err = io.ReadAll(io.LimitReader(z, int64(size)+1))
			z.Close()
		}
	case "LZ4_RAW":
		out, err = lz4(b, size)
	default:
		return nil, fmt.Errorf("pages compressed by %s; UNCOMPRESSED, SNAPPY, GZIP, ZSTD and LZ4_RAW are read", name)
	}
	if err == nil && len(out) != size {
		err = fmt.Errorf("want %d bytes, got %d", size, len(out))
	}
	if err != nil {
		return nil, fmt.Errorf("a page by %s: %w", name, err)
	}
	return out, nil
}

// lz4 decodes a block (https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md) of at most size bytes.
func lz4(b []byte, size int) ([]byte, error) {
	var out []byte
	r := reader{b: b}
	length := func(n byte) (total int) { // 15 goes on in bytes, of which 255 goes on
		total = int(n)
		for more := byte(255); n == 15 && more == 255 && r.err == nil; {
			more = r.byte()
			total += int(more)
		}
		return total
	}
	for len(r.b) > 0 {
		token := r.byte()
		out = append(out, r.take(uint64(length(token>>4)))...)
		if len(r.b) == 0 || len(out) > size {
			break // the last sequence is literals alone
		}
		distance := int(r.byte()) | int(r.byte())<<8
		n := length(token&15) + 4
		if distance == 0 || distance > len(out) || n > size-len(out) {
			r.fail(fmt.Errorf("%d bytes from %d back at %d of %d", n, distance, len(out), size))
			break
		}
		for range n {
			out = append(out, out[len(out)-distance])
		}
	}
	return out, r.err
}
