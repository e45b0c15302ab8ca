package onnx

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/neurotrain/neuroquant/internal/codec/protobuf"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// seeds returns small models.
func seeds(f *testing.F) [][]byte {
	b, err := os.ReadFile(filepath.Join("testdata", "legacy.json"))
	if err != nil {
		f.Fatal(err)
	}
	var cases []struct {
		Model []byte `json:"model"`
	}
	if err := json.Unmarshal(b, &cases); err != nil {
		f.Fatal(err)
	}
	var models [][]byte
	for _, c := range cases {
		models = append(models, c.Model)
	}
	// While fuzzing, the small models of the conformance archive are seeds too, where it is at hand.
	if flag.Lookup("test.fuzz").Value.String() == "" {
		return models
	}
	if files, err := readArchive("../../../../shared/onnx-conformance.tar.zst"); err == nil {
		for name, b := range files {
			if filepath.Base(name) == "model.onnx" && len(b) < 4<<10 {
				models = append(models, b)
			}
		}
	}
	return models
}

// openAndWrite imports bytes as a model: errors are fine, panics and endless work are not. What can be imported can be written,
// or the error says why not.
func openAndWrite(b []byte) {
	// Fuzzing itself would only wait for the end.
	watchdog := time.AfterFunc(20*time.Second, func() {
		buf := make([]byte, 1<<16)
		panic("no end after 20 s\n" + string(buf[:runtime.Stack(buf, true)]))
	})
	defer watchdog.Stop()
	m, err := read(context.Background(), b, filepath.Join(os.TempDir(), "no such folder", "model.onnx"))
	if err != nil {
		return
	}
	defer m.Close()
	for _, p := range m.Graph.Params() {
		if p.Data.Shape().Len() < 1<<20 {
			_, _ = p.Data.Load()
		}
	}
	if p, _, err := export(context.Background(), m, model.SaveOptions{}); err == nil && p.Size() < 1<<20 {
		_, _ = p.Marshal()
	}
}

// FuzzOpen imports arbitrary bytes.
func FuzzOpen(f *testing.F) {
	for _, b := range seeds(f) {
		f.Add(b)
	}
	f.Fuzz(func(_ *testing.T, b []byte) { openAndWrite(b) })
}

// FuzzEdited imports models that are well-formed messages with odd contents: each four bytes of edits change one thing.
func FuzzEdited(f *testing.F) {
	for i, b := range seeds(f) {
		f.Add(b, []byte{byte(i), byte(i >> 3), 3, byte(i >> 5), 0, byte(i), 7, 9})
	}
	f.Fuzz(func(_ *testing.T, b, edits []byte) {
		m, err := protobuf.ParseModel(b)
		if err != nil || m.Graph == nil {
			return
		}
		for ; len(edits) >= 4; edits = edits[4:] {
			edit(m, edits[0], int(edits[1]), int(edits[2]), edits[3])
		}
		if b, err = m.Marshal(); err == nil {
			openAndWrite(b)
		}
	})
}

// odd returns a number that code is likely not to expect.
func odd(k byte) int64 {
	list := []int64{0, 1, -1, 2, -2, 3, 4, 5, 7, 8, 16, 127, 1 << 15, 1 << 20, math.MaxInt32, math.MinInt32, 1 << 40, math.MaxInt64, math.MinInt64}
	return list[int(k)%len(list)]
}

