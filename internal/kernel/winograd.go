package kernel

import "unsafe"

// Convolutions of 3x3 by Winograd's minimal filtering (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016): a
// tile of m x m outputs takes (m+2)^2 products a channel instead of 9*m^2, 2.25 times fewer for m = 2 and 4 times for m = 4.

// winogradRoom is how many bytes more than before the weights of a convolution may take.
const winogradRoom = 1 << 20

// winogradWeights are the weights of all input and output channels at each of the (m+2)^2 points.
type winogradWeights struct {
	m    int
	data []float32 // point after point; in a point, panels as strips read them
}

// winogradTile returns m for a convolution that is faster so, or 0.
func winogradTile(s *ConvShape) int {
	if len(s.Kernel) != 2 || s.Group != 1 || s.InC < 32 || s.OutC < 32 || s.InC%16 != 0 || s.OutC%16 != 0 {
		return 0
	}
	for i := range s.Kernel {
		if s.Kernel[i] != 3 || axisOr(s.Stride, i, 1) != 1 || axisOr(s.Dilation, i, 1) != 1 {
			return 0
		}
	}
	for _, m := range []int{4, 2} {
		if 4*s.InC*s.OutC*((m+2)*(m+2)-9) <= winogradRoom {
			return m
		}
	}
	return 0
}

// winogradFilter is G, by which kernels are transformed: G g G'.
var winogradFilter = map[int][][3]float64{
	2: {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}},
	4: {{1. / 4, 0, 0}, {-1. / 6, -1. / 6, -1. / 6}, {-1. / 6, 1. / 6, -1. / 6}, {1. / 24, 1. / 12, 1. / 6}, {1. / 24, -1. / 12, 1. / 6}, {0, 0, 1}},
}

// packWinograd transforms the weights w [OutC, InC, 3, 3].
func packWinograd(owner *PackedConvF32NHWC, s *ConvShape, w []float32, m int, where []Storage) *winogradWeights {
	n := m + 2
	q := &winogradWeights{m: m}
	cols := &owner.cols
	size := s.InC * cols.padded()
	q.data = store[float32](owner, n*n*size, where)
	filter := winogradFilter[m]
	for i := range cols.panels() {
		col, width := cols.panel(i)
		for j := range min(width, s.OutC-col) {
			for c := range s.InC {
				g := w[((col+j)*s.InC+c)*9:][:9]
				for y, fy := range filter {
					var line [3]float64
					for k, f := range fy {
						for x := range line {
							line[x] += f * float64(g[3*k+x])
						}
					}
					for x, fx := range filter {
						q.data[(y*n+x)*size+col*s.InC+c*width+j] = float32(fx[0]*line[0] + fx[1]*line[1] + fx[2]*line[2])
					}
				}
			}
		}
	}
	return q
}

// winogradPlan is a convolution in tiles.
type winogradPlan struct {
	s              *ConvShape
	m, n           int
	out            []int
	down, across   int // tiles of an image
	row            int // floats of a row of the padded image
	image          int // floats of a padded image
	tiles          int
	block          int // tiles that are computed together
	lo, hi         float32
	residual, y    []float32
	begin          []float32 // biases
	source         []float32
	points, result []float32 // [point][tile of a block][channel], before and after the products
}

// winogradBytes is about what the points of a block of tiles take.
const winogradBytes = 3 << 19

