// Package safetensors reads and writes files of tensors in the safetensors format, single ones and sets of shards with an index.
//
// A file is the length of a header as eight bytes, little-endian; the header, a JSON object that gives each tensor's element
// type, shape and range of bytes; and the bytes. The ranges tile what follows the header: no two overlap, nothing lies between
// them or behind the last. The format is described at https://huggingface.co/docs/safetensors.
package safetensors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/tensor"
)

// maxHeader bounds the header, as the reference implementation does.
const maxHeader = 100_000_000

// MetadataKey is the name in the header that is no tensor: texts by name.
const MetadataKey = "__metadata__"

// types are the element types by their names in the header.
var types = map[string]tensor.DType{
	"BOOL": tensor.Bool, "U8": tensor.Uint8, "I8": tensor.Int8, "U16": tensor.Uint16, "I16": tensor.Int16, "U32": tensor.Uint32, "I32": tensor.Int32,
	"U64": tensor.Uint64, "I64": tensor.Int64, "F16": tensor.Float16, "BF16": tensor.BFloat16, "F32": tensor.Float32, "F64": tensor.Float64,
	"F8_E4M3": tensor.Float8E4M3FN, "F8_E5M2": tensor.Float8E5M2, "F8_E8M0": tensor.Float8E8M0, "F8_E4M3FNUZ": tensor.Float8E4M3FNUZ,
	"F8_E5M2FNUZ": tensor.Float8E5M2FNUZ, "F4": tensor.Float4E2M1, "C64": tensor.Complex64,
}

// typeName returns the name of an element type in the header, or false if files cannot hold it.
func typeName(d tensor.DType) (string, bool) {
	for name, t := range types {
		if t == d {
			return name, true
		}
	}
	return "", false
}

// Entry is a tensor of a header.
type Entry struct {
	Name  string
	DType tensor.DType
	Shape tensor.Shape
	// Begin and End are the range of its bytes in the data that follow the header.
	Begin, End int
}

// Header is what a file says before its data.
type Header struct {
	Entries  []Entry // in the order of their bytes
	Metadata map[string]string
	Len      int // bytes before the data
}

// Parse reads the header of a file that is in memory, and checks all of it against the length of the file.
func Parse(data []byte) (*Header, error) {
	if len(data) < 8 {
		return nil, fmt.Errorf("truncated: %d bytes, a file begins with the 8 of its header's length", len(data))
	}
	n := binary.LittleEndian.Uint64(data)
	switch {
	case n > maxHeader:
		return nil, fmt.Errorf("a header of %d bytes; at most %d are accepted (is this a safetensors file?)", n, maxHeader)
	case n > uint64(len(data)-8):
		return nil, fmt.Errorf("truncated: the header takes %d bytes, the file has %d after its length", n, len(data)-8)
	}
	h := &Header{Len: 8 + int(n)}
	if err := h.read(data[8:h.Len]); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	return h, h.checkTiling(len(data) - h.Len)
}

// checkTiling sorts the tensors by their bytes and checks that they cover the size bytes of the data once.
func (h *Header) checkTiling(size int) error {
	slices.SortStableFunc(h.Entries, func(a, b Entry) int {
		if a.Begin != b.Begin {
			return a.Begin - b.Begin
		}
		return a.End - b.End
	})
	at, last := 0, ""
	for _, e := range h.Entries {
		switch {
		case e.Begin < at:
			return fmt.Errorf("tensor %q overlaps %q: it begins at %d, that ends at %d", e.Name, last, e.Begin, at)
		case e.Begin > at:
			return fmt.Errorf("%d bytes before tensor %q belong to no tensor", e.Begin-at, e.Name)
		case e.End > size:
			return fmt.Errorf("truncated: tensor %q ends at byte %d of the data, the file has %d", e.Name, e.End, size)
		}
		at, last = e.End, e.Name
	}
	if at != size {
		return fmt.Errorf("%d bytes after the last tensor belong to no tensor", size-at)
	}
	return nil
}

// check tells whether the range of an entry is what its element type and shape take.
func (e *Entry) check() error {
	n, ok := e.Shape.CheckedLen()
	if !ok {
		return fmt.Errorf("shape %v is negative or too large", []int(e.Shape))
	}
	if bits := e.DType.Bits(); n > (1<<62)/bits {
		return fmt.Errorf("shape %v is too large", []int(e.Shape))
	} else if n*bits%8 != 0 {
		return fmt.Errorf("%d elements of %d bits are no whole number of bytes", n, bits)
	}
	if want := e.DType.ByteLen(n); e.Begin < 0 || e.End < e.Begin || e.End-e.Begin != want {
		return fmt.Errorf("%v of shape %v takes %d bytes, data_offsets %d to %d are %d", e.DType, e.Shape, want, e.Begin, e.End, e.End-e.Begin)
	}
	return nil
}

// knownTypes lists the accepted element types.
func knownTypes() string {
	var names []string
	for n := range types {
		names = append(names, n)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

var errDuplicate = errors.New("occurs twice")
