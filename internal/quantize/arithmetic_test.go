package quantize

import (
	"bytes"
	"context"
	"math"
	"path/filepath"
	"testing"

	"github.com/neurotrain/neuroquant/internal/impl"
	"github.com/neurotrain/neuroquant/internal/material"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/internal/shapes"
	"github.com/neurotrain/neuroquant/internal/solve"
	"github.com/neurotrain/neuroquant/tensor"
)

// arithmeticResult is a quantized model: the codes of its layers by name, and what their outputs lost.
type arithmeticResult struct {
	codes  map[string][]byte
	values map[string][]float32 // of scaled parameters, and of layers in encodings without codes of their own
	errors []LayerErrors
}

// quantizedBy quantizes a model with the instruction sets up to isa.
func quantizedBy(t *testing.T, isa, dir string, r Recipe, calibration [][]int64) *arithmeticResult {
	t.Helper()
	defer impl.Cap(isa)()
	m := opened(t, dir)
	if err := pass.Clean(m.Graph); err != nil {
		t.Fatal(err)
	}
	p, err := NewPlan(m, r)
	if err != nil {
		t.Fatal(err)
	}
	if err := Run(context.Background(), m, p, windowsAsSamples(calibration)); err != nil {
		t.Fatal(err)
	}
	out := &arithmeticResult{map[string][]byte{}, map[string][]float32{}, p.Errors}
	for _, v := range m.Graph.Params() {
		if c, ok := v.Data.(packed.Coded); ok {
			a, err := c.Affine()
			if err != nil {
				t.Fatal(err)
			}
			out.codes[v.Name] = bytes.Join([][]byte{a.Codes, bytesIn(a.Scales), a.Zeros, bytesIn(a.Index)}, nil)
			continue
		}
		x, err := v.Data.Load()
		if err != nil {
			t.Fatal(err)
		}
		if x.DType != tensor.Float32 {
			continue
		}
		if out.values[v.Name], err = x.Floats(); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// TestArithmeticOfInstructionSets holds the results of every instruction set against those of portable code, which a build with the tag
// purego is: what each number alone decides has the same bytes, and what sums decide, whose last bits depend on their order, loses the same
// within the tolerance that docs/fewbits.md states.
func TestArithmeticOfInstructionSets(t *testing.T) {
	if len(impl.Caps()) < 2 {
		t.Skip("there is portable code alone")
	}
	trained := material.Path(t, "data/stories260k")
	texts := stories(t, trained, "tinystories-calib.json", 4)
	wide := filepath.Join(t.TempDir(), "wide") // sums over more columns, whose last bits differ
	if err := (shapes.Decoder{Type: "llama", Layers: 1, Hidden: 256, Inner: 640, Heads: 4, KVHeads: 2, Vocabulary: 512, RopeTheta: 1e4, Seed: 5}).WriteCheckpoint(wide); err != nil {
		t.Fatal(err)
	}
	few := WeightSettings{Bits: 4, Group: 64, ScaleType: tensor.Float16, Damp: 0.01}
	gptq, ordered := few, few
	gptq.Symmetric, gptq.Norm, gptq.Order = true, 2.4, solve.GroupAware
	ordered.Bits, ordered.Order = 3, solve.ActOrder
	for name, c := range map[string]struct {
		dir string
		r   Recipe
	}{
		"rtn":                {trained, Recipe{Method: "rtn", WeightOnly: few}},
		"NF4":                {trained, Recipe{Method: "bitsandbytes", Rounding: packed.Rounding{Type: packed.NF4, Block: 64}}},
		"LLM.int8()":         {trained, Recipe{Method: "bitsandbytes", Rounding: packed.Rounding{Threshold: 6}}},
		"W8A8":               {trained, Recipe{Method: "w8a8"}},
		"SmoothQuant":        {trained, Recipe{Method: "w8a8", Repairs: Repairs{Smooth: 0.5}}},
		"gptq":               {trained, Recipe{Method: "gptq", WeightOnly: gptq}},
		"gptq, 3 bits":       {trained, Recipe{Method: "gptq", WeightOnly: ordered}},
		"gptq of wide layer": {wide, Recipe{Method: "gptq", WeightOnly: ordered}},
		"awq":                {trained, Recipe{Method: "awq", WeightOnly: few}},
	} {
		t.Run(name, func(t *testing.T) {
			var want *arithmeticResult
			for _, isa := range impl.Caps() {
				got := quantizedBy(t, isa, c.dir, c.r, texts)
				if want == nil {
					want = got
					continue
				}
				compareArithmetic(t, isa, got, want)
			}
		})
	}
}

// compareArithmetic compares a result with that of portable code.
func compareArithmetic(t *testing.T, isa string, got, want *arithmeticResult) {
	t.Helper()
	const tolerance = 0.05
	equal, all, off := 0, 0, 0.0
	for layer, b := range want.codes {
		for i := range b {
			all++
			if b[i] == got.codes[layer][i] {
				equal++
			}
		}
	}
	for param, x := range want.values {
		for i, v := range x {
			off = max(off, math.Abs(float64(v-got.values[param][i])))
		}
	}
	worst := 0.0
	for i, e := range want.errors {
		g := got.errors[i]
		if g.Layer != e.Layer || g.Tokens != e.Tokens {
			t.Fatalf("%s: layer %+v, with portable code %+v", isa, g, e)
		}
		worst = max(worst, math.Abs(math.Log(g.Stored/e.Stored)))
	}
	switch {
	case all+len(want.values) == 0:
		t.Error("nothing was compared")
	case len(want.errors) == 0 && (equal != all || off != 0): // of methods whose codes no sum decides
		t.Errorf("%s: %d of %d bytes of codes are those of portable code, values are off by %g", isa, equal, all, off)
	case !(worst <= math.Log(1+tolerance)):
		t.Errorf("%s: the error of a layer is off by a factor of %.3f from that of portable code", isa, math.Exp(worst))
	}
	t.Logf("%s: %d of %d bytes of codes equal, values off by %g, errors of layers by %.4f", isa, equal, all, off, math.Exp(worst)-1)
}
