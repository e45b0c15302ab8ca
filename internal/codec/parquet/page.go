package parquet

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// pages are those of a chunk of a column.
type pages struct {
	column     *Column
	codec      int64
	rest       []byte
	left       int64 // values, absent ones counted
	width      int   // of definition levels, bits
	dictionary [][]byte
}

// Kinds of pages, and fields of their headers.
const (
	dataPage, dictionaryPage, dataPage2 = 0, 2, 3

	pageKind, pageSize, pageStored, pageData, pageDictionary, pageData2 = 1, 2, 3, 5, 7, 8

	headCount, headEncoding                                       = 1, 2
	headLevels                                                    = 3
	head2Encoding, head2Levels, head2Repetitions, head2Compressed = 4, 5, 6, 7
)

// Encodings.
const (
	plain, plainDictionary, runs                  = 0, 2, 3
	deltaLengthBytes, deltaBytes, dictionaryIndex = 6, 7, 8
)

// next returns the values of the next page; none of one that holds no data.
func (p *pages) next() ([][]byte, error) {
	r := reader{b: p.rest}
	head := r.structure(0)
	stored, size := head.int(pageStored), head.int(pageSize)
	if stored < 0 || size < 0 || size > math.MaxInt32 {
		return nil, fmt.Errorf("a page of %d bytes that are stored in %d", size, stored)
	}
	body := r.take(uint64(stored))
	if r.err != nil {
		return nil, fmt.Errorf("a page: %w", r.err)
	}
	p.rest = r.b
	var err error
	switch head.int(pageKind) {
	case dictionaryPage:
		if body, err = decompress(p.codec, body, int(size)); err != nil {
			return nil, err
		}
		p.dictionary, err = plainTexts(body, head.struc(pageDictionary).int(headCount))
		return nil, err
	case dataPage:
		if body, err = decompress(p.codec, body, int(size)); err != nil {
			return nil, err
		}
		h := head.struc(pageData)
		r := reader{b: body}
		var levels []byte
		if p.width > 0 {
			if e := h.int(headLevels); e != runs {
				return nil, fmt.Errorf("definition levels in encoding %d; %d is read", e, runs)
			}
			if n := r.take(4); n != nil {
				levels = r.take(uint64(binary.LittleEndian.Uint32(n)))
			}
		}
		return p.values(h.int(headCount), h.int(headEncoding), levels, r)
	case dataPage2:
		h := head.struc(pageData2)
		before, after := h.int(head2Repetitions), h.int(head2Levels)
		if before < 0 || after < 0 {
			return nil, fmt.Errorf("levels of %d and %d bytes", before, after)
		}
		r := reader{b: body}
		r.take(uint64(before))
		levels := r.take(uint64(after))
		if compressed, said := h[head2Compressed].(bool); (compressed || !said) && r.err == nil {
			r.b, err = decompress(p.codec, r.b, int(size-before-after))
			if err != nil {
				return nil, err
			}
		}
		return p.values(h.int(headCount), h.int(head2Encoding), levels, r)
	}
	return nil, nil // an index
}

// values decodes the values of a page of count of them, some of which are absent.
func (p *pages) values(count, encoding int64, levels []byte, r reader) ([][]byte, error) {
	if count < 0 || count > p.left {
		return nil, fmt.Errorf("a page of %d values where %d are left", count, p.left)
	}
	p.left -= count
	if p.width > 0 && r.err == nil {
		there, err := hybrid(levels, p.width, count)
		if err != nil {
			return nil, fmt.Errorf("definition levels: %w", err)
		}
		count = 0
		for _, l := range there {
			if int(l) == p.column.deepest {
				count++
			}
		}
	}
	if r.err != nil {
		return nil, fmt.Errorf("a page: %w", r.err)
	}
	switch encoding {
	case plain:
		return plainTexts(r.b, count)
	case plainDictionary, dictionaryIndex:
		return p.looked(r, count)
	case deltaLengthBytes:
		return deltaTexts(&r, count)
	case deltaBytes:
		return prefixedTexts(&r, count)
	}
	return nil, fmt.Errorf("texts in encoding %d; %d, %d, %d, %d and %d are read", encoding, plain, plainDictionary, deltaLengthBytes, deltaBytes, dictionaryIndex)
}

// plainTexts are lengths of four bytes, each before its text.
func plainTexts(b []byte, count int64) ([][]byte, error) {
	if count < 0 || count > int64(len(b)/4) {
		return nil, fmt.Errorf("%d texts in %d bytes", count, len(b))
	}
	out := make([][]byte, count)
	r := reader{b: b}
	for i := range out {
		if n := r.take(4); n != nil {
			out[i] = r.take(uint64(binary.LittleEndian.Uint32(n)))
		}
	}
	return out, r.err
}

// looked are places in the dictionary.
func (p *pages) looked(r reader, count int64) ([][]byte, error) {
	if count == 0 {
		return nil, nil
	}
	width := int(r.byte())
	if width > 32 {
		return nil, fmt.Errorf("indices of %d bits", width)
	}
	at, err := hybrid(r.b, width, count)
	if err != nil {
		return nil, fmt.Errorf("indices: %w", err)
	}
	out := make([][]byte, len(at))
	for i, a := range at {
		if int64(a) >= int64(len(p.dictionary)) {
			return nil, fmt.Errorf("index %d into a dictionary of %d texts", a, len(p.dictionary))
		}
		out[i] = p.dictionary[a]
	}
	return out, nil
}

// deltaTexts are the lengths of all texts, then the texts.
func deltaTexts(r *reader, count int64) ([][]byte, error) {
	lengths, err := deltas(r, count)
	if err != nil {
		return nil, err
	}
	out := make([][]byte, len(lengths))
	for i, n := range lengths {
		out[i] = r.take(uint64(n)) // a negative one is too many
	}
	return out, r.err
}

// prefixedTexts are how much each text shares with the one before, then what follows that.
func prefixedTexts(r *reader, count int64) ([][]byte, error) {
	shared, err := deltas(r, count)
	if err != nil {
		return nil, err
	}
	out, err := deltaTexts(r, count)
	if err != nil {
		return nil, err
	}
	var last []byte
	total := 0
	for i, n := range shared {
		if n < 0 || n > int64(len(last)) {
			return nil, fmt.Errorf("a text begins with %d bytes of one of %d", n, len(last))
		}
		if total += int(n) + len(out[i]); total > math.MaxInt32 {
			return nil, fmt.Errorf("a page of more than %d bytes", math.MaxInt32)
		}
		out[i] = slices.Concat(last[:n], out[i])
		last = out[i]
	}
	return out, nil
}