// edit changes one thing of a model: what says which, i and j where, k to what.
func edit(m *protobuf.Model, what byte, i, j int, k byte) {
	g := m.Graph
	if what >= 128 { // inside a subgraph
		for _, n := range g.Nodes {
			for _, a := range n.Attributes {
				if a.G != nil {
					g = a.G
				}
			}
		}
	}
	var n *protobuf.Node
	var a *protobuf.Attribute
	if len(g.Nodes) > 0 {
		n = g.Nodes[i%len(g.Nodes)]
		if len(n.Attributes) > 0 {
			a = n.Attributes[j%len(n.Attributes)]
		}
	}
	info := func() *protobuf.ValueInfo {
		list := append(append(append([]*protobuf.ValueInfo{}, g.Inputs...), g.ValueInfo...), g.Outputs...)
		if len(list) == 0 {
			return &protobuf.ValueInfo{}
		}
		return list[i%len(list)]
	}()
	switch what % 128 % 16 {
	case 0:
		if a != nil {
			a.I = odd(k)
		}
	case 1:
		if a != nil && len(a.Ints) > 0 {
			a.Ints[int(k)%len(a.Ints)] = odd(k >> 2)
		}
	case 2:
		if a != nil {
			a.Ints = append(a.Ints, odd(k))
		}
	case 3:
		if n != nil && len(n.Inputs) > 0 {
			n.Inputs[j%len(n.Inputs)] = ""
		}
	case 4:
		if n != nil && len(n.Inputs) > 0 {
			n.Inputs = n.Inputs[:j%len(n.Inputs)]
		}
	case 5:
		if n != nil && len(n.Inputs) > 0 {
			n.Inputs = append(n.Inputs, n.Inputs[j%len(n.Inputs)])
		}
	case 6:
		if n != nil {
			n.Outputs = append(n.Outputs, fmt.Sprint("more", k))
		}
	case 7:
		if n != nil {
			n.Attributes = append(n.Attributes[:0:0], n.Attributes[min(1, len(n.Attributes)):]...)
		}
	case 8, 9:
		if t := info.Type; t != nil && t.Tensor != nil && t.Tensor.Shape != nil && len(t.Tensor.Shape.Dims) > 0 {
			d := &t.Tensor.Shape.Dims[j%len(t.Tensor.Shape.Dims)]
			d.Value, d.HasValue = odd(k), k < 200
		}
	case 10:
		if t := info.Type; t != nil && t.Tensor != nil {
			t.Tensor.ElemType = int32(k) % 28
		}
	case 11:
		if t := info.Type; t != nil && t.Tensor != nil && t.Tensor.Shape != nil {
			t.Tensor.Shape.Dims = t.Tensor.Shape.Dims[:j%(len(t.Tensor.Shape.Dims)+1)]
		}
	case 12:
		if t := info.Type; t != nil && t.Tensor != nil {
			t.Tensor.Shape = nil
		}
	case 13:
		if len(g.Initializers) > 0 {
			w := g.Initializers[i%len(g.Initializers)]
			if len(w.RawData) > 0 {
				w.RawData = bytes.Clone(w.RawData)
				w.RawData[j%len(w.RawData)] = k
			}
		}
	case 14:
		// An input becomes a constant, so that shape arithmetic is computed while the model is read.
		if len(g.Inputs) > 0 {
			in := g.Inputs[j%len(g.Inputs)]
			if in.Type != nil && in.Type.Tensor != nil {
				t := &protobuf.Tensor{Name: in.Name, DataType: in.Type.Tensor.ElemType, Dims: []int64{}, HasRaw: true}
				n := 1
				if s := in.Type.Tensor.Shape; s != nil {
					for _, d := range s.Dims {
						t.Dims = append(t.Dims, d.Value)
						n *= int(min(max(d.Value, 0), 64))
					}
				}
				t.RawData = bytes.Repeat([]byte{k, 0, 0, 0, 0, 0, 0, 0}, n)[:min(8*n, tensor.DType(t.DataType).ByteLen(n))]
				g.Inputs = append(g.Inputs[:0:0], g.Inputs...)
				g.Inputs = append(g.Inputs[:j%len(g.Inputs)], g.Inputs[j%len(g.Inputs)+1:]...)
				g.Initializers = append(g.Initializers, t)
			}
		}
	case 15:
		if n != nil {
			list := op.Kinds()
			n.OpType = list[(int(k)*8+j)%len(list)]
		}
	}
}
