package kernel

// Depthwise convolutions of channels-last images: neighbouring channels are neighbouring lanes, and every tap is a
// run of channels.

// depthwiseInt8 holds the 8-bit weights of a depthwise convolution with one output per channel.
type depthwiseInt8 struct {
	channels, taps int
	padded         int     // channels rounded up to whole vectors
	exact          []int32 // [tap][padded]: weights less their zero points
	sum            []int32 // per channel
	// If every weight less its zero point is a signed byte: blocks of 64 channels; in a block, for every four taps,
	// four vectors of the taps' bytes side by side, in the order of blockLane.
	quads []byte
	// And for kernels of up to 3x3: blocks of 64 channels; in a block, for each of three columns of taps, four vectors of the
	// column's bytes, as in quads.
	slide []byte
}

const channelBlock = 64

// blockLane is the channel of a block that lane i of vector v of four holds: what weaving the bytes of four taps within
// 128-bit lanes makes of 64 channels.
func blockLane(v, i int) int { return i/4*16 + v*4 + i%4 }

func packDepthwiseInt8(s *ConvShape, w []byte, signed bool, wzp []int32) *depthwiseInt8 {
	taps := product(s.Kernel)
	d := &depthwiseInt8{channels: s.InC, taps: taps, padded: (s.InC + 15) &^ 15, sum: make([]int32, s.InC)}
	d.exact = make([]int32, taps*d.padded)
	narrow := true
	for c := range s.InC {
		for t := range taps {
			v := int32(w[c*taps+t])
			if signed {
				v = int32(int8(w[c*taps+t]))
			}
			v -= at(wzp, c)
			narrow = narrow && v == int32(int8(v))
			d.exact[t*d.padded+c] = v
			d.sum[c] += v
		}
	}
	if narrow {
		count := (taps + 3) / 4
		d.quads = make([]byte, (s.InC+channelBlock-1)/channelBlock*count*4*channelBlock)
		for c := range s.InC {
			block := d.quads[c/channelBlock*count*4*channelBlock:]
			lane, v, word := c%channelBlock/16, c%16/4, c%4
			for t := range taps {
				block[(t/4*4+v)*64+(lane*4+word)*4+t%4] = byte(d.exact[t*d.padded+c])
			}
		}
		if len(s.Kernel) == 2 && s.Kernel[0] <= 3 && s.Kernel[1] <= 3 && axisOr(s.Dilation, 1, 1) == 1 && axisOr(s.Stride, 1, 1) <= 2 {
			d.slide = make([]byte, (s.InC+channelBlock-1)/channelBlock*slideBytes)
			for c := range s.InC {
				block := d.slide[c/channelBlock*slideBytes:]
				lane, v, word := c%channelBlock/16, c%16/4, c%4
				for t := range taps {
					y, x := t/s.Kernel[1], t%s.Kernel[1]
					block[(x*4+v)*64+(lane*4+word)*4+y] = byte(d.exact[t*d.padded+c])
				}
			}
		}
	}
	return d
}

// slideBytes are the weights of a block of channels for depthwiseSlide.
const slideBytes = 3 * 4 * channelBlock

// tapRows calls f for every run of output positions along the last axis: where its input begins, its first output position,
// their number, and the bytes between the inputs of neighbours.
func (c *nhwcPlan) tapRows(p *Pool, work int, f func(from, first, count, step int)) {
	last := len(c.out) - 1
	width := c.out[last]
	rows := c.positions / width
	if work < 2*minTask {
		p = nil
	}
	p.For(rows, max(1, rows/(8*p.Threads())), func(lo, hi int) {
		for r := lo; r < hi; r++ {
			f(c.position(r*width), r*width, width, axisOr(c.s.Stride, last, 1)*c.step[last])
		}
	})
}

