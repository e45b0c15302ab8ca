package hf

import (
	"context"
	"errors"

	"github.com/neurotrain/neuroquant/internal/model"
)

// Describe lists the tensors of a folder, or of a safetensors file, also where no graph can be made of them.
func Describe(ctx context.Context, path string) (c *model.Contents, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	dir, err := folder(path)
	if err != nil {
		return nil, err
	}
	w, err := openWeights(dir, path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	c = &model.Contents{Kind: "checkpoint", Container: "safetensors"}
	if len(w.files) > 1 {
		c.Container = "safetensors in shards"
	}
	for _, e := range w.entries {
		shape := e.Shape()
		t := model.ContentTensor{Name: e.Name, DType: e.DType().String(), Shape: append([]int{}, shape...), Bytes: int64(e.DType().ByteLen(shape.Len()))}
		c.Tensors = append(c.Tensors, t)
	}
	return c, nil
}
