// Command train makes the example models: it trains them on the data of the example package, writes them as ONNX, and notes what they compute, which
// the tests compare with. The same weights come out every time on one kind of CPU.
//
//	go run ./internal/example/train -models internal/example/models -expected internal/example/testdata/expected.json
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/example"
	"github.com/neurotrain/neuroquant/internal/format/onnx"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/train"
	"github.com/neurotrain/neuroquant/tensor"
)

const (
	testSamples  = 2000
	firstSamples = 256 // that a test looks at
	shownSamples = 4   // whose scores are noted
	opset        = 17
)

// expected is what a model computes on its test set.
type expected struct {
	Samples        int      `json:"samples"`
	Correct        int      `json:"correct"`
	CorrectOfFirst int      `json:"correct_of_first_256"`
	Logits         []string `json:"logits"`
}

func main() {
	log.SetFlags(0)
	models := flag.String("models", "", "folder for the models")
	file := flag.String("expected", "", "JSON file for what they compute")
	only := flag.String("only", "", "name of the one model to train; what the file says of the others stays")
	threads := flag.Int("threads", 0, "threads; 0: all")
	flag.Parse()
	if *models == "" || *file == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(context.Background(), *models, *file, *only, *threads); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, models, file, only string, threads int) error {
	figures := map[string]expected{}
	if text, err := os.ReadFile(file); err == nil {
		if err := json.Unmarshal(text, &figures); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	for _, m := range example.Models() {
		if only != "" && m.Name != only {
			continue
		}
		g, s, err := recipe(m)
		if err != nil {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
		log.Print(m.Name)
		if figures[m.Name], err = fit(ctx, m, g, s, threads); err != nil {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
		of := &model.Model{Graph: g, Opset: map[string]int{"": opset}}
		if err := onnx.Format.Save(ctx, filepath.Join(models, m.Name+".onnx"), of, model.SaveOptions{}); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(figures, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

// recipe returns the model as it is before training, and how it is trained.
func recipe(m example.Model) (*graph.Graph, train.Settings, error) {
	s := train.Settings{
		Batch: 64, Clip: 1, Seed: 1, Schedule: train.Schedule{Name: "one_cycle"},
		Optimizer: train.Optimizer{Name: "adamw", WeightDecay: 0.02},
	}
	var g *graph.Graph
	var err error
	switch m.Name {
	case "shapes":
		g, err = shapeNet(m)
		s.Epochs, s.Optimizer.Rate, s.Augment = 6, 4e-3, train.Augment{Flip: true, Turn: true}
	case "grammars":
		g, err = grammarNet(m)
		s.Epochs, s.Optimizer.Rate = 3, 2e-3
	default:
		err = fmt.Errorf("there is no architecture of this name")
	}
	return g, s, err
}

// fit trains a graph, puts the weights into it, and returns what it computes then.
func fit(ctx context.Context, m example.Model, g *graph.Graph, s train.Settings, threads int) (expected, error) {
	t, err := train.New(&train.Task{Graph: g}, s.Optimizer, s.Clip, s.Seed, threads)
	if err != nil {
		return expected{}, err
	}
	defer t.Close()
	set, err := setOf(m.Input, m.Training, m.TrainingSamples)
	if err != nil {
		return expected{}, err
	}
	if _, err := t.Fit(ctx, s, set, nil, func(e train.Epoch) {
		log.Printf("  epoch %d of %d: loss %.4f, accuracy %.2f %%", e.Epoch, s.Epochs, e.Loss, 100**e.Accuracy)
	}); err != nil {
		return expected{}, err
	}
	t.Store()
	test, err := setOf(m.Input, m.Test, testSamples)
	if err != nil {
		return expected{}, err
	}
	scores, err := train.Scores(ctx, g, test, 250, threads)
	if err != nil {
		return expected{}, err
	}
	x := expected{Samples: testSamples}
	classes := len(m.Classes)
	for i, label := range test.Labels() {
		row := scores[i*classes:][:classes]
		best := 0
		for c, v := range row {
			if v > row[best] {
				best = c
			}
		}
		if best == label {
			x.Correct++
			if i < firstSamples {
				x.CorrectOfFirst++
			}
		}
		if i < shownSamples {
			var words []string
			for _, v := range row {
				words = append(words, strconv.FormatFloat(float64(v), 'g', 6, 32))
			}
			x.Logits = append(x.Logits, strings.Join(words, " "))
		}
	}
	log.Printf("  %d of %d test samples right", x.Correct, x.Samples)
	return x, nil
}

func setOf(input string, samples func(n int) (*tensor.Tensor, []int), n int) (data.Set, error) {
	x, labels := samples(n)
	return data.Arrays([]string{input}, []*tensor.Tensor{x}, labels)
}
