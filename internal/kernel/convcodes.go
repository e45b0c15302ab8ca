package kernel

// AddedCodes are codes that are added to those of a convolution as [AddCodes] does: the result is quantized as Sum, what is added as
// Code. All are signed or all unsigned.
type AddedCodes struct {
	Codes     []byte // of the shape of the output
	Conv      Code   // of the convolution before the addition
	Code, Sum Code
	Second    bool // the convolution is the second operand: rounding depends on the order
}

// codesEnd is how sums of a convolution become codes, as kernels read it:
//
//	c = min(max(float32(s)*scale, lo), hi)
//	dst = (rne(c) + zero) ^ flip
//
// or, with o the other code, (o^otherFlip) - otherShift as a number,
//
//	t = fma(rne(c)+mid, ra, fma(o, rb, fixed))
//	dst = (rne(min(max(t, yLo), yHi)) + yShift) ^ flip
//
// zero and yShift are such that codes before flip are 0 to 255.
type codesEnd struct {
	lo, hi                float32
	zero                  int32
	flip                  uint32
	mid, ra, fixed, rb    float32
	otherFlip, otherShift uint32
	yLo, yHi              float32
	yShift                int32
	// Without other codes, small says that no sum times its scale leaves int32, so that
	//
	//	dst = min(max(sat(rne(float32(s)*scale) + zero), loByte), hiByte) ^ flip
	//
	// is the same; each value is repeated to fill a word.
	small                     int32
	zeroWords, loByte, hiByte uint32
	second                    uint32 // not 0: all lanes, and the other code is the first factor in t
}

func newCodesEnd(q *Requant, lo, hi float32, add *AddedCodes) codesEnd {
	e := codesEnd{lo: lo, hi: hi, zero: q.Zero}
	if q.Signed {
		e.zero, e.flip = q.Zero+128, 0x80808080
	}
	e.zeroWords = uint32(e.zero) * 0x10001
	e.loByte, e.hiByte = uint32(int32(lo)+e.zero)*0x1010101, uint32(int32(hi)+e.zero)*0x1010101
	if add == nil {
		e.small = 1
		for _, v := range q.Scale {
			if !(v > -0.5 && v < 0.5) {
				e.small = 0
			}
		}
		return e
	}
	ra, rb := add.Conv.Scale/add.Sum.Scale, add.Code.Scale/add.Sum.Scale
	e.fixed = addedZeros(&add.Sum, &add.Conv, &add.Code, ra, rb)
	if add.Second {
		ra, rb = rb, ra
		e.second = 0xffff
		e.fixed = addedZeros(&add.Sum, &add.Code, &add.Conv, ra, rb)
	}
	least, most := add.Sum.limits()
	e.mid, e.ra, e.rb = float32(q.Zero), ra, rb
	e.yLo, e.yHi = float32(least), float32(most)
	if q.Signed {
		e.otherFlip, e.otherShift, e.yShift = 0x80, 128, 128
	}
	return e
}

// codes computes the codes of one group where there is a kernel for strips; columns holds what is added to the sums of each
// channel. It reports whether there is.
func (c *nhwcPlan) codes(p *Pool, g int, image []byte, b *PackedInt8, columns []int32, scale []float32, end codesEnd, other, y []byte) bool {
	if !useStrips() || b.zero != nil {
		return false
	}
	c.strips(p, stripArgs{c: c, g: g, b: b, image: image, starts: columns, scale: scale, end: end, other: other, codes: y})
	return true
}

// inFloats is ConvInt8NHWCF32 in strips, where there is a kernel for them; it reports whether there is.
func (c *nhwcPlan) inFloats(p *Pool, x []byte, w *PackedConvNHWC, scale, bias []float32, lo, hi float32, y []float32) bool {
	if c.positions == 0 || !w.stripsOnly() {
		return false
	}
	image, buf := c.bring(p, x)
	if buf != nil {
		defer buf.release()
	}
	for g, b := range w.groups {
		padded := len(b.shift)
		columns := borrow(12 * padded)
		starts, factors, add := columns.i32()[:padded], columns.f32()[padded:][:padded], columns.f32()[2*padded:][:padded]
		c.columns(g, b, nil, starts)
		clear(factors)
		copy(factors, scale[g*c.perOut:(g+1)*c.perOut])
		fillWith(add, negativeZero)
		if len(bias) != 0 {
			copy(add, bias[g*c.perOut:(g+1)*c.perOut])
		}
		c.strips(p, stripArgs{c: c, g: g, b: b, image: image[g*c.perIn:], starts: starts, scale: factors, bias: add, lo: lo, hi: hi, floats: y})
		columns.release()
	}
	return true
}

var stripping Jobs[stripArgs]

// stripArgs are the strips of one group of a convolution: codes, or floats where these are given.
type stripArgs struct {
	c            *nhwcPlan
	g            int
	b            *PackedInt8
	image        []byte
	starts       []int32   // what is added to the sums of each channel
	scale        []float32 // of each channel
	rows, parts  int       // of a task
	end          codesEnd
	other, codes []byte
	bias, floats []float32
	lo, hi       float32
}

