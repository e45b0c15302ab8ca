package neuroquant

import (
	"context"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/analyze"
	"github.com/neurotrain/neuroquant/internal/format"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/tensor"
)

// Inspection is what a model's headers say.
type Inspection struct {
	File       string            `json:"file"`
	Format     string            `json:"format"`
	Producer   string            `json:"producer"`
	Opset      map[string]int    `json:"opset,omitempty"`
	Inputs     []ValueInfo       `json:"inputs"`
	Outputs    []ValueInfo       `json:"outputs"`
	Parameters int               `json:"parameters"` // values
	Size       Size              `json:"size"`
	Operators  map[string]int    `json:"operators"` // nodes by operator, subgraphs included
	Tensors    []TensorInfo      `json:"tensors"`
	Metadata   map[string]string `json:"metadata,omitempty"`
	// Runtime says whether ONNX Runtime can run it; nil without a graph.
	Runtime *RuntimeSupport `json:"onnx_runtime,omitempty"`
	// Contents is what a PyTorch file holds: tensors by their names there, the tree of modules, what was refused. NoGraph says why
	// there is nothing but that, if so: then what is said of a graph above is empty.
	Contents *Contents `json:"contents,omitempty"`
	NoGraph  string    `json:"no_graph,omitempty"`
}

// Contents is what a file holds beside a graph, or in place of one.
type (
	Contents       = model.Contents
	ContentTensor  = model.ContentTensor
	ContentModule  = model.ContentModule
	ContentValue   = model.ContentValue
	ContentRefused = model.ContentRefused
)

// Inspect describes the file at path from its headers; no weights are read. A file that holds weights without a known graph is
// described too.
func Inspect(ctx context.Context, path string) (*Inspection, error) {
	m, err := Open(ctx, path)
	if err == nil {
		defer m.Close()
	}
	c, cerr := format.Describe(ctx, path)
	switch {
	case err != nil && (cerr != nil || c == nil):
		return nil, err
	case err != nil:
		return withoutGraph(path, c, err), nil
	}
	i := m.Inspect()
	i.Contents = c
	i.Runtime = m.RuntimeSupport(ctx)
	return &i, cerr
}

// withoutGraph describes a file of which no graph can be made.
func withoutGraph(path string, c *Contents, why error) *Inspection {
	i := &Inspection{
		File: path, Format: formatPT, Producer: "PyTorch", Inputs: []ValueInfo{}, Outputs: []ValueInfo{}, Operators: map[string]int{}, Tensors: []TensorInfo{},
		Contents: c, NoGraph: why.Error(),
	}
	types := map[string]*analyze.TypeSize{}
	for _, t := range c.Tensors {
		i.Tensors = append(i.Tensors, TensorInfo{t.Name, t.DType, t.Shape, t.Bytes})
		n := tensor.Shape(t.Shape).Len()
		s := types[t.DType]
		if s == nil {
			s = &analyze.TypeSize{DType: t.DType}
			types[t.DType] = s
		}
		s.Parameters, s.Bytes = s.Parameters+n, s.Bytes+t.Bytes
		i.Parameters, i.Size.MemoryBytes = i.Parameters+n, i.Size.MemoryBytes+t.Bytes
	}
	i.Size.Parameters = i.Parameters
	for _, name := range slices.Sorted(maps.Keys(types)) {
		i.Size.ByType = append(i.Size.ByType, *types[name])
	}
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		i.Size.DiskBytes = info.Size()
	}
	return i
}

// TensorInfo describes a parameter tensor.
type TensorInfo struct {
	Name  string `json:"name"`
	DType string `json:"dtype"`
	Shape []int  `json:"shape"`
	Bytes int64  `json:"bytes"`
}

// Inspect describes the model from its headers; no weights are read.
func (m *Model) Inspect() Inspection {
	i := Inspection{
		File: m.m.Path, Format: m.m.Format, Producer: strings.TrimSpace(m.m.Producer + " " + m.m.ProducerVersion), Opset: m.m.Opset,
		Inputs: m.Inputs(), Outputs: m.Outputs(), Parameters: m.Parameters(), Size: analyze.SizeOf(m.m), Operators: map[string]int{}, Tensors: []TensorInfo{}, Metadata: m.m.Metadata,
	}
	countOps(m.m.Graph, i.Operators)
	eachParam(m.m.Graph, func(v *graph.Value) {
		s := v.Data.Shape()
		i.Tensors = append(i.Tensors, TensorInfo{v.Name, v.Data.DType().String(), append([]int{}, s...), int64(v.Data.DType().ByteLen(s.Len()))})
	})
	return i
}

// GraphText returns the graph in a readable form, one line per node.
func (m *Model) GraphText() string { return m.m.Graph.String() }

func countOps(g *graph.Graph, count map[string]int) {
	for _, n := range g.Nodes {
		count[n.Op.Kind()]++
		if b, ok := n.Op.(graph.Body); ok {
			for _, sub := range b.Bodies() {
				countOps(sub, count)
			}
		}
	}
}
