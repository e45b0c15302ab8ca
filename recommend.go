package neuroquant

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/graph"
)

// Recommendation is a method for a model and a use, with the reason.
type Recommendation struct {
	ModelType string `json:"model_type"` // transformer, cnn, llm, custom
	UseCase   string `json:"use_case"`   // inference, training, fine_tuning
	Method    string `json:"method"`     // the method that fits best
	Why       string `json:"why"`
	Available bool   `json:"available"` // whether this version has it
	// Instead is the best method that this version has, where it does not have Method; empty if none helps.
	Instead string `json:"instead,omitempty"`
	// Traits are what the model's graph shows, where one was looked at.
	Traits []string `json:"traits,omitempty"`
}

var (
	modelTypes = []string{"transformer", "cnn", "llm", "custom"}
	useCases   = []string{"inference", "training", "fine_tuning"}
)

type advice struct{ method, why string }

var recommendations = map[[2]string]advice{
	{"transformer", "inference"}:   {"dynamic", "products dominate and activations vary from text to text, so scales are best found at run time; no calibration data is needed"},
	{"transformer", "training"}:    {"qat", "training with fake quantization lets the weights adapt"},
	{"transformer", "fine_tuning"}: {"bitsandbytes", "adapters train on frozen 4-bit weights"},
	{"cnn", "inference"}:           {"static", "convolutions gain most from integer activations with scales known beforehand; some calibration images are enough"},
	{"cnn", "training"}:            {"qat", "training with fake quantization keeps the accuracy of small and depthwise networks"},
	{"cnn", "fine_tuning"}:         {"qat", "a few epochs with fake quantization from the float model"},
	{"llm", "inference"}:           {"gptq", "decoding is bound by memory, so weights of 4 bits are fastest, and error compensation keeps perplexity"},
	{"llm", "training"}:            {"bitsandbytes", "frozen 4-bit weights leave memory for gradients of adapters"},
	{"llm", "fine_tuning"}:         {"bitsandbytes", "adapters train on frozen 4-bit weights (QLoRA)"},
	{"custom", "inference"}:        {"dynamic", "it needs no data and keeps what it cannot quantize in float"},
	{"custom", "training"}:         {"qat", "training with fake quantization works on any graph that trains"},
	{"custom", "fine_tuning"}:      {"qat", "a few epochs with fake quantization from the float model"},
}

// Recommend returns the method for a type of model (transformer, cnn, llm, custom) and a use (inference, training,
// fine_tuning). Unknown words are errors.
func Recommend(modelType, useCase string) (*Recommendation, error) {
	var errs []error
	if !slices.Contains(modelTypes, modelType) {
		errs = append(errs, fmt.Errorf("model type: want one of %s, got %q", strings.Join(modelTypes, ", "), modelType))
	}
	if !slices.Contains(useCases, useCase) {
		errs = append(errs, fmt.Errorf("use case: want one of %s, got %q", strings.Join(useCases, ", "), useCase))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	a := recommendations[[2]string{modelType, useCase}]
	r := &Recommendation{ModelType: modelType, UseCase: useCase, Method: a.method, Why: a.why}
	available := MethodNames(true)
	r.Available = slices.Contains(available, a.method)
	if !r.Available && useCase == "inference" && slices.Contains(available, "dynamic") {
		r.Instead = "dynamic"
	}
	return r, nil
}

// RecommendFor looks at the model at path and returns [Recommend] of the type that its graph shows.
func RecommendFor(ctx context.Context, path, useCase string) (*Recommendation, error) {
	m, err := Open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	kind, traits := classify(m.m.Graph)
	r, err := Recommend(kind, useCase)
	if err != nil {
		return nil, err
	}
	r.Traits = traits
	return r, nil
}

// classify tells the type of a model by where its weights are.
func classify(g *graph.Graph) (kind string, traits []string) {
	weight := map[string]int{} // parameter values by the operator that reads them
	nodes := map[string]int{}
	total := 0
	seen := map[*graph.Value]bool{}
	causal := false
	for _, n := range g.Nodes {
		nodes[n.Op.Kind()]++
		for _, v := range n.In {
			if g.IsParam(v) && !seen[v] {
				seen[v] = true
				size := v.Data.Shape().Len()
				weight[n.Op.Kind()] += size
				total += size
			}
		}
	}
	for _, v := range g.Inputs {
		causal = causal || strings.Contains(v.Name, "past_key") || strings.Contains(v.Name, "position_ids")
	}
	share := func(kinds ...string) float64 {
		n := 0
		for _, k := range kinds {
			n += weight[k]
		}
		return float64(n) / float64(max(total, 1))
	}
	conv, product := share("Conv", "ConvTranspose"), share("MatMul", "Gemm")
	attention := nodes["Softmax"] > 0 && nodes["MatMul"] >= 2 || nodes["Attention"] > 0
	traits = append(traits, fmt.Sprintf("%d nodes, %d parameters", len(g.Nodes), total))
	for _, t := range []struct {
		name  string
		share float64
	}{{"convolutions", conv}, {"matrix products", product}, {"embeddings", share("Gather")}, {"recurrent layers", share("LSTM", "GRU", "RNN")}} {
		if t.share >= 0.005 {
			traits = append(traits, fmt.Sprintf("%.0f %% of the parameters in %s", 100*t.share, t.name))
		}
	}
	switch {
	case attention && causal:
		return "llm", append(traits, "attention with a cache of keys and values")
	case attention && (product > 0.3 || nodes["Attention"] > 0):
		return "transformer", append(traits, "attention")
	case conv > 0.3:
		return "cnn", traits
	}
	return "custom", traits
}
