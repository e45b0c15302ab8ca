//go:build !purego

package kernel

import (
	"unsafe"

	"github.com/neurotrain/neuroquant/internal/impl"
)

var (
	useRunsVNNI, useRunsAVXVNNI          bool
	useDepthwiseVNNI                     bool
	useDepthwiseAVX512, useDepthwiseAVX2 bool
	useStripsAVX512, useStripsAVX2       bool
)

func init() {
	impl.Register("convNHWC", impl.AVX512VNNI, &useRunsVNNI)
	impl.Register("convNHWC", impl.AVXVNNI, &useRunsAVXVNNI)
	impl.Register("convNHWC", impl.AVX512, &useStripsAVX512)
	impl.Register("convNHWC", impl.AVX2, &useStripsAVX2)
	impl.Register("depthwise", impl.AVX512VNNI, &useDepthwiseVNNI)
	impl.Register("depthwise", impl.AVX512, &useDepthwiseAVX512)
	impl.Register("depthwise", impl.AVX2, &useDepthwiseAVX2)
}

// useRunsInt8 reports whether runsInt8 is there.
func useRunsInt8() bool { return useRunsVNNI || useRunsAVXVNNI || useStripsAVX2 && useGemmInt8AVX2 }

// runsWidened reports whether runsInt8 wants the bytes of the image widened to 16 bits (see widenImage).
func runsWidened() bool { return !useRunsVNNI && !useRunsAVXVNNI }

// widenImage sets the 16-bit elements of dst to the bytes of src.
func widenImage(dst, src []byte) {
	needLen("widenImage", len(dst), 2*len(src))
	n := len(src) &^ 15
	if n > 0 {
		widenBytesUAVX2(n/16, &src[0], (*uint16)(unsafe.Pointer(&dst[0])))
	}
	for i := n; i < len(src); i++ {
		dst[2*i], dst[2*i+1] = src[i], 0
	}
}

// runsInt8 sets c[i*48+j], for len(starts) = height rows and width columns, to the sum over runs r, words l < words and t < 4 of
// src[starts[i]+offs[r]+4*l+t], unsigned, times the signed byte t of word (r*words+l)*width+j of b. Where runsWidened says so, src is
// widened, and starts and offs count its elements.
func runsInt8(height, width, words int, src []byte, starts, offs []int, b []byte, c []int32) {
	lowest, highest, last, first := starts[0], starts[0], offs[0], offs[0]
	for _, o := range starts {
		lowest, highest = min(lowest, o), max(highest, o)
	}
	for _, o := range offs {
		first, last = min(first, o), max(last, o)
	}
	if lowest+first < 0 || len(starts) != height || words < 1 {
		panic("kernel: runsInt8: not a tile")
	}
	size := 1
	if runsWidened() {
		size = 2
	}
	needLen("runsInt8 source", len(src), size*(highest+last+4*words))
	needLen("runsInt8 weights", len(b), len(offs)*words*4*width)
	needLen("runsInt8 sums", len(c), height*panelWidth)
	switch {
	case runsWidened():
		for i := 0; i < height; {
			f, rows, cols := runs16(height - i)
			for j := 0; j < width; j += cols {
				f(len(offs), words, unsafe.SliceData(src), &starts[i], &offs[0], &b[4*j], 4*width, &c[i*panelWidth+j])
			}
			i += rows
		}
		return
	case !useRunsVNNI:
		runsInt8Ymm(&runsAVXVNNI, height, width, words, src, starts, offs, b, c)
		return
	}
	f := runsTile(height<<8 | width)
	f(len(offs), words, unsafe.SliceData(src), &starts[0], &offs[0], &b[0], &c[0])
}

// runs16 is the kernel in 16 bits for a number of rows, and how many rows and columns it takes.
func runs16(left int) (f func(runs, k4 int, src *byte, rows, offs *int, b *byte, ldb int, c *int32), rows, cols int) {
	switch {
	case left >= 6:
		return runsInt8x6x8AVX2, 6, 8
	case left >= 4:
		return runsInt8x4x8AVX2, 4, 8
	case left >= 2:
		return runsInt8x2x16AVX2, 2, 16
	}
	return runsInt8x1x16AVX2, 1, 16
}

