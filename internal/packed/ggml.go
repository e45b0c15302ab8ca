// Package packed holds the encodings of quantized matrices: what their bytes mean, and how values become such bytes.
//
// A [Kind] is a block type of ggml, the library below llama.cpp; [Blocks] is a matrix of one. Layouts and the arithmetic of the
// encoders follow ggml-quants.c and ggml-common.h of github.com/ggml-org/ggml, commit d99724f: the same values in, the same bytes
// out. All arithmetic is in float32, one rounding an operation: products are converted before they are added to, so that no
// compiler fuses the two.
package packed

import (
	"fmt"
	"math"
	"sort"
	"strings"

	"github.com/neurotrain/neuroquant/tensor"
)

// Kind is a block type; the values are the type numbers of GGUF files.
type Kind uint32

// The block types that can be decoded.
const (
	F32    Kind = 0
	F16    Kind = 1
	Q4_0   Kind = 2
	Q4_1   Kind = 3
	Q5_0   Kind = 6
	Q5_1   Kind = 7
	Q8_0   Kind = 8
	Q2_K   Kind = 10
	Q3_K   Kind = 11
	Q4_K   Kind = 12
	Q5_K   Kind = 13
	Q6_K   Kind = 14
	IQ2XXS Kind = 16
	IQ2XS  Kind = 17
	IQ3XXS Kind = 18
	IQ1S   Kind = 19
	IQ4NL  Kind = 20
	IQ3S   Kind = 21
	IQ2S   Kind = 22
	IQ4XS  Kind = 23
	IQ1M   Kind = 29
	BF16   Kind = 30
	TQ1_0  Kind = 34
	TQ2_0  Kind = 35
	MXFP4  Kind = 39
	NVFP4  Kind = 40
	Q1_0   Kind = 41
	Q2_0   Kind = 42
)

// block describes a block type: elements and bytes of a block, bits of a code, columns that share a scale.
type block struct {
	name        string
	size, bytes int
	bits, group int
	symmetric   bool
	decode      func(dst []float32, src []byte)             // one block
	encode      func(dst []byte, row, importance []float32) // whole rows
}

// superSize is the number of elements of a super-block.
const superSize = 256

