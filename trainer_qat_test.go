package neuroquant_test

import (
	"bytes"
	"context"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/format"
	"github.com/neurotrain/neuroquant/internal/format/onnx"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/nn"
	"github.com/neurotrain/neuroquant/tensor"
)

// normalizedNet writes a convolution with batch normalization and a linear layer, whose channels are scaled by gamma and have an offset, and returns
// its path with labelled images.
func normalizedNet(t *testing.T, gamma []float32) (path string, set data.Set) {
	t.Helper()
	g, err := nn.Build("normalized", nn.Sequential(
		nn.Conv2d(3, len(gamma), 3, nn.Conv{Padding: 1, NoBias: true}), nn.BatchNorm(len(gamma)), nn.ReLU(), nn.GlobalAvgPool(), nn.Flatten(), nn.Linear(len(gamma), 4)), 1, 3, 8, 8)
	if err != nil {
		t.Fatal(err)
	}
	put := func(n string, v []float32) {
		for _, p := range g.Params() {
			if strings.HasSuffix(p.Name, n) {
				p.Data = tensor.InMemory(tensor.Vector(v...))
				return
			}
		}
		t.Fatalf("there is no parameter %s", n)
	}
	offset, variance := make([]float32, len(gamma)), make([]float32, len(gamma))
	for i := range gamma {
		offset[i], variance[i] = 0.5+float32(i)/8, 1e-3
	}
	put("1.weight", gamma)
	put("1.bias", offset)
	put("1.running_var", variance)
	path = filepath.Join(t.TempDir(), "normalized.onnx")
	if err := onnx.Format.Save(context.Background(), path, &model.Model{Graph: g}, model.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	const n = 64
	x, labels := tensor.New(tensor.Float32, n, 3, 8, 8), make([]int, n)
	state := uint64(1)
	for i := range n {
		labels[i] = i % 4
		for k := range 192 {
			state = state*6364136223846793005 + 1442695040888963407
			tensor.Data[float32](x)[i*192+k] = float32(state>>40)/(1<<23) - 1 + float32(labels[i])/2
		}
	}
	if set, err = data.Arrays([]string{"input"}, []*tensor.Tensor{x}, labels); err != nil {
		t.Fatal(err)
	}
	return path, set
}

// trainQuantized trains a model at path with rounding in place, and returns the scores of the training-time evaluation and the written folder.
func trainQuantized(t *testing.T, path string, set data.Set, change func(*neuroquant.TrainConfig, *neuroquant.Config)) (scores []float32, out string) {
	t.Helper()
	c, q := neuroquant.DefaultTrainConfig(), neuroquant.QATConfig()
	c.Method, c.Epochs, c.BatchSize, c.LearningRate = "qat", 3, 16, 1e-3
	q.NumCalibrationSamples = 32
	change(&c, &q)
	tr := neuroquant.NewTrainer(c, q)
	defer tr.Close()
	if err := tr.Setup(context.Background(), path); err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Train(context.Background(), set, nil); err != nil {
		t.Fatal(err)
	}
	scores, err := tr.Scores(context.Background(), set, 16)
	if err != nil {
		t.Fatal(err)
	}
	out = filepath.Join(t.TempDir(), "out")
	if err := tr.Save(context.Background(), out, false); err != nil {
		t.Fatal(err)
	}
	return scores, out
}

// A batch normalization whose gamma is 0, or next to it, for some channels is folded: the network with rounding in place computes nearly what the
// float one does, is trained, and is written as it was trained.
func TestFoldingGammaNearZero(t *testing.T) {
	path, set := normalizedNet(t, []float32{1, 0, 1e-12, -1e-9, 1e-30, -1, 0.5, 1e-42})
	float := scoresOf(t, openModel(t, path), set)
	for _, bits := range []int{8, 4} {
		first, _ := trainQuantized(t, path, set, func(c *neuroquant.TrainConfig, _ *neuroquant.Config) {
			c.MaxSteps, c.WarmupSteps, c.LearningRate, c.WeightBits = 1, 0, 1e-12, bits
		})
		if s := snr(float, first); !(s > 15) {
			t.Errorf("%d bits: scores have a signal-to-noise ratio of %.1f dB before training, want 15", bits, s)
		}
		after, out := trainQuantized(t, path, set, func(c *neuroquant.TrainConfig, _ *neuroquant.Config) { c.WeightBits = bits })
		for _, v := range after {
			if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
				t.Fatalf("%d bits: scores are %v", bits, after)
			}
		}
		if s := snr(after, scoresOf(t, openModel(t, out), set)); !(s > 40) {
			t.Errorf("%d bits: what is written has a signal-to-noise ratio of %.1f dB to what was trained, want 40", bits, s)
		}
	}
}

// Ranges that observers found on the calibration samples stay as they are in training, unless scales are learned.
func TestObserversFreeze(t *testing.T) {
	path, set := normalizedNet(t, []float32{1, 0.5, -1, 2})
	scales := func(updates int, observer string, learn bool) []byte {
		_, out := trainQuantized(t, path, set, func(c *neuroquant.TrainConfig, q *neuroquant.Config) {
			c.MaxSteps, c.WarmupSteps, c.LearnScales, q.Calibrator = updates, 0, learn, observer
		})
		m, err := format.Open(context.Background(), out)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		var all []byte
		for _, n := range m.Graph.Nodes {
			if n.Op.Kind() != "QuantizeLinear" { // of activations
				continue
			}
			for _, v := range n.In[1:] {
				s, err := m.Graph.Constant(v)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, s.Bytes()...)
			}
		}
		return all
	}
	for _, observer := range []string{"moving_average", "minmax", "mse"} {
		few, many := scales(1, observer, false), scales(12, observer, false)
		if len(few) == 0 || !bytes.Equal(few, many) {
			t.Errorf("%s: scales and zero points of activations changed in training", observer)
		}
		if bytes.Equal(many, scales(12, observer, true)) {
			t.Errorf("%s: learned scales are those of calibration", observer)
		}
	}
}
