package kernel

import "unsafe"

// Gradients of convolutions over channels-last images. That of the input is a convolution of the gradient of the output; that of the
// weights sums, for every tap, the products of the pixels under it with the gradients of the outputs: strips, whose rows are the
// input channels and whose runs are the output positions.

// ConvWeightGradF32NHWC sets dw, laid out [OutC, InC/Group, Kernel...], to the gradient of the weights of s:
//
//	dw[o, c, t...] = sum over b, q of dy[b, q..., o] * x[b, q*stride+t*dilation-pad..., g*InC/Group+c]
//
// with x [Batch, In..., InC], zero outside, and dy [Batch, Out()..., OutC]. The order of summation depends on the shape, never on
// the number of threads.
func ConvWeightGradF32NHWC(p *Pool, plans *ConvGradPlans, s *ConvShape, x, dy, dw []float32) {
	checkConv(s, len(x), len(dy), 0)
	perIn, perOut, kernel := s.InC/s.Group, s.OutC/s.Group, product(s.Kernel)
	needLen("convolution weights", len(dw), s.OutC*perIn*kernel)
	g := weightGrads.take()
	if g.run == nil {
		g.run = g.chunks
	}
	defer g.done()
	g.s, g.p = s, plans.of(s, false, 0, planWeightGrad)
	c := g.p.nhwc
	if c.positions == 0 {
		clear(dw)
		return
	}
	image, buf := c.bring(p, unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x)))
	if buf != nil {
		defer buf.release()
	}
	g.image, g.dy, g.ldy = image, dy, s.OutC
	g.padded = (perOut + 15) &^ 15
	if perOut != g.padded || s.Group > 1 { // panels are whole vectors
		wide := Borrow[float32](c.positions * s.Group * g.padded)
		defer wide.Release()
		g.widen(p, wide.Data)
		g.dy, g.ldy = wide.Data, s.Group*g.padded
	}
	g.size = s.Group * kernel * perIn * g.padded
	chunks := min(weightGradChunks, s.Batch)
	sums := Borrow[float32](chunks * g.size)
	defer sums.Release()
	g.sums = sums.Data
	if c.positions*perIn*kernel*s.OutC < 2*minTask {
		p = nil
	}
	p.For(chunks, 1, g.run)
	for k := 1; k < chunks; k++ {
		Add(g.sums[:g.size], g.sums[:g.size], g.sums[k*g.size:(k+1)*g.size])
	}
	for gr := range s.Group {
		for t := range kernel {
			for ch := range perIn {
				row := g.sums[((gr*kernel+t)*perIn+ch)*g.padded:][:perOut]
				at := (gr*perOut*perIn+ch)*kernel + t
				for _, v := range row {
					dw[at] = v
					at += perIn * kernel
				}
			}
		}
	}
}

// ConvGradPlans keeps what the gradient of one convolution was planned for last. The zero value is ready.
type ConvGradPlans struct{ lastPlan[weightGradPlan] }

// weightGradChunks are the parts of a batch whose sums are made apart.
const weightGradChunks = 16

// weightGradBlock is how many floats of the wider of image and gradient are gone through at a time: they stay in the first-level cache.
const weightGradBlock = 8 << 10

var weightGrads stock[weightGrad]

// weightGrad is a gradient of weights that is being computed.
type weightGrad struct {
	s            *ConvShape
	p            *weightGradPlan
	image        []byte
	dy, sums     []float32
	ldy          int
	padded, size int
	run          func(lo, hi int) // chunks
	zeroes       [panelWidth]float32
}

// weightGradPlan is where taps and positions lie in the image, in bytes.
type weightGradPlan struct {
	nhwc     *nhwcPlan
	taps     []int
	starts   []int // of output positions of all images
	channels []int // of the channels of a group, with stripRows more
}

