package data

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/neurotrain/neuroquant/internal/codec/picture"
	"github.com/neurotrain/neuroquant/tensor"
)

// column is one input of a set of arrays: rows are samples.
type column struct {
	name  string
	dtype tensor.DType
	shape tensor.Shape // of one sample
	rows  int
	read  func(ctx context.Context, index []int) (*tensor.Tensor, error)
}

func (c *column) field() Field { return Field{Name: c.name, DType: c.dtype, Shape: c.shape} }

// memoryColumn serves the rows of a dense tensor.
func memoryColumn(name string, t *tensor.Tensor) (column, error) {
	if err := checkColumn(t.DType, t.Shape); err != nil {
		return column{}, err
	}
	if t.Packed != nil {
		return column{}, fmt.Errorf("want a dense array, got %v", t)
	}
	sample := t.Shape[1:]
	width := sample.Len()
	return column{name, t.DType, sample, t.Shape[0], func(_ context.Context, index []int) (*tensor.Tensor, error) {
		out := tensor.New(t.DType, append(tensor.Shape{len(index)}, sample...)...)
		if t.DType == tensor.String {
			for i, j := range index {
				copy(out.Text()[i*width:], t.Text()[j*width:(j+1)*width])
			}
			return out, nil
		}
		size := t.DType.ByteLen(width)
		for i, j := range index {
			copy(out.Bytes()[i*size:], t.Bytes()[j*size:(j+1)*size])
		}
		return out, nil
	}}, nil
}

// fileColumn serves the rows of an open array.
func fileColumn(name string, a *NPY) (column, error) {
	if err := checkColumn(a.DType, a.Shape); err != nil {
		return column{}, err
	}
	return column{name, a.DType, a.Shape[1:], a.Shape[0], func(_ context.Context, index []int) (*tensor.Tensor, error) {
		return a.Rows(index...)
	}}, nil
}

func checkColumn(d tensor.DType, shape tensor.Shape) error {
	if len(shape) == 0 {
		return errors.New("want an array whose first dimension counts the samples, found a scalar")
	}
	if d.Bits() < 8 && d != tensor.String {
		return fmt.Errorf("want elements of at least 8 bits, found %v", d)
	}
	return nil
}

// imageColumn wraps a column of 8-bit images, [height, width], [height, width, 1 or 3] or [1 or 3, height, width] a sample, so
// that it yields transformed images. ok is false if the column does not hold images.
func imageColumn(c column, t *Transform) (out column, ok bool, err error) {
	if c.dtype != tensor.Uint8 {
		return c, false, nil
	}
	var w, h, channels int
	first := false // channels before rows
	switch s := c.shape; {
	case len(s) == 2:
		h, w, channels = s[0], s[1], 1
	case len(s) == 3 && (s[2] == 1 || s[2] == 3):
		h, w, channels = s[0], s[1], s[2]
	case len(s) == 3 && (s[0] == 1 || s[0] == 3):
		channels, h, w, first = s[0], s[1], s[2], true
	default:
		return c, false, nil
	}
	if w < 1 || h < 1 {
		return c, false, nil
	}
	k, err := t.compile(channels, false)
	if err != nil {
		return c, true, err
	}
	_, final, err := k.sizeFor(w, h)
	if err != nil {
		return c, true, err
	}
	shape := k.shape(final)
	read := func(ctx context.Context, index []int) (*tensor.Tensor, error) {
		raw, err := c.read(ctx, index)
		if err != nil {
			return nil, err
		}
		pix := tensor.Data[uint8](raw)
		size := w * h * channels
		dst := tensor.New(k.storage(), append(tensor.Shape{len(index)}, shape...)...)
		err = parallel(ctx, len(index), func(i int) error {
			r := picture.Image{Width: w, Height: h, Channels: channels, Pix: pix[i*size : (i+1)*size]}
			if first && channels > 1 {
				r = interleave(r)
			}
			r, err := k.geometry(r)
			if err != nil {
				return err
			}
			k.store(dst, i, r)
			return nil
		})
		if err != nil {
			return nil, err
		}
		return k.finish(dst)
	}
	return column{c.name, k.dtype(), shape, c.rows, read}, true, nil
}

// interleave turns planes into pixels.
func interleave(r picture.Image) picture.Image {
	out := picture.New(r.Width, r.Height, r.Channels)
	n := r.Width * r.Height
	for ch := range r.Channels {
		for i, v := range r.Pix[ch*n : (ch+1)*n] {
			out.Pix[i*r.Channels+ch] = v
		}
	}
	return out
}

