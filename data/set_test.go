package data

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/tensor"
)

// counting returns a set of n samples whose two values are i and -i and whose label is i modulo 3.
func counting(t *testing.T, n int) Set {
	t.Helper()
	v := make([]float32, 2*n)
	labels := make([]int, n)
	for i := range n {
		v[2*i], v[2*i+1], labels[i] = float32(i), -float32(i), i%3
	}
	s, err := Arrays([]string{"x"}, []*tensor.Tensor{tensor.Of(tensor.Shape{n, 2}, v)}, labels)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// order walks the set and returns the sample numbers, checking that values and labels belong to them.
func order(t *testing.T, s Set, size int) []int {
	t.Helper()
	var out []int
	for b, err := range Batches(t.Context(), s, size) {
		if err != nil {
			t.Fatal(err)
		}
		v := tensor.Data[float32](b.Inputs[0])
		for k := range b.Len() {
			i := int(v[2*k])
			if v[2*k+1] != -float32(i) || b.Labels[k] != i%3 {
				t.Fatalf("sample %d has values %v and label %d", i, v[2*k:2*k+2], b.Labels[k])
			}
			out = append(out, i)
		}
	}
	return out
}

func TestBatchesLimitShuffle(t *testing.T) {
	s := counting(t, 10)
	sizes := []int{}
	for b, err := range Batches(t.Context(), s, 4) {
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, b.Len())
	}
	if !slices.Equal(sizes, []int{4, 4, 2}) {
		t.Errorf("batch sizes %v", sizes)
	}
	if got := order(t, Limit(s, 3), 2); !slices.Equal(got, []int{0, 1, 2}) {
		t.Errorf("limit: %v", got)
	}
	// The order of a seed is part of the contract: results computed with it must stay comparable.
	if got := order(t, Shuffle(s, 1), 3); !slices.Equal(got, []int{0, 5, 2, 3, 1, 4, 8, 7, 6, 9}) {
		t.Errorf("shuffle by seed 1: %v", got)
	}
	if a, b := order(t, Shuffle(s, 2), 3), order(t, Shuffle(s, 2), 10); !slices.Equal(a, b) {
		t.Errorf("batch size changes the order: %v, %v", a, b)
	}
	got := order(t, Sample(s, 5, 7), 3)
	if len(got) != 5 || !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != 5 {
		t.Errorf("sample: %v", got)
	}
	if got := order(t, Sample(Shuffle(s, 1), 99, 7), 3); len(got) != 10 {
		t.Errorf("sample of more than there are: %v", got)
	}
	if _, err := Subset(s, []int{10}); err == nil {
		t.Error("a subset beyond the end")
	}
	for _, err := range Batches(t.Context(), s, 0) {
		if err == nil {
			t.Error("batches of 0")
		}
	}
}

func TestBatchesStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := 0
	var last error
	for _, err := range Batches(ctx, counting(t, 10), 2) {
		seen++
		last = err
		if seen == 2 {
			cancel()
		}
	}
	if seen != 3 || !errors.Is(last, context.Canceled) {
		t.Errorf("%d batches, then %v", seen, last)
	}
}

