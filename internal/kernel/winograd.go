package kernel

// Convolutions of 3x3 by Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks",
// 2016): a tile of 4x4 outputs takes 36 products a channel instead of 144. Images, kernels and sums are transformed to 36 points, at each
// of which the convolution is a matrix product. Kernels are transformed when they are used, a piece at a time that stays in the cache:
// that takes about as long as the products of two tiles, and four times the memory is neither there nor read.

const (
	winogradPoints = 36
	winogradChunk  = 16 // input channels whose weights of all taps lie together
	winogradTiles  = 64 // as many tiles' sums are under way together at most
	// winogradSkew are the floats between the values of neighbouring points, so that they do not all share a set of the cache.
	winogradSkew = 16
)

// winograd reports whether the weights are ones of Winograd's filtering.
func (s *ConvShape) winograd() bool {
	if len(s.Kernel) != 2 || s.Group != 1 || s.InC < 32 || s.OutC < 32 || s.InC%winogradChunk != 0 || s.OutC%16 != 0 {
		return false
	}
	for i := range s.Kernel {
		if s.Kernel[i] != 3 || axisOr(s.Stride, i, 1) != 1 || axisOr(s.Dilation, i, 1) != 1 {
			return false
		}
	}
	return true
}

// winogradPays compares the cycles for a vector of weights of an input channel: 40 to transform it and half for every point of a tile,
// against half for every tap of a position. Of few rows each takes longer.
func winogradPays(s *ConvShape) bool {
	tiles := s.Batch * ((s.outAt(0) + 3) / 4) * ((s.outAt(1) + 3) / 4)
	return tiles > 0 && 80+winogradPoints*max(tiles, 4) < 9*s.Batch*s.outs()
}

// winogradPlan is a convolution in tiles.
type winogradPlan struct {
	s            *ConvShape
	w            *PackedConvF32NHWC
	out          [2]int
	down, across int // tiles of an image
	lo, hi       float32
	x            []float32
	begin        []float32 // biases
	residual, y  []float32

	first, count int // the tiles that are computed together
	depth        int // input channels that are multiplied at a time
	parts        int // of the tiles, in tasks
	panel0       int // the first of the panels that are computed together
	image        []float32
	filter       []float32 // transformed weights of these panels, or nil

	transforms, filterings, products func(lo, hi int) // its methods
}

// winogradPlans keeps plans, so that a convolution allocates nothing.
var winogradPlans stock[winogradPlan]

func newWinogradPlan() *winogradPlan {
	c := winogradPlans.take()
	if c.transforms == nil {
		c.transforms, c.filterings, c.products = c.transform, c.filters, c.tasks
	}
	return c
}

func (c *winogradPlan) done() {
	*c = winogradPlan{transforms: c.transforms, filterings: c.filterings, products: c.products}
	winogradPlans.give(c)
}

// winogradImage and winogradFilters are about how many bytes the transformed image and weights take at most.
const (
	winogradImage   = 1 << 20
	winogradFilters = 5 << 18
)

