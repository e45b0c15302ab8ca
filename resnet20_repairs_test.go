package neuroquant_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/internal/material"
)

// Weights of 4 bits lose much; equalization, bias correction and fitted ranges win at least 4 dB of it back.
func TestResNet20FourBitRepairs(t *testing.T) {
	cifar := material.Path(t, "data/cifar10")
	ctx := context.Background()
	path := filepath.Join(cifar, "resnet20.onnx")
	raw, train := openCIFAR(t, "raw_test_500.npy"), openCIFAR(t, "raw_train_3000.npy")
	original := openModel(t, path)
	snr := map[bool]float64{}
	for _, repaired := range []bool{false, true} {
		c := neuroquant.StaticConfig()
		c.DType, c.NumCalibrationSamples, c.CalibrationBatchSize = "qint4", 512, 16
		c.BiasCorrection = repaired
		if repaired {
			c.CrossLayerEqualization, c.WeightRanges = true, "mse"
		}
		m := neuroquant.NewManager(c)
		m.Calibrate(train)
		res, err := m.Quantize(ctx, path)
		if err != nil {
			t.Fatal(err)
		}
		a := &neuroquant.Analyzer{Original: original, Quantized: res.Model, Batch: 50}
		r, err := a.CompareAccuracy(ctx, raw)
		if err != nil {
			t.Fatal(err)
		}
		snr[repaired] = *r.Outputs[0].SQNR
		t.Logf("repaired %v: same class on %.2f %%, logit SNR %.2f dB", repaired, 100**r.Agreement, snr[repaired])
		if err := res.Close(); err != nil {
			t.Error(err)
		}
	}
	if snr[true] < snr[false]+4 {
		t.Errorf("repairs win %.2f dB, want 4", snr[true]-snr[false])
	}
}
