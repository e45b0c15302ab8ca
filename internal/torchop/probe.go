package torchop

import (
	"fmt"
	"math"
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// Hints are what is known of the inputs of a program by their names.
type Hints map[string]*hint

type hint struct {
	t     graph.Type
	weak  bool // there may be more dimensions, in front of the last one
	least int  // number of dimensions by the axes that were asked for
}

// Probe makes the builder note in h what operators say about inputs.
func (b *Builder) Probe(h Hints) { b.hints = h }

// Probing reports whether the builder only looks for the types of inputs.
func (b *Builder) Probing() bool { return b.hints != nil }

// Type returns the type of an input as far as it is known, with the element type float32 if nothing says otherwise.
func (h Hints) Type(name string) graph.Type {
	k := h[name]
	if k == nil {
		return graph.Unranked(tensor.Float32)
	}
	t := k.t
	t.Dims = slices.Clone(t.Dims)
	if t.DType == tensor.Invalid {
		t.DType = tensor.Float32
	}
	if !t.Ranked && k.least > 1 { // asked for by a program that says no more
		t.Ranked, t.Dims = true, namedDims(k.least)
	}
	for k.weak && len(t.Dims) > 0 && len(t.Dims) < k.least {
		t.Dims = slices.Insert(t.Dims, len(t.Dims)-1, graph.Named([]string{"tokens", "height", "width"}[max(0, min(len(t.Dims)-2, 2))]))
	}
	return t
}

// String describes the hints.
func (h Hints) String() string {
	var s []string
	for name := range h {
		s = append(s, fmt.Sprint(name, h.Type(name), h[name].least))
	}
	slices.Sort(s)
	return fmt.Sprint(s)
}

// namedDims are names for so many dimensions.
func namedDims(n int) []graph.Dim {
	switch n {
	case 2:
		return []graph.Dim{batchDim, graph.Named("features")}
	case 3:
		return []graph.Dim{batchDim, graph.Named("tokens"), graph.Named("features")}
	case 4, 5:
		return space(graph.Named("channels"), n-2)
	}
	d := []graph.Dim{batchDim}
	for i := 1; i < n; i++ {
		d = append(d, graph.Named(fmt.Sprint("dim", i)))
	}
	return d
}

// of returns the hint of an input that may change: of its type if nothing else is known.
func (h Hints) of(v *graph.Value) *hint {
	if v.Node != nil || v.Data != nil || v.Name == "missing" {
		return nil
	}
	k := h[v.Name]
	if k == nil {
		k = &hint{}
		h[v.Name] = k
	}
	return k
}

// rank notes that an input has so many dimensions.
func (b *Builder) rank(v *graph.Value, n int) {
	if b.hints == nil || n < 1 || n > 8 {
		return
	}
	if k := b.hints.of(v); k != nil && (!k.t.Ranked || k.weak && len(k.t.Dims) != n) {
		last := graph.Unknown
		if k.weak && len(k.t.Dims) > 0 {
			last = k.t.Dims[len(k.t.Dims)-1]
		}
		k.t.Ranked, k.t.Dims, k.weak = true, namedDims(n), false
		if last.IsKnown() {
			k.t.Dims[n-1] = last
		}
	}
}

// atLeast notes that an axis of an input was asked for.
func (b *Builder) atLeast(v *graph.Value, axis int) {
	if b.hints == nil || axis < 0 || axis > 7 {
		return
	}
	if k := b.hints.of(v); k != nil {
		k.least = max(k.least, axis+1)
	}
}

// expects says what operators take as their argument of a name: the element type, and the dimensions by the shape of the weight.
var expects = map[string]struct {
	arg, weight string
	d           tensor.DType
	dims        func(c *call, w tensor.Shape) []graph.Dim
}{
	"conv1d": {"input", "weight", tensor.Float32, imageDims}, "conv2d": {"input", "weight", tensor.Float32, imageDims}, "conv3d": {"input", "weight", tensor.Float32, imageDims},
	"_convolution": {"input", "weight", tensor.Float32, imageDims}, "convolution": {"input", "weight", tensor.Float32, imageDims}, "_convolution_mode": {"input", "weight", tensor.Float32, imageDims},
	"conv_transpose1d": {"input", "weight", tensor.Float32, transposedDims}, "conv_transpose2d": {"input", "weight", tensor.Float32, transposedDims},
	"conv_transpose3d": {"input", "weight", tensor.Float32, transposedDims},
	"linear":           {"input", "weight", tensor.Float32, func(_ *call, w tensor.Shape) []graph.Dim { return []graph.Dim{batchDim, graph.Known(w[len(w)-1])} }},
	"addmm":            {"mat1", "self", tensor.Float32, func(_ *call, _ tensor.Shape) []graph.Dim { return []graph.Dim{batchDim, graph.Named("features")} }},
	"embedding":        {"indices", "weight", tensor.Int64, func(_ *call, _ tensor.Shape) []graph.Dim { return []graph.Dim{batchDim, graph.Named("tokens")} }},
	"embedding_bag":    {"indices", "weight", tensor.Int64, func(_ *call, _ tensor.Shape) []graph.Dim { return []graph.Dim{batchDim, graph.Named("tokens")} }},
	"lstm":             {"input", "", tensor.Float32, sequenceDims}, "gru": {"input", "", tensor.Float32, sequenceDims},
	"rnn_tanh": {"input", "", tensor.Float32, sequenceDims}, "rnn_relu": {"input", "", tensor.Float32, sequenceDims},
	"lstm_cell": {"input", "w_ih", tensor.Float32, cellDims}, "gru_cell": {"input", "w_ih", tensor.Float32, cellDims},
	"rnn_tanh_cell": {"input", "w_ih", tensor.Float32, cellDims}, "rnn_relu_cell": {"input", "w_ih", tensor.Float32, cellDims},
	"_transformer_encoder_layer_fwd": {"src", "proj_weight", tensor.Float32, tokenDims},
	"_native_multi_head_attention":   {"query", "proj_weight", tensor.Float32, tokenDims},
	"layer_norm":                     {"input", "", tensor.Float32, layerDims},
	"batch_norm":                     {"input", "running_mean", tensor.Float32, normDims},
	"instance_norm":                  {"input", "weight", tensor.Float32, normDims},
	"group_norm":                     {"input", "weight", tensor.Float32, normDims},
	"max_pool1d":                     {"self", "", tensor.Float32, spaceDims(1)}, "avg_pool1d": {"self", "", tensor.Float32, spaceDims(1)},
	"max_pool2d": {"self", "", tensor.Float32, spaceDims(2)}, "avg_pool2d": {"self", "", tensor.Float32, spaceDims(2)},
	"max_pool3d": {"self", "", tensor.Float32, spaceDims(3)}, "avg_pool3d": {"self", "", tensor.Float32, spaceDims(3)},
	"adaptive_avg_pool1d": {"self", "", tensor.Float32, spaceDims(1)}, "adaptive_avg_pool2d": {"self", "", tensor.Float32, spaceDims(2)}, "adaptive_avg_pool3d": {"self", "", tensor.Float32, spaceDims(3)},
	"adaptive_max_pool1d": {"self", "", tensor.Float32, spaceDims(1)}, "adaptive_max_pool2d": {"self", "", tensor.Float32, spaceDims(2)}, "adaptive_max_pool3d": {"self", "", tensor.Float32, spaceDims(3)},
	"upsample_nearest2d": {"input", "", tensor.Float32, spaceDims(2)}, "upsample_bilinear2d": {"input", "", tensor.Float32, spaceDims(2)}, "upsample_bicubic2d": {"input", "", tensor.Float32, spaceDims(2)},
	"upsample_nearest1d": {"input", "", tensor.Float32, spaceDims(1)}, "upsample_linear1d": {"input", "", tensor.Float32, spaceDims(1)},
	"pixel_shuffle": {"self", "", tensor.Float32, spaceDims(2)}, "pixel_unshuffle": {"self", "", tensor.Float32, spaceDims(2)}, "channel_shuffle": {"self", "", tensor.Float32, spaceDims(2)},
	"prelu":       {"self", "weight", tensor.Float32, normDims},
	"permute":     {"self", "", tensor.Invalid, permutedDims},
	"masked_fill": {"mask", "", tensor.Bool, noDims}, "where": {"condition", "", tensor.Bool, noDims}, "gather": {"index", "", tensor.Int64, noDims},
	"index_select": {"index", "", tensor.Int64, noDims}, "one_hot": {"self", "", tensor.Int64, noDims}, "scatter": {"index", "", tensor.Int64, noDims},
	"logical_not": {"self", "", tensor.Bool, noDims},
}

// noDims is for operators that tell the element type alone.
func noDims(*call, tensor.Shape) []graph.Dim { return nil }

var batchDim = graph.Named("batch")

// axisNames are the names of axes of images.
var axisNames = []string{"depth", "height", "width"}

func space(channels graph.Dim, n int) []graph.Dim {
	d := []graph.Dim{batchDim, channels}
	if n == 1 {
		return append(d, graph.Named("length"))
	}
	for _, name := range axisNames[3-min(n, 3):] {
		d = append(d, graph.Named(name))
	}
	return d
}

func spaceDims(n int) func(*call, tensor.Shape) []graph.Dim {
	return func(*call, tensor.Shape) []graph.Dim { return space(graph.Named("channels"), n) }
}

func imageDims(c *call, w tensor.Shape) []graph.Dim {
	groups := 1
	if n, ok := c.args["groups"].(Int); ok {
		groups = int(n.c)
	}
	if c.args["transposed"] == true {
		return transposedDims(c, w)
	}
	return space(graph.Known(w[1]*max(groups, 1)), len(w)-2)
}

func transposedDims(_ *call, w tensor.Shape) []graph.Dim { return space(graph.Known(w[0]), len(w)-2) }

func sequenceDims(c *call, _ tensor.Shape) []graph.Dim {
	size := graph.Named("features")
	if items, ok := Items(c.args["params"]); ok && len(items) > 0 {
		if t, ok := items[0].(*Tensor); ok && t.source != nil && len(t.source.Shape()) == 2 {
			size = graph.Known(t.source.Shape()[1])
		}
	}
	if c.args["batch_first"] == true {
		return []graph.Dim{batchDim, graph.Named("steps"), size}
	}
	return []graph.Dim{graph.Named("steps"), batchDim, size}
}

func cellDims(_ *call, w tensor.Shape) []graph.Dim { return []graph.Dim{batchDim, graph.Known(w[1])} }

func tokenDims(_ *call, w tensor.Shape) []graph.Dim {
	return []graph.Dim{batchDim, graph.Named("tokens"), graph.Known(w[1])}
}

// layerDims has one dimension before those that are normalized, and the tokens of a sequence between them where there is one.
func layerDims(c *call, _ tensor.Shape) []graph.Dim {
	d := []graph.Dim{batchDim}
	items, _ := Items(c.args["normalized_shape"])
	for _, v := range items {
		n, ok := v.(Int)
		if !ok {
			return nil
		}
		d = append(d, graph.Known(int(n.c)))
	}
	return d
}

// normDims is for channels that lie second: the rank that modules of that kind most often see.
func normDims(c *call, w tensor.Shape) []graph.Dim { return space(graph.Known(w[0]), 2) }

func permutedDims(c *call, _ tensor.Shape) []graph.Dim {
	items, _ := Items(c.args["dims"])
	d := make([]graph.Dim, len(items))
	for i := range d {
		d[i] = graph.Named(fmt.Sprint("dim", i))
	}
	if len(d) > 0 {
		d[0] = batchDim
	}
	return d
}

// note looks for the input that an argument of an operator is made of, and keeps what the operator says about it.
func (c *call) note(name string) {
	if m, ok := c.args["mask"].(*Tensor); ok && name == "_transformer_encoder_layer_fwd" {
		c.trace(c.Of(m), tensor.Bool, nil, false)
	}
	e, ok := expects[name]
	if !ok {
		return
	}
	t, ok := c.args[e.arg].(*Tensor)
	if !ok {
		return
	}
	var w tensor.Shape
	if e.weight != "" {
		p, ok := c.args[e.weight].(*Tensor)
		if !ok || p.source == nil || len(p.source.Shape()) == 0 {
			return
		}
		w = p.source.Shape()
	}
	need := map[string]int{"linear": 2, "lstm_cell": 2, "gru_cell": 2, "rnn_tanh_cell": 2, "rnn_relu_cell": 2, "_transformer_encoder_layer_fwd": 2, "_native_multi_head_attention": 2}[name]
	if len(w) < need || slices.Contains([]string{"conv1d", "conv2d", "conv3d", "_convolution", "convolution", "_convolution_mode", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}, name) && len(w) < 3 {
		return
	}
	c.trace(c.Of(t), e.d, e.dims(c, w), slices.Contains(weakOps, name))
}

// learn keeps what is said of an input where less is known.
func (b *Builder) learn(v *graph.Value, d tensor.DType, dims []graph.Dim, weak bool) {
	k := b.hints.of(v)
	if k.t.DType == tensor.Invalid {
		k.t.DType = d
	}
	if dims == nil {
		return
	}
	if !k.t.Ranked {
		k.t.Ranked, k.t.Dims, k.weak = true, slices.Clone(dims), weak
		return
	}
	if weak && len(dims) > 0 && len(k.t.Dims) > 0 {
		dims = append(slices.Repeat([]graph.Dim{graph.Unknown}, max(len(k.t.Dims)-1, 0)), dims[len(dims)-1])
	}
	if len(dims) != len(k.t.Dims) {
		return
	}
	for i, n := range dims {
		if n.IsKnown() && !k.t.Dims[i].IsKnown() {
			k.t.Dims[i] = n
		}
	}
}

// weakOps take any number of dimensions before the last.
var weakOps = []string{"linear", "layer_norm", "addmm"}

// trace follows a value back to an input through operators that keep the dimensions, or move them in a known way.
func (b *Builder) trace(v *graph.Value, d tensor.DType, dims []graph.Dim, weak bool) {
	for range 1000 {
		if v == nil || v.Data != nil || v.Name == "missing" {
			return
		}
		if v.Node == nil {
			b.learn(v, d, dims, weak)
			return
		}
		n := v.Node
		switch n.Op.Kind() {
		case "Transpose":
			weak = false
			if dims == nil {
				break
			}
			t, _ := n.Op.(*op.Transpose)
			if t == nil {
				return
			}
			perm := t.Perm
			if len(perm) != len(dims) {
				return
			}
			out := make([]graph.Dim, len(dims))
			for i, a := range perm {
				out[a] = dims[i]
			}
			dims = out
		case "Unsqueeze":
			axes, ok := constant(n.In[1])
			if dims == nil || !ok {
				dims = nil
				break
			}
			out := slices.Clone(dims)
			list := slices.Clone(tensor.Data[int64](axes))
			slices.Sort(list)
			slices.Reverse(list)
			for _, a := range list {
				if a < 0 || int(a) >= len(out) {
					return
				}
				out = slices.Delete(out, int(a), int(a)+1)
			}
			dims = out
		case "Cast":
			d = tensor.Invalid
		case "Relu", "Sigmoid", "Tanh", "Clip", "Gelu", "Identity", "LeakyRelu", "Elu", "Neg", "Abs", "Exp", "Sqrt", "HardSwish", "HardSigmoid", "Softmax", "Log", "Erf":
		case "Add", "Sub", "Mul", "Div", "Max", "Min", "Pow":
			if n.In[0].Data != nil || n.In[0].Type.Ranked {
				v = n.In[1]
				continue
			}
		case "Reshape", "Flatten", "Squeeze", "Slice", "Expand", "Concat", "Gather", "Split", "Tile", "Pad":
			dims = nil
		default:
			return
		}
		v = n.In[0]
	}
}

// Truth returns whether a value counts as true; known is false where that is not known before a run.
func (b *Builder) Truth(v any) (truth, known bool) {
	switch v := v.(type) {
	case bool:
		return v, true
	case Int:
		k, ok := v.Const()
		return k != 0, ok
	case float64:
		return v != 0, true
	case nil:
		return false, true
	case *Tensor:
		if k, ok := constant(b.Of(v)); ok {
			f, ok := number(k)
			return f != 0, ok
		}
	}
	return false, false
}

// Convert is int, float or bool of a value.
func (b *Builder) Convert(to string, v any) (any, bool) {
	switch to {
	case "int":
		if f, ok := v.(float64); ok {
			if math.Abs(f) >= 1<<62 || math.IsNaN(f) {
				return nil, false
			}
			return N(int64(f)), true
		}
		return b.toInt(v)
	case "bool":
		if u, ok := v.(Undecided); ok {
			return u, true
		}
		truth, known := b.Truth(v)
		if !known {
			return Undecided(fmt.Sprint(TypeName(v))), true
		}
		return truth, true
	}
	if f, ok := realOf(v); ok {
		return f, true
	}
	if t, ok := v.(*Tensor); ok {
		if k, ok := constant(b.Of(t)); ok {
			return number(k)
		}
		return b.floating(t), true
	}
	if n, ok := v.(Int); ok { // a size as a float: a tensor of one number
		return Of(b.operand(n, tensor.Float32)), true
	}
	return nil, false
}

// floating is a tensor of one number as a float.
func (b *Builder) floating(t *Tensor) *Tensor { return Of(b.cast(b.Of(t), tensor.Float32)) }

// DTypeOf returns the number of the element type of a value.
func (b *Builder) DTypeOf(v any) (any, error) {
	d := valueType(v)
	if t, ok := v.(*Tensor); ok {
		d = b.typeOf(t).DType
	}
	code := TypeCode(d)
	if code == nil {
		return nil, fmt.Errorf("the element type %v", d)
	}
	return code, nil
}

// ValueOf returns a result as a value of the graph.
func (b *Builder) ValueOf(v any) *graph.Value {
	if t, ok := v.(*Tensor); ok {
		return b.Of(t)
	}
	return b.operand(v, valueType(v))
}
