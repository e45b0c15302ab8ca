package onnx

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/neurotrain/neuroquant/internal/model"
)

// TestConformanceWritten writes every case that is supported, reads that back and runs it: the results must be the expected ones.
// The environment variable NEUROQUANT_WRITE names a folder to keep the files in.
func TestConformanceWritten(t *testing.T) {
	keep := os.Getenv("NEUROQUANT_WRITE")
	for _, c := range conformanceCases(t) {
		m, err := read(context.Background(), c.model, filepath.Join(os.TempDir(), "model.onnx"))
		if errors.Is(err, ErrUnsupported) {
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		p, _, err := export(context.Background(), m, model.SaveOptions{})
		if err != nil {
			t.Errorf("%s: write: %v", c.name, err)
			continue
		}
		b, err := p.Marshal()
		if err != nil {
			t.Errorf("%s: write: %v", c.name, err)
			continue
		}
		if keep != "" {
			dir := filepath.Join(keep, c.suite, c.name)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "model.onnx"), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		again, err := read(context.Background(), b, filepath.Join(os.TempDir(), "model.onnx"))
		if err != nil {
			t.Errorf("%s: read back: %v", c.name, err)
			continue
		}
		if again.IRVersion < 7 || again.Opset[""] < max(oldestWritten, m.Opset[""]) {
			t.Errorf("%s: written as IR version %d, operator sets %v", c.name, again.IRVersion, again.Opset)
		}
		if err := c.runGraph(again.Graph, again); err != nil && !isUnsupportedRun(err) {
			t.Errorf("%s: after writing: %v", c.name, err)
		}
	}
}
