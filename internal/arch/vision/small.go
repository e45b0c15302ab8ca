package vision

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/torchnn"
)

// digits is the network for MNIST of the examples of Burn (github.com/tracel-ai/burn): three convolutions and two linear layers, the
// last of each normalized.
var digits = Arch{
	Name: "mnist-burn", Stem: "conv1", Side: 28, Fixed: true,
	Match: func(l *torchnn.Layer) bool {
		return l.Kernel("conv1") == 3 && l.Rows("conv3") > 0 && l.Rows("norm1") == l.Rows("conv3") && l.Rows("fc2") == l.Rows("norm2") && l.Rows("norm2") > 0
	},
	Build: func(l *torchnn.Layer, x *graph.Value, _ string) *graph.Value {
		for i := 1; i <= 3; i++ {
			x = l.Net.Relu(l.Conv(fmt.Sprintf("conv%d", i), x, conv(1, 0)))
		}
		x = l.Flatten(l.BatchNorm("norm1", x, 1e-5), 1, -1)
		x = l.Linear("fc2", l.Net.Relu(l.Linear("fc1", x)))
		return l.Net.LogSoftmax(l.BatchNorm("norm2", x, 1e-5), 1)
	},
}

// leNet is the network of PyTorch's tutorials after LeCun et al. ("Gradient-based learning applied to document recognition",
// 1998): two 5x5 convolutions, each with an activation and a pooling, and three linear layers.
var leNet = Arch{
	Name: "lenet", Stem: "conv1", Side: 32, Fixed: true,
	Match: func(l *torchnn.Layer) bool {
		cols := 0
		if t := l.At("fc1").Tensor("weight"); t != nil && len(t.Shape()) == 2 {
			cols = t.Shape()[1]
		}
		return l.Kernel("conv1") == 5 && l.Kernel("conv2") == 5 && !l.Has("conv3") && l.Rows("fc3") > 0 && cols == l.Rows("conv2")*25 && len(l.Children()) == 5
	},
	Build: func(l *torchnn.Layer, x *graph.Value, _ string) *graph.Value {
		for i := 1; i <= 2; i++ {
			x = l.Net.MaxPool(l.Net.Relu(l.Conv(fmt.Sprintf("conv%d", i), x, conv(1, 0))), 2, pool(2, 2, 0))
		}
		x = l.Flatten(x, 1, -1)
		return l.Linear("fc3", l.Net.Relu(l.Linear("fc2", l.Net.Relu(l.Linear("fc1", x)))))
	},
}

// mlp is a chain of linear layers with Relu between them, in the order of the file. Nothing in a state dict says that
// it is one, so it must be asked for.
var mlp = Arch{
	Name:  "mlp",
	Match: func(*torchnn.Layer) bool { return false },
	Build: func(l *torchnn.Layer, x *graph.Value, _ string) *graph.Value {
		left := len(matrices(l))
		return chain(l, l.Flatten(x, 1, -1), &left)
	},
}

// chain applies the linear layers below l, of which left are to come.
func chain(l *torchnn.Layer, x *graph.Value, left *int) *graph.Value {
	for _, c := range l.Children() {
		if !isMatrix(c) {
			x = l.Or(c.Name(), x, func(c *torchnn.Layer, x *graph.Value) *graph.Value { return chain(c, x, left) })
			continue
		}
		x = l.Linear(c.Name(), x)
		if *left--; *left > 0 {
			x = l.Net.Relu(x)
		}
	}
	return x
}

func isMatrix(l *torchnn.Layer) bool {
	t := l.Tensor("weight")
	return t != nil && len(t.Shape()) == 2
}

// matrices lists the layers with a matrix, depth first.
func matrices(l *torchnn.Layer) []*torchnn.Layer {
	var out []*torchnn.Layer
	for _, c := range l.Children() {
		if isMatrix(c) {
			out = append(out, c)
		} else {
			out = append(out, matrices(c)...)
		}
	}
	return out
}

// MLPInput returns how many values the first linear layer takes; 0 where there is none.
func MLPInput(l *torchnn.Layer) int {
	for _, c := range matrices(l) {
		return c.Tensor("weight").Shape()[1]
	}
	return 0
}
