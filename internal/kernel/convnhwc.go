package kernel

import (
	"encoding/binary"
	"slices"
	"unsafe"
)

// Convolutions of 8-bit images whose channels lie together (NHWC): the bytes that one output reads are runs of
// the image, so that the products read them where they lie, and nothing is gathered. A copy is made only to
// pad the image, to bring signed bytes into the unsigned domain, or where runs are not whole words.

// PackedConvNHWC holds the 8-bit weights of a convolution over channels-last images in the order in which the
// kernels read them. It is read-only and may be used by several goroutines.
type PackedConvNHWC struct {
	groups []*PackedInt8 // one right operand per group: runs of words times output channels
	depth  *depthwiseInt8
	terms  int // products in the sum of one output
	plans  lastPlan[nhwcPlan]
}

// PrefersChannelsLast reports whether a convolution is faster on channels-last images: its output channels fill vectors.
func PrefersChannelsLast(s *ConvShape) bool {
	perOut := s.OutC / s.Group
	return perOut >= 8 || perOut == 1 && s.depthwise() && s.OutC >= 8
}

// runShape is how the input of one output position falls into runs of bytes that lie together: a whole row of taps where that
// is so, otherwise a tap's channels.
type runShape struct {
	bytes, words int // of a run
	taps         int // of the last axis in a run
	count        int // of runs
}

func (s *ConvShape) runs() runShape {
	last := len(s.Kernel) - 1
	r := runShape{bytes: s.InC / s.Group, taps: 1, count: product(s.Kernel)}
	if s.Group == 1 && axisOr(s.Dilation, last, 1) == 1 {
		r.taps = s.Kernel[last]
		r.bytes *= r.taps
		r.count /= r.taps
	}
	r.words = (r.bytes + 3) / 4
	return r
}

// PackConvNHWC packs the weights of s, laid out [OutC, InC/Group, Kernel...] as for PackConvInt8. Batch, In and
// pads of s do not matter. w and wzp are not referenced afterwards.
func PackConvNHWC(s *ConvShape, w []byte, signed bool, wzp []int32, where ...Storage) *PackedConvNHWC {
	s.check()
	perIn, perOut, kernel := s.InC/s.Group, s.OutC/s.Group, product(s.Kernel)
	q := &PackedConvNHWC{terms: perIn * kernel}
	needLen("convolution weights", len(w), s.OutC*q.terms)
	checkBroadcast("convolution weight zero point", len(wzp), s.OutC, true)
	if s.depthwise() && perOut == 1 {
		q.depth = packDepthwiseInt8(s, w, signed, wzp)
		return q
	}
	runs := s.runs()
	k := 4 * runs.words * runs.count
	b := make([]byte, k*perOut)
	for g := range s.Group {
		fill := byte(0)
		if !signed {
			fill = 0x80 // zero in the signed domain
		}
		for i := range b {
			b[i] = fill
		}
		for o := range perOut {
			row := b[o*k : (o+1)*k]
			from := w[(g*perOut+o)*q.terms:]
			for c := range perIn {
				for t := range kernel {
					row[t/runs.taps*4*runs.words+t%runs.taps*perIn+c] = from[c*kernel+t]
				}
			}
		}
		zero := wzp
		if len(wzp) > 1 {
			zero = wzp[g*perOut : (g+1)*perOut]
		}
		packed := PackInt8(k, perOut, b, k, signed, true, zero, where...)
		for j, z := range packed.zero { // the bytes that fill up a run are no terms of the sum
			packed.shift[j] += int32(q.terms-k) * z
		}
		q.groups = append(q.groups, packed)
	}
	return q
}

// nhwcPlan is where everything lies in a convolution over channels-last images.
type nhwcPlan struct {
	s         *ConvShape
	out       []int
	plane     int // output positions of an image
	runs      runShape
	offs      []int // of each run from the first byte of an output position
	nearest   int   // the least and the greatest of them
	farthest  int
	step      []int // bytes between neighbours along each axis
	image     int   // bytes of a padded image
	padded    bool
	xSigned   bool
	zero      int32 // of x in the unsigned domain
	perOut    int
	perIn     int
	positions int // output positions of the batch
	split     lastSplit
}

