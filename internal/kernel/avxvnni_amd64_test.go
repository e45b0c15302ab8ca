//go:build !purego

package kernel

import (
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/impl"
)

// The micro-kernels for AVX-VNNI are run as such, or as their twins in the encoding of AVX-512.
func TestTileInt8Ymm(t *testing.T) {
	tiles := &tilesAVXVNNI
	switch {
	case impl.Has(impl.AVXVNNI):
	case impl.Has(impl.AVX512VNNI):
		tiles = &tilesAVX512VL
	default:
		t.Skip("this CPU has no VPDPBUSD")
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, height := range []int{8, 4, 2, 1} {
		for _, width := range []int{48, 32, 16} {
			for _, k4 := range []int{1, 2, 3, 17, 64} {
				for _, aSigned := range []bool{false, true} {
					a, b := make([]uint32, height*k4), randomBytes(r, make([]byte, 4*width*k4))
					for i := range a {
						a[i] = r.Uint32()
					}
					if k4 == 17 { // the largest sums
						for i := range a {
							a[i] = []uint32{0x7f7f7f7f, 0x80808080, 0xffffffff}[r.IntN(3)]
						}
						for i := range b {
							b[i] = []byte{127, 128, 255}[r.IntN(3)]
						}
					}
					got, check := guarded[int32](height*panelWidth, r.IntN(16))
					want := make([]int32, height*panelWidth)
					tileInt8Ymm(tiles, aSigned, height, width, k4, a, b, got)
					tileInt8Generic(aSigned, height, width, k4, a, b, want)
					if err := check(); err != nil {
						t.Fatal(err)
					}
					for i := range height {
						for j := range width {
							if got[i*panelWidth+j] != want[i*panelWidth+j] {
								t.Fatalf("%dx%d, k %d, A signed %v: (%d,%d) is %d, want %d", height, width, 4*k4, aSigned, i, j, got[i*panelWidth+j], want[i*panelWidth+j])
							}
						}
					}
				}
			}
		}
	}
}

// Twins are the same text but for the encoding of VPDPBUSD, whose bytes the generator's own tests check.
func TestAVXVNNITwinsAreEqual(t *testing.T) {
	data, err := os.ReadFile("gemmint8_amd64.s")
	if err != nil {
		t.Fatal(err)
	}
	bodies := map[string]string{}
	for _, text := range strings.Split(string(data), "\nTEXT ·")[1:] {
		name, body, _ := strings.Cut(text, "(SB)")
		body, _, _ = strings.Cut(body, "\n//") // the comment of the next function
		bodies[name] = body
	}
	raw := regexp.MustCompile(`(?m)^\t(?:BYTE[^/]*)// VPDPBUSDVEX `)
	spaces := regexp.MustCompile(` +`)
	pairs := 0
	for name, body := range bodies {
		if base, ok := strings.CutSuffix(name, "AVXVNNI"); ok {
			pairs++
			twin := spaces.ReplaceAllString(bodies[base+"AVX512VLVNNI"], " ")
			if got := spaces.ReplaceAllString(raw.ReplaceAllString(body, "\tVPDPBUSD "), " "); got != twin {
				t.Errorf("%s is %s\nits twin is %s", name, got, twin)
			}
		}
	}
	if pairs != 8 {
		t.Errorf("%d pairs, want 8", pairs)
	}
}
