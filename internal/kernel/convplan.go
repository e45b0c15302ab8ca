package kernel

// convPlan is where everything lies in a convolution: a plane is brought into a form in which the
// input of each tap of a whole row of outputs is contiguous, so that neither padding nor strides
// appear in the inner loops.
//
// In that form each axis is padded, and the last axis is cut into stride phases: elements phase,
// phase+stride, phase+2*stride... lie together. Where nothing is padded and the last stride is 1 that is the
// input itself.
type convPlan struct {
	s                  *ConvShape
	out                []int
	plane, kernel      int // outputs of one channel, taps of one channel
	perIn, perOut      int // channels of a group
	asIs               bool
	inPlane, padPlane  int   // words of one channel before and after padding
	padStep            []int // per axis but the last, the distance of two padded indices
	phases, phaseWidth int
	tap                []int // offset of each tap of a channel
}

func planConv(s *ConvShape) *convPlan {
	last := len(s.In) - 1
	c := &convPlan{s: s, out: s.Out(), kernel: product(s.Kernel), perIn: s.InC / s.Group, perOut: s.OutC / s.Group, inPlane: product(s.In)}
	c.plane = product(c.out)
	c.phases = axisOr(s.Stride, last, 1)
	c.asIs = c.phases == 1
	for i := range s.In {
		c.asIs = c.asIs && axisOr(s.PadBegin, i, 0) == 0 && axisOr(s.PadEnd, i, 0) == 0
	}
	c.phaseWidth = (c.padded(last) + c.phases - 1) / c.phases
	c.padStep = make([]int, last)
	step := c.phases * c.phaseWidth
	for i := last - 1; i >= 0; i-- {
		c.padStep[i] = step
		step *= c.padded(i)
	}
	c.padPlane = step
	c.tap = make([]int, c.kernel)
	for t := range c.tap {
		rest := t
		for i := last; i >= 0; i-- {
			pos := rest % s.Kernel[i] * axisOr(s.Dilation, i, 1)
			rest /= s.Kernel[i]
			if i == last {
				c.tap[t] = pos%c.phases*c.phaseWidth + pos/c.phases
			} else {
				c.tap[t] += pos * c.padStep[i]
			}
		}
	}
	return c
}

// padded is the size of axis i with its padding.
func (c *convPlan) padded(i int) int {
	return c.s.In[i] + axisOr(c.s.PadBegin, i, 0) + axisOr(c.s.PadEnd, i, 0)
}

// row returns the offset of the first input, at tap 0, of row r of outputs; rows run over all axes but
// the last.
func (c *convPlan) row(r int) int {
	at := 0
	for i := len(c.padStep) - 1; i >= 0; i-- {
		at += r % c.out[i] * axisOr(c.s.Stride, i, 1) * c.padStep[i]
		r /= c.out[i]
	}
	return at
}

// eachInputRow calls f for every row of the last axis of a plane with the row's offset before and
// after padding.
func (c *convPlan) eachInputRow(f func(from, to int)) {
	last := len(c.s.In) - 1
	width := c.s.In[last]
	for r := range c.inPlane / max(width, 1) {
		rest, to := r, 0
		for i := last - 1; i >= 0; i-- {
			to += (rest%c.s.In[i] + axisOr(c.s.PadBegin, i, 0)) * c.padStep[i]
			rest /= c.s.In[i]
		}
		f(r*width, to)
	}
}

// pad writes the padded form of one plane of words; dst has padPlane elements. put writes elements
// [from, from+len(dst)*step) of a row of the plane, step apart, to dst.
func pad[T any](c *convPlan, dst []T, fill T, put func(dst []T, from, step int)) {
	last := len(c.s.In) - 1
	width, before := c.s.In[last], axisOr(c.s.PadBegin, last, 0)
	if !c.asIs {
		fillWith(dst, fill)
	}
	c.eachInputRow(func(from, to int) {
		for phase := range c.phases {
			// The first element of the row in this phase: x with (x+before) % phases == phase.
			x := ((phase-before)%c.phases + c.phases) % c.phases
			if x >= width {
				continue
			}
			count := (width - x + c.phases - 1) / c.phases
			start := to + phase*c.phaseWidth + (x+before)/c.phases
			put(dst[start:start+count], from+x, c.phases)
		}
	})
}

// fillWith sets all elements of x to v.
func fillWith[T any](x []T, v T) {
	if len(x) == 0 {
		return
	}
	x[0] = v
	for n := 1; n < len(x); n *= 2 {
		copy(x[n:], x[:n])
	}
}

// padF32 writes the padded form of a float32 plane.
func (c *convPlan) padF32(dst, src []float32) {
	pad(c, dst, 0, func(dst []float32, from, step int) {
		switch step {
		case 1:
			copy(dst, src[from:])
		case 2:
			everyOther(words(dst), words(src[from:]))
		default:
			for i := range dst {
				dst[i] = src[from+i*step]
			}
		}
	})
}

// everyOtherGeneric sets dst[i] = src[2*i].
func everyOtherGeneric(dst, src []uint32) {
	for i := range dst {
		dst[i] = src[2*i]
	}
}

// gatherPanel fills the columns [col, col+valid) of outputs of a panel of the given width with their
// inputs: dst[l*width+j] is the word that offs[l] names for output col+j. Further columns are cleared.
func (c *convPlan) gatherPanel(dst []uint32, width int, src []uint32, offs []int, col, valid int) {
	if valid < width {
		clear(dst[:len(offs)*width])
	}
	rowLen := c.out[len(c.out)-1]
	for done := 0; done < valid; {
		r, x := (col+done)/rowLen, (col+done)%rowLen
		run := min(rowLen-x, valid-done)
		gather(src[c.row(r)+x:], offs, dst[done:], width, run, width-done)
		done += run
	}
}

// gatherGeneric sets dst[l*ldd+j] = src[offs[l]+j] for j < n.
func gatherGeneric(src []uint32, offs []int, dst []uint32, ldd, n int) {
	for l, off := range offs {
		copy(dst[l*ldd:l*ldd+n], src[off:off+n])
	}
}
