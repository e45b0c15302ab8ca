package pass

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/neurotrain/neuroquant/internal/codec/mmap"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// fuser finds chains of nodes that one lowered operator computes. A chain grows forward from its first node as long as each
// value in it has one reader; the fused node stands where the chain's last node stood, so its inputs are computed before it.
type fuser struct {
	g    *graph.Graph
	uses map[*graph.Value][]*graph.Node
	gone map[*graph.Node]bool          // swallowed by a fused node
	at   map[*graph.Node][]*graph.Node // fused nodes by the node whose place they take
	err  error

	// For passing. It lies outside of the Go heap, which would keep room for it beside that for the values of a run.
	scratch     []float32
	freeScratch func() error
}

func newFuser(g *graph.Graph) *fuser {
	return &fuser{g: g, uses: g.Uses(), gone: map[*graph.Node]bool{}, at: map[*graph.Node][]*graph.Node{}}
}

// finish puts the fused nodes into the graph.
func (f *fuser) finish() error {
	if f.err != nil {
		return f.err
	}
	var nodes []*graph.Node
	for _, n := range f.g.Nodes {
		if r, ok := f.at[n]; ok {
			nodes = append(nodes, r...)
		} else if !f.gone[n] {
			nodes = append(nodes, n)
		}
	}
	f.g.Nodes = nodes
	return nil
}

// replace makes one node of the chain's nodes: it computes the last one's first output.
func (f *fuser) replace(chain []*graph.Node, o graph.Op, in ...*graph.Value) {
	last := chain[len(chain)-1]
	for _, n := range chain {
		f.gone[n] = true
	}
	out := last.Out[0]
	node := &graph.Node{Name: chain[0].Name, Op: o, In: in, Out: []*graph.Value{out}}
	out.Node = node
	f.at[last] = []*graph.Node{node}
}

// letGo says that an operator holds a copy of a parameter in a form of its own.
func letGo(v *graph.Value) {
	if v != nil && v.Data != nil {
		tensor.Release(v.Data)
	}
}

// next returns the only reader of a node's only output, or nil if there is another or the output leaves the graph.
func (f *fuser) next(n *graph.Node) *graph.Node {
	v := n.Out[0]
	for _, o := range n.Out[1:] {
		if o != nil {
			return nil
		}
	}
	if len(f.uses[v]) != 1 || f.g.IsOutput(v) {
		return nil
	}
	m := f.uses[v][0]
	if f.gone[m] {
		return nil
	}
	if _, body := m.Op.(graph.Body); body {
		return nil
	}
	return m
}

// constant returns a parameter's tensor, or nil. Failure to load sticks.
func (f *fuser) constant(v *graph.Value) *tensor.Tensor {
	t, err := f.g.Constant(v)
	if err != nil && f.err == nil {
		f.err = err
	}
	return t
}

// passing is constant for a weight that is packed at once: the tensor is valid until the next call.
func (f *fuser) passing(v *graph.Value) *tensor.Tensor {
	s, ok := v.Data.(*scaledWeight)
	if !ok || !f.g.IsParam(v) {
		return f.constant(v)
	}
	if n := s.Shape().Len(); n > len(f.scratch) {
		f.close()
		if b, free, err := mmap.Anonymous(4 * n); err == nil {
			f.scratch, f.freeScratch = unsafe.Slice((*float32)(unsafe.Pointer(&b[0])), n), free
		}
	}
	t, err := s.LoadInto(f.scratch)
	if err != nil {
		f.err = errors.Join(f.err, fmt.Errorf("parameter %q: %w", v.Name, err))
		return nil
	}
	return t
}

// close ends the use of what passing returned.
func (f *fuser) close() {
	if f.freeScratch != nil {
		_ = f.freeScratch()
	}
	f.scratch, f.freeScratch = nil, nil
}

// other returns the operand of a two-operand node that is not v.
func other(n *graph.Node, v *graph.Value) *graph.Value {
	if len(n.In) != 2 || n.In[0] == n.In[1] {
		return nil
	}
	if n.In[0] == v {
		return n.In[1]
	}
	return n.In[0]
}

// activation returns the activation that n computes on its first input.
func (f *fuser) activation(n *graph.Node, v *graph.Value) (op.Activation, bool) {
	if n == nil || len(n.In) == 0 || n.In[0] != v || v.Type.DType != tensor.Float32 {
		return op.Activation{}, false
	}
	consts := make([]*tensor.Tensor, len(n.In))
	for i, x := range n.In[1:] {
		consts[i+1] = f.constant(x)
	}
	return op.NewActivation(n.Op, consts, func(i int) bool { return i < len(n.In) && n.In[i] != nil })
}

// tail extends a chain, whose last node computes a float32 value, by what a fused operator can do at its end: the Add of a
// constant bias that channels says is one value per channel, the Add of another value (of the given rank, unless that is 0), an
// activation.
func (f *fuser) tail(chain []*graph.Node, bias *tensor.Tensor, channels func(*tensor.Tensor) *tensor.Tensor, rank int) ([]*graph.Node, *tensor.Tensor, *graph.Value, op.Activation) {
	var residual *graph.Value
	last := chain[len(chain)-1]
	n := f.next(last)
	if n != nil && n.Op.Kind() == "Add" && bias == nil {
		if c := f.constant(other(n, last.Out[0])); c != nil && c.DType == tensor.Float32 {
			if b := channels(c); b != nil {
				bias = b
				chain, last = append(chain, n), n
				n = f.next(last)
			}
		}
	}
	if n != nil && n.Op.Kind() == "Add" {
		if o := other(n, last.Out[0]); o != nil && !f.g.IsParam(o) && o.Type.DType == tensor.Float32 && last.Out[0].Type.DType == tensor.Float32 &&
			(rank == 0 || len(o.Type.Dims) == rank) {
			residual = o
			chain, last = append(chain, n), n
			n = f.next(last)
		}
	}
	a, ok := f.activation(n, last.Out[0])
	if ok {
		chain = append(chain, n)
	}
	return chain, bias, residual, a
}

// rowBias returns a bias for the last dimension of n columns: one value, or a row.
func rowBias(n int) func(*tensor.Tensor) *tensor.Tensor {
	return func(t *tensor.Tensor) *tensor.Tensor {
		if t.Len() == 1 && len(t.Shape) <= 1 {
			return t.Reshape(1)
		}
		if len(t.Shape) == 0 || t.Len() != n || t.Shape[len(t.Shape)-1] != n || len(t.Shape) > 2 {
			return nil
		}
		return t.Reshape(n)
	}
}

// channelBias returns a bias for the second of 2+spatial dimensions: [channels, 1...] with or without a leading one.
func channelBias(channels, spatial int) func(*tensor.Tensor) *tensor.Tensor {
	return func(t *tensor.Tensor) *tensor.Tensor {
		at := len(t.Shape) - spatial - 1
		if at < 0 || at > 1 || t.Len() != channels || t.Shape[at] != channels {
			return nil
		}
		return t.Reshape(channels)
	}
}
