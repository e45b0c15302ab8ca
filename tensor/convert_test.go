package tensor

import "testing"

// Every code of a small float but NaN must come back from its value.
func TestEncodeSmallInvertsDecode(t *testing.T) {
	for _, d := range []DType{Float8E4M3FN, Float8E4M3FNUZ, Float8E5M2, Float8E5M2FNUZ, Float8E8M0, Float4E2M1} {
		for c := range 1 << d.Bits() {
			v := DecodeSmall(d, uint8(c))
			if v != v {
				continue
			}
			if got := EncodeSmall(d, v, false); got != uint8(c) {
				t.Errorf("%v: code %#x is %v, which encodes to %#x", d, c, v, got)
			}
		}
	}
}
