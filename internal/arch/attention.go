package arch

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/graph"
)

// Attention is the attention of a block.
type Attention struct {
	Heads, KVHeads, Size int // Size of a head

	Q, K, V Linear
	Fused   Linear // in place of the three
	Layout  Layout // of the rows of Fused
	Out     Linear

	QNorm, KNorm *Norm
	Norms        Norms // what QNorm and KNorm are of

	Rope          *Rope   // nil: none
	Scale         float64 // 0: 1/sqrt(Size)
	Softcap       float64
	Window        int       // keys that a query sees, its own included; 0: all
	Bidirectional bool      // a query sees the keys behind it too: all that the mask of the model leaves
	Slopes        []float64 // by head: of a penalty on distance (ALiBi); nil: none
}

// Layout is the order of the rows of a matrix that gives queries, keys and values at once.
type Layout int

// Layouts of fused matrices.
const (
	Stacked Layout = iota // all queries, all keys, all values
	ByHead                // for each head its query, key and value
	ByGroup               // for each head of keys its queries, key and value
)

// Norms says what normalizations of queries and keys are of.
type Norms int

// What queries and keys may be normalized as.
const (
	HeadsAlike    Norms = iota // each head by itself, all with the same weight [size]
	HeadsTogether              // all heads as one vector
	HeadsApart                 // each head by itself with its own row of the weight [heads, size]
	HeadsListed                // each head by itself with a weight of its own: NAME.norms.HEAD.weight
)

func (a *Attention) record(n *net, x *graph.Value, prefix string, hidden int) *graph.Value {
	q, k, v := a.inputs(n, x, prefix, hidden)
	if q == nil || k == nil || v == nil {
		return nil
	}
	q, k = a.norm(n, q, prefix, a.QNorm, a.Heads), a.norm(n, k, prefix, a.KNorm, a.KVHeads)
	if q == nil || k == nil {
		return nil
	}
	var y *graph.Value
	name := a.Out.Name
	if r := a.Rope; r != nil {
		cos, sin := n.tables(r)
		n.at(prefix+"rotary", func() {
			rotated := r.Rotated
			if rotated == a.Size {
				rotated = 0
			}
			q, k = n.Rotary(q, cos, sin, a.Heads, rotated, r.Interleaved), n.Rotary(k, cos, sin, a.KVHeads, rotated, r.Interleaved)
		})
	}
	n.at(prefix+"attention", func() {
		if a.Bidirectional {
			y = n.FullAttention(q, k, v, n.mask, a.Heads, a.Size)
			return
		}
		y = n.Attention(q, k, v, n.penalty(a.Slopes), aten.GroupedAttention{
			Heads: a.Heads, KVHeads: a.KVHeads, Causal: true, Scale: a.Scale, Softcap: a.Softcap, Window: a.Window,
		})
	})
	return n.linear(y, prefix, Linear{name, a.Out.Bias, a.Out.Conv1D}, a.Heads*a.Size, hidden)
}

// inputs are queries, keys and values [batch, tokens, heads*size].
func (a *Attention) inputs(n *net, x *graph.Value, prefix string, hidden int) (q, k, v *graph.Value) {
	qs, ks := a.Heads*a.Size, a.KVHeads*a.Size
	if a.Fused.Name == "" {
		return n.linear(x, prefix, a.Q, hidden, qs), n.linear(x, prefix, a.K, hidden, ks), n.linear(x, prefix, a.V, hidden, ks)
	}
	all := n.linear(x, prefix, a.Fused, hidden, qs+2*ks)
	if all == nil {
		return nil, nil, nil
	}
	n.at(prefix+a.Fused.Name, func() {
		if a.Layout == Stacked {
			p := n.Split(all, []int{qs, ks, ks}, -1)
			q, k, v = p[0], p[1], p[2]
			return
		}
		groups, queries := a.KVHeads, a.Heads/a.KVHeads
		if a.Layout == ByHead && queries != 1 {
			n.Errorf("%d heads of queries and %d of keys in a matrix by head", a.Heads, a.KVHeads)
			return
		}
		p := n.Split(n.Node("Reshape", nil, all, n.Ints(0, 0, groups, (queries+2)*a.Size)), []int{queries * a.Size, a.Size, a.Size}, -1)
		flat := func(x *graph.Value, size int) *graph.Value { return n.Node("Reshape", nil, x, n.Ints(0, 0, size)) }
		q, k, v = flat(p[0], qs), flat(p[1], ks), flat(p[2], ks)
	})
	return q, k, v
}

// norm normalizes queries or keys [batch, tokens, heads*size].
func (a *Attention) norm(n *net, x *graph.Value, prefix string, p *Norm, heads int) *graph.Value {
	if p == nil || a.Norms == HeadsTogether {
		return n.norm(x, prefix, p, heads*a.Size)
	}
	path := prefix + p.Name
	var y, weight *graph.Value
	n.at(path, func() { y = n.Node("Reshape", nil, x, n.Ints(0, 0, heads, a.Size)) })
	own := *p
	switch a.Norms {
	case HeadsApart:
		own.Plain, weight = true, n.vector(path+".weight", p.PlusOne, heads, a.Size)
	case HeadsListed:
		own.Plain, weight = true, n.listed(path+".norms", heads, a.Size)
	}
	if y = n.norm(y, prefix, &own, a.Size); y == nil || own.Plain && weight == nil {
		return nil
	}
	n.at(path, func() {
		if weight != nil {
			y = n.Node("Mul", nil, y, weight)
		}
		y = n.Node("Reshape", nil, y, n.Ints(0, 0, heads*a.Size))
	})
	return y
}

// listed joins the weights [size] of a list of normalizations to [count, size].
func (n *net) listed(path string, count, size int) *graph.Value {
	var rows []*graph.Value
	for i := range count {
		w := n.vector(fmt.Sprintf("%s.%d.weight", path, i), false, size)
		if w == nil {
			return nil
		}
		rows = append(rows, w)
	}
	var y *graph.Value
	n.at(path, func() {
		y = n.Node("Reshape", nil, n.Node("Concat", map[string]any{"axis": 0}, rows...), n.Ints(count, size))
	})
	return y
}
