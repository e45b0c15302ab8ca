package picture

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"os"
	"slices"
	"strings"
	"testing"
)

type reference struct {
	Name          string
	Width, Height int
	Exact         bool
	File, Pixels  []byte
}

// references returns files and their pixels as Pillow decodes them: those of testdata/make_pictures.py and small JPEG files of
// noise in all chroma resolutions.
func references(tb testing.TB) []reference {
	tb.Helper()
	var all []reference
	for _, name := range []string{"pictures.json", "noise.json"} {
		raw, err := os.ReadFile("testdata/" + name)
		if err != nil {
			tb.Fatal(err)
		}
		var some []reference
		if err := json.Unmarshal(raw, &some); err != nil {
			tb.Fatal(err)
		}
		all = append(all, some...)
	}
	return all
}

func TestDecodeAgainstPillow(t *testing.T) {
	for _, c := range references(t) {
		t.Run(c.Name, func(t *testing.T) {
			got, err := Decode(c.File)
			if err != nil {
				t.Fatal(err)
			}
			got = got.RGB()
			if got.Width != c.Width || got.Height != c.Height {
				t.Fatalf("size: got %dx%d, want %dx%d", got.Width, got.Height, c.Width, c.Height)
			}
			sum, largest := 0, 0
			for i, v := range got.Pix {
				d := max(int(v)-int(c.Pixels[i]), int(c.Pixels[i])-int(v))
				sum += d
				largest = max(largest, d)
			}
			mean := float64(sum) / float64(len(got.Pix))
			t.Logf("mean difference %.4f, largest %d", mean, largest)
			if c.Exact && largest > 0 || mean > 0.06 || largest > 2 {
				t.Errorf("mean difference %.3f, largest %d grey levels", mean, largest)
			}
		})
	}
}

func TestInverseDCT(t *testing.T) {
	// A constant block of 80/8 and horizontal cosines of amplitude 100/(4 sqrt(2)), from the definition (ITU-T T.81, A.3.3).
	for _, c := range []struct {
		at, coef int
		want     [8]int
	}{
		{0, 80, [8]int{10, 10, 10, 10, 10, 10, 10, 10}},
		{1, 100, [8]int{17, 15, 10, 3, -3, -10, -15, -17}},
		{3, -100, [8]int{-15, 3, 17, 10, -10, -17, -3, 15}},
	} {
		q := steps{}
		for i := range q {
			q[i] = 2
		}
		x := newTransform(&q)
		for y := range 8 {
			for i, v := range c.want {
				x.target[8*y+i] = float32(v)
			}
		}
		x.resample()
		for i, v := range x.samples[:8] {
			if got := (v + half) >> fraction; got != c.want[i] {
				t.Errorf("coefficient %d: got %d at %d, want %v", c.at, got, i, c.want)
			}
		}
		if got := int(x.coef[c.at]+200.5) - 200; got < c.coef-2 || got > c.coef+2 {
			t.Errorf("coefficient %d: got %v, want %d", c.at, x.coef[c.at], c.coef)
		}
	}
}

func TestZigzag(t *testing.T) {
	if got, want := zigzag[:12], []int{0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25}; !slices.Equal(got, want) || zigzag[62] != 62 || zigzag[63] != 63 {
		t.Errorf("got %v", zigzag)
	}
}

func TestDecodePNM(t *testing.T) {
	for file, want := range map[string][]byte{
		"P1\n3 1\n0 1\n1":                    {255, 0, 0},
		"P1 3 1 011":                         {255, 0, 0},
		"P2\n2 1 # two\n15\n0 15":            {0, 255},
		"P4\n9 1\n\x80\x00":                  {0, 255, 255, 255, 255, 255, 255, 255, 255},
		"P5 2 1 255\n\x07\xc8":               {7, 200},
		"P5 2 1 65535\n\x00\x00\xff\xff":     {0, 255},
		"P3 1 1 255 9 9 9":                   {9, 9, 9},
		"P2 1 1 255":                         nil, // no sample
		"P5 2 2 255\n\x01":                   nil,
		"P5 99999 99999 255\n":               nil,
		"P5 -1 2 255\n":                      nil,
		"P2 1 1 0 5":                         nil,
		"P6 1000000000000000000000 1 255\n1": nil,
	} {
		m, err := Decode([]byte(file))
		if (err != nil) != (want == nil) || !slices.Equal(m.Pix, want) {
			t.Errorf("%q: want %v, got %v, %v", file, want, m.Pix, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	wide := append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x10\x00\x00\x00\x10\x00\x00\x08\x02\x00\x00\x00"), 0, 0, 0, 0)
	binary.BigEndian.PutUint32(wide[29:], crc32.ChecksumIEEE(wide[12:29]))
	for name, c := range map[string]struct {
		file string
		want string
		is   error
	}{
		"empty":     {"", "empty", ErrFormat},
		"text":      {"hello, world", "want a JPEG, PNG", ErrFormat},
		"cut":       {"\xff\xd8\xff\xe0\x00", "jpeg: ", ErrFormat},
		"webp":      {"RIFF\x00\x00\x00\x00WEBPVP8 ", "webp: ", ErrFormat},
		"huge":      {string(wide), "1048576 x 1048576 pixels are not accepted", ErrUnsupported},
		"jpeg 2000": {"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000", ErrUnsupported},
	} {
		if _, err := Decode([]byte(c.file)); err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, c.is) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string]bool{"a.JPG": true, "x/b.tiff": true, "c.ppm": true, "jpg": false, "d.npy": false} {
		if IsName(name) != want {
			t.Errorf("%s: want %t", name, want)
		}
	}
	if !IsImage([]byte("RIFF....WEBP")) || IsImage([]byte("RIFF....WAVE")) || IsImage(nil) {
		t.Error("formats are told by their first bytes")
	}
}

// FuzzDecode decodes arbitrary bytes: errors are fine, panics are not, and an image has the size that its header says.
func FuzzDecode(f *testing.F) {
	for _, c := range references(f) {
		f.Add(c.File)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		w, h, err := Size(file)
		if err == nil && w*h > 1<<22 {
			return // memory, not code
		}
		m, derr := Decode(bytes.Clone(file))
		if derr != nil {
			return
		}
		if err != nil || m.Width != w || m.Height != h || len(m.Pix) != w*h*m.Channels {
			t.Errorf("%d x %d, %v: got %d x %d x %d, %d bytes", w, h, err, m.Width, m.Height, m.Channels, len(m.Pix))
		}
	})
}
