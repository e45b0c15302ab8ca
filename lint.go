package neuroquant

import (
	"context"

	"github.com/neurotrain/neuroquant/internal/format/hf"
)

// Finding is something about a quantized folder that a loader may trip over.
type Finding = hf.Finding

// Lint looks for what loaders trip over in the quantized Hugging Face folder at path: fields of the configuration that a named loader refuses, its
// zero-point convention, groups of columns, scales, and tensors that are missing or have other shapes. No graph is built.
func Lint(ctx context.Context, path string) ([]Finding, error) { return hf.Lint(ctx, path) }
