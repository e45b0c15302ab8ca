package torch

import (
	"context"
	"slices"
	"testing"
)

// Archives of every kind are described, whether or not their shapes are known.
func TestProgramsAreDescribed(t *testing.T) {
	for file, want := range map[string][]string{
		"residual.export.pt2":              {"conv1.weight", "bn1.running_mean", "down.bias"},
		"EmbeddingBag.export.pt2":          {"weight"},
		"gpt.trace.pt":                     {"embed.weight", "qkv.bias", "mask"},
		"LSTM.script.pt":                   {"weight_ih_l0", "weight_hh_l1"},
		"TransformerEncoderLayer.trace.pt": {"self_attn.in_proj_weight", "norm2.bias"},
		"arithmetic.trace.pt":              nil,
	} {
		c, err := Describe(context.Background(), "testdata/programs/"+file)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		var names []string
		for _, x := range c.Tensors {
			names = append(names, x.Name)
		}
		for _, w := range want {
			if !slices.Contains(names, w) {
				t.Errorf("%s: no tensor %s among %v", file, w, names)
			}
		}
		if export := c.Kind == "torch.export"; export == (c.Modules != nil) {
			t.Errorf("%s: kind %s with modules %v", file, c.Kind, c.Modules)
		}
	}
}
