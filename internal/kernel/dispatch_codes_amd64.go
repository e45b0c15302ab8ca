//go:build !purego

package kernel

import (
	"github.com/klauspost/cpuid/v2"

	"github.com/neurotrain/neuroquant/internal/impl"
)

var (
	useCodesAVX512, useCodesAVX2 bool
	useLookup                    bool
)

// hasVBMI tells of VPERMI2B on bytes, which some CPUs with AVX-512 lack.
var hasVBMI = cpuid.CPU.Supports(cpuid.AVX512VBMI)

func init() {
	impl.Register("codes", impl.AVX512, &useCodesAVX512)
	impl.Register("codes", impl.AVX2, &useCodesAVX2)
	impl.Register("lookup", impl.AVX512VNNI, &useLookup)
}

func someAddCodes(dst, a, b []byte, signed bool, ra, rb, fixed, lo, hi float32) int {
	n := len(dst)
	switch {
	case useCodesAVX512 && n >= 16:
		n &^= 15
		f := addCodesU8AVX512
		if signed {
			f = addCodesS8AVX512
		}
		f(n/16, &dst[0], &a[0], &b[0], ra, rb, fixed, lo, hi)
		return n
	case useCodesAVX2 && n >= 8:
		n &^= 7
		f := addCodesU8AVX2
		if signed {
			f = addCodesS8AVX2
		}
		f(n/8, &dst[0], &a[0], &b[0], ra, rb, fixed, lo, hi)
		return n
	}
	return 0
}

func someMulCodes(dst, a, b []byte, signed bool, za, zb int32, m, zc, lo, hi float32) int {
	n := len(dst)
	switch {
	case useCodesAVX512 && n >= 16:
		n &^= 15
		f := mulCodesU8AVX512
		if signed {
			f = mulCodesS8AVX512
		}
		f(n/16, &dst[0], &a[0], &b[0], za, zb, m, zc, lo, hi)
		return n
	case useCodesAVX2 && n >= 8:
		n &^= 7
		f := mulCodesU8AVX2
		if signed {
			f = mulCodesS8AVX2
		}
		f(n/8, &dst[0], &a[0], &b[0], za, zb, m, zc, lo, hi)
		return n
	}
	return 0
}

func someLookup(dst, src []byte, table *[256]byte) int {
	n := len(dst) &^ 63
	if !useLookup || !hasVBMI || n == 0 {
		return 0
	}
	lookupAVX512VBMI(n/64, &dst[0], &src[0], &table[0])
	return n
}

// maxTaps sets dst[c] to the maximum over t of src[offs[t]+c].
func maxTaps(src []byte, offs []int, signed bool, dst []byte) {
	checkTaps(src, offs, len(dst))
	n := 0
	switch {
	case useCodesAVX512:
		f := maxTapsU8AVX512
		if signed {
			f = maxTapsS8AVX512
		}
		f(len(dst), len(offs), &src[0], &offs[0], &dst[0])
		return
	case useCodesAVX2 && len(dst) >= 32:
		f := maxTapsU8AVX2
		if signed {
			f = maxTapsS8AVX2
		}
		n = len(dst) &^ 31
		f(n, len(offs), &src[0], &offs[0], &dst[0])
	}
	maxTapsGeneric(src[n:], offs, signed, dst[n:])
}

// sumTaps sets dst[c] to what v makes of the sum over t of src[offs[t]+c].
func sumTaps(src []byte, offs []int, v *scaledSum, dst []byte) {
	if len(offs) == 0 {
		sumTapsGeneric(src, offs, v, dst)
		return
	}
	checkTaps(src, offs, len(dst))
	n := 0
	switch {
	case useCodesAVX512:
		f := averageTapsU8AVX512
		if v.signed {
			f = averageTapsS8AVX512
		}
		f(len(dst), len(offs), &src[0], &offs[0], &dst[0], v.start, v.a, v.b, v.c, v.z, v.lo, v.hi, v.zp)
		return
	case useCodesAVX2 && len(dst) >= 8:
		f := averageTapsU8AVX2
		if v.signed {
			f = averageTapsS8AVX2
		}
		n = len(dst) &^ 7
		f(n, len(offs), &src[0], &offs[0], &dst[0], v.start, v.a, v.b, v.c, v.z, v.lo, v.hi, v.zp)
	}
	sumTapsGeneric(src[n:], offs, v, dst[n:])
}

func checkTaps(src []byte, offs []int, n int) {
	lowest, highest := offs[0], offs[0]
	for _, o := range offs {
		lowest, highest = min(lowest, o), max(highest, o)
	}
	if n < 1 || lowest < 0 {
		panic("kernel: taps: negative offset or no channels")
	}
	needLen("taps source", len(src), highest+n)
}
