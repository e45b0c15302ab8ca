package kernel

import "unsafe"

// PackedConvF32NHWC holds the float32 weights of a convolution over channels-last images in the order in which the kernels read
// them. It is read-only and may be used by several goroutines.
type PackedConvF32NHWC struct {
	depth    *PackedDepthwiseF32
	winograd bool      // the convolution can be computed by Winograd's minimal filtering
	cols     columns   // of a group
	data     []float32 // group after group, panel after panel; in a panel, in order of the runs, all columns of a term
	plans    lastPlan[nhwcPlan]
}

// PackConvF32NHWC packs the weights of s, laid out [OutC, InC/Group, Kernel...]. Batch, In and pads of s do not matter. w is not
// referenced afterwards.
func PackConvF32NHWC(s *ConvShape, w []float32, where ...Storage) *PackedConvF32NHWC {
	s.check()
	perOut := s.OutC / s.Group
	if s.depthwise() && perOut == 1 {
		return &PackedConvF32NHWC{depth: PackDepthwiseF32(s, w)}
	}
	q := &PackedConvF32NHWC{cols: splitColumns(perOut), winograd: s.winograd()}
	if q.winograd {
		q.cols = splitLanes(perOut, panelWidth/3, 2)
	}
	q.data = store[float32](q, s.Group*s.InC/s.Group*product(s.Kernel)*q.cols.padded(), where)
	q.fill(s, w)
	return q
}

// Repack packs other weights of the convolution that q was packed for, in its place. Nobody else uses q meanwhile.
func (q *PackedConvF32NHWC) Repack(s *ConvShape, w []float32) {
	if q.depth != nil {
		q.depth.fill(s, w)
		return
	}
	q.fill(s, w)
}

func (q *PackedConvF32NHWC) fill(s *ConvShape, w []float32) {
	perIn, perOut, kernel := s.InC/s.Group, s.OutC/s.Group, product(s.Kernel)
	terms := perIn * kernel
	needLen("convolution weights", len(w), s.OutC*terms)
	for g := range s.Group {
		for i := range q.cols.panels() {
			panel, col, width := q.panel(terms, g, i)
			for j := range min(width, perOut-col) {
				from := w[(g*perOut+col+j)*terms:][:terms]
				for c := range perIn {
					for t, v := range from[c*kernel : (c+1)*kernel] {
						term := t*perIn + c
						if q.winograd {
							term = (c/winogradChunk*kernel+t)*winogradChunk + c%winogradChunk
						}
						panel[term*width+j] = v
					}
				}
			}
		}
	}
}

// panel returns panel i of a group: its weights, first column and width.
func (q *PackedConvF32NHWC) panel(terms, g, i int) (data []float32, col, width int) {
	col, width = q.cols.panel(i)
	return q.data[(g*q.cols.padded()+col)*terms:][:width*terms], col, width
}

// ConvF32NHWC computes, for channels-last images,
//
//	y = act(conv(x, w) + bias + residual)
//
// with x [Batch, In..., InC], y and residual [Batch, Out()..., OutC]; bias and residual may be empty, and residual may be y. An element is within
// (K+3)*2^-24*(sum|w*x|+|bias|+|residual|) of the exact value, with K the number of terms of the sum, or for kernels of 3x3 with many
// channels (see winograd) within 100*2^-24 of the largest such sum near it; and the same for any number of threads.
func ConvF32NHWC(p *Pool, s *ConvShape, x []float32, w *PackedConvF32NHWC, bias, residual, y []float32) {
	checkConv(s, len(x), len(y), len(bias))
	if len(residual) != 0 {
		needLen("convolution residual", len(residual), len(y))
	}
	if w.depth != nil {
		depthwiseF32NHWC(p, s, x, w.depth, bias, residual, y)
		return
	}
	start := borrow(4 * s.Group * w.cols.padded())
	defer start.release()
	begin := start.f32()[:s.Group*w.cols.padded()]
	fillWith(begin, negativeZero)
	if perOut := s.OutC / s.Group; len(bias) != 0 {
		for g := range s.Group {
			copy(begin[g*w.cols.padded():], bias[g*perOut:(g+1)*perOut])
		}
	}
	if w.winograd && winogradPays(s) {
		w.filtered(p, s, x, begin, residual, y)
		return
	}
	c := w.plans.of(s, w.winograd, 0, planFloats)
	if c.positions == 0 {
		return
	}
	image, buf := c.bring(p, unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x)))
	if buf != nil {
		defer buf.release()
	}
	c.floats(p, image, w, begin, residual, y)
}

