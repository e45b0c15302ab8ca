package picture

import (
	"bytes"
	"image"
	"image/gif"
)

// decodeGIF decodes the first frame. Transparent pixels have the colour that the palette gives them. Where the frame does not
// cover the canvas there is the transparent colour, or else the palette's first.
func decodeGIF(file []byte) (Image, error) {
	c, err := gif.DecodeConfig(bytes.NewReader(file))
	if err != nil {
		return Image{}, err
	}
	var around uint8
	if at := transparency(file); at > 0 {
		around = file[at+3]
		file = bytes.Clone(file)
		file[at] &^= 1 // the decoder would make the colour black
	}
	img, err := gif.Decode(bytes.NewReader(file))
	if err != nil {
		return Image{}, err
	}
	frame, ok := img.(*image.Paletted)
	canvas := image.Rect(0, 0, c.Width, c.Height)
	if !ok || frame.Rect == canvas {
		return convert(img), nil
	}
	m := image.NewPaletted(canvas, frame.Palette)
	for i := range m.Pix {
		m.Pix[i] = around
	}
	for y := frame.Rect.Min.Y; y < frame.Rect.Max.Y; y++ {
		copy(m.Pix[m.PixOffset(frame.Rect.Min.X, y):], frame.Pix[frame.PixOffset(frame.Rect.Min.X, y):][:frame.Rect.Dx()])
	}
	return convert(m), nil
}

// transparency returns where the first frame's graphic control extension has its flags, three bytes before the transparent
// colour (GIF89a, section 23); 0 if there is no such colour.
func transparency(file []byte) int {
	at, found := 13, 0
	if len(file) < at {
		return 0
	}
	if flags := file[10]; flags&0x80 != 0 {
		at += 3 << (flags&7 + 1)
	}
	for at+7 < len(file) && file[at] == 0x21 {
		if file[at+1] == 0xf9 && file[at+2] == 4 {
			if found = 0; file[at+3]&1 != 0 {
				found = at + 3
			}
		}
		for at += 2; at < len(file) && file[at] != 0; {
			at += 1 + int(file[at])
		}
		at++
	}
	return found
}
