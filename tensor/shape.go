package tensor

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Shape lists the sizes of a tensor's dimensions, outermost first. Data is row-major and contiguous.
type Shape []int

// Len returns the number of elements; 1 for a scalar. It panics on overflow; sizes from files go through [Shape.CheckedLen].
func (s Shape) Len() int {
	n, ok := s.CheckedLen()
	if !ok {
		panic(fmt.Sprintf("tensor: shape %v overflows", []int(s)))
	}
	return n
}

// CheckedLen returns the number of elements, or false if a dimension is negative or the product is so large that the bits of
// the widest element type do not fit an int.
func (s Shape) CheckedLen() (int, bool) {
	n, zero := 1, false
	for _, d := range s {
		if d < 0 {
			return 0, false
		}
		if d == 0 {
			zero = true
			continue
		}
		if n > math.MaxInt/256/d {
			return 0, false
		}
		n *= d
	}
	if zero {
		return 0, true
	}
	return n, true
}

// Equal reports whether both shapes have the same dimensions.
func (s Shape) Equal(o Shape) bool { return slices.Equal(s, o) }

// Clone returns a copy.
func (s Shape) Clone() Shape { return slices.Clone(s) }

// Strides returns the row-major distance, in elements, between neighbours of each dimension.
func (s Shape) Strides() []int {
	st := make([]int, len(s))
	n := 1
	for i := len(s) - 1; i >= 0; i-- {
		st[i] = n
		n *= s[i]
	}
	return st
}

// String returns the form "2x3x4"; "scalar" for rank 0.
func (s Shape) String() string {
	if len(s) == 0 {
		return "scalar"
	}
	var b strings.Builder
	for i, d := range s {
		if i > 0 {
			b.WriteByte('x')
		}
		fmt.Fprint(&b, d)
	}
	return b.String()
}

// Broadcast returns the shape that a and b have in common under numpy's multidirectional broadcasting rules.
func Broadcast(a, b Shape) (Shape, error) {
	n := max(len(a), len(b))
	out := make(Shape, n)
	for i := range n {
		da, db := 1, 1
		if j := i - (n - len(a)); j >= 0 {
			da = a[j]
		}
		if j := i - (n - len(b)); j >= 0 {
			db = b[j]
		}
		switch {
		case da == db || db == 1:
			out[i] = da
		case da == 1:
			out[i] = db
		default:
			return nil, fmt.Errorf("shapes %v and %v do not broadcast", a, b)
		}
	}
	return out, nil
}

// Axis resolves a possibly negative axis against rank; the result is in [0, rank).
func Axis(axis, rank int) (int, error) {
	if axis < -rank || axis >= rank {
		return 0, fmt.Errorf("axis %d is out of range for rank %d", axis, rank)
	}
	if axis < 0 {
		axis += rank
	}
	return axis, nil
}