// strips computes every block of output positions times panel of channels of a group.
func (c *nhwcPlan) strips(p *Pool, a stripArgs) {
	a.rows, a.parts = c.split.of(p.Threads(), c.positions, a.b.cols.panels(), c.runs.words*c.runs.count)
	rowTasks := (c.positions + a.rows - 1) / a.rows
	if rowTasks*a.parts == 1 {
		p = nil
	}
	stripping.For(p, rowTasks*a.parts, 1, a, (*stripArgs).tasks)
}

func (a *stripArgs) tasks(lo, hi int) {
	c, b := a.c, a.b
	panels, words, ldy := b.cols.panels(), c.runs.words, c.s.OutC
	buf := borrow(8 * (a.rows + stripRows))
	defer buf.release()
	starts := view[int](buf)[:a.rows+stripRows]
	prepared, reach := -1, 0
	for t := lo; t < hi; t++ {
		i0 := t / a.parts * a.rows
		count := min(a.rows, c.positions-i0)
		if prepared != i0 {
			reach = c.starts(starts, i0, i0+count)
			prepared = i0
		}
		for i := t % a.parts * panels / a.parts; i < (t%a.parts+1)*panels/a.parts; i++ {
			data, col, width := b.panel(i)
			n, at := min(width, b.cols.n-col), i0*ldy+a.g*c.perOut+col
			if a.floats != nil {
				stripFloats(count, n, width, words, a.image, starts, c.offs, reach, data, a.starts[col:], a.scale[col:], a.bias[col:], a.lo, a.hi, a.floats[at:], nil, ldy)
			} else {
				strip(count, n, width, words, a.image, starts, c.offs, reach, data, a.starts[col:], a.scale[col:], &a.end, a.codes[at:], tail(a.other, at), ldy)
			}
		}
	}
}

// endWords is about how many words of a sum its end takes as long as.
const endWords = 16

// stripRows is the most rows that a strip takes at a time.
const stripRows = 8

// starts lists where output positions [i0, i1) begin, and the last one again to fill up a tile. It returns where the last run of
// them begins.
func (c *nhwcPlan) starts(starts []int, i0, i1 int) (reach int) {
	last := len(c.out) - 1
	width, step := c.out[last], axisOr(c.s.Stride, last, 1)*c.step[last]
	lowest, highest := c.position(i0), 0
	for i := i0; i < i1; {
		at := c.position(i)
		row := starts[i-i0 : min(i1, i+width-i%width)-i0]
		lowest = min(lowest, at)
		for k := range row {
			row[k] = at
			at += step
		}
		highest = max(highest, at-step)
		i += len(row)
	}
	for i := i1 - i0; i < len(starts); i++ {
		starts[i] = starts[i1-i0-1]
	}
	if lowest+c.nearest < 0 {
		panic("kernel: strip of a convolution: it begins before the image")
	}
	return highest + c.farthest
}

// checkStrip panics unless all that strip reads and writes is there; dst may be nil where it is checked elsewhere. reach is that of
// the rows.
func checkStrip(count, n, width, words int, src []byte, rows, offs []int, reach int, b []byte, start []int32, scale []float32, dst, other []byte, ldd int) {
	if count < 1 || len(rows) < count+stripRows-1 || words < 1 || n < 1 || n > width {
		panic("kernel: strip of a convolution: not a strip")
	}
	needLen("strip source", len(src), reach+4*words)
	needLen("strip weights", len(b), len(offs)*words*4*width)
	needLen("strip starts", len(start), width)
	needLen("strip scales", len(scale), width)
	if dst != nil {
		need("strip destination", len(dst), count, n, ldd)
	}
	if other != nil {
		need("strip of added codes", len(other), count, n, ldd)
	}
}

// stripGeneric is the definition of strip: for i < count and j < n
//
//	s = start[j] + sum over r, l < words, t < 4 of src[rows[i]+offs[r]+4*l+t]*b[((r*words+l)*width+j)*4+t]
//
// with src unsigned and b signed bytes becomes dst[i*ldd+j] as codesEnd says, with other[i*ldd+j] unless other is nil.
func stripGeneric(count, n, width, words int, src []byte, rows, offs []int, b []byte, start []int32, scale []float32, end *codesEnd, dst, other []byte, ldd int) {
	for i := range count {
		for j := range n {
			s := start[j]
			for r, off := range offs {
				line := src[rows[i]+off:][:4*words]
				for k, v := range line {
					s += int32(v) * int32(int8(b[((r*words+k/4)*width+j)*4+k%4]))
				}
			}
			c := roundCode(float32(s)*scale[j], end.lo, end.hi)
			if other == nil {
				dst[i*ldd+j] = byte(c+end.zero) ^ byte(end.flip)
				continue
			}
			o := int32(uint32(other[i*ldd+j])^end.otherFlip) - int32(end.otherShift)
			x, y := float32(c)+end.mid, float32(o)
			if end.second != 0 {
				x, y = y, x
			}
			t := fma(x, end.ra, fma(y, end.rb, end.fixed))
			dst[i*ldd+j] = byte(roundCode(t, end.yLo, end.yHi)+end.yShift) ^ byte(end.flip)
		}
	}
}
