package onnx

import (
	"fmt"
	"math"
	"slices"

	"github.com/neurotrain/neuroquant/internal/codec/protobuf"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// decodeValue reads a .pb file whose message is what the declared type says.
func decodeValue(b []byte, t graph.Type) (*tensor.Tensor, error) {
	im := &importer{ext: &external{}}
	switch t.DType {
	case tensor.Sequence:
		s, err := protobuf.ParseSequence(b)
		if err != nil {
			return nil, err
		}
		return im.sequence(s)
	case tensor.Optional:
		o, err := protobuf.ParseOptional(b)
		if err != nil {
			return nil, err
		}
		switch {
		case o.Tensor != nil:
			v, err := im.load(o.Tensor)
			if err != nil {
				return nil, err
			}
			return tensor.NewOptional(v), nil
		case o.Sequence != nil:
			v, err := im.sequence(o.Sequence)
			if err != nil {
				return nil, err
			}
			return tensor.NewOptional(v), nil
		}
		return tensor.NewOptional(nil), nil
	}
	p, err := protobuf.ParseTensor(b)
	if err != nil {
		return nil, err
	}
	return im.load(p)
}

func (im *importer) sequence(s *protobuf.Sequence) (*tensor.Tensor, error) {
	var elems []*tensor.Tensor
	for _, p := range s.Tensors {
		v, err := im.load(p)
		if err != nil {
			return nil, err
		}
		elems = append(elems, v)
	}
	for _, p := range s.Sequences {
		v, err := im.sequence(p)
		if err != nil {
			return nil, err
		}
		elems = append(elems, v)
	}
	return tensor.NewSequence(elems...), nil
}

// tolerance of a comparison: |got-want| <= abs + rel*|want|.
type tolerance struct{ rel, abs float64 }

// differ compares two values; NaN equals NaN.
func (tol tolerance) differ(got, want *tensor.Tensor) error {
	switch {
	case got == nil || want == nil:
		if got != want {
			return fmt.Errorf("got %v, want %v", got, want)
		}
		return nil
	case got.DType != want.DType:
		return fmt.Errorf("got %v, want %v", got, want)
	case !got.Shape.Equal(want.Shape):
		return fmt.Errorf("got shape %v, want %v", got.Shape, want.Shape)
	}
	switch got.DType {
	case tensor.Sequence, tensor.Optional:
		for i, w := range want.Elems() {
			if err := tol.differ(got.Elems()[i], w); err != nil {
				return fmt.Errorf("element %d: %w", i, err)
			}
		}
		return nil
	case tensor.String:
		if !slices.Equal(got.Text(), want.Text()) {
			return fmt.Errorf("got %q, want %q", got.Text(), want.Text())
		}
		return nil
	case tensor.Complex64, tensor.Complex128:
		return fmt.Errorf("%v cannot be compared", got.DType)
	case tensor.Int64, tensor.Uint64:
		if !slices.Equal(got.Bytes(), want.Bytes()) {
			a, _ := got.Ints()
			b, _ := want.Ints()
			return fmt.Errorf("got %v, want %v", a[:min(len(a), 20)], b[:min(len(b), 20)])
		}
		return nil
	}
	a, err := got.Float64s()
	if err != nil {
		return err
	}
	b, err := want.Float64s()
	if err != nil {
		return err
	}
	bad, worst, first := 0, 0.0, -1
	for i := range b {
		if a[i] == b[i] || a[i] != a[i] && b[i] != b[i] {
			continue
		}
		d := math.Abs(a[i] - b[i])
		if d <= tol.abs+tol.rel*math.Abs(b[i]) {
			continue
		}
		bad++
		if first < 0 {
			first = i
		}
		worst = max(worst, d)
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d elements differ, by up to %.3g; the first is %d: got %v, want %v", bad, len(b), worst, first, a[first], b[first])
	}
	return nil
}
