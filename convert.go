package neuroquant

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/codec/outfile"
	"github.com/neurotrain/neuroquant/internal/format"
	"github.com/neurotrain/neuroquant/internal/format/gguf"
	"github.com/neurotrain/neuroquant/internal/format/hf"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/tensor"
)

// ConvertOptions say what a model is converted to.
type ConvertOptions struct {
	// To is the format: "gguf", a file; "hf", a folder of floats; "gptq", "gptq_v2", "awq" or "compressed-tensors", a folder with the matrices in that
	// layout; or "onnx", a file with the graph, floats as float32 and matrices of codes as MatMulNBits. Empty: what the ending of the output says.
	To string
	// Type is the block type or mixture of a GGUF file, such as Q4_K_M; see [ConvertTypes]. Empty: F16, or for a model whose matrices are
	// codes the types that hold those.
	Type string
	// Pure makes all matrices of a GGUF file of the first block type of a mixture, the embedding and the head too.
	Pure bool
	// Like is the checkpoint that an ONNX file was made from, of which configuration, tokenizer and the names of tensors are taken.
	Like string
	// Adapter is a folder in the layout of PEFT, whose low-rank products are added to the weights.
	Adapter string
	// Lossy rounds matrices again that the format does not hold as they are.
	Lossy bool
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
	Input  string `json:"input"`
	Output string `json:"output"`
	Format string `json:"format"`
	Type   string `json:"type,omitempty"`
	Bytes  int64  `json:"bytes"` // of the tensors
	// Notes are what a reader of the output should know that it does not say.
	Notes []string `json:"notes,omitempty"`
	// Equal and Differ count tensors that the written file decodes to the same values as the input, and those that it does not; both are 0 where
	// the input has no matrices of codes.
	Equal   int               `json:"equal,omitempty"`
	Differ  int               `json:"differ,omitempty"`
	Tensors []ConvertedTensor `json:"tensors,omitempty"`
}

// ConvertedTensor is a tensor of a file that was written.
type ConvertedTensor struct {
	Name  string `json:"name"`
	From  string `json:"from,omitempty"` // its name in the input
	Type  string `json:"type"`
	Shape []int  `json:"shape"`
	Bytes int64  `json:"bytes"`
	// Equal is whether the written tensor decodes to the same values, nil where that was not compared; Why says why it does not, MaxDiff how
	// far off it is.
	Equal   *bool   `json:"equal,omitempty"`
	Why     string  `json:"why,omitempty"`
	MaxDiff float64 `json:"max_diff,omitempty"`
}

// ConvertTypes lists the types of GGUF files.
func ConvertTypes() []string { return gguf.Mixtures() }

