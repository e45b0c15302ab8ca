package picture

import (
	"errors"
	"image"
)

// pnmReader reads the numbers of a portable anymap's header and ASCII samples.
type pnmReader struct {
	b  []byte
	at int
}

// number skips white space and comments and returns the next number; false if there is none.
func (r *pnmReader) number() (int, bool) {
	for r.at < len(r.b) {
		c := r.b[r.at]
		if c == '#' {
			for r.at < len(r.b) && r.b[r.at] != '\n' {
				r.at++
			}
			continue
		}
		if c != ' ' && (c < '\t' || c > '\r') {
			break
		}
		r.at++
	}
	n, start := 0, r.at
	for r.at < len(r.b) && r.b[r.at] >= '0' && r.b[r.at] <= '9' && n < 1<<24 {
		n = 10*n + int(r.b[r.at]-'0')
		r.at++
	}
	return n, r.at > start
}

// bit returns the next sample of an ASCII bitmap, which needs no white space between samples.
func (r *pnmReader) bit() (int, bool) {
	for r.at < len(r.b) {
		c := r.b[r.at]
		r.at++
		if c == '0' || c == '1' {
			return int(c - '0'), true
		}
	}
	return 0, false
}

// pnmHeader is what the first numbers of a netpbm file say.
type pnmHeader struct {
	kind          byte // 1 to 3 ASCII, 4 to 6 binary: bitmap, gray map, pixmap
	width, height int
	top           int // the value of full brightness
}

func (r *pnmReader) header() (h pnmHeader, err error) {
	h.kind, h.top, r.at = r.b[1]-'0', 1, 2
	fields := []*int{&h.width, &h.height, &h.top}
	if h.kind == 1 || h.kind == 4 {
		fields = fields[:2]
	}
	for _, f := range fields {
		n, ok := r.number()
		if !ok || n == 0 {
			return h, errors.New("the header is damaged")
		}
		*f = n
	}
	if h.top > 65535 {
		return h, errors.New("the largest value is above 65535")
	}
	r.at++ // one white space ends a binary header
	return h, nil
}

func configPNM(file []byte) (image.Config, error) {
	h, err := (&pnmReader{b: file}).header()
	return image.Config{Width: h.width, Height: h.height}, err
}

// decodePNM decodes the netpbm formats P1 to P6: bitmaps, gray maps and pixmaps in ASCII or binary.
func decodePNM(file []byte) (Image, error) {
	r := &pnmReader{b: file}
	h, err := r.header()
	if err != nil {
		return Image{}, err
	}
	channels := 1
	if h.kind == 3 || h.kind == 6 {
		channels = 3
	}
	var sample func(row, i int) (int, bool)
	data := file[min(r.at, len(file)):]
	at := func(i int) (int, bool) {
		if i < len(data) {
			return int(data[i]), true
		}
		return 0, false
	}
	switch {
	case h.kind == 1:
		sample = func(int, int) (int, bool) { v, ok := r.bit(); return 1 - v, ok }
	case h.kind <= 3:
		sample = func(int, int) (int, bool) { return r.number() }
	case h.kind == 4:
		stride := (h.width + 7) / 8
		sample = func(row, i int) (int, bool) {
			v, ok := at(row*stride + i/8)
			return 1 - v>>(7-i%8)&1, ok
		}
	case h.top < 256:
		sample = func(row, i int) (int, bool) { return at(row*h.width*channels + i) }
	default:
		sample = func(row, i int) (int, bool) {
			high, _ := at(2 * (row*h.width*channels + i))
			low, ok := at(2*(row*h.width*channels+i) + 1)
			return high<<8 | low, ok
		}
	}
	// Every sample takes at least one bit of the file.
	errCut := errors.New("samples are missing")
	if h.width*h.height*channels > 8*len(file) {
		return Image{}, errCut
	}
	out := New(h.width, h.height, channels)
	for y := range h.height {
		row := out.Row(y)
		for i := range row {
			v, ok := sample(y, i)
			if !ok {
				return Image{}, errCut
			}
			row[i] = uint8(min((v*255+h.top/2)/h.top, 255))
		}
	}
	return out, nil
}
