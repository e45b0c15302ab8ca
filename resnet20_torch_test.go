package neuroquant_test

import (
	"context"
	"math"
	"path/filepath"
	"testing"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/material"
	"github.com/neurotrain/neuroquant/tensor"
)

// The network in each of PyTorch's forms is quantized, written and read again; it says what PyTorch said before.
func TestResNet20OfPyTorchIsQuantized(t *testing.T) {
	cifar := material.Path(t, "data/cifar10")
	ctx := context.Background()
	ref, err := data.ReadNPYFile(filepath.Join(cifar, "resnet20_fp32_logits_raw500.npy"))
	if err != nil {
		t.Fatal(err)
	}
	want := tensor.Data[float32](ref)
	set, training := openCIFAR(t, "raw_test_500.npy"), openCIFAR(t, "raw_train_3000.npy")
	static := neuroquant.StaticConfig()
	static.NumCalibrationSamples = 128
	for _, name := range []string{"resnet20.pt", "resnet20.th", "resnet20_state_dict.pt"} {
		for method, c := range map[string]neuroquant.Config{"dynamic": neuroquant.DynamicConfig(), "static": static} {
			m := neuroquant.NewManager(c)
			m.Calibrate(training)
			res, err := m.Quantize(ctx, filepath.Join(cifar, name))
			if err != nil {
				t.Fatalf("%s, %s: %v", name, method, err)
			}
			dir := filepath.Join(t.TempDir(), "out")
			if err := m.Save(ctx, res, dir, false); err != nil {
				t.Fatal(err)
			}
			for _, d := range res.Decisions {
				if !d.Quantized {
					t.Errorf("%s, %s: %s stays in float: %s", name, method, d.Param, d.Why)
				}
			}
			if err := res.Close(); err != nil {
				t.Error(err)
			}
			got := logits(t, openModel(t, dir), set)
			var signal, noise float64
			for i, w := range want {
				signal, noise = signal+float64(w)*float64(w), noise+math.Pow(float64(w-got[i]), 2)
			}
			same := 0
			for i := 0; i < len(want); i += 10 {
				if argmax(got[i:i+10]) == argmax(want[i:i+10]) {
					same++
				}
			}
			snr := 10 * math.Log10(signal/noise)
			t.Logf("%s, %s: same class on %d of %d, logit SNR %.1f dB", name, method, same, len(want)/10, snr)
			if same < 490 || snr < 28 {
				t.Errorf("%s, %s: want the same class on 490 of 500 and 28 dB", name, method)
			}
		}
	}
}

// logits runs a model on all of a set.
func logits(t *testing.T, m *neuroquant.Model, set data.Set) []float32 {
	t.Helper()
	var out []float32
	for b, err := range data.Batches(context.Background(), set, 50) {
		if err != nil {
			t.Fatal(err)
		}
		y, err := m.Run(context.Background(), map[string]*tensor.Tensor{m.Inputs()[0].Name: b.Inputs[0]})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, tensor.Data[float32](y[m.Outputs()[0].Name])...)
	}
	return out
}

func argmax(v []float32) int {
	best := 0
	for i, x := range v {
		if x > v[best] {
			best = i
		}
	}
	return best
}
