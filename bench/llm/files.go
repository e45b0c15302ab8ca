package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/internal/shapes"
)

// network is a model that is measured.
type network struct {
	name  string
	shape shapes.Decoder
	share float64 // of the bandwidth of the memory that decoding is to reach
}

var networks = []network{
	{"llama-3.2-1b", shapes.Llama1B, 0.8},
	{"qwen2.5-0.5b", shapes.Qwen05B, 0.65},
}

// kindOf is a type of weights.
type kindOf struct {
	name    string
	prefill float64 // what prefill is to reach over llama.cpp
	int8    bool    // products are of 8-bit numbers, else of bfloat16
}

var kinds = []kindOf{{"Q4_0", 1.8, true}, {"Q4_K_M", 1.8, true}, {"Q8_0", 2.5, true}, {"F16", 3, false}}

// decodeBar is what decoding is to reach over llama.cpp, firstBar the time to the first token.
const (
	decodeBar = 1.25
	firstBar  = 1
)

// folder makes the checkpoint of a network below dir, unless it is there, and returns its path.
func (n *network) folder(dir string) (string, error) {
	path := filepath.Join(dir, n.name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // a cache of files that can be made again
		return "", err
	}
	fmt.Fprintf(os.Stderr, "making %s\n", path)
	return path, n.shape.WriteCheckpoint(path)
}

// file makes the GGUF file of a type, unless it is there, and returns its path and the bytes of its tensors.
func (n *network) file(ctx context.Context, dir, kind string) (string, int64, error) {
	folder, err := n.folder(dir)
	if err != nil {
		return "", 0, err
	}
	path := filepath.Join(dir, n.name+"-"+kind+".gguf")
	_, err = os.Stat(path)
	c, err := neuroquant.Convert(ctx, folder, path, neuroquant.ConvertOptions{Type: kind, DryRun: err == nil})
	if err != nil {
		return "", 0, err
	}
	return path, c.Bytes, nil
}