func TestConcat(t *testing.T) {
	a, b := counting(t, 4), counting(t, 3)
	c, err := Concat(a, Limit(a, 0), b)
	if err != nil {
		t.Fatal(err)
	}
	if got := order(t, c, 3); !slices.Equal(got, []int{0, 1, 2, 3, 0, 1, 2}) {
		t.Errorf("got %v", got)
	}
	x, err := c.Read(t.Context(), []int{6, 0, 3, 4})
	if err != nil || !slices.Equal(tensor.Data[float32](x.Inputs[0]), []float32{2, -2, 0, 0, 3, -3, 0, 0}) {
		t.Errorf("got %v, %v", x, err)
	}
	if _, err := c.Read(t.Context(), []int{7}); err == nil {
		t.Error("a sample beyond the end")
	}
	other, err := Arrays([]string{"y"}, []*tensor.Tensor{tensor.New(tensor.Float32, 2, 2)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Concat(a, other); err == nil || !strings.Contains(err.Error(), "number 2 has [y float32[2]]") {
		t.Errorf("different fields: %v", err)
	}
}

func TestBatchFor(t *testing.T) {
	x, y := tensor.Vector[float32](1), tensor.Vector[int64](2)
	named := Batch{Names: []string{"x", "y"}, Inputs: []*tensor.Tensor{x, y}, IDs: []string{"0"}}
	if in, err := named.For([]string{"y", "x"}); err != nil || in[0] != y || in[1] != x {
		t.Errorf("by name: %v %v", in, err)
	}
	if _, err := named.For([]string{"a", "b"}); err == nil || err.Error() != "the model takes inputs a, b, the data has x float32[1], y int64[1]" {
		t.Errorf("other names: %v", err)
	}
	one := Batch{Names: []string{""}, Inputs: []*tensor.Tensor{x}, IDs: []string{"0"}}
	if in, err := one.For([]string{"image"}); err != nil || in[0] != x {
		t.Errorf("by position: %v %v", in, err)
	}
	if _, err := one.For([]string{"a", "b"}); err == nil {
		t.Error("one array for two inputs")
	}
}

func TestParallelReportsTheFirstError(t *testing.T) {
	for range 50 {
		err := parallel(t.Context(), 100, func(i int) error {
			if i >= 7 {
				return fmt.Errorf("sample %d", i)
			}
			return nil
		})
		if err == nil || err.Error() != "sample 7" {
			t.Fatalf("got %v", err)
		}
	}
}

func TestRandom(t *testing.T) {
	fields := []Field{
		{Name: "image", DType: tensor.Float32, Shape: tensor.Shape{3, 8, 8}},
		{Name: "ids", DType: tensor.Int64, Shape: tensor.Shape{16}, High: 1000},
		{Name: "mask", DType: tensor.Int64, Shape: tensor.Shape{16}},
		{Name: "on", DType: tensor.Bool, Shape: tensor.Shape{}},
	}
	s, err := Open("random:50", Options{Inputs: fields, Seed: 9})
	if err != nil {
		t.Fatal(err)
	}
	all, err := s.Read(t.Context(), seq(50))
	if err != nil {
		t.Fatal(err)
	}
	var sum, squares float64
	v := tensor.Data[float32](all.Inputs[0])
	for _, x := range v {
		sum += float64(x)
		squares += float64(x) * float64(x)
	}
	if n := float64(len(v)); sum/n > 0.05 || sum/n < -0.05 || squares/n < 0.95 || squares/n > 1.05 {
		t.Errorf("mean %v, variance %v", sum/n, squares/n)
	}
	ids := tensor.Data[int64](all.Inputs[1])
	if slices.Min(ids) < 0 || slices.Max(ids) > 999 || slices.Max(ids) < 900 {
		t.Errorf("ids from %d to %d", slices.Min(ids), slices.Max(ids))
	}
	if m := tensor.Data[int64](all.Inputs[2]); slices.Min(m) != 0 || slices.Max(m) != 1 {
		t.Errorf("mask from %d to %d", slices.Min(m), slices.Max(m))
	}
	// A sample is the same whatever is drawn with it.
	more, err := Random(80, fields, 9)
	if err != nil {
		t.Fatal(err)
	}
	one, err := more.Read(t.Context(), []int{33})
	if err != nil || !slices.Equal(tensor.Data[float32](one.Inputs[0]), v[33*192:34*192]) {
		t.Errorf("sample 33 depends on the number drawn (%v)", err)
	}
	_, err = Open("random:5", Options{Inputs: []Field{
		{Name: "s", DType: tensor.String}, {Name: "n", DType: tensor.Float32, Shape: tensor.Shape{-1, 3}}, {Name: "b", DType: tensor.Uint8, High: 300},
	}})
	for _, want := range []string{`input "s": string values cannot be drawn`, `input "n": shape -1x3`, `input "b": integers below 300 do not fit uint8`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q in %v", want, err)
		}
	}
}
