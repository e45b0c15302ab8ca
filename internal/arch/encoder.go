package arch

import (
	"math"
	"slices"

	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Encoder describes a model that sees all of its input at once: what it makes vectors of, blocks as decoders have them, and heads, each of
// which computes outputs. Names are as in [Decoder].
type Encoder struct {
	Hidden, Layers int

	Base string // what all names but those of the heads begin with; checkpoints of the bare model leave it out

	Input Embedder
	Block func(layer int) Block
	Norm  *Norm // after the last block
	Heads []Head

	Ignored []string // ends of names of tensors of no use, such as those of other heads
}

// Embedder makes the vectors [batch, tokens, hidden] that blocks begin with.
type Embedder interface {
	embed(n *net, hidden int) *graph.Value
	about(i *Info)
}

// Head is what becomes of the vectors that the last block gives [batch, tokens, hidden], or of one vector of each text [batch, hidden].
type Head struct {
	Of      Summary
	Dense   []Dense
	Outputs []string
	// Columns makes each column of what the last layer gives an output of its own, without the last dimension.
	Columns bool
	// Choices makes inputs [batch, choices, tokens], a text for every choice; the output is then [batch, choices].
	Choices bool
	// Optional is whether there are checkpoints without the weights, which lack the outputs.
	Optional bool
}

// Summary is what of the vectors of a text a head is computed from.
type Summary string

// What heads are computed from. Padding counts as a token.
const (
	AllTokens  Summary = ""
	FirstToken Summary = "first"
	LastToken  Summary = "last"
	MeanToken  Summary = "mean"
)

// Dense is a linear layer, then an activation, then a normalization. Without a size it gives as many elements as it gets.
type Dense struct {
	Linear
	Size       int
	Activation string // "" for none
	Norm       *Norm
	// Tied is whether the weight may be that of the embedding of words. The bias of such a layer has the name Bias, or that which the layer gives it.
	Tied     bool
	BiasName string
}

func (e *Encoder) about() (Info, string, []string) {
	i := Info{Hidden: e.Hidden, Layers: e.Layers}
	e.Input.about(&i)
	return i, e.Base, e.Ignored
}

func (e *Encoder) record(n *net) {
	n.choices = slices.ContainsFunc(e.Heads, func(h Head) bool { return h.Choices })
	x := e.Input.embed(n, e.Hidden)
	for i := range e.Layers {
		b := e.Block(i)
		if x == nil {
			return
		}
		x = b.record(n, x, e.Hidden)
	}
	if x = n.norm(x, "", e.Norm, e.Hidden); x == nil {
		return
	}
	for i := range e.Heads {
		e.Heads[i].record(n, x, e.Hidden)
	}
}

func (h *Head) record(n *net, x *graph.Value, size int) {
	if h.Optional && len(h.Dense) > 0 && n.w.Tensor(n.name(h.Dense[0].Name+".weight")) == nil {
		return
	}
	switch h.Of {
	case FirstToken:
		x = n.Select(x, 1, 0)
	case LastToken:
		x = n.Select(x, 1, -1)
	case MeanToken:
		x = n.Mean(x, false, 1)
	}
	for _, d := range h.Dense {
		if d.Size == 0 {
			d.Size = size
		}
		if x = d.record(n, x, size); x == nil {
			return
		}
		size = d.Size
	}
	if h.Choices {
		x = n.ReshapeTo(x, n.Ints(-1), n.count)
	}
	if !h.Columns {
		n.Output(h.Outputs[0], x)
		return
	}
	for i, name := range h.Outputs {
		n.Output(name, n.Select(x, -1, i))
	}
}

func (d *Dense) record(n *net, x *graph.Value, in int) *graph.Value {
	if d.Tied {
		x = d.tied(n, x)
	} else {
		l := d.Linear
		l.Bias = true
		x = n.linear(x, "", l, in, d.Size)
	}
	if x == nil {
		return nil
	}
	if d.Activation != "" {
		n.at(d.Name, func() { x = n.activation(x, d.Activation) })
	}
	return n.norm(x, "", d.Norm, d.Size)
}

// tied multiplies by the embedding of words, whose matrix the checkpoint may have again under the layer's name.
func (d *Dense) tied(n *net, x *graph.Value) *graph.Value {
	n.used[d.Name+".weight"] = true
	for _, name := range []string{d.BiasName, d.Name + ".bias"} {
		n.used[name] = true
	}
	name := d.BiasName
	if n.w.Tensor(name) == nil {
		name = d.Name + ".bias"
	}
	bias := n.vector(name, false, d.Size)
	if bias == nil {
		return nil
	}
	var y *graph.Value
	n.at(d.Name, func() { y = n.Node("Add", nil, n.Rows(x, n.words), bias) })
	return y
}

// Text embeds ids of tokens: the sum of the embeddings of words, positions and types, normalized.
type Text struct {
	Prefix      string // of all names
	Vocab, Rows int    // of the embeddings of words and positions
	Types       int    // rows of the embedding of types; 0: none
	Size        int    // of the embeddings; 0: that of the blocks
	Norm        Norm
	Project     string // linear layer from Size to that of the blocks, where they differ
	// Pad makes positions count the tokens that are not this one, from the row behind it: [Pad+1, Pad+2, ...]; a token Pad is at Pad.
	Pad *int
	// Distances is the embedding of distances between tokens, [rows, heads], added to the scores of attention.
	Distances     string
	DistanceRows  int
	DistanceHeads int
}

func (t *Text) about(i *Info) { i.Vocab = t.Vocab }

func (t *Text) embed(n *net, hidden int) *graph.Value {
	dims := []graph.Dim{graph.Named("batch"), graph.Named("tokens")}
	if n.choices {
		dims = slices.Insert(dims, 1, graph.Named("choices"))
	}
	input := func(name string) *graph.Value {
		v := n.Input(name, graph.Ranked(tensor.Int64, dims...))
		if n.choices {
			n.count = n.Size(v, 1)
			v = n.Flatten(v, 0, 1) // every choice is a text of the batch
		}
		return v
	}
	n.ids = input(InputIDs)
	mask := input(AttentionMask)
	size := t.Size
	if size == 0 {
		size = hidden
	}
	types := (*graph.Value)(nil)
	if t.Types > 1 {
		types = input(TokenTypes)
	} else if t.Types == 1 {
		types = n.Int(0)
	}
	table := func(name string, rows int) *graph.Value { return n.matrix(t.Prefix+name+".weight", rows, size) }
	n.words = table("word_embeddings", t.Vocab)
	positions := table("position_embeddings", t.Rows)
	if n.words == nil || positions == nil {
		return nil
	}
	var x *graph.Value
	n.at(t.Prefix+"word_embeddings", func() { x = n.Embedding(n.words, n.ids) })
	if types != nil {
		kinds := table("token_type_embeddings", t.Types)
		if kinds == nil {
			return nil
		}
		n.at(t.Prefix+"token_type_embeddings", func() { x = n.add(x, n.Embedding(kinds, types)) })
	}
	n.at(t.Prefix+"position_embeddings", func() { x = n.add(x, n.Embedding(positions, t.positions(n))) })
	x = n.norm(x, t.Prefix, &t.Norm, size)
	if size != hidden {
		x = n.linear(x, "", Linear{Name: t.Project, Bias: true}, size, hidden)
	}
	n.at("mask", func() {
		// What is not seen gets the lowest number, not minus infinity: of a row of padding alone, all scores are the same.
		seen := n.Unsqueeze(n.Node("Cast", aten.Attrs{"to": int(tensor.Bool)}, mask), 1, 2)
		n.mask = n.Node("Where", nil, seen, n.NumberOf(tensor.Float32, 0), n.NumberOf(tensor.Float32, -math.MaxFloat32))
	})
	if t.Distances != "" && !t.distances(n) {
		return nil
	}
	return x
}

// row counts the tokens: [tokens].
func (n *net) row() *graph.Value {
	return n.Node("Range", nil, n.Int(0), n.Squeeze(n.Size(n.ids, 1), 0), n.Int(1))
}

// positions are rows of the embedding of positions, [tokens] or [batch, tokens].
func (t *Text) positions(n *net) *graph.Value {
	if t.Pad == nil {
		return n.row()
	}
	pad := n.Int(*t.Pad)
	is := n.Node("Cast", aten.Attrs{"to": int(tensor.Int64)}, n.Node("Not", nil, n.Node("Equal", nil, n.ids, pad)))
	return n.Node("Add", nil, n.Node("Mul", nil, n.Node("CumSum", nil, is, n.Int(1)), is), pad)
}

// distances adds the embedding of the distance between query and key to what is added to their score.
func (t *Text) distances(n *net) bool {
	table := n.matrix(t.Distances+".weight", t.DistanceRows, t.DistanceHeads)
	if table == nil {
		return false
	}
	n.at(t.Distances, func() {
		buckets := make([]int64, 2*t.Rows-1)
		for i := range buckets {
			buckets[i] = int64(bucket(i - (t.Rows - 1)))
		}
		row := n.row()
		distance := n.Node("Sub", nil, n.Unsqueeze(row, 0), n.Unsqueeze(row, 1)) // [queries, keys]
		at := n.Embedding(n.Param("buckets", tensor.Vector(buckets...)), n.Node("Add", nil, distance, n.Int(t.Rows-1)))
		bias := n.Unsqueeze(n.Permute(n.Embedding(table, at), 2, 0, 1), 0)
		n.mask = n.Node("Add", nil, n.mask, bias)
	})
	return true
}

// Buckets of distances: as many for tokens behind as for those before; half of those are for one distance each, the others for distances that grow
// up to the farthest (Raffel et al., arXiv:1910.10683).
const (
	distanceBuckets = 32
	farthest        = 128
)

// bucket returns that of a key's position less the query's. It is computed in float32, as the models' training did.
func bucket(distance int) int {
	const half, exact = distanceBuckets / 2, distanceBuckets / 4
	first := 0
	if distance > 0 {
		first = half
	} else {
		distance = -distance
	}
	if distance < exact {
		return first + distance
	}
	log := float32(math.Log(float64(float32(distance) / exact)))
	log = log / float32(math.Log(float64(farthest)/exact)) * (half - exact)
	return first + min(exact+int(log), half-1)
}

// Image embeds the patches of an image, with a token of its own before them.
type Image struct {
	Prefix         string
	Channels       int
	Height, Width  int // of the image
	PatchH, PatchW int
}

func (p *Image) about(*Info) {}

func (p *Image) embed(n *net, hidden int) *graph.Value {
	pixels := n.Input(PixelValues, graph.Ranked(tensor.Float32, graph.Named("batch"), graph.Known(p.Channels), graph.Known(p.Height), graph.Known(p.Width)))
	patches := (p.Height / p.PatchH) * (p.Width / p.PatchW)
	name := p.Prefix + "patch_embeddings.projection"
	kernel, bias := n.vector(name+".weight", false, hidden, p.Channels, p.PatchH, p.PatchW), n.vector(name+".bias", false, hidden)
	token := n.vector(p.Prefix+"cls_token", false, 1, 1, hidden)
	positions := n.vector(p.Prefix+"position_embeddings", false, 1, patches+1, hidden)
	if kernel == nil || bias == nil || token == nil || positions == nil {
		return nil
	}
	var x *graph.Value
	n.at(name, func() {
		x = n.Conv(pixels, kernel, bias, aten.Conv{Stride: []int{p.PatchH, p.PatchW}}) // [batch, hidden, rows, cols]
		x = n.Permute(n.Flatten(x, 2, -1), 0, 2, 1)
	})
	n.at(p.Prefix+"position_embeddings", func() {
		token = n.Add("expand", expand(), token, n.Concat(0, n.Size(x, 0), n.Ints(1, 1)))
		x = n.add(n.Concat(1, token, x), positions)
	})
	return x
}