func planNHWC(s *ConvShape, xSigned bool, xzp int32) *nhwcPlan {
	last := len(s.In) - 1
	c := &nhwcPlan{s: s, out: s.Out(), runs: s.runs(), step: make([]int, last+1), xSigned: xSigned, zero: xzp, perOut: s.OutC / s.Group, perIn: s.InC / s.Group}
	c.plane = product(c.out)
	c.positions = s.Batch * c.plane
	depthwise := s.depthwise() && c.perOut == 1 // reads whole pixels
	c.padded = xSigned || c.runs.bytes%4 != 0 && !depthwise
	if xSigned {
		c.zero += 128
	}
	c.image = s.InC
	for i := last; i >= 0; i-- {
		before, after := axisOr(s.PadBegin, i, 0), axisOr(s.PadEnd, i, 0)
		c.padded = c.padded || before+after > 0
		c.step[i] = c.image
		c.image *= s.In[i] + before + after
	}
	kernel := append([]int(nil), s.Kernel...)
	kernel[last] /= c.runs.taps
	c.offs = make([]int, c.runs.count)
	for r := range c.offs {
		rest := r
		for i := last; i >= 0; i-- {
			c.offs[r] += rest % kernel[i] * axisOr(s.Dilation, i, 1) * c.step[i]
			rest /= kernel[i]
		}
	}
	if len(c.offs) > 0 {
		c.nearest, c.farthest = slices.Min(c.offs), slices.Max(c.offs)
	}
	return c
}

// position is the offset of the first byte that output position o of the batch reads, in the first group.
func (c *nhwcPlan) position(o int) int {
	b := o / c.plane
	o %= c.plane
	at := b * c.image
	for i := len(c.out) - 1; i >= 0; i-- {
		at += o % c.out[i] * axisOr(c.s.Stride, i, 1) * c.step[i]
		o /= c.out[i]
	}
	return at
}

// bring returns the images as the kernels read them, and the buffer to be released, if any.
func (c *nhwcPlan) bring(p *Pool, x []byte) ([]byte, *buffer) {
	s := c.s
	if !c.padded {
		return x, nil
	}
	buf := borrow(s.Batch*c.image + 4)
	dst := buf.bytes()[:s.Batch*c.image+4]
	a := c.bringer(x, dst)
	rows := 0
	if a.row > 0 {
		rows = s.Batch * c.image / a.row
	}
	if rows*a.row < 1<<15 {
		p = nil
	}
	bringing.For(p, rows, max(1, (1<<14)/max(a.row, 1)), a, (*bringArgs).rows)
	return dst, buf
}

// bringer copies rows of padded images to dst.
func (c *nhwcPlan) bringer(x, dst []byte) bringArgs {
	s, last := c.s, len(c.s.In)-1
	return bringArgs{
		c: c, x: x, dst: dst, line: s.In[last] * s.InC, before: axisOr(s.PadBegin, last, 0) * s.InC,
		row: (s.In[last] + axisOr(s.PadBegin, last, 0) + axisOr(s.PadEnd, last, 0)) * s.InC,
	}
}

var bringing Jobs[bringArgs]

type bringArgs struct {
	c                 *nhwcPlan
	x, dst            []byte
	line, before, row int // bytes of a row as given, of the pad before it, and of it all
	first             int // the row that dst begins with
}

// rows copies rows of padded images.
func (a *bringArgs) rows(lo, hi int) {
	c, s := a.c, a.c.s
	last := len(s.In) - 1
	for r := lo; r < hi; r++ {
		to := a.dst[(r-a.first)*a.row : (r-a.first+1)*a.row]
		from, rest, inside, size := 0, r, true, 1
		for i := last - 1; i >= 0; i-- {
			n := s.In[i] + axisOr(s.PadBegin, i, 0) + axisOr(s.PadEnd, i, 0)
			at := rest%n - axisOr(s.PadBegin, i, 0)
			rest /= n
			inside = inside && at >= 0 && at < s.In[i]
			from += at * size
			size *= s.In[i]
		}
		if !inside || a.line == 0 {
			fillWith(to, byte(c.zero))
			continue
		}
		from = (rest*size + from) * a.line
		fillWith(to[:a.before], byte(c.zero))
		fillWith(to[a.before+a.line:], byte(c.zero))
		if c.xSigned {
			flipBytes(to[a.before:a.before+a.line], a.x[from:from+a.line])
		} else {
			copy(to[a.before:a.before+a.line], a.x[from:from+a.line])
		}
	}
}

