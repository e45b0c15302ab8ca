package neuroquant

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/material"
)

// roundedStories is stories260k rounded to codes in a format.
func roundedStories(t *testing.T, source, format string, symmetric bool) string {
	t.Helper()
	c := RTN4BitConfig()
	c.Format, c.Sym, c.GroupSize = format, symmetric, 32
	m := NewManager(c)
	r, err := m.Quantize(context.Background(), source)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	out := filepath.Join(t.TempDir(), "out")
	if err := m.Save(context.Background(), r, out, false); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestConvertCodes takes codes from each layout to each other: what is written decodes to the same values.
func TestConvertCodes(t *testing.T) {
	ctx := context.Background()
	source := material.Path(t, "data/stories260k")
	formats := []string{"gptq", "gptq_v2", "awq", "compressed-tensors", "onnx", "gguf"}
	for _, symmetric := range []bool{true, false} {
		first := roundedStories(t, source, "gptq", symmetric)
		for _, from := range formats {
			path := first
			convert := func(in, to string) string {
				out := filepath.Join(t.TempDir(), "model")
				if to == "onnx" || to == "gguf" {
					out += "." + to
				}
				o := ConvertOptions{To: to}
				if strings.HasSuffix(in, ".onnx") {
					o.Like = source
				}
				c, err := Convert(ctx, in, out, o)
				if err != nil {
					t.Fatalf("symmetric %v, %s to %s: %v", symmetric, in, to, err)
				}
				if c.Differ != 0 || c.Equal == 0 {
					t.Errorf("symmetric %v, %s to %s: %d tensors differ, %d are equal", symmetric, from, to, c.Differ, c.Equal)
				}
				return out
			}
			if from != "gptq" {
				path = convert(path, from)
			}
			for _, to := range formats {
				if to != from {
					convert(path, to)
				}
			}
		}
	}
}

func TestConvertRefuses(t *testing.T) {
	ctx := context.Background()
	source := material.Path(t, "data/stories260k")
	folder := roundedStories(t, source, "gptq", true)
	onnx := filepath.Join(t.TempDir(), "m.onnx")
	if _, err := Convert(ctx, folder, onnx, ConvertOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		in, to, want string
	}{
		{source, "awq", "no tensor is a matrix of codes"},
		{folder, "gptq4", "unknown format"},
		{onnx, "gptq", "no configuration of a language model"},
	} {
		out := filepath.Join(t.TempDir(), "out")
		if _, err := Convert(ctx, c.in, out, ConvertOptions{To: c.to}); err == nil || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s to %s: %v, want %q", c.in, c.to, err, c.want)
		}
	}
}

// TestSeveralFormats writes several formats of one run.
func TestSeveralFormats(t *testing.T) {
	out := roundedStories(t, material.Path(t, "data/stories260k"), "gptq,awq,gguf,onnx", true)
	for _, name := range []string{"gptq", "awq", "gguf/model.gguf", "onnx/model.onnx"} {
		m, err := Open(context.Background(), filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		m.Close()
	}
	c := RTN4BitConfig()
	for format, want := range map[string]string{"gptq,pt": "want one of", "gptq,gptq": "twice", "onnx,gptq": "after the formats", "auto,awq": "several formats"} {
		c.Format = format
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", format, err, want)
		}
	}
}