var blocks = map[Kind]*block{
	F32:    {name: "F32", size: 1, bytes: 4, bits: 32, encode: encodeF32},
	F16:    {name: "F16", size: 1, bytes: 2, bits: 16, encode: encodeF16},
	BF16:   {name: "BF16", size: 1, bytes: 2, bits: 16, encode: encodeBF16},
	Q8_0:   {name: "Q8_0", size: 32, bytes: 34, bits: 8, group: 32, symmetric: true, decode: decodeQ8_0, encode: encodeQ8_0},
	Q4_0:   {name: "Q4_0", size: 32, bytes: 18, bits: 4, group: 32, symmetric: true, decode: decodeQ4_0, encode: encodeQ4_0},
	Q4_1:   {name: "Q4_1", size: 32, bytes: 20, bits: 4, group: 32, decode: decodeQ4_1, encode: encodeQ4_1},
	Q5_0:   {name: "Q5_0", size: 32, bytes: 22, bits: 5, group: 32, symmetric: true, decode: decodeQ5_0, encode: encodeQ5_0},
	Q5_1:   {name: "Q5_1", size: 32, bytes: 24, bits: 5, group: 32, decode: decodeQ5_1, encode: encodeQ5_1},
	Q2_K:   {name: "Q2_K", size: superSize, bytes: 84, bits: 2, group: 16, decode: decodeQ2K, encode: encodeQ2K},
	Q3_K:   {name: "Q3_K", size: superSize, bytes: 110, bits: 3, group: 16, symmetric: true, decode: decodeQ3K, encode: encodeQ3K},
	Q4_K:   {name: "Q4_K", size: superSize, bytes: 144, bits: 4, group: 32, decode: decodeQ4K, encode: encodeQ4K},
	Q5_K:   {name: "Q5_K", size: superSize, bytes: 176, bits: 5, group: 32, decode: decodeQ5K, encode: encodeQ5K},
	Q6_K:   {name: "Q6_K", size: superSize, bytes: 210, bits: 6, group: 16, symmetric: true, decode: decodeQ6K, encode: encodeQ6K},
	IQ4NL:  {name: "IQ4_NL", size: 32, bytes: 18, bits: 4, group: 32, symmetric: true, decode: decodeIQ4NL, encode: encodeIQ4NL},
	IQ4XS:  {name: "IQ4_XS", size: superSize, bytes: 136, bits: 4, group: 32, symmetric: true, decode: decodeIQ4XS},
	IQ1S:   {name: "IQ1_S", size: superSize, bytes: 50, bits: 2, group: 32, decode: decodeIQ1S},
	IQ1M:   {name: "IQ1_M", size: superSize, bytes: 56, bits: 2, group: 16, decode: decodeIQ1M},
	IQ2XXS: {name: "IQ2_XXS", size: superSize, bytes: 66, bits: 2, group: 32, symmetric: true, decode: decodeIQ2XXS},
	IQ2XS:  {name: "IQ2_XS", size: superSize, bytes: 74, bits: 2, group: 16, symmetric: true, decode: decodeIQ2XS},
	IQ2S:   {name: "IQ2_S", size: superSize, bytes: 82, bits: 2, group: 16, symmetric: true, decode: decodeIQ2S},
	IQ3XXS: {name: "IQ3_XXS", size: superSize, bytes: 98, bits: 3, group: 32, symmetric: true, decode: decodeIQ3XXS},
	IQ3S:   {name: "IQ3_S", size: superSize, bytes: 110, bits: 3, group: 32, symmetric: true, decode: decodeIQ3S},
	TQ1_0:  {name: "TQ1_0", size: superSize, bytes: 54, bits: 2, group: superSize, symmetric: true, decode: decodeTQ1_0},
	TQ2_0:  {name: "TQ2_0", size: superSize, bytes: 66, bits: 2, group: superSize, symmetric: true, decode: decodeTQ2_0},
	MXFP4:  {name: "MXFP4", size: 32, bytes: 17, bits: 4, group: 32, symmetric: true, decode: decodeMXFP4},
	NVFP4:  {name: "NVFP4", size: 64, bytes: 36, bits: 4, group: 16, symmetric: true, decode: decodeNVFP4},
	Q1_0:   {name: "Q1_0", size: 128, bytes: 18, bits: 1, group: 128, symmetric: true, decode: decodeQ1_0},
	Q2_0:   {name: "Q2_0", size: 64, bytes: 18, bits: 2, group: 64, decode: decodeQ2_0},
}

// String returns the name that llama.cpp gives the type, such as "Q4_K".
func (k Kind) String() string {
	if b := blocks[k]; b != nil {
		return b.name
	}
	return fmt.Sprintf("type %d", uint32(k))
}

// ParseKind returns the type of a name, in any letter case.
func ParseKind(name string) (Kind, error) {
	var names []string
	for k, b := range blocks {
		if strings.EqualFold(b.name, name) {
			return k, nil
		}
		names = append(names, b.name)
	}
	sort.Strings(names)
	return 0, fmt.Errorf("unknown block type %q; known are %s", name, strings.Join(names, ", "))
}

// Known reports whether the type can be decoded.
func (k Kind) Known() bool { return blocks[k] != nil }

// Encodes reports whether there is an encoder for the type.
func (k Kind) Encodes() bool { return k.Known() && blocks[k].encode != nil }

// BlockSize returns the number of elements of a block: rows are multiples of it. It is 0 for a type that is not known.
func (k Kind) BlockSize() int {
	if b := blocks[k]; b != nil {
		return b.size
	}
	return 0
}

