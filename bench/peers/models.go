package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/format/onnx"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/internal/quantize"
	"github.com/neurotrain/neuroquant/internal/shapes"
	"github.com/neurotrain/neuroquant/tensor"
)

// A network is measured in float32 and in int8 of the same weights.
type network struct {
	name  string
	build func() (*graph.Graph, error)
	// method makes the int8 form.
	method string
	// minInt8 is how many times faster than float32 int8 has to be; 0: any.
	minInt8 float64
	// of is the network whose float32 file this one shares; it is measured only if it is named.
	of string
}

var networks = []network{
	{name: "resnet18", build: shapes.ResNet18().Graph, method: "static"},
	{name: "resnet50", build: shapes.ResNet50().Graph, method: "static", minInt8: 2.3},
	{name: "mobilenetv2", build: shapes.MobileNetV2Full().Graph, method: "static"},
	{name: "bert", build: shapes.BERTBase().Graph, method: "dynamic", minInt8: 2.5},
	{name: "bert-static", build: shapes.BERTBase().Graph, method: "static", minInt8: 2.5, of: "bert"},
}

// tokens is the length of the sequences that the encoder is measured on.
const tokens = 128

// filesVersion changes when the files in the models' folder have to be made anew.
const filesVersion = 2

// files are the model files of a network with what is known about them.
type files struct {
	Version int     `json:"version"`
	Float32 string  `json:"-"`
	Int8    string  `json:"-"`
	Ops     float64 `json:"ops"`          // of one sample: two for each multiply-add of its products and convolutions
	Weights int64   `json:"weight_bytes"` // of the float32 parameters
}

// path returns the file of an element type.
func (f *files) path(kind string) string {
	if kind == "int8" {
		return f.Int8
	}
	return f.Float32
}

// makeFiles writes the model files of a network to the folder dir unless they are there.
func (n *network) makeFiles(ctx context.Context, dir string) (*files, error) {
	f := &files{Float32: filepath.Join(dir, cmp.Or(n.of, n.name)+"-float32.onnx"), Int8: filepath.Join(dir, n.name+"-int8.onnx")}
	about := filepath.Join(dir, n.name+".json")
	raw, err := os.ReadFile(about)
	if err == nil && json.Unmarshal(raw, f) == nil && f.Version == filesVersion {
		return f, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	g, err := n.build()
	if err != nil {
		return nil, err
	}
	f.Version, f.Weights = filesVersion, 0
	for _, v := range g.Params() {
		f.Weights += int64(v.Type.DType.ByteLen(v.Data.Shape().Len()))
	}
	if err := save(ctx, g, f.Float32); err != nil {
		return nil, err
	}
	g = g.Clone()
	if err := pass.Clean(g); err != nil {
		return nil, err
	}
	if f.Ops, err = countOps(ctx, g); err != nil {
		return nil, err
	}
	m := &model.Model{Graph: g}
	p, err := quantize.NewPlan(m, quantize.Recipe{Method: n.method, Weight: "qint8", Calibrator: quantize.Calibrator{Method: "minmax"}})
	if err != nil {
		return nil, err
	}
	if err := quantize.Run(ctx, m, p, samples(g)); err != nil {
		return nil, err
	}
	if err := save(ctx, m.Graph, f.Int8); err != nil {
		return nil, err
	}
	if raw, err = json.Marshal(f); err != nil {
		return nil, err
	}
	return f, os.WriteFile(about, raw, 0o666)
}

func save(ctx context.Context, g *graph.Graph, path string) error {
	return onnx.Format.Save(ctx, path, &model.Model{Graph: g, Producer: "neuroquant"}, model.SaveOptions{})
}

// samples are inputs to calibrate with.
func samples(g *graph.Graph) quantize.Samples {
	const count = 4
	return quantize.Samples{Len: count, All: func(context.Context) iter.Seq2[quantize.Call, error] {
		return func(yield func(quantize.Call, error) bool) {
			for i := range count {
				in := input(declared(g), 1, uint64(100+i))
				c := quantize.Call{In: make([]*tensor.Tensor, len(g.Inputs)), Samples: 1}
				for j, v := range g.Inputs {
					c.In[j] = in[v.Name]
				}
				if !yield(c, nil) {
					return
				}
			}
		}
	}}
}

// input makes inputs for a model: images of standard normal values, or sequences of tokens without padding.
func input(declared []neuroquant.ValueInfo, batch int, seed uint64) map[string]*tensor.Tensor {
	in := map[string]*tensor.Tensor{}
	for i, v := range declared {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		shape := tensor.Shape{batch}
		for _, d := range v.Shape[1:] {
			if n, known := d.(int); known {
				shape = append(shape, n)
			} else {
				shape = append(shape, tokens)
			}
		}
		switch v.Name {
		case "images":
			in[v.Name] = tensor.Of(shape, fill(shape, func() float32 { return float32(r.NormFloat64()) }))
		case "input_ids":
			in[v.Name] = tensor.Of(shape, fill(shape, func() int64 { return int64(r.IntN(30000)) }))
		case "attention_mask":
			in[v.Name] = tensor.Of(shape, fill(shape, func() int64 { return 1 }))
		default:
			in[v.Name] = tensor.New(tensor.Int64, shape...)
		}
	}
	return in
}

func fill[T any](shape tensor.Shape, next func() T) []T {
	out := make([]T, shape.Len())
	for i := range out {
		out[i] = next()
	}
	return out
}

// declared are the inputs of a graph as a model's are told.
func declared(g *graph.Graph) []neuroquant.ValueInfo {
	out := make([]neuroquant.ValueInfo, len(g.Inputs))
	for i, v := range g.Inputs {
		out[i] = neuroquant.ValueInfo{Name: v.Name, Shape: make([]any, len(v.Type.Dims))}
		for j, d := range v.Type.Dims {
			if d.IsKnown() {
				out[i].Shape[j] = d.Size
			}
		}
	}
	return out
}

// countOps counts two operations for each multiply-add in the products and convolutions of one sample.
func countOps(ctx context.Context, g *graph.Graph) (float64, error) {
	total := 0.0
	s, err := exec.NewSession(g, exec.Options{Tap: func(n *graph.Node, in, out []*tensor.Tensor) {
		switch n.Op.Kind() {
		case "Conv":
			total += 2 * float64(out[0].Len()) * float64(in[1].Shape[1:].Len())
		case "Gemm", "MatMul":
			// Each element of the result sums over what its row of the left operand holds.
			total += 2 * float64(out[0].Len()) * float64(in[0].Shape[len(in[0].Shape)-1])
		}
	}})
	if err != nil {
		return 0, err
	}
	defer s.Close()
	_, err = s.RunNamed(ctx, input(declared(g), 1, 1))
	return total, err
}
