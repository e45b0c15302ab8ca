package quantize

import (
	"context"
	"iter"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// normal returns n values of a normal distribution, with a few outliers.
func normal(seed uint64, n int, outlier float32) []float32 {
	r := rand.New(rand.NewPCG(seed, 1))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	if outlier != 0 {
		x[0] = outlier
	}
	return x
}

// residual is conv-relu, conv, residual add, relu, pool, gemm: what a small residual network has.
func residual(t *testing.T) *graph.Graph {
	t.Helper()
	b := graph.NewBuilder("residual")
	mk := func(kind string, a attrs) graph.Op {
		o, ok := op.New(kind)
		if !ok {
			t.Fatal(kind)
		}
		if err := op.SetAttrs(o, a); err != nil {
			t.Fatal(err)
		}
		return o
	}
	w := func(name string, seed uint64, shape ...int) *graph.Value {
		v := normal(seed, tensor.Shape(shape).Len(), 0)
		for i := range v {
			v[i] *= 0.2
		}
		return b.Param(name, tensor.Of(shape, v))
	}
	pads := attrs{"pads": []int64{1, 1, 1, 1}}
	x := b.Input("x", graph.Ranked(tensor.Float32, graph.Named("n"), graph.Known(3), graph.Known(8), graph.Known(8)))
	h := b.Add("relu1", mk("Relu", nil), b.Add("conv1", mk("Conv", pads), x, w("w1", 1, 8, 3, 3, 3), w("b1", 2, 8)))
	y := b.Add("conv2", mk("Conv", pads), h, w("w2", 3, 8, 8, 3, 3), w("b2", 4, 8))
	y = b.Add("relu2", mk("Relu", nil), b.Add("add", mk("Add", nil), y, h))
	y = b.Add("pool", mk("MaxPool", attrs{"kernel_shape": []int64{2, 2}, "strides": []int64{2, 2}}), y)
	y = b.Add("flatten", mk("Flatten", nil), y)
	b.Output("logits", b.Add("head", mk("Gemm", attrs{"transB": int64(1)}), y, w("w3", 5, 10, 128), w("b3", 6, 10)))
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func calls(n int) Samples {
	return Samples{Len: n, All: func(context.Context) iter.Seq2[Call, error] {
		return func(yield func(Call, error) bool) {
			for i := range n {
				if !yield(Call{In: []*tensor.Tensor{tensor.Of(tensor.Shape{1, 3, 8, 8}, normal(uint64(100+i), 192, 0))}, Samples: 1}, nil) {
					return
				}
			}
		}
	}}
}

func TestStaticPlacement(t *testing.T) {
	m := &model.Model{Graph: residual(t)}
	p, err := NewPlan(m, Recipe{Method: "static", Calibrator: Calibrator{Method: "minmax"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := Run(context.Background(), m, p, calls(8)); err != nil {
		t.Fatal(err)
	}
	// One pair behind the input, each Relu (not the convolutions and the Add in front of them, whose clamp is in its range), the
	// second convolution, and the pool and flatten with the parameters of what they move. The logits stay in float.
	var behind []string
	scales := map[string]string{}
	for _, n := range m.Graph.Nodes {
		if n.Op.Kind() == "QuantizeLinear" {
			behind = append(behind, n.In[0].Name)
			scales[n.In[0].Name] = n.In[1].Name
		}
	}
	if want := []string{"x", "relu1", "conv2", "relu2", "pool", "flatten"}; !slices.Equal(behind, want) {
		t.Errorf("pairs behind %v, want %v", behind, want)
	}
	if scales["pool"] != scales["relu2"] || scales["flatten"] != scales["relu2"] || scales["relu1"] == scales["relu2"] {
		t.Errorf("scales: %v", scales)
	}
	for _, d := range p.Decisions {
		if !d.Quantized {
			t.Errorf("%s is left: %s", d.Layer, d.Why)
		}
	}
}

func TestStaticStaysNearFloat(t *testing.T) {
	for _, method := range Calibrators {
		m := &model.Model{Graph: residual(t)}
		float, err := exec.NewSession(residual(t), exec.Options{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		p, err := NewPlan(m, Recipe{Method: "static", Calibrator: Calibrator{Method: method, Percentile: 99.999, Levels: 256}})
		if err != nil {
			t.Fatal(err)
		}
		if err := Run(context.Background(), m, p, calls(32)); err != nil {
			t.Fatal(err)
		}
		quant, err := exec.NewSession(m.Graph, exec.Options{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		signal, noise := 0.0, 0.0
		for call := range calls(16).All(context.Background()) {
			a, err := float.Run(context.Background(), call.In)
			if err != nil {
				t.Fatal(err)
			}
			b, err := quant.Run(context.Background(), call.In)
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range tensor.Data[float32](a[0]) {
				d := float64(v - tensor.Data[float32](b[0])[i])
				signal += float64(v) * float64(v)
				noise += d * d
			}
		}
		least := 30.0
		if method == "moving_average" || method == "entropy" { // they clip single samples
			least = 15
		}
		if snr := 10 * math.Log10(signal/noise); snr < least {
			t.Errorf("%s: %.1f dB, want at least %v", method, snr, least)
		}
	}
}

func TestStaticRefusals(t *testing.T) {
	m := &model.Model{Graph: residual(t)}
	if _, err := NewPlan(m, Recipe{Method: "static", Calibrator: Calibrator{Method: "guess"}}); err == nil || !strings.Contains(err.Error(), "want one of mse, minmax") {
		t.Errorf("unknown calibrator: %v", err)
	}
	p, err := NewPlan(m, Recipe{Method: "static", Calibrator: Calibrator{Method: "minmax"}, Keep: []string{"conv1"}})
	if err != nil {
		t.Fatal(err)
	}
	if i := slices.IndexFunc(p.Decisions, func(d Decision) bool { return d.Layer == "conv1" }); p.Decisions[i].Quantized || !strings.Contains(p.Decisions[i].Why, `"conv1"`) {
		t.Errorf("kept layer: %+v", p.Decisions[i])
	}
	if err := Run(context.Background(), m, p, Samples{}); err == nil || !strings.Contains(err.Error(), "needs calibration data") {
		t.Errorf("no data: %v", err)
	}
	bad := Samples{Len: 1, All: func(context.Context) iter.Seq2[Call, error] {
		return func(yield func(Call, error) bool) {
			x := normal(1, 192, 0)
			x[7] = float32(math.NaN())
			yield(Call{In: []*tensor.Tensor{tensor.Of(tensor.Shape{1, 3, 8, 8}, x)}, Samples: 1}, nil)
		}
	}}
	if err := Run(context.Background(), m, p, bad); err == nil || !strings.Contains(err.Error(), "not finite") {
		t.Errorf("NaN in the data: %v", err)
	}
}

// behind lists the values that have a quantizer behind them.
func behind(g *graph.Graph) []string {
	var out []string
	for _, n := range g.Nodes {
		if n.Op.Kind() == "QuantizeLinear" {
			out = append(out, n.In[0].Name)
		}
	}
	return out
}

func TestOneCalibrationServesManyPlans(t *testing.T) {
	base := &model.Model{Graph: residual(t)}
	full, err := NewPlan(base, Recipe{Method: "static", Calibrator: Calibrator{Method: "minmax"}})
	if err != nil {
		t.Fatal(err)
	}
	var units []string
	for _, u := range full.Units() {
		units = append(units, u.Layer)
		if weight := u.Op != "Add"; weight != (u.Before > u.After && u.After > 0) {
			t.Errorf("unit %+v", u)
		}
	}
	if want := []string{"conv1", "conv2", "add", "head"}; !slices.Equal(units, want) {
		t.Errorf("units %v, want %v", units, want)
	}
	c, err := Calibrate(context.Background(), base, full, calls(8))
	if err != nil {
		t.Fatal(err)
	}
	if n := behind(base.Graph); n != nil {
		t.Errorf("calibration changed the model: pairs behind %v", n)
	}
	for _, test := range []struct {
		recipe Recipe
		want   []string
	}{
		{Recipe{Calibrator: Calibrator{Method: "minmax"}}, []string{"x", "relu1", "conv2", "relu2", "pool", "flatten"}},
		{Recipe{Calibrator: Calibrator{Method: "mse", Levels: 256}}, []string{"x", "relu1", "conv2", "relu2", "pool", "flatten"}},
		{Recipe{Calibrator: Calibrator{Method: "minmax"}, Layers: map[string]Precision{"conv1": InFloat}}, []string{"relu1", "conv2", "relu2", "pool", "flatten"}},
		{Recipe{Calibrator: Calibrator{Method: "minmax"}, Layers: map[string]Precision{"add": InFloat}}, []string{"x", "relu1", "conv2", "flatten"}},
		{Recipe{Calibrator: Calibrator{Method: "minmax"}, Keep: []string{"Add"}}, []string{"x", "relu1", "conv2", "flatten"}},
	} {
		test.recipe.Method = "static"
		one, two := &model.Model{Graph: base.Graph.Clone()}, &model.Model{Graph: residual(t)}
		p, err := NewPlan(one, test.recipe)
		if err != nil {
			t.Fatal(err)
		}
		if err := Apply(context.Background(), one, p, c); err != nil {
			t.Fatal(err)
		}
		if got := behind(one.Graph); !slices.Equal(got, test.want) {
			t.Errorf("%+v: pairs behind %v, want %v", test.recipe, got, test.want)
		}
		if p, err = NewPlan(two, test.recipe); err != nil {
			t.Fatal(err)
		}
		if err := Run(context.Background(), two, p, calls(8)); err != nil {
			t.Fatal(err)
		}
		if one.Graph.String() != two.Graph.String() {
			t.Errorf("%+v: the shared calibration gives another graph than one of its own", test.recipe)
		}
	}
	// What is left in float reads the float value where that is there anyway, and the codes where they are.
	m := &model.Model{Graph: residual(t)}
	p, err := NewPlan(m, Recipe{Method: "static", Calibrator: Calibrator{Method: "minmax"}, Layers: map[string]Precision{"conv1": InFloat, "add": InFloat}})
	if err != nil {
		t.Fatal(err)
	}
	if err := Run(context.Background(), m, p, calls(8)); err != nil {
		t.Fatal(err)
	}
	for _, n := range m.Graph.Nodes {
		if n.Name == "add" && (n.In[0].Name != "conv2_dq" || n.In[1].Name != "relu1") {
			t.Errorf("add reads %s and %s", n.In[0].Name, n.In[1].Name)
		}
	}
	delete(c.Values, "conv2")
	m = &model.Model{Graph: residual(t)}
	if p, err = NewPlan(m, Recipe{Method: "static", Calibrator: Calibrator{Method: "minmax"}}); err != nil {
		t.Fatal(err)
	}
	if err := Apply(context.Background(), m, p, c); err == nil || !strings.Contains(err.Error(), `value "conv2": there are no calibration statistics`) {
		t.Errorf("a value that was not observed: %v", err)
	}
	_, err = NewPlan(m, Recipe{Method: "static", Calibrator: Calibrator{Method: "minmax"}, Layers: map[string]Precision{"conv9": InFloat, "head": "int3"}})
	if err == nil || !strings.Contains(err.Error(), `layer "conv9": there is no such layer`) || !strings.Contains(err.Error(), `"head": want precision float, got "int3"`) {
		t.Errorf("precisions that there are not: %v", err)
	}
}
