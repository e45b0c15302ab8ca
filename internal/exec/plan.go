// Package exec runs graphs: it compiles a [graph.Graph] to a [Plan] (order, slots, lifetimes) and a [Session] runs the plan
// on inputs, with one observation point, the [Tap].
package exec

import (
	"fmt"
	"unsafe"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Plan is a graph made ready to run: every value has a slot, every step knows which slots die after it.
type Plan struct {
	graph  *graph.Graph
	slots  int
	params []param
	inputs []int // slot of each graph input
	output []int // slot of each graph output
	steps  []step
	subs   map[*graph.Graph]*Plan

	mostArgs int // inputs of a step
}

type param struct {
	slot int
	v    *graph.Value
}

type step struct {
	node *graph.Node
	in   []int // -1: omitted
	out  []int // -1: unused
	dies []int // slots read for the last time
}

// Compile orders a graph and assigns slots. Subgraphs are compiled with it.
func Compile(g *graph.Graph) (*Plan, error) {
	p := &Plan{graph: g, subs: map[*graph.Graph]*Plan{}}
	if err := p.compile(); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Plan) compile() error {
	g := p.graph
	slot := map[*graph.Value]int{}
	take := func(v *graph.Value) int {
		if s, ok := slot[v]; ok {
			return s
		}
		slot[v] = p.slots
		p.slots++
		return p.slots - 1
	}
	for _, v := range g.Inputs {
		p.inputs = append(p.inputs, take(v))
	}
	isInput := make([]bool, p.slots)
	for i := range isInput {
		isInput[i] = true
	}
	keep := map[int]bool{} // parameters and inputs are not released
	for _, v := range g.Inputs {
		keep[slot[v]] = true
	}
	use := func(v *graph.Value, where string) (int, error) {
		if v == nil {
			return -1, nil
		}
		s, known := slot[v]
		if known {
			return s, nil
		}
		if v.Data == nil {
			return 0, fmt.Errorf("%s: value %q is not computed before it is used", where, v.Name)
		}
		s = take(v)
		keep[s] = true
		p.params = append(p.params, param{s, v})
		return s, nil
	}
	last := map[int]int{}
	for i, n := range g.Nodes {
		st := step{node: n}
		for _, v := range n.In {
			s, err := use(v, fmt.Sprintf("node %q (%s)", n.Name, n.Op.Kind()))
			if err != nil {
				return err
			}
			st.in = append(st.in, s)
			if s >= 0 {
				last[s] = i
			}
		}
		for _, v := range n.Out {
			if v == nil {
				st.out = append(st.out, -1)
				continue
			}
			s := take(v)
			st.out = append(st.out, s)
			last[s] = max(last[s], i)
		}
		if b, ok := n.Op.(graph.Body); ok {
			for _, sub := range b.Bodies() {
				if p.subs[sub] != nil {
					continue
				}
				sp := &Plan{graph: sub, subs: p.subs}
				p.subs[sub] = sp
				if err := sp.compile(); err != nil {
					return fmt.Errorf("node %q (%s): %w", n.Name, n.Op.Kind(), err)
				}
			}
		}
		p.mostArgs = max(p.mostArgs, len(st.in))
		p.steps = append(p.steps, st)
	}
	for _, v := range g.Outputs {
		s, err := use(v, "graph output")
		if err != nil {
			return err
		}
		p.output = append(p.output, s)
		keep[s] = true
	}
	for s, i := range last {
		if !keep[s] {
			p.steps[i].dies = append(p.steps[i].dies, s)
		}
	}
	return nil
}

// weighs reports whether v only goes into products: no output of the graph can share its memory.
func (p *Plan) weighs(v *graph.Value, uses []*graph.Node) bool {
	for _, n := range uses {
		if k := n.Op.Kind(); k != "Conv" && k != "ConvTranspose" && k != "Gemm" && k != "MatMul" {
			return false
		}
	}
	return !p.graph.IsOutput(v)
}

// computed is a parameter that is computed when it is loaded, to where the caller wants it.
type computed interface {
	LoadInto(dst []float32) (*tensor.Tensor, error)
}

// load reads all parameters, subgraphs included. Mapped ones are not copied. Weights that are computed lie in the buffers that load
// appends to held.
func (p *Plan) load(into map[*Plan][]*tensor.Tensor, held *[]*buffer) error {
	ts := make([]*tensor.Tensor, len(p.params))
	uses := p.graph.Uses()
	for i, pr := range p.params {
		var t *tensor.Tensor
		var err error
		if c, ok := pr.v.Data.(computed); ok && p.weighs(pr.v, uses[pr.v]) {
			b := newBuffer(4 * max(pr.v.Data.Shape().Len(), 1))
			*held = append(*held, b)
			t, err = c.LoadInto(unsafe.Slice((*float32)(unsafe.Pointer(&b.data[0])), len(b.data)/4))
			tensor.Release(pr.v.Data)
		} else {
			t, err = pr.v.Data.Load()
		}
		if err != nil {
			return fmt.Errorf("parameter %q: %w", pr.v.Name, err)
		}
		ts[i] = t
	}
	into[p] = ts
	for _, sub := range p.subs {
		if _, done := into[sub]; done {
			continue
		}
		into[sub] = nil
		if err := sub.load(into, held); err != nil {
			return err
		}
	}
	return nil
}