// flipBytes copies signed bytes to the unsigned domain.
func flipBytes(dst, src []byte) {
	i := 0
	for ; i+8 <= len(dst); i += 8 {
		binary.LittleEndian.PutUint64(dst[i:], binary.LittleEndian.Uint64(src[i:])^0x8080808080808080)
	}
	for ; i < len(dst); i++ {
		dst[i] = src[i] ^ 0x80
	}
}

// ConvInt8NHWC is ConvInt8 for channels-last images: x is [Batch, In..., InC], y [Batch, Out()..., OutC].
func ConvInt8NHWC(p *Pool, s *ConvShape, x []byte, xSigned bool, xzp int32, w *PackedConvNHWC, y []int32) {
	checkConv(s, len(x), len(y), 0)
	c := w.plans.of(s, xSigned, xzp, planNHWC)
	c.run(p, x, w, nil, nil, func(rows, n, at int, acc []int32, terms []finishRow, u, v []int32, _ []float32) {
		finishInt32(rows, n, acc, terms, u, v, y[at:], s.OutC)
	})
}

// ConvInt8NHWCF32 is ConvInt8F32 for channels-last images.
func ConvInt8NHWCF32(p *Pool, s *ConvShape, x []byte, xSigned bool, xzp int32, xScale float32, w *PackedConvNHWC, wScale, bias []float32, y []float32) {
	checkConv(s, len(x), len(y), len(bias))
	checkBroadcast("convolution weight scale", len(wScale), s.OutC, false)
	c := w.plans.of(s, xSigned, xzp, planNHWC)
	lo, hi := s.Activation.bounds()
	full := Borrow[float32](s.OutC)
	defer full.Release()
	scale := full.Data
	for o := range scale {
		scale[o] = xScale * at(wScale, o)
	}
	if c.inFloats(p, x, w, scale, bias, lo, hi, y) {
		return
	}
	c.tilesInFloats(p, x, w, scale, bias, lo, hi, y)
}

// tilesInFloats is inFloats where there is no kernel for strips.
func (c *nhwcPlan) tilesInFloats(p *Pool, x []byte, w *PackedConvNHWC, scale, bias []float32, lo, hi float32, y []float32) {
	s := c.s
	c.run(p, x, w, nil, scale, func(rows, n, at int, acc []int32, terms []finishRow, u, v []int32, scale []float32) {
		var add []float32
		if len(bias) != 0 {
			add = bias[at%s.OutC:]
		}
		finishF32(rows, n, acc, terms, u, v, scale, add, lo, hi, y[at:], s.OutC)
	})
}

// ConvInt8NHWCRequant is ConvInt8Requant for channels-last images: ONNX QLinearConv between transposes. With add the codes are then
// added to others, which may be in y.
func ConvInt8NHWCRequant(p *Pool, s *ConvShape, x []byte, xSigned bool, xzp int32, w *PackedConvNHWC, bias []int32, q *Requant, add *AddedCodes, y []byte) {
	checkConv(s, len(x), len(y), len(bias))
	lo, hi := q.check(s.OutC)
	var other []byte
	if add != nil {
		checkCodes(&add.Sum, &add.Conv, &add.Code)
		needLen("added codes", len(add.Codes), len(y))
		if add.Conv.Signed != q.Signed || add.Conv.Zero != q.Zero {
			panic("kernel: codes are added to those of another convolution")
		}
		other = add.Codes
		if !w.stripsOnly() {
			codes, done := apart(y, other)
			defer done.Release()
			other = codes
		}
	}
	c := w.plans.of(s, xSigned, xzp, planNHWC)
	if c.positions == 0 {
		return
	}
	if w.depth != nil {
		scale := q.Scale
		if len(scale) == 1 {
			full := Borrow[float32](s.OutC)
			defer full.Release()
			scale = full.Data
			fillWith(scale, q.Scale[0])
		}
		if !c.depthwiseCodes(p, x, w.depth, bias, scale, q, lo, hi, y) {
			c.depthwiseExact(p, x, w.depth, bias, scale, lo, hi, q.Zero, y)
		}
		addInPlace(p, add, other, y)
		return
	}
	image, buf := c.bring(p, x)
	if buf != nil {
		defer buf.release()
	}
	end := newCodesEnd(q, lo, hi, add)
	whole := true
	for g, b := range w.groups {
		columns := borrow(8 * len(b.shift))
		starts, scale := columns.i32()[:len(b.shift)], columns.f32()[len(b.shift):][:len(b.shift)]
		c.columns(g, b, bias, starts)
		clear(scale)
		for o := range c.perOut {
			scale[o] = at(q.Scale, g*c.perOut+o)
		}
		if !c.codes(p, g, image[g*c.perIn:], b, starts, scale, end, other, y) {
			whole = false
			c.groupCodes(p, g, image, b, starts, scale, lo, hi, q.Zero, y)
		}
		columns.release()
	}
	if !whole {
		addInPlace(p, add, other, y)
	}
}

