package vision

import (
	"fmt"
	"math"
	"strconv"

	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/torchnn"
	"github.com/neurotrain/neuroquant/tensor"
)

// swin are the networks of Liu et al. ("Swin Transformer", 2021, and "Swin Transformer V2", 2022). The windows are laid out for
// one size of the image.
var swin = Arch{
	Name: "swin", Names: []string{"swin_*"}, Stem: "features.0.0", Side: 224, Fixed: true,
	Match: func(l *torchnn.Layer) bool {
		return l.Kernel("features.0.0") == 4 && l.Rows("features.1.0.attn.qkv") > 0 && l.Rows("head") > 0
	},
	Build: func(l *torchnn.Layer, x *graph.Value, _ string) *graph.Value {
		f := l.Child("features")
		x = f.Or("0", x, func(l *torchnn.Layer, x *graph.Value) *graph.Value {
			return l.LayerNorm("2", l.Permute(l.Conv("0", x, conv(4, 0)), 0, 2, 3, 1), 1e-5)
		})
		for i := 1; i < len(f.Children()); i++ {
			name := strconv.Itoa(i)
			if i%2 == 0 {
				x = f.Or(name, x, merge)
				continue
			}
			x = f.Each(name, x, swinBlock)
		}
		x = l.Permute(l.LayerNorm("norm", x, 1e-5), 0, 3, 1, 2)
		return classify(l, x, "head")
	},
}

var swinClasses = map[string]torchnn.Forward{
	"models.swin_transformer.SwinTransformer": func(l *torchnn.Layer, x *graph.Value) *graph.Value {
		x = l.Child("features").Apply(x)
		x = l.Permute(l.LayerNorm("norm", x, 1e-5), 0, 3, 1, 2)
		return classify(l, x, "head")
	},
	"models.swin_transformer.SwinTransformerBlock":     func(l *torchnn.Layer, x *graph.Value) *graph.Value { return swinBlock(0, l, x) },
	"models.swin_transformer.SwinTransformerBlockV2":   func(l *torchnn.Layer, x *graph.Value) *graph.Value { return swinBlock(0, l, x) },
	"models.swin_transformer.PatchMerging":             merge,
	"models.swin_transformer.PatchMergingV2":           merge,
	"models.swin_transformer.ShiftedWindowAttention":   windowModule,
	"models.swin_transformer.ShiftedWindowAttentionV2": windowModule,
}

// merge halves the image and doubles the channels. The second version normalizes last.
func merge(l *torchnn.Layer, x *graph.Value) *graph.Value {
	h, w, ok := sides(x)
	if !ok {
		return needSize(l)
	}
	x = l.Pad(x, []int{0, 0, 0, w % 2, 0, h % 2}, "constant", 0)
	var parts []*graph.Value
	for _, at := range [][2]int{{0, 0}, {1, 0}, {0, 1}, {1, 1}} {
		parts = append(parts, l.Slice(l.Slice(x, 1, at[0], end, 2), 2, at[1], end, 2))
	}
	x = l.Concat(-1, parts...)
	if t := l.At("norm").Tensor("weight"); t != nil && len(t.Shape()) == 1 && t.Shape()[0] == l.Rows("reduction") {
		return l.LayerNorm("norm", l.Linear("reduction", x), 1e-5)
	}
	return l.Linear("reduction", l.LayerNorm("norm", x, 1e-5))
}

// sides returns the size of images [batch, rows, cols, channels].
func sides(x *graph.Value) (h, w int, ok bool) {
	if !x.Type.Ranked || len(x.Type.Dims) != 4 || !x.Type.Dims[1].IsKnown() || !x.Type.Dims[2].IsKnown() || !x.Type.Dims[3].IsKnown() {
		return 0, 0, false
	}
	return x.Type.Dims[1].Size, x.Type.Dims[2].Size, true
}

func needSize(l *torchnn.Layer) *graph.Value {
	return l.Fail("windows are laid out for an image whose size is known; give the shape of the input")
}

// swinBlock is a block of attention within windows and a perceptron; every other block shifts the windows by half.
func swinBlock(i int, l *torchnn.Layer, x *graph.Value) *graph.Value {
	attention := func(x *graph.Value) *graph.Value {
		return l.Or("attn", x, func(a *torchnn.Layer, x *graph.Value) *graph.Value { return windowState(a, x, i%2 == 1) })
	}
	perceptron := func(x *graph.Value) *graph.Value {
		return l.Or("mlp", x, func(m *torchnn.Layer, x *graph.Value) *graph.Value {
			return m.Linear("3", m.Gelu(m.Linear("0", x), "none"))
		})
	}
	norm := func(name string, x *graph.Value) *graph.Value { return l.LayerNorm(name, x, 1e-5) }
	if l.Child("attn").Has("logit_scale") { // the second version normalizes what is added
		x = add(l, x, norm("norm1", attention(x)))
		return add(l, x, norm("norm2", perceptron(x)))
	}
	x = add(l, x, attention(norm("norm1", x)))
	return add(l, x, perceptron(norm("norm2", x)))
}

