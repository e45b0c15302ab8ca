package neuroquant_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/example"
	"github.com/neurotrain/neuroquant/nn"
	"github.com/neurotrain/neuroquant/tensor"
)

// shapesFile writes the embedded convolutional network, and returns samples to train on and to test with.
func shapesFile(t *testing.T, n int) (path string, train, test data.Set) {
	t.Helper()
	m := example.Models()[0]
	path = filepath.Join(t.TempDir(), m.Name+".onnx")
	if err := os.WriteFile(path, m.ONNX, 0o644); err != nil {
		t.Fatal(err)
	}
	set := func(x *tensor.Tensor, labels []int) data.Set {
		s, err := data.Arrays([]string{m.Input}, []*tensor.Tensor{x}, labels)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	return path, set(m.Training(n)), set(m.Test(n))
}

func classes(scores []float32, samples int) []int {
	out, n := make([]int, samples), len(scores)/samples
	for i := range out {
		for c, v := range scores[i*n : (i+1)*n] {
			if v > scores[i*n+out[i]] {
				out[i] = c
			}
		}
	}
	return out
}

func trainShapes(t *testing.T, c neuroquant.TrainConfig, n int) (*neuroquant.Trainer, string, data.Set) {
	t.Helper()
	ctx := context.Background()
	path, set, test := shapesFile(t, n)
	q := neuroquant.QATConfig()
	q.NumCalibrationSamples = 32
	tr := neuroquant.NewTrainer(c, q)
	t.Cleanup(func() { tr.Close() })
	if err := tr.Setup(ctx, path); err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Train(ctx, set, test); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	if err := tr.Save(ctx, out, false); err != nil {
		t.Fatal(err)
	}
	return tr, out, test
}

// What is trained with rounding in place is what is written: the file predicts the class of the training-time evaluation, for weights and
// activations of 8 and of few bits, and for scales that are powers of two.
func TestTrainedIsWritten(t *testing.T) {
	const n = 96
	for _, bits := range []struct {
		weights, activations int
		power                bool
	}{{8, 8, false}, {4, 8, false}, {3, 5, false}, {8, 8, true}} {
		c := neuroquant.DefaultTrainConfig()
		c.Method, c.Epochs, c.LearningRate, c.WeightBits, c.ActivationBits, c.PowerOfTwo = "qat", 1, 1e-3, bits.weights, bits.activations, bits.power
		c.Distill = 0.5
		tr, out, test := trainShapes(t, c, n)
		want, err := tr.Scores(context.Background(), test, 32)
		if err != nil {
			t.Fatal(err)
		}
		m := openModel(t, out)
		var got []float32
		for b, err := range data.Batches(context.Background(), test, 32) {
			if err != nil {
				t.Fatal(err)
			}
			res, err := m.Run(context.Background(), map[string]*tensor.Tensor{m.Inputs()[0].Name: b.Inputs[0]})
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, tensor.Data[float32](res[m.Outputs()[0].Name])...)
		}
		same, right := 0, 0
		a, b := classes(want, n), classes(got, n)
		for i := range a {
			if a[i] == b[i] {
				same++
			}
			if b[i] == test.Labels()[i] {
				right++
			}
		}
		t.Logf("weights of %d bits, activations of %d, power of two %v: the file predicts the trained class for %d of %d samples, %d right; SNR of its scores %.1f dB", bits.weights, bits.activations, bits.power, same, n, right, snr(want, got))
		if same < n-1 {
			t.Errorf("weights of %d bits, activations of %d: only %d of %d predictions are those of training", bits.weights, bits.activations, same, n)
		}
	}
}

// A float model that was trained is written with what it learned, and its history beside it.
func TestTrainFloat(t *testing.T) {
	c := neuroquant.DefaultTrainConfig()
	c.Epochs, c.LearningRate = 1, 1e-3
	tr, out, _ := trainShapes(t, c, 64)
	before, err := os.ReadFile(filepath.Join(out, "model.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(out, "history.json"))
	if err != nil {
		t.Fatal(err)
	}
	var h neuroquant.TrainHistory
	if err := json.Unmarshal(text, &h); err != nil || len(h.Epochs) != 1 || len(h.Losses) != 2 {
		t.Errorf("history %s: %v", text, err)
	}
	if _, _, err := neuroquant.NewManager(neuroquant.DefaultConfig()).Load(context.Background(), out); err != nil {
		t.Error(err)
	}
	if err := tr.Save(context.Background(), out, false); err == nil {
		t.Error("a folder that exists is replaced")
	}
	_, again, _ := trainShapes(t, c, 64)
	after, err := os.ReadFile(filepath.Join(again, "model.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, after) {
		t.Error("the same training gives other bytes")
	}
}

func TestTrainConfigRefuses(t *testing.T) {
	c := neuroquant.DefaultTrainConfig()
	c.Method, c.Criterion, c.Distill, c.WeightBits, c.Epochs, c.LearningRate, c.LRScheduler, c.Optimizer = "prune", "hinge", 2, 4, 0, -1, "never", "rprop"
	err := c.Validate()
	for _, want := range []string{
		`method: want one of float, qat, lora, got "prune"`, `criterion: want one of`, `distill: want 0 to 1`, "settings of method qat", "epochs: want at least 1, got 0",
		`optimizer: want one of sgd, adam, adamw, lion, got "rprop"`, `schedule: want one of`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

// A model of layers in Go learns what a rule says, is quantized in training, saved and read again.
func TestTrainLayers(t *testing.T) {
	const n = 512
	x, labels := tensor.New(tensor.Float32, n, 16), make([]int, n)
	state := uint64(1)
	for i := range n {
		row := tensor.Data[float32](x)[i*16 : (i+1)*16]
		for k := range row {
			state = state*6364136223846793005 + 1442695040888963407
			row[k] = float32(state>>40)/(1<<23) - 1
		}
		for c := range 3 { // the greatest of the first four
			if row[c+1] > row[labels[i]] {
				labels[i] = c + 1
			}
		}
	}
	set, err := data.Arrays([]string{"input"}, []*tensor.Tensor{x}, labels)
	if err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{"float", "qat"} {
		m, err := neuroquant.NewModel("perceptron", nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 4)), 1, 16)
		if err != nil {
			t.Fatal(err)
		}
		c := neuroquant.DefaultTrainConfig()
		c.Method, c.Epochs, c.Optimizer, c.LearningRate = method, 30, "adam", 0.01
		tr := neuroquant.NewTrainer(c, neuroquant.QATConfig())
		if err := tr.SetupModel(m); err != nil {
			t.Fatal(err)
		}
		h, err := tr.Train(context.Background(), set, set)
		if err != nil {
			t.Fatal(err)
		}
		right := *h.Epochs[len(h.Epochs)-1].Right
		t.Logf("%s: accuracy %.3f", method, right)
		if right < 0.9 {
			t.Errorf("%s: accuracy %v, want 0.9", method, right)
		}
		out := filepath.Join(t.TempDir(), method)
		if err := tr.Save(context.Background(), out, false); err != nil {
			t.Fatal(err)
		}
		openModel(t, out)
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := neuroquant.NewModel("bad", nn.Sequential(nn.Linear(16, 32), nn.Linear(31, 4)), 1, 16); err == nil || !strings.Contains(err.Error(), "1: want 31 values") {
		t.Errorf("layers that do not fit: %v", err)
	}
}
