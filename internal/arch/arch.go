// Package arch knows the architectures of language models and of transformers for text and images: what their configuration says and what their tensors are called,
// as descriptions that are data. [Build] turns the configuration and the weights of a checkpoint into a graph.
//
// An architecture is one short file with a function that reads a [Config] into a [Decoder] or an [Encoder], and one line in the
// table. The graph is recorded by what all share. Names of fields and tensors are those of Hugging Face checkpoints.
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

// description is what the configuration of a checkpoint says: a [Decoder] or an [Encoder].
type description interface {
	record(n *net)
	// about returns what the description says of the model, what names may be without, and ends of names of no use.
	about() (i Info, base string, ignored []string)
}

// of makes what reads a kind of description one of all.
func of[D description](read func(*Config) D) func(*Config) description {
	return func(c *Config) description { return read(c) }
}

// architectures is the table, by model_type.
var architectures = map[string]func(*Config) description{
	"bert":        of(bert),
	"bloom":       of(bloom),
	"cohere":      of(cohere),
	"distilbert":  of(distilBERT),
	"electra":     of(electra),
	"falcon":      of(falcon),
	"gemma":       of(gemma),
	"gemma2":      of(gemma2),
	"gemma3_text": of(gemma3),
	"gpt2":        of(gpt2),
	"gpt_neox":    of(gptNeoX),
	"granite":     of(granite),
	"llama":       of(llama),
	"mistral":     of(mistral),
	"mixtral":     of(mixtral),
	"mpnet":       of(mpnet),
	"olmo2":       of(olmo2),
	"opt":         of(opt),
	"phi":         of(phi),
	"phi3":        of(phi3),
	"qwen2":       of(qwen2),
	"qwen2_moe":   of(qwen2MoE),
	"qwen3":       of(qwen3),
	"qwen3_moe":   of(qwen3MoE),
	"roberta":     of(roberta),
	"smollm3":     of(smolLM3),
	"stablelm":    of(stableLM),
	"starcoder2":  of(starcoder2),
	"vit":         of(vit),
	"xlm-roberta": of(xlmRoberta),
}

// Names of what a graph takes and gives.
const (
	InputIDs      = "input_ids"
	AttentionMask = "attention_mask" // of encoders: 1 for tokens, 0 for what a text is filled up with
	TokenTypes    = "token_type_ids"
	PixelValues   = "pixel_values" // of encoders of images
	Positions     = "position_ids" // a value within the graph of a decoder
	Logits        = "logits"
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

// Build records the graph of a model from its config.json and its weights. That of a decoder computes the whole sequence: from
// input_ids [batch, tokens] the logits [batch, tokens, vocab]. That of an encoder of text takes input_ids, attention_mask and, where
// the model has types of tokens, token_type_ids, all [batch, tokens]; that of images pixel_values [batch, channels, height, width]. Their
// outputs are those of the class that the configuration names.
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
	info, base, ignored := d.about()
	n.without(base)
	d.record(n)
	g, err := n.Graph()
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := n.unused(ignored); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	info.Arch, info.Context = name, c.Context()
	return g, &info, nil
}

// Context returns how many tokens a configuration says that a model was made for; 0 where it does not.
func Context(config map[string]any) int { return newConfig(config).Context() }
