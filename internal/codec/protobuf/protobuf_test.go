package protobuf

import (
	"bytes"
	"errors"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// appendField and fields build messages by hand, independent of the writer under test.
func appendField(b []byte, num protowire.Number, v any) []byte {
	switch v := v.(type) {
	case int:
		return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), uint64(v))
	case float32:
		return protowire.AppendFixed32(protowire.AppendTag(b, num, protowire.Fixed32Type), math.Float32bits(v))
	case string:
		return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), v)
	case []byte:
		return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), v)
	}
	panic("unknown kind of field")
}

func fields(pairs ...any) []byte {
	var b []byte
	for i := 0; i < len(pairs); i += 2 {
		b = appendField(b, protowire.Number(pairs[i].(int)), pairs[i+1])
	}
	return b
}

// TestFieldNumbers reads messages whose field numbers are written down here again, from onnx.proto.
func TestFieldNumbers(t *testing.T) {
	dim := fields(1, 3)
	shape := fields(1, dim, 1, fields(2, "n"))
	typ := fields(1, fields(1, 1, 2, shape))
	value := fields(1, "x", 2, typ, 3, "doc")
	raw := fields(1, 2, 1, 3, 2, 1, 8, "w", 9, make([]byte, 24), 12, "doc", 13, fields(1, "location", 2, "f"), 14, 1)
	attr := fields(1, "alpha", 2, float32(0.5), 20, 1)
	node := fields(1, "x", 1, "w", 2, "y", 3, "n", 4, "Add", 5, attr, 6, "doc", 7, "dom", 8, "over")
	graph := fields(1, node, 2, "g", 5, raw, 10, "doc", 11, value, 12, value, 13, value)
	function := fields(1, "f", 4, "a", 5, "b", 6, "p", 7, node, 9, fields(1, "", 2, 17), 10, "fd", 11, attr, 13, "fo")
	m, err := ParseModel(fields(1, 8, 2, "prod", 3, "1.0", 4, "dom", 5, 7, 6, "doc", 7, graph, 8, fields(1, "", 2, 17), 14, fields(1, "k", 2, "v"), 25, function))
	if err != nil {
		t.Fatal(err)
	}
	if m.IRVersion != 8 || m.ProducerName != "prod" || m.ProducerVersion != "1.0" || m.Domain != "dom" || m.ModelVersion != 7 || m.DocString != "doc" ||
		len(m.OpsetImport) != 1 || m.OpsetImport[0].Version != 17 || m.MetadataProps[0].Key != "k" || m.MetadataProps[0].Value != "v" || len(m.Unknown) != 0 {
		t.Errorf("model %+v", m)
	}
	g := m.Graph
	if g.Name != "g" || g.DocString != "doc" || len(g.Inputs) != 1 || len(g.Outputs) != 1 || len(g.ValueInfo) != 1 {
		t.Errorf("graph %+v", g)
	}
	if n := g.Nodes[0]; !reflect.DeepEqual(n.Inputs, []string{"x", "w"}) || n.Outputs[0] != "y" || n.Name != "n" || n.OpType != "Add" || n.Domain != "dom" || n.Overload != "over" || n.Attributes[0].F != 0.5 {
		t.Errorf("node %+v", n)
	}
	if w := g.Initializers[0]; w.Name != "w" || !reflect.DeepEqual(w.Dims, []int64{2, 3}) || w.DataType != 1 || len(w.RawData) != 24 || w.DataLocation != External || w.ExternalData[0].Value != "f" {
		t.Errorf("tensor %+v", w)
	}
	tt := g.Inputs[0].Type.Tensor
	if tt.ElemType != 1 || !tt.Shape.Dims[0].HasValue || tt.Shape.Dims[0].Value != 3 || tt.Shape.Dims[1].HasValue || tt.Shape.Dims[1].Param != "n" {
		t.Errorf("type %+v", tt)
	}
	if f := m.Functions[0]; f.Name != "f" || f.Domain != "fd" || f.Overload != "fo" || f.Inputs[0] != "a" || f.Outputs[0] != "b" || f.Attributes[0] != "p" || f.OpsetImport[0].Version != 17 {
		t.Errorf("function %+v", f)
	}
	written, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseModel(written)
	if err != nil || !reflect.DeepEqual(m, again) {
		t.Errorf("after writing: %v\n%+v", err, again)
	}
}