// ymmRuns are kernels for 4, 2 and 1 rows and 16 columns, and for 4 rows and 24 columns.
type ymmRuns [4]func(runs, k4 int, src *byte, rows, offs *int, b *byte, ldb int, c *int32)

var (
	runsAVXVNNI = ymmRuns{runsInt8x4x16AVXVNNI, runsInt8x2x16AVXVNNI, runsInt8x1x16AVXVNNI, runsInt8x4x24AVXVNNI}
	// The same functions in another encoding of one instruction, for tests as tilesAVX512VL.
	runsAVX512VL = ymmRuns{runsInt8x4x16AVX512VLVNNI, runsInt8x2x16AVX512VLVNNI, runsInt8x1x16AVX512VLVNNI, runsInt8x4x24AVX512VLVNNI}
)

// runsInt8Ymm is runsInt8 by tiles of at most 4 x 24.
func runsInt8Ymm(of *ymmRuns, height, width, words int, src []byte, starts, offs []int, b []byte, c []int32) {
	f, step, cols := of[0], 4, 16
	switch {
	case height == 1:
		f, step = of[2], 1
	case height == 2:
		f, step = of[1], 2
	case width == panelWidth:
		f, cols = of[3], 24
	}
	for j := 0; j < width; j += cols { // the columns of weights stay near for all rows
		for i := 0; i < height; i += step {
			f(len(offs), words, unsafe.SliceData(src), &starts[i], &offs[0], &b[4*j], 4*width, &c[i*panelWidth+j])
		}
	}
}

func runsTile(shape int) func(runs, k4 int, src *byte, rows, offs *int, b *byte, c *int32) {
	switch shape {
	case 8<<8 | 48:
		return runsInt8x8x48AVX512VNNI
	case 8<<8 | 32:
		return runsInt8x8x32AVX512VNNI
	case 8<<8 | 16:
		return runsInt8x8x16AVX512VNNI
	case 4<<8 | 48:
		return runsInt8x4x48AVX512VNNI
	case 4<<8 | 32:
		return runsInt8x4x32AVX512VNNI
	case 4<<8 | 16:
		return runsInt8x4x16AVX512VNNI
	case 2<<8 | 48:
		return runsInt8x2x48AVX512VNNI
	case 2<<8 | 32:
		return runsInt8x2x32AVX512VNNI
	case 2<<8 | 16:
		return runsInt8x2x16AVX512VNNI
	case 1<<8 | 48:
		return runsInt8x1x48AVX512VNNI
	case 1<<8 | 32:
		return runsInt8x1x32AVX512VNNI
	case 1<<8 | 16:
		return runsInt8x1x16AVX512VNNI
	}
	panic("kernel: no such tile")
}

// tapsInt8 is tapsInt8Generic for n <= 48; w is padded to whole vectors.
func tapsInt8(rows, n int, src []byte, step int, offs []int, w []int32, ldw int, c []int32) {
	checkTapRows("tapsInt8", rows, n, len(src), step, offs, len(w), ldw)
	need("tapsInt8 sums", len(c), rows, n, panelWidth)
	done := 0
	switch {
	case useDepthwiseAVX512:
		needLen("tapsInt8 sums", len(c), (rows-1)*panelWidth+(n+15)&^15)
		tapsInt8AVX512(rows, n, &src[0], step, len(offs), &offs[0], &w[0], ldw, &c[0])
		return
	case useDepthwiseAVX2 && n >= 8:
		done = n &^ 7
		tapsInt8AVX2(rows, done, &src[0], step, len(offs), &offs[0], &w[0], ldw, &c[0])
	}
	if done < n {
		tapsInt8Generic(rows, n-done, src[done:], step, offs, w[done:], ldw, c[done:])
	}
}

