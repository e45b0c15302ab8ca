package pickle

import (
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"
)

// values of every kind, as Load gives them.
func samples() []any {
	ordered := &Dict{Class: Global{"collections", "OrderedDict"}}
	for _, k := range []any{"a", int64(2), Tuple{"x", int64(1)}, nil} {
		if err := ordered.Set(k, &List{[]any{k}}); err != nil {
			panic(err)
		}
	}
	huge, _ := new(big.Int).SetString("-123456789012345678901234567890", 10)
	object := &Object{Class: Global{"net", "Net"}, State: ordered}
	return []any{
		nil, true, false, int64(0), int64(255), int64(256), int64(70000), int64(-1), int64(math.MinInt64), huge, 1.5, math.Inf(-1), complex(1, -2),
		"", "weights", "größe", Bytes("\x00\xff\x80"), Tuple(nil),
		Tuple{int64(1)},
		Tuple{int64(1), "b"},
		Tuple{nil, nil, nil},
		Tuple{true, false, nil, "d"},
		&List{}, &List{[]any{"a", Tuple{int64(1)}}}, &Set{Items: []any{"a"}}, &Set{Items: []any{"a", "b"}, Frozen: true}, new(Dict), ordered,
		Global{"torch", "float32"},
		object,
		&Object{Class: Global{"net", "make"}, Called: true, Args: []any{int64(1)}, Items: []any{"x"}},
	}
}

func TestEncodedValuesAreReadAsTheyWere(t *testing.T) {
	for _, want := range samples() {
		b, err := Encode(want)
		if err != nil {
			t.Errorf("%s %v: %v", TypeName(want), want, err)
			continue
		}
		got, n, err := Load(b, Options{})
		if err != nil || n != len(b) {
			t.Errorf("%s %v: %d of %d bytes, %v", TypeName(want), want, n, len(b), err)
			continue
		}
		if !reflect.DeepEqual(normal(got), normal(want)) {
			t.Errorf("want %#v, got %#v", want, got)
		}
	}
}

// normal is a value without the differences that mean nothing: empty slices and indices of dictionaries.
func normal(v any) any {
	switch v := v.(type) {
	case Tuple:
		return append(Tuple{}, normals(v)...)
	case *List:
		return &List{append([]any{}, normals(v.Items)...)}
	case *Set:
		return &Set{normals(v.Items), v.Frozen}
	case *Dict:
		return [...]any{v.Class, normals(v.Keys), normals(v.Values), normals(v.Args), normal(v.State)}
	case *Object:
		return [...]any{v.Class, v.Called, normals(v.Args), normal(v.State), normals(v.Items)}
	}
	return v
}

func normals(items []any) []any {
	out := []any{}
	for _, x := range items {
		out = append(out, normal(x))
	}
	return out
}

func TestEncodeRefusesWhatItCannotWrite(t *testing.T) {
	itself := &List{}
	itself.Items = []any{itself}
	for want, v := range map[string]any{
		"contain themselves":    itself,
		"cannot be written":     struct{}{},
		"named arguments":       &Object{Kwargs: new(Dict)},
		"is no name of a globa": Global{"os\nsystem", "x"},
	} {
		if _, err := Encode(v); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%T: error %v, want %q", v, err, want)
		}
	}
}