// TestUnknownFieldsAreKept checks that fields of a later version of the format survive, in every kind of wire type.
func TestUnknownFieldsAreKept(t *testing.T) {
	extra := fields(900, 5, 901, "later", 902, float32(1))
	extra = protowire.AppendFixed64(protowire.AppendTag(extra, 903, protowire.Fixed64Type), 9)
	extra = protowire.AppendTag(extra, 904, protowire.StartGroupType)
	extra = append(extra, fields(1, 1)...)
	extra = protowire.AppendTag(extra, 904, protowire.EndGroupType)
	node := append(fields(4, "Relu"), extra...)
	m, err := ParseModel(append(fields(7, append(fields(1, node), extra...)), extra...))
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range [][]byte{m.Unknown, m.Graph.Unknown, m.Graph.Nodes[0].Unknown} {
		if !bytes.Equal(u, extra) {
			t.Errorf("kept %x", u)
		}
	}
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Count(b, extra) != 3 {
		t.Error("the unknown fields were not written back")
	}
}

// TestPackedAndUnpacked checks that repeated numbers are read in both forms, and mixed.
func TestPackedAndUnpacked(t *testing.T) {
	packed := protowire.AppendVarint(protowire.AppendVarint(nil, 5), 300)
	a, err := ParseTensor(append(append(fields(1, packed, 7, packed), fields(1, 7, 7, 8)...), fields(4, float32(2), 4, fields32(3, 4))...))
	if err != nil {
		t.Fatal(err)
	}
	ints, err := a.Int64s()
	if err != nil || !reflect.DeepEqual(a.Dims, []int64{5, 300, 7}) || !reflect.DeepEqual(ints, []int64{5, 300, 8}) {
		t.Errorf("dims %v, ints %v, %v", a.Dims, ints, err)
	}
	if !bytes.Equal(a.FloatData, fields32(2, 3, 4)) {
		t.Errorf("floats %x", a.FloatData)
	}
}

func fields32(v ...float32) []byte {
	var b []byte
	for _, f := range v {
		b = protowire.AppendFixed32(b, math.Float32bits(f))
	}
	return b
}

// TestContentsAreNotCopied checks that contents alias the input and that appending to them cannot reach it.
func TestContentsAreNotCopied(t *testing.T) {
	for name, b := range map[string][]byte{"raw": fields(9, []byte("abcd"), 8, "w"), "packed": fields(4, fields32(1), 8, "w")} {
		m, err := ParseTensor(b)
		if err != nil {
			t.Fatal(err)
		}
		got := m.RawData
		if name == "packed" {
			got = m.FloatData
		}
		if len(got) != 4 || &got[0] != &b[2] || cap(got) != 4 {
			t.Errorf("%s: length %d, capacity %d", name, len(got), cap(got))
		}
	}
}

func TestMalformed(t *testing.T) {
	deep := []byte{}
	for range 150 {
		deep = fields(1, fields(5, fields(6, deep))) // node, attribute, graph
	}
	for name, b := range map[string][]byte{
		"truncated varint":        {8, 0x80},
		"truncated string":        {18, 10, 'a'},
		"truncated tag":           {0x80},
		"field number 0":          {0, 0},
		"group without end":       {11},
		"end of no group":         {12},
		"varint as string":        fields(2, 5),
		"string as varint":        fields(1, "x"),
		"string as message":       fields(7, 5),
		"half a packed float":     fields(7, fields(5, fields(4, []byte{1, 2}))),
		"half a packed varint":    fields(7, fields(5, fields(7, []byte{0x80}))),
		"too deep":                fields(7, deep),
		"length beyond the field": fields(7, []byte{10, 5, 1}),
	} {
		if m, err := ParseModel(b); !errors.Is(err, ErrWire) {
			t.Errorf("%s: %v, %v", name, m, err)
		}
	}
	m := &Tensor{Int64Data: bytes.Repeat([]byte{0xff}, 11)}
	m.Int64Data[10] = 1
	if _, err := m.Int64s(); !errors.Is(err, ErrWire) {
		t.Errorf("eleven-byte varint: %v", err)
	}
}