// winograd computes the convolution; begin holds the biases.
func (w *PackedConvF32NHWC) winograd(p *Pool, s *ConvShape, x, begin, residual, y []float32) {
	c := &winogradPlan{s: s, m: w.wino.m, n: w.wino.m + 2, out: s.Out(), residual: residual, y: y, begin: begin}
	c.lo, c.hi = s.Activation.bounds()
	c.down, c.across = (c.out[0]+c.m-1)/c.m, (c.out[1]+c.m-1)/c.m
	c.tiles = s.Batch * c.down * c.across
	if c.tiles == 0 {
		return
	}
	whole := *s // padded so that it is all tiles
	whole.PadBegin = []int{axisOr(s.PadBegin, 0, 0), axisOr(s.PadBegin, 1, 0)}
	whole.PadEnd = []int{c.down*c.m + 2 - s.In[0] - whole.PadBegin[0], c.across*c.m + 2 - s.In[1] - whole.PadBegin[1]}
	_, image, padded := planFloats(p, &whole, x)
	if padded != nil {
		defer padded.release()
	}
	c.source = unsafe.Slice((*float32)(unsafe.Pointer(&image[0])), len(image)/4)
	c.row = (c.across*c.m + 2) * s.InC
	c.image = (c.down*c.m + 2) * c.row
	points := c.n * c.n
	c.block = min(c.tiles, max(16, winogradBytes/(4*points*(s.InC+s.OutC))&^7))
	buf := borrow(4 * points * c.block * (s.InC + s.OutC))
	defer buf.release()
	c.points, c.result = buf.f32()[:points*c.block*s.InC], buf.f32()[points*c.block*s.InC:][:points*c.block*s.OutC]
	if c.tiles*points*s.InC*s.OutC < 2*minTask {
		p = nil
	}
	for first := 0; first < c.tiles; first += c.block {
		count := min(c.block, c.tiles-first)
		p.For(count, max(1, count/(4*p.Threads())), func(lo, hi int) { c.transformIn(first, lo, hi) })
		c.multiply(p, w, count)
		p.For(count, max(1, count/(4*p.Threads())), func(lo, hi int) { c.transformOut(first, lo, hi) })
	}
}

// tile returns where tile t lies: its image, and its row and column among the tiles.
func (c *winogradPlan) tile(t int) (image, i, j int) {
	return t / (c.down * c.across), t / c.across % c.down, t % c.across
}

func (c *winogradPlan) transformIn(first, lo, hi int) {
	work := Borrow[float32](c.n * c.n * 16)
	defer work.Release()
	for t := lo; t < hi; t++ {
		b, i, j := c.tile(first + t)
		winogradInput(c.m, c.s.InC, c.source[b*c.image+i*c.m*c.row+j*c.m*c.s.InC:], c.row, c.s.InC, c.points[t*c.s.InC:], c.block*c.s.InC, work.Data)
	}
}

// multiply computes the products of all points.
func (c *winogradPlan) multiply(p *Pool, w *PackedConvF32NHWC, count int) {
	points, panels, inC, outC := c.n*c.n, w.cols.panels(), c.s.InC, c.s.OutC
	size := inC * w.cols.padded()
	start := Borrow[float32](panelWidth)
	defer start.Release()
	fillWith(start.Data, 0)
	rows := Borrow[int](count + stripRows)
	defer rows.Release()
	for i := range rows.Data {
		rows.Data[i] = 4 * inC * min(i, count-1)
	}
	offs := []int{0}
	lo, hi := Activation{}.bounds()
	p.For(points*panels, max(1, points*panels/(8*p.Threads())), func(first, last int) {
		for t := first; t < last; t++ {
			point, i := t/panels, t%panels
			col, width := w.cols.panel(i)
			source := c.points[point*c.block*inC:][:c.block*inC]
			a := stripF32{
				count: count, n: min(width, outC-col), width: width, k: inC, src: unsafe.Slice((*byte)(unsafe.Pointer(&source[0])), 4*len(source)),
				rows: rows.Data, offs: offs, reach: 4 * inC * (count - 1), b: w.wino.data[point*size+col*inC:][:inC*width], start: start.Data,
				dst: c.result[point*c.block*outC+col:], ldd: outC, lo: lo, hi: hi,
			}
			a.run()
		}
	})
}

