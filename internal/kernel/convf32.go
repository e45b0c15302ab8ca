package kernel

import "slices"

// PackedConvF32 holds the weights of a convolution in the order in which the kernels read them.
// It is read-only and may be used by several goroutines.
//
// packed holds group after group; in a group block after block of the depth (input channels times
// taps), each in row panels as packLeft makes them for tiles of mr rows.
type PackedConvF32 struct {
	taps   []float32 // the weights of a depthwise convolution as they are
	mr     int
	packed []float32
}

// PackConvF32 packs the weights of s. Batch, In and pads of s do not matter. w is not referenced afterwards.
func PackConvF32(s *ConvShape, w []float32, where ...Storage) *PackedConvF32 {
	q := &PackedConvF32{}
	q.pack(s, w, func(n int) []float32 { return store[float32](q, n, where) })
	return q
}

// pack packs weights into memory, zeroed, that room gives.
func (q *PackedConvF32) pack(s *ConvShape, w []float32, room func(n int) []float32) {
	s.check()
	rows, k := s.OutC/s.Group, s.InC/s.Group*product(s.Kernel)
	needLen("convolution weights", len(w), s.OutC*k)
	q.mr = tileRowsF32()
	if s.depthwise() {
		q.taps = slices.Clone(w[:s.OutC*k])
		return
	}
	height := paddedRows(rows, q.mr)
	q.packed = room(s.Group * height * k)
	blocks, size := depth(k)
	for g := range s.Group {
		for kb := range blocks {
			k0, k1 := kb*size, min((kb+1)*size, k)
			packLeft(words(q.packed[height*(g*k+k0):height*(g*k+k1)]), q.mr, words(w[g*rows*k+k0:(g+1)*rows*k]), k, rows, k1-k0)
		}
	}
}

// unpacked returns the weights.
func (q *PackedConvF32) unpacked(s *ConvShape) []float32 {
	rows, k := s.OutC/s.Group, s.InC/s.Group*product(s.Kernel)
	w := make([]float32, s.OutC*k)
	height := paddedRows(rows, q.mr)
	blocks, size := depth(k)
	for g := range s.Group {
		for kb := range blocks {
			k0, k1 := kb*size, min((kb+1)*size, k)
			block := q.packed[height*(g*k+k0):]
			for i := 0; i < rows; i += q.mr {
				valid := min(q.mr, rows-i)
				h := panelRows(valid, q.mr)
				for r := range valid {
					for l := range k1 - k0 {
						w[(g*rows+i+r)*k+k0+l] = block[l*h+r]
					}
				}
				block = block[h*(k1-k0):]
			}
		}
	}
	return w
}

// depthwise reports whether each output channel reads a single input channel of several.
func (s *ConvShape) depthwise() bool { return s.InC == s.Group && s.Group > 1 }

// ConvF32 computes a float32 convolution (ONNX Conv: cross-correlation, zero padding):
//
//	y[b, o, q...] = act(bias[o] + sum over c, t... of w[o, c, t...] * x[b, g*InC/Group+c, q*stride+t*dilation-pad...])
//
// with g the group of o. bias is empty or has OutC values. With K the number of terms of the sum,
// each element is within (K+2)*2^-24*(sum|w*x|+|bias|) of the exact value, and the same for any number of
// threads.
func ConvF32(p *Pool, s *ConvShape, x, w, bias, y []float32) {
	var q PackedConvF32
	var scratch Scratch[float32]
	q.pack(s, w, func(n int) []float32 {
		scratch = Borrow[float32](n)
		clear(scratch.Data)
		return scratch.Data
	})
	defer scratch.Release()
	ConvF32Packed(p, s, x, &q, bias, y)
}

// ConvF32Packed is ConvF32 with weights packed before.
func ConvF32Packed(p *Pool, s *ConvShape, x []float32, w *PackedConvF32, bias, y []float32) {
	checkConv(s, len(x), len(y), len(bias))
	c := planConv(s)
	if s.Batch == 0 || c.plane == 0 {
		return
	}
	if s.depthwise() {
		c.depthwiseF32(p, x, w.taps, bias, y)
		return
	}
	if w.mr != tileRowsF32() { // packed under another choice of kernels
		w = PackConvF32(s, w.unpacked(s))
	}
	if len(bias) == 0 {
		bias = make([]float32, s.OutC)
		for i := range bias {
			bias[i] = negativeZero
		}
	}
	offs := c.offsets(c.perIn)
	var padded *buffer
	if !c.asIs {
		padded = borrow(4 * s.InC * c.padPlane)
		defer padded.release()
	}
	if s.OutC*c.plane*len(offs) < 2*minTask {
		p = nil
	}
	for b := range s.Batch {
		image := x[b*s.InC*c.inPlane : (b+1)*s.InC*c.inPlane]
		if padded != nil {
			planes := padded.f32()[:s.InC*c.padPlane]
			p.For(s.InC, 0, func(lo, hi int) {
				for ch := lo; ch < hi; ch++ {
					c.padF32(planes[ch*c.padPlane:(ch+1)*c.padPlane], image[ch*c.inPlane:(ch+1)*c.inPlane])
				}
			})
			image = planes
		}
		c.productF32(p, image, offs, w, bias, y[b*s.OutC*c.plane:(b+1)*s.OutC*c.plane])
	}
}

