// Package report writes a comparison of two models as JSON, Markdown and one self-contained HTML page.
package report

import (
	"encoding/json"
	"io"

	"github.com/neurotrain/neuroquant/internal/analyze"
	"github.com/neurotrain/neuroquant/internal/calibrate"
	"github.com/neurotrain/neuroquant/internal/quantize"
	"github.com/neurotrain/neuroquant/internal/search"
	"github.com/neurotrain/neuroquant/internal/train"
)

// Report is everything that a comparison found. Parts that were not asked for, or could not be measured, are nil; Notes say why.
type Report struct {
	Schema  int    `json:"schema"`
	Tool    string `json:"tool"`
	Version string `json:"version"`
	Title   string `json:"title"`

	Machine   Machine `json:"machine"`
	Original  Subject `json:"original"`
	Quantized Subject `json:"quantized"`
	// Compression is original over quantized bytes, on disk where both are there, else in memory.
	Compression float64 `json:"compression_ratio"`

	Method   string               `json:"method,omitempty"` // of the quantized model's record, if it has one
	DType    string               `json:"dtype,omitempty"`
	Data     string               `json:"data,omitempty"` // what the samples are
	Speed    []analyze.Speed      `json:"speed,omitempty"`
	Accuracy *analyze.Accuracy    `json:"accuracy,omitempty"`
	Layers   []analyze.LayerError `json:"layers,omitempty"`
	// Sensitivity is of the quantized model's record: what the codes of every layer lose and why.
	Sensitivity []quantize.Sensitivity `json:"sensitivity,omitempty"`
	// Training is the history beside a model that was trained.
	Training *train.History `json:"training,omitempty"`
	// Search is set where a search chose the layers that stay in float.
	Search *search.Picture `json:"search,omitempty"`
	// Saturation is set where the quantized model has products of 8-bit activations and int8 weights.
	Saturation *analyze.Saturation `json:"saturation,omitempty"`
	Decisions  []quantize.Decision `json:"decisions,omitempty"`
	// Calibration is of the quantized model's record, if it has one and its method calibrates.
	Calibration *calibrate.Diagnosis `json:"calibration,omitempty"`
	Notes       []string             `json:"notes,omitempty"`
}

// Machine is what the figures were measured on.
type Machine struct {
	CPU     string `json:"cpu"`
	Cores   int    `json:"cores"`
	Threads int    `json:"threads"`
	ISA     string `json:"isa"` // instruction sets that the kernels use
	OS      string `json:"os"`
}

// Subject is one of the two models.
type Subject struct {
	File string       `json:"file"`
	Size analyze.Size `json:"size"`
}

// JSON writes the report as one indented document.
func JSON(w io.Writer, r *Report) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}