// depthwise computes the exact sums in tiles of up to 48 channels.
func (c *nhwcPlan) depthwise(p *Pool, x []byte, d *depthwiseInt8, bias []int32, scale []float32, finish finishTile) {
	const rows = 8
	image, buf := c.bring(p, x)
	if buf != nil {
		defer buf.release()
	}
	columns := borrow(4 * d.padded)
	defer columns.release()
	whole := columns.i32()[:d.padded]
	d.columns(whole, c.zero, bias)
	c.tapRows(p, c.positions*d.channels*d.taps, func(from, first, count, step int) {
		buf := borrow(4 * rows * panelWidth)
		defer buf.release()
		acc := buf.i32()[:rows*panelWidth]
		for i := 0; i < count; i += rows {
			valid := min(rows, count-i)
			for ch := 0; ch < d.channels; ch += panelWidth {
				n := min(panelWidth, d.channels-ch)
				tapsInt8(valid, n, image[from+i*step+ch:], step, c.offs, d.exact[ch:], d.padded, acc)
				var factors []float32
				if scale != nil {
					factors = scale[ch:]
				}
				finish(valid, n, (first+i)*d.channels+ch, acc, nil, whole[ch:], nil, factors)
			}
		}
	})
}

// depthwiseExact computes codes from the exact sums.
func (c *nhwcPlan) depthwiseExact(p *Pool, x []byte, d *depthwiseInt8, bias []int32, scale []float32, lo, hi float32, zero int32, y []byte) {
	c.depthwise(p, x, d, bias, scale, func(rows, n, at int, acc []int32, terms []finishRow, u, v []int32, scale []float32) {
		finishCodes(rows, n, acc, terms, u, v, scale, lo, hi, zero, y[at:], c.s.OutC)
	})
}

// columns sets dst[c] to what is added to the sums of channel c: bias - zero*sum of the weights.
func (d *depthwiseInt8) columns(dst []int32, zero int32, bias []int32) {
	for ch, sum := range d.sum {
		dst[ch] = -zero * sum
	}
	for ch, v := range bias {
		dst[ch] += v
	}
	clear(dst[d.channels:])
}

// depthwiseCodes computes codes in blocks of 64 channels where there is a kernel for that; it reports whether there is.
func (c *nhwcPlan) depthwiseCodes(p *Pool, x []byte, d *depthwiseInt8, bias []int32, scale []float32, q *Requant, lo, hi float32, y []byte) bool {
	if d.quads == nil || !useDepthwiseBlocks() {
		return false
	}
	blocks := (d.channels + channelBlock - 1) / channelBlock
	buf := borrow(4 * (d.padded + 2*blocks*channelBlock))
	defer buf.release()
	whole := buf.i32()[:d.padded]
	d.columns(whole, c.zero, bias)
	starts := buf.i32()[d.padded:][:blocks*channelBlock]
	factors := buf.f32()[d.padded+blocks*channelBlock:][:blocks*channelBlock]
	for b := range blocks {
		for v := range 4 {
			for i := range 16 {
				at, ch := b*channelBlock+v*16+i, b*channelBlock+blockLane(v, i)
				starts[at], factors[at] = 0, 0
				if ch < d.channels {
					starts[at], factors[at] = whole[ch], scale[ch]
				}
			}
		}
	}
	quads := (d.taps + 3) / 4
	list := Borrow[int](4 * quads)
	defer list.Release()
	offs := list.Data
	for t := range offs {
		offs[t] = c.offs[min(t, d.taps-1)] // beyond the taps weights are zero
	}
	a := depthArgs{
		c: c, d: d, starts: starts, factors: factors, offs: offs, lo: lo, hi: hi, zero: q.Zero, y: y,
		end: newCodesEnd(&Requant{Scale: scale, Zero: q.Zero, Signed: q.Signed}, lo, hi, nil),
	}
	a.slides = d.slide != nil && a.end.small != 0 && c.room(3, 3)
	rows := c.positions / c.out[len(c.out)-1]
	if c.positions*d.channels*d.taps < 2*minTask {
		p = nil
	}
	grain := max(1, rows/(8*p.Threads()))
	if c.padded && len(c.out) == 2 {
		a.brings = c.bringer(x, nil)
		grain = max(2*grain, min(4, (rows+p.Threads()-1)/p.Threads())) // each chunk brings rows of its neighbour as well
	} else {
		image, buf := c.bring(p, x)
		if buf != nil {
			defer buf.release()
		}
		a.image = image
	}
	deep.For(p, rows, grain, a, (*depthArgs).rows)
	return true
}

