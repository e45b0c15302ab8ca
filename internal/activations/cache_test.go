package activations

import (
	"bytes"
	"os"
	"testing"

	"github.com/neurotrain/neuroquant/tensor"
)

func TestCacheGivesBackWhatItGot(t *testing.T) {
	for _, budget := range []int{0, 100, 1 << 20} {
		dir := t.TempDir()
		c := New(budget, dir)
		want := map[string][]*tensor.Tensor{}
		for _, key := range []string{"a", "b"} {
			for i := range 10 {
				x := tensor.New(tensor.Float32, 1+i%3, 4)
				for j := range tensor.Data[float32](x) {
					tensor.Data[float32](x)[j] = float32(100*i + j)
				}
				if err := c.Put(key, i, x); err != nil {
					t.Fatal(err)
				}
				want[key] = append(want[key], x.Clone())
				clear(x.Bytes()) // the caller's memory is the caller's
			}
		}
		if err := c.Drop("a"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Get("a", 0); err == nil {
			t.Error("a dropped value is there")
		}
		for i, w := range want["b"] {
			got, err := c.Get("b", i)
			if err != nil || got.DType != w.DType || !got.Shape.Equal(w.Shape) || !bytes.Equal(got.Bytes(), w.Bytes()) {
				t.Errorf("budget %d, sample %d: %v, %v", budget, i, got, err)
			}
		}
		if c.Peak() > budget {
			t.Errorf("%d bytes in memory, budget %d", c.Peak(), budget)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("files left: %v %v", left, err)
		}
	}
}

// TestCacheTakes gives the cache tensors of its own: those in memory are not copied.
func TestCacheTakes(t *testing.T) {
	c := New(8, t.TempDir())
	defer c.Close()
	for i, fits := range []bool{true, false, false} {
		x := tensor.Vector(float32(i), 1)
		if err := c.Take("x", i, x); err != nil {
			t.Fatal(err)
		}
		got, err := c.Get("x", i)
		if err != nil || (got == x) != fits {
			t.Errorf("sample %d: the same tensor %v, %v", i, got == x, err)
		}
		if err != nil || tensor.Data[float32](got)[0] != float32(i) {
			t.Errorf("sample %d: %v, %v", i, got, err)
		}
	}
	if c.Peak() != 8 {
		t.Errorf("%d bytes in memory", c.Peak())
	}
}

func TestEqualSamplesShareMemory(t *testing.T) {
	c := New(1<<20, t.TempDir())
	defer c.Close()
	for i := range 5 {
		if err := c.Put("x", i, tensor.New(tensor.Float32, 100)); err != nil {
			t.Fatal(err)
		}
	}
	if c.Peak() != 400 {
		t.Errorf("%d bytes for five equal samples of 400", c.Peak())
	}
	if err := c.Put("x", 2, tensor.New(tensor.Float32, 1)); err == nil {
		t.Error("a sample is kept twice")
	}
	if _, err := c.Get("x", 9); err == nil {
		t.Error("a sample that was not put is there")
	}
	if err := c.Put("s", 0, tensor.Strings(tensor.Shape{1}, []string{"a"})); err == nil {
		t.Error("strings are taken")
	}
}
