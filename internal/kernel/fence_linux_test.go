package kernel

import (
	"math/rand/v2"
	"syscall"
	"testing"
	"unsafe"
)

// fenced returns a copy of s that ends where an unreadable page begins, or with front begins where
// one ends, so that a read outside faults.
func fenced[T any](t *testing.T, s []T, front bool) []T {
	t.Helper()
	if len(s) == 0 {
		return s
	}
	page := syscall.Getpagesize()
	size := len(s) * int(unsafe.Sizeof(s[0]))
	inner := (size + page - 1) / page * page
	raw, err := syscall.Mmap(-1, 0, inner+2*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = syscall.Munmap(raw) })
	start := page
	if !front {
		start = page + inner - size
	}
	out := unsafe.Slice((*T)(unsafe.Pointer(&raw[start])), len(s))
	copy(out, s)
	for _, fence := range [][]byte{raw[:page], raw[page+inner:]} {
		if err := syscall.Mprotect(fence, syscall.PROT_NONE); err != nil {
			t.Skip(err)
		}
	}
	return out
}

// Inputs may be the end of a mapped file: nothing outside a slice is ever read or written.
func TestNothingOutsideIsTouched(t *testing.T) {
	onEach(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 2))
		var table [256]byte
		for _, front := range []bool{false, true} {
			floats := func(n int) []float32 { return fenced(t, randomF32(r, make([]float32, n)), front) }
			octets := func(n int) []byte { return fenced(t, randomBytes(r, make([]byte, n)), front) }
			for _, d := range [][3]int{{1, 1, 1}, {1, 50, 33}, {3, 17, 9}, {5, 33, 20}, {7, 48, 31}, {13, 70, 65}, {20, 1, 40}, {9, 130, 7}} {
				m, n, k := d[0], d[1], d[2]
				a, b, c := floats(m*k), floats(k*n), floats(m*n)
				for v := range 4 {
					transA, transB := v&1 != 0, v&2 != 0
					lda, ldb := k, n
					if transA {
						lda = m
					}
					if transB {
						ldb = k
					}
					GemmF32(nil, transA, transB, m, n, k, 1, a, lda, b, ldb, 1, c, n)
					GemmF32Packed(nil, transA, m, 1, a, lda, PackB(transB, k, n, b, ldb), 0, c, n)
				}
				a64, b64, c64 := fenced(t, make([]float64, m*k), front), fenced(t, make([]float64, k*n), front), fenced(t, make([]float64, m*n), front)
				a16, b16 := fenced(t, make([]uint16, m*k), front), fenced(t, make([]uint16, k*n), front)
				for v := range 4 {
					transA, transB := v&1 != 0, v&2 != 0
					lda, ldb := k, n
					if transA {
						lda = m
					}
					if transB {
						ldb = k
					}
					GemmF64(nil, transA, transB, m, n, k, 1, a64, lda, b64, ldb, 1, c64, n)
					GemmBF16(nil, transA, transB, m, n, k, 1, a16, lda, b16, ldb, 1, c, n)
					GemmBF16(nil, transA, transB, m, n, k, 1, a, lda, b, ldb, 1, c, n)
				}
				a8, b8, c32 := octets(m*k), octets(k*n), fenced(t, make([]int32, m*n), front)
				scale, bias, zp := floats(n), floats(n), fenced(t, make([]int32, n), front)
				for _, transB := range []bool{false, true} {
					ldb := n
					if transB {
						ldb = k
					}
					packed := PackInt8(k, n, b8, ldb, true, transB, zp)
					GemmInt8(nil, m, n, k, a8, k, true, nil, packed, c32, n)
					GemmInt8F32(nil, m, n, k, a8, k, false, nil, scale[:1], packed, scale, bias, nil, c, n)
					GemmInt8Requant(nil, m, n, k, a8, k, false, 3, packed, zp, &Requant{Scale: scale}, octets(m*n), n)
				}
			}
			for i, s := range convShapes() {
				if i%2 == 1 && front || s.Batch == 0 {
					continue
				}
				terms := s.InC / s.Group * product(s.Kernel)
				n := s.Batch * s.OutC * product(s.Out())
				x, w, y, bias := floats(s.Batch*s.InC*product(s.In)), floats(s.OutC*terms), floats(n), floats(s.OutC)
				ConvF32(nil, &s, x, w, bias, y)
				packed := PackConvInt8(&s, octets(len(w)), true, nil)
				x8 := octets(len(x))
				ConvInt8(nil, &s, x8, true, 3, packed, fenced(t, make([]int32, n), front))
				ConvInt8F32(nil, &s, x8, false, 3, 0.1, packed, bias, bias, y)
				ConvInt8Requant(nil, &s, x8, false, 3, packed, nil, &Requant{Scale: bias}, octets(n))
			}
			for i, s := range nhwcShapes() {
				if i%2 == 1 && front || s.Batch == 0 {
					continue
				}
				n := s.Batch * s.OutC * product(s.Out())
				packed := PackConvNHWC(&s, octets(s.OutC*s.InC/s.Group*product(s.Kernel)), true, nil)
				x8, scale := octets(s.Batch*s.InC*product(s.In)), floats(s.OutC)
				ConvInt8NHWC(nil, &s, x8, i%3 == 0, 3, packed, fenced(t, make([]int32, n), front))
				ConvInt8NHWCF32(nil, &s, x8, false, 3, 0.1, packed, scale, scale, floats(n))
				ConvInt8NHWCRequant(nil, &s, x8, i%3 == 0, 3, packed, nil, &Requant{Scale: scale}, nil, octets(n))
				if s.depthwise() && s.InC == s.OutC {
					DepthwiseF32NHWC(nil, &s, floats(len(x8)), PackDepthwiseF32(&s, floats(s.InC*product(s.Kernel))), scale, floats(n))
				}
			}
			for n := 1; n <= 130; n++ {
				x, y, dst := floats(n), floats(n), floats(n)
				codes, halves := octets(n), fenced(t, make([]uint16, n), front)
				for _, f := range []func(dst, x []float32){ReLU, Exp, Sigmoid, SiLU, Tanh, Erf, Gelu, GeluTanh, Softmax} {
					f(dst, x)
				}
				for _, f := range []func(dst, a, b []float32){Add, Sub, Mul, Div} {
					f(dst, x, y)
				}
				ScaleShift(dst, x, 2, 1)
				AXPY(2, x, dst)
				Dot(x, y)
				Sum(x)
				MinMax(x)
				QuantizeU8(codes, x, 0.1, 3)
				QuantizeS8(codes, x, 0.1, 3)
				DequantizeU8(dst, codes, 0.1, 3)
				DequantizeS8(dst, codes, 0.1, 3)
				Max(dst, x, y)
				AddScalar(dst, x, 2)
				Scale(dst, x, 2)
				Clip(dst, x, -1, 1)
				MaskPositive(dst, x, y)
				FakeQuantGrad(dst, x, y, 0.1, -8, 7)
				code := Code{Scale: 0.1, Zero: 3, Signed: n%2 == 0}
				AddCodes(octets(n), &code, codes, &code, octets(n), &code)
				MulCodes(octets(n), &code, codes, &code, octets(n), &code)
				Lookup(octets(n), codes, &table)
				if err := CheckFinite(x); err != nil {
					t.Fatal(err)
				}
				F32ToF16(halves, x)
				F16ToF32(dst, halves)
				F32ToBF16(halves, x)
				BF16ToF32(dst, halves)
			}
			for _, d := range [][2]int{{8, 8}, {16, 9}, {9, 40}, {33, 300}, {1, 5}} {
				x, y := floats(d[0]*d[1]), floats(d[0]*d[1])
				Transpose(y, d[0], x, d[1], d[0], d[1])
			}
		}
	})
}

