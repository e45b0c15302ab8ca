// Package arch knows the architectures of language models: what their configuration says and what their tensors are called,
// as descriptions that are data. [Build] turns the configuration and the weights of a checkpoint into a graph.
//
// An architecture is one short file with a function that reads a [Config] into a [Decoder], and one line in the table. The
// graph is recorded by what all share. Names of fields and tensors are those of Hugging Face checkpoints.
package arch

import (
	"fmt"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Weights are the tensors of a checkpoint. A quantized matrix is a source of float32 that loads packed.
type Weights interface {
	// Tensor returns the tensor of a name, or nil.
	Tensor(name string) tensor.Source
	// Names lists all names.
	Names() []string
}

// Info is what a user of the graph must know of the model.
type Info struct {
	Arch    string
	Vocab   int // rows of the embedding
	Context int // most tokens the model was made for; 0: not said
	Hidden  int
	Layers  int
	Decoder bool // computes logits of next tokens from input_ids
}

// architectures is the table, by model_type.
var architectures = map[string]func(*Config) *Decoder{
	"bloom":       bloom,
	"cohere":      cohere,
	"falcon":      falcon,
	"gemma":       gemma,
	"gemma2":      gemma2,
	"gemma3_text": gemma3,
	"gpt2":        gpt2,
	"gpt_neox":    gptNeoX,
	"granite":     granite,
	"llama":       llama,
	"mistral":     mistral,
	"mixtral":     mixtral,
	"olmo2":       olmo2,
	"opt":         opt,
	"phi":         phi,
	"phi3":        phi3,
	"qwen2":       qwen2,
	"qwen2_moe":   qwen2MoE,
	"qwen3":       qwen3,
	"qwen3_moe":   qwen3MoE,
	"smollm3":     smolLM3,
	"stablelm":    stableLM,
	"starcoder2":  starcoder2,
}

// Names of what a graph takes and gives.
const (
	InputIDs  = "input_ids"
	Positions = "position_ids" // a value within the graph
	Logits    = "logits"
)

// Known lists the architectures.
func Known() []string {
	var out []string
	for name := range architectures {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// Build records the graph of a model from its config.json and its weights. The graph computes the whole sequence: from
// input_ids [batch, tokens] the logits [batch, tokens, vocab].
func Build(config map[string]any, w Weights) (*graph.Graph, *Info, error) {
	c := newConfig(config)
	name := c.Text("model_type", "")
	read := architectures[name]
	if read == nil {
		return nil, nil, fmt.Errorf("config: unknown model_type %q; known are %s", name, strings.Join(Known(), ", "))
	}
	c.harmless()
	d := read(c)
	if err := c.finish(); err != nil {
		return nil, nil, fmt.Errorf("config of model_type %q: %w", name, err)
	}
	n := newNet(name, w)
	n.without(d.Base)
	d.record(n)
	g, err := n.Graph()
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := n.unused(d.Ignored); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	return g, &Info{Arch: name, Vocab: d.Vocab, Context: c.Context(), Hidden: d.Hidden, Layers: d.Layers, Decoder: true}, nil
}

// Context returns how many tokens a configuration says that a model was made for; 0 where it does not.
func Context(config map[string]any) int { return newConfig(config).Context() }
