package torchnn

import (
	"fmt"
	"strings"

	"github.com/neurotrain/neuroquant/internal/checkpoint"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Names of the input and the outputs of the graphs of this package.
const (
	InputName  = "input"
	OutputName = "output"
)

// Finish declares the results of the network as outputs and returns its graph.
func (n *Net) Finish(out []*graph.Value, names ...string) (*graph.Graph, error) {
	for i, v := range out {
		if v.Node == nil && v.Name != "missing" { // an input or a parameter keeps its own name
			v = n.Node("Identity", nil, v)
		}
		n.Output(names[i], v)
	}
	return n.Graph()
}

// Build records the network of a whole module. Given returns the dimensions of an input, nil where they are as the first layers
// say; without it all are.
func (l *Layer) Build(given func(name string) []graph.Dim) (*graph.Graph, error) {
	if given == nil {
		given = func(string) []graph.Dim { return nil }
	}
	class, _ := strings.CutPrefix(l.Module.Class, nnModules)
	s, ok := severalInputs[class]
	if !ok {
		s.forward = func(l *Layer, in []*graph.Value) []*graph.Value { return []*graph.Value{l.Apply(in[0])} }
	}
	inputs, outputs := s.inputs, s.outputs
	if inputs == nil {
		inputs = []string{InputName}
	}
	if outputs == nil {
		outputs = []string{OutputName}
	}
	t, err := InputType(l.Module)
	if d := given(inputs[0]); d != nil {
		if err != nil {
			t.DType = tensor.Float32
		}
		t.Ranked, t.Dims = true, d
	} else if err != nil {
		return nil, err
	}
	var in []*graph.Value
	for i, name := range inputs {
		ti := t
		switch d := given(name); {
		case d != nil:
			ti.Ranked, ti.Dims = true, d
		case i > 0 && s.dims != nil && ti.Ranked:
			ti.Dims = s.dims(l, i, t.Dims)
		}
		in = append(in, l.Input(name, ti))
	}
	return l.Finish(s.forward(l, in), outputs...)
}

// Common dimensions of inputs.
var (
	batch  = graph.Named("batch")
	tokens = graph.Named("tokens")
	sides  = []graph.Dim{graph.Named("depth"), graph.Named("height"), graph.Named("width")}
)

// images returns the dimensions of channels over n axes; 0 channels are not known.
func images(channels, n int) []graph.Dim {
	c := graph.Named("channels")
	if channels > 0 {
		c = graph.Known(channels)
	}
	d := append([]graph.Dim{batch, c}, sides[3-n:]...)
	if n == 1 {
		d[2].Name = "length"
	}
	return d
}

// InputType tells the input of a module by the first of its layers, in the order of declaration, whose weights or kind say
// something about it.
func InputType(m *checkpoint.Module) (graph.Type, error) {
	var first *checkpoint.Module
	var t graph.Type
	seen := map[*checkpoint.Module]bool{}
	var walk func(m *checkpoint.Module) bool
	walk = func(m *checkpoint.Module) bool {
		if m == nil || seen[m] {
			return false
		}
		seen[m] = true
		if d, dims := inputOf(m); dims != nil {
			first, t = m, graph.Ranked(d, dims...)
			return true
		}
		for _, c := range m.Children {
			if walk(c.Module) {
				return true
			}
		}
		return false
	}
	if walk(m); first == nil {
		return t, fmt.Errorf("none of the layers of %s says what its input is; give its shape", m.Class)
	}
	return t, nil
}

// inputOf returns what a layer takes, nil where it takes anything.
func inputOf(m *checkpoint.Module) (tensor.DType, []graph.Dim) {
	l := &Layer{Net: newNet("", nil), Module: m} // for its attribute readers; errors are reported when it is built
	name, isNN := strings.CutPrefix(m.Class, nnModules)
	if !isNN {
		return 0, nil
	}
	last := name[len(name)-2:]
	axes := map[string]int{"1d": 1, "2d": 2, "3d": 3}[last]
	attr := func(name string) graph.Dim {
		if n := l.Int(name, 0); n > 0 {
			return graph.Known(n)
		}
		return graph.Unknown
	}
	switch name {
	case "linear.Linear", "linear.NonDynamicallyQuantizableLinear":
		return tensor.Float32, []graph.Dim{batch, attr("in_features")}
	case "linear.Bilinear":
		return tensor.Float32, []graph.Dim{batch, attr("in1_features")}
	case "sparse.Embedding", "sparse.EmbeddingBag":
		return tensor.Int64, []graph.Dim{batch, tokens}
	case "conv.Conv1d", "conv.Conv2d", "conv.Conv3d", "conv.ConvTranspose1d", "conv.ConvTranspose2d", "conv.ConvTranspose3d":
		channels := l.Int("in_channels", 0)
		if w := m.Param("weight"); channels == 0 && w != nil && len(w.Shape()) > 2 {
			channels = w.Shape()[1] * max(l.Int("groups", 1), 1)
		}
		return tensor.Float32, images(channels, axes)
	case "batchnorm.BatchNorm2d", "batchnorm.BatchNorm3d", "instancenorm.InstanceNorm1d", "instancenorm.InstanceNorm2d", "instancenorm.InstanceNorm3d":
		return tensor.Float32, images(l.Int("num_features", 0), axes)
	case "batchnorm.BatchNorm1d":
		return tensor.Float32, []graph.Dim{batch, attr("num_features")}
	case "normalization.GroupNorm":
		return tensor.Float32, images(l.Int("num_channels", 0), 2)
	case "normalization.LayerNorm", "normalization.RMSNorm":
		d := []graph.Dim{batch}
		shape := l.Ints("normalized_shape", 8)
		if len(shape) == 1 {
			d = append(d, tokens)
		}
		for _, n := range shape {
			d = append(d, graph.Known(n))
		}
		return tensor.Float32, d
	case "rnn.LSTM", "rnn.GRU", "rnn.RNN":
		if l.Bool("batch_first", false) {
			return tensor.Float32, []graph.Dim{batch, graph.Named("steps"), attr("input_size")}
		}
		return tensor.Float32, []graph.Dim{graph.Named("steps"), batch, attr("input_size")}
	case "rnn.LSTMCell", "rnn.GRUCell", "rnn.RNNCell":
		return tensor.Float32, []graph.Dim{batch, attr("input_size")}
	case "fold.Unfold":
		return tensor.Float32, images(0, 2)
	case "activation.MultiheadAttention":
		if l.Bool("batch_first", false) {
			return tensor.Float32, []graph.Dim{batch, tokens, attr("embed_dim")}
		}
		return tensor.Float32, []graph.Dim{tokens, batch, attr("embed_dim")}
	case "pixelshuffle.PixelShuffle", "pixelshuffle.PixelUnshuffle", "upsampling.UpsamplingNearest2d", "upsampling.UpsamplingBilinear2d", "activation.Softmax2d", "normalization.LocalResponseNorm", "channelshuffle.ChannelShuffle":
		return tensor.Float32, images(0, 2)
	case "upsampling.Upsample":
		n := map[string]int{"linear": 1, "trilinear": 3}[l.Text("mode", "")]
		if n == 0 {
			n = 2
		}
		return tensor.Float32, images(0, n)
	}
	if kind, _ := strings.CutPrefix(name, "pooling."); kind != name && axes > 0 {
		return tensor.Float32, images(0, axes)
	}
	if kind, _ := strings.CutPrefix(name, "padding."); kind != name && axes > 0 {
		return tensor.Float32, images(0, axes)
	}
	return 0, nil
}