// tapsF32 is tapsF32Generic; w and start are padded to whole vectors.
func tapsF32(rows, n int, src []float32, step int, offs, woffs []int, w, start []float32, lo, hi float32, dst []float32, ldd int) {
	checkTapRows("tapsF32", rows, n, len(src), step, offs, len(w), 0)
	checkTapRows("tapsF32 weights", 1, (n+15)&^15, len(w), 0, woffs, len(w), 0)
	needLen("tapsF32 weights", len(woffs), len(offs))
	needLen("tapsF32 start", len(start), (n+15)&^15)
	need("tapsF32 destination", len(dst), rows, n, ldd)
	switch {
	case useDepthwiseAVX512:
		tapsF32AVX512(rows, n, &src[0], step, len(offs), &offs[0], &woffs[0], &w[0], &start[0], lo, hi, &dst[0], ldd)
	case useDepthwiseAVX2:
		tapsF32AVX2(rows, n, &src[0], step, len(offs), &offs[0], &woffs[0], &w[0], &start[0], lo, hi, &dst[0], ldd)
	default:
		tapsF32Generic(rows, n, src, step, offs, woffs, w, start, lo, hi, dst, ldd)
	}
}

func checkTapRows(what string, rows, n, lenSrc, step int, offs []int, lenW, ldw int) {
	lowest, highest := offs[0], offs[0]
	for _, o := range offs {
		lowest, highest = min(lowest, o), max(highest, o)
	}
	if rows < 1 || n < 1 || lowest < 0 || step < 0 {
		panic("kernel: " + what + ": negative offset or nothing to do")
	}
	needLen(what, lenSrc, (rows-1)*step+highest+n)
	needLen(what, lenW, (len(offs)-1)*ldw+(n+15)&^15)
}

func useDepthwiseBlocks() bool { return useDepthwiseVNNI }

// depthwiseBlock computes the codes of rows positions and up to 64 channels; the weights, starts and scales lie in the order
// of blockLane.
func depthwiseBlock(rows, n int, src []byte, step int, offs []int, w []byte, start []int32, scale []float32, lo, hi float32, zp int32, dst []byte, ldd int) {
	checkTapRows("depthwiseBlock", rows, n, len(src), step, offs, len(offs)*channelBlock, channelBlock)
	needLen("depthwiseBlock weights", len(w), len(offs)*channelBlock)
	needLen("depthwiseBlock channels", min(len(start), len(scale)), channelBlock)
	need("depthwiseBlock destination", len(dst), rows, n, ldd)
	flip := uint32(0)
	if lo+float32(zp) < 0 || zp < 0 || hi+float32(zp) < 0 { // signed codes: -128 is stored as 0 and flipped back
		zp, flip = zp+128, 0x80808080
	}
	depthwiseBlockAVX512VNNI(rows, n, &src[0], step, len(offs)/4, &offs[0], &w[0], &start[0], &scale[0], lo, hi, zp, flip, &dst[0], ldd)
}

// useStrips reports whether strip is there.
func useStrips() bool { return useRunsVNNI }

// strip computes the codes of count positions, which begin at rows, and n channels of a convolution with the weights of a panel
// of the given width; rows has more than stripRows values behind them.
func strip(count, n, width, words int, src []byte, rows, offs []int, reach int, b []byte, start []int32, scale []float32, end *codesEnd, dst, other []byte, ldd int) {
	checkStrip(count, n, width, words, src, rows, offs, reach, b, start, scale, dst, other, ldd)
	f := stripCodes8x48AVX512VNNI
	switch stripHeight(count)<<8 | width {
	case 8<<8 | 32:
		f = stripCodes8x32AVX512VNNI
	case 8<<8 | 16:
		f = stripCodes8x16AVX512VNNI
	case 7<<8 | 48:
		f = stripCodes7x48AVX512VNNI
	case 7<<8 | 32:
		f = stripCodes7x32AVX512VNNI
	case 7<<8 | 16:
		f = stripCodes7x16AVX512VNNI
	}
	f(count, len(offs), words, &src[0], &rows[0], &offs[0], &b[0], &start[0], &scale[0], end.memory(), &dst[0], unsafe.SliceData(other), ldd, 1<<n-1)
}

