package neuroquant_test

import (
	"context"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"testing"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/format"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/internal/material"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/tensor"
)

// runTapped runs g and returns its first output and the 8-bit values by name.
func runTapped(t *testing.T, g *graph.Graph, x *tensor.Tensor) (out []float32, codes map[string]*tensor.Tensor, float int) {
	t.Helper()
	codes = map[string]*tensor.Tensor{}
	s, err := exec.NewSession(g, exec.Options{Tap: func(n *graph.Node, _, res []*tensor.Tensor) {
		for i, v := range n.Out {
			switch {
			case v == nil || res[i] == nil:
			case res[i].DType.Bits() == 8:
				codes[v.Name] = res[i].Clone()
			default:
				float++
			}
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	res, err := s.Run(context.Background(), []*tensor.Tensor{x})
	if err != nil {
		t.Fatal(err)
	}
	return append([]float32(nil), tensor.Data[float32](res[0])...), codes, float
}

func snr(want, got []float32) float64 {
	var signal, noise float64
	for i, w := range want {
		signal += float64(w) * float64(w)
		noise += float64(w-got[i]) * float64(w-got[i])
	}
	return 10 * math.Log10(signal/noise)
}

// agreement counts codes.
type agreement struct{ values, all, same, near int }

func (a *agreement) add(t *testing.T, got, want *tensor.Tensor) {
	t.Helper()
	g, err := got.Ints()
	if err != nil {
		t.Fatal(err)
	}
	w, err := want.Ints()
	if err != nil || len(w) != len(g) {
		t.Fatalf("%v and %v: %v", got, want, err)
	}
	a.values++
	for i := range w {
		d := g[i] - w[i]
		a.all++
		if d == 0 {
			a.same++
		}
		if d >= -1 && d <= 1 {
			a.near++
		}
	}
}

func (a agreement) String() string {
	return fmt.Sprintf("%d codes of %d values %.4f %% are equal and %.4f %% within one", a.all, a.values, 100*float64(a.same)/float64(a.all), 100*float64(a.near)/float64(a.all))
}

// A statically quantized network is computed on integers from the first convolution to the last product. Each code is that of
// the float evaluation of the same file to within one, given the same codes before it, and the logits are as near to those of
// the float network.
func TestResNet20StaticOnIntegers(t *testing.T) {
	cifar := material.Path(t, "data/cifar10")
	ctx := context.Background()
	c := neuroquant.StaticConfig()
	c.NumCalibrationSamples = 64
	m := neuroquant.NewManager(c)
	m.Calibrate(openCIFAR(t, "raw_train_3000.npy"))
	path := filepath.Join(cifar, "resnet20.onnx")
	res, err := m.Quantize(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Close()
	dir := filepath.Join(t.TempDir(), "static")
	if err := m.Save(ctx, res, dir, false); err != nil {
		t.Fatal(err)
	}
	if ratio := float64(res.InputBytes()) / float64(res.DiskBytes()); ratio < 3.5 {
		t.Errorf("%d bytes of %d: %.3f times smaller, want at least 3.5", res.DiskBytes(), res.InputBytes(), ratio)
	}
	file, err := format.Open(ctx, filepath.Join(dir, "model.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	low, err := pass.Lower(file.Graph)
	if err != nil {
		t.Fatal(err)
	}
	set := openCIFAR(t, "raw_test_500.npy")
	var x *tensor.Tensor
	for b, err := range data.Batches(ctx, set, 100) {
		if err != nil {
			t.Fatal(err)
		}
		x = b.Inputs[0]
		break
	}
	want, wantCodes, _ := runTapped(t, file.Graph, x)
	for name, codes := range maps.Clone(wantCodes) { // as the lowered graph has them
		if codes.Rank() == 4 {
			last, err := (&op.Transpose{Perm: []int{0, 2, 3, 1}}).Eval(nil, []*tensor.Tensor{codes})
			if err != nil {
				t.Fatal(err)
			}
			wantCodes[name+"_channels_last"] = last[0]
		}
	}
	got, gotCodes, inFloat := runTapped(t, low, x)
	if inFloat != 1 {
		t.Errorf("%d values are computed in float, want the logits alone", inFloat)
	}
	// Node by node, from the codes of the float evaluation: what rounds differently is a real number near the middle of two codes.
	var each agreement
	for _, n := range low.Nodes {
		in := make([]*tensor.Tensor, len(n.In))
		known := wantCodes[n.Out[0].Name] != nil
		for i, v := range n.In {
			switch {
			case v == nil:
			case v.Data != nil:
				if in[i], err = v.Data.Load(); err != nil {
					t.Fatal(err)
				}
			default:
				in[i] = wantCodes[v.Name]
				known = known && in[i] != nil
			}
		}
		if !known {
			continue
		}
		out, err := n.Op.Eval(&graph.Env{Pool: kernel.Shared()}, in)
		if err != nil {
			t.Fatalf("%s: %v", n.Name, err)
		}
		each.add(t, out[0], wantCodes[n.Out[0].Name])
	}
	t.Logf("node by node, of %v", each)
	if each.values < 34 || float64(each.near) < 0.9999*float64(each.all) || float64(each.same) < 0.999*float64(each.all) {
		t.Error("want 99.99 % of the codes of at least 34 values within one (two roundings meet in a convolution with an addition), 99.9 % equal")
	}
	// As a whole, where differences go through the layers behind them.
	var whole agreement
	for name, g := range gotCodes {
		if w := wantCodes[name]; w != nil {
			whole.add(t, g, w)
		}
	}
	original, err := format.Open(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	defer original.Close()
	float, _, _ := runTapped(t, original.Graph, x)
	before, after := snr(float, want), snr(float, got)
	t.Logf("as a whole, of %v; logits to float: %.2f dB, in integers %.2f dB", whole, before, after)
	if float64(whole.near) < 0.998*float64(whole.all) {
		t.Error("want 99.8 % of the codes within one")
	}
	if math.Abs(before-after) > 0.2 {
		t.Errorf("SNR of the logits %.2f dB, want %.2f", after, before)
	}
}