var deep Jobs[depthArgs]

// depthArgs is a depthwise convolution of codes in blocks of channels.
type depthArgs struct {
	c       *nhwcPlan
	d       *depthwiseInt8
	image   []byte    // nil: rows are brought as they are needed
	brings  bringArgs // by which
	starts  []int32
	factors []float32
	offs    []int
	end     codesEnd
	lo, hi  float32
	zero    int32
	slides  bool
	y       []byte
}

// broughtBytes is about how much of an image is brought at a time: it stays in the second-level cache until it is read.
const broughtBytes = 1 << 17

// rows computes rows [lo, hi) of outputs.
func (a *depthArgs) rows(lo, hi int) {
	if a.image != nil {
		a.compute(a.image, 0, lo, hi)
		return
	}
	s, high, row := a.c.s, a.c.out[0], a.brings.row
	stride, span := axisOr(s.Stride, 0, 1), axisOr(s.Dilation, 0, 1)*(s.Kernel[0]-1)+1
	most := max(4, broughtBytes/(stride*row))
	buf := borrow(((min(most, hi-lo)-1)*stride+span)*row + 4)
	defer buf.release()
	brings := a.brings
	brings.dst = buf.bytes()
	for n := 0; lo < hi; lo += n {
		n = min(most, hi-lo, high-lo%high)
		brings.first = lo/high*(a.c.image/row) + lo%high*stride
		brings.rows(brings.first, brings.first+(n-1)*stride+span)
		a.compute(brings.dst, brings.first*row, lo, lo+n)
	}
}

// compute computes rows [lo, hi) of outputs from images of which the first bytes are left out.
func (a *depthArgs) compute(image []byte, leftOut, lo, hi int) {
	c, d := a.c, a.d
	last := len(c.out) - 1
	count, step := c.out[last], axisOr(c.s.Stride, last, 1)*c.step[last]
	for r := lo; r < hi; r++ {
		from, first := c.position(r*count)-leftOut, r*count
		for ch := 0; ch < d.channels; ch += channelBlock {
			n := min(channelBlock, d.channels-ch)
			if a.slides {
				depthwiseSlide(axisOr(c.s.Stride, 1, 1), count, n, image[from+ch:], c.step[1], axisOr(c.s.Dilation, 0, 1)*c.step[0], d.slide[ch/channelBlock*slideBytes:],
					a.starts[ch:ch+channelBlock], a.factors[ch:ch+channelBlock], &a.end, a.y[first*d.channels+ch:], d.channels)
				continue
			}
			depthwiseBlock(count, n, image[from+ch:], step, a.offs, d.quads[ch*len(a.offs):],
				a.starts[ch:ch+channelBlock], a.factors[ch:ch+channelBlock], a.lo, a.hi, a.zero, a.y[first*d.channels+ch:], d.channels)
		}
	}
}

// room reports whether every output position has a window of rows x cols pixels in the padded image.
func (c *nhwcPlan) room(rows, cols int) bool {
	for i, k := range []int{rows, cols} {
		size := c.s.In[i] + axisOr(c.s.PadBegin, i, 0) + axisOr(c.s.PadEnd, i, 0)
		if (c.out[i]-1)*axisOr(c.s.Stride, i, 1)+axisOr(c.s.Dilation, i, 1)*(k-1) >= size {
			return false
		}
	}
	return true
}

