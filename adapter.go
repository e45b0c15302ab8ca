package neuroquant

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/neurotrain/neuroquant/internal/arch"
	"github.com/neurotrain/neuroquant/internal/format/hf"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/train"
	"github.com/neurotrain/neuroquant/tensor"
)

// insertAdapters adds the adapters that a configuration asks for to the graph of a language model.
func insertAdapters(m *model.Model, c TrainConfig) ([]train.Adapter, error) {
	in, out := m.Graph.Inputs, m.Graph.Outputs
	if m.Config == nil || len(in) != 1 || len(out) != 1 || in[0].Type.DType != tensor.Int64 {
		return nil, errors.New("method lora trains language models, of a Hugging Face folder or a GGUF file, which take ids of tokens and give logits")
	}
	l := c.lora()
	return l.Insert(m.Graph, c.Seed)
}

// recomputed is in how many parts values are computed again, where nothing is said, while adapters are trained: one for each attention and one
// for the head where weights are codes, for the values in between take more memory then than all else; none beside floats.
func recomputed(g *graph.Graph) (int, error) {
	coded, parts := false, 1
	for _, n := range g.Nodes {
		if n.Op.Kind() == "Attention" {
			parts++
		}
	}
	for _, l := range arch.LinearLayers(g) {
		for _, v := range g.Params() {
			if coded || v.Name != l.Module+".weight" {
				continue
			}
			w, err := v.Data.Load()
			if err != nil {
				return 0, fmt.Errorf("parameter %q: %w", v.Name, err)
			}
			coded = w.Packed != nil && w.Packed.Scheme().Bits <= 8
		}
	}
	if !coded {
		return 0, nil
	}
	return parts, nil
}

// saveAdapter writes the trained adapters to a folder.
func (t *Trainer) saveAdapter(dir string, base inputRecord) error {
	c := t.config
	a := hf.Adapter{Base: t.orig.Dir, Rank: c.LoRARank, Alpha: c.LoRAAlpha, Dropout: c.LoRADropout, RankStabilized: c.UseRSLoRA}
	var layers []hf.AdapterLayer
	l := c.lora()
	for _, x := range t.adapters {
		own := hf.AdapterLayer{Module: x.Layer.Module, Scale: l.Scale()}
		for _, w := range []struct {
			v  *graph.Value
			to **tensor.Tensor
		}{{x.A, &own.A}, {x.B, &own.B}} {
			v, err := w.v.Data.Load()
			if err != nil {
				return err
			}
			*w.to = v
		}
		a.Turned = a.Turned || x.Layer.Turned
		layers = append(layers, own)
	}
	if err := a.Place(t.orig, layers); err != nil {
		return err
	}
	if err := a.Save(dir); err != nil {
		return err
	}
	return writeJSON(filepath.Join(dir, historyFile), trainRecord{t.config, &base, t.history})
}

// IsAdapter reports whether a folder holds an adapter in the layout of PEFT.
func IsAdapter(path string) bool {
	_, err := os.Stat(filepath.Join(path, hf.AdapterConfigFile))
	return err == nil
}

// Adapt puts the adapter of a folder, in the layout of PEFT, beside the layers of a language model, whose weights stay as they are. It must be
// called before the model is first run.
func (m *Model) Adapt(path string) error {
	a, err := hf.OpenAdapter(path)
	if err != nil {
		return err
	}
	if m.session != nil {
		return fmt.Errorf("%s: the model has run already", m.name())
	}
	adapted, err := a.Apply(m.m)
	if err != nil {
		return fmt.Errorf("adapter %s: %w", path, err)
	}
	m.m.Graph = adapted.Graph
	return nil
}
