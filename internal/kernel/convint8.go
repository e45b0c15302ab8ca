package kernel

import "unsafe"

// PackedConvInt8 holds the 8-bit weights of a convolution in the order in which the kernels read
// them. It is read-only and may be used by several goroutines.
//
// packed holds, group after group, row panels of eight output channels as tileInt8 reads them, signed; four
// input channels make a word. For a depthwise convolution exact holds the weights less their zero points.
type PackedConvInt8 struct {
	packed []uint32
	exact  []float32
	last   *PackedConvNHWC // of a depthwise convolution with one output per channel, which runs with channels last
	terms  int             // products in the sum of one output
	zero   []int32         // per output channel, in the signed domain; nil if all are 0
	sum    []int32         // per output channel, of the signed weights
}

const convRowsInt8 = 8

// PackConvInt8 packs the weights of s (two's complement if signed). wzp is the zero point: empty
// for 0, one value for all, or OutC values; each in -128..255. Batch, In and pads of s do not
// matter. w and wzp are not referenced afterwards.
func PackConvInt8(s *ConvShape, w []byte, signed bool, wzp []int32, where ...Storage) *PackedConvInt8 {
	s.check()
	perIn, perOut, kernel := s.InC/s.Group, s.OutC/s.Group, product(s.Kernel)
	q := &PackedConvInt8{terms: perIn * kernel}
	needLen("convolution weights", len(w), s.OutC*q.terms)
	checkBroadcast("convolution weight zero point", len(wzp), s.OutC, true)
	if s.depthwise() && perOut == 1 {
		q.last = PackConvNHWC(s, w, signed, wzp, where...)
		return q
	}
	if s.depthwise() {
		q.exact = make([]float32, s.OutC*kernel)
		for i := range q.exact {
			v := int32(w[i])
			if signed {
				v = int32(int8(w[i]))
			}
			q.exact[i] = float32(v - at(wzp, i/kernel))
		}
		return q
	}
	flip, offset := byte(0), int32(0)
	if !signed {
		flip, offset = 0x80, 128
	}
	q.sum = make([]int32, s.OutC)
	for o := range s.OutC {
		if z := at(wzp, o) - offset; z != 0 {
			if q.zero == nil {
				q.zero = make([]int32, s.OutC)
			}
			q.zero[o] = z
		}
	}
	quads := (perIn + 3) / 4
	height := paddedRows(perOut, convRowsInt8)
	q.packed = store[uint32](q, s.Group*height*quads*kernel, where)
	for o := range s.OutC {
		g, r := o/perOut, o%perOut
		start := r / convRowsInt8 * convRowsInt8
		rows := panelRows(min(convRowsInt8, perOut-start), convRowsInt8)
		panel := q.packed[(g*height+start)*quads*kernel:]
		for c := range perIn {
			for t := range kernel {
				v := w[(o*perIn+c)*kernel+t] ^ flip
				panel[(c/4*kernel+t)*rows+r-start] |= uint32(v) << (8 * (c % 4))
				q.sum[o] += int32(int8(v))
			}
		}
	}
	return q
}

// ConvInt8 computes the exact integer convolution of ONNX ConvInteger,
//
//	y[b, o, q...] = sum over c, t... of (w[o, c, t...]-wzp[o]) * (x[...]-xzp)   in int32
//
// with padding that counts as xzp, which lies in the range of x. x is two's complement if xSigned. Nothing saturates; where the
// sum leaves int32 it wraps.
func ConvInt8(p *Pool, s *ConvShape, x []byte, xSigned bool, xzp int32, w *PackedConvInt8, y []int32) {
	checkConv(s, len(x), len(y), 0)
	if w.last != nil {
		viaChannelsLast(p, s, x, y, func(one *ConvShape, x []byte, y []int32) { ConvInt8NHWC(p, one, x, xSigned, xzp, w.last, y) })
		return
	}
	c := planConv(s)
	if s.depthwise() {
		c.depthwiseInt8(p, x, xSigned, xzp, w, func(o, at int, acc []float32) {
			for i, v := range acc {
				y[at+i] = int32(v)
			}
		}, func(o, at int, acc int32) { y[at] = acc })
		return
	}
	c.productInt8(p, x, xSigned, xzp, w, nil, func(rows, n, at int, acc []int32, terms []finishRow, u []int32) {
		finishInt32(rows, n, acc, terms, u, nil, y[at:], c.plane)
	})
}

