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
	// Heap is what making a tensor takes at most beside what is mapped, Garbage what is on the heap besides before it is collected, Mapped the most
	// that the input adds: tensors are made in their order, and what one took of the heap stays there.
	Heap, Garbage, Mapped int
	Files                 int // written beside the weights
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
	// Of the last rounded matrix and of the one before, which is written while that is made: the heap, and what is mapped of tensors behind it that
	// are written as they are.
	var heaps, pieces [2]int
	for _, e := range state {
		heap, mapped := memoryOf(e.Source)
		garbage := heap * 3 / 5
		switch s := e.Source.(type) {
		case *safetensors.Tensor:
			pieces[0] = max(pieces[0], mapped)
		case *roundedPart:
			if s.of != last {
				last, heaps, pieces = s.of, [2]int{heap, heaps[0]}, [2]int{0, pieces[0]}
			}
			heap, mapped = heaps[0]+heaps[1], mapped+max(pieces[0], pieces[1])
			garbage = heap/4 + min(heap/3, 1<<20) // its memory is taken over by the next
		}
		c.Heap, c.Garbage = max(c.Heap, heap), max(c.Garbage, garbage)
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
