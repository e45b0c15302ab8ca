package arch

import "slices"

// encoder reads what BERT and its relatives have under the same names: sizes, the embedding, blocks normalized after each part.
func (c *Config) encoder(base string, pad *int, types bool) (*Encoder, *Text, Norm) {
	s := c.common()
	norm := Norm{Epsilon: c.Epsilon("layer_norm_eps", 1e-12), Mean: true, Bias: true}
	activation := c.Activation("hidden_act", "gelu")
	c.Only("position_embedding_type", "absolute")
	c.Only("is_decoder", false)
	c.Only("add_cross_attention", false)
	text := &Text{Prefix: base + "embeddings.", Vocab: s.vocab, Rows: c.Size("max_position_embeddings", 512), Pad: pad, Norm: norm}
	text.Norm.Name = "LayerNorm"
	if types {
		text.Types = c.Size("type_vocab_size", 2)
	}
	dense := func(name string) Linear { return Linear{Name: name, Bias: true} }
	return &Encoder{
		Hidden: s.hidden, Layers: s.layers, Base: base, Input: text,
		Block: func(i int) Block {
			attention, mlp := norm, norm
			attention.Name, mlp.Name = "attention.output.LayerNorm", "output.LayerNorm"
			return Block{
				Name: layer(base+"encoder.layer.", i), AfterAttention: &attention, AfterMLP: &mlp,
				Attention: Attention{
					Heads: s.heads, KVHeads: s.heads, Size: s.size, Bidirectional: true,
					Q: dense("attention.self.query"), K: dense("attention.self.key"), V: dense("attention.self.value"), Out: dense("attention.output.dense"),
				},
				MLP: &MLP{Up: dense("intermediate.dense"), Down: dense("output.dense"), Activation: activation, Inner: s.inner},
			}
		},
	}, text, norm
}

// Outputs of encoders.
const (
	LastHidden = "last_hidden_state"
	Pooled     = "pooler_output"
)

// heads are those of an architecture by the end of the name of its class, such as ForMaskedLM.
type heads map[string][]Head

// read chooses the heads of the class that architectures names; the bare model's where it names none. What the other classes have besides is
// of no use.
func (h heads) read(c *Config, class string, e *Encoder) {
	names := c.Texts("architectures")
	kind := "Model"
	if len(names) > 0 {
		kind = names[0]
		if len(kind) > len(class) && kind[:len(class)] == class {
			kind = kind[len(class):]
		}
	}
	list, ok := h[kind]
	if !ok {
		var known []string
		for k := range h {
			known = append(known, class+k)
		}
		c.Errorf("architectures", "%q is not supported; supported: %s", kind, sorted(known))
	}
	e.Heads = list
	for _, other := range h {
		for _, head := range other {
			for _, d := range head.Dense {
				// Checkpoints keep what the model was trained with before it got the head.
				for _, name := range []string{d.Name + ".weight", d.Name + ".bias", d.BiasName} {
					if name != "" && !slices.Contains(e.Ignored, name) {
						e.Ignored = append(e.Ignored, name)
					}
				}
				if d.Norm != nil {
					e.Ignored = append(e.Ignored, d.Norm.Name+".weight", d.Norm.Name+".bias")
				}
			}
		}
	}
}

// labels is the number of classes that a head tells apart.
func (c *Config) labels() int {
	if m, ok := c.m["id2label"].(map[string]any); ok && len(m) > 0 {
		return len(m)
	}
	return c.Size("num_labels", 2)
}

// named is a normalization with a name.
func (p Norm) named(name string) *Norm {
	p.Name = name
	return &p
}

// dense is a linear layer of a head.
func dense(name string, size int, activation string) Dense {
	return Dense{Linear: Linear{Name: name}, Size: size, Activation: activation}
}

// vocabulary is the layer that gives a logit for every token; tied is the default of tie_word_embeddings.
func (c *Config) vocabulary(name, bias string, vocab int) Dense {
	return Dense{Linear: Linear{Name: name}, Size: vocab, Tied: c.Bool("tie_word_embeddings", true), BiasName: bias}
}

// tokens are heads that all encoders of text have under the same names.
func (c *Config) tokens() heads {
	return heads{
		"ForTokenClassification": {{Dense: []Dense{dense("classifier", c.labels(), "")}, Outputs: []string{Logits}}},
		"ForQuestionAnswering":   {{Dense: []Dense{dense("qa_outputs", 2, "")}, Columns: true, Outputs: []string{"start_logits", "end_logits"}}},
	}
}

// choice is the head that gives a logit for every choice: a layer that summarizes a text, where there is one, then the classifier.
func choice(of Summary, summary ...Dense) []Head {
	return []Head{{Of: of, Dense: append(summary, dense("classifier", 1, "")), Choices: true, Outputs: []string{Logits}}}
}

// bare is the model without a head, whose pooler not all checkpoints have.
func bare(pooler Dense) []Head {
	return []Head{{Outputs: []string{LastHidden}}, {Of: FirstToken, Optional: true, Dense: []Dense{pooler}, Outputs: []string{Pooled}}}
}

// bert is BERT (Devlin et al., arXiv:1810.04805).
func bert(c *Config) *Encoder {
	e, text, norm := c.encoder("bert.", nil, true)
	pooler := dense("bert.pooler.dense", 0, "tanh")
	transform := dense("cls.predictions.transform.dense", 0, c.Activation("hidden_act", "gelu"))
	transform.Norm = norm.named("cls.predictions.transform.LayerNorm")
	words := []Dense{transform, c.vocabulary("cls.predictions.decoder", "cls.predictions.bias", text.Vocab)}
	next := []Dense{pooler, dense("cls.seq_relationship", 2, "")}
	h := c.tokens()
	h["Model"] = bare(pooler)
	h["ForMaskedLM"] = []Head{{Dense: words, Outputs: []string{Logits}}}
	h["ForNextSentencePrediction"] = []Head{{Of: FirstToken, Dense: next, Outputs: []string{Logits}}}
	h["ForPreTraining"] = []Head{{Dense: words, Outputs: []string{"prediction_logits"}}, {Of: FirstToken, Dense: next, Outputs: []string{"seq_relationship_logits"}}}
	h["ForSequenceClassification"] = []Head{{Of: FirstToken, Dense: []Dense{pooler, dense("classifier", c.labels(), "")}, Outputs: []string{Logits}}}
	h["ForMultipleChoice"] = choice(FirstToken, pooler)
	h.read(c, "Bert", e)
	return e
}
