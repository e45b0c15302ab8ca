package onnx

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/neurotrain/neuroquant/internal/codec/outfile"
	"github.com/neurotrain/neuroquant/internal/codec/protobuf"
	"github.com/neurotrain/neuroquant/internal/model"
)

// Layout of external data.
const (
	externalMin = 1 << 10  // smaller tensors stay in the message
	alignBig    = 64 << 10 // offsets of tensors of at least this size are multiples of it, so that they can be mapped
	alignSmall  = 64
	sizeMargin  = 64 << 20 // how far below the limit of a message external data begins
)

// Write saves m as an ONNX file at path. The operator set is the source's, or newer where nodes and types need it, at least 13.
// Parameters are streamed from their sources. They go to a second file, path + ".data", when the message would come near its limit
// of 2 GiB or the options ask for it. Both files appear under their names only when they are complete.
func Write(ctx context.Context, path string, m *model.Model, o model.SaveOptions) error {
	if err := write(ctx, path, m, o); err != nil {
		return fmt.Errorf("onnx: %s: %w", path, err)
	}
	return nil
}

func write(ctx context.Context, path string, m *model.Model, o model.SaveOptions) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p, x, err := export(ctx, m, o)
	if err != nil {
		return err
	}
	var files outfile.Set
	defer files.Abort()
	if o.ExternalData || p.Size() > protobuf.MaxSize-sizeMargin {
		if err := x.moveOut(&files, path+".data", o.ExternalMinBytes); err != nil {
			return err
		}
	}
	if n := p.Size(); n > protobuf.MaxSize {
		return fmt.Errorf("the model takes %d bytes without its parameters, more than a message may have (%d)", n, protobuf.MaxSize)
	}
	f, err := files.Create(path)
	if err != nil {
		return err
	}
	if _, err := p.WriteTo(f); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return files.Commit()
}

// moveOut writes the tensors of at least minBytes to a file of their own and makes the message refer to it.
func (x *exporter) moveOut(files *outfile.Set, path string, minBytes int64) error {
	if minBytes <= 0 {
		minBytes = externalMin
	}
	if !slices.ContainsFunc(x.payloads, func(t *protobuf.Tensor) bool { return t.StreamLen >= minBytes }) {
		return nil
	}
	f, err := files.Create(path)
	if err != nil {
		return err
	}
	var at int64
	zeros := make([]byte, alignBig)
	for _, t := range x.payloads {
		if t.StreamLen < minBytes {
			continue
		}
		align := int64(alignSmall)
		if t.StreamLen >= alignBig {
			align = alignBig
		}
		if pad := (align - at%align) % align; pad > 0 {
			if _, err := f.Write(zeros[:pad]); err != nil {
				return err
			}
			at += pad
		}
		if err := t.Stream(f); err != nil {
			return fmt.Errorf("parameter %q: %w", t.Name, err)
		}
		t.ExternalData = []protobuf.StringEntry{
			{Key: "location", Value: filepath.ToSlash(filepath.Base(path))},
			{Key: "offset", Value: strconv.FormatInt(at, 10)},
			{Key: "length", Value: strconv.FormatInt(t.StreamLen, 10)},
		}
		t.DataLocation = protobuf.External
		at += t.StreamLen
		t.Stream, t.StreamLen = nil, 0
	}
	return nil
}