func (c *winogradPlan) transformOut(first, lo, hi int) {
	work := Borrow[float32](c.n * c.m * 16)
	defer work.Release()
	m, outC := c.m, c.s.OutC
	edge := Borrow[float32](m * m * outC)
	defer edge.Release()
	for t := lo; t < hi; t++ {
		b, i, j := c.tile(first + t)
		from, step := c.result[t*outC:], c.block*outC
		at := ((b*c.out[0]+i*m)*c.out[1] + j*m) * outC
		height, width := min(m, c.out[0]-i*m), min(m, c.out[1]-j*m)
		if height == m && width == m {
			winogradOutput(m, outC, from, step, c.begin, c.y[at:], c.residualFrom(at), c.out[1]*outC, outC, c.lo, c.hi, work.Data)
			continue
		}
		none, all := Activation{}.bounds()
		winogradOutput(m, outC, from, step, c.begin, edge.Data, nil, m*outC, outC, none, all, work.Data)
		for r := range height {
			src, dst := edge.Data[r*m*outC:][:width*outC], c.y[at+r*c.out[1]*outC:][:width*outC]
			if other := c.residualFrom(at + r*c.out[1]*outC); other != nil {
				Add(src, src, other[:len(src)])
			}
			Clip(dst, src, c.lo, c.hi)
		}
	}
}

func (c *winogradPlan) residualFrom(at int) []float32 {
	if len(c.residual) == 0 {
		return nil
	}
	return c.residual[at:]
}

// winogradInputGeneric sets dst[(i*n+j)*point+c] to (B' d B)[i][j] with d[i][j] = src[i*row+j*pixel+c], for n = m+2 and c < channels.
func winogradInputGeneric(m, channels int, src []float32, row, pixel int, dst []float32, point int) {
	n := m + 2
	var d, t [6][6]float32
	for c := range channels {
		for i := range n {
			for j := range n {
				d[i][j] = src[i*row+j*pixel+c]
			}
			t[i] = winogradIn(m, d[i])
		}
		for j := range n {
			var column [6]float32
			for i := range n {
				column[i] = t[i][j]
			}
			for i, v := range winogradIn(m, column) {
				if i < n {
					dst[(i*n+j)*point+c] = v
				}
			}
		}
	}
}

// winogradIn is B' d for one line.
func winogradIn(m int, d [6]float32) [6]float32 {
	if m == 2 {
		return [6]float32{d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]}
	}
	a, b, c, e := d[4]-4*d[2], d[3]-4*d[1], d[4]-d[2], 2*(d[3]-d[1])
	return [6]float32{4*d[0] - 5*d[2] + d[4], a + b, a - b, c + e, c - e, 4*d[1] - 5*d[3] + d[5]}
}

// winogradOut is A' d for one line.
func winogradOut(m int, d [6]float32) [4]float32 {
	s, t := d[1]+d[2], d[1]-d[2]
	if m == 2 {
		return [4]float32{d[0] + s, t - d[3]}
	}
	u, v := d[3]+d[4], d[3]-d[4]
	return [4]float32{d[0] + s + u, t + 2*v, s + 4*u, t + 8*v + d[5]}
}

// winogradOutputGeneric sets dst[i*row+j*pixel+c] to min(max((A' d A)[i][j] + bias[c] + other[i*row+j*pixel+c], lo), hi) with
// d[i][j] = src[(i*n+j)*point+c], for n = m+2, i, j < m and c < channels; without other if that is nil.
func winogradOutputGeneric(m, channels int, src []float32, point int, bias, dst, other []float32, row, pixel int, lo, hi float32) {
	n := m + 2
	for c := range channels {
		var t [6][4]float32
		for i := range n {
			var line [6]float32
			for j := range n {
				line[j] = src[(i*n+j)*point+c]
			}
			t[i] = winogradOut(m, line)
		}
		for j := range m {
			var column [6]float32
			for i := range n {
				column[i] = t[i][j]
			}
			for i, v := range winogradOut(m, column) {
				if i >= m {
					break
				}
				at := i*row + j*pixel + c
				v += bias[c]
				if other != nil {
					v += other[at]
				}
				if v < lo {
					v = lo
				}
				if v > hi {
					v = hi
				}
				dst[at] = v
			}
		}
	}
}