// ConvInt8F32 is ConvInt8 followed by what ONNX's dynamically quantized graphs do with its result,
// each step rounded to float32, and the activation of s:
//
//	y = act(float32(acc)*(xScale*wScale[o]) + bias[o])
//
// wScale has 1 or OutC values, bias is empty or has OutC.
func ConvInt8F32(p *Pool, s *ConvShape, x []byte, xSigned bool, xzp int32, xScale float32, w *PackedConvInt8, wScale, bias []float32, y []float32) {
	checkConv(s, len(x), len(y), len(bias))
	checkBroadcast("convolution weight scale", len(wScale), s.OutC, false)
	if w.last != nil {
		viaChannelsLast(p, s, x, y, func(one *ConvShape, x []byte, y []float32) {
			ConvInt8NHWCF32(p, one, x, xSigned, xzp, xScale, w.last, wScale, bias, y)
		})
		return
	}
	c := planConv(s)
	lo, hi := s.Activation.bounds()
	if s.depthwise() {
		row := make([]finishRow, s.OutC)
		for o := range row {
			row[o] = finishRow{scale: xScale * at(wScale, o), bias: negativeZero}
			if len(bias) != 0 {
				row[o].bias = bias[o]
			}
		}
		c.depthwiseInt8(p, x, xSigned, xzp, w, func(o, at int, acc []float32) {
			ScaleShift(y[at:at+len(acc)], acc, row[o].scale, row[o].bias)
			Clip(y[at:at+len(acc)], y[at:at+len(acc)], lo, hi)
		}, func(o, at int, acc int32) {
			finishF32Generic(1, 1, []int32{acc}, row[o:], nil, nil, nil, nil, lo, hi, y[at:], 1)
		})
		return
	}
	c.productInt8(p, x, xSigned, xzp, w, func(o int, t *finishRow) {
		t.scale = xScale * at(wScale, o)
		if len(bias) != 0 {
			t.bias = bias[o]
		}
	}, func(rows, n, at int, acc []int32, terms []finishRow, u []int32) {
		finishF32(rows, n, acc, terms, u, nil, nil, nil, lo, hi, y[at:], c.plane)
	})
}

// ConvInt8Requant is ConvInt8 followed by the addition of an int32 bias per output channel (empty for none; it wraps
// like the sum) and requantization with a scale for each channel or one for all: ONNX QLinearConv. y holds the codes. The activation of s
// does not count.
func ConvInt8Requant(p *Pool, s *ConvShape, x []byte, xSigned bool, xzp int32, w *PackedConvInt8, bias []int32, q *Requant, y []byte) {
	checkConv(s, len(x), len(y), len(bias))
	lo, hi := q.check(s.OutC)
	if w.last != nil {
		viaChannelsLast(p, s, x, y, func(one *ConvShape, x, y []byte) {
			ConvInt8NHWCRequant(p, one, x, xSigned, xzp, w.last, bias, q, nil, y)
		})
		return
	}
	c := planConv(s)
	if s.depthwise() {
		row := func(o int) finishRow {
			t := finishRow{scale: at(q.Scale, o)}
			if len(bias) != 0 {
				t.add = bias[o]
			}
			return t
		}
		c.depthwiseInt8(p, x, xSigned, xzp, w, func(o, at int, acc []float32) {
			terms := []finishRow{row(o)}
			var sums [panelWidth]int32
			for i := 0; i < len(acc); i += panelWidth {
				part := acc[i:min(i+panelWidth, len(acc))]
				for j, v := range part {
					sums[j] = int32(v)
				}
				finishCodes(1, len(part), sums[:], terms, nil, nil, nil, lo, hi, q.Zero, y[at+i:], panelWidth)
			}
		}, func(o, at int, acc int32) {
			finishCodesGeneric(1, 1, []int32{acc}, []finishRow{row(o)}, nil, nil, nil, lo, hi, q.Zero, y[at:], 1)
		})
		return
	}
	c.productInt8(p, x, xSigned, xzp, w, func(o int, t *finishRow) {
		t.scale = at(q.Scale, o)
		if len(bias) != 0 {
			t.add += bias[o]
		}
	}, func(rows, n, at int, acc []int32, terms []finishRow, u []int32) {
		finishCodes(rows, n, acc, terms, u, nil, nil, lo, hi, q.Zero, y[at:], c.plane)
	})
}

