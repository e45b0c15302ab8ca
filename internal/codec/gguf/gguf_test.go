package gguf

import (
	"bytes"
	"encoding/binary"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/material"
)

var allPairs = []Pair{
	{"a", uint8(200)},
	{"b", int8(-3)},
	{"c", uint16(60000)},
	{"d", int16(-30000)},
	{"e", uint32(4e9)},
	{"f", int32(-5)},
	{"g", float32(1.5)},
	{"h", true},
	{"i", "text"},
	{"j", uint64(1 << 40)},
	{"k", int64(-1 << 40)},
	{"l", 2.5},
	{"as", []uint8{1}},
	{"bs", []int8{-1, 2}},
	{"cs", []uint16{3}},
	{"ds", []int16{-4}},
	{"es", []uint32{5, 6}},
	{"fs", []int32{-7}},
	{"gs", []float32{0.5}},
	{"hs", []bool{true, false}},
	{"is", []string{"", "x", "äö"}},
	{"js", []uint64{8}},
	{"ks", []int64{-9}},
	{"ls", []float64{1e300}},
	{"none", []string{}},
}

func sample(t testing.TB, pairs []Pair) []byte {
	t.Helper()
	tensors := []Tensor{{Name: "m", Type: 8, Shape: []int{3, 64}}, {Name: "v", Shape: []int{5}}, {Name: "s", Type: 1}}
	b, err := Encode(pairs, tensors, []int{3 * 68, 20, 2})
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range []int{3 * 68, 20, 2} {
		b = append(b, bytes.Repeat([]byte{byte(i + 1)}, n)...)
		b = append(b, make([]byte, Padding(n))...)
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	for _, pairs := range [][]Pair{allPairs, append([]Pair{{AlignmentKey, uint32(32)}}, allPairs...), nil} {
		file := sample(t, pairs)
		h, err := Parse(file)
		if err != nil {
			t.Fatal(err)
		}
		if len(pairs) > 0 && !reflect.DeepEqual(h.Pairs, pairs) {
			t.Errorf("%v, want %v", h.Pairs, pairs)
		}
		if h.Version != 3 || len(h.Tensors) != 3 || !reflect.DeepEqual(h.Tensors[0].Shape, []int{3, 64}) || h.Tensors[0].Len() != 192 || h.Tensors[2].Len() != 1 {
			t.Errorf("%+v", h)
		}
		for i, n := range []int{3 * 68, 20, 2} {
			b, err := h.Bytes(file, &h.Tensors[i], n)
			if err != nil || !bytes.Equal(b, bytes.Repeat([]byte{byte(i + 1)}, n)) {
				t.Errorf("tensor %d: %v %v", i, b, err)
			}
			if _, err := h.Bytes(file, &h.Tensors[i], 1000); err == nil || !strings.Contains(err.Error(), "incomplete") {
				t.Errorf("tensor %d beyond the file: %v", i, err)
			}
		}
	}
}

func TestTypedValues(t *testing.T) {
	h, err := Parse(sample(t, allPairs))
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]int{"a": 200, "b": -3, "c": 60000, "d": -30000, "e": 4e9, "f": -5, "j": 1 << 40, "k": -1 << 40} {
		if n, ok, err := h.Int(key); n != want || !ok || err != nil {
			t.Errorf("%s: %d %v %v", key, n, ok, err)
		}
		if f, ok, err := h.Float(key); f != float64(want) || !ok || err != nil {
			t.Errorf("%s: %v %v %v", key, f, ok, err)
		}
	}
	if f, _, err := h.Float("g"); f != 1.5 || err != nil {
		t.Error(f, err)
	}
	if s, _, err := h.Text("i"); s != "text" || err != nil {
		t.Error(s, err)
	}
	if b, _, err := h.Flag("h"); !b || err != nil {
		t.Error(b, err)
	}
	if s, err := Slice[string](h, "is"); len(s) != 3 || err != nil {
		t.Error(s, err)
	}
	for _, f := range []func() error{
		func() error { _, _, err := h.Int("i"); return err },
		func() error { _, _, err := h.Text("a"); return err },
		func() error { _, _, err := h.Flag("a"); return err },
		func() error { _, err := Slice[string](h, "es"); return err },
	} {
		if err := f(); err == nil || !strings.Contains(err.Error(), "want") {
			t.Errorf("%v", err)
		}
	}
	if _, ok, err := h.Int("nothing"); ok || err != nil {
		t.Error(ok, err)
	}
}