// offsets lists the offset of each term of the sum, channel by channel.
func (c *convPlan) offsets(channels int) []int {
	offs := make([]int, 0, channels*c.kernel)
	for ch := range channels {
		for _, t := range c.tap {
			offs = append(offs, ch*c.padPlane+t)
		}
	}
	return offs
}

// split cuts the outputs of one image into tasks: per group, panels of output positions times parts
// of the output channels, which come in row panels of mr.
func (c *convPlan) split(p *Pool, panels, mr int) (parts int) {
	want := 4 * p.Threads()
	if p.Threads() == 1 {
		return 1
	}
	tasks := c.s.Group * panels
	return max(1, min((want+tasks-1)/tasks, c.perOut/(4*mr)))
}

// productF32 multiplies the weights of each group by the matrix of the inputs of each output
// position, gathered panel by panel.
func (c *convPlan) productF32(p *Pool, image []float32, offs []int, w *PackedConvF32, bias, y []float32) {
	cols := splitColumns(c.plane)
	panels := cols.panels()
	k := len(offs)
	blocks, size := depth(k)
	mr := w.mr
	rowPanelCount := (c.perOut + mr - 1) / mr
	parts := c.split(p, panels, mr)
	height := paddedRows(c.perOut, mr)
	lower, upper := c.s.Activation.bounds()
	p.For(c.s.Group*panels*parts, 1, func(lo, hi int) {
		buf := borrow(4 * size * panelWidth)
		defer buf.release()
		for t := lo; t < hi; t++ {
			g, part := t/parts/panels, t%parts
			col, width := cols.panel(t / parts % panels)
			valid := min(width, c.plane-col)
			r0 := rowPanelCount * part / parts * mr
			r1 := min(rowPanelCount*(part+1)/parts*mr, c.perOut)
			out := y[(g*c.perOut+r0)*c.plane+col:]
			for kb := range blocks {
				k0, k1 := kb*size, min((kb+1)*size, k)
				c.gatherPanel(buf.u32(), width, words(image[g*c.perIn*c.padPlane:]), offs[k0:k1], col, valid)
				a := w.packed[height*(g*k+k0)+r0*(k1-k0):]
				rowPanelsF32(mr, width, k1-k0, a, buf.f32(), width, out, c.plane, r1-r0, valid, 1, 0, kb > 0)
			}
			epilogue(r1-r0, valid, out, c.plane, bias[g*c.perOut+r0:], lower, upper)
		}
	})
}

func epilogueGeneric(rows, n int, y []float32, ldy int, bias []float32, lo, hi float32) {
	for i := range rows {
		row := y[i*ldy : i*ldy+n]
		for j := range row {
			v := row[j] + bias[i]
			if v < lo {
				v = lo
			}
			if v > hi {
				v = hi
			}
			row[j] = v
		}
	}
}

// depthwiseF32 convolves plane by plane, each padded into a buffer of its own.
func (c *convPlan) depthwiseF32(p *Pool, x, w, bias, y []float32) {
	lower, upper := c.s.Activation.bounds()
	if c.s.Batch*c.s.OutC*c.plane*c.kernel < minTask {
		p = nil
	}
	p.For(c.s.Batch*c.s.InC, 0, func(lo, hi int) {
		buf := borrow(4 * c.padPlane)
		defer buf.release()
		for t := lo; t < hi; t++ {
			plane := x[t*c.inPlane : (t+1)*c.inPlane]
			if !c.asIs {
				c.padF32(buf.f32()[:c.padPlane], plane)
				plane = buf.f32()[:c.padPlane]
			}
			for m := range c.perOut {
				o := t%c.s.InC*c.perOut + m
				add := negativeZero
				if len(bias) != 0 {
					add = bias[o]
				}
				c.tapPlane(plane, w[o*c.kernel:(o+1)*c.kernel], add, lower, upper, y[(t*c.perOut+m)*c.plane:])
			}
		}
	})
}

// tapPlane computes one output plane from one padded input plane.
func (c *convPlan) tapPlane(src, w []float32, bias, lo, hi float32, dst []float32) {
	last := len(c.out) - 1
	width := c.out[last]
	rows, step := 1, 0
	if last > 0 { // rows of the last but one axis are evenly spaced
		rows, step = c.out[last-1], axisOr(c.s.Stride, last-1, 1)*c.padStep[last-1]
	}
	for r := 0; r < c.plane/width; r += rows {
		taps(rows, width, src[c.row(r):], step, c.tap, w, bias, lo, hi, dst[r*width:], width)
	}
}

func tapsGeneric(rows, n int, src []float32, lds int, offs []int, w []float32, bias, lo, hi float32, dst []float32, ldd int) {
	for i := range rows {
		for j := range n {
			v := bias
			for t, off := range offs {
				v += w[t] * src[i*lds+off+j]
			}
			if v < lo {
				v = lo
			}
			if v > hi {
				v = hi
			}
			dst[i*ldd+j] = v
		}
	}
}