// BlockBytes returns the size of a block.
func (k Kind) BlockBytes() int {
	if b := blocks[k]; b != nil {
		return b.bytes
	}
	return 0
}

// RowBytes returns the size of a row of cols elements. It fails for a type that is not known and a width that is no multiple of its block.
func (k Kind) RowBytes(cols int) (int, error) {
	b := blocks[k]
	switch {
	case b == nil:
		return 0, fmt.Errorf("unknown block %v", k)
	case cols < 0 || cols%b.size != 0:
		return 0, fmt.Errorf("%s holds rows of a multiple of %d columns, found %d", b.name, b.size, cols)
	case cols/b.size > math.MaxInt/b.bytes:
		return 0, fmt.Errorf("%s: a row of %d columns is too large", b.name, cols)
	}
	return cols / b.size * b.bytes, nil
}

// Decode computes the values of whole blocks: len(dst) is a multiple of the block size and src holds that many blocks.
func (k Kind) Decode(dst []float32, src []byte) {
	b := blocks[k]
	switch k {
	case F32:
		decodeF32(dst, src)
		return
	case F16:
		decodeF16(dst, src)
		return
	case BF16:
		decodeBF16(dst, src)
		return
	}
	for len(dst) > 0 {
		b.decode(dst[:b.size], src[:b.bytes])
		dst, src = dst[b.size:], src[b.bytes:]
	}
}

// Encode writes one row, whose length is a multiple of the block size, to dst, which is [Kind.RowBytes] long. Importance is nil or
// says for every column how much an error there counts: the mean square of what the column is multiplied by. Values must be finite.
func (k Kind) Encode(dst []byte, row, importance []float32) {
	blocks[k].encode(dst, row, importance)
}

// DType returns the dense element type that stores the same, or Invalid for a type that is packed.
func (k Kind) DType() tensor.DType {
	switch k {
	case F32:
		return tensor.Float32
	case F16:
		return tensor.Float16
	case BF16:
		return tensor.BFloat16
	}
	return tensor.Invalid
}

// Blocks is a matrix of rows of blocks. It is a [tensor.Packed]; its data may lie in a mapped file.
type Blocks struct {
	Kind       Kind
	Rows, Cols int
	Data       []byte // row after row
}

// NewBlocks returns a matrix over data, which it does not copy.
func NewBlocks(k Kind, rows, cols int, data []byte) (*Blocks, error) {
	n, err := k.RowBytes(cols)
	if err != nil {
		return nil, err
	}
	if rows < 0 || n > 0 && rows > math.MaxInt/n || rows*n != len(data) {
		return nil, fmt.Errorf("%v of %d rows of %d bytes: found %d bytes", k, rows, n, len(data))
	}
	return &Blocks{k, rows, cols, data}, nil
}

// Scheme describes the encoding.
func (b *Blocks) Scheme() tensor.Scheme { return b.Kind.Scheme() }

// Scheme describes the encoding of a type.
func (k Kind) Scheme() tensor.Scheme {
	if d := k.DType(); d != tensor.Invalid {
		return tensor.Scheme{Code: d.String()}
	}
	b := blocks[k]
	return tensor.Scheme{Code: strings.ToLower(b.name), Bits: b.bits, Group: b.group, Symmetric: b.symmetric}
}

// Row decodes a row into dst.
func (b *Blocks) Row(dst []float32, row int) {
	n := b.Cols / b.Kind.BlockSize() * b.Kind.BlockBytes()
	b.Kind.Decode(dst[:b.Cols], b.Data[row*n:(row+1)*n])
}

// ByteLen is the size of the data.
func (b *Blocks) ByteLen() int { return len(b.Data) }

// Bytes returns row from up to, not including, row to as stored.
func (b *Blocks) Bytes(from, to int) []byte {
	n := b.Cols / b.Kind.BlockSize() * b.Kind.BlockBytes()
	return b.Data[from*n : to*n]
}
