package quantize

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

func refuseLSTM(g *graph.Graph, n *graph.Node) string {
	if why := refuseFloat32(g, n, 0, 1, 2); why != "" {
		return why
	}
	if intAttr(n.Op, "layout") != 0 {
		return "batch-first layout; ONNX Runtime's DynamicQuantizeLSTM takes steps first"
	}
	return ""
}

func refuseGRU(g *graph.Graph, n *graph.Node) string {
	if why := refuseFloat32(g, n, 0, 1, 2); why != "" {
		return why
	}
	a := op.Attrs(n.Op)
	switch {
	case intAttr(n.Op, "layout") != 0:
		return "batch-first layout; the integer form takes steps first"
	case a["clip"] != nil:
		return "clipped gates; the integer form has none"
	case !defaultActivations(a["activations"]):
		return fmt.Sprintf("activations %v; the integer form has Sigmoid and Tanh", a["activations"])
	case len(n.In) > 3 && n.In[3] != nil && !g.IsParam(n.In[3]):
		return "the bias is not constant"
	case len(n.In) > 4 && n.In[4] != nil:
		return "sequences of different lengths in a batch; the integer form takes full ones"
	}
	return ""
}

// scanBytes is what the equations of a GRU take in a file as nodes of a Scan, per direction. A layer whose codes save less grows,
// and runs slower than as one node.
const scanBytes = 5200

func smallGRU(n *graph.Node) string {
	r := n.In[2].Data.Shape()
	if saved := 3 * (n.In[1].Data.Shape().Len() + r.Len()); saved < scanBytes*r[0] {
		return fmt.Sprintf("small: codes would save %d bytes, the nodes of the integer form take about %d", saved, scanBytes*r[0])
	}
	return ""
}

func defaultActivations(v any) bool {
	list, _ := v.([]string)
	for i, a := range list {
		if a != []string{"Sigmoid", "Tanh"}[i%2] {
			return false
		}
	}
	return true
}

// gateCodes quantizes a recurrent weight [directions, rows, cols] with a scale per row, and returns the codes transposed to
// [directions, cols, rows]. Unsigned codes are centred: ONNX Runtime takes one zero point for all rows.
func (d *dynamicRun) gateCodes(n *graph.Node, i int) (*codes, error) {
	w := n.In[i]
	shape := w.Data.Shape()
	dirs, rows, cols := shape[0], shape[1], shape[2]
	flat := tensor.Shape{dirs * rows, cols}
	if d.recipe.PerTensor { // one scale a direction
		flat = tensor.Shape{dirs, rows * cols}
	}
	key := weightKey{paramKey(w), recurrentAxis, true}
	if c := d.ready[key]; c != nil {
		return c, nil
	}
	signed := d.recipe.Weight == "qint8"
	c := newCodes(flat, 0, signed)
	if !d.rehearsal {
		t, err := w.Data.Load()
		if err != nil {
			return nil, fmt.Errorf("weight %q: %w", w.Name, err)
		}
		if err := checkFinite(w.Name, shape, tensor.Data[float32](t)); err != nil {
			return nil, err
		}
		if c, err = quantizeWeight(w.Name, t.Reshape(flat...), 0, signed, true); err != nil {
			return nil, err
		}
	}
	c.shape = shape
	if !d.rehearsal {
		d.rounded.note(w, &roundedSource{codes: c, of: shape, inner: shape.Len() / len(c.scale), alpha: 1})
	}
	d.ready[key] = c.transposed()
	return d.ready[key], nil
}

// recurrentAxis marks weights that are quantized by rows of gates.
const recurrentAxis = -2