// TestMerging checks what repetitions of a field mean: the last scalar wins, messages merge, of a choice the last one counts.
func TestMerging(t *testing.T) {
	m, err := ParseModel(append(fields(1, 3, 7, fields(2, "a")), fields(1, 4, 7, fields(10, "d"))...))
	if err != nil || m.IRVersion != 4 || m.Graph.Name != "a" || m.Graph.DocString != "d" {
		t.Errorf("%+v, %v", m, err)
	}
	m, err = ParseModel(fields(7, fields(11, fields(2, append(fields(1, fields(1, 1)), fields(4, []byte{})...)))))
	if err != nil || m.Graph.Inputs[0].Type.Tensor != nil || m.Graph.Inputs[0].Type.Sequence == nil {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestStreamedTensor checks contents that are written by a function, and that a wrong length is noticed.
func TestStreamedTensor(t *testing.T) {
	m := &Model{Graph: &Graph{Initializers: []*Tensor{{Name: "w", Dims: []int64{3}, DataType: 2}}}}
	w := m.Graph.Initializers[0]
	w.StreamLen = 3
	w.Stream = func(s Sink) error {
		_, err := io.WriteString(s, "abc")
		return err
	}
	b, err := m.Marshal()
	if err != nil || int64(len(b)) != m.Size() {
		t.Fatalf("%d bytes, size %d, %v", len(b), m.Size(), err)
	}
	again, err := ParseModel(b)
	if err != nil || string(again.Graph.Initializers[0].RawData) != "abc" {
		t.Errorf("%+v, %v", again, err)
	}
	w.StreamLen = 4
	if _, err := m.Marshal(); err == nil || !strings.Contains(err.Error(), `"w": 3 bytes were written, 4 announced`) {
		t.Errorf("got %v", err)
	}
	w.Stream = func(Sink) error { return io.ErrUnexpectedEOF }
	if _, err := m.Marshal(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
}

// TestZeroAttributes checks that values which are zero are there, as checkers want.
func TestZeroAttributes(t *testing.T) {
	for _, a := range []*Attribute{{Name: "a", Type: AttrInt}, {Name: "a", Type: AttrFloat}, {Name: "a", Type: AttrString}} {
		b, err := (&Model{Graph: &Graph{Nodes: []*Node{{Attributes: []*Attribute{a}}}}}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		num := map[AttributeType]byte{AttrInt: 3 << 3, AttrFloat: 2<<3 | 5, AttrString: 4<<3 | 2}[a.Type]
		if !bytes.Contains(b, []byte{num, 0}) {
			t.Errorf("type %d: %x", a.Type, b)
		}
	}
}

// FuzzParse parses arbitrary bytes; what parses must come out of the writer the same.
func FuzzParse(f *testing.F) {
	f.Add(fields(1, 8, 7, fields(1, fields(1, "x", 4, "Add", 5, fields(1, "a", 3, 1)), 5, fields(1, 2, 9, []byte("ab")))))
	f.Add(fields(7, fields(11, fields(1, "x", 2, fields(1, fields(1, 1, 2, fields(1, fields(1, 3))))))))
	f.Add(fields(3, fields(4, fields32(1, 2)), 25, fields(1, "f")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := ParseModel(b); err == nil {
			w, err := m.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			if int64(len(w)) != m.Size() {
				t.Fatalf("%d bytes, size %d", len(w), m.Size())
			}
			again, err := ParseModel(w)
			if err != nil {
				t.Fatal(err)
			}
			// Empty lists may come back as nil ones and NaN differs from itself, so the second writing is compared, not the structs.
			w2, err := again.Marshal()
			if err != nil || !bytes.Equal(w, w2) {
				t.Fatalf("writing twice differs: %v", err)
			}
		}
		if m, err := ParseTensor(b); err == nil {
			m.Int32s()
			m.Int64s()
			m.Uint64s()
		}
		ParseSequence(b)
		ParseOptional(b)
	})
}
