package parquet

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
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
		if size/256 > len(b) { // a byte stands for 255 at most
			return nil, fmt.Errorf("a page of %d bytes that %s makes %d", len(b), name, size)
		}
		out = make([]byte, size)
		var n int
		n, err = lz4.UncompressBlock(b, out)
		out = out[:max(n, 0)]
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