// productInt8 multiplies the weights of each group by the matrix of the inputs of each output
// position. Images are woven into words of four channels first, with x unsigned:
//
//	sum (w-zw)*(x-zx) = sum w*x - zx*sum w + terms*zw*zx - zw * sum x
//
// prepare, if given, completes what the end of the product needs of a channel.
func (c *convPlan) productInt8(p *Pool, x []byte, xSigned bool, xzp int32, w *PackedConvInt8, prepare func(o int, t *finishRow),
	finish func(rows, n, at int, acc []int32, terms []finishRow, u []int32),
) {
	s := c.s
	if s.Batch == 0 || c.plane == 0 {
		return
	}
	flip := byte(0)
	if xSigned {
		flip = 0x80
		xzp += 128
	}
	terms := make([]finishRow, s.OutC)
	for o := range terms {
		t := finishRow{add: -xzp * w.sum[o], bias: negativeZero}
		if w.zero != nil {
			t.add += int32(w.terms) * w.zero[o] * xzp
			t.p = -w.zero[o]
		}
		if prepare != nil {
			prepare(o, &t)
		}
		terms[o] = t
	}
	quads := (c.perIn + 3) / 4
	offs := c.offsets(quads)
	k4 := len(offs)
	var ones []uint32 // the row that sums the real channels of a column
	if w.zero != nil {
		ones = make([]uint32, k4)
		for l := range ones {
			ones[l] = 0x01010101 >> (8 * max(0, 4*(l/c.kernel)+4-c.perIn))
		}
	}
	left, wide := w.packed, leftWords()
	if wide > 1 {
		buf := borrow(8 * len(left))
		defer buf.release()
		left = buf.u32()[:2*len(w.packed)]
		widenLeft(left, w.packed, true)
		if ones != nil {
			ones = append(make([]uint32, k4), ones...)
			widenLeft(ones, ones[k4:], true)
		}
	}
	woven := borrow(4 * s.Group * quads * c.padPlane)
	defer woven.release()
	planes := woven.u32()[:s.Group*quads*c.padPlane]
	if s.OutC*c.plane*k4 < minTask {
		p = nil
	}
	cols := splitColumns(c.plane)
	panels := cols.panels()
	const mr = convRowsInt8
	rowPanelCount := (c.perOut + mr - 1) / mr
	parts := c.split(p, panels, mr)
	height := paddedRows(c.perOut, mr)
	for b := range s.Batch {
		image := x[b*s.InC*c.inPlane : (b+1)*s.InC*c.inPlane]
		p.For(s.Group*quads, 0, func(lo, hi int) {
			for t := lo; t < hi; t++ {
				first := t/quads*c.perIn + t%quads*4
				c.weave(planes[t*c.padPlane:(t+1)*c.padPlane], image[first*c.inPlane:], min(4, c.perIn-t%quads*4), flip, byte(xzp))
			}
		})
		p.For(s.Group*panels*parts, 1, func(lo, hi int) {
			buf := borrow(4 * (k4*panelWidth + (mr+1)*panelWidth))
			defer buf.release()
			words := buf.u32()[:k4*panelWidth]
			acc := buf.i32()[k4*panelWidth : (k4+mr)*panelWidth]
			sums := buf.i32()[(k4+mr)*panelWidth : (k4+mr+1)*panelWidth]
			for t := lo; t < hi; t++ {
				g, part := t/parts/panels, t%parts
				col, width := cols.panel(t / parts % panels)
				valid := min(width, c.plane-col)
				c.gatherPanel(words, width, planes[g*quads*c.padPlane:], offs, col, valid)
				panel := wordsAsBytes(words[:k4*width])
				var u []int32
				if ones != nil {
					tileInt8(true, 1, width, k4, ones, panel, sums, nil)
					u = sums
				}
				for r := rowPanelCount * part / parts; r < rowPanelCount*(part+1)/parts; r++ {
					rows := min(mr, c.perOut-r*mr)
					o := g*c.perOut + r*mr
					tileInt8(true, panelRows(rows, mr), width, k4, left[(g*height+r*mr)*k4*wide:], panel, acc, nil)
					finish(rows, valid, (b*s.OutC+o)*c.plane+col, acc, terms[o:], u)
				}
			}
		})
	}
}

// wordsAsBytes views words as their bytes.
func wordsAsBytes(x []uint32) []byte {
	if len(x) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), 4*len(x))
}

// weave writes the padded form of up to four planes of bytes as one plane of words, the bits of
// flip inverted; missing planes and the padding read as zero, which is given after the inversion.
func (c *convPlan) weave(dst []uint32, src []byte, channels int, flip, zero byte) {
	n := c.inPlane
	plane := func(i int) []byte { return src[min(i, channels-1)*n : (min(i, channels-1)+1)*n] }
	r0, r1, r2, r3 := plane(0), plane(1), plane(2), plane(3) // a missing one meets only zero weights
	pad(c, dst, uint32(zero)*0x01010101, func(dst []uint32, from, step int) {
		switch step {
		case 1:
			interleave4(dst, r0[from:], r1[from:], r2[from:], r3[from:], flip)
		case 2:
			var line [256]uint32
			for len(dst) > 0 {
				part := dst[:min(len(dst), len(line)/2)]
				every := line[:2*len(part)-1]
				interleave4(every, r0[from:], r1[from:], r2[from:], r3[from:], flip)
				everyOther(part, every)
				dst, from = dst[len(part):], from+2*len(part)
			}
		default:
			for i := range dst {
				x := from + i*step
				dst[i] = (uint32(r0[x]) | uint32(r1[x])<<8 | uint32(r2[x])<<16 | uint32(r3[x])<<24) ^ uint32(flip)*0x01010101
			}
		}
	})
}

