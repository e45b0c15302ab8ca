// Package example holds two small trained models and the data that they were trained on, made by code, so that the whole
// main job can be shown on a machine that has nothing else: [Models] lists them.
//
// models/ holds the ONNX files. The program in train makes them from the data, with the trainer of this project; that in gen writes test
// data as npy files for other programs. `make example-models` runs the first.
package example

import (
	"embed"
	"fmt"

	"github.com/neurotrain/neuroquant/tensor"
)

//go:embed models/*.onnx
var files embed.FS

// Model is an embedded classifier with the source of its data.
type Model struct {
	Name    string // file stem, such as "shapes"
	Title   string // one line for people
	ONNX    []byte // the float32 model; it has one input, [batch, Shape...], and one output "logits", [batch, len(Classes)]
	Input   string // name of the input
	DType   tensor.DType
	Shape   tensor.Shape // of one sample
	Classes []string

	// TrainingSamples is how many samples of Training the stored weights come from.
	TrainingSamples int

	samples func(seed uint64, n int) (*tensor.Tensor, []int)
}

// The seeds of the sets. They share no image; about one test sequence in a hundred, such as one token over and over, was also
// trained on.
const (
	trainingSeed = iota + 1
	calibrationSeed
	testSeed
)

// Models lists the embedded models.
func Models() []Model {
	return []Model{
		{
			Name: "shapes", Title: "convolutional network that names rendered shapes",
			ONNX: onnx("shapes"), Input: "images", DType: tensor.Float32, Shape: tensor.Shape{3, Side, Side},
			Classes: Shapes, TrainingSamples: 24000, samples: Images,
		},
		{
			Name: "grammars", Title: "transformer encoder that names the grammar of a token sequence",
			ONNX: onnx("grammars"), Input: "tokens", DType: tensor.Int64, Shape: tensor.Shape{Tokens},
			Classes: Grammars, TrainingSamples: 100000, samples: Sequences,
		},
	}
}

// Training returns the first n samples and labels of the set that the model was trained on.
func (m Model) Training(n int) (*tensor.Tensor, []int) { return m.samples(trainingSeed, n) }

// Calibration returns the first n samples and labels of the set for calibration.
func (m Model) Calibration(n int) (*tensor.Tensor, []int) { return m.samples(calibrationSeed, n) }

// Test returns the first n samples and labels of the set for evaluation.
func (m Model) Test(n int) (*tensor.Tensor, []int) { return m.samples(testSeed, n) }

func onnx(name string) []byte {
	b, err := files.ReadFile("models/" + name + ".onnx")
	if err != nil {
		panic(fmt.Sprintf("example: %v", err))
	}
	return b
}
