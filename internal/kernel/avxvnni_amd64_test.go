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

func TestRunsInt8Ymm(t *testing.T) {
	kernels := &runsAVXVNNI
	switch {
	case impl.Has(impl.AVXVNNI):
	case impl.Has(impl.AVX512VNNI):
		kernels = &runsAVX512VL
	default:
		t.Skip("this CPU has no VPDPBUSD")
	}
	r := rand.New(rand.NewPCG(3, 4))
	for _, height := range []int{8, 4, 2, 1} {
		for _, width := range []int{48, 32, 16} {
			for _, words := range []int{1, 2, 17} {
				for runs := 1; runs <= 9; runs += 4 {
					offs, starts := make([]int, runs), make([]int, height)
					for i := range offs {
						offs[i] = r.IntN(100)
					}
					for i := range starts {
						starts[i] = r.IntN(100)
					}
					src, _ := guarded[byte](200+4*words, r.IntN(64))
					weights, _ := guarded[byte](4*width*words*runs, r.IntN(64))
					randomBytes(r, src)
					randomBytes(r, weights)
					if runs == 9 { // the largest sums
						fillWith(src, 255)
						fillWith(weights, []byte{127, 128}[r.IntN(2)])
					}
					got, check := guarded[int32](height*panelWidth, r.IntN(16))
					runsInt8Ymm(kernels, height, width, words, src, starts, offs, weights, got)
					if err := check(); err != nil {
						t.Fatal(err)
					}
					for i, start := range starts {
						for j := range width {
							var want int32
							for q, off := range offs {
								for l := range 4 * words {
									want += int32(src[start+off+l]) * int32(int8(weights[(q*words+l/4)*4*width+4*j+l%4]))
								}
							}
							if got[i*panelWidth+j] != want {
								t.Fatalf("%dx%d, %d runs of %d words: (%d,%d) is %d, want %d", height, width, runs, words, i, j, got[i*panelWidth+j], want)
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
	if pairs != 12 {
		t.Errorf("%d pairs, want 12", pairs)
	}
}