// Convert writes the language model at path in another format. Tensors are read, encoded and written in pieces: the memory that it
// takes does not depend on the size of the model.
func Convert(ctx context.Context, path, output string, o ConvertOptions) (*Conversion, error) {
	if o.To == "" {
		switch o.To = hf.Name; filepath.Ext(output) {
		case ".gguf":
			o.To = gguf.Name
		case ".onnx":
			o.To = formatONNX
		}
	}
	known := append([]string{gguf.Name, hf.Name, formatONNX}, gridFormats()...)
	if !slices.Contains(known, o.To) {
		return nil, fmt.Errorf("unknown format %q; formats are %s", o.To, strings.Join(known, ", "))
	}
	if o.To != gguf.Name && (o.Type != "" || o.Pure || o.Importance != "" || o.ImportanceText != "" || o.SplitBytes != 0) {
		return nil, fmt.Errorf("%s: a type, importance and sizes of files are for %s", output, gguf.Name)
	}
	if o.Pure && o.Type == "" {
		return nil, fmt.Errorf("%s: pure needs a type", output)
	}
	m, err := format.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	if o.Like != "" {
		like, err := format.Open(ctx, o.Like)
		if err != nil {
			return nil, err
		}
		defer like.Close()
		if m, err = likeFolder(m, like); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	if o.Adapter != "" {
		a, err := hf.OpenAdapter(o.Adapter)
		if err != nil {
			return nil, err
		}
		if m, err = a.Merge(m); err != nil {
			return nil, fmt.Errorf("%s: adapter %s: %w", path, o.Adapter, err)
		}
	}
	if m.Config == nil && o.To != formatONNX {
		return nil, fmt.Errorf("%s: has no configuration of a language model; that of the folder which it was made from can be given (like)", path)
	}
	c := &Conversion{Input: path, Output: output, Format: o.To}
	codes, err := codedState(m.StateDict())
	switch {
	case err != nil:
		err = fmt.Errorf("%s: %w", path, err)
	case o.To == gguf.Name:
		err = convertToGGUF(ctx, m, c, o)
	case o.To == hf.Name:
		err = convertToFolder(ctx, m, c, o)
	case o.To == formatONNX && len(codes) == 0:
		err = convertToONNX(ctx, m, c, o)
	default:
		err = convertCodes(ctx, m, c, o)
	}
	if err == nil && !o.DryRun {
		err = c.compare(ctx, m)
	}
	return c, damaged(ctx, m, err)
}

// gridFormats are the formats of matrices in codes, beside GGUF files.
func gridFormats() []string {
	return slices.DeleteFunc(hf.LayoutNames(), func(name string) bool { return name == "bitsandbytes" })
}

// list notes the tensors of a state.
func (c *Conversion) list(state []model.Entry, why map[string]string) {
	for _, e := range state {
		kind, n := e.DType().String(), int64(e.DType().ByteLen(e.Shape().Len()))
		if s, ok := e.Source.(packed.Coded); ok {
			if a, err := s.Affine(); err == nil {
				kind, n = a.Scheme().String(), int64(a.ByteLen())
			}
		}
		c.Bytes += n
		c.Tensors = append(c.Tensors, ConvertedTensor{Name: e.Name, From: e.Name, Type: kind, Shape: e.Shape(), Bytes: n, Why: why[e.Name]})
	}
}

func convertToFolder(ctx context.Context, m *model.Model, c *Conversion, o ConvertOptions) error {
	for _, e := range m.StateDict() { // matrices of codes as float32
		n := int64(e.DType().ByteLen(e.Shape().Len()))
		c.Bytes += n
		c.Tensors = append(c.Tensors, ConvertedTensor{Name: e.Name, From: e.Name, Type: e.DType().String(), Shape: e.Shape(), Bytes: n})
	}
	if o.DryRun {
		return nil
	}
	return outfile.WriteFolder(c.Output, o.Overwrite, func(dir string) error { return hf.Save(ctx, dir, m, model.SaveOptions{}) })
}

// convertToONNX writes the graph of a model of floats.
func convertToONNX(ctx context.Context, m *model.Model, c *Conversion, o ConvertOptions) error {
	for _, v := range m.Graph.Params() {
		n := int64(v.Type.DType.ByteLen(v.Data.Shape().Len()))
		c.Bytes += n
		c.Tensors = append(c.Tensors, ConvertedTensor{Name: v.Name, From: v.Name, Type: v.Type.DType.String(), Shape: v.Data.Shape(), Bytes: n})
	}
	if o.DryRun {
		return nil
	}
	if err := c.free(m, o); err != nil {
		return err
	}
	return saveONNX(ctx, c.Output, m)
}

// convertCodes writes the matrices of codes of a model in another layout.
func convertCodes(ctx context.Context, m *model.Model, c *Conversion, o ConvertOptions) error {
	state, why, err := regrid(m.StateDict(), o.To, o.Lossy)
	if err != nil {
		return fmt.Errorf("%s: %w", m.Path, err)
	}
	c.list(state, why)
	if o.DryRun {
		return nil
	}
	work := withState(m, state)
	if o.To != formatONNX {
		return outfile.WriteFolder(c.Output, o.Overwrite, func(dir string) error { return saveLayout(ctx, dir, work, o.To) })
	}
	if err := c.free(m, o); err != nil {
		return err
	}
	return saveONNX(ctx, c.Output, work)
}

// free reports why the output cannot be written.
func (c *Conversion) free(m *model.Model, o ConvertOptions) error {
	if _, err := os.Stat(c.Output); err == nil && !o.Overwrite {
		return fmt.Errorf("%s: is there already; choose another name or pass --force to replace it", c.Output)
	}
	if sameFile(m, c.Output) {
		return fmt.Errorf("%s: is what is read; choose another name", c.Output)
	}
	return nil
}

func convertToGGUF(ctx context.Context, m *model.Model, c *Conversion, o ConvertOptions) error {
	options := gguf.Options{Type: o.Type, Pure: o.Pure, SplitBytes: int(o.SplitBytes)}
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
	why := map[string]string{}
	if list, err := codedState(m.StateDict()); err != nil {
		return fmt.Errorf("%s: %w", m.Path, err)
	} else if o.Type == "" && len(list) > 0 {
		var state []model.Entry
		if state, options.Kinds, why, err = asBlocks(m.StateDict()); err != nil {
			return fmt.Errorf("%s: %w", m.Path, err)
		}
		if len(why) > 0 && !o.Lossy {
			name := slices.Sorted(maps.Keys(why))[0]
			return fmt.Errorf("%s: %d of %d matrices have no blocks of the same values; %s: %s; with lossy they are rounded", m.Path, len(why), len(list), name, why[name])
		}
		m = withState(m, state)
		options.Type = mostOf(options.Kinds).String()
	}
	p, err := gguf.NewPlan(m, options)
	if err != nil {
		return fmt.Errorf("%s: %w", m.Path, err)
	}
	c.Type, c.Notes = p.Type(), p.Notes()
	for _, t := range p.Tensors() {
		c.Bytes += int64(t.Bytes)
		c.Tensors = append(c.Tensors, ConvertedTensor{Name: t.Name, From: t.From, Type: t.Kind.String(), Shape: t.Shape, Bytes: int64(t.Bytes), Why: why[t.From]})
	}
	if o.DryRun {
		return nil
	}
	if err := c.free(m, o); err != nil {
		return err
	}
	return p.Write(ctx, c.Output)
}

// mostOf is the type of which there are most.
func mostOf(kinds map[string]packed.Kind) packed.Kind {
	count := map[packed.Kind]int{}
	best := packed.F16
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		k := kinds[name]
		if count[k]++; count[k] > count[best] {
			best = k
		}
	}
	return best
}

