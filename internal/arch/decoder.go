package arch

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Decoder describes a decoder-only language model: embedding, blocks, normalization, head. Names are prefixes of tensors'
// names, whole ones for what is outside the blocks.
type Decoder struct {
	Vocab, Hidden, Layers int

	Base string // what all names but that of the head begin with; checkpoints of the model without a head leave it out

	Embedding     string // token embedding, [Vocab, EmbedSize]
	EmbedSize     int    // 0: Hidden
	In, Out       string // matrices from EmbedSize to Hidden after the embedding and back before the head; "" for none
	EmbedScale    float64
	EmbedNorm     *Norm
	Learned       string // learned positions, "" for none
	LearnedRows   int
	LearnedOffset int // the row of position 0

	Block func(layer int) Block
	Norm  *Norm // after the last block

	Head       Linear
	Tied       bool // the weight of the head is the embedding
	LogitScale float64
	LogitCap   float64 // logits are c*tanh(logits/c); 0: not

	Ignored []string // ends of names of tensors of no use
}

// Linear is a linear layer: its weight [out, in] is called Name.weight, its bias Name.bias.
type Linear struct {
	Name   string
	Bias   bool
	Conv1D bool // the weight is [in, out], as GPT-2 has it
}

// Norm is a normalization over the last dimension.
type Norm struct {
	Name    string
	Epsilon float64
	Mean    bool // layer normalization, which takes the mean off; else by the root mean square
	Bias    bool
	PlusOne bool // the weight is stored less one
	Plain   bool // no weight
}

// Block is one layer: attention and a feed-forward network, each with a path around it. Each of the six normalizations may be nil.
type Block struct {
	Name string

	BeforeAttention *Norm // of what the attention gets
	OfAttention     *Norm // of what it gives
	AfterAttention  *Norm // of the sum
	BeforeMLP       *Norm
	OfMLP           *Norm
	AfterMLP        *Norm

	// Parallel is x + attention(norm(x)) + mlp(norm(x)): one sum. Without BeforeMLP both have the same norm.
	Parallel bool
	// FromNorm makes the paths around attention and MLP begin behind their normalizations.
	FromNorm bool
	Residual float64 // what attention and MLP give is multiplied by; 0: 1

	Attention Attention
	MLP       Feed
}

// Feed is a feed-forward network of a block.
type Feed interface {
	record(n *net, x *graph.Value, path string, hidden int) *graph.Value
}

func (d *Decoder) about() (Info, string, []string) {
	return Info{Vocab: d.Vocab, Hidden: d.Hidden, Layers: d.Layers, Decoder: true}, d.Base, d.Ignored
}

// record builds the graph.
func (d *Decoder) record(n *net) {
	n.ids = n.Input(InputIDs, graph.Ranked(tensor.Int64, graph.Named("batch"), graph.Named("tokens")))
	n.recordPositions()
	size := d.EmbedSize
	if size == 0 {
		size = d.Hidden
	}
	table := n.matrix(d.Embedding+".weight", d.Vocab, size)
	if table == nil {
		return
	}
	var x *graph.Value
	n.at(d.Embedding, func() { x = n.scale(n.Embedding(table, n.ids), d.EmbedScale) })
	if d.In != "" {
		x = n.linear(x, "", Linear{Name: d.In}, size, d.Hidden)
	}
	if d.Learned != "" {
		rows := n.matrix(d.Learned+".weight", d.LearnedRows, d.Hidden)
		if rows == nil {
			return
		}
		n.at(d.Learned, func() {
			at := n.positions
			if d.LearnedOffset != 0 {
				at = n.Node("Add", nil, at, n.Int(d.LearnedOffset))
			}
			x = n.add(x, n.Embedding(rows, at))
		})
	}
	x = n.norm(x, "", d.EmbedNorm, d.Hidden)
	for i := range d.Layers {
		b := d.Block(i)
		if x = b.record(n, x, d.Hidden); x == nil {
			return
		}
	}
	x = n.norm(x, "", d.Norm, d.Hidden)
	if d.Out != "" {
		x = n.linear(x, "", Linear{Name: d.Out}, d.Hidden, size)
	}
	y := n.head(x, table, d, size)
	if y == nil {
		return
	}
	n.at("logits", func() {
		y = n.scale(y, d.LogitScale)
		if d.LogitCap > 0 {
			y = n.scale(n.Node("Tanh", nil, n.scale(y, 1/d.LogitCap)), d.LogitCap)
		}
	})
	n.Output(Logits, y)
}

// head computes the logits of what comes out of the last block.
func (n *net) head(x, table *graph.Value, d *Decoder, size int) *graph.Value {
	if !d.Tied {
		return n.linear(x, "", d.Head, size, d.Vocab)
	}
	n.used[d.Head.Name+".weight"] = true // some checkpoints have it twice
	var bias, y *graph.Value
	if d.Head.Bias {
		if bias = n.vector(d.Head.Name+".bias", false, d.Vocab); bias == nil {
			return nil
		}
	}
	if x != nil {
		n.at(d.Head.Name, func() {
			if y = n.Rows(x, table); bias != nil {
				y = n.Node("Add", nil, y, bias)
			}
		})
	}
	return y
}

