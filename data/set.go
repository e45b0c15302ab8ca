package data

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/tensor"
)

// Set is a finite list of samples in a fixed order. Its methods may be called from several goroutines.
type Set interface {
	// Len returns the number of samples.
	Len() int
	// Fields describes the input tensors of every sample.
	Fields() []Field
	// Labels returns the class index of every sample, or nil if the set has none. The caller must not change it.
	Labels() []int
	// Read returns the samples of the given indices, in that order, as one batch that the caller owns.
	Read(ctx context.Context, index []int) (Batch, error)
	// Close releases files. The set must not be used afterwards.
	Close() error
}

// Field describes one input tensor of a sample.
type Field struct {
	Name  string // "" if the source does not name it: a model takes it by position
	DType tensor.DType
	Shape tensor.Shape // of one sample, without the batch dimension
	// High bounds integers drawn by [Random]: they are in [0, High). 0 stands for 2, which any vocabulary and mask admits.
	High int64
}

// String returns a form such as "image float32[3x32x32]".
func (f Field) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %v[%v]", f.Name, f.DType, f.Shape))
}

// Batch is a number of samples. The first dimension of every input counts them.
type Batch struct {
	Names  []string // of the inputs; "" where the source does not name them
	Inputs []*tensor.Tensor
	Labels []int    // class indices; nil if the set has none
	IDs    []string // where each sample comes from, such as a file name, for messages
}

// Len returns the number of samples.
func (b Batch) Len() int { return len(b.IDs) }

// For returns the inputs in the order of a model's input names: by name if all of them are there, else by position if the
// batch does not name its inputs and has as many as the model.
func (b Batch) For(names []string) ([]*tensor.Tensor, error) {
	out := make([]*tensor.Tensor, len(names))
	found := 0
	for i, name := range names {
		if j := slices.Index(b.Names, name); j >= 0 && name != "" {
			out[i] = b.Inputs[j]
			found++
		}
	}
	if found == len(names) {
		return out, nil
	}
	named := slices.ContainsFunc(b.Names, func(s string) bool { return s != "" })
	if len(b.Inputs) == len(names) && (!named || len(names) == 1) {
		return slices.Clone(b.Inputs), nil
	}
	have := make([]string, len(b.Inputs))
	for i, t := range b.Inputs {
		have[i] = strings.TrimSpace(b.Names[i] + " " + t.String())
	}
	return nil, fmt.Errorf("the model takes inputs %s, the data has %s", strings.Join(names, ", "), strings.Join(have, ", "))
}

// Batches walks the set in its order, size samples at a time; the last batch may be smaller. It ends after the first error.
func Batches(ctx context.Context, s Set, size int) iter.Seq2[Batch, error] {
	return func(yield func(Batch, error) bool) {
		if size < 1 {
			yield(Batch{}, fmt.Errorf("batch size: want at least 1, got %d", size))
			return
		}
		n := s.Len()
		index := make([]int, 0, min(size, n))
		for from := 0; from < n; from += size {
			index = index[:0]
			for i := from; i < min(from+size, n); i++ {
				index = append(index, i)
			}
			err := ctx.Err()
			var b Batch
			if err == nil {
				b, err = s.Read(ctx, index)
			}
			if err != nil {
				yield(Batch{}, err)
				return
			}
			if !yield(b, nil) {
				return
			}
		}
	}
}

// Classes returns the class names of the set by index, or nil if it does not know them.
func Classes(s Set) []string {
	if c, ok := s.(interface{ Classes() []string }); ok {
		return c.Classes()
	}
	return nil
}

// Subset returns the samples of the given indices in that order. Closing it closes s.
func Subset(s Set, index []int) (Set, error) {
	n := s.Len()
	for _, i := range index {
		if i < 0 || i >= n {
			return nil, fmt.Errorf("sample %d of a set of %d", i, n)
		}
	}
	return subset(s, slices.Clone(index)), nil
}

// Limit returns the first n samples, or all if there are fewer.
func Limit(s Set, n int) Set {
	if n >= s.Len() {
		return s
	}
	return subset(s, seq(max(n, 0)))
}

// Sample returns n samples drawn by seed without repetition, in the order of s; all of them if there are fewer. Sets are often
// sorted by class, so that the first n would show one class only.
func Sample(s Set, n int, seed uint64) Set {
	if n >= s.Len() {
		return s
	}
	index := permutation(s.Len(), seed)[:max(n, 0)]
	slices.Sort(index)
	return subset(s, index)
}

// Shuffle returns all samples in an order drawn by seed.
func Shuffle(s Set, seed uint64) Set { return subset(s, permutation(s.Len(), seed)) }

func seq(n int) []int {
	index := make([]int, n)
	for i := range index {
		index[i] = i
	}
	return index
}

// permutation is Fisher and Yates' over PCG, spelled out so that the order never depends on the library's version.
func permutation(n int, seed uint64) []int {
	src := rand.NewPCG(seed, 0x9e3779b97f4a7c15)
	index := seq(n)
	for i := n - 1; i > 0; i-- {
		j, _ := bits.Mul64(src.Uint64(), uint64(i+1))
		index[i], index[j] = index[j], index[i]
	}
	return index
}