func TestRefused(t *testing.T) {
	good := sample(t, allPairs)
	h, err := Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	for n := range h.Data {
		if _, err := Parse(good[:n]); err == nil && n < h.Data-32 {
			t.Fatalf("cut at %d: accepted", n)
		}
	}
	change := func(at int, v uint64, size int) []byte {
		b := bytes.Clone(good)
		var w [8]byte
		binary.LittleEndian.PutUint64(w[:], v)
		copy(b[at:at+size], w[:])
		return b
	}
	first := 24 + 8 + 1 // of the type of the first pair
	for want, b := range map[string][]byte{
		"not a GGUF":   []byte("GGML    "),
		"version 1":    change(4, 1, 4),
		"big-endian":   change(4, 0x03000000, 4),
		"do not fit":   change(8, 1<<60, 8),
		"not fit a":    change(16, 1<<62, 8),
		"incomplete":   change(24, 1<<63, 8),
		"unknown":      change(first, 77, 4),
		"type 9 is":    append(change(first, 9, 4)[:first+4], 9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0),
		"ends in the ": append(change(first, 9, 4)[:first+4], append([]byte{8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, make([]byte, 1000)...)...),
	} {
		if want == "type 9 is" {
			b = append(b, good[first+5:]...)
		}
		if _, err := Parse(b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	// Counts are not believed where the header ends within them.
	if _, err := Parse([]byte("GGUF\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00@\x00\x00\x00\x00WW\x00")); err == nil {
		t.Error("a header cut short is accepted")
	}
	for want, f := range map[string]func() error{
		"there twice": func() error { _, err := Encode([]Pair{{"a", "x"}, {"a", "y"}}, nil, nil); return err },
		"Go type":     func() error { _, err := Encode([]Pair{{"a", 1}}, nil, nil); return err },
		"power":       func() error { _, err := Encode([]Pair{{AlignmentKey, uint32(3)}}, nil, nil); return err },
		"alignment":   func() error { _, err := Encode([]Pair{{AlignmentKey, uint32(1 << 30)}}, nil, nil); return err },
		"names are": func() error {
			_, err := Encode(nil, []Tensor{{Name: strings.Repeat("n", 64)}}, []int{0})
			return err
		},
	} {
		if err := f(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// The files were written by llama.cpp.
func TestFilesOfLlamaCpp(t *testing.T) {
	b, err := os.ReadFile(material.Path(t, "data/golm-15m/gguf/golm-15m-q4_K_M.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	h, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if s, _, _ := h.Text("general.architecture"); s != "llama" {
		t.Errorf("architecture %q", s)
	}
	if tokens, err := Slice[string](h, "tokenizer.ggml.tokens"); len(tokens) != 4096 || err != nil {
		t.Errorf("%d tokens, %v", len(tokens), err)
	}
	if len(h.Tensors) != 75 {
		t.Errorf("%d tensors", len(h.Tensors))
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample(f, allPairs))
	f.Add(sample(f, nil))
	f.Fuzz(func(t *testing.T, file []byte) {
		h, err := Parse(file)
		if err != nil {
			return
		}
		sizes := make([]int, len(h.Tensors))
		for i := range h.Tensors {
			if _, err := h.Bytes(file, &h.Tensors[i], 32); err == nil {
				sizes[i] = 32
			}
		}
		again, err := Encode(h.Pairs, append([]Tensor(nil), h.Tensors...), sizes)
		if err != nil {
			return // names longer than are written
		}
		if h2, err := Parse(again); err != nil || len(h2.Pairs) != len(h.Pairs) || len(h2.Tensors) != len(h.Tensors) {
			t.Fatalf("what was read cannot be read when it is written again: %v", err)
		}
	})
}
