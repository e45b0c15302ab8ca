package neuroquant

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/codec/outfile"
	"github.com/neurotrain/neuroquant/internal/format"
	"github.com/neurotrain/neuroquant/internal/format/gguf"
	"github.com/neurotrain/neuroquant/internal/format/hf"
	"github.com/neurotrain/neuroquant/internal/model"
)

// ConvertOptions say what a model is converted to.
type ConvertOptions struct {
	// To is the format: "gguf", a file, or "hf", a folder. Empty: what the ending of the output says.
	To string
	// Type is the block type or mixture of a GGUF file, such as Q4_K_M; see [ConvertTypes]. Empty: F16.
	Type string
	// SplitBytes is how much tensor data a GGUF file holds at most; 0: all in one file.
	SplitBytes int64
	// Importance is a file of this program's or of llama.cpp's imatrix program: errors of weights count by what they are multiplied by.
	Importance string
	// ImportanceText is a text that the model is run on to find that; SaveImportance a file to keep it in.
	ImportanceText, SaveImportance string
	// Overwrite replaces files that are there.
	Overwrite bool
	// DryRun decides and writes nothing.
	DryRun bool
}

// Conversion is what [Convert] did.
type Conversion struct {
	Input   string            `json:"input"`
	Output  string            `json:"output"`
	Format  string            `json:"format"`
	Type    string            `json:"type,omitempty"`
	Bytes   int64             `json:"bytes"` // of the tensors
	Tensors []ConvertedTensor `json:"tensors,omitempty"`
}

// ConvertedTensor is a tensor of a file that was written.
type ConvertedTensor struct {
	Name  string `json:"name"`
	From  string `json:"from,omitempty"` // its name in the input
	Type  string `json:"type"`
	Shape []int  `json:"shape"`
	Bytes int64  `json:"bytes"`
}

// ConvertTypes lists the types of GGUF files.
func ConvertTypes() []string { return gguf.Mixtures() }

// Convert writes the language model at path in another format. Tensors are read, encoded and written in pieces: the memory that it
// takes does not depend on the size of the model.
func Convert(ctx context.Context, path, output string, o ConvertOptions) (*Conversion, error) {
	if o.To == "" {
		o.To = hf.Name
		if strings.HasSuffix(output, ".gguf") {
			o.To = gguf.Name
		}
	}
	if o.To != gguf.Name && o.To != hf.Name {
		return nil, fmt.Errorf("unknown format %q; formats are %s, %s", o.To, gguf.Name, hf.Name)
	}
	if o.To == hf.Name && (o.Type != "" || o.Importance != "" || o.ImportanceText != "" || o.SplitBytes != 0) {
		return nil, fmt.Errorf("%s: a type, importance and sizes of files are for %s", output, gguf.Name)
	}
	m, err := format.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	c := &Conversion{Input: path, Output: output, Format: o.To}
	if o.To == hf.Name {
		return c, convertToFolder(ctx, m, c, o)
	}
	return c, convertToGGUF(ctx, m, c, o)
}

func convertToFolder(ctx context.Context, m *model.Model, c *Conversion, o ConvertOptions) error {
	for _, e := range m.StateDict() {
		n := int64(e.DType().ByteLen(e.Shape().Len()))
		c.Bytes += n
		c.Tensors = append(c.Tensors, ConvertedTensor{e.Name, e.Name, e.DType().String(), e.Shape(), n})
	}
	if o.DryRun {
		return nil
	}
	return outfile.WriteFolder(c.Output, o.Overwrite, func(dir string) error { return hf.Save(ctx, dir, m, model.SaveOptions{}) })
}

func convertToGGUF(ctx context.Context, m *model.Model, c *Conversion, o ConvertOptions) error {
	options := gguf.Options{Type: o.Type, SplitBytes: int(o.SplitBytes)}
	switch {
	case o.Importance != "" && o.ImportanceText != "":
		return errors.New("importance comes from a file or from a text, not from both")
	case o.SaveImportance != "" && o.ImportanceText == "":
		return errors.New("importance can be saved where it is computed from a text")
	case o.Importance != "":
		var err error
		if options.Importance, err = gguf.ReadImportance(o.Importance, m); err != nil {
			return err
		}
	case o.ImportanceText != "":
		squares, err := importanceOf(ctx, m, o.ImportanceText)
		if err != nil {
			return err
		}
		if o.SaveImportance != "" {
			if err := gguf.WriteImportance(o.SaveImportance, m, squares, o.ImportanceText); err != nil {
				return err
			}
		}
		options.Importance = gguf.Importance(squares)
	}
	p, err := gguf.NewPlan(m, options)
	if err != nil {
		return fmt.Errorf("%s: %w", m.Path, err)
	}
	c.Type = p.Type()
	for _, t := range p.Tensors() {
		c.Bytes += int64(t.Bytes)
		c.Tensors = append(c.Tensors, ConvertedTensor{t.Name, t.From, t.Kind.String(), t.Shape, int64(t.Bytes)})
	}
	if o.DryRun {
		return nil
	}
	if _, err := os.Stat(c.Output); err == nil && !o.Overwrite {
		return fmt.Errorf("%s: is there already; choose another name or pass --force to replace it", c.Output)
	}
	if sameFile(m, c.Output) {
		return fmt.Errorf("%s: is what is read; choose another name", c.Output)
	}
	return p.Write(ctx, c.Output)
}

// sameFile reports whether path is a file of the model.
func sameFile(m *model.Model, path string) bool {
	out, err := os.Stat(path)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(m.Files, func(name string) bool {
		in, err := os.Stat(filepath.Join(m.Dir, name))
		return err == nil && os.SameFile(in, out)
	})
}
