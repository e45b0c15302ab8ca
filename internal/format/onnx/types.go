package onnx

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/codec/protobuf"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// dtype checks an element type of a file.
func dtype(code int32) (tensor.DType, error) {
	if code < int32(tensor.Float32) || code > int32(tensor.Int2) {
		return tensor.Invalid, fmt.Errorf("unknown element type %d", code)
	}
	return tensor.DType(code), nil
}

// importType turns a declared type into a graph type. A missing type is the unknown one.
func importType(t *protobuf.Type) (graph.Type, error) {
	switch {
	case t == nil:
		return graph.Type{}, nil
	case t.Tensor != nil:
		return importTensorType(t.Tensor)
	case t.SparseTensor != nil:
		return graph.Type{}, fmt.Errorf("sparse tensors as inputs and outputs are %w", ErrUnsupported)
	case t.Map != nil:
		return graph.Type{}, fmt.Errorf("map types are %w", ErrUnsupported)
	case t.Sequence != nil:
		return container(tensor.Sequence, t.Sequence)
	case t.Optional != nil:
		return container(tensor.Optional, t.Optional)
	}
	return graph.Type{}, nil
}

func container(d tensor.DType, t *protobuf.ElemType) (graph.Type, error) {
	elem, err := importType(t.Elem)
	if err != nil {
		return graph.Type{}, err
	}
	return graph.Type{DType: d, Elem: &elem}, nil
}

func importTensorType(t *protobuf.TensorType) (graph.Type, error) {
	var ty graph.Type
	if t.ElemType != 0 {
		d, err := dtype(t.ElemType)
		if err != nil {
			return ty, err
		}
		ty.DType = d
	}
	if t.Shape == nil {
		return ty, nil
	}
	ty.Ranked = true
	for i, d := range t.Shape.Dims {
		switch {
		case !d.HasValue && d.Param == "":
			ty.Dims = append(ty.Dims, graph.Unknown)
		case !d.HasValue:
			ty.Dims = append(ty.Dims, graph.Named(d.Param))
		case d.Value < 0:
			// Some exporters write -1 for a size that is not known.
			ty.Dims = append(ty.Dims, graph.Unknown)
		case d.Value > math.MaxInt32*1024:
			return ty, fmt.Errorf("dimension %d has size %d", i, d.Value)
		default:
			ty.Dims = append(ty.Dims, graph.Known(int(d.Value)))
		}
	}
	return ty, nil
}

// exportType is the inverse of importType; nil for an unknown type.
func exportType(t graph.Type) *protobuf.Type {
	switch {
	case t.DType == tensor.Sequence || t.DType == tensor.Optional:
		if t.Elem == nil {
			return nil
		}
		e := &protobuf.ElemType{Elem: exportType(*t.Elem)}
		if e.Elem == nil {
			return nil
		}
		if t.DType == tensor.Sequence {
			return &protobuf.Type{Sequence: e}
		}
		return &protobuf.Type{Optional: e}
	case t.DType == tensor.Invalid:
		return nil
	}
	tt := &protobuf.TensorType{ElemType: int32(t.DType)}
	if t.Ranked {
		tt.Shape = &protobuf.Shape{Dims: make([]protobuf.Dim, len(t.Dims))}
		for i, d := range t.Dims {
			if d.IsKnown() {
				tt.Shape.Dims[i] = protobuf.Dim{Value: int64(d.Size), HasValue: true}
			} else {
				tt.Shape.Dims[i] = protobuf.Dim{Param: d.Name}
			}
		}
	}
	return &protobuf.Type{Tensor: tt}
}

// shapeOf checks the dimensions of a stored tensor.
func shapeOf(dims []int64) (tensor.Shape, int, error) {
	s := make(tensor.Shape, len(dims))
	for i, d := range dims {
		if d < 0 || d > math.MaxInt {
			return nil, 0, fmt.Errorf("dimension %d has size %d", i, d)
		}
		s[i] = int(d)
	}
	n, ok := s.CheckedLen()
	if !ok {
		return nil, 0, fmt.Errorf("shape %v is too large", dims)
	}
	return s, n, nil
}
