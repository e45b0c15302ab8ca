package quantize

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// weight returns the codes of input i of a node, quantized once however many layers share it.
func (d *dynamicRun) weight(n *graph.Node, i, axis int, centred bool) (*codes, error) {
	w := n.In[i]
	if d.recipe.PerTensor {
		axis = -1
	}
	key := weightKey{paramKey(w), axis, centred}
	if c := d.ready[key]; c != nil {
		return c, nil
	}
	signed := d.recipe.Weight == "qint8"
	if d.rehearsal {
		d.ready[key] = newCodes(w.Data.Shape(), axis, signed)
		return d.ready[key], nil
	}
	t, err := w.Data.Load()
	if err != nil {
		return nil, fmt.Errorf("weight %q: %w", w.Name, err)
	}
	c, err := quantizeWeight(w.Name, t, axis, signed, centred)
	if err == nil {
		d.ready[key] = c
		d.rounded.note(w, rounded(c, axis, 1))
	}
	return c, err
}

// weightKey identifies a quantized form of a weight.
type weightKey struct {
	param   any
	axis    int
	centred bool
}

// product emits MatMulInteger over x and a weight of [k,n] codes and scales the result back to float32.
func (d *dynamicRun) product(x *graph.Value, name string, c *codes) *graph.Value {
	q := d.quantized(x)
	in := []*graph.Value{q[0], d.codeParam(name, c), q[2]}
	if c.zero != nil {
		in = append(in, d.zeroParam(name, c, c.zeros))
	}
	acc := d.add("_integer", "MatMulInteger", in...)
	return d.float(acc, q[1], d.scaleParam(name, c, 0))
}

func (d *dynamicRun) matMul(n *graph.Node) error {
	if matMulWeight(d.g, n)[0] == 0 {
		return d.leftMatMul(n)
	}
	c, err := d.weight(n, 1, 1, false)
	if err != nil {
		return err
	}
	d.become(d.product(n.In[0], n.In[1].Name, c), n.Out[0])
	return nil
}

// leftMatMul is W times x, written as the transpose of x' times W'. ONNX Runtime has no fused kernel for signed codes on the
// left, and takes a bias for a row of columns; on the right the weight meets the kernels that every other product meets.
func (d *dynamicRun) leftMatMul(n *graph.Node) error {
	c, err := d.weight(n, 0, 0, false)
	if err != nil {
		return err
	}
	x := n.In[1]
	rank := len(x.Type.Dims)
	if rank == 1 { // a vector is its own transpose
		d.become(d.product(x, n.In[0].Name, c.transposed()), n.Out[0])
		return nil
	}
	perm := make([]int64, rank)
	for i := range perm {
		perm[i] = int64(i)
	}
	perm[rank-2], perm[rank-1] = perm[rank-1], perm[rank-2]
	y := d.product(d.emit("_transpose", 1, "Transpose", attrs{"perm": perm}, x)[0], n.In[0].Name, c.transposed())
	d.become(d.emit("_restore", 1, "Transpose", attrs{"perm": perm}, y)[0], n.Out[0])
	return nil
}

// gemmChannel is the axis of the output features of a Gemm's weight.
func gemmChannel(n *graph.Node) int {
	if n.Op.(*op.Gemm).TransB {
		return 0
	}
	return 1
}

// gemm writes Y = alpha*A'*B' + beta*C with alpha in the scales and beta in C.
func (d *dynamicRun) gemm(n *graph.Node) error {
	g := n.Op.(*op.Gemm)
	c, err := d.weight(n, 1, gemmChannel(n), false)
	if err != nil {
		return err
	}
	if g.TransB {
		c = c.transposed()
	}
	if g.Alpha != 1 {
		c = c.scaled(g.Alpha)
	}
	a := n.In[0]
	if g.TransA {
		a = d.emit("_transpose", 1, "Transpose", attrs{"perm": []int64{1, 0}}, a)[0]
	}
	y := d.product(a, n.In[1].Name, c)
	if len(n.In) > 2 && n.In[2] != nil && g.Beta != 0 {
		bias := n.In[2]
		if g.Beta != 1 {
			bias = d.add("_beta", "Mul", bias, d.param(n.Name+"_beta_value", tensor.Scalar(g.Beta)))
		}
		y = d.add("_bias", "Add", y, bias)
	}
	d.become(y, n.Out[0])
	return nil
}

// conv writes ConvInteger. Its weight zero point is one number for all channels, which is what ONNX Runtime's kernel takes, so
// unsigned codes are centred at 128.
func (d *dynamicRun) conv(n *graph.Node) error {
	c, err := d.weight(n, 1, 0, true)
	if err != nil {
		return err
	}
	spatial := len(n.In[1].Data.Shape()) - 2
	q := d.quantized(n.In[0])
	name := n.In[1].Name
	in := []*graph.Value{q[0], d.codeParam(name, c), q[2]}
	if c.zero != nil {
		in = append(in, d.zeroParam(name, c, func() *tensor.Tensor { return tensor.Scalar(uint8(c.zero[0])) }))
	}
	acc := d.emit("_integer", 1, "ConvInteger", op.Attrs(n.Op), in...)[0]
	y := d.float(acc, q[1], d.scaleParam(name, c, spatial))
	if len(n.In) > 2 && n.In[2] != nil {
		b, err := n.In[2].Data.Load()
		if err != nil {
			return fmt.Errorf("bias %q: %w", n.In[2].Name, err)
		}
		shape := []int{b.Len()}
		for range spatial {
			shape = append(shape, 1)
		}
		y = d.add("_bias", "Add", y, d.param(n.In[2].Name+"_shaped", b.Reshape(shape...)))
	}
	d.become(y, n.Out[0])
	return nil
}

// gather looks up rows of codes and scales them.
func (d *dynamicRun) gather(n *graph.Node) error {
	c, err := d.weight(n, 0, 0, true)
	if err == nil {
		d.lookUp(n, c)
	}
	return err
}

// lookUp replaces a Gather of rows of a table by one of rows of its codes, which are scaled: one scale per row of the table.
func (r *rewriter) lookUp(n *graph.Node, c *codes) {
	name := n.In[0].Name
	rows := r.add("_rows", "Gather", r.codeParam(name, c), n.In[1])
	f := r.emit("_cast", 1, "Cast", attrs{"to": int64(tensor.Float32)}, rows)[0]
	if c.zero != nil {
		f = r.add("_center", "Sub", f, r.zeroParam(name, c, func() *tensor.Tensor { return tensor.Scalar(float32(c.zero[0])) }))
	}
	scale := r.scaleParam(name, c, 1)
	if len(c.scale) > 1 {
		scale = r.add("_row_scales", "Gather", scale, n.In[1])
	}
	r.become(r.add("_rescale", "Mul", f, scale), n.Out[0])
}

func intAttr(o graph.Op, name string) int64 {
	v, _ := op.Attrs(o)[name].(int64)
	return v
}

func stringAttr(o graph.Op, name string) (string, bool) {
	v, ok := op.Attrs(o)[name].(string)
	return v, ok
}