// planFloats plans a convolution of floats: an image of floats is one of four times as many bytes. In chunks, the runs are those of
// the weights' chunks of channels.
func planFloats(s *ConvShape, chunks bool, _ int32) *nhwcPlan {
	octets := *s
	octets.InC, octets.OutC = 4*s.InC, 4*s.OutC
	c := planNHWC(&octets, false, 0)
	if chunks {
		kernel := product(s.Kernel)
		c.runs = runShape{bytes: 4 * winogradChunk, words: winogradChunk, taps: 1, count: s.InC / winogradChunk * kernel}
		c.offs = make([]int, c.runs.count)
		for r := range c.offs {
			c.offs[r] = r/kernel*4*winogradChunk + r%kernel/s.Kernel[1]*c.step[0] + r%kernel%s.Kernel[1]*c.step[1]
		}
	}
	return c
}

// apart returns added, or a copy of it if it is y, for who writes y first; done holds the copy.
func apart[T any](y, added []T) (_ []T, done Scratch[T]) {
	if len(added) == 0 || len(y) == 0 || &added[0] != &y[0] {
		return added, done
	}
	done = Borrow[T](len(added))
	copy(done.Data, added)
	return done.Data, done
}

// depthwiseF32NHWC is DepthwiseF32NHWC with a residual, which may be empty.
func depthwiseF32NHWC(p *Pool, s *ConvShape, x []float32, w *PackedDepthwiseF32, bias, residual, y []float32) {
	if len(residual) == 0 {
		DepthwiseF32NHWC(p, s, x, w, bias, y)
		return
	}
	residual, done := apart(y, residual)
	defer done.Release()
	plain := *s
	plain.Activation = Activation{}
	DepthwiseF32NHWC(p, &plain, x, w, bias, y)
	low, high := s.Activation.bounds()
	p.For(len(y), minTask, func(lo, hi int) {
		Add(y[lo:hi], y[lo:hi], residual[lo:hi])
		if s.Activation.Kind != NoActivation {
			Clip(y[lo:hi], y[lo:hi], low, high)
		}
	})
}

// stripDepth is how many weights of a panel a strip goes through before the next positions are begun: they stay in the
// second-level cache.
const stripDepth = 96 << 10

var strippingF32 Jobs[stripsF32]

// stripsF32 are the strips of all groups of a convolution.
type stripsF32 struct {
	c                  *nhwcPlan
	w                  *PackedConvF32NHWC
	image              []byte
	begin, residual, y []float32
	rows, parts        int // of a task
}

// floats computes the strips of all groups.
func (c *nhwcPlan) floats(p *Pool, image []byte, w *PackedConvF32NHWC, begin, residual, y []float32) {
	a := stripsF32{c: c, w: w, image: image, begin: begin, residual: residual, y: y}
	a.rows, a.parts = c.split.of(p.Threads(), c.positions, c.s.Group*w.cols.panels(), c.runs.words*c.runs.count)
	rowTasks := (c.positions + a.rows - 1) / a.rows
	if rowTasks*a.parts == 1 {
		p = nil
	}
	strippingF32.For(p, rowTasks*a.parts, 1, a, (*stripsF32).tasks)
}

