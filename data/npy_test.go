package data

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/tensor"
)

type npyCase struct {
	Name, Kind string
	Shape      []int
	Values     []any
	Same       bool
	File       []byte
}

func npyCases(t testing.TB) []npyCase {
	t.Helper()
	raw, err := os.ReadFile("testdata/npy.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []npyCase
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	return cases
}

// values lists the elements the way testdata/npy.json does.
func values(t *tensor.Tensor) []any {
	out := []any{}
	switch {
	case t.DType == tensor.String:
		for _, s := range t.Text() {
			out = append(out, s)
		}
	case t.DType == tensor.Bool:
		for _, b := range tensor.Data[bool](t) {
			out = append(out, b)
		}
	case t.DType == tensor.Complex64:
		for _, c := range tensor.Data[complex64](t) {
			out = append(out, []any{float64(real(c)), float64(imag(c))})
		}
	case t.DType == tensor.Complex128:
		for _, c := range tensor.Data[complex128](t) {
			out = append(out, []any{real(c), imag(c)})
		}
	case t.DType == tensor.Uint64:
		for _, v := range tensor.Data[uint64](t) {
			out = append(out, strconv.FormatUint(v, 10))
		}
	case t.DType.IsInt():
		ints, _ := t.Ints()
		for _, v := range ints {
			out = append(out, strconv.FormatInt(v, 10))
		}
	default:
		f, _ := t.Float64s()
		for _, v := range f {
			out = append(out, v)
		}
	}
	return out
}

func wantValues(c npyCase) []any {
	out := slices.Clone(c.Values)
	if c.Kind == "f" {
		for i, v := range out {
			out[i], _ = strconv.ParseFloat(v.(string), 64)
		}
	}
	return out
}

func sameValues(a, b []any) bool {
	return slices.EqualFunc(a, b, func(x, y any) bool {
		fx, ok := x.(float64)
		fy, ok2 := y.(float64)
		if ok && ok2 {
			return math.Float64bits(fx) == math.Float64bits(fy)
		}
		return fmt.Sprint(x) == fmt.Sprint(y)
	})
}

func TestReadNPYAgainstNumpy(t *testing.T) {
	for _, c := range npyCases(t) {
		t.Run(c.Name, func(t *testing.T) {
			got, err := ReadNPY(bytes.NewReader(c.File))
			if err != nil {
				t.Fatal(err)
			}
			if !got.Shape.Equal(c.Shape) || !sameValues(values(got), wantValues(c)) {
				t.Fatalf("got %v %v, want %v %v", got, values(got), c.Shape, wantValues(c))
			}
			if c.Same {
				var b bytes.Buffer
				if err := WriteNPY(&b, got); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(b.Bytes(), c.File) {
					t.Fatalf("written bytes differ from numpy's\n got %q\nwant %q", b.Bytes(), c.File)
				}
			}
			path := filepath.Join(t.TempDir(), "a.npy")
			if err := os.WriteFile(path, c.File, 0o644); err != nil {
				t.Fatal(err)
			}
			file, err := ReadNPYFile(path)
			if err != nil || !sameValues(values(file), values(got)) {
				t.Fatalf("from the file: %v, %v", file, err)
			}
			a, err := OpenNPY(path)
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			if len(c.Shape) == 0 || c.Shape[0] == 0 {
				return
			}
			// Rows in any order, runs and repeats among them.
			all := values(got)
			width := len(all) / c.Shape[0]
			last := c.Shape[0] - 1
			for _, index := range [][]int{{0}, {last, 0}, {0, min(1, last), last, last}} {
				rows, err := a.Rows(index...)
				if err != nil {
					t.Fatal(err)
				}
				var want []any
				for _, i := range index {
					want = append(want, all[i*width:(i+1)*width]...)
				}
				if !sameValues(values(rows), want) {
					t.Fatalf("rows %v: got %v, want %v", index, values(rows), want)
				}
			}
			if _, err := a.Rows(c.Shape[0]); err == nil {
				t.Fatal("a row beyond the end is read")
			}
		})
	}
}

func TestWriteNPYConverts(t *testing.T) {
	bf := tensor.Of(tensor.Shape{2}, []tensor.BF16{tensor.ToBF16(1.5), tensor.ToBF16(-3)})
	i4, err := tensor.FromBytes(tensor.Int4, tensor.Shape{3}, tensor.Pack(tensor.Int4, []byte{0xff, 7, 0xf8}))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		in   *tensor.Tensor
		want *tensor.Tensor
	}{
		{bf, tensor.Vector[float32](1.5, -3)},
		{i4, tensor.Vector[int8](-1, 7, -8)},
	} {
		path := filepath.Join(t.TempDir(), "x.npy")
		if err := WriteNPYFile(path, c.in); err != nil {
			t.Fatal(err)
		}
		got, err := ReadNPYFile(path)
		if err != nil || got.DType != c.want.DType || !bytes.Equal(got.Bytes(), c.want.Bytes()) {
			t.Errorf("%v: got %v %v", c.in, got, err)
		}
	}
	if err := WriteNPY(io.Discard, tensor.NewSequence()); err == nil || !strings.Contains(err.Error(), "container") {
		t.Errorf("a sequence: %v", err)
	}
	raw := tensor.Strings(tensor.Shape{1}, []string{"\xff\xfe"})
	var b bytes.Buffer
	if err := WriteNPY(&b, raw); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadNPY(&b); err != nil || got.Text()[0] != "\xff\xfe" {
		t.Errorf("bytes: %v %v", got, err)
	}
}

func TestWriteNPYFileLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := WriteNPYFile(filepath.Join(dir, "x.npy"), tensor.NewSequence()); err == nil {
		t.Fatal("a sequence is written")
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Fatalf("left behind: %v", left)
	}
}

func npyWith(header string, data string) []byte {
	b := append([]byte(npyMagic), 1, 0, byte(len(header)), byte(len(header)>>8))
	return append(append(b, header...), data...)
}

// endless never ends: a reader that trusted the header would allocate for it.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return 0, errors.New("read past what the test allows") }

func TestReadNPYRefuses(t *testing.T) {
	dict := func(descr, shape string) []byte {
		return npyWith("{'descr': "+descr+", 'fortran_order': False, 'shape': "+shape+", }\n", "1234")
	}
	for _, c := range []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "truncated"},
		{"not npy", []byte("PK\x03\x04 this is a zip"), "magic"},
		{"version", []byte(npyMagic + "\x09\x00\x00\x00"), "version 1 to 3, found 9.0"},
		{"long header", []byte(npyMagic + "\x02\x00\xff\xff\xff\xff"), "above the limit"},
		{"cut header", npyWith("{'descr'", "")[:12], "truncated"},
		{"missing key", npyWith("{'descr': '<f4', }", ""), `"fortran_order" is missing`},
		{"key twice", npyWith("{'descr': '<f4', 'descr': '<f4'}", ""), "twice"},
		{"unknown key", npyWith("{'what': '<f4'}", ""), `unknown key "what"`},
		{"code", npyWith("__import__('os')", ""), "want '{'"},
		{"trailing", npyWith("{'descr': '<f4', 'fortran_order': False, 'shape': ()} + 1", ""), "after the dictionary"},
		{"objects", dict("'|O'", "(1,)"), "pickle"},
		{"bfloat16", dict("'<V2'", "(1,)"), "bfloat16"},
		{"float8", dict("'|V1'", "(1,)"), "8-bit floats"},
		{"record", dict("[('a', '<f4')]", "(1,)"), "structured"},
		{"long double", dict("'<f16'", "(1,)"), "float64"},
		{"date", dict("'<M8[s]'", "(1,)"), "not a numpy type"},
		{"date", dict("'<M8'", "(1,)"), "date"},
		{"unknown", dict("'<q3'", "(1,)"), "not supported"},
		{"negative", dict("'<f4'", "(-1,)"), "want a size"},
		{"overflow", dict("'<f8'", "(2305843009213693951, 4)"), "overflows"},
		{"bytes overflow", dict("'<U9999999'", "(9999999999999,)"), "overflows"},
		{"rank", dict("'<f4'", "("+strings.Repeat("1,", 65)+")"), "more than 64"},
		{"zero width", dict("'<U0'", "(99999999,)"), "zero bytes"},
		{"huge", dict("'<f4'", "(1000000000000,)"), "want 4000000000000 bytes, found 4"},
		{"short", dict("'<f4'", "(2,)"), "want 8 bytes, found 4"},
		{"not a character", dict("'>U1'", "(1,)"), "not a character"},
	} {
		got, err := ReadNPY(bytes.NewReader(c.file))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "npy: ") {
			t.Errorf("%s: got %v, %v; want an error with %q", c.name, got, err, c.want)
		}
	}
	// The header alone must not make the reader allocate what it announces.
	_, err := ReadNPY(io.MultiReader(bytes.NewReader(dict("'<f4'", "(1000000000000,)")), endless{}))
	if err == nil || !strings.Contains(err.Error(), "past what the test allows") {
		t.Errorf("endless data: %v", err)
	}
	path := filepath.Join(t.TempDir(), "short.npy")
	if err := os.WriteFile(path, dict("'<f4'", "(300,)"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenNPY(path); err == nil || !strings.Contains(err.Error(), "short.npy: npy: truncated: float32 of shape 300 takes 1200 bytes, found 4") {
		t.Errorf("short file: %v", err)
	}
}

func FuzzReadNPY(f *testing.F) {
	for _, c := range npyCases(f) {
		f.Add(c.File)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		got, err := ReadNPY(bytes.NewReader(file))
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := WriteNPY(&b, got); err != nil {
			t.Fatalf("%v is read but not written: %v", got, err)
		}
		again, err := ReadNPY(&b)
		if err != nil || !again.Shape.Equal(got.Shape) || !bytes.Equal(again.Bytes(), got.Bytes()) || !slices.Equal(again.Text(), got.Text()) {
			t.Fatalf("%v comes back as %v, %v", got, again, err)
		}
	})
}
