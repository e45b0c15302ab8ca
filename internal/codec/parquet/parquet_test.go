package parquet

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	reference "github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
	"github.com/parquet-go/parquet-go/encoding"
)

// table is what the reference writes of texts; nil stands for a row without one.
func table(t testing.TB, texts []*string, node reference.Node, options ...reference.WriterOption) []byte {
	t.Helper()
	schema := reference.NewSchema("table", reference.Group{"id": reference.Int(64), "text": node})
	var b bytes.Buffer
	w := reference.NewWriter(&b, append([]reference.WriterOption{schema}, options...)...)
	for i, s := range texts {
		row := reference.Row{reference.Int64Value(int64(i)).Level(0, 0, 0), reference.NullValue().Level(0, 0, 1)}
		if s != nil {
			level := 0
			if node.Optional() {
				level = 1
			}
			row[1] = reference.ByteArrayValue([]byte(*s)).Level(0, level, 1)
		}
		if _, err := w.WriteRows([]reference.Row{row}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// samples are texts of many lengths, some of them often.
func samples(n int, absent bool) (texts []*string, want []string) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		s := strings.Repeat(fmt.Sprintf("text %d, ", r.IntN(n/3+1)), r.IntN(40))
		if absent && i%7 == 3 {
			texts = append(texts, nil)
			continue
		}
		texts, want = append(texts, &s), append(want, s)
	}
	return texts, want
}

func read(b []byte) ([]string, error) {
	f, err := Open(b)
	if err != nil {
		return nil, err
	}
	var got []string
	for s, err := range f.Texts(slices.IndexFunc(f.Columns, func(c Column) bool { return c.Name == "text" })) {
		if err != nil {
			return nil, err
		}
		got = append(got, string(s))
	}
	return got, nil
}

func TestTexts(t *testing.T) {
	text := reference.String()
	for name, n := range map[string]struct {
		encoding encoding.Encoding
		codec    compress.Codec
	}{
		"plain":                    {&reference.Plain, &reference.Uncompressed},
		"plain, snappy":            {&reference.Plain, &reference.Snappy},
		"plain, gzip":              {&reference.Plain, &reference.Gzip},
		"plain, zstd":              {&reference.Plain, &reference.Zstd},
		"plain, lz4":               {&reference.Plain, &reference.Lz4Raw},
		"dictionary":               {&reference.RLEDictionary, &reference.Uncompressed},
		"dictionary, snappy":       {&reference.RLEDictionary, &reference.Snappy},
		"lengths as differences":   {&reference.DeltaLengthByteArray, &reference.Zstd},
		"beginnings left out":      {&reference.DeltaByteArray, &reference.Uncompressed},
		"beginnings left out, lz4": {&reference.DeltaByteArray, &reference.Lz4Raw},
	} {
		for _, version := range []int{1, 2} {
			for _, optional := range []bool{false, true} {
				for _, rows := range []int{1, 7, 500} {
					node := reference.Compressed(reference.Encoded(text, n.encoding), n.codec)
					if optional {
						node = reference.Optional(node)
					}
					texts, want := samples(rows, optional)
					b := table(t, texts, node, reference.DataPageVersion(version), reference.PageBufferSize(2000), reference.MaxRowsPerRowGroup(200))
					got, err := read(b)
					if err != nil || !slices.Equal(got, want) {
						t.Errorf("%s, pages of version %d, optional %v, %d rows: %d texts, %v; want %d", name, version, optional, rows, len(got), err, len(want))
					}
				}
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	texts, _ := samples(20, false)
	whole := table(t, texts, reference.String())
	nested := table(t, nil, reference.Repeated(reference.String()))
	brotli := table(t, texts, reference.Compressed(reference.String(), &reference.Brotli))
	for _, c := range []struct {
		b    []byte
		want string
	}{
		{nil, "not a Parquet file"},
		{whole[:len(whole)-1], "not a Parquet file"},
		{append(slices.Clone(whole[:len(whole)-8]), "\xff\xff\xff\x7fPAR1"...), "a footer of 2147483647 bytes"},
		{append(slices.Clone(whole[:len(whole)-8]), "\x02\x00\x00\x00PAR1"...), "footer"},
		{nested, "column text holds BYTE_ARRAY; want a text a row"},
		{brotli, "pages compressed by BROTLI; UNCOMPRESSED, SNAPPY, GZIP, ZSTD and LZ4_RAW are read"},
	} {
		if _, err := read(c.b); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v; want %q", err, c.want)
		}
	}
}

func FuzzTexts(f *testing.F) {
	texts, _ := samples(20, true)
	for _, e := range []encoding.Encoding{&reference.Plain, &reference.RLEDictionary, &reference.DeltaLengthByteArray, &reference.DeltaByteArray} {
		for _, c := range []compress.Codec{&reference.Uncompressed, &reference.Lz4Raw} {
			f.Add(table(f, texts, reference.Optional(reference.Compressed(reference.Encoded(reference.String(), e), c))))
		}
	}
	f.Fuzz(func(_ *testing.T, b []byte) {
		file, err := Open(b)
		if err != nil {
			return
		}
		for i := range file.Columns {
			for range file.Texts(i) { // errors, not panics
			}
		}
	})
}
