package neuroquant

import (
	"strings"

	"github.com/neurotrain/neuroquant/internal/analyze"
	"github.com/neurotrain/neuroquant/internal/graph"
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
