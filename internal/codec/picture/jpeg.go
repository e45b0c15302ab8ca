package picture

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/jpeg"
)

// decodeJPEG decodes baseline and progressive JPEG. The samples are those of libjpeg's inverse DCT (see [retransform]), chroma is
// upsampled and converted as there.
func decodeJPEG(file []byte) (Image, error) {
	img, err := jpeg.Decode(bytes.NewReader(file))
	if err != nil {
		return Image{}, err
	}
	steps := quantization(file)
	switch m := img.(type) {
	case *image.Gray:
		if len(steps) == 1 {
			retransform(m.Pix, m.Stride, m.Rect.Dx(), m.Rect.Dy(), steps[0])
		}
	case *image.YCbCr:
		if len(steps) == 3 {
			cb, cr, _, _ := chroma(m)
			retransform(m.Y, m.YStride, m.Rect.Dx(), m.Rect.Dy(), steps[0])
			retransform(cb.pix, cb.stride, cb.width, cb.height, steps[1])
			retransform(cr.pix, cr.stride, cr.width, cr.height, steps[2])
		}
		return fromJFIF(m), nil
	}
	return convert(img), nil
}

// zigzag lists the positions in a block (8*row + column) in the order of the file (ITU-T T.81, figure A.6).
var zigzag = func() (order [64]int) {
	row, col, up := 0, 0, true
	for i := range order {
		order[i] = 8*row + col
		switch {
		case up && col == 7, !up && row < 7 && col == 0:
			row, up = row+1, !up
		case up && row == 0, !up && row == 7:
			col, up = col+1, !up
		case up:
			row, col = row-1, col+1
		default:
			row, col = row+1, col-1
		}
	}
	return order
}()

// steps are the quantization steps of a component, by position in a block.
type steps [64]int

// quantization returns the quantization steps of every component from the headers (ITU-T T.81, annex B), or nothing where they
// are not the same for the whole image.
func quantization(file []byte) []*steps {
	var tables [4]*steps
	var selectors []byte // of the components
	for at := 2; at+4 <= len(file); {
		if file[at] != 0xff {
			return nil
		}
		marker := file[at+1]
		if marker == 0xff { // fill byte
			at++
			continue
		}
		size := int(binary.BigEndian.Uint16(file[at+2:]))
		if size < 2 || at+2+size > len(file) {
			return nil
		}
		segment := file[at+4 : at+2+size]
		at += 2 + size
		switch marker {
		case 0xdb: // DQT
			for len(segment) > 0 {
				wide, id := int(segment[0]>>4), segment[0]&15
				need := 1 + 64<<wide
				if wide > 1 || id > 3 || len(segment) < need {
					return nil
				}
				t := new(steps)
				for i, p := range zigzag {
					if t[p] = int(segment[1+i]); wide == 1 {
						t[p] = int(binary.BigEndian.Uint16(segment[1+2*i:]))
					}
				}
				tables[id], segment = t, segment[need:]
			}
		case 0xc0, 0xc1, 0xc2: // SOF of Huffman-coded DCT
			if len(segment) < 6 || len(segment) < 6+3*int(segment[5]) {
				return nil
			}
			for i := range int(segment[5]) {
				selectors = append(selectors, segment[6+3*i+2])
			}
		case 0xda: // SOS: entropy-coded data holds no 0xff but escaped ones, so that what is found are later tables
			if bytes.Contains(file[at:], []byte{0xff, 0xdb}) {
				return nil
			}
			var out []*steps
			for _, s := range selectors {
				if s > 3 || tables[s] == nil {
					return nil
				}
				out = append(out, tables[s])
			}
			return out
		}
	}
	return nil
}