func interleave4Generic(dst []uint32, r0, r1, r2, r3 []byte, flip byte) {
	n := len(dst)
	r0, r1, r2, r3 = r0[:n], r1[:n], r2[:n], r3[:n]
	for i := range dst {
		dst[i] = (uint32(r0[i]) | uint32(r1[i])<<8 | uint32(r2[i])<<16 | uint32(r3[i])<<24) ^ uint32(flip)*0x01010101
	}
}

// exactTaps is the number of products of two 9-bit differences whose sum float32 holds exactly:
// 2^24 / 255^2.
const exactTaps = 258

// depthwiseInt8 convolves plane by plane. Up to exactTaps products the sums are exact in float32, whose
// kernel it shares; store gets a plane of them. Beyond that each sum is made in integers for one.
func (c *convPlan) depthwiseInt8(p *Pool, x []byte, xSigned bool, xzp int32, w *PackedConvInt8, store func(o, at int, acc []float32), one func(o, at int, acc int32)) {
	if c.s.Batch == 0 || c.plane == 0 {
		return
	}
	if c.s.Batch*c.s.OutC*c.plane*c.kernel < minTask {
		p = nil
	}
	lower, upper := Activation{}.bounds()
	p.For(c.s.Batch*c.s.InC, 0, func(lo, hi int) {
		buf := borrow(4 * (c.inPlane + c.padPlane + c.plane))
		defer buf.release()
		flat := buf.f32()[:c.inPlane]
		planes := buf.f32()[c.inPlane : c.inPlane+c.padPlane]
		acc := buf.f32()[c.inPlane+c.padPlane : c.inPlane+c.padPlane+c.plane]
		for t := lo; t < hi; t++ {
			if xSigned {
				DequantizeS8(flat, x[t*c.inPlane:], 1, xzp)
			} else {
				DequantizeU8(flat, x[t*c.inPlane:], 1, xzp)
			}
			plane := flat
			if !c.asIs {
				c.padF32(planes, flat)
				plane = planes
			}
			for m := range c.perOut {
				o, at := t%c.s.InC*c.perOut+m, (t*c.perOut+m)*c.plane
				weights := w.exact[o*c.kernel : (o+1)*c.kernel]
				if c.kernel <= exactTaps {
					c.tapPlane(plane, weights, 0, lower, upper, acc)
					store(o, at, acc)
					continue
				}
				width := c.out[len(c.out)-1]
				for q := range c.plane {
					base := c.row(q/width) + q%width
					var sum int32
					for k, off := range c.tap {
						sum += int32(weights[k]) * int32(plane[base+off])
					}
					one(o, at+q, sum)
				}
			}
		}
	})
}

// viaChannelsLast calls run for each image of a batch, brought from channels first and back.
func viaChannelsLast[T any](p *Pool, s *ConvShape, x []byte, y []T, run func(one *ConvShape, x []byte, y []T)) {
	in, out := product(s.In), product(s.Out())
	if s.Batch*out == 0 {
		return
	}
	one := *s
	one.Batch = 1
	size := sizeOf[T]() * s.OutC * out
	buf := borrow(size + s.InC*in)
	defer buf.release()
	last, images := view[T](buf)[:s.OutC*out], buf.bytes()[size:size+s.InC*in]
	for b := range s.Batch {
		transposeOn(p, images, s.InC, x[b*s.InC*in:], in, s.InC, in)
		run(&one, images, last)
		transposeOn(p, y[b*s.OutC*out:], out, last, s.OutC, out, s.OutC)
	}
}

// transposeOn is Transpose on the threads of p.
func transposeOn[T any](p *Pool, dst []T, ldd int, src []T, lds, rows, cols int) {
	const strip = 64 // rows of src a task
	if rows*cols < 1<<15 {
		p = nil
	}
	p.For((rows+strip-1)/strip, 1, func(lo, hi int) {
		first, last := lo*strip, min(hi*strip, rows)
		Transpose(dst[first:], ldd, src[first*lds:], lds, last-first, cols)
	})
}
