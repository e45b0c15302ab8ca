package data

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/neurotrain/neuroquant/internal/codec/outfile"
	"github.com/neurotrain/neuroquant/tensor"
)

// WriteNPY writes a tensor as numpy.save would, byte for byte. Types that numpy lacks are written as the narrowest numpy type
// that holds every value: bfloat16, 8-bit and 4-bit floats and packed matrices as float32, integers below 8 bits as int8 or
// uint8. Strings are written as fixed-width Unicode, or as bytes if one of them is not valid UTF-8.
func WriteNPY(w io.Writer, t *tensor.Tensor) error {
	if err := writeNPY(w, t); err != nil {
		return fmt.Errorf("npy: %w", err)
	}
	return nil
}

// WriteNPYFile writes a tensor to a file, which appears only when complete.
func WriteNPYFile(path string, t *tensor.Tensor) error {
	var files outfile.Set
	defer files.Abort()
	f, err := files.Create(path)
	if err != nil {
		return err
	}
	if err := WriteNPY(f, t); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return files.Commit()
}

func writeNPY(w io.Writer, t *tensor.Tensor) error {
	t, err := numpyDense(t)
	if err != nil {
		return err
	}
	if t.DType == tensor.String {
		return writeNPYStrings(w, t)
	}
	for code, d := range npyTypes {
		if d != t.DType {
			continue
		}
		order := "<"
		if d.Size() == 1 {
			order = "|"
		}
		if err := writeNPYHeader(w, order+code, t.Shape); err != nil {
			return err
		}
		_, err := w.Write(t.Bytes())
		return err
	}
	return fmt.Errorf("%v has no numpy type", t)
}

// numpyDense converts what numpy cannot name.
func numpyDense(t *tensor.Tensor) (*tensor.Tensor, error) {
	d := t.DType
	switch {
	case t.Packed != nil || d == tensor.BFloat16 || d.IsFloat8() || d == tensor.Float4E2M1:
		f, err := t.Floats()
		if err != nil {
			return nil, err
		}
		return tensor.Of(t.Shape, f), nil
	case d.IsInt() && d.Bits() < 8:
		codes := tensor.Unpack(d, t.Bytes(), t.Len())
		d8 := tensor.Uint8
		if d.IsSigned() {
			d8 = tensor.Int8
		}
		return tensor.FromBytes(d8, t.Shape, codes)
	case d == tensor.Sequence || d == tensor.Optional:
		return nil, fmt.Errorf("%v is a container, not an array: write its tensors one by one", t)
	}
	return t, nil
}

// writeNPYHeader writes version 1.0 with numpy's padding: room for the first dimension to grow to 21 digits, then spaces to a
// multiple of 64 bytes.
func writeNPYHeader(w io.Writer, descr string, shape tensor.Shape) error {
	var b strings.Builder
	fmt.Fprintf(&b, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr)
	for i, d := range shape {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(strconv.Itoa(d))
	}
	if len(shape) == 1 {
		b.WriteByte(',')
	}
	b.WriteString("), }")
	if len(shape) > 0 {
		b.WriteString(strings.Repeat(" ", 21-len(strconv.Itoa(shape[0]))))
	}
	const before = len(npyMagic) + 2 + 2
	pad := 64 - (before+b.Len()+1)%64
	b.WriteString(strings.Repeat(" ", pad))
	b.WriteByte('\n')
	if b.Len() > 1<<16-1 {
		return errors.New("header is too long")
	}
	head := append([]byte(npyMagic), 1, 0)
	head = binary.LittleEndian.AppendUint16(head, uint16(b.Len()))
	_, err := w.Write(append(head, b.String()...))
	return err
}

func writeNPYStrings(w io.Writer, t *tensor.Tensor) error {
	unicode, longest := true, 1
	for i, s := range t.Text() {
		if strings.HasSuffix(s, "\x00") {
			return fmt.Errorf("string %d ends in a zero byte, which numpy cannot tell from padding", i)
		}
		unicode = unicode && utf8.ValidString(s)
	}
	for _, s := range t.Text() {
		n := len(s)
		if unicode {
			n = utf8.RuneCountInString(s)
		}
		longest = max(longest, n)
	}
	descr, item := "|S"+strconv.Itoa(longest), longest
	if unicode {
		descr, item = "<U"+strconv.Itoa(longest), 4*longest
	}
	if err := writeNPYHeader(w, descr, t.Shape); err != nil {
		return err
	}
	cell := make([]byte, item)
	for _, s := range t.Text() {
		clear(cell)
		if unicode {
			at := 0
			for _, r := range s {
				binary.LittleEndian.PutUint32(cell[at:], uint32(r))
				at += 4
			}
		} else {
			copy(cell, s)
		}
		if _, err := w.Write(cell); err != nil {
			return err
		}
	}
	return nil
}
