package packed

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/impl"
	"github.com/neurotrain/neuroquant/internal/material"
)

func readFloats(t *testing.T, path string) []float32 {
	t.Helper()
	a, err := data.ReadNPYFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := a.Floats()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// onEvery runs f with each set of kernel implementations that this machine has.
func onEvery(t *testing.T, f func(t *testing.T)) {
	for _, isa := range impl.Caps() {
		t.Run(isa, func(t *testing.T) {
			defer impl.Cap(isa)()
			f(t)
		})
	}
}

func TestBlocksOfGGML(t *testing.T) {
	dir := material.Path(t, "data/ggml-blocks")
	raw, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest map[string]struct {
		Type       Kind `json:"ggml_type"`
		Block      int
		BlockBytes int  `json:"block_bytes"`
		Imatrix    bool `json:"imatrix_used"`
	}
	if err := json.Unmarshal(raw, &manifest); err != nil {
		t.Fatal(err)
	}
	source := readFloats(t, filepath.Join(dir, "source_f32.npy"))
	if len(manifest) != len(blocks)-1 { // all but F32
		t.Errorf("%d types are known, %d stored", len(blocks), len(manifest))
	}
	onEvery(t, func(t *testing.T) {
		for name, m := range manifest {
			k := m.Type
			if !strings.EqualFold(k.String(), name) || k.BlockSize() != m.Block || k.BlockBytes() != m.BlockBytes {
				t.Errorf("%s: type %v with %d bytes for %d", name, k, k.BlockBytes(), k.BlockSize())
				continue
			}
			stored, err := os.ReadFile(filepath.Join(dir, name+".bin"))
			if err != nil {
				t.Fatal(err)
			}
			want := readFloats(t, filepath.Join(dir, name+".dequant.npy"))
			b, err := NewBlocks(k, 32, 256, stored)
			if err != nil {
				t.Fatal(err)
			}
			got := make([]float32, 256)
			for r := range 32 {
				b.Row(got, r)
				for c, v := range got {
					if w := want[r*256+c]; math.Float32bits(v) != math.Float32bits(w) {
						t.Fatalf("%v row %d column %d: %v, want %v", k, r, c, v, w)
					}
				}
			}
			if !k.Encodes() {
				continue
			}
			code := make([]byte, len(stored)/32)
			for r := range 32 {
				k.Encode(code, source[r*256:(r+1)*256], nil)
				if w := b.Bytes(r, r+1); !bytes.Equal(code, w) {
					t.Errorf("%v row %d:\n%x, want\n%x", k, r, code, w)
				}
			}
		}
	})
}

// The vectors are what ggml's C code gives.
func TestEncodedVectors(t *testing.T) {
	small := make([]float32, 32)
	for i, s := range strings.Fields(`00000000 3ecba96c 3f4f2429 3f950b55 3fb2763c 3fb89099 3fa322f9 3f641069 3ea67001 beb63343 bf87a357 bfd73820
		c0079bdd c0127fd2 c0091c56 bfd62821 bf6c74ef 3c96ba9b 3f83e086 3ffc286b 402c8d4d 4045b365 40447adf 40275c51 3fe1886d 3f1bce13
		bf32c6a7 bffda968 c043b5e7 c070d979 c07e9b00 c0696b57`) {
		b, _ := hex.DecodeString(s)
		small[i] = math.Float32frombits(binary.BigEndian.Uint32(b))
	}
	large, importance := make([]float32, 256), make([]float32, 256)
	for i := range large {
		large[i] = float32((37*i+11)%101-50) * float32(8+i%7) / 128
		importance[i] = float32(1 + 13*i%17)
	}
	raw, err := os.ReadFile("testdata/encoded.txt")
	if err != nil {
		t.Fatal(err)
	}
	onEvery(t, func(t *testing.T) {
		n := 0
		for line := range strings.Lines(string(raw)) {
			f := strings.Fields(line)
			if len(f) == 0 || f[0] == "#" {
				continue
			}
			n++
			k, err := ParseKind(f[0])
			if err != nil {
				t.Fatal(err)
			}
			want, err := hex.DecodeString(f[2])
			if err != nil {
				t.Fatal(err)
			}
			x, w := large, []float32(nil)
			if f[1] == "small" {
				x = small
			} else if f[1] == "weighted" {
				w = importance
			}
			size, err := k.RowBytes(len(x))
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, size)
			k.Encode(got, x, w)
			if !bytes.Equal(got[:len(want)], want) {
				t.Errorf("%s %s:\n%x, want\n%x", f[0], f[1], got, want)
			}
		}
		if n < 20 {
			t.Errorf("%d vectors", n)
		}
	})
}

// values are of different sizes and signs, with runs of equal ones, zeros, and groups of nothing else.
func values(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := 0; i < n; i += 16 {
		scale := math.Exp(4 * r.NormFloat64())
		switch kind := r.IntN(12); {
		case kind == 0:
			scale = 0
		case kind == 1:
			scale *= 1e-25
		}
		offset := 0.0
		if r.IntN(4) == 0 {
			offset = 3 * scale
		}
		for j := i; j < min(n, i+16); j++ {
			x[j] = float32(scale*r.NormFloat64() + offset)
			if r.IntN(20) == 0 {
				x[j] = -x[max(j-1, 0)]
			}
		}
	}
	return x
}

// What the assembly gives is what the portable code gives, byte by byte.
func TestEncodersAgree(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for k := range blocks {
		if !k.Encodes() {
			continue
		}
		for _, n := range []int{256, 768, 2048, 4096 + 256} {
			x, w := values(r, n), make([]float32, n)
			for i := range w {
				w[i] = float32(r.ExpFloat64())
			}
			size, err := k.RowBytes(n)
			if err != nil {
				t.Fatal(err)
			}
			for _, importance := range [][]float32{nil, w} {
				var want []byte
				for i, isa := range impl.Caps() {
					restore := impl.Cap(isa)
					got := make([]byte, size)
					k.Encode(got, x, importance)
					restore()
					if i == 0 {
						want = got
					} else if !bytes.Equal(got, want) {
						t.Errorf("%v, %d values, importance %v: %s differs from the portable code", k, n, importance != nil, isa)
					}
				}
			}
		}
	}
}

func TestSizesAreChecked(t *testing.T) {
	for _, c := range []struct {
		k             Kind
		rows, cols, n int
		want          string
	}{
		{Q4_K, 1, 128, 72, "multiple of 256"},
		{Q8_0, 2, 32, 34, "found 34 bytes"},
		{Kind(99), 1, 32, 1, "unknown"},
		{Q8_0, -1, 32, 0, "rows"},
		{F32, math.MaxInt / 2, 32, 0, "rows"},
		{F32, 1, math.MaxInt, 0, "too large"},
	} {
		if _, err := NewBlocks(c.k, c.rows, c.cols, make([]byte, c.n)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v %dx%d: %v, want %q", c.k, c.rows, c.cols, err, c.want)
		}
	}
	if _, err := ParseKind("q4_k"); err != nil {
		t.Error(err)
	}
	if _, err := ParseKind("q9"); err == nil || !strings.Contains(err.Error(), "IQ4_NL") {
		t.Errorf("%v", err)
	}
}

func BenchmarkEncode(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	x := make([]float32, 1<<16)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	for _, k := range []Kind{Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4NL} {
		b.Run(k.String(), func(b *testing.B) {
			n, err := k.RowBytes(len(x))
			if err != nil {
				b.Fatal(err)
			}
			dst := make([]byte, n)
			b.SetBytes(int64(2 * len(x))) // as float16
			for b.Loop() {
				k.Encode(dst, x, nil)
			}
		})
	}
}