// Forms that Python writes in its protocols and this package does not.
func TestReadsEveryProtocol(t *testing.T) {
	for text, want := range map[string]any{
		"I42\n.": int64(42), "I01\n.": true, "I00\n.": false, "L-7L\n.": int64(-7), "F2.5\n.": 2.5, "Vgr\\u00f6\xdf\n.": "grö\xdf",
		"S'it\\'s\\x21'\n.": "it's!", "T\x02\x00\x00\x00ab.": "ab", "U\x01a.": "a",
		"(I1\nI2\nt.": Tuple{int64(1), int64(2)}, "(I1\nl.": &List{[]any{int64(1)}}, "(lp0\nI1\nag0\n0.": &List{[]any{int64(1)}},
		"\x80\x02\x8a\x02\xff\x00.": int64(255), "\x80\x02\x8a\x01\xff.": int64(-1), "\x80\x03C\x02\x00\xff.": Bytes("\x00\xff"),
		"\x80\x04\x95\x04\x00\x00\x00\x00\x00\x00\x00\x8c\x01a\x94.":    "a",
		"\x80\x04\x8f\x94(\x8c\x01a\x90.":                               &Set{Items: []any{"a"}},
		"\x80\x04(\x8c\x01a\x91.":                                       &Set{Items: []any{"a"}, Frozen: true},
		"\x80\x05\x96\x01\x00\x00\x00\x00\x00\x00\x00x.":                Bytes("x"),
		"\x80\x04\x8c\x05torch\x8c\x04Size\x93.":                        Global{"torch", "Size"},
		"c__builtin__\nunicode\n.":                                      Global{"builtins", "str"},
		"ccopy_reg\n_reconstructor\n(cm\nC\nc__builtin__\nobject\nNtR.": &Object{Class: Global{"m", "C"}},
		"(im\nC\n.":      &Object{Class: Global{"m", "C"}},
		"(cm\nC\nI1\no.": &Object{Class: Global{"m", "C"}, Args: []any{int64(1)}},
		"\x80\x02c_codecs\nencode\nX\x02\x00\x00\x00\xc3\xbfX\x06\x00\x00\x00latin1\x86R.": Bytes("\xff"),
	} {
		got, _, err := Load([]byte(text), Options{})
		if err != nil || !reflect.DeepEqual(normal(got), normal(want)) {
			t.Errorf("%q: want %#v, got %#v, %v", text, want, got, err)
		}
	}
}

func TestReportNamesWhatIsNotKnown(t *testing.T) {
	var r Report
	text := "(cm\nA\ncm\nB\n)\x81cm\nB\n)\x81cm\nf\n(I1\ntRccollections\nOrderedDict\n)Rct\nKnown\nt."
	_, _, err := Load([]byte(text), Options{Report: &r, Known: func(g Global) bool { return g.Module == "t" }})
	want := []Use{{"m.A", named, 1, 1}, {"m.B", made, 2, 12}, {"m.f", called, 1, 30}}
	if got := r.List(); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("want %v, got %v, %v", want, got, err)
	}
}

func TestDictionariesKnowKeysAsPythonDoes(t *testing.T) {
	d := new(Dict)
	for i := range 20 {
		if err := d.Set(int64(i), "int"); err != nil {
			t.Fatal(err)
		}
	}
	for _, same := range []any{true, 1.0, int64(1)} {
		if err := d.Set(same, TypeName(same)); err != nil {
			t.Fatal(err)
		}
	}
	if d.Len() != 20 || d.Values[1] != "int" || d.Keys[1] != int64(1) {
		t.Errorf("%d entries, [1] is %v", d.Len(), d.Values[1])
	}
	if err := d.Set(&List{}, nil); err == nil {
		t.Error("a list is a key")
	}
	if err := d.Set(Tuple{&Dict{}}, nil); err == nil {
		t.Error("a tuple with a dictionary is a key")
	}
}

// FuzzLoad reads anything without panicking, and what it reads and can write again is read as the same.
func FuzzLoad(f *testing.F) {
	for _, v := range samples() {
		b, err := Encode(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("cos\nsystem\n(S'x'\ntR."))
	f.Add([]byte("\x80\x04\x95\x04\x00\x00\x00\x00\x00\x00\x00\x8c\x01a\x94}\x94(h\x00K\x01u\x92\x81."))
	f.Add([]byte("(lp0\n(I1\nI2\ndg0\na."))
	f.Fuzz(func(t *testing.T, data []byte) {
		var r Report
		v, n, err := Load(data, Options{
			Bytes: 1 << 20, Report: &r,
			Persistent: func(id any) (any, error) { return Tuple{"persistent", id}, nil },
		})
		if n < 0 || n > len(data) {
			t.Fatalf("%d of %d bytes", n, len(data))
		}
		r.List()
		if err != nil {
			return
		}
		b, err := Encode(v)
		if err != nil || len(b) > 1<<18 {
			return
		}
		again, _, err := Load(b, Options{Bytes: 1 << 24})
		if err != nil {
			t.Fatalf("%q is not read as it was written: %v", b, err)
		}
		c, err := Encode(again)
		if err != nil || string(b) != string(c) {
			t.Fatalf("%q is read as what is written as %q, %v", b, c, err)
		}
	})
}