// tapsInt8Generic sets c[i*48+j] to the sum over t of src[i*step+offs[t]+j]*w[t*ldw+j], for rows x n.
func tapsInt8Generic(rows, n int, src []byte, step int, offs []int, w []int32, ldw int, c []int32) {
	for i := range rows {
		row := c[i*panelWidth : i*panelWidth+n]
		clear(row)
		for t, off := range offs {
			line := src[i*step+off:][:n]
			for j, v := range line {
				row[j] += int32(v) * w[t*ldw+j]
			}
		}
	}
}

// PackedDepthwiseF32 holds the float32 weights of a depthwise convolution over channels-last images. It is read-only and may be used
// by several goroutines.
type PackedDepthwiseF32 struct {
	channels, padded int
	w                []float32 // [tap][padded]
	plans            lastPlan[borders]
}

// PackDepthwiseF32 packs weights laid out [InC, 1, Kernel...] of a convolution whose InC, OutC and Group are equal. w is not
// referenced afterwards.
func PackDepthwiseF32(s *ConvShape, w []float32) *PackedDepthwiseF32 {
	s.check()
	if s.InC != s.Group || s.OutC != s.Group {
		panic("kernel: not a depthwise convolution with one output per channel")
	}
	taps := product(s.Kernel)
	needLen("convolution weights", len(w), s.InC*taps)
	d := &PackedDepthwiseF32{channels: s.InC, padded: (s.InC + 15) &^ 15}
	d.w = make([]float32, taps*d.padded)
	d.fill(s, w)
	return d
}

func (d *PackedDepthwiseF32) fill(s *ConvShape, w []float32) {
	taps := product(s.Kernel)
	for c := range s.InC {
		for t := range taps {
			d.w[t*d.padded+c] = w[c*taps+t]
		}
	}
}

// DepthwiseF32NHWC is ConvF32 of a depthwise convolution for channels-last images: x is [Batch, In..., InC], y [Batch, Out()..., InC].
func DepthwiseF32NHWC(p *Pool, s *ConvShape, x []float32, w *PackedDepthwiseF32, bias, y []float32) {
	checkConv(s, len(x), len(y), len(bias))
	if s.InC != w.channels || s.OutC != w.channels || s.Group != w.channels {
		panic("kernel: weights are packed for another depthwise convolution")
	}
	c := w.plans.of(s, false, 0, planBorders)
	if c.positions == 0 {
		return
	}
	start := borrow(4 * w.padded)
	defer start.release()
	add := start.f32()[:w.padded]
	fillWith(add, negativeZero)
	copy(add, bias[:min(len(bias), w.channels)])
	lo, hi := s.Activation.bounds()
	rows := c.positions / c.width
	if c.positions*w.channels*product(s.Kernel) < 2*minTask {
		p = nil
	}
	deepF32.For(p, rows, max(1, rows/(8*p.Threads())), depthF32Args{c, w, x, add, y, lo, hi}, (*depthF32Args).rows)
}

var deepF32 Jobs[depthF32Args]

type depthF32Args struct {
	c         *borders
	w         *PackedDepthwiseF32
	x, add, y []float32
	lo, hi    float32
}

func (a *depthF32Args) rows(first, last int) {
	c, w := a.c, a.w
	list := Borrow[int](2 * product(c.s.Kernel))
	defer list.Release()
	taps := list.Data
	for r := first; r < last; r++ {
		for _, piece := range c.pieces {
			y := a.y[(r*c.width+piece.first)*w.channels:]
			count := c.taps(r, piece, taps, w.padded)
			if count == 0 { // the kernel lies beside the image
				none := Borrow[float32]((w.channels + 15) &^ 15)
				clear(none.Data)
				taps := []int{0, 0}
				tapsF32(piece.count, w.channels, none.Data, 0, taps[:1], taps[1:], none.Data, a.add, a.lo, a.hi, y, w.channels)
				none.Release()
				continue
			}
			tapsF32(piece.count, w.channels, a.x, c.step, taps[:count], taps[count:2*count], w.w, a.add, a.lo, a.hi, y, w.channels)
		}
	}
}