// lstm writes com.microsoft.DynamicQuantizeLSTM: weights [directions, input, 4*hidden] with scale and zero point per
// direction or per [direction, row].
func (d *dynamicRun) lstm(n *graph.Node) error {
	var params, quantParams []*graph.Value
	for i := 1; i <= 2; i++ {
		c, err := d.gateCodes(n, i)
		if err != nil {
			return err
		}
		shape := tensor.Shape{c.shape[0]}
		if per := len(c.scale) / c.shape[0]; per > 1 {
			shape = tensor.Shape{c.shape[0], per}
		}
		name := n.In[i].Name
		params = append(params, d.codeParam(name, c))
		quantParams = append(quantParams, d.param(name+"_scale", tensor.Of(shape, c.scale)), d.param(name+"_zero_point", c.zeros().Reshape(shape...)))
	}
	in := []*graph.Value{n.In[0], params[0], params[1], nil, nil, nil, nil, nil}
	copy(in[3:], n.In[3:])
	in = append(in, quantParams...)
	a := op.Attrs(n.Op)
	if a["hidden_size"] == nil {
		a["hidden_size"] = int64(n.In[2].Data.Shape()[2])
	}
	outs := d.emit("_integer", len(n.Out), "com.microsoft.DynamicQuantizeLSTM", a, in...)
	for i, v := range outs {
		if n.Out[i] == nil {
			v.Node.Out[i] = nil
			continue
		}
		d.become(v, n.Out[i])
	}
	return nil
}

// gru writes the GRU equations of the ONNX operator over integer products: the input projection of all steps at once, the
// recurrence in a Scan. Per step, with gates z, r, n:
//
//	z = sigmoid(xz + hRz + bz), r = sigmoid(xr + hRr + br)
//	n = tanh(xn + r*(hRn + bn))        linear_before_reset
//	n = tanh(xn + (r*h)Rn + bn)        otherwise
//	h' = (1-z)*n + z*h
func (d *dynamicRun) gru(n *graph.Node) error {
	wc, err := d.gateCodes(n, 1)
	if err != nil {
		return err
	}
	rc, err := d.gateCodes(n, 2)
	if err != nil {
		return err
	}
	dirs, hidden := rc.shape[0], rc.shape[1]
	bias := make([]float32, dirs*6*hidden)
	if len(n.In) > 3 && n.In[3] != nil {
		b, err := n.In[3].Data.Load()
		if err != nil {
			return fmt.Errorf("bias %q: %w", n.In[3].Name, err)
		}
		if bias, err = b.Floats(); err != nil {
			return fmt.Errorf("bias %q: %w", n.In[3].Name, err)
		}
	}
	direction, _ := op.Attrs(n.Op)["direction"].(string)
	before := intAttr(n.Op, "linear_before_reset") != 0
	scope := d.scope
	var ys, hs []*graph.Value
	for k := range dirs {
		d.scope = scope
		if dirs > 1 {
			d.scope = scope + []string{"_forward", "_backward"}[k]
		}
		reverse := direction == "reverse" || k == 1
		x := d.product(n.In[0], d.scope+"_W", wc.direction(k))
		x = d.add("_input_bias", "Add", x, d.param(d.scope+"_input_bias_value", tensor.Vector(bias[k*6*hidden:][:3*hidden]...)))
		h := d.initialState(n, k, hidden)
		body := d.gruBody(rc.direction(k), bias[k*6*hidden+3*hidden:][:3*hidden], hidden, before)
		dir := int64(0)
		if reverse {
			dir = 1
		}
		out := d.emit("_steps", 2, "Scan", attrs{"body": body, "num_scan_inputs": int64(1), "scan_input_directions": []int64{dir}, "scan_output_directions": []int64{dir}}, h, x)
		hs = append(hs, d.add("_final", "Unsqueeze", out[0], d.param(d.scope+"_axis0", tensor.Vector[int64](0))))
		ys = append(ys, d.add("_sequence", "Unsqueeze", out[1], d.param(d.scope+"_axis1", tensor.Vector[int64](1))))
	}
	d.scope = scope
	join := func(suffix string, axis int64, vs []*graph.Value) *graph.Value {
		if len(vs) == 1 {
			return vs[0]
		}
		return d.emit(suffix, 1, "Concat", attrs{"axis": axis}, vs...)[0]
	}
	if len(n.Out) > 0 && n.Out[0] != nil {
		d.become(join("_Y", 1, ys), n.Out[0])
	}
	if len(n.Out) > 1 && n.Out[1] != nil {
		d.become(join("_Y_h", 0, hs), n.Out[1])
	}
	return nil
}

