package hf

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/neurotrain/neuroquant/internal/codec/safetensors"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/tensor"
)

// Save writes the model to the folder at path, which exists. Tensors are made one after the other; those that are written as they lie in a file
// and the parts of rounded matrices are written while the next ones are made, so that two matrices take memory at a time.
func Save(ctx context.Context, path string, m *model.Model, o model.SaveOptions) error {
	state, entries, config, err := planned(m, o)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	w, err := NewWriter(path, entries, config, m.Dir)
	if err != nil {
		return err
	}
	defer w.Abort()
	ctx, cancel := context.WithCancel(ctx)
	task := progress.From(ctx).Start("writing "+filepath.Base(path), int64(len(state)), "tensors")
	defer task.Done()
	q := newQueue(len(state), func(i int, t *tensor.Tensor) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.save(m, state[i], t); err != nil {
			return err
		}
		task.Add(1)
		return nil
	})
	defer q.end()
	defer cancel()
	begun, before := 0, 0 // the first tensor of the last rounded matrix, and of the one before
	for i, e := range state {
		switch s := e.Source.(type) {
		case *safetensors.Tensor: // which takes no memory
		case *roundedPart:
			if s.of.made == nil {
				begun, before = i, begun
				err = q.wait(before)
			}
		default:
			err = q.wait(i)
		}
		if err != nil {
			return err
		}
		t, err := e.Load()
		if err != nil {
			return fmt.Errorf("tensor %q: %w", e.Name, err)
		}
		q.put(t)
	}
	if err := q.wait(len(state)); err != nil {
		return err
	}
	if c := apart(config, o); c != nil {
		if err := w.addJSON(quantizeConfigFile, c); err != nil {
			return err
		}
	}
	return w.Close()
}

// save writes a tensor of a model and lets go of the memory behind it; an element that is not a number is an error.
func (w *Writer) save(m *model.Model, e model.Entry, t *tensor.Tensor) error {
	defer tensor.Release(e.Source)
	if _, mapped := e.Source.(*safetensors.Tensor); !mapped || t.Packed != nil {
		if err := m.DamagedTensor(e, t, false); err != nil {
			return err
		}
		return w.Write(e.Name, t)
	}
	return w.w.WriteInPieces(e.Name, t, func(b []byte) error {
		piece, err := tensor.FromBytes(t.DType, tensor.Shape{len(b) / t.DType.ByteLen(1)}, b)
		if err != nil {
			return err
		}
		if piece.NaN() >= 0 {
			return m.DamagedTensor(e, t, false)
		}
		return nil
	}, func() { tensor.Release(e.Source) })
}

// queue is tensors that are written in their order while others are made.
type queue struct {
	tensors chan *tensor.Tensor
	written chan error // for each tensor, the first error so far
	done    int        // received from there
	ended   chan struct{}
}

// newQueue begins a queue of at most n tensors; write is called with the index of each, until it fails.
func newQueue(n int, write func(i int, t *tensor.Tensor) error) *queue {
	q := &queue{tensors: make(chan *tensor.Tensor, n), written: make(chan error, n), ended: make(chan struct{})}
	go func() {
		defer close(q.ended)
		var err error
		for i := 0; ; i++ {
			t, more := <-q.tensors
			if !more {
				return
			}
			if err == nil {
				err = write(i, t)
			}
			q.written <- err
		}
	}()
	return q
}

// put adds the next tensor.
func (q *queue) put(t *tensor.Tensor) { q.tensors <- t }

// wait waits until the first n tensors are written.
func (q *queue) wait(n int) error {
	for ; q.done < n; q.done++ {
		if err := <-q.written; err != nil {
			return err
		}
	}
	return nil
}

// end waits until what was put is written; it must be called.
func (q *queue) end() {
	close(q.tensors)
	<-q.ended
}