func planWeightGrad(s *ConvShape, _ bool, _ int32) *weightGradPlan {
	c := planFloats(s, false, 0)
	w := &weightGradPlan{nhwc: c, taps: make([]int, product(s.Kernel)), starts: make([]int, c.positions)}
	for t := range w.taps {
		rest := t
		for i := len(s.Kernel) - 1; i >= 0; i-- {
			w.taps[t] += rest % s.Kernel[i] * axisOr(s.Dilation, i, 1) * c.step[i]
			rest /= s.Kernel[i]
		}
	}
	for q := range w.starts {
		w.starts[q] = c.position(q)
	}
	perIn := s.InC / s.Group
	w.channels = make([]int, perIn+stripRows)
	for i := range w.channels {
		w.channels[i] = 4 * min(i, perIn-1)
	}
	return w
}

func (g *weightGrad) done() {
	g.s, g.p, g.image, g.dy, g.sums = nil, nil, nil, nil, nil
	weightGrads.give(g)
}

// widen copies the gradient with the channels of each group filled up to whole vectors.
func (g *weightGrad) widen(p *Pool, to []float32) {
	perOut, groups, padded, dy := g.s.OutC/g.s.Group, g.s.Group, g.padded, g.dy
	p.For(len(to)/padded, 256, func(lo, hi int) {
		for r := lo; r < hi; r++ {
			row := to[r*padded : (r+1)*padded]
			copy(row, dy[r/groups*groups*perOut+r%groups*perOut:][:perOut])
			clear(row[perOut:])
		}
	})
}

// chunks sums parts [lo, hi) of the batch.
func (g *weightGrad) chunks(lo, hi int) {
	s, c := g.s, g.p.nhwc
	perIn, parts := s.InC/s.Group, min(weightGradChunks, s.Batch)
	block := max(weightGradBlock/max(s.InC, s.OutC), 64)
	low, high := Activation{}.bounds()
	for k := lo; k < hi; k++ {
		first, last := s.Batch*k/parts*c.plane, s.Batch*(k+1)/parts*c.plane
		sums := g.sums[k*g.size : (k+1)*g.size]
		for q := first; q < last; q += block {
			starts := g.p.starts[q:min(q+block, last)]
			reach := 4*(perIn-1) + starts[len(starts)-1] // starts ascend
			for gr := range s.Group {
				for t, tap := range g.p.taps {
					src := g.image[tap+4*gr*perIn:]
					for col := 0; col < g.padded; col += 32 {
						width := min(32, g.padded-col)
						a := stripF32{
							count: perIn, n: width, width: width, k: 1, ldb: g.ldy, src: src, rows: g.p.channels, offs: starts, reach: reach,
							b: g.dy[q*g.ldy+gr*g.padded+col:], start: g.zeroes[:], dst: sums[((gr*len(g.p.taps)+t)*perIn)*g.padded+col:], ldd: g.padded,
							lo: low, hi: high, more: q > first,
						}
						a.run()
					}
				}
			}
		}
	}
}

// InputGradShape returns the convolution that the gradient of the input of s is: of the gradient of the output, with stride-1 zeros between
// its pixels, with the weights turned around. It is false where the pads of s reach further than its kernel.
func (s *ConvShape) InputGradShape() (*ConvShape, bool) {
	n := len(s.In)
	r := &ConvShape{
		Batch: s.Batch, InC: s.OutC, OutC: s.InC, Group: s.Group, In: make([]int, n), Kernel: s.Kernel, Dilation: s.Dilation,
		PadBegin: make([]int, n), PadEnd: make([]int, n),
	}
	for i := range n {
		out := s.outAt(i)
		if out == 0 {
			return nil, false
		}
		span := axisOr(s.Dilation, i, 1) * (s.Kernel[i] - 1)
		r.In[i] = (out-1)*axisOr(s.Stride, i, 1) + 1
		r.PadBegin[i] = span - axisOr(s.PadBegin, i, 0)
		r.PadEnd[i] = s.In[i] + span - r.In[i] - r.PadBegin[i]
		if r.PadBegin[i] < 0 || r.PadEnd[i] < 0 {
			return nil, false
		}
	}
	return r, true
}

