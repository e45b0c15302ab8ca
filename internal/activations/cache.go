// Package activations keeps the values between two parts of a network for many samples, in memory up to a budget and beyond that in
// a file.
package activations

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/neurotrain/neuroquant/tensor"
)

// Cache holds tensors by a key and the number of a sample. What it gives back has the bits that it was given, wherever they lay.
// It may be used by several goroutines at once.
type Cache struct {
	mu     sync.Mutex
	budget int
	used   int // bytes in memory
	peak   int
	dir    string
	values map[string]*value
}

// value is what is kept under one key.
type value struct {
	samples map[int]entry
	file    *os.File
	end     int64
	last    *tensor.Tensor // what was put last, while it is in memory
}

// entry is a tensor in memory, or where it lies in the file.
type entry struct {
	t     *tensor.Tensor
	bytes int // that it counts for; 0 where it shares those of another
	dtype tensor.DType
	shape tensor.Shape
	at    int64
}

// New returns an empty cache that keeps at most budget bytes in memory, and the rest in unnamed files in the folder dir.
func New(budget int, dir string) *Cache {
	return &Cache{budget: budget, dir: dir, values: map[string]*value{}}
}

// Put keeps a copy of t, which must be dense numbers. A sample that equals the one put before under the same key takes no memory.
func (c *Cache) Put(key string, sample int, t *tensor.Tensor) error {
	return c.keep(key, sample, t, (*tensor.Tensor).Clone)
}

// Take is Put without a copy: t is not to be changed any more.
func (c *Cache) Take(key string, sample int, t *tensor.Tensor) error {
	return c.keep(key, sample, t, func(t *tensor.Tensor) *tensor.Tensor { return t })
}

// keep keeps what own makes of t, if there is room in memory.
func (c *Cache) keep(key string, sample int, t *tensor.Tensor, own func(t *tensor.Tensor) *tensor.Tensor) error {
	if t.Packed != nil || t.DType.Bits() == 0 {
		return fmt.Errorf("value %q: %v cannot be kept", key, t)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.values[key]
	if v == nil {
		v = &value{samples: map[int]entry{}}
		c.values[key] = v
	}
	if _, ok := v.samples[sample]; ok {
		return fmt.Errorf("value %q: sample %d is there already", key, sample)
	}
	if l := v.last; l != nil && l.DType == t.DType && l.Shape.Equal(t.Shape) && bytes.Equal(l.Bytes(), t.Bytes()) {
		v.samples[sample] = entry{t: l}
		return nil
	}
	n := len(t.Bytes())
	if c.used+n <= c.budget {
		kept := own(t)
		c.used += n
		c.peak = max(c.peak, c.used)
		v.last = kept
		v.samples[sample] = entry{t: kept, bytes: n}
		return nil
	}
	if v.file == nil {
		f, err := os.CreateTemp(c.dir, "activations-*")
		if err != nil {
			return fmt.Errorf("value %q: %w", key, err)
		}
		v.file = f
	}
	if _, err := v.file.WriteAt(t.Bytes(), v.end); err != nil {
		return fmt.Errorf("value %q: %w", key, err)
	}
	v.samples[sample] = entry{dtype: t.DType, shape: append(tensor.Shape{}, t.Shape...), at: v.end}
	v.end += int64(n)
	return nil
}

// Get returns a tensor that is not to be changed.
func (c *Cache) Get(key string, sample int) (*tensor.Tensor, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.values[key]
	if v == nil {
		return nil, fmt.Errorf("value %q is not kept", key)
	}
	e, ok := v.samples[sample]
	if !ok {
		return nil, fmt.Errorf("value %q: sample %d is not kept", key, sample)
	}
	if e.t != nil {
		return e.t, nil
	}
	t := tensor.New(e.dtype, e.shape...)
	if _, err := v.file.ReadAt(t.Bytes(), e.at); err != nil {
		return nil, fmt.Errorf("value %q: sample %d: %w", key, sample, err)
	}
	return t, nil
}

// Drop forgets all samples of a key.
func (c *Cache) Drop(key string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.values[key]
	if v == nil {
		return nil
	}
	delete(c.values, key)
	for _, e := range v.samples {
		c.used -= e.bytes
	}
	return v.close()
}

// DropSample forgets one sample of a key, whose place in a file is not used again.
func (c *Cache) DropSample(key string, sample int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v := c.values[key]; v != nil {
		c.used -= v.samples[sample].bytes
		delete(v.samples, sample)
	}
}

// Peak returns the most bytes that were in memory at once.
func (c *Cache) Peak() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peak
}

// Close forgets everything and removes the files.
func (c *Cache) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, v := range c.values {
		errs = append(errs, v.close())
	}
	clear(c.values)
	c.used = 0
	return errors.Join(errs...)
}

func (v *value) close() error {
	if v.file == nil {
		return nil
	}
	return errors.Join(v.file.Close(), os.Remove(v.file.Name()))
}