// chosen is some samples of another set.
type chosen struct {
	Set
	index  []int
	labels []int
}

func subset(s Set, index []int) Set {
	c := &chosen{Set: s, index: index}
	if all := s.Labels(); all != nil {
		c.labels = make([]int, len(index))
		for i, j := range index {
			c.labels[i] = all[j]
		}
	}
	return c
}

func (c *chosen) Len() int          { return len(c.index) }
func (c *chosen) Labels() []int     { return c.labels }
func (c *chosen) Classes() []string { return Classes(c.Set) }
func (c *chosen) Read(ctx context.Context, index []int) (Batch, error) {
	inner := make([]int, len(index))
	for i, j := range index {
		if j < 0 || j >= len(c.index) {
			return Batch{}, fmt.Errorf("sample %d of a set of %d", j, len(c.index))
		}
		inner[i] = c.index[j]
	}
	return c.Set.Read(ctx, inner)
}

// Concat returns the samples of several sets one after the other. Their fields must agree; labels stay only if every set has
// them. Closing it closes all of them.
func Concat(sets ...Set) (Set, error) {
	if len(sets) == 0 {
		return nil, errors.New("no sets to join")
	}
	c := &joined{sets: sets, classes: Classes(sets[0])}
	labeled := true
	for i, s := range sets {
		if !slices.EqualFunc(s.Fields(), sets[0].Fields(), func(a, b Field) bool {
			return a.Name == b.Name && a.DType == b.DType && a.Shape.Equal(b.Shape)
		}) {
			return nil, fmt.Errorf("data sets differ: the first has %v, number %d has %v", sets[0].Fields(), i+1, s.Fields())
		}
		if !slices.Equal(Classes(s), c.classes) {
			return nil, fmt.Errorf("data sets differ: the first has classes %v, number %d has %v", c.classes, i+1, Classes(s))
		}
		c.start = append(c.start, c.n)
		c.n += s.Len()
		if s.Labels() == nil && s.Len() > 0 {
			labeled = false
		}
		c.labels = append(c.labels, s.Labels()...)
	}
	if !labeled {
		c.labels = nil
	}
	return c, nil
}

type joined struct {
	sets    []Set
	start   []int // of each set
	n       int
	labels  []int
	classes []string
}

func (c *joined) Len() int          { return c.n }
func (c *joined) Fields() []Field   { return c.sets[0].Fields() }
func (c *joined) Labels() []int     { return c.labels }
func (c *joined) Classes() []string { return c.classes }
func (c *joined) Close() error {
	var errs []error
	for _, s := range c.sets {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

func (c *joined) Read(ctx context.Context, index []int) (Batch, error) {
	out := newBatch(c.Fields(), len(index), c.labels != nil)
	row := 0
	for row < len(index) {
		// One read serves a run of samples of the same set.
		set := c.of(index[row])
		if set < 0 {
			return Batch{}, fmt.Errorf("sample %d of a set of %d", index[row], c.n)
		}
		var inner []int
		for _, i := range index[row:] {
			if c.of(i) != set {
				break
			}
			inner = append(inner, i-c.start[set])
		}
		b, err := c.sets[set].Read(ctx, inner)
		if err != nil {
			return Batch{}, err
		}
		if err := out.put(row, b); err != nil {
			return Batch{}, err
		}
		row += len(inner)
	}
	return out, nil
}

// of returns the set that holds sample i.
func (c *joined) of(i int) int {
	if i < 0 || i >= c.n {
		return -1
	}
	at, exact := slices.BinarySearchFunc(c.start, i, func(start, i int) int { return cmp.Compare(start, i) })
	if !exact {
		return at - 1
	}
	for c.sets[at].Len() == 0 { // an empty set starts where the next one does
		at++
	}
	return at
}

// newBatch returns a zeroed batch of n samples.
func newBatch(fields []Field, n int, labeled bool) Batch {
	b := Batch{IDs: make([]string, n)}
	for _, f := range fields {
		b.Names = append(b.Names, f.Name)
		b.Inputs = append(b.Inputs, tensor.New(f.DType, append(tensor.Shape{n}, f.Shape...)...))
	}
	if labeled {
		b.Labels = make([]int, n)
	}
	return b
}

// put copies another batch to row on.
func (b Batch) put(row int, o Batch) error {
	copy(b.IDs[row:], o.IDs)
	if b.Labels != nil {
		copy(b.Labels[row:], o.Labels)
	}
	for k, t := range b.Inputs {
		src := o.Inputs[k]
		if src.DType != t.DType || !slices.Equal(src.Shape[1:], t.Shape[1:]) {
			return fmt.Errorf("input %d: samples are %v, others %v", k, src, t)
		}
		if t.DType == tensor.String {
			copy(t.Text()[row*t.Shape[1:].Len():], src.Text())
			continue
		}
		copy(t.Bytes()[t.DType.ByteLen(row*t.Shape[1:].Len()):], src.Bytes())
	}
	return nil
}