// filtered computes the convolution by Winograd's filtering; begin holds the biases.
func (w *PackedConvF32NHWC) filtered(p *Pool, s *ConvShape, x, begin, residual, y []float32) {
	c := newWinogradPlan()
	defer c.done()
	c.s, c.w, c.out, c.x, c.begin, c.residual, c.y = s, w, [2]int{s.outAt(0), s.outAt(1)}, x, begin, residual, y
	c.lo, c.hi = s.Activation.bounds()
	c.down, c.across = (c.out[0]+3)/4, (c.out[1]+3)/4
	tiles := s.Batch * c.down * c.across
	block := min(tiles, max(winogradTiles, winogradImage/(4*winogradPoints*s.InC)&^7))
	if tiles*winogradPoints*s.InC*s.OutC < 2*minTask {
		p = nil
	}
	panels := w.cols.panels()
	c.parts = (block + winogradTiles - 1) / winogradTiles
	if threads := p.Threads(); threads > 1 {
		c.parts = max(c.parts, min((4*threads+panels-1)/panels, block/8))
	}
	c.depth = 64
	if block <= 8 {
		c.depth = 16
	}
	// Transformed weights are shared by tasks, of as many panels at a time as there is room for. Those of all are there at once where
	// the image comes in pieces.
	perPanel := winogradPoints * (s.InC*2*panelWidth/3 + winogradSkew)
	together := winogradFilters / (4 * perPanel)
	if block < tiles && together < panels {
		together = 2 * together
	}
	shared := (c.parts > 1 || block < tiles) && together >= min(panels, 2)
	together = min(together, panels)
	if shared {
		c.depth = s.InC
	} else {
		perPanel, together = 0, panels
	}
	depths := (s.InC + c.depth - 1) / c.depth
	size := winogradPoints * (s.InC*block + depths*winogradSkew)
	buf := borrow(4 * (size + together*perPanel))
	defer buf.release()
	c.image = buf.f32()[:size]
	if shared {
		c.filter = buf.f32()[size:][:together*perPanel]
	}
	for c.first = 0; c.first < tiles; c.first += block {
		c.count = min(block, tiles-c.first)
		p.For(c.count, max(1, c.count/(4*p.Threads())), c.transforms)
		for c.panel0 = 0; c.panel0 < panels; c.panel0 += together {
			n := min(together, panels-c.panel0)
			if shared && (c.first == 0 || together < panels) {
				p.For(n*s.InC/winogradChunk, 0, c.filterings)
			}
			p.For(n*c.parts, 1, c.products)
		}
	}
}

// chunk returns where the transformed image of the input channels from c0 on lies: values of a point after another, in a point
// tile after tile.
func (c *winogradPlan) chunk(c0 int) (image []float32, depth, point int) {
	depth = min(c.depth, c.s.InC-c0)
	return c.image[winogradPoints*(c0*c.count+c0/c.depth*winogradSkew):], depth, c.count*depth + winogradSkew
}

// transform brings tiles [lo, hi) of the image to the points.
func (c *winogradPlan) transform(lo, hi int) {
	s := c.s
	pixel, row := s.InC, s.In[1]*s.InC
	border := Borrow[float32](winogradPoints * s.InC)
	defer border.Release()
	for t := lo; t < hi; t++ {
		b, i, j := c.tile(c.first + t)
		top, left := 4*i-axisOr(s.PadBegin, 0, 0), 4*j-axisOr(s.PadBegin, 1, 0)
		src, line := []float32(nil), row
		if top >= 0 && left >= 0 && top+6 <= s.In[0] && left+6 <= s.In[1] {
			src = c.x[b*s.In[0]*row+top*row+left*pixel:]
		} else {
			src, line = border.Data, 6*pixel
			clear(src)
			x0, x1 := max(left, 0), min(left+6, s.In[1])
			for y := max(top, 0); y < min(top+6, s.In[0]) && x0 < x1; y++ {
				copy(src[(y-top)*line+(x0-left)*pixel:], c.x[(b*s.In[0]+y)*row+x0*pixel:][:(x1-x0)*pixel])
			}
		}
		for c0 := 0; c0 < s.InC; c0 += c.depth {
			image, depth, point := c.chunk(c0)
			winogradInput(depth, src[c0:], line, pixel, image[t*depth:], point)
		}
	}
}

// tile returns where tile t lies: its image, and its row and column among the tiles.
func (c *winogradPlan) tile(t int) (image, i, j int) {
	return t / (c.down * c.across), t / c.across % c.down, t % c.across
}

// panel returns a panel's place among the transformed weights, and the floats from point to point there.
func (c *winogradPlan) panel(i int) (filter []float32, point int) {
	first, _ := c.w.cols.panel(c.panel0)
	col, width := c.w.cols.panel(i)
	return c.filter[winogradPoints*(c.s.InC*(col-first)+(i-c.panel0)*winogradSkew):], c.s.InC*width + winogradSkew
}