// initialState returns h of direction k, [batch, hidden]: the given one, or zeros for the batch of X.
func (d *dynamicRun) initialState(n *graph.Node, k, hidden int) *graph.Value {
	if len(n.In) > 5 && n.In[5] != nil {
		return d.emit("_initial", 1, "Gather", attrs{"axis": int64(0)}, n.In[5], d.param(d.scope+"_direction", tensor.Scalar(int64(k))))[0]
	}
	shape := d.add("_shape", "Shape", n.In[0])
	batch := d.emit("_batch", 1, "Gather", attrs{"axis": int64(0)}, shape, d.param(d.scope+"_batch_axis", tensor.Vector[int64](1)))[0]
	dims := d.emit("_state_shape", 1, "Concat", attrs{"axis": int64(0)}, batch, d.param(d.scope+"_hidden", tensor.Vector(int64(hidden))))[0]
	return d.add("_initial", "ConstantOfShape", dims)
}

// gruBody builds the Scan body: inputs h [batch, hidden] and x [batch, 3*hidden], outputs the new h twice (state and step output).
func (d *dynamicRun) gruBody(rc *codes, bias []float32, hidden int, before bool) *graph.Graph {
	sub := &graph.Graph{Name: d.scope + "_step"}
	h := &graph.Value{Name: d.values.Fresh(d.scope + "_h"), Type: graph.Ranked(tensor.Float32, graph.Unknown, graph.Known(hidden))}
	x := &graph.Value{Name: d.values.Fresh(d.scope + "_x"), Type: graph.Ranked(tensor.Float32, graph.Unknown, graph.Known(3*hidden))}
	sub.Inputs = []*graph.Value{h, x}
	b := d.within(sub)
	b.scope = d.scope + "_step"
	cut := func(name string, v *graph.Value, lo, hi int) *graph.Value {
		return b.add(name, "Slice", v, b.param(b.scope+name+"_from", tensor.Vector(int64(lo))), b.param(b.scope+name+"_to", tensor.Vector(int64(hi))),
			b.param(b.scope+name+"_axis", tensor.Vector[int64](1)))
	}
	gates := 2 * hidden // the columns of the recurrent product that z and r take; n is in it only with linear_before_reset
	if before {
		gates = 3 * hidden
	}
	g := b.product(h, b.scope+"_R", rc.columns(0, gates))
	g = b.add("_bias", "Add", g, b.param(b.scope+"_bias_value", tensor.Vector(bias[:gates]...)))
	z := b.add("_z", "Sigmoid", b.add("_z_sum", "Add", cut("_x_z", x, 0, hidden), cut("_h_z", g, 0, hidden)))
	r := b.add("_r", "Sigmoid", b.add("_r_sum", "Add", cut("_x_r", x, hidden, 2*hidden), cut("_h_r", g, hidden, 2*hidden)))
	var candidate *graph.Value
	if before {
		candidate = b.add("_reset", "Mul", r, cut("_h_n", g, 2*hidden, 3*hidden))
	} else {
		rh := b.add("_reset", "Mul", r, h)
		candidate = b.product(rh, b.scope+"_Rn", rc.columns(2*hidden, 3*hidden))
		candidate = b.add("_n_bias", "Add", candidate, b.param(b.scope+"_n_bias_value", tensor.Vector(bias[2*hidden:]...)))
	}
	nn := b.add("_n", "Tanh", b.add("_n_sum", "Add", cut("_x_n", x, 2*hidden, 3*hidden), candidate))
	keep := b.add("_keep", "Mul", z, h)
	take := b.add("_take", "Mul", b.add("_one_minus_z", "Sub", b.param(b.scope+"_one", tensor.Scalar[float32](1)), z), nn)
	next := b.add("_next", "Add", take, keep)
	step := b.add("_out", "Identity", next)
	if b.err != nil {
		d.fail(b.err)
	}
	sub.Nodes = b.nodes
	sub.Outputs = []*graph.Value{next, step}
	return sub
}
