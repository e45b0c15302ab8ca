package train

import (
	"fmt"
	"math/rand/v2"

	"github.com/neurotrain/neuroquant/tensor"
)

// Augment changes images at random while they are trained on: [batch, channels, height, width] of float32.
type Augment struct {
	// Pad is how many pixels an image is moved by at most, up or down and left or right; what comes in is Fill, one value per channel or
	// one for all, 0 if there is none.
	Pad  int
	Fill []float32
	// Flip mirrors half of the images, left to right.
	Flip bool
	// Turn turns images, which are square, by a multiple of 90 degrees.
	Turn bool
}

func (a *Augment) active() bool { return a.Pad > 0 || a.Flip || a.Turn }

// apply changes the images of a batch in place, image i by the numbers that belong to epoch and sample[i].
func (a *Augment) apply(x *tensor.Tensor, seed uint64, epoch int, sample []int) error {
	if x.Rank() != 4 || x.DType != tensor.Float32 {
		return fmt.Errorf("augmentation: want images [batch, channels, height, width] of float32, got %v", x)
	}
	channels, h, w := x.Shape[1], x.Shape[2], x.Shape[3]
	if n := len(a.Fill); n > 1 && n != channels {
		return fmt.Errorf("augmentation: fill: want 1 value or one for each of %d channels, got %d", channels, n)
	}
	if a.Turn && h != w {
		return fmt.Errorf("augmentation: turns want square images, got %dx%d", h, w)
	}
	old := make([]float32, h*w)
	for i, s := range sample {
		r := rand.New(rand.NewPCG(seed^0x61756f67, uint64(epoch)<<32|uint64(s)))
		dy, dx := r.IntN(2*a.Pad+1)-a.Pad, r.IntN(2*a.Pad+1)-a.Pad
		flip := a.Flip && r.IntN(2) == 1
		turns := 0
		if a.Turn {
			turns = r.IntN(4)
		}
		if dy == 0 && dx == 0 && !flip && turns == 0 {
			continue
		}
		for c := range channels {
			plane := tensor.Data[float32](x)[(i*channels+c)*h*w:][:h*w]
			copy(old, plane)
			fill := float32(0)
			if len(a.Fill) > 0 {
				fill = a.Fill[c%len(a.Fill)]
			}
			for y := range h {
				for k := range w {
					from := k
					if flip {
						from = w - 1 - k
					}
					v := fill
					row, col := y, from
					for range turns {
						row, col = col, h-1-row
					}
					if sy, sx := row+dy, col+dx; sy >= 0 && sy < h && sx >= 0 && sx < w {
						v = old[sy*w+sx]
					}
					plane[y*w+k] = v
				}
			}
		}
	}
	return nil
}
