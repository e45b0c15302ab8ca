// Package onnx reads and writes ONNX models.
//
// Reading maps the file (and its external data) into memory, parses the node list, and brings every operator to the newest form
// that package op follows: upgrade.go holds one table of what changed when. Weights are never copied; they stay in the mapping
// until an operator touches them. Local functions are inlined and subgraphs closed, as package graph wants them.
//
// Writing goes the other way: downgrade.go turns the newest forms back where the chosen operator set is older, and write.go
// streams the message, so that no model is ever held in memory twice.
package onnx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/neurotrain/neuroquant/internal/codec/mmap"
	"github.com/neurotrain/neuroquant/internal/codec/protobuf"
	"github.com/neurotrain/neuroquant/internal/model"
)

// Versions of ONNX that are read.
const (
	maxOpset = 27
	maxIR    = 13
)

// Errors that callers branch on.
var (
	ErrFormat      = errors.New("not a valid ONNX model")
	ErrUnsupported = errors.New("not supported")
)

// Format is the entry of this package in the table of formats.
var Format = model.Format{Name: "onnx", Match: Match, Open: Open, Save: Write}

// Match reports whether a file looks like an ONNX model: the name ends in .onnx, or the file begins like a ModelProto, with the
// IR version in one of the known ranges and a string field after it.
func Match(path string, head []byte) bool {
	if strings.EqualFold(filepath.Ext(path), ".onnx") {
		return true
	}
	return len(head) >= 3 && head[0] == 1<<3 && head[1] >= 1 && head[1] <= maxIR && (head[2] == 2<<3|2 || head[2] == 7<<3|2 || head[2] == 8<<3|2)
}

// Open reads the model at path. Its parameters alias the mapped files until the model is closed.
func Open(ctx context.Context, path string) (*model.Model, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	file, err := mmap.Open(path)
	if err != nil {
		return nil, fmt.Errorf("onnx: %w", err)
	}
	m, err := readFile(ctx, file.Bytes(), file, path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("onnx: %s: %w", path, err), file.Close())
	}
	m.Own(file)
	return m, nil
}

// read imports a model from the bytes of its file. External data is looked for beside path.
func read(ctx context.Context, data []byte, path string) (*model.Model, error) {
	return readFile(ctx, data, nil, path)
}

// readFile is read for the bytes of a mapped file.
func readFile(ctx context.Context, data []byte, file *mmap.File, path string) (*model.Model, error) {
	if len(data) == 0 {
		return nil, fmt.Errorf("%w: the file is empty", ErrFormat)
	}
	p, err := protobuf.ParseModel(data)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("%w: its %d bytes end in the middle of a message: the file is cut short or damaged; copy or download it again (%w)", ErrFormat, len(data), err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: it is damaged or something else: %w", ErrFormat, err)
	}
	if p.Graph == nil {
		return nil, fmt.Errorf("%w: it has no graph; it is cut short, or not a model", ErrFormat)
	}
	if p.IRVersion > maxIR {
		return nil, fmt.Errorf("IR version %d is %w; the newest that is read is %d", p.IRVersion, ErrUnsupported, maxIR)
	}
	opset, err := opsets(p.OpsetImport, p.IRVersion)
	if err != nil {
		return nil, err
	}
	im := &importer{ctx: ctx, proto: p, file: file, ext: &external{path: path}}
	g, err := im.run(opset)
	if err != nil {
		return nil, errors.Join(err, im.ext.Close())
	}
	m := &model.Model{
		Graph: g, Format: "onnx", Path: path, Dir: filepath.Dir(path), Files: im.ext.names(filepath.Base(path)),
		Producer: p.ProducerName, ProducerVersion: p.ProducerVersion, Domain: p.Domain, Version: p.ModelVersion, Doc: p.DocString,
		Metadata: map[string]string{}, IRVersion: int(p.IRVersion), Opset: opset,
	}
	for _, e := range p.MetadataProps {
		m.Metadata[e.Key] = e.Value
	}
	m.Own(im.ext)
	return m, nil
}

// opsets returns the imported operator sets by domain. Files older than IR version 3 do not have the list: they use version 1.
func opsets(list []protobuf.OperatorSetID, ir int64) (map[string]int, error) {
	sets := map[string]int{}
	for _, o := range list {
		d := domain(o.Domain)
		if v, ok := sets[d]; ok && v != int(o.Version) {
			return nil, fmt.Errorf("%w: the operator set of domain %q is imported as version %d and %d", ErrFormat, d, v, o.Version)
		}
		if d == "" && o.Version > maxOpset {
			return nil, fmt.Errorf("operator set %d is %w; the newest that is read is %d", o.Version, ErrUnsupported, maxOpset)
		}
		if o.Version < 1 || o.Version > 1<<16 {
			return nil, fmt.Errorf("%w: operator set %d of domain %q", ErrFormat, o.Version, d)
		}
		sets[d] = int(o.Version)
	}
	if len(sets) == 0 && ir < 3 {
		sets[""] = 1
	}
	return sets, nil
}

// domain returns the canonical name of an operator domain.
func domain(d string) string {
	if d == "ai.onnx" {
		return ""
	}
	return d
}

// kind returns the name under which package op knows an operator.
func kind(dom, opType string) string {
	if dom = domain(dom); dom != "" {
		return dom + "." + opType
	}
	return opType
}

// splitKind is the inverse of kind.
func splitKind(kind string) (dom, opType string) {
	if i := strings.LastIndexByte(kind, '.'); i >= 0 {
		return kind[:i], kind[i+1:]
	}
	return "", kind
}
