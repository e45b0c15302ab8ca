package vision

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/torchnn"
)

// vit are the networks of Dosovitskiy et al. ("An Image is Worth 16x16 Words", 2020). The table of positions fixes the size
// of the image.
var vit = Arch{
	Name: "vit", Names: []string{"vit_*"}, Stem: "conv_proj", Side: 224, Fixed: true,
	Match: func(l *torchnn.Layer) bool {
		return l.Has("class_token") && l.Rows("conv_proj") > 0 && l.Child("encoder").Has("pos_embedding") && l.Rows("heads.head") > 0
	},
	Build: func(l *torchnn.Layer, x *graph.Value, _ string) *graph.Value {
		patch := l.Kernel("conv_proj")
		return vitForward(l, x, aten.Conv{Stride: []int{patch}}, func(e *torchnn.Layer, x *graph.Value) *graph.Value {
			for i := 0; ; i++ {
				name := fmt.Sprintf("encoder_layer_%d", i)
				if !e.Has(name) {
					return x
				}
				x = e.Or(name, x, vitBlock)
			}
		})
	},
}

var vitClasses = map[string]torchnn.Forward{
	"models.vision_transformer.VisionTransformer": func(l *torchnn.Layer, x *graph.Value) *graph.Value {
		return vitForward(l, x, aten.Conv{}, torchnn.Sequential)
	},
	"models.vision_transformer.Encoder": func(l *torchnn.Layer, x *graph.Value) *graph.Value {
		return vitEncoder(l, x, torchnn.Sequential)
	},
	"models.vision_transformer.EncoderBlock": vitBlock,
	"models.vision_transformer.MLPBlock":     torchnn.Sequential,
}

// vitForward puts a token of its own before those of the patches and classifies by what becomes of it.
func vitForward(l *torchnn.Layer, x *graph.Value, patch aten.Conv, layers torchnn.Forward) *graph.Value {
	x = l.Conv("conv_proj", x, patch) // [batch, hidden, rows, cols]
	x = l.Permute(l.Flatten(x, 2, -1), 0, 2, 1)
	token := l.Weight("class_token")
	if token == nil {
		return l.Fail("weight class_token is missing")
	}
	batch := l.Size(x, 0)
	token = l.Node("Expand", nil, token, l.Concat(0, batch, l.Net.Ints(1, 1)))
	x = l.Concat(1, token, x)
	x = l.Or("encoder", x, func(l *torchnn.Layer, x *graph.Value) *graph.Value { return vitEncoder(l, x, layers) })
	x = l.Select(x, 1, 0)
	return l.Or("heads", x, func(l *torchnn.Layer, x *graph.Value) *graph.Value {
		if l.Has("pre_logits") {
			x = l.Node("Tanh", nil, l.Linear("pre_logits", x))
		}
		return l.Linear("head", x)
	})
}

func vitEncoder(l *torchnn.Layer, x *graph.Value, layers torchnn.Forward) *graph.Value {
	pos := l.Weight("pos_embedding")
	if pos == nil {
		return l.Fail("weight pos_embedding is missing")
	}
	if have, want := x.Type.Dims[1], pos.Type.Dims[1]; have.IsKnown() && have != want {
		return l.Fail("images that are cut into %d parts; the table of positions has %d: give the size that the network was trained for", have.Size-1, want.Size-1)
	}
	x = l.Skip("dropout", add(l, x, pos))
	x = l.Or("layers", x, layers)
	return l.LayerNorm("ln", x, 1e-6)
}

// vitBlock is a block of attention and a perceptron, each normalized first.
func vitBlock(l *torchnn.Layer, x *graph.Value) *graph.Value {
	y := l.LayerNorm("ln_1", x, 1e-6)
	a := l.Child("self_attention")
	l.Scope("self_attention", func() {
		out := a.Child("out_proj")
		y = a.MultiHeadAttention(y, y, y, nil, aten.MultiHead{
			Heads: a.Int("num_heads", vitHeads(a.Rows("out_proj"))), BatchFirst: true, In: a.Source("in_proj_weight"), InBias: a.Source("in_proj_bias"),
			Out: out.Source("weight"), OutBias: out.Source("bias"),
		})
	})
	x = add(l, l.Skip("dropout", y), x)
	y = l.LayerNorm("ln_2", x, 1e-6)
	y = l.Or("mlp", y, func(m *torchnn.Layer, y *graph.Value) *graph.Value {
		first, second := "0", "3"
		if m.Has("linear_1") { // before torchvision 0.14
			first, second = "linear_1", "linear_2"
		}
		return m.Linear(second, m.Gelu(m.Linear(first, y), "none"))
	})
	return add(l, x, y)
}

// vitHeads is the number of heads, which state dicts do not tell: they are of size 64, but for the huge network's.
func vitHeads(hidden int) int {
	if hidden == 1280 {
		return 16
	}
	return max(hidden/64, 1)
}

// VitSide returns the size of the images that a table of positions is for; 0 where there is none.
func VitSide(l *torchnn.Layer) int {
	pos := l.At("encoder").Source("pos_embedding")
	if pos == nil || len(pos.Shape()) != 3 {
		return 0
	}
	n := pos.Shape()[1] - 1
	for side := 1; side*side <= n; side++ {
		if side*side == n {
			return side * l.Kernel("conv_proj")
		}
	}
	return 0
}