// stripFloats is strip with floats as results; see stripFloatsGeneric.
func stripFloats(count, n, width, words int, src []byte, rows, offs []int, reach int, b []byte, start []int32, scale, bias []float32, lo, hi float32, dst, other []float32, ldd int) {
	checkStrip(count, n, width, words, src, rows, offs, reach, b, start, scale, nil, nil, ldd)
	needLen("strip bias", len(bias), width)
	if other != nil {
		need("strip residual", len(other), count, n, ldd)
	}
	need("strip destination", len(dst), count, n, ldd)
	f := stripFloats8x48AVX512VNNI
	switch stripHeight(count)<<8 | width {
	case 8<<8 | 32:
		f = stripFloats8x32AVX512VNNI
	case 8<<8 | 16:
		f = stripFloats8x16AVX512VNNI
	case 7<<8 | 48:
		f = stripFloats7x48AVX512VNNI
	case 7<<8 | 32:
		f = stripFloats7x32AVX512VNNI
	case 7<<8 | 16:
		f = stripFloats7x16AVX512VNNI
	}
	f(count, len(offs), words, &src[0], &rows[0], &offs[0], &b[0], &start[0], &scale[0], &bias[0], &dst[0], unsafe.SliceData(other), ldd, lo, hi, 1<<n-1)
}

// depthwiseSlide computes the codes of count positions of a row and up to 64 channels of a depthwise convolution of up to 3x3 taps,
// whose windows of 3x3 pixels lie in src; the weights, starts and scales lie in the order of blockLane.
func depthwiseSlide(stride, count, n int, src []byte, pixel, row int, w []byte, start []int32, scale []float32, end *codesEnd, dst []byte, ldd int) {
	if count < 1 || n < 1 || n > channelBlock || stride < 1 || stride > 2 || pixel < 0 || row < 0 {
		panic("kernel: depthwiseSlide: not a row")
	}
	needLen("depthwiseSlide source", len(src), (stride*(count-1)+2)*pixel+2*row+n)
	needLen("depthwiseSlide weights", len(w), slideBytes)
	needLen("depthwiseSlide channels", min(len(start), len(scale)), channelBlock)
	need("depthwiseSlide destination", len(dst), count, n, ldd)
	f := depthwiseSlide1AVX512VNNI
	if stride == 2 {
		f = depthwiseSlide2AVX512VNNI
	}
	f(count, n, &src[0], pixel, row, 2*row, &w[0], &start[0], &scale[0], end.memory(), &dst[0], ldd)
}

func (a *stripF32) run() {
	a.check()
	switch {
	case useStripsAVX512:
		f := stripF32x8x48AVX512
		switch stripHeight(a.count)<<8 | a.width {
		case 8<<8 | 32:
			f = stripF32x8x32AVX512
		case 8<<8 | 16:
			f = stripF32x8x16AVX512
		case 7<<8 | 48:
			f = stripF32x7x48AVX512
		case 7<<8 | 32:
			f = stripF32x7x32AVX512
		case 7<<8 | 16:
			f = stripF32x7x16AVX512
		}
		f(a.count, a.n, len(a.offs), a.k, &a.src[0], &a.rows[0], &a.offs[0], &a.b[0], a.ldb, &a.start[0], &a.dst[0], unsafe.SliceData(a.other), a.ldd, a.lo, a.hi, a.more)
	case useStripsAVX2:
		for j := 0; j < a.n; j += 16 {
			stripF32x6x16AVX2(a.count, min(16, a.n-j), len(a.offs), a.k, &a.src[0], &a.rows[0], &a.offs[0], &a.b[j], a.ldb, &a.start[j], &a.dst[j], unsafe.SliceData(from(a.other, j)), a.ldd, a.lo, a.hi, a.more)
		}
	default:
		a.generic()
	}
}

func (e *codesEnd) memory() *int32 { return (*int32)(unsafe.Pointer(e)) }

// useSmallF32 reports whether strips of floats are there as assembly.
func useSmallF32() bool { return useStripsAVX512 || useStripsAVX2 }
