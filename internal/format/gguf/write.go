package gguf

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/neurotrain/neuroquant/internal/codec/gguf"
	"github.com/neurotrain/neuroquant/internal/codec/outfile"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/tensor"
)

// Save writes a model to the file at path.
func Save(ctx context.Context, path string, m *model.Model, o model.SaveOptions) error {
	p, err := NewPlan(m, Options{Type: o.Type, Importance: o.Importance, SplitBytes: int(o.SplitBytes)})
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return p.Write(ctx, path)
}

// baseName is the name of a file or folder without its ending.
func baseName(path string) string {
	return strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
}

// Write writes the file, or the files of a split one. Rows are read, encoded on all threads and written in pieces, so that the memory
// it takes does not depend on the size of the model.
func (p *Plan) Write(ctx context.Context, path string) error {
	groups := p.split()
	var files outfile.Set
	defer files.Abort()
	total := int64(0)
	for _, t := range p.targets {
		total += int64(t.rows) * int64(t.cols)
	}
	task := progress.From(ctx).Start("writing "+filepath.Base(path), total, "values")
	defer task.Done()
	for i, group := range groups {
		name, pairs := path, p.pairs
		if len(groups) > 1 {
			name = strings.TrimSuffix(path, ".gguf") + splitSuffix(i, len(groups))
			if i > 0 {
				pairs = nil
			}
			pairs = append(pairs[:len(pairs):len(pairs)], gguf.Pair{Key: "split.no", Value: uint16(i)}, gguf.Pair{Key: "split.count", Value: uint16(len(groups))},
				gguf.Pair{Key: "split.tensors.count", Value: int32(len(p.targets))})
		}
		f, err := files.Create(name)
		if err != nil {
			return err
		}
		if err := p.writeFile(ctx, f, pairs, group, task); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return files.Commit()
}

// split groups the tensors by files.
func (p *Plan) split() [][]*target {
	var groups [][]*target
	size := 0
	for _, t := range p.targets {
		n, _ := t.size()
		if len(groups) == 0 || p.options.SplitBytes > 0 && size+n > p.options.SplitBytes && size > 0 {
			groups, size = append(groups, nil), 0
		}
		groups[len(groups)-1] = append(groups[len(groups)-1], t)
		size += n
	}
	return groups
}

func (p *Plan) writeFile(ctx context.Context, w io.Writer, pairs []gguf.Pair, group []*target, task progress.Task) error {
	list, sizes := make([]gguf.Tensor, len(group)), make([]int, len(group))
	for i, t := range group {
		n, err := t.size()
		if err != nil {
			return err
		}
		list[i], sizes[i] = gguf.Tensor{Name: t.name, Type: uint32(t.kind), Shape: t.shape}, n
	}
	header, err := gguf.Encode(pairs, list, sizes)
	if err != nil {
		return err
	}
	if _, err := w.Write(header); err != nil {
		return err
	}
	e := newEncoder(p.options.Threads, w, task)
	defer e.close()
	for i, t := range group {
		if err := e.tensor(ctx, t, gguf.Padding(sizes[i])); err != nil {
			return err
		}
	}
	return e.flush()
}

// pieceValues is how many values are encoded in one go, at least a row.
const pieceValues = 1 << 18

// dropBytes is how much of a tensor is read before its pages are let go.
const dropBytes = 32 << 20

// encoder encodes pieces of tensors on several goroutines and writes them in order.
type encoder struct {
	jobs    chan *piece
	free    chan *piece
	w       io.Writer
	task    progress.Task
	queue   []*piece // not yet written, the oldest first
	dropped int      // bytes of values since pages were let go
}

// piece is rows of a tensor with room for their values and blocks.
type piece struct {
	t        *target
	blocks   []*packed.Blocks // the tensor's parts, where they are of the file's type already
	rows     func(dst []float32, from, to int) error
	from, to int
	padding  int // bytes behind it
	values   []float32
	data     []byte
	err      error
	done     chan struct{}
}

func newEncoder(threads int, w io.Writer, task progress.Task) *encoder {
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	e := &encoder{jobs: make(chan *piece, 3*threads), free: make(chan *piece, 3*threads), w: w, task: task}
	for range cap(e.free) {
		e.free <- &piece{done: make(chan struct{}, 1)}
	}
	for range threads {
		go func() {
			for p := range e.jobs {
				p.err = p.encode()
				p.done <- struct{}{}
			}
		}()
	}
	return e
}

// close ends the goroutines, after what they were given.
func (e *encoder) close() {
	close(e.jobs)
	for _, p := range e.queue {
		<-p.done
	}
}

// tensor encodes a tensor. Its last pieces may be written with the next tensor, or by flush.
func (e *encoder) tensor(ctx context.Context, t *target, padding int) error {
	rows, blocks, err := t.reader()
	if err != nil {
		return fmt.Errorf("tensor %q: %w", t.from, err)
	}
	step := min(max(1, pieceValues/max(t.cols, 1)), max(t.rows, 1))
	for from := 0; from < t.rows; from += step {
		if err := ctx.Err(); err != nil {
			return err
		}
		for len(e.free) == 0 {
			if err := e.next(); err != nil {
				return err
			}
		}
		p := <-e.free
		p.t, p.rows, p.blocks, p.from, p.to, p.padding = t, rows, blocks, from, min(from+step, t.rows), 0
		if p.to == t.rows {
			p.padding = padding
		}
		e.queue = append(e.queue, p)
		e.jobs <- p
	}
	return nil
}

// flush writes what is left.
func (e *encoder) flush() error {
	for len(e.queue) > 0 {
		if err := e.next(); err != nil {
			return err
		}
	}
	return nil
}

// next writes the oldest piece.
func (e *encoder) next() error {
	p := e.queue[0]
	e.queue = e.queue[1:]
	<-p.done
	err := p.err
	if err == nil {
		_, err = e.w.Write(p.data)
	}
	if err == nil && p.padding > 0 {
		_, err = e.w.Write(make([]byte, p.padding))
	}
	if err != nil {
		return fmt.Errorf("tensor %q: %w", p.t.from, err)
	}
	e.task.Add(int64(len(p.values)))
	if e.dropped += 4 * len(p.values); e.dropped > dropBytes || p.to == p.t.rows {
		p.t.release()
		e.dropped = 0
	}
	e.free <- p
	return nil
}

// release lets go of what the tensor's parts have read.
func (t *target) release() {
	for _, p := range t.parts {
		tensor.Release(p.source)
	}
}

func grown[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// encode fills the piece's data.
func (p *piece) encode() error {
	t, n := p.t, p.to-p.from
	size, err := t.kind.RowBytes(t.cols)
	if err != nil {
		return err
	}
	p.values, p.data = grown(p.values, n*t.cols), grown(p.data, n*size)
	if p.blocks != nil { // nothing is rounded
		share := t.rows / len(p.blocks)
		for r := range n {
			part, at := (p.from+r)/share, (p.from+r)%share
			if t.order != nil {
				at = t.order(at)
			}
			copy(p.data[r*size:], p.blocks[part].Bytes(at, at+1))
		}
		return nil
	}
	if err := p.rows(p.values, p.from, p.to); err != nil {
		return err
	}
	if err := kernel.CheckFinite(p.values); err != nil {
		return fmt.Errorf("rows %d to %d: %w", p.from, p.to-1, err)
	}
	if t.plusOne {
		for i := range p.values {
			p.values[i]++
		}
	}
	for r := range n {
		var importance []float32
		if len(t.parts) > 0 {
			importance = t.parts[(p.from+r)/(t.rows/len(t.parts))].importance
		}
		t.kind.Encode(p.data[r*size:(r+1)*size], p.values[r*t.cols:(r+1)*t.cols], importance)
	}
	return nil
}

// reader returns what gives rows of the tensor as they are in the file, or its parts where they are blocks of the type that is written.
func (t *target) reader() (func(dst []float32, from, to int) error, []*packed.Blocks, error) {
	if len(t.parts) == 0 {
		return func(dst []float32, from, to int) error {
			copy(dst, t.values[from*t.cols:to*t.cols])
			return nil
		}, nil, nil
	}
	loaded := make([]*tensor.Tensor, len(t.parts))
	var blocks []*packed.Blocks
	for i, p := range t.parts {
		var err error
		if loaded[i], err = p.source.Load(); err != nil {
			return nil, nil, err
		}
		if b, ok := loaded[i].Packed.(*packed.Blocks); ok && b.Kind == t.kind && !t.transpose {
			blocks = append(blocks, b)
		}
	}
	if len(blocks) == len(t.parts) {
		return nil, blocks, nil
	}
	rows, err := t.rowsFrom(loaded)
	return rows, nil, err
}

// rowsFrom returns what gives the values of rows.
func (t *target) rowsFrom(tensors []*tensor.Tensor) (func(dst []float32, from, to int) error, error) {
	if t.transpose {
		return transposed(tensors[0])
	}
	parts := make([]func(dst []float32, row int), len(t.parts))
	for i, loaded := range tensors {
		var err error
		if t.order != nil && len(t.shape) == 1 { // elements of a bias
			loaded = loaded.Reshape(t.cols, 1)
		}
		if parts[i], err = rowsOf(loaded); err != nil {
			return nil, err
		}
	}
	if t.order != nil && len(t.shape) == 1 {
		return func(dst []float32, _, _ int) error {
			for i := range dst {
				parts[0](dst[i:i+1], t.order(i))
			}
			return nil
		}, nil
	}
	share := t.rows / len(parts)
	return func(dst []float32, from, to int) error {
		for r := from; r < to; r++ {
			at := r % share
			if t.order != nil {
				at = t.order(at)
			}
			parts[r/share](dst[(r-from)*t.cols:(r-from+1)*t.cols], at)
		}
		return nil
	}, nil
}

// transposed gives the columns of a matrix as rows.
func transposed(t *tensor.Tensor) (func(dst []float32, from, to int) error, error) {
	values, err := t.Floats()
	if err != nil {
		return nil, err
	}
	rows, cols := t.Shape[0], t.Shape[1]
	return func(dst []float32, from, to int) error {
		for r := range rows {
			for c := from; c < to; c++ {
				dst[(c-from)*rows+r] = values[r*cols+c]
			}
		}
		return nil
	}, nil
}

// rowsOf returns what decodes rows of a tensor, without a copy of it where its type allows.
func rowsOf(t *tensor.Tensor) (func(dst []float32, row int), error) {
	if t.Packed != nil {
		return t.Packed.Row, nil
	}
	switch t.DType {
	case tensor.Float16, tensor.BFloat16:
		n, err := packed.NewNarrow(t)
		if err != nil {
			return nil, err
		}
		return n.Packed.Row, nil
	}
	values, err := t.Floats()
	if err != nil {
		return nil, err
	}
	return func(dst []float32, row int) { copy(dst, values[row*len(dst):]) }, nil
}
