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

// imagenet is the normalization that the network was trained with.
var imagenet = data.Transform{Mean: []float64{0.485, 0.456, 0.406}, Std: []float64{0.229, 0.224, 0.225}}

func openCIFAR(t *testing.T, name string) data.Set {
	t.Helper()
	set, err := data.Open(filepath.Join(material.Path(t, "data/cifar10"), name), data.Options{Transform: imagenet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	return set
}

func openModel(t *testing.T, path string) *neuroquant.Model {
	t.Helper()
	m, err := neuroquant.Open(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// The float logits are those of PyTorch, stored beside the images.
func TestResNet20FloatLogits(t *testing.T) {
	cifar := material.Path(t, "data/cifar10")
	ref, err := data.ReadNPYFile(filepath.Join(cifar, "resnet20_fp32_logits_raw500.npy"))
	if err != nil {
		t.Fatal(err)
	}
	want := tensor.Data[float32](ref)
	set := openCIFAR(t, "raw_test_500.npy")
	for _, name := range []string{"resnet20.onnx", "resnet20_bn.onnx", "resnet20.pt", "resnet20_state_dict.pt", "resnet20.th"} {
		m := openModel(t, filepath.Join(cifar, name))
		var got []float32
		for b, err := range data.Batches(context.Background(), set, 50) {
			if err != nil {
				t.Fatal(err)
			}
			out, err := m.Run(context.Background(), map[string]*tensor.Tensor{m.Inputs()[0].Name: b.Inputs[0]})
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, tensor.Data[float32](out[m.Outputs()[0].Name])...)
		}
		worst := 0.0
		for i, w := range want {
			worst = max(worst, math.Abs(float64(w-got[i])))
		}
		top1 := func(logits []float32) int {
			right := 0
			for i, label := range set.Labels() {
				best := 0
				for c, v := range logits[i*10 : i*10+10] {
					if v > logits[i*10+best] {
						best = c
					}
				}
				if best == label {
					right++
				}
			}
			return right
		}
		t.Logf("%s: largest difference to the stored logits %.2g, top-1 %d of 500 (stored: %d)", name, worst, top1(got), top1(want))
		if worst > 1e-3 || top1(got) != top1(want) {
			t.Errorf("%s: want a difference of at most 1e-3 and equal top-1", name)
		}
	}
}

// Dynamic int8 must keep what the float network says: its class on 99 % of the raw and 98.5 % of the JPEG test images, its
// logits to 29 dB.
func TestResNet20Dynamic(t *testing.T) {
	cifar := material.Path(t, "data/cifar10")
	ctx := context.Background()
	raw, jpeg := openCIFAR(t, "raw_test_500.npy"), openCIFAR(t, "test_jpeg_2000.zip")
	for _, name := range []string{"resnet20.onnx", "resnet20_bn.onnx"} {
		path := filepath.Join(cifar, name)
		m := neuroquant.NewManager(neuroquant.DynamicConfig())
		res, err := m.Quantize(ctx, path)
		if err != nil {
			t.Fatal(err)
		}
		a := &neuroquant.Analyzer{Original: openModel(t, path), Quantized: res.Model, Batch: 50}
		for _, c := range []struct {
			what      string
			set       data.Set
			agreement float64
		}{{"raw", raw, 0.99}, {"JPEG", jpeg, 0.985}} {
			acc, err := a.CompareAccuracy(ctx, c.set)
			if err != nil {
				t.Fatal(err)
			}
			snr := *acc.Outputs[0].SQNR
			t.Logf("%s, %d %s images: same class on %.2f %%, logit SNR %.1f dB, top-1 %.2f %% -> %.2f %%", name, acc.Samples, c.what,
				100**acc.Agreement, snr, 100*acc.Original.Top1, 100*acc.Quantized.Top1)
			if *acc.Agreement < c.agreement || snr < 29 {
				t.Errorf("%s, %s images: want agreement of at least %.1f %% and 29 dB", name, c.what, 100*c.agreement)
			}
		}
		if err := res.Close(); err != nil {
			t.Error(err)
		}
	}
}
