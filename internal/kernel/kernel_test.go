package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/neurotrain/neuroquant/internal/impl"
)

// onEach runs f as a subtest under every cap of the instruction sets that this CPU and build have.
func onEach(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	for _, isa := range impl.Caps() {
		t.Run(isa, func(t *testing.T) {
			defer impl.Cap(isa)()
			f(t)
		})
	}
}

// pools are the pools that results must not depend on.
func pools(t *testing.T) []*Pool {
	two, three := NewPool(2), NewPool(3)
	t.Cleanup(func() { two.Close(); three.Close() })
	return []*Pool{nil, two, three}
}

const guardBytes = 128

// guarded returns a slice of n elements that starts misaligned elements past a 64-byte boundary
// between two guard zones, and a check that the zones were not written to.
func guarded[T any](n, misaligned int) (s []T, check func() error) {
	var zero T
	size := int(unsafe.Sizeof(zero))
	raw := make([]byte, guardBytes*2+n*size+misaligned*size+64)
	start := guardBytes + misaligned*size
	start += -int(uintptr(unsafe.Pointer(&raw[guardBytes]))) & 63
	end := start + n*size
	for i := range raw {
		raw[i] = 0xa5
	}
	// A slice of no elements points before the end guard all the same.
	s = unsafe.Slice((*T)(unsafe.Pointer(&raw[start])), n)[:n:n]
	return s, func() error {
		for i, v := range raw {
			if (i < start || i >= end) && v != 0xa5 {
				return fmt.Errorf("guard byte %d of [%d, %d) was overwritten", i, start, end)
			}
		}
		return nil
	}
}

func randomF32(r *rand.Rand, s []float32) []float32 {
	for i := range s {
		s[i] = float32(r.NormFloat64())
	}
	return s
}

func randomBytes(r *rand.Rand, s []byte) []byte {
	for i := range s {
		s[i] = byte(r.Uint32())
	}
	return s
}

func abs32(x float32) float32 { return math.Float32frombits(math.Float32bits(x) &^ (1 << 31)) }

func sameBits(a, b []float32) error {
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return fmt.Errorf("element %d: %v and %v", i, a[i], b[i])
		}
	}
	return nil
}

// wide returns a rows x cols matrix, stored with leading dimension ld and transposed if trans, in float64 row after row.
func wide[T float32 | float64](x []T, trans bool, ld, rows, cols int) []float64 {
	out := make([]float64, rows*cols)
	for i := range rows {
		for j := range cols {
			if trans {
				out[i*cols+j] = float64(x[j*ld+i])
			} else {
				out[i*cols+j] = float64(x[i*ld+j])
			}
		}
	}
	return out
}

// dotOf returns the sum of the products and of their magnitudes.
func dotOf(a, b []float64) (sum, size float64) {
	b = b[:len(a)]
	for i, v := range a {
		v *= b[i]
		sum += v
		size += math.Abs(v)
	}
	return sum, size
}

func TestSharedEnvironment(t *testing.T) {
	if err := impl.EnvError(); err != nil {
		t.Error(err)
	}
	for _, e := range impl.List() {
		t.Logf("%-16s %-12s available %-5v on %v", e.Kernel, e.ISA, e.Available, e.Enabled)
	}
}