// borders is where the inputs of a convolution over channels-last images lie without pads: rows of outputs come in pieces whose
// positions have the same taps inside of the image.
type borders struct {
	s         *ConvShape
	out       []int
	width     int // outputs of a row
	step      int // elements between the inputs of neighbours in a row
	positions int
	pieces    []rowPiece
}

// rowPiece is count positions of a row from first on, which have taps [lo, hi) of the last axis.
type rowPiece struct{ first, count, lo, hi int }

func planBorders(s *ConvShape, _ bool, _ int32) *borders {
	if len(s.In) > 8 {
		panic("kernel: convolution over more than 8 axes")
	}
	last := len(s.In) - 1
	c := &borders{s: s, out: s.Out(), step: axisOr(s.Stride, last, 1) * s.InC}
	c.width = c.out[last]
	c.positions = s.Batch * product(c.out)
	for q := range c.width {
		lo, hi := c.inside(last, q)
		if n := len(c.pieces); n > 0 && c.pieces[n-1].lo == lo && c.pieces[n-1].hi == hi {
			c.pieces[n-1].count++
		} else {
			c.pieces = append(c.pieces, rowPiece{q, 1, lo, hi})
		}
	}
	return c
}

// inside returns which taps of an axis lie inside of the image for output q.
func (c *borders) inside(axis, q int) (lo, hi int) {
	first, dilation := q*axisOr(c.s.Stride, axis, 1)-axisOr(c.s.PadBegin, axis, 0), axisOr(c.s.Dilation, axis, 1)
	if first < 0 {
		lo = (-first + dilation - 1) / dilation
	}
	hi = min(c.s.Kernel[axis], (max(c.s.In[axis]-first, 0)+dilation-1)/dilation)
	return min(lo, hi), hi
}

// taps lists, for a piece of row r of the batch, the offsets of its first position's taps in the images and then those of their
// weights, ldw apart; it returns the number of taps.
func (c *borders) taps(r int, piece rowPiece, list []int, ldw int) int {
	last := len(c.out) - 1
	count := piece.hi - piece.lo
	at, stride := 0, c.s.InC // of the first taps of the axes so far
	index, taps := 0, 1
	var lo, n, start, jump, weight [8]int
	rest := r
	for i := last; i >= 0; i-- {
		q := piece.first
		if i < last {
			q = rest % c.out[i]
			rest /= c.out[i]
		}
		l, h := c.inside(i, q)
		if i == last {
			l, h = piece.lo, piece.hi
		}
		lo[i], n[i] = l, h-l
		start[i] = (q*axisOr(c.s.Stride, i, 1) - axisOr(c.s.PadBegin, i, 0)) * stride
		jump[i], weight[i] = axisOr(c.s.Dilation, i, 1)*stride, taps
		at += start[i] + l*jump[i]
		index += l * taps
		stride *= c.s.In[i]
		taps *= c.s.Kernel[i]
		if i < last {
			count *= h - l
		}
	}
	at += rest * stride // the image of the batch
	for t := range count {
		a, w, k := at, index, t
		for i := last; i >= 0; i-- {
			a += k % n[i] * jump[i]
			w += k % n[i] * weight[i]
			k /= n[i]
		}
		list[t], list[count+t] = a, w*ldw
	}
	return count
}

// tapsF32Generic sets dst[i*ldd+j] to the clipped sum of start[j] and src[i*step+offs[t]+j]*w[woffs[t]+j] over t, for rows x n.
func tapsF32Generic(rows, n int, src []float32, step int, offs, woffs []int, w, start []float32, lo, hi float32, dst []float32, ldd int) {
	for i := range rows {
		for j := range n {
			v := start[j]
			for t, off := range offs {
				v += src[i*step+off+j] * w[woffs[t]+j]
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
