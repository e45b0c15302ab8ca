package onnx

import (
	"context"
	"fmt"
	"path/filepath"
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
	if apart := x.external(p, path, o); len(apart) > 0 {
		if err := moveOut(&files, path+externalEnd, apart); err != nil {
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

// ByteLen is what the files of a model at path take, the message and what lies beside it.
func ByteLen(ctx context.Context, path string, m *model.Model, o model.SaveOptions) (int64, error) {
	p, x, err := export(ctx, m, o)
	if err != nil {
		return 0, fmt.Errorf("onnx: %w", err)
	}
	beside := int64(0)
	for _, t := range x.external(p, path, o) {
		beside = t.at + t.bytes
	}
	return p.Size() + beside, nil
}

// externalEnd is what the name of the file beside a message ends with.
const externalEnd = ".data"

// externalTensor is a tensor that lies in the file beside the message.
type externalTensor struct {
	name      string
	at, bytes int64
	stream    func(w protobuf.Sink) error
}

// external finds the tensors that do not lie in the message, in the order of the file beside it, and makes the message refer to that.
func (x *exporter) external(p *protobuf.Model, path string, o model.SaveOptions) []externalTensor {
	if !o.ExternalData && p.Size() <= protobuf.MaxSize-sizeMargin {
		return nil
	}
	least := o.ExternalMinBytes
	if least <= 0 {
		least = externalMin
	}
	var out []externalTensor
	var at int64
	for _, t := range x.payloads {
		if t.StreamLen < least {
			continue
		}
		align := int64(alignSmall)
		if t.StreamLen >= alignBig {
			align = alignBig
		}
		at += (align - at%align) % align
		out = append(out, externalTensor{t.Name, at, t.StreamLen, t.Stream})
		t.ExternalData = []protobuf.StringEntry{
			{Key: "location", Value: filepath.ToSlash(filepath.Base(path + externalEnd))},
			{Key: "offset", Value: strconv.FormatInt(at, 10)},
			{Key: "length", Value: strconv.FormatInt(t.StreamLen, 10)},
		}
		t.DataLocation = protobuf.External
		at += t.StreamLen
		t.Stream, t.StreamLen = nil, 0
	}
	return out
}

// moveOut writes tensors to a file of their own.
func moveOut(files *outfile.Set, path string, list []externalTensor) error {
	f, err := files.Create(path)
	if err != nil {
		return err
	}
	var at int64
	zeros := make([]byte, alignBig)
	for _, t := range list {
		if _, err := f.Write(zeros[:t.at-at]); err != nil {
			return err
		}
		if err := t.stream(f); err != nil {
			return fmt.Errorf("parameter %q: %w", t.name, err)
		}
		at = t.at + t.bytes
	}
	return nil
}