// filters transforms the weights of chunks of input channels [lo, hi), counted panel after panel.
func (c *winogradPlan) filters(lo, hi int) {
	chunks := c.s.InC / winogradChunk
	for t := lo; t < hi; t++ {
		panel := c.panel0 + t/chunks
		to, point := c.panel(panel)
		c.filterTo(to, point, panel, t%chunks*winogradChunk, winogradChunk)
	}
}

// filterTo transforms the weights of depth input channels from c0 on of a panel; those of c0 go to the beginning of to, or if c0 lies
// within a panel of all, there.
func (c *winogradPlan) filterTo(to []float32, point, panel, c0, depth int) {
	from, _, width := c.w.panel(9*c.s.InC, 0, panel)
	if c.filter != nil {
		to = to[c0*width:]
	}
	n := winogradChunk * width
	for k := 0; k < depth; k += winogradChunk {
		winogradFilter(n, from[9*(c0+k)*width:], n, to[k*width:], point)
	}
}

// tasks computes tasks [lo, hi): parts of the tiles, panel after panel.
func (c *winogradPlan) tasks(lo, hi int) {
	s := c.s
	most := (c.count + c.parts - 1) / c.parts
	sums := Borrow[float32](winogradPoints * (most*2*panelWidth/3 + winogradSkew))
	defer sums.Release()
	var own Scratch[float32]
	if c.filter == nil {
		own = Borrow[float32](winogradPoints * (c.depth*2*panelWidth/3 + winogradSkew))
		defer own.Release()
	}
	for t := lo; t < hi; t++ {
		panel, part := c.panel0+t/c.parts, t%c.parts
		col, width := c.w.cols.panel(panel)
		t0, t1 := c.count*part/c.parts, c.count*(part+1)/c.parts
		if t0 == t1 {
			continue
		}
		point := (t1-t0)*width + winogradSkew
		for c0 := 0; c0 < s.InC; c0 += c.depth {
			image, depth, step := c.chunk(c0)
			filter, filterStep := own.Data, depth*width+winogradSkew
			if c.filter != nil {
				filter, filterStep = c.panel(panel)
			} else {
				c.filterTo(filter, filterStep, panel, c0, depth)
			}
			a := winogradProduct{
				rows: t1 - t0, width: width, k: depth, a: image[t0*depth:], aPoint: step, b: filter, bPoint: filterStep,
				c: sums.Data, cPoint: point, more: c0 > 0,
			}
			a.run()
		}
		n := min(width, s.OutC-col)
		for t := t0; t < t1; t++ {
			b, i, j := c.tile(c.first + t)
			at := ((b*c.out[0]+4*i)*c.out[1]+4*j)*s.OutC + col
			var other []float32
			if len(c.residual) != 0 {
				other = c.residual[at:]
			}
			winogradOutput(n, sums.Data[(t-t0)*width:], point, c.begin[col:], c.y[at:], other, c.out[1]*s.OutC, s.OutC,
				min(4, c.out[0]-4*i), min(4, c.out[1]-4*j), c.lo, c.hi)
		}
	}
}

// winogradProduct is the products of all points: of rows tiles with k channels and a panel of weights of 16 or 32 columns.
type winogradProduct struct {
	rows, width, k         int
	a, b, c                []float32
	aPoint, bPoint, cPoint int
	more                   bool // add to c
}

func (a *winogradProduct) check() {
	if a.rows < 1 || a.k < 4 || a.k%4 != 0 || a.width != 16 && a.width != 32 {
		panic("kernel: Winograd products: not tiles")
	}
	const last = winogradPoints - 1
	needLen("Winograd tiles", len(a.a), last*a.aPoint+a.rows*a.k)
	needLen("Winograd weights", len(a.b), last*a.bPoint+a.k*a.width)
	needLen("Winograd sums", len(a.c), last*a.cPoint+a.rows*a.width)
}

