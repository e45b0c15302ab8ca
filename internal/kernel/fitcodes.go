package kernel

import (
	"errors"
	"fmt"
	"math"
)

// Interleave lays groups of n values, one after the other in src, side by side as the fits take them: value i of group g goes to
// dst[i*FitLanes+g]. Lanes without a group are zero.
func Interleave(dst, src []float32, n int) {
	groups := len(src) / n
	packTransposed(viewAs[uint32](dst[:n*FitLanes]), FitLanes, viewAs[uint32](src), n, min(groups, FitLanes), n)
}

// FitDeviations sets w to the root of the mean square of a group plus |x|, for groups of n values side by side.
func FitDeviations(n int, w, x []float32) {
	w, x = w[:n*FitLanes], x[:n*FitLanes]
	for g := someDeviations(n, w, x); g < FitLanes; g++ {
		sum := float32(0)
		for i := g; i < len(x); i += FitLanes {
			sum += float32(x[i] * x[i])
		}
		rms := float32(math.Sqrt(float64(sum / float32(n))))
		for i := g; i < len(x); i += FitLanes {
			w[i] = rms + magnitude(x[i])
		}
	}
}

func magnitude(v float32) float32 { return math.Float32frombits(math.Float32bits(v) &^ (1 << 31)) }

// Requantize sets codes[i] to the nearest code of (x[i]+m)/d between least and most, less least.
func Requantize(codes []uint8, x []float32, d, m float32, least, most int) {
	x = x[:len(codes)]
	for i := someRequantize(codes, x, d, m, least, most); i < len(codes); i++ {
		codes[i] = uint8(min(max(Nearest((x[i]+m)/d), least), most) - least)
	}
}

// codeBlocks returns the number of blocks of 32 values, after checking the room for what is found of them.
func codeBlocks(what string, codes []uint8, x []float32, per ...[]float32) int {
	n := len(x) / 32
	if len(codes) < 32*n { // before the words are joined, which takes longer than the codes of a block
		needLen(what+" codes", len(codes), 32*n)
	}
	for _, p := range per {
		if len(p) < n {
			needLen(what+" scales", len(p), n)
		}
	}
	return n
}

// LargestCodes gives, in each block of 32 values, the first value of the largest magnitude the code 0, which stands for -half: the scale
// is that value divided by -half, the codes are x/scale + half rounded, halves up, at most 2*half-1.
func LargestCodes(codes []uint8, scales, x []float32, half float32) {
	n := codeBlocks("LargestCodes", codes, x, scales)
	if largestCodesVector(codes, scales, x, half) {
		return
	}
	for b := range n {
		v := x[32*b : 32*b+32]
		d := farthest(32, 0, 1, v) / -half
		id := inverse(d)
		scales[b] = d
		for i, x := range v {
			codes[32*b+i] = cutCode(float32(x*id), half+0.5, int(2*half)-1)
		}
	}
}

// RangeCodes spreads, in each block of 32 values, the codes from 0 to most over the range of the values.
func RangeCodes(codes []uint8, scales, lows, x []float32, most float32) {
	n := codeBlocks("RangeCodes", codes, x, scales, lows)
	if rangeCodesVector(codes, scales, lows, x, most) {
		return
	}
	for b := range n {
		v := x[32*b : 32*b+32]
		lo, hi := v[0], v[0]
		for _, x := range v {
			if x < lo {
				lo = x
			}
			if x > hi {
				hi = x
			}
		}
		d := (hi - lo) / most
		id := inverse(d)
		scales[b], lows[b] = d, lo
		for i, x := range v {
			codes[32*b+i] = cutCode(float32((x-lo)*id), 0.5, int(most))
		}
	}
}

// RoundedCodes gives, in each block of 32 values, the largest magnitude the code 127 or -127: codes are x/scale rounded, halves away
// from zero, as signed bytes.
func RoundedCodes(codes []uint8, scales, x []float32) {
	n := codeBlocks("RoundedCodes", codes, x, scales)
	if roundedCodesVector(codes, scales, x) {
		return
	}
	for b := range n {
		v := x[32*b : 32*b+32]
		d := magnitude(farthest(32, 0, 1, v)) / 127
		id := inverse(d)
		scales[b] = d
		for i, x := range v {
			codes[32*b+i] = uint8(int8(math.Round(float64(float32(x * id)))))
		}
	}
}

// inverse returns 1/d, and 0 for 0.
func inverse(d float32) float32 {
	if d == 0 {
		return 0
	}
	return 1 / d
}

// cutCode returns v + bias cut to an integer, at most most.
func cutCode(v, bias float32, most int) uint8 { return uint8(min(most, int(int8(v+bias)))) }

// ErrNotFinite is in the chain of the errors about values that cannot be rounded to codes.
var ErrNotFinite = errors.New("want finite values")

// CheckFinite returns an error that says where x is infinite or not a number.
func CheckFinite(x []float32) error {
	const infinity = 0x7f800000
	bits, n := someLargestBits(x)
	for _, v := range x[n:] {
		bits = max(bits, math.Float32bits(v)&0x7fffffff)
	}
	if bits < infinity {
		return nil
	}
	for i, v := range x {
		if math.Float32bits(v)&0x7fffffff >= infinity {
			return fmt.Errorf("value %d is %v; %w", i, v, ErrNotFinite)
		}
	}
	return nil
}
