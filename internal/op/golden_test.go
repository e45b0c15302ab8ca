package op

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// goldenCase is one call of an operator with what another program computed for it; see testdata/golden.py.
type goldenCase struct {
	Name  string
	Op    string
	Attrs map[string]goldenAttr
	In    []*goldenTensor
	Out   []*goldenTensor
	Tol   float64 // relative to the largest magnitude of an output; negative: to each element
}

type goldenAttr struct {
	I       *int64
	F       *float32
	S       *string
	Ints    []int64
	Floats  []float32
	Strings []string
}

type goldenTensor struct {
	DType  string
	Shape  []int
	Values []goldenNumber
}

// goldenNumber is a JSON number or one of the strings "nan", "inf", "-inf".
type goldenNumber float64

func (n *goldenNumber) UnmarshalJSON(b []byte) error {
	if b[0] == '"' {
		b = b[1 : len(b)-1]
	}
	v, err := strconv.ParseFloat(string(b), 64)
	*n = goldenNumber(v)
	return err
}

func (g *goldenTensor) tensor(t *testing.T) *tensor.Tensor {
	if g == nil {
		return nil
	}
	d, err := tensor.ParseDType(g.DType)
	if err != nil {
		t.Fatal(err)
	}
	v := make([]float64, len(g.Values))
	for i, x := range g.Values {
		v[i] = float64(x)
	}
	out, err := tensor.FromFloat64s(d, g.Shape, v)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// runGolden runs the cases of a file of testdata, on one thread and on several.
func runGolden(t *testing.T, file string) {
	if !filepath.IsAbs(file) {
		file = filepath.Join("testdata", file)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var cases []goldenCase
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	pool := kernel.NewPool(3)
	defer pool.Close()
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			o, ok := New(c.Op)
			if !ok {
				t.Fatalf("no operator %s", c.Op)
			}
			attrs := map[string]any{}
			for k, a := range c.Attrs {
				switch {
				case a.I != nil:
					attrs[k] = *a.I
				case a.F != nil:
					attrs[k] = *a.F
				case a.S != nil:
					attrs[k] = *a.S
				case a.Ints != nil:
					attrs[k] = a.Ints
				case a.Floats != nil:
					attrs[k] = a.Floats
				case a.Strings != nil:
					attrs[k] = a.Strings
				}
			}
			if err := SetAttrs(o, attrs); err != nil {
				t.Fatal(err)
			}
			in := make([]*tensor.Tensor, len(c.In))
			types := make([]graph.Type, len(c.In))
			for i, g := range c.In {
				if in[i] = g.tensor(t); in[i] != nil {
					types[i] = graph.TypeOf(in[i])
				}
			}
			inferred, err := o.Infer(types)
			if err != nil {
				t.Fatal("Infer: ", err)
			}
			for _, e := range []*graph.Env{{}, {Pool: pool}} {
				out, err := o.Eval(e, in)
				if err != nil {
					t.Fatal("Eval: ", err)
				}
				for i, g := range c.Out {
					if g == nil {
						continue
					}
					if i >= len(out) || i >= len(inferred) {
						t.Fatalf("output %d is missing", i)
					}
					if err := compareGolden(out[i], g.tensor(t), c.Tol); err != nil {
						t.Errorf("output %d: %v", i, err)
					}
					checkInferred(t, i, inferred[i], out[i])
				}
			}
		})
	}
}

// checkInferred fails unless a tensor is of the inferred type.
func checkInferred(t *testing.T, i int, ty graph.Type, got *tensor.Tensor) {
	t.Helper()
	if ty.DType != got.DType {
		t.Errorf("output %d: inferred element type %v, got %v", i, ty.DType, got.DType)
	}
	if !ty.Ranked {
		return
	}
	if len(ty.Dims) != got.Rank() {
		t.Errorf("output %d: inferred %v, got %v", i, ty, got)
		return
	}
	for k, d := range ty.Dims {
		if d.IsKnown() && d.Size != got.Shape[k] {
			t.Errorf("output %d: inferred %v, got %v", i, ty, got)
			return
		}
	}
}

func compareGolden(got, want *tensor.Tensor, tol float64) error {
	if got.DType != want.DType || !got.Shape.Equal(want.Shape) {
		return fmt.Errorf("want %v, got %v", want, got)
	}
	g, err := got.Float64s()
	if err != nil {
		return err
	}
	w, _ := want.Float64s()
	scale := 0.0
	for _, v := range w {
		if !math.IsInf(v, 0) && !math.IsNaN(v) {
			scale = max(scale, math.Abs(v))
		}
	}
	for i := range w {
		if g[i] == w[i] || math.IsNaN(g[i]) && math.IsNaN(w[i]) {
			continue
		}
		bound := tol * scale
		if tol < 0 {
			bound = 1e-7 - tol*math.Abs(w[i])
		}
		if d := math.Abs(g[i] - w[i]); !(d <= bound) {
			return fmt.Errorf("element %d: want %v, got %v", i, w[i], g[i])
		}
	}
	return nil
}