// recordPositions computes the positions [batch, tokens] from the shape of the ids.
func (n *net) recordPositions() {
	n.positions = n.Add(Positions, expand(), n.Unsqueeze(n.row(), 0), n.Node("Shape", nil, n.ids))
}

// record adds a block.
func (b *Block) record(n *net, x *graph.Value, hidden int) *graph.Value {
	prefix := b.Name + "."
	in := n.norm(x, prefix, b.BeforeAttention, hidden)
	a := b.Attention.record(n, in, prefix, hidden)
	a = n.scale(n.norm(a, prefix, b.OfAttention, hidden), b.Residual)
	if b.FromNorm {
		x = in
	}
	if b.Parallel {
		if b.BeforeMLP != nil {
			in = n.norm(x, prefix, b.BeforeMLP, hidden)
		}
		m := b.MLP.record(n, in, prefix, hidden)
		m = n.scale(n.norm(m, prefix, b.OfMLP, hidden), b.Residual)
		return n.add(n.add(x, a), m)
	}
	x = n.norm(n.add(x, a), prefix, b.AfterAttention, hidden)
	in = n.norm(x, prefix, b.BeforeMLP, hidden)
	m := b.MLP.record(n, in, prefix, hidden)
	if b.FromNorm {
		x = in
	}
	m = n.scale(n.norm(m, prefix, b.OfMLP, hidden), b.Residual)
	return n.norm(n.add(x, m), prefix, b.AfterMLP, hidden)
}

// MLP is Down(activation(Gate(x)) * Up(x)), or without a gate Down(activation(Up(x))). With Fused, Up holds the rows of the gate
// and then those of up.
type MLP struct {
	Gate, Up, Down Linear
	Fused          bool
	Activation     string // as hidden_act names it
	Inner          int
}

func (m *MLP) record(n *net, x *graph.Value, prefix string, hidden int) *graph.Value {
	var gate, up *graph.Value
	switch {
	case m.Fused:
		both := n.linear(x, prefix, m.Up, hidden, 2*m.Inner)
		if both == nil {
			return nil
		}
		n.at(prefix+m.Up.Name, func() {
			parts := n.Split(both, []int{m.Inner, m.Inner}, -1)
			gate, up = parts[0], parts[1]
		})
	case m.Gate.Name != "":
		gate = n.linear(x, prefix, m.Gate, hidden, m.Inner)
		up = n.linear(x, prefix, m.Up, hidden, m.Inner)
	default:
		gate = n.linear(x, prefix, m.Up, hidden, m.Inner)
	}
	if gate == nil {
		return nil
	}
	var y *graph.Value
	n.at(prefix+"mlp.act_fn", func() {
		if y = n.activation(gate, m.Activation); up != nil {
			y = n.Node("Mul", nil, y, up)
		}
	})
	return n.linear(y, prefix, m.Down, m.Inner, hidden)
}

// activations are those that hidden_act may name.
var activations = map[string]func(b *aten.Builder, x *graph.Value) *graph.Value{
	"silu": (*aten.Builder).Silu, "swish": (*aten.Builder).Silu, "relu": (*aten.Builder).Relu,
	"tanh":              func(b *aten.Builder, x *graph.Value) *graph.Value { return b.Node("Tanh", nil, x) },
	"gelu":              func(b *aten.Builder, x *graph.Value) *graph.Value { return b.Gelu(x, "none") },
	"gelu_new":          func(b *aten.Builder, x *graph.Value) *graph.Value { return b.Gelu(x, "tanh") },
	"gelu_fast":         func(b *aten.Builder, x *graph.Value) *graph.Value { return b.Gelu(x, "tanh") },
	"gelu_pytorch_tanh": func(b *aten.Builder, x *graph.Value) *graph.Value { return b.Gelu(x, "tanh") },
	"relu2": func(b *aten.Builder, x *graph.Value) *graph.Value {
		r := b.Relu(x)
		return b.Node("Mul", nil, r, r)
	},
}

func (n *net) activation(x *graph.Value, name string) *graph.Value {
	f := activations[name]
	if f == nil {
		return n.Fail("unknown activation %q", name)
	}
	return f(n.Builder, x)
}

// Activation reads the name of an activation.
func (c *Config) Activation(key, def string) string {
	name := c.Text(key, def)
	if activations[name] == nil {
		var known []string
		for k := range activations {
			known = append(known, k)
		}
		c.Errorf(key, "unknown activation %q; known are %s", name, sorted(known))
		return def
	}
	return name
}

// layer is the name of a layer.
func layer(prefix string, i int) string { return fmt.Sprintf("%s%d", prefix, i) }