// TurnConvWeights sets dst to the weights of s.InputGradShape(): those of s with the channels exchanged and the taps in reverse.
func TurnConvWeights(s *ConvShape, dst, w []float32) {
	perIn, perOut, kernel := s.InC/s.Group, s.OutC/s.Group, product(s.Kernel)
	needLen("convolution weights", len(w), s.OutC*perIn*kernel)
	needLen("turned weights", len(dst), len(w))
	for g := range s.Group {
		for o := range perOut {
			for c := range perIn {
				from := w[((g*perOut+o)*perIn+c)*kernel:][:kernel]
				to := dst[((g*perIn+c)*perOut+o)*kernel:][:kernel]
				for t, v := range from {
					to[kernel-1-t] = v
				}
			}
		}
	}
}

// SpreadNHWC puts the pixels of channels-last images [batch, from..., channels] stride apart, with zeros between them: dst is
// [batch, (from-1)*stride+1..., channels].
func SpreadNHWC(p *Pool, batch, channels int, from, stride []int, src, dst []float32) {
	n := len(from)
	to, rows := make([]int, n), batch
	for i := range n {
		to[i] = (from[i]-1)*stride[i] + 1
		if i < n-1 {
			rows *= to[i]
		}
	}
	width := from[n-1]
	p.For(rows, 8, func(lo, hi int) {
		for r := lo; r < hi; r++ {
			row := dst[r*to[n-1]*channels : (r+1)*to[n-1]*channels]
			clear(row)
			at, size, rest, inside := 0, 1, r, true
			for i := n - 2; i >= 0; i-- {
				k := rest % to[i]
				rest /= to[i]
				inside = inside && k%stride[i] == 0
				at += k / stride[i] * size
				size *= from[i]
			}
			if !inside {
				continue
			}
			at = (rest*size + at) * width * channels
			for q := range width {
				copy(row[q*stride[n-1]*channels:][:channels], src[at+q*channels:])
			}
		}
	})
}

// DepthwiseWeightGradF32NHWC is ConvWeightGradF32NHWC of a depthwise convolution with one output per channel.
func DepthwiseWeightGradF32NHWC(p *Pool, s *ConvShape, x, dy, dw []float32) {
	checkConv(s, len(x), len(dy), 0)
	taps, channels := product(s.Kernel), s.InC
	needLen("convolution weights", len(dw), channels*taps)
	c := planFloats(s, false, 0)
	if c.positions == 0 {
		clear(dw)
		return
	}
	image, buf := c.bring(p, unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x)))
	if buf != nil {
		defer buf.release()
	}
	pixels := unsafe.Slice((*float32)(unsafe.Pointer(&image[0])), len(image)/4)
	plan := planWeightGrad(s, false, 0)
	chunks := min(weightGradChunks, s.Batch)
	sums := Borrow[float32](chunks * taps * channels)
	defer sums.Release()
	clear(sums.Data)
	p.For(chunks, 1, func(lo, hi int) {
		for k := lo; k < hi; k++ {
			acc := sums.Data[k*taps*channels : (k+1)*taps*channels]
			for q := s.Batch * k / chunks * c.plane; q < s.Batch*(k+1)/chunks*c.plane; q++ {
				d := dy[q*channels : (q+1)*channels]
				for t, tap := range plan.taps {
					a, v := acc[t*channels:][:channels], pixels[(plan.starts[q]+tap)/4:][:channels]
					for i, g := range d {
						a[i] += g * v[i]
					}
				}
			}
		}
	})
	for k := 1; k < chunks; k++ {
		Add(sums.Data[:taps*channels], sums.Data[:taps*channels], sums.Data[k*taps*channels:(k+1)*taps*channels])
	}
	for t := range taps {
		for ch := range channels {
			dw[ch*taps+t] = sums.Data[t*channels+ch]
		}
	}
}
