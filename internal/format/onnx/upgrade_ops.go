package onnx

import (
	"fmt"
	"math"
	"strings"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// seluConstants sets the defaults of Selu-1, which have fewer digits.
func seluConstants(c *call) error {
	if _, ok := c.attrs["alpha"]; !ok {
		c.attrs["alpha"] = float32(1.6732)
	}
	if _, ok := c.attrs["gamma"]; !ok {
		c.attrs["gamma"] = float32(1.0507)
	}
	return nil
}

// broadcastAttrs turns the limited broadcasting of operator sets below 7 into numpy's: dimensions of B are matched to those of A
// from axis on, or to the last ones.
func broadcastAttrs(c *call) error {
	enabled, _, err := take[int64](c, "broadcast")
	if err != nil {
		return err
	}
	axis, given, err := take[int64](c, "axis")
	if err != nil || enabled == 0 || !given {
		return err
	}
	a, err := c.rank(0)
	if err != nil {
		return err
	}
	b, err := c.rank(1)
	if err != nil {
		return err
	}
	if axis < 0 {
		axis += int64(a)
	}
	missing := int64(a) - axis - int64(b)
	if missing < 0 || axis < 0 {
		return fmt.Errorf("axis %d: the second input of rank %d does not fit the first of rank %d", axis, b, a)
	}
	if missing == 0 {
		return nil
	}
	v, err := c.unsqueeze(c.in[1], int64(b), missing)
	c.set(1, v)
	return err
}

// unsqueeze inserts n dimensions of size 1 before dimension at of v.
func (c *call) unsqueeze(v *graph.Value, at, n int64) (*graph.Value, error) {
	axes := make([]int64, n)
	for i := range axes {
		axes[i] = at + int64(i)
	}
	return c.emit("Unsqueeze", nil, v, c.ints("axes", axes...))
}

// channelSlope aligns a slope with one entry per channel to dimension 1 of the input, as PRelu did below operator set 7.
func channelSlope(c *call) error {
	slope := c.input(1)
	if slope == nil || !slope.Type.Ranked || len(slope.Type.Dims) != 1 || slope.Type.Dims[0] == graph.Known(1) {
		return nil
	}
	rank, err := c.rank(0)
	if err != nil || rank <= 2 {
		return err
	}
	v, err := c.unsqueeze(slope, 1, int64(rank-2))
	c.set(1, v)
	return err
}

// forwardDirection corrects the default of GRU-1, which was misspelt.
func forwardDirection(c *call) error {
	if c.attrs["direction"] == "foward" { //nolint:misspell // as the specification had it
		c.attrs["direction"] = "forward"
	}
	return nil
}

// outputSequence drops the attribute that said whether the first output is computed: that follows from its use.
func outputSequence(c *call) error { return drop("output_sequence")(c) }

// castTypeName turns the type's name, such as "FLOAT", into its number.
func castTypeName(c *call) error {
	name, ok := c.attrs["to"].(string)
	if !ok {
		return nil
	}
	names := map[string]tensor.DType{"FLOAT": tensor.Float32, "DOUBLE": tensor.Float64}
	d, ok := names[strings.ToUpper(name)]
	if !ok {
		var err error
		if d, err = tensor.ParseDType(strings.ToLower(name)); err != nil {
			return fmt.Errorf("attribute %q: %w", "to", err)
		}
	}
	c.attrs["to"] = int64(d)
	return nil
}

// integerP makes the norm's order an integer.
func integerP(c *call) error {
	if p, ok := c.attrs["p"].(float32); ok {
		c.attrs["p"] = int64(p)
	}
	return nil
}

// tileAxis turns a count and an axis into the list of repeats.
func tileAxis(c *call) error {
	rank, err := c.rank(0)
	if err != nil {
		return err
	}
	tiles, err := c.constInt(1)
	if err != nil {
		return fmt.Errorf("tiles: %w", err)
	}
	axis, err := c.constInt(2)
	if err != nil {
		return fmt.Errorf("axis: %w", err)
	}
	a, err := tensor.Axis(int(axis), rank)
	if err != nil {
		return err
	}
	repeats := make([]int64, rank)
	for i := range repeats {
		repeats[i] = 1
	}
	repeats[a] = tiles
	c.in = []*graph.Value{c.in[0], c.ints("repeats", repeats...)}
	return nil
}

// constInt returns the number that input i holds, whatever its type.
func (c *call) constInt(i int) (int64, error) {
	t, err := c.constant(i)
	if err != nil {
		return 0, err
	}
	if t == nil || t.Len() != 1 {
		return 0, errUntold
	}
	v, err := t.Float64s()
	if err != nil {
		return 0, err
	}
	return int64(v[0]), nil
}

// clipLimits turns min and max into inputs. The attributes of operator sets 6 to 10 default to the range of float32, that is to
// no limit.
func clipLimits(c *call) error {
	for i, name := range []string{"min", "max"} {
		v, ok, err := take[float32](c, name)
		if err != nil {
			return err
		}
		if !ok || i == 0 && v == -math.MaxFloat32 || i == 1 && v == math.MaxFloat32 {
			continue
		}
		t, err := c.scalarLike(v)
		if err != nil {
			return err
		}
		c.set(1+i, c.param(name, t))
	}
	return nil
}

// scalarLike returns v in the floating-point type of the first input, float32 if that is not known.
func (c *call) scalarLike(v float32) (*tensor.Tensor, error) {
	d := tensor.Float32
	if x := c.input(0); x != nil && x.Type.DType != tensor.Invalid {
		d = x.Type.DType
	}
	return tensor.FromFloat64s(d, tensor.Shape{}, []float64{float64(v)})
}

// paddings gives the attribute of Pad-1 its later name.
func paddings(c *call) error {
	if v, ok := c.attrs["paddings"]; ok {
		c.attrs["pads"] = v
		delete(c.attrs, "paddings")
	}
	return nil
}

// padValue turns pads and value into inputs.
func padValue(c *call) error {
	if err := attrsToInputs(1, "pads")(c); err != nil {
		return err
	}
	v, ok, err := take[float32](c, "value")
	if err != nil || !ok || v == 0 {
		return err
	}
	t, err := c.scalarLike(v)
	if err != nil {
		return err
	}
	c.set(2, c.param("value", t))
	return nil
}

// splitInput gives Split-1, which had no default axis, the one of its successor.
func splitInput(c *call) error { return defaultInt("axis", 0)(c) }

// splitSizes turns the sizes into an input.
func splitSizes(c *call) error { return attrsToInputs(1, "split")(c) }

// splitCount says how many equal parts there are where no sizes are given.
func splitCount(c *call) error {
	if _, ok := c.attrs["num_outputs"]; !ok && c.input(1) == nil {
		c.attrs["num_outputs"] = int64(len(c.outs))
	}
	return nil
}

// topCount turns k into an input.
func topCount(c *call) error {
	k, ok, err := take[int64](c, "k")
	if err != nil || !ok {
		return err
	}
	c.set(1, c.ints("k", k))
	return nil
}

// upsampleSizes turns the two scales of Upsample-1 into a list for a batch of images.
func upsampleSizes(c *call) error {
	h, okH, err := take[float32](c, "height_scale")
	if err != nil {
		return err
	}
	w, okW, err := take[float32](c, "width_scale")
	if err != nil {
		return err
	}
	if okH && okW {
		c.attrs["scales"] = []float32{1, 1, h, w}
	}
	return nil
}

// upsampleScales turns the scales into an input.
func upsampleScales(c *call) error {
	v, ok, err := take[[]float32](c, "scales")
	if err != nil || !ok {
		return err
	}
	c.set(1, c.param("scales", tensor.Vector(v...)))
	return nil
}

// upsample turns Upsample into the Resize that its specification describes.
func upsample(c *call) error {
	if c.attrs["mode"] == "bilinear" {
		c.attrs["mode"] = "linear"
	}
	c.kind = "Resize"
	return asymmetric(c)
}

// asymmetric gives Resize-10 its meaning in later terms: output position x comes from x/scale, rounded down where the image grows and
// up where it shrinks. One Resize has one way of rounding, so scales that do both become two nodes.
func asymmetric(c *call) error {
	c.attrs["coordinate_transformation_mode"] = "asymmetric"
	x, scales := c.input(0), c.input(1)
	c.in = []*graph.Value{x, nil, scales}
	if mode, ok := c.attrs["mode"]; ok && mode != "nearest" {
		return nil
	}
	c.attrs["nearest_mode"] = "floor"
	t, err := c.constant(2)
	if err != nil || t == nil {
		return err
	}
	f, err := t.Floats()
	if err != nil {
		return err
	}
	grow, shrink := make([]float32, len(f)), make([]float32, len(f))
	grows, shrinks := false, false
	for i, s := range f {
		grow[i], shrink[i] = 1, 1
		if s < 1 {
			shrink[i], shrinks = s, true
		} else if s > 1 {
			grow[i], grows = s, true
		}
	}
	if !shrinks {
		return nil
	}
	if grows {
		first := attrMap{"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
		v, err := c.emit("Resize", first, x, nil, c.param("grow", tensor.Vector(grow...)))
		if err != nil {
			return err
		}
		c.in = []*graph.Value{v, nil, c.param("shrink", tensor.Vector(shrink...))}
	}
	c.attrs["nearest_mode"] = "ceil"
	return nil
}

// flattened gives Softmax and its kin of operator sets below 13 their meaning: the input is seen as a matrix whose columns are
// the dimensions from axis (1 by default) on. Where that is only the last one, a plain axis does the same.
func flattened(c *call) error {
	axis, ok, err := take[int64](c, "axis")
	if err != nil {
		return err
	}
	if !ok {
		axis = 1
	}
	if x := c.input(0); x != nil && x.Type.Ranked {
		rank := int64(len(x.Type.Dims))
		if axis < 0 {
			axis += rank
		}
		if axis < 0 || axis > rank || rank == 0 {
			return fmt.Errorf("axis %d is out of range for rank %d", axis, rank)
		}
		if axis == rank-1 {
			c.attrs["axis"] = int64(-1)
			return nil
		}
	}
	e := chain{c: c}
	x := c.input(0)
	if x == nil {
		return fmt.Errorf("input 0 is missing")
	}
	flat := e.emit("Flatten", attrMap{"axis": axis}, x)
	y := e.main(c.kind, attrMap{"axis": int64(1)}, flat)
	shape := e.shapeOf(x)
	return e.done(e.emit("Reshape", attrMap{"allowzero": int64(1)}, y, shape))
}

// shapeOf returns the shape of v: a parameter where it is known, else the output of a Shape node.
func (e *chain) shapeOf(v *graph.Value) *graph.Value {
	if s, ok := v.Type.Shape(); ok {
		dims := make([]int64, len(s))
		for i, d := range s {
			dims[i] = int64(d)
		}
		return e.c.ints("shape", dims...)
	}
	return e.emit("Shape", nil, v)
}

// interpolationName gives the modes of GridSample-16 their later names.
func interpolationName(c *call) error {
	switch c.attrs["mode"] {
	case "bilinear":
		c.attrs["mode"] = "linear"
	case "bicubic":
		c.attrs["mode"] = "cubic"
	}
	return nil
}

// axisInput turns the axis of DFT-17, by default 1, into an input.
func axisInput(c *call) error {
	axis, ok, err := take[int64](c, "axis")
	if err != nil {
		return err
	}
	if !ok {
		axis = 1
	}
	c.set(2, c.param("axis", tensor.Scalar(axis)))
	return nil
}

// sparseConstant makes a sparse value an ordinary one.
func sparseConstant(c *call) error {
	if v, ok := c.attrs["sparse_value"]; ok {
		delete(c.attrs, "sparse_value")
		c.attrs["value"] = v
	}
	return nil
}

// classLabels turns the list of classes of LabelEncoder-1, which numbers them, into keys and values.
func classLabels(c *call) error {
	classes, ok, err := take[[]string](c, "classes_strings")
	if err != nil || !ok {
		return err
	}
	index := make([]int64, len(classes))
	for i := range index {
		index[i] = int64(i)
	}
	if x := c.input(0); x != nil && x.Type.DType == tensor.String {
		c.attrs["keys_strings"], c.attrs["values_int64s"] = classes, index
	} else {
		c.attrs["keys_int64s"], c.attrs["values_strings"] = index, classes
	}
	return nil
}
