//go:build !amd64 || purego

package kernel

func someAddCodes(dst, a, b []byte, signed bool, ra, rb, fixed, lo, hi float32) int { return 0 }

func someMulCodes(dst, a, b []byte, signed bool, za, zb int32, m, zc, lo, hi float32) int { return 0 }

func someLookup(dst, src []byte, table *[256]byte) int { return 0 }

func maxTaps(src []byte, offs []int, signed bool, dst []byte) {
	maxTapsGeneric(src, offs, signed, dst)
}

func sumTaps(src []byte, offs []int, v *scaledSum, dst []byte) {
	sumTapsGeneric(src, offs, v, dst)
}
