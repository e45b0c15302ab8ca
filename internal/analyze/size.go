package analyze

import (
	"os"
	"path/filepath"
	"reflect"
	"sort"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
)

// Size is what a model takes.
type Size struct {
	Parameters  int        `json:"parameters"`   // values
	DiskBytes   int64      `json:"disk_bytes"`   // the model file with its external data; 0 if it was never written
	MemoryBytes int64      `json:"memory_bytes"` // parameters as they are stored
	ByType      []TypeSize `json:"by_type"`      // largest first
	Nodes       int        `json:"nodes"`
}

// TypeSize is the share of one element type.
type TypeSize struct {
	DType      string `json:"dtype"`
	Parameters int    `json:"parameters"`
	Bytes      int64  `json:"bytes"`
}

// SizeOf measures a model from headers alone.
func SizeOf(m *model.Model) Size {
	s := Size{}
	types := map[string]*TypeSize{}
	sizeOf(m.Graph, &s, types, map[any]*graph.Graph{})
	for _, t := range types {
		s.ByType = append(s.ByType, *t)
	}
	sort.Slice(s.ByType, func(i, j int) bool {
		a, b := s.ByType[i], s.ByType[j]
		return a.Bytes > b.Bytes || a.Bytes == b.Bytes && a.DType < b.DType
	})
	for _, f := range m.Files {
		if info, err := os.Stat(filepath.Join(m.Dir, f)); err == nil {
			s.DiskBytes += info.Size()
		}
	}
	return s
}

// sizeOf adds the parameters of a graph and its subgraphs. Data that several graphs share is stored once; seen has the first.
func sizeOf(g *graph.Graph, s *Size, types map[string]*TypeSize, seen map[any]*graph.Graph) {
	for _, v := range g.Params() {
		if reflect.TypeOf(v.Data).Comparable() {
			if first := seen[v.Data]; first != nil && first != g {
				continue
			}
			seen[v.Data] = g
		}
		d, n := v.Data.DType(), v.Data.Shape().Len()
		t := types[d.String()]
		if t == nil {
			t = &TypeSize{DType: d.String()}
			types[d.String()] = t
		}
		bytes := int64(d.ByteLen(n))
		t.Parameters += n
		t.Bytes += bytes
		s.Parameters += n
		s.MemoryBytes += bytes
	}
	for _, n := range g.Nodes {
		s.Nodes++
		if b, ok := n.Op.(graph.Body); ok {
			for _, sub := range b.Bodies() {
				sizeOf(sub, s, types, seen)
			}
		}
	}
}