// generic is the definition: for each point, c (rows x width) is or is added a (rows x k) times b (k x width).
func (a *winogradProduct) generic() {
	for p := range winogradPoints {
		for i := range a.rows {
			c := a.c[p*a.cPoint+i*a.width:][:a.width]
			if !a.more {
				clear(c)
			}
			for l, x := range a.a[p*a.aPoint+i*a.k:][:a.k] {
				for j, w := range a.b[p*a.bPoint+l*a.width:][:a.width] {
					c[j] += x * w
				}
			}
		}
	}
}

// winogradFilterGeneric sets dst[(i*6+j)*point+c] to (G g G')[i][j] with g[i][j] = src[(i*3+j)*tap+c], for c < n.
func winogradFilterGeneric(n int, src []float32, tap int, dst []float32, point int) {
	for c := range n {
		var t [3][6]float32 // transposed
		for x := range t {
			t[x] = winogradKernel(src[x*tap+c], src[(3+x)*tap+c], src[(6+x)*tap+c])
		}
		for i := range 6 {
			for j, v := range winogradKernel(t[0][i], t[1][i], t[2][i]) {
				dst[(i*6+j)*point+c] = v
			}
		}
	}
}

// winogradKernel is G g for one line.
func winogradKernel(a, b, c float32) [6]float32 {
	const sixth, twelfth = float32(1. / 6), float32(1. / 12)
	u, h := (a+c)*sixth, b*sixth
	r, k := a*(sixth/4)+c*sixth, b*twelfth
	return [6]float32{a / 4, u + h, u - h, r + k, r - k, c}
}

// winogradInputGeneric sets dst[(i*6+j)*point+c] to (B' d B)[i][j] with d[i][j] = src[i*row+j*pixel+c], for c < channels.
func winogradInputGeneric(channels int, src []float32, row, pixel int, dst []float32, point int) {
	var t [6][6]float32 // transposed
	for c := range channels {
		for j := range t {
			var d [6]float32
			for i := range d {
				d[i] = src[i*row+j*pixel+c]
			}
			t[j] = winogradIn(d)
		}
		for i := range 6 {
			for j, v := range winogradIn([6]float32{t[0][i], t[1][i], t[2][i], t[3][i], t[4][i], t[5][i]}) {
				dst[(i*6+j)*point+c] = v
			}
		}
	}
}

// winogradIn is B' d for one line; elements 1 and 2 have the opposite sign of the paper's, as have those of winogradKernel.
func winogradIn(d [6]float32) [6]float32 {
	a, b, c, e := 4*d[2]-d[4], 4*d[1]-d[3], d[4]-d[2], 2*(d[3]-d[1])
	return [6]float32{4*(d[0]-d[2]) + c, a + b, a - b, c + e, c - e, 4*(d[1]-d[3]) + (d[5] - d[3])}
}

// winogradOut is A' d for one line.
func winogradOut(d [6]float32) [4]float32 {
	s, t, u, v := d[1]+d[2], d[1]-d[2], d[3]+d[4], d[3]-d[4]
	return [4]float32{d[0] + s + u, t + 2*v, s + 4*u, t + d[5] + 8*v}
}

// winogradOutputGeneric sets dst[i*row+j*pixel+c] to min(max((A' d A)[i][j] + bias[c] + other[i*row+j*pixel+c], lo), hi) with
// d[i][j] = src[(i*6+j)*point+c], for i < height, j < width and c < channels; without other if that is nil.
func winogradOutputGeneric(channels int, src []float32, point int, bias, dst, other []float32, row, pixel, height, width int, lo, hi float32) {
	for c := range channels {
		var t [6][4]float32 // transposed
		for j := range t {
			var d [6]float32
			for i := range d {
				d[i] = src[(i*6+j)*point+c]
			}
			t[j] = winogradOut(d)
		}
		for i := range height {
			for j, v := range winogradOut([6]float32{t[0][i], t[1][i], t[2][i], t[3][i], t[4][i], t[5][i]}) {
				if j >= width {
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
