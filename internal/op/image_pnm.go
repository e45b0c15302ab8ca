package op

import (
	"fmt"
)

// pnmHeader reads the numbers of a portable anymap's header and ASCII samples.
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

// decodePNM decodes the netpbm formats P1 to P6: bitmaps, grey maps and pixmaps in ASCII or binary.
func decodePNM(file []byte) (rgb []byte, width, height int, err error) {
	r := &pnmReader{b: file, at: 2}
	kind := file[1] - '0'
	top := 1
	var ok [3]bool
	width, ok[0] = r.number()
	height, ok[1] = r.number()
	ok[2] = true
	if kind != 1 && kind != 4 {
		top, ok[2] = r.number()
	}
	if !ok[0] || !ok[1] || !ok[2] || width <= 0 || height <= 0 || top <= 0 || top > 65535 {
		return nil, 0, 0, errDamagedImage
	}
	if width > maxPixels/height {
		return nil, 0, 0, fmt.Errorf("an image of %d x %d pixels is too large", width, height)
	}
	channels := 1
	if kind == 3 || kind == 6 {
		channels = 3
	}
	r.at++ // one white space ends a binary header
	var sample func(row, i int) (int, bool)
	data := file[min(r.at, len(file)):]
	switch {
	case kind == 1:
		sample = func(int, int) (int, bool) { v, ok := r.bit(); return 1 - v, ok }
	case kind <= 3:
		sample = func(int, int) (int, bool) { return r.number() }
	case kind == 4:
		stride := (width + 7) / 8
		sample = func(row, i int) (int, bool) {
			at := row*stride + i/8
			return 1 - int(pnmByte(data, at)>>(7-i%8)&1), at < len(data)
		}
	case top < 256:
		sample = func(row, i int) (int, bool) {
			at := row*width*channels + i
			return int(pnmByte(data, at)), at < len(data)
		}
	default:
		sample = func(row, i int) (int, bool) {
			at := 2 * (row*width*channels + i)
			return int(pnmByte(data, at))<<8 | int(pnmByte(data, at+1)), at+1 < len(data)
		}
	}
	// Every sample takes at least one bit of the file.
	if width*height*channels > 8*len(file) {
		return nil, 0, 0, errDamagedImage
	}
	rgb = make([]byte, 3*width*height)
	for y := range height {
		for i := range width * channels {
			v, ok := sample(y, i)
			if !ok {
				return nil, 0, 0, errDamagedImage
			}
			b := uint8(min((v*255+top/2)/top, 255))
			if channels == 3 {
				rgb[3*y*width+i] = b
			} else {
				o := rgb[3*(y*width+i):]
				o[0], o[1], o[2] = b, b, b
			}
		}
	}
	return rgb, width, height, nil
}

func pnmByte(data []byte, at int) byte {
	if at < len(data) {
		return data[at]
	}
	return 0
}