// groupCodes is codes where there is no kernel for strips.
func (c *nhwcPlan) groupCodes(p *Pool, g int, image []byte, b *PackedInt8, starts []int32, scale []float32, lo, hi float32, zero int32, y []byte) {
	c.group(p, g, image, b, starts, scale, func(rows, n, at int, acc []int32, terms []finishRow, u, v []int32, scale []float32) {
		finishCodes(rows, n, acc, terms, u, v, scale, lo, hi, zero, y[at:], c.s.OutC)
	})
}

// stripsOnly reports whether nothing but strips are computed.
func (w *PackedConvNHWC) stripsOnly() bool {
	if w.depth != nil || !useStrips() {
		return false
	}
	for _, b := range w.groups {
		if b.zero != nil {
			return false
		}
	}
	return true
}

// addInPlace adds other codes to those of y.
func addInPlace(p *Pool, add *AddedCodes, other, y []byte) {
	if add == nil {
		return
	}
	adding.For(p, len(y), 1<<14, addArgs{add.Sum, add.Conv, add.Code, add.Second, other, y}, func(a *addArgs, lo, hi int) {
		if a.second {
			AddCodes(a.y[lo:hi], &a.sum, a.other[lo:hi], &a.code, a.y[lo:hi], &a.conv)
		} else {
			AddCodes(a.y[lo:hi], &a.sum, a.y[lo:hi], &a.conv, a.other[lo:hi], &a.code)
		}
	})
}

var adding Jobs[addArgs]

type addArgs struct {
	sum, conv, code Code
	second          bool // the codes of y are the second operand
	other, y        []byte
}

// finishTile stores rows x n sums whose first goes to index at of the output, with the scales of their channels.
type finishTile func(rows, n, at int, acc []int32, terms []finishRow, u, v []int32, scale []float32)

// run computes the exact sums with bias added and hands them tile by tile to finish.
func (c *nhwcPlan) run(p *Pool, x []byte, w *PackedConvNHWC, bias []int32, scale []float32, finish finishTile) {
	if c.positions == 0 {
		return
	}
	if w.depth != nil {
		c.depthwise(p, x, w.depth, bias, scale, finish)
		return
	}
	image, buf := c.bring(p, x)
	if buf != nil {
		defer buf.release()
	}
	for g, b := range w.groups {
		columns := borrow(4 * len(b.shift))
		starts := columns.i32()[:len(b.shift)]
		c.columns(g, b, bias, starts)
		c.group(p, g, image, b, starts, from(scale, g*c.perOut), finish)
		columns.release()
	}
}

// columns sets dst to what is added to the sums of each channel of a group.
func (c *nhwcPlan) columns(g int, b *PackedInt8, bias, dst []int32) {
	for j, v := range b.shift {
		dst[j] = c.zero * v
	}
	if len(bias) != 0 {
		for j, v := range bias[g*c.perOut : (g+1)*c.perOut] {
			dst[j] += v
		}
	}
}