// What factorizes, pools and convolves images whose channels lie together touches nothing outside either.
func TestNothingOutsideOfImagesIsTouched(t *testing.T) {
	onEach(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 4))
		for _, front := range []bool{false, true} {
			floats := func(n int) []float32 { return fenced(t, randomF32(r, make([]float32, n)), front) }
			octets := func(n int) []byte { return fenced(t, randomBytes(r, make([]byte, n)), front) }
			for i, s := range nhwcShapes() {
				if i%2 == 1 && front || s.Batch == 0 {
					continue
				}
				terms := s.InC / s.Group * product(s.Kernel)
				nx, ny := s.Batch*s.InC*product(s.In), s.Batch*s.OutC*product(s.Out())
				bias, y := floats(s.OutC), floats(ny)
				ConvF32NHWC(nil, &s, floats(nx), PackConvF32NHWC(&s, floats(s.OutC*terms)), bias, floats(ny), y)
				code := Code{Scale: 0.1, Zero: 3}
				packed := PackConvNHWC(&s, octets(s.OutC*terms), true, nil)
				ConvInt8NHWCRequant(nil, &s, octets(nx), false, 3, packed, nil, &Requant{Scale: bias, Zero: 3}, &AddedCodes{Codes: octets(ny), Conv: code, Code: code, Sum: code}, octets(ny))
			}
			for _, channels := range []int{1, 7, 16, 33, 64, 130} {
				for i := range 4 {
					p := PoolShape{
						Batch: 1, Channels: channels, ChannelsLast: i%2 == 1, In: []int{5, 3 + 7*i}, Kernel: []int{2, 3}, Stride: []int{1 + i/2, 1 + i%2},
					}
					p.Out = []int{(5-2)/p.Stride[0] + 1, 7*i/p.Stride[1] + 1}
					nx, ny := channels*5*(3+7*i), channels*p.Out[0]*p.Out[1]
					MaxPoolF32(nil, &p, floats(nx), floats(ny))
					MaxPoolCodes(nil, &p, octets(nx), i < 2, octets(ny))
				}
			}
			for _, n := range []int{1, 2, 7, 8, 15, 16, 17, 31, 47, 48, 49, 65, 130} {
				k := 1 + r.IntN(40)
				a, c := floats(n*k), floats(n*n)
				for v := range 4 {
					upper, trans := v&1 != 0, v&2 != 0
					lda := k
					if trans {
						lda = n
					}
					SyrkF32(nil, upper, trans, n, k, 1, a, lda, 0, c, n)
				}
				clear(c)
				for i := range n {
					c[i*n+i] = 4
				}
				if err := CholeskyF32(nil, false, n, c, n); err != nil {
					t.Fatal(err)
				}
				b := floats(n * k)
				TrsmF32(nil, false, Triangle{}, n, k, 1, c, n, b, k)
				TrsmF32(nil, true, Triangle{}, k, n, 1, c, n, b, n)
				if err := InvertTriangleF32(nil, Triangle{}, n, c, n); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}
