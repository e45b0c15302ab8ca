// Package model holds what every format gives and takes: a [Model], which is a graph with what its files say about it, and the
// contract of a [Format].
package model

import (
	"context"
	"errors"
	"io"

	"github.com/neurotrain/neuroquant/internal/chat"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/tokenizer"
	"github.com/neurotrain/neuroquant/tensor"
)

// Model is a loaded model. Its parameters may alias mapped files: the model must stay open while they are used.
type Model struct {
	Graph  *graph.Graph
	Format string   // name of the format that it was read from
	Path   string   // the file or folder that it was read from; empty for a model made in memory
	Dir    string   // where its companion files (tokenizer, labels, configuration) are
	Files  []string // the files that hold it, relative to Dir, the model itself first

	Producer        string
	ProducerVersion string
	Domain          string
	Version         int64 // of the model, as its makers count
	Doc             string
	Metadata        map[string]string
	IRVersion       int            // of the ONNX format
	Opset           map[string]int // ONNX operator set by domain; "" is the default domain

	Arch   string         // known architecture, such as "llama"
	Config map[string]any // configuration of the architecture
	// Tokenizer makes the tokenizer of a language model that holds its own; nil: it is in files of Dir, or there is none.
	Tokenizer func() (*tokenizer.Tokenizer, error)
	// Chat makes the chat template of a language model that holds its own, as Tokenizer does.
	Chat  func() (*chat.Template, error)
	State []Entry // the tensors of the file under their names there; nil where that is a graph with its parameters
	// Versions are those of the modules of a state dict by path, which PyTorch keeps beside the tensors.
	Versions map[string]int

	owned []io.Closer
}

// OpenTokenizer opens the tokenizer of a language model: its own, or that in files of its folder.
func (m *Model) OpenTokenizer() (*tokenizer.Tokenizer, error) {
	if m.Tokenizer != nil {
		return m.Tokenizer()
	}
	return tokenizer.Open(m.Dir)
}

// OpenChat opens the chat template of a language model: its own, or that in files of its folder.
func (m *Model) OpenChat() (*chat.Template, error) {
	if m.Chat != nil {
		return m.Chat()
	}
	return chat.Open(m.Dir)
}

// Own makes c be closed with the model.
func (m *Model) Own(c io.Closer) { m.owned = append(m.owned, c) }

// Close releases mapped files, last opened first. Parameters that were not loaded into memory of their own must not be used
// any more. Closing again does nothing.
func (m *Model) Close() error {
	var errs []error
	for i := len(m.owned) - 1; i >= 0; i-- {
		errs = append(errs, m.owned[i].Close())
	}
	m.owned = nil
	return errors.Join(errs...)
}

// Rest lets go of the memory that mapped files take; what is read of them again comes back.
func (m *Model) Rest() {
	for _, c := range m.owned {
		if f, ok := c.(interface{ Rest() }); ok {
			f.Rest()
		}
	}
}

// With returns a model of the same description with another graph. It does not own the files: m must stay open as long as the
// parameters of g alias them.
func (m *Model) With(g *graph.Graph) *Model {
	c := *m
	c.Graph, c.owned = g, nil
	return &c
}

// Format reads models of one kind of file and, as far as it can, writes them. A format writes whole models (Save), or tensor
// after tensor while a method produces them (Create), or both; what it cannot do is nil.
type Format struct {
	Name string
	// Match reports whether the file or folder at path is of this format, judging by the name and the first bytes (none for a folder).
	Match func(path string, head []byte) bool
	// Open reads headers; parameters stay in their files until they are loaded.
	Open func(ctx context.Context, path string) (*Model, error)
	// Describe returns what a file holds, also where no graph can be made of it; nil for formats whose files are graphs.
	Describe func(ctx context.Context, path string) (*Contents, error)
	// Save writes m to the file or folder at path. It leaves nothing behind when it fails or ctx is cancelled.
	Save func(ctx context.Context, path string, m *Model, o SaveOptions) error
	// Create starts to write a model like m, whose graph and description are known beforehand, to the folder at path.
	Create func(ctx context.Context, path string, m *Model) (Writer, error)
}

// SaveOptions are the choices that whole-model formats offer; the zero value lets the format decide.
type SaveOptions struct {
	Opset            int   // ONNX operator set to write at least
	ExternalData     bool  // keep parameters in a file beside the model even where they fit in
	ExternalMinBytes int64 // smallest parameter to move there; 0: the format's default
	// Layout is how a Hugging Face folder stores matrices of codes, such as "gptq"; "": it holds floats alone. Settings are what its
	// configuration says of how they came about.
	Layout   string
	Settings map[string]any

	Type       string               // block type or mixture of a GGUF file
	Importance map[string][]float32 // by tensor: mean square of what each column is multiplied by
	SplitBytes int64                // tensor data that a GGUF file holds at most; 0: all in one
}

// Writer takes the tensors of a model one by one, in any order, each once.
type Writer interface {
	// Accepts returns nil if the format can hold a tensor of scheme s, or why not.
	Accepts(s tensor.Scheme) error
	// Write stores t, which the caller may drop afterwards.
	Write(name string, t *tensor.Tensor) error
	// Close completes the files. A writer that is closed before all tensors came reports which are missing and leaves nothing behind.
	Close() error
}