// windowParams are the parameters of an attention within windows.
type windowParams struct {
	window, shift [2]int
	heads         int
}

// windowModule is the attention of a whole module.
func windowModule(l *torchnn.Layer, x *graph.Value) *graph.Value {
	w, s := l.Ints("window_size", 2), l.Ints("shift_size", 2)
	if len(w) != 2 || len(s) != 2 || min(w[0], w[1]) < 1 {
		return l.Fail("windows of %v shifted by %v", w, s)
	}
	return windowAttention(l, x, windowParams{window: [2]int(w), shift: [2]int(s), heads: l.Int("num_heads", 1)})
}

// windowState is the attention of a state dict: the table of positions says how large windows are.
func windowState(l *torchnn.Layer, x *graph.Value, shifted bool) *graph.Value {
	index, heads := l.Tensor("relative_position_index"), 0
	if t := l.Tensor("relative_position_bias_table"); t != nil && len(t.Shape()) == 2 {
		heads = t.Shape()[1]
	} else if t := l.Tensor("logit_scale"); t != nil && len(t.Shape()) == 3 {
		heads = t.Shape()[0]
	}
	if index == nil || heads == 0 {
		return l.Fail("weights relative_position_index and relative_position_bias_table or logit_scale are missing")
	}
	side := int(math.Round(math.Sqrt(math.Sqrt(float64(index.Shape().Len())))))
	if side < 1 || side*side*side*side != index.Shape().Len() {
		return l.Fail("a table of %d positions is not that of square windows", index.Shape().Len())
	}
	p := windowParams{window: [2]int{side, side}, heads: heads}
	if shifted {
		p.shift = [2]int{side / 2, side / 2}
	}
	return windowAttention(l, x, p)
}

// windowAttention is attention of the pixels [batch, rows, cols, channels] within windows, which may be shifted.
func windowAttention(l *torchnn.Layer, x *graph.Value, p windowParams) *graph.Value {
	h, w, ok := sides(x)
	if !ok {
		return needSize(l)
	}
	channels := x.Type.Dims[3].Size
	if p.heads < 1 || channels%p.heads != 0 {
		return l.Fail("%d heads over %d channels", p.heads, channels)
	}
	rows, cols := (h+p.window[0]-1)/p.window[0], (w+p.window[1]-1)/p.window[1] // of windows
	ph, pw := rows*p.window[0], cols*p.window[1]
	x = l.Pad(x, []int{0, 0, 0, pw - w, 0, ph - h}, "constant", 0)
	if p.window[0] >= ph {
		p.shift[0] = 0
	}
	if p.window[1] >= pw {
		p.shift[1] = 0
	}
	x = roll(l, roll(l, x, 1, p.shift[0]), 2, p.shift[1])
	area := p.window[0] * p.window[1]
	x = l.Permute(l.Reshape(x, -1, rows, p.window[0], cols, p.window[1], channels), 0, 1, 3, 2, 4, 5)
	x = l.Reshape(x, -1, area, channels)
	x = windowHeads(l, x, p, rows*cols, windowMask(l, p, ph, pw), channels)
	x = l.Permute(l.Reshape(x, -1, rows, cols, p.window[0], p.window[1], channels), 0, 1, 3, 2, 4, 5)
	x = l.Reshape(x, -1, ph, pw, channels)
	x = roll(l, roll(l, x, 1, (ph-p.shift[0])%ph), 2, (pw-p.shift[1])%pw)
	if ph != h {
		x = l.Slice(x, 1, 0, h, 1)
	}
	if pw != w {
		x = l.Slice(x, 2, 0, w, 1)
	}
	return x
}

// roll moves what is by pixels before the end of an axis to its beginning, so that element by comes first.
func roll(l *torchnn.Layer, x *graph.Value, axis, by int) *graph.Value {
	if by == 0 {
		return x
	}
	return l.Concat(axis, l.Slice(x, axis, by, end, 1), l.Slice(x, axis, 0, by, 1))
}