// arraySet is a set of columns of equal length.
type arraySet struct {
	from    string // names the source in messages and IDs
	cols    []column
	n       int
	labels  []int
	classes []string
	closers []io.Closer
}

// newArraySet checks that the columns have as many rows and applies the transform to those that hold images.
func newArraySet(from string, cols []column, o *Options) (*arraySet, error) {
	s := &arraySet{from: from, n: cols[0].rows}
	images := false
	for i, c := range cols {
		if c.rows != s.n {
			return nil, fmt.Errorf("%s: arrays differ in their number of samples: %s has %d, %s has %d",
				from, cols[0].title(), s.n, c.title(), c.rows)
		}
		if o != nil && !o.Raw {
			t, ok, err := imageColumn(c, &o.Transform)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", from, c.title(), err)
			}
			if ok {
				images, cols[i] = true, t
			}
		}
	}
	if o != nil && !images && !o.Transform.isZero() {
		return nil, fmt.Errorf("%s: size, mean, std and the other image options apply to uint8 images [samples, height, width(, channels)]; found %v, which is passed as it is",
			from, cols[0].field())
	}
	s.cols = cols
	return s, nil
}

func (c *column) title() string {
	if c.name == "" {
		return fmt.Sprintf("%v[%dx%v]", c.dtype, c.rows, c.shape)
	}
	return c.name
}

// Arrays makes a set of tensors whose first dimension counts the samples, as they are. names are the model's inputs, or nil for
// a single unnamed one; labels may be nil. The tensors are not copied.
func Arrays(names []string, tensors []*tensor.Tensor, labels []int) (Set, error) {
	if len(tensors) == 0 {
		return nil, errors.New("no arrays")
	}
	if names == nil && len(tensors) == 1 {
		names = []string{""}
	}
	if len(names) != len(tensors) {
		return nil, fmt.Errorf("%d names for %d arrays", len(names), len(tensors))
	}
	cols := make([]column, len(tensors))
	for i, t := range tensors {
		var err error
		if cols[i], err = memoryColumn(names[i], t); err != nil {
			return nil, fmt.Errorf("array %q: %w", names[i], err)
		}
	}
	s, err := newArraySet("arrays", cols, nil)
	if err != nil {
		return nil, err
	}
	if labels != nil && len(labels) != s.n {
		return nil, fmt.Errorf("%d labels for %d samples", len(labels), s.n)
	}
	s.labels = labels
	return s, nil
}

func (s *arraySet) Len() int          { return s.n }
func (s *arraySet) Labels() []int     { return s.labels }
func (s *arraySet) Classes() []string { return s.classes }

func (s *arraySet) Fields() []Field {
	f := make([]Field, len(s.cols))
	for i := range s.cols {
		f[i] = s.cols[i].field()
	}
	return f
}

func (s *arraySet) id(i int) string { return fmt.Sprintf("%s[%d]", s.from, i) }

func (s *arraySet) Read(ctx context.Context, index []int) (Batch, error) {
	b := Batch{IDs: make([]string, len(index))}
	for k, i := range index {
		if i < 0 || i >= s.n {
			return Batch{}, fmt.Errorf("%s: sample %d of %d", s.from, i, s.n)
		}
		b.IDs[k] = s.id(i)
	}
	b.Labels = pickLabels(s.labels, index)
	for _, c := range s.cols {
		if err := ctx.Err(); err != nil {
			return Batch{}, err
		}
		t, err := c.read(ctx, index)
		if err != nil {
			return Batch{}, fmt.Errorf("%s: %w", s.from, err)
		}
		b.Names = append(b.Names, c.name)
		b.Inputs = append(b.Inputs, t)
	}
	return b, nil
}

func pickLabels(labels []int, index []int) []int {
	if labels == nil {
		return nil
	}
	out := make([]int, len(index))
	for k, i := range index {
		out[k] = labels[i]
	}
	return out
}

func (s *arraySet) Close() error {
	var errs []error
	for _, c := range s.closers {
		errs = append(errs, c.Close())
	}
	s.closers = nil
	return errors.Join(errs...)
}

// labelNames are the arrays of an npz file or folder that hold class indices rather than an input.
var labelNames = []string{"labels", "label", "targets", "target", "y"}

func isLabelName(name string) bool { return slices.Contains(labelNames, name) }