// compare opens what was written and compares its tensors with those of the input, where that has matrices of codes.
func (c *Conversion) compare(ctx context.Context, m *model.Model) error {
	list, err := codedState(m.StateDict())
	if err != nil || len(list) == 0 {
		return err
	}
	out, err := format.Open(ctx, c.Output)
	if err != nil {
		return fmt.Errorf("reading back what was written: %w", err)
	}
	defer out.Close()
	if c.Format == formatONNX {
		if out, err = likeFolder(out, m); err != nil {
			return fmt.Errorf("reading back what was written: %w", err)
		}
	}
	written := map[string]tensor.Source{}
	for _, e := range out.StateDict() {
		written[e.Name] = e.Source
	}
	before := map[string]tensor.Source{}
	for _, e := range m.StateDict() {
		before[e.Name] = e.Source
	}
	listed := map[string]*ConvertedTensor{} // of tensors that are stacked only the first
	for i := range c.Tensors {
		listed[c.Tensors[i].From] = &c.Tensors[i]
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if written[name] == nil {
			if listed[name] == nil { // what the configuration says
				continue
			}
			return fmt.Errorf("reading back what was written: tensor %q is not there", name)
		}
		diff, err := largestDifference(before[name], written[name])
		if err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
		same := diff == 0
		if same {
			c.Equal++
		} else {
			c.Differ++
		}
		if t := listed[name]; t != nil {
			if t.Equal, t.MaxDiff = &same, diff; !same && t.Why == "" {
				t.Why = "rounded to " + t.Type
			}
		}
	}
	return nil
}

// largestDifference compares the values of two tensors.
func largestDifference(a, b tensor.Source) (float64, error) {
	x, err := a.Load()
	if err != nil {
		return 0, err
	}
	y, err := b.Load()
	if err != nil {
		return 0, err
	}
	if !x.Shape.Equal(y.Shape) {
		return 0, fmt.Errorf("shape %v became %v", []int(x.Shape), []int(y.Shape))
	}
	p, err := x.Floats()
	if err != nil {
		return 0, err
	}
	q, err := y.Floats()
	if err != nil {
		return 0, err
	}
	most := 0.0
	for i, v := range p {
		if v != q[i] {
			most = max(most, math.Abs(float64(v)-float64(q[i])))
		}
	}
	tensor.Release(a)
	tensor.Release(b)
	return most, nil
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