// windowHeads is the attention proper on [windows, area, channels].
func windowHeads(l *torchnn.Layer, x *graph.Value, p windowParams, windows int, mask *graph.Value, channels int) *graph.Value {
	area, size := p.window[0]*p.window[1], channels/p.heads
	cosine := l.Has("logit_scale")
	qkv := l.Or("qkv", x, func(c *torchnn.Layer, x *graph.Value) *graph.Value {
		weight, bias := c.Source("weight"), c.Source("bias")
		if weight == nil {
			return c.Fail("weight is missing")
		}
		if !cosine || bias == nil {
			return c.Net.Linear(x, "weight", weight, "bias", bias)
		}
		// The keys have no bias in the second version, whatever is stored.
		keep := make([]float32, 3*channels)
		for i := range keep {
			if i < channels || i >= 2*channels {
				keep[i] = 1
			}
		}
		y := c.Net.Linear(x, "weight", weight, "", nil)
		return add(c, y, c.Node("Mul", nil, c.Weight("bias"), c.Param("keep", tensor.Vector(keep...))))
	})
	parts := l.Split(qkv, []int{channels, channels, channels}, -1)
	heads := func(x *graph.Value, perm ...int) *graph.Value {
		return l.Permute(l.Reshape(x, -1, area, p.heads, size), perm...)
	}
	q, k, v := heads(parts[0], 0, 2, 1, 3), heads(parts[1], 0, 2, 1, 3), heads(parts[2], 0, 2, 1, 3)
	if cosine {
		q, k = l.Normalize(q, 2, -1, 1e-12), l.Normalize(k, 2, -1, 1e-12)
	}
	scores := l.Node("MatMul", nil, q, l.Permute(k, 0, 1, 3, 2))
	if cosine {
		scale := l.Weight("logit_scale")
		scores = l.Node("Mul", nil, scores, l.Node("Exp", nil, l.Clamp(scale, math.Inf(-1), math.Log(100))))
	} else {
		scores = l.Node("Mul", nil, scores, l.Net.Number(scores, 1/math.Sqrt(float64(size))))
	}
	scores = add(l, scores, windowBias(l, p, area))
	if mask != nil {
		scores = add(l, l.Reshape(scores, -1, windows, p.heads, area, area), mask)
		scores = l.Reshape(scores, -1, p.heads, area, area)
	}
	y := l.Node("MatMul", nil, l.Net.Softmax(scores, -1), v)
	return l.Linear("proj", l.Reshape(l.Permute(y, 0, 2, 1, 3), -1, area, channels))
}

// windowBias is what is added to the scores [1, heads, area, area] by the distance of two pixels: a table, or in the second version
// what a small perceptron makes of the distance.
func windowBias(l *torchnn.Layer, p windowParams, area int) *graph.Value {
	table, index := l.Weight("relative_position_bias_table"), l.Weight("relative_position_index")
	if l.Has("cpb_mlp") {
		coords := l.Weight("relative_coords_table")
		if coords == nil {
			return l.Fail("weight relative_coords_table is missing")
		}
		table = l.Or("cpb_mlp", coords, func(m *torchnn.Layer, x *graph.Value) *graph.Value {
			return m.Linear("2", m.Net.Relu(m.Linear("0", x)))
		})
		table = l.Reshape(table, -1, p.heads)
	}
	if table == nil || index == nil {
		return l.Fail("weights relative_position_bias_table and relative_position_index are missing")
	}
	b := l.Node("Gather", aten.Attrs{"axis": 0}, table, index)
	b = l.Unsqueeze(l.Permute(l.Reshape(b, area, area, p.heads), 2, 0, 1), 0)
	if l.Has("cpb_mlp") {
		b = l.Node("Mul", nil, l.Node("Sigmoid", nil, b), l.Net.Number(b, 16))
	}
	return b
}

// windowMask says which pixels of a shifted window were neighbours before the shift: [1, windows, 1, area, area] with 0 for those
// and -100 for others. It is nil without a shift.
func windowMask(l *torchnn.Layer, p windowParams, h, w int) *graph.Value {
	if p.shift == [2]int{} {
		return nil
	}
	// region numbers the parts of an axis that come from different places.
	region := func(at, size, window, shift int) int {
		switch {
		case at >= size-shift && shift > 0:
			return 2
		case at >= size-window && shift > 0:
			return 1
		}
		return 0
	}
	rows, cols, area := h/p.window[0], w/p.window[1], p.window[0]*p.window[1]
	mask := make([]float32, 0, rows*cols*area*area)
	part := make([]int, area)
	for r := range rows {
		for c := range cols {
			for i := range part {
				y, x := r*p.window[0]+i/p.window[1], c*p.window[1]+i%p.window[1]
				part[i] = 3*region(y, h, p.window[0], p.shift[0]) + region(x, w, p.window[1], p.shift[1])
			}
			for i := range part {
				for j := range part {
					v := float32(0)
					if part[i] != part[j] {
						v = -100
					}
					mask = append(mask, v)
				}
			}
		}
	}
	return l.Param(fmt.Sprintf("mask_%dx%d", h, w), tensor.Of(tensor.Shape{1, rows * cols, 1, area, area}, mask))
}