func (j *stripsF32) tasks(first, last int) {
	c, w := j.c, j.w
	outC, perOut, words := c.s.OutC/4, c.perOut/4, c.runs.words
	count, terms := w.cols.panels(), words*c.runs.count
	panels := c.s.Group * count
	lo, hi := c.s.Activation.bounds()
	none, all := Activation{}.bounds()
	runs := max(1, stripDepth/(words*panelWidth)) // in one go
	buf := borrow(8 * (j.rows + stripRows))
	defer buf.release()
	starts := view[int](buf)[:j.rows+stripRows]
	prepared, reach := -1, 0
	for t := first; t < last; t++ {
		i0 := t / j.parts * j.rows
		i1 := min(i0+j.rows, c.positions)
		if prepared != i0 {
			reach = c.starts(starts, i0, i1)
			prepared = i0
		}
		for i := t % j.parts * panels / j.parts; i < (t%j.parts+1)*panels/j.parts; i++ {
			g := i / count
			data, col, width := w.panel(terms, g, i%count)
			at := i0*outC + g*perOut + col
			n := min(width, perOut-col)
			from := j.begin[g*w.cols.padded()+col:]
			for r := 0; r < c.runs.count; r += runs {
				end := min(r+runs, c.runs.count)
				a := stripF32{
					count: i1 - i0, n: n, width: width, k: words, src: j.image[g*c.perIn:], rows: starts, offs: c.offs[r:end], reach: reach,
					b: data[r*words*width : end*words*width], start: from, dst: j.y[at:], ldd: outC, lo: none, hi: all, more: r > 0,
				}
				if r == 0 && len(j.residual) != 0 { // before more is stored over it
					a.other = j.residual[at:]
				}
				if end == c.runs.count {
					a.lo, a.hi = lo, hi
				}
				a.run()
			}
		}
	}
}

// stripF32 is count positions of a convolution, which begin at rows, times n channels of a panel of weights of the given width;
// rows has more than stripRows values behind them and counts bytes like offs. See generic.
type stripF32 struct {
	count, n, width, k int
	ldb                int // floats between the rows of b; 0: width
	src                []byte
	rows, offs         []int
	reach              int // see reachOf
	b, start           []float32
	dst, other         []float32
	ldd                int
	lo, hi             float32
	more               bool
}

// generic is the definition of a strip: for i < count and j < n
//
//	s = start[j], or with more dst[i*ldd+j]
//	s += sum over r, l < k of x*b[(r*k+l)*ldb+j]   with x the float at src[rows[i]+offs[r]+4*l]
//	dst[i*ldd+j] = min(max(s + other[i*ldd+j], lo), hi)
//
// without other if that is nil.
func (a *stripF32) generic() {
	src := unsafe.Slice((*float32)(unsafe.Pointer(&a.src[0])), len(a.src)/4)
	var acc [panelWidth]float32
	for i := range a.count {
		sums := acc[:a.n]
		copy(sums, a.start)
		if a.more {
			copy(sums, a.dst[i*a.ldd:])
		}
		for r, off := range a.offs {
			for l, x := range src[(a.rows[i]+off)/4:][:a.k] {
				for j, w := range a.b[(r*a.k+l)*a.ldb:][:a.n] {
					sums[j] += x * w
				}
			}
		}
		dst := a.dst[i*a.ldd:][:a.n]
		for j, v := range sums {
			if a.other != nil {
				v += a.other[i*a.ldd+j]
			}
			if v < a.lo {
				v = a.lo
			}
			if v > a.hi {
				v = a.hi
			}
			dst[j] = v
		}
	}
}

// check panics unless all that the strip reads and writes is there.
func (a *stripF32) check() {
	if a.count < 1 || len(a.rows) < a.count+stripRows-1 || a.k < 1 || a.n < 1 || a.n > a.width || a.width > panelWidth {
		panic("kernel: strip of a convolution: not a strip")
	}
	needLen("strip source", len(a.src), a.reach+4*a.k)
	if a.ldb == 0 {
		a.ldb = a.width
	}
	needLen("strip weights", len(a.b), (len(a.offs)*a.k-1)*a.ldb+a.width)
	needLen("strip starts", len(a.start), a.width)
	need("strip destination", len(a.dst), a.count, a.n, a.ldd)
	if a.other != nil {
		need("strip residual", len(a.other), a.count, a.n, a.ldd)
	}
}
