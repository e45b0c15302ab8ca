package main

import (
	"encoding/hex"
	"regexp"
	"strings"
	"testing"
)

// The expected bytes are what the GNU assembler 2.40 and llvm-mc make of the same instructions.
func TestRawEncodings(t *testing.T) {
	byteOf := regexp.MustCompile(`BYTE \$0x(..)`)
	for _, c := range []struct{ line, want string }{
		{"VDPBF16PS Z0, Z1, Z2", "62f2764852d0"},
		{"VDPBF16PS Z31, Z1, Z2", "6292764852d7"},
		{"VDPBF16PS Z2, Z19, Z9", "6272664052ca"},
		{"VDPBF16PS Z14, Z5, Z28", "6242564852e6"},
		{"VDPBF16PS Z23, Z30, Z17", "62a20e4052cf"},
		{"VDPBF16PSY Y7, Y20, Y11", "62725e2052df"},
		{"VPDPBUSDVEX Y0, Y1, Y2", "c4e27550d0"},
		{"VPDPBUSDVEX Y15, Y1, Y2", "c4c27550d7"},
		{"VPDPBUSDVEX Y3, Y12, Y2", "c4e21d50d3"},
		{"VPDPBUSDVEX Y8, Y9, Y14", "c4423550f0"},
	} {
		text := string(encodeRaw([]byte("\tNOP\n\t" + c.line + "\n\tRET\n")))
		var got strings.Builder
		for _, m := range byteOf.FindAllStringSubmatch(text, -1) {
			got.WriteString(m[1])
		}
		if _, err := hex.DecodeString(got.String()); err != nil || got.String() != c.want {
			t.Errorf("%s: bytes %s, want %s", c.line, got.String(), c.want)
		}
		if !strings.Contains(text, "// "+c.line) || !strings.HasSuffix(text, "\n\tRET\n") {
			t.Errorf("%s: printed as %q", c.line, text)
		}
	}
}
