package torchop

import (
	"strings"

	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// linearOps are products of matrices.
var linearOps = table{
	"linear":     {"input weight bias=None", linear},
	"matmul":     {"self other", matmul},
	"__matmul__": {"self other", matmul},
	"mm":         {"self mat2", matmul2("mat2")},
	"bmm":        {"self mat2", matmul2("mat2")},
	"mv":         {"self vec", matmul2("vec")},
	"dot":        {"self tensor", matmul2("tensor")},
	"inner":      {"self other", func(c *call) any { return Of(c.product(c.cell("self"), Of(c.Transpose(c.tensor("other"), -2, -1)))) }},
	"outer":      {"self vec2", outer},
	"ger":        {"self vec2", outer},
	"addmm":      {"self mat1 mat2 beta=1 alpha=1", func(c *call) any { return addProduct(c, "mat1", "mat2") }},
	"baddbmm":    {"self batch1 batch2 beta=1 alpha=1", func(c *call) any { return addProduct(c, "batch1", "batch2") }},
	"addmv":      {"self mat vec beta=1 alpha=1", func(c *call) any { return addProduct(c, "mat", "vec") }},
	"einsum":     {"equation tensors path=None", einsum},
	"bilinear": {"input1 input2 weight bias=None", func(c *call) any {
		return Of(c.Bilinear(c.tensor("input1"), c.tensor("input2"), c.tensor("weight"), c.optional("bias")))
	}},
	"tensordot":              {"self other dims_self dims_other", tensordot},
	"_weight_norm":           {"v g dim=0", weightNorm},
	"_weight_norm_interface": {"v g dim=0", func(c *call) any { return Tuple{weightNorm(c), Absent("the norms of _weight_norm_interface")} }},
	"norm_except_dim":        {"v pow=2 dim=0", func(c *call) any { return Of(c.normExcept(c.tensor("v"), c.known("dim"))) }},
	"cdist":                  {"x1 x2 p=2 compute_mode=None", cdist},
	"_cdist_forward":         {"x1 x2 p compute_mode=None", cdist},
	"cosine_similarity": {"x1 x2 dim=1 eps=1e-08", func(c *call) any {
		return Of(c.CosineSimilarity(c.tensor("x1"), c.tensor("x2"), c.known("dim"), c.float("eps")))
	}},
	"pairwise_distance": {"x1 x2 p=2 eps=1e-06 keepdim=False", pairwiseDistance},
}

// parameter returns the source and the name of a matrix that is a parameter, or the transpose of one.
func (b *Builder) parameter(t *Tensor, transposed bool) (s tensor.Source, ok bool) {
	if transposed {
		if !t.transposed || t.base.base != nil || t.base.version > 0 {
			return nil, false
		}
		t = t.base
	}
	if t.base != nil || t.source == nil || len(t.source.Shape()) != 2 {
		return nil, false
	}
	b.Declare(t.name, t.source)
	return t.source, true
}

// bias adds a vector, which may be nil.
func (b *Builder) bias(y, bias *graph.Value) *graph.Value {
	if bias == nil {
		return y
	}
	return b.Node("Add", nil, y, bias)
}

func linear(c *call) any {
	x, w := c.tensor("input"), c.cell("weight")
	if c.bad {
		return nil
	}
	if s, ok := c.parameter(w, false); ok {
		if c.args["bias"] == nil {
			return Of(c.Linear(x, w.name, s, "", nil))
		}
		if bias := c.cell("bias"); bias.Source() != nil {
			c.Declare(bias.name, bias.source)
			return Of(c.Linear(x, w.name, s, bias.name, bias.source))
		}
		return Of(c.bias(c.Linear(x, w.name, s, "", nil), c.optional("bias")))
	}
	v := c.Of(w)
	if c.Rank(v) > 1 {
		v = c.Transpose(v, -2, -1)
	}
	return Of(c.bias(c.Node("MatMul", nil, x, v), c.optional("bias")))
}

// product multiplies matrices. One by the transpose of a parameter is a linear layer.
func (c *call) product(x, y *Tensor) *graph.Value {
	if s, ok := c.parameter(y, true); ok {
		return c.Linear(c.Of(x), y.base.name, s, "", nil)
	}
	return c.Node("MatMul", nil, c.Of(x), c.Of(y))
}

func matmul(c *call) any { return Of(c.product(c.cell("self"), c.cell("other"))) }

func matmul2(other string) func(c *call) any {
	return func(c *call) any { return Of(c.product(c.cell("self"), c.cell(other))) }
}

func outer(c *call) any {
	return Of(c.Node("Mul", nil, c.Unsqueeze(c.tensor("self"), 1), c.tensor("vec2")))
}

// addProduct is beta*self + alpha*(x @ y).
func addProduct(c *call, x, y string) any {
	beta, alpha := c.float("beta"), c.float("alpha")
	m, n, self := c.cell(x), c.cell(y), c.cell("self")
	if s, ok := c.parameter(n, true); ok && beta == 1 && alpha == 1 {
		if bias := self.Source(); bias != nil && len(bias.Shape()) == 1 {
			c.Declare(self.name, bias)
			return Of(c.Linear(c.Of(m), n.base.name, s, self.name, bias))
		}
	}
	p := c.product(m, n)
	if alpha != 1 {
		p = c.Node("Mul", nil, p, c.Number(p, alpha))
	}
	if beta == 0 {
		return Of(p)
	}
	v := c.Of(self)
	if beta != 1 {
		v = c.Node("Mul", nil, v, c.Number(v, beta))
	}
	return Of(c.Node("Add", nil, v, p))
}

// einsum is torch.einsum; the form that gives axes by number comes as a string too.
func einsum(c *call) any {
	in := c.tensors("tensors")
	eq := strings.ReplaceAll(c.text("equation"), " ", "")
	if c.bad || len(in) == 0 {
		return c.failf("no operands")
	}
	return Of(c.Node("Einsum", aten.Attrs{"equation": eq}, in...))
}

// tensordot sums over pairs of axes.
func tensordot(c *call) any {
	x, y := c.tensor("self"), c.tensor("other")
	dx, dy := c.ints("dims_self"), c.ints("dims_other")
	rx, ry := c.Rank(x), c.Rank(y)
	if c.bad || len(dx) != len(dy) || rx+ry > 26 {
		return c.failf("axes %v and %v of %v and %v", dx, dy, x.Type, y.Type)
	}
	if rx == 0 && len(dx) > 0 || ry == 0 && len(dy) > 0 {
		return c.failf("axes %v and %v of %v and %v", dx, dy, x.Type, y.Type)
	}
	left, right := make([]byte, rx), make([]byte, ry)
	next := byte('a')
	for i := range dx {
		left[c.Axis(x, dx[i])], right[c.Axis(y, dy[i])] = next, next
		next++
	}
	var out []byte
	for _, s := range [][]byte{left, right} {
		for i := range s {
			if s[i] == 0 {
				s[i] = next
				out = append(out, next)
				next++
			}
		}
	}
	return Of(c.Node("Einsum", aten.Attrs{"equation": string(left) + "," + string(right) + "->" + string(out)}, x, y))
}

// normExcept returns the Euclidean norms over all axes but one.
func (c *call) normExcept(v *graph.Value, dim int) *graph.Value {
	var axes []int
	for i := range c.Rank(v) {
		if dim == -1 || i != c.Axis(v, dim) {
			axes = append(axes, i)
		}
	}
	if len(axes) == 0 {
		return c.Node("Abs", nil, v)
	}
	return c.Node("ReduceL2", aten.Attrs{"keepdims": 1}, v, c.Ints(axes...))
}

// weightNorm is the weight of torch.nn.utils.weight_norm: a direction and a length.
func weightNorm(c *call) any {
	v, g := c.tensor("v"), c.tensor("g")
	return Of(c.Node("Mul", nil, v, c.Node("Div", nil, g, c.normExcept(v, c.known("dim")))))
}

func cdist(c *call) any {
	x, y := c.Unsqueeze(c.tensor("x1"), -2), c.Unsqueeze(c.tensor("x2"), -3)
	return Of(c.Distance(c.Node("Sub", nil, x, y), c.float("p"), false))
}

func pairwiseDistance(c *call) any {
	return Of(c.PairwiseDistance(c.tensor("x1"), c.tensor("x2"), c.float("p"), c.float("eps"), c.bool("keepdim")))
}
