package arch_test

import (
	"testing"

	"github.com/neurotrain/neuroquant/internal/arch"
	"github.com/neurotrain/neuroquant/internal/arch/archtest"
)

// TestLogitsOfTransformers compares small models of every architecture with what transformers computes.
func TestLogitsOfTransformers(t *testing.T) {
	for _, c := range archtest.Golden(t) {
		g, info, err := arch.Build(c.Config, c)
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		if info.Vocab != 32 || !info.Decoder {
			t.Errorf("%s: %+v", c.Name, info)
		}
		c.Check(t, g)
	}
}

// TestOutputsOfTransformers does so for encoders, with a text that is filled up to the length of another, or an image.
func TestOutputsOfTransformers(t *testing.T) {
	for _, c := range archtest.Encoders(t) {
		g, info, err := arch.Build(c.Config, c)
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		if info.Hidden != 48 || info.Layers != 3 || info.Decoder || (info.Vocab == 32) == (c.Type() == "vit") {
			t.Errorf("%s: %+v", c.Name, info)
		}
		c.Check(t, g)
	}
}
