package onnx

import (
	"errors"
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// isTestNormalization turns is_test of BatchNormalization below operator set 7 into the outputs that later sets tell the mode from.
func isTestNormalization(c *call) error {
	test, _, err := take[int64](c, "is_test")
	if err != nil {
		return err
	}
	if test == 0 {
		c.attrs["training_mode"] = int64(1)
	}
	return nil
}

// perActivation resolves spatial=0, which normalizes every position with statistics of its own: Y = (X-mean)/sqrt(var+epsilon)*scale+B
// with parameters of shape C, D1, D2, ...
func perActivation(c *call) error {
	spatial, ok, err := take[int64](c, "spatial")
	if err != nil || !ok || spatial != 0 {
		return err
	}
	for i := 1; i < len(c.outs); i++ {
		if c.used(i) {
			return fmt.Errorf("training with spatial=0 is %w", ErrUnsupported)
		}
	}
	if len(c.in) != 5 {
		return fmt.Errorf("want 5 inputs, got %d", len(c.in))
	}
	epsilon := float32(1e-5)
	if v, ok := c.attrs["epsilon"].(float32); ok {
		epsilon = v
	}
	t, err := c.scalarLike(epsilon)
	if err != nil {
		return err
	}
	x, scale, bias, mean, variance := c.in[0], c.in[1], c.in[2], c.in[3], c.in[4]
	e := chain{c: c}
	std := e.emit("Sqrt", nil, e.emit("Add", nil, variance, c.param("epsilon", t)))
	unit := e.emit("Div", nil, e.emit("Sub", nil, x, mean), std)
	return e.done(e.main("Add", nil, e.emit("Mul", nil, unit, scale), bias))
}

// trainingOutputs turns the five outputs of older forms (Y, mean, var, saved mean, saved var) into three. There the mode is
// training if any output but the first is used.
func trainingOutputs(c *call) error {
	if c.used(3) || c.used(4) {
		return errors.New("the outputs saved_mean and saved_var do not exist any more")
	}
	if c.used(1) || c.used(2) {
		c.attrs["training_mode"] = int64(1)
	} else {
		c.outs = c.outs[:min(len(c.outs), 1)]
	}
	c.outs = c.outs[:min(len(c.outs), 3)]
	return nil
}

// isTestDropout turns is_test of Dropout below operator set 7 into the input that says whether to drop at all.
func isTestDropout(c *call) error {
	test, _, err := take[int64](c, "is_test")
	if err != nil {
		return err
	}
	if test == 0 {
		c.set(2, c.param("training_mode", tensor.Scalar(true)))
	}
	return nil
}

// maskType gives the mask of Dropout below operator set 10 the type of the data, as it was.
func maskType(c *call) error {
	if !c.used(1) {
		return nil
	}
	x := c.input(0)
	if x == nil || x.Type.DType == tensor.Invalid {
		return errors.New("the element type must be known to give the mask its type")
	}
	if err := dropoutRatio(c); err != nil {
		return err
	}
	out, err := c.emitN(c.name, "Dropout", 2, c.attrs, c.in...)
	if err != nil {
		return err
	}
	mask, err := c.emit("Cast", attrMap{"to": int64(x.Type.DType)}, out[1])
	c.results = []*graph.Value{out[0], mask}
	return err
}

// dropoutRatio turns the ratio into an input.
func dropoutRatio(c *call) error {
	ratio, ok, err := take[float32](c, "ratio")
	if err != nil || !ok {
		return err
	}
	c.set(1, c.param("ratio", tensor.Scalar(ratio)))
	return nil
}

// perGroupScale repeats the scale and bias of GroupNormalization-18, one per group, for every channel of the group.
func perGroupScale(c *call) error {
	groups, ok := c.attrs["num_groups"].(int64)
	if !ok || len(c.in) != 3 {
		return nil // reported by the operator
	}
	if groups < 1 {
		return fmt.Errorf("num_groups: want at least 1, got %d", groups)
	}
	e := chain{c: c}
	channels := e.emit("Shape", attrMap{"start": int64(1), "end": int64(2)}, c.in[0])
	each := e.emit("Div", nil, channels, c.ints("groups", groups))
	shape := e.emit("Concat", attrMap{"axis": int64(0)}, c.ints("rows", groups), each)
	for i := 1; i <= 2; i++ {
		column := e.emit("Unsqueeze", nil, c.in[i], c.ints("axes", 1))
		wide := e.emit("Expand", nil, column, shape)
		c.in[i] = e.emit("Reshape", nil, wide, c.ints("flat", -1))
	}
	return e.err
}

// batchedScan turns Scan-8, whose inputs have a batch dimension before the one that is scanned, into a Scan over the batch whose body
// is the Scan of one sample.
func batchedScan(c *call) error {
	if c.input(0) != nil {
		return fmt.Errorf("sequence_lens of Scan-8 is %w", ErrUnsupported)
	}
	if len(c.bodies) != 1 {
		return errors.New("want one body")
	}
	if len(c.in) > 0 {
		c.in = c.in[1:]
	}
	scanned, _ := c.attrs["num_scan_inputs"].(int64)
	directions, given, err := take[[]int64](c, "directions")
	if err != nil {
		return err
	}
	if given {
		c.attrs["scan_input_directions"] = directions
	}
	if scanned < 1 || int(scanned) > len(c.in) {
		return fmt.Errorf("num_scan_inputs: want 1 to %d, got %d", len(c.in), scanned)
	}
	inner, ok := op.New("Scan")
	if !ok {
		return fmt.Errorf("the operator is %w", ErrUnsupported)
	}
	body := c.bodies[0]
	sample := &scope{im: c.s.im, g: &graph.Graph{Name: body.g.Name + "/sample"}, used: &taken{graph.Names{}, graph.Names{}}}
	node := &graph.Node{Name: "Scan", Op: inner}
	sample.used.nodes.Fresh(node.Name)
	for i, v := range c.in {
		if v == nil {
			return fmt.Errorf("input %d is missing", 1+i)
		}
		t := v.Type
		t.Const = nil
		if t.Ranked && len(t.Dims) > 0 {
			t.Dims = t.Dims[1:]
		}
		in := &graph.Value{Name: sample.used.values.Fresh(v.Name), Type: t}
		sample.g.Inputs = append(sample.g.Inputs, in)
		node.In = append(node.In, in)
	}
	for _, k := range body.captures {
		in := &graph.Value{Name: sample.used.values.Fresh(k.outer.Name), Type: k.outer.Type}
		sample.g.Inputs = append(sample.g.Inputs, in)
		node.In = append(node.In, in)
		sample.captures = append(sample.captures, capture{k.outer, in})
	}
	if err := op.SetAttrs(inner, c.attrs); err != nil {
		return err
	}
	if b, ok := inner.(interface{ SetCaptures(n int) }); ok {
		b.SetCaptures(len(body.captures))
	}
	for range c.outs {
		v := &graph.Value{Name: sample.used.values.Fresh("out"), Node: node}
		node.Out = append(node.Out, v)
		sample.g.Outputs = append(sample.g.Outputs, v)
	}
	if err := sample.append(node); err != nil {
		return err
	}
	c.attrs = attrMap{"body": sample.g, "num_scan_inputs": int64(len(c.in))}
	c.bodies = []*scope{sample}
	return nil
}
