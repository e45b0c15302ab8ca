package quantize

import (
	"bytes"
	"context"
	"testing"

	"github.com/neurotrain/neuroquant/internal/material"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/tensor"
)

// TestValuesInFiles gives methods so little memory that the values between layers lie in files: the codes are the same. Less than the
// largest layer takes is refused.
func TestValuesInFiles(t *testing.T) {
	dir := material.Path(t, "data/stories260k")
	calibration := stories(t, dir, "tinystories-calib.json", 12)
	codes := func(method string, memory int) (all []byte, w *walk, err error) {
		m := opened(t, dir)
		if err := pass.Clean(m.Graph); err != nil {
			t.Fatal(err)
		}
		p, err := NewPlan(m, Recipe{Method: method, Memory: memory, WeightOnly: WeightSettings{Bits: 4, Group: 32, Damp: 0.01, ScaleType: tensor.Float16}})
		if err != nil {
			t.Fatal(err)
		}
		layers, _, err := fewBits(m, p.Recipe)
		if err != nil {
			t.Fatal(err)
		}
		if w, err = newWalk(context.Background(), p, m.Graph, layers, windowsAsSamples(calibration)); err == nil {
			w.close()
		}
		if err := Run(context.Background(), m, p, windowsAsSamples(calibration)); err != nil {
			return nil, nil, err
		}
		for _, v := range m.Graph.Params() {
			c, ok := v.Data.(packed.Coded)
			if !ok {
				continue
			}
			a, err := c.Affine()
			if err != nil {
				t.Fatal(err)
			}
			all = append(append(append(all, a.Codes...), bytesIn(a.Scales)...), a.Zeros...)
		}
		return all, w, nil
	}
	for _, method := range []string{"gptq", "awq"} {
		want, w, err := codes(method, 0)
		if err != nil || len(want) == 0 {
			t.Fatal(err)
		}
		need := w.costs.need()
		got, w, err := codes(method, need+1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: other codes with values in files", method)
		}
		if keeps := w.costs.keeps(); keeps < 2<<20 {
			t.Errorf("%s: %d bytes of values are no test", method, keeps)
		}
		if _, _, err := codes(method, need-1); err == nil {
			t.Errorf("%s: less memory than is needed is taken", method)
		}
	}
}