// group is the product of one group: output positions times output channels. whole is added to the sums, scale belongs to the
// channels of the group.
func (c *nhwcPlan) group(p *Pool, g int, image []byte, b *PackedInt8, whole []int32, scale []float32, finish finishTile) {
	const mr = 8
	k4 := c.runs.words * c.runs.count
	count := b.cols.panels()
	rowsPerTask, parts := rowSplit(p, c.positions, rowsMax, count, c.positions*c.perOut*k4)
	rowTasks := (c.positions + rowsPerTask - 1) / rowsPerTask
	if rowTasks*parts == 1 {
		p = nil
	}
	image = image[g*c.perIn:]
	direct, wide, read := useRunsInt8(), leftWords(), image
	if direct && runsWidened() {
		if direct = c.s.Group == 1; direct { // otherwise most of what is widened would be another group's
			buf := borrow(2 * len(image))
			defer buf.release()
			read = buf.bytes()[:2*len(image)]
			p.For(len(image), 16<<10, func(lo, hi int) { widenImage(read[2*lo:2*hi], image[lo:hi]) })
		}
	}
	p.For(rowTasks*parts, 1, func(lo, hi int) {
		packedWords := 0
		if !direct {
			packedWords = k4 * (rowsPerTask + mr) * wide
		}
		buf := borrow(4*(mr*panelWidth+packedWords) + int(unsafe.Sizeof(finishRow{}))*rowsPerTask + 8*(rowsPerTask+mr))
		defer buf.release()
		raw := view[int](buf)
		starts := raw[:rowsPerTask+mr]
		rest := buf.i32()[2*len(starts):]
		acc, packed := rest[:mr*panelWidth], buf.u32()[2*len(starts)+mr*panelWidth:][:packedWords]
		terms := unsafe.Slice((*finishRow)(unsafe.Pointer(&rest[mr*panelWidth+packedWords])), rowsPerTask)
		for t := lo; t < hi; t++ {
			i0 := t / parts * rowsPerTask
			i1 := min(i0+rowsPerTask, c.positions)
			c.prepareRows(image, starts, terms, i0, i1, b.zero != nil)
			if !direct {
				used := k4 * paddedRows(i1-i0, mr)
				c.packRuns(packed[(wide-1)*used:], image, starts, i1-i0)
				if wide > 1 {
					widenLeft(packed, packed[used:2*used], false)
				}
			}
			for i := t % parts * count / parts; i < (t%parts+1)*count/parts; i++ {
				data, col, width := b.panel(i)
				valid := min(width, b.cols.n-col)
				u, v := whole[col:col+width], b.zero
				if v != nil {
					v = v[col : col+width]
				}
				var factors []float32
				if scale != nil {
					factors = scale[col:]
				}
				for r := 0; r < i1-i0; r += mr {
					rows := min(mr, i1-i0-r)
					height := panelRows(rows, mr)
					if direct {
						runsInt8(height, width, c.runs.words, read, starts[r:r+height], c.offs, data, acc)
					} else {
						tileInt8(false, height, width, k4, packed[r*k4*wide:], data, acc, nil)
					}
					var own []finishRow
					if b.zero != nil {
						own = terms[r:]
					}
					finish(rows, valid, (i0+r)*c.s.OutC+g*c.perOut+col, acc, own, u, v, factors)
				}
			}
		}
	})
}

// prepareRows lists where the output positions [i0, i1) begin, the last several times to fill a tile, and with sums what the
// zero points of the weights need of each.
func (c *nhwcPlan) prepareRows(image []byte, starts []int, terms []finishRow, i0, i1 int, sums bool) {
	c.starts(starts, i0, i1)
	if !sums {
		return
	}
	for i, at := range starts[:i1-i0] {
		row := columnsOnly
		for _, off := range c.offs {
			row.q -= sumBytes(image[at+off:at+off+c.runs.bytes], 0)
		}
		terms[i] = row
	}
}

// packRuns brings the input of rows positions into row panels as tileInt8 reads them.
func (c *nhwcPlan) packRuns(dst []uint32, image []byte, starts []int, rows int) {
	words := c.runs.words
	for i := 0; i < rows; i += 8 {
		valid := min(8, rows-i)
		height := panelRows(valid, 8)
		for r := range height {
			at := starts[i+min(r, valid-1)]
			for q, off := range c.offs {
				line := image[at+off : at+off+4*words]
				for l := range words {
					dst[(q*words+l)*height+r] = binary.LittleEndian.Uint32(line[4*l:])
				}
			}
		}
		dst = dst[height*words*len(c.offs):]
	}
}
