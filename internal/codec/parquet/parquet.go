// Package parquet reads columns of texts from Apache Parquet files, after the format's own description
// (https://parquet.apache.org/docs/file-format/): plain, dictionary and delta encodings; pages uncompressed or by Snappy, gzip,
// zstd or LZ4.
package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math/bits"
	"strings"
)

// File is a table whose bytes are in memory or mapped there.
type File struct {
	Columns []Column
	data    []byte
	groups  []fields // row groups
}

// Column is a leaf of a table's schema.
type Column struct {
	Name string // with those of the groups that it lies in, joined by dots
	Kind string // how values are stored: BYTE_ARRAY is that of texts

	deepest  int  // definition level of a value that is there
	repeated bool // a row may hold several
}

// Texts reports whether the column holds a text a row.
func (c *Column) Texts() bool { return c.Kind == kinds[byteArray] && !c.repeated }

var kinds = []string{"BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"}

const (
	byteArray = 6
	magic     = "PAR1"
	maxDepth  = 64 // of groups in groups
)

// Fields of the footer's structures.
const (
	fileSchema, fileGroups                                    = 2, 4
	elementKind, elementRepetition, elementName, elementCount = 1, 3, 4, 5
	groupColumns                                              = 1
	chunkFile, chunkMeta                                      = 1, 3
	metaCodec, metaValues, metaSize, metaData, metaDictionary = 4, 5, 7, 9, 11
	required, repeated                                        = 0, 2
)

// Open reads the footer of a file of which b is all.
func Open(b []byte) (*File, error) {
	n := len(b)
	if n < 12 || string(b[:4]) != magic || string(b[n-4:]) != magic {
		return nil, errors.New("not a Parquet file: it does not begin and end with " + magic)
	}
	size := uint64(binary.LittleEndian.Uint32(b[n-8:]))
	if size > uint64(n-12) {
		return nil, fmt.Errorf("a footer of %d bytes in a file of %d", size, n)
	}
	r := reader{b: b[n-8-int(size) : n-8]}
	footer := r.structure(0)
	if r.err != nil {
		return nil, fmt.Errorf("footer: %w", r.err)
	}
	f := &File{data: b}
	schema := footer.list(fileSchema)
	if len(schema) == 0 {
		return nil, errors.New("footer: no schema")
	}
	root, _ := schema[0].(fields)
	rest, err := f.walk(schema[1:], root.int(elementCount), Column{}, 0)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d elements are in no group", len(rest))
	}
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	for i, g := range footer.list(fileGroups) {
		group, _ := g.(fields)
		if n := len(group.list(groupColumns)); n != len(f.Columns) {
			return nil, fmt.Errorf("row group %d has %d columns, the schema %d", i, n, len(f.Columns))
		}
		f.groups = append(f.groups, group)
	}
	return f, nil
}

// walk collects the leaves of the next count elements, which lie in a group; it returns what follows them.
func (f *File) walk(elements []any, count int64, in Column, depth int) ([]any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("more than %d groups in each other", maxDepth)
	}
	for range count {
		if len(elements) == 0 {
			return nil, errors.New("elements are missing")
		}
		e, _ := elements[0].(fields)
		elements = elements[1:]
		c := in
		c.Name = strings.TrimPrefix(in.Name+"."+string(e.bytes(elementName)), ".")
		if e.int(elementRepetition) != required {
			c.deepest++
		}
		c.repeated = c.repeated || e.int(elementRepetition) == repeated
		if e.int(elementCount) > 0 {
			var err error
			if elements, err = f.walk(elements, e.int(elementCount), c, depth+1); err != nil {
				return nil, err
			}
			continue
		}
		kind := e.int(elementKind)
		if kind < 0 || kind >= int64(len(kinds)) {
			return nil, fmt.Errorf("column %s has type %d; types are 0 to %d", c.Name, kind, len(kinds)-1)
		}
		c.Kind = kinds[kind]
		f.Columns = append(f.Columns, c)
	}
	return elements, nil
}

// Texts goes through the texts of a column; rows without one are left out. A text is valid until the next one.
func (f *File) Texts(column int) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		c := &f.Columns[column]
		if !c.Texts() {
			yield(nil, fmt.Errorf("column %s holds %s; want a text a row", c.Name, c.Kind))
			return
		}
		for i, g := range f.groups {
			chunk, _ := g.list(groupColumns)[column].(fields)
			p := pages{column: c}
			err := p.open(f.data, chunk)
			for err == nil && p.left > 0 {
				var values [][]byte
				values, err = p.next()
				for _, v := range values {
					if !yield(v, nil) {
						return
					}
				}
			}
			if err != nil {
				yield(nil, fmt.Errorf("column %s, row group %d: %w", c.Name, i, err))
				return
			}
		}
	}
}

// open finds the pages of a chunk.
func (p *pages) open(data []byte, chunk fields) error {
	if file := chunk.bytes(chunkFile); len(file) > 0 {
		return fmt.Errorf("it lies in another file, %q", file)
	}
	meta := chunk.struc(chunkMeta)
	begin, size := meta.int(metaData), meta.int(metaSize)
	if d := meta.int(metaDictionary); d > 0 && d < begin {
		begin = d
	}
	if n := int64(len(data)); begin < int64(len(magic)) || size < 0 || begin > n || size > n-begin {
		return fmt.Errorf("its %d bytes at %d are outside of the file of %d", size, begin, n)
	}
	p.rest, p.codec, p.left = data[begin:begin+size], meta.int(metaCodec), meta.int(metaValues)
	p.width = bits.Len(uint(p.column.deepest))
	return nil
}
