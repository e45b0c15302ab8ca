package hf

import (
	"github.com/neurotrain/neuroquant/internal/codec/safetensors"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/tensor"
)

// Contents is what [Save] writes, known without a tensor being loaded.
type Contents struct {
	State []model.Entry
	Bytes int64 // of all files
	// Heap is what making a tensor takes at most beside what is mapped, Mapped the most that the input adds to it: tensors are made in
	// their order, and what one took of the heap stays there.
	Heap, Mapped int
	Files        int // written beside the weights
}

// ContentsOf tells what [Save] writes.
func ContentsOf(m *model.Model, o model.SaveOptions) (*Contents, error) {
	state, entries, config, err := planned(m, o)
	if err != nil {
		return nil, err
	}
	c := &Contents{State: state}
	if c.Bytes, err = safetensors.ByteLen(entries, safetensors.WriteOptions{}); err != nil {
		return nil, err
	}
	for _, v := range []any{config, apart(config, o)} {
		if v == nil {
			continue
		}
		text, err := textOf(v)
		if err != nil {
			return nil, err
		}
		c.Bytes += int64(len(text))
		c.Files++
	}
	both := 0
	var last *roundedCell
	lastHeap, beforeHeap := 0, 0 // of the last rounded matrix and of the one before, which is written while that is made
	for _, e := range state {
		heap, mapped := memoryOf(e.Source)
		if p, ok := e.Source.(*roundedPart); ok {
			if p.of != last {
				last, lastHeap, beforeHeap = p.of, heap, lastHeap
			}
			heap += beforeHeap
		}
		c.Heap = max(c.Heap, heap)
		both = max(both, c.Heap+mapped)
	}
	c.Mapped = both - c.Heap
	if m.Dir == "" {
		return c, nil
	}
	list, err := companionsIn(m.Dir)
	c.Files += len(list)
	for _, info := range list {
		c.Bytes += info.Size()
	}
	return c, err
}

// memoryOf is what making a tensor takes, of the heap and of mapped files.
func memoryOf(s tensor.Source) (heap, mapped int) {
	bytes := s.DType().ByteLen(s.Shape().Len())
	switch s := s.(type) {
	case *safetensors.Tensor: // which is written from the mapping
		return 0, min(bytes, safetensors.PieceBytes)
	case *partSource:
		a := s.m.form
		heap = a.Rows*((a.Cols*a.Bits+7)/8) + 4*a.Rows*a.Groups() + bytes
		if a.Zeros != nil {
			heap += a.Rows * a.Groups()
		}
		if w, ok := s.m.source.(packed.Working); ok {
			h, m := w.Working()
			return heap + h, m
		}
		return heap, 0
	case *roundedPart:
		from := s.of.from
		values := from.Shape().Len()
		heap, mapped = from.ByteLen(from.Shape()[0], from.Shape()[1]), from.Stored.ByteLen(values)
		if from.Stored == tensor.Invalid {
			mapped = 2 * values
		}
		if from.Double { // the scales before they are rounded
			heap += 4 * ((values + from.Block - 1) / from.Block)
		}
		if from.ByInput {
			heap += 4 * values
		}
		return heap, mapped
	}
	return 3 * bytes, bytes // what it is computed from, and as float32 or float64
}
