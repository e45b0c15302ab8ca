// Command train times training steps of a model on one batch: forward, backward and update, in float and with rounding in place.
// bench/train/compare.py runs it beside PyTorch.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"iter"
	"os"
	"slices"
	"time"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/analyze"
	"github.com/neurotrain/neuroquant/internal/format"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/internal/quantize"
	"github.com/neurotrain/neuroquant/internal/train"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "train:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	path := flag.String("model", "", "model to train")
	samples := flag.String("data", "", "array of samples, as the model takes them")
	labels := flag.String("labels", "", "their class indices")
	mode := flag.String("mode", "float", "float, qat, or language: the loss is of the next token, the optimizer AdamW")
	batch := flag.Int("batch", 64, "samples of a step")
	steps := flag.Int("steps", 10, "steps to time")
	threads := flag.Int("threads", 1, "threads; 0: all")
	profile := flag.Bool("profile", false, "print where the time goes, by operator")
	flag.Parse()
	m, err := format.Open(ctx, *path)
	if err != nil {
		return err
	}
	defer m.Close()
	set, err := data.Open(*samples, data.Options{Raw: true, Labels: *labels})
	if err != nil {
		return err
	}
	defer set.Close()
	task := &train.Task{Graph: m.Graph}
	o := train.Optimizer{Rate: 0.01, Momentum: 0.9, WeightDecay: 1e-4}
	switch *mode {
	case "float":
		err = pass.CleanToTrain(m.Graph)
	case "language":
		task.Loss = "next_token"
		o = train.Optimizer{Name: "adamw", Rate: 0.001, WeightDecay: 0.01}
		err = pass.CleanToTrain(m.Graph)
	case "qat":
		task, err = rounded(ctx, m, set, *batch)
	default:
		err = fmt.Errorf("mode: want float, qat or language, got %q", *mode)
	}
	if err != nil {
		return err
	}
	t, err := train.New(task, o, 0, 1, *threads)
	if err != nil {
		return err
	}
	defer t.Close()
	index := make([]int, *batch)
	for i := range index {
		index[i] = i
	}
	b, err := set.Read(ctx, index)
	if err != nil {
		return err
	}
	in, target, err := t.Sample(b)
	if err != nil {
		return err
	}
	spent := map[string]time.Duration{}
	if *profile {
		t.Profile = func(n *graph.Node, d time.Duration) { spent[n.Op.Kind()] += d }
	}
	times := make([]float64, 0, *steps)
	for i := range *steps + 3 {
		start := time.Now()
		if _, err := t.Step(ctx, in, target, o.Rate); err != nil {
			return err
		}
		if i == 2 {
			clear(spent)
		}
		if i >= 3 {
			times = append(times, float64(time.Since(start).Microseconds())/1000)
		}
	}
	slices.Sort(times)
	if *profile {
		kinds := make([]string, 0, len(spent))
		for k := range spent {
			kinds = append(kinds, k)
		}
		slices.SortFunc(kinds, func(a, b string) int { return int(spent[b] - spent[a]) })
		for _, k := range kinds {
			fmt.Fprintf(os.Stderr, "%-40s %8.3f ms\n", k, float64(spent[k].Microseconds())/1000/float64(*steps))
		}
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]float64{"median_ms": times[len(times)/2], "best_ms": times[0]})
}

// rounded prepares the model for training with rounding in place, 8 bits.
func rounded(ctx context.Context, m *model.Model, set data.Set, batch int) (*train.Task, error) {
	if err := pass.Clean(m.Graph); err != nil {
		return nil, err
	}
	p, err := quantize.NewPlan(m, quantize.Recipe{Method: "qat", Calibrator: quantize.Calibrator{Method: "minmax"}})
	if err != nil {
		return nil, err
	}
	feeds, err := analyze.FromSet(m.Graph, set, batch)
	if err != nil {
		return nil, err
	}
	c, err := quantize.Calibrate(ctx, m, p, quantize.Samples{Len: feeds.Samples, All: func(ctx context.Context) iter.Seq2[quantize.Call, error] {
		return func(yield func(quantize.Call, error) bool) {
			for f, err := range feeds.All(ctx) {
				if !yield(quantize.Call{In: f.In, Samples: f.Samples, IDs: f.IDs}, err) || err != nil {
					return
				}
			}
		}
	}})
	if err != nil {
		return nil, err
	}
	q, err := quantize.NewQAT(m, p, c, quantize.QATSettings{})
	if err != nil {
		return nil, err
	}
	return &train.Task{Graph: q.Graph, Trained: q.Trained}, nil
}
