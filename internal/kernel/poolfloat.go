package kernel

import "math"

// MaxPoolF32 takes the maximum of each window (ONNX MaxPool). A NaN loses against any number; a window without numbers gives
// the least finite value.
func MaxPoolF32(p *Pool, s *PoolShape, x, y []float32) {
	s.check(len(x), len(y))
	in, out := product(s.In), product(s.Out)
	if s.Batch*s.Channels*out == 0 {
		return
	}
	if s.Batch*s.Channels*out*product(s.Kernel) < minTask {
		p = nil
	}
	if s.ChannelsLast {
		poolingF32.For(p, s.Batch*out, max(1, minTask/(s.Channels*product(s.Kernel))), poolF32Args{*s, x, y, in, out}, (*poolF32Args).last)
		return
	}
	maxPoolPlanes(p, s, x, y)
}

var poolingF32 Jobs[poolF32Args]

type poolF32Args struct {
	s       PoolShape
	x, y    []float32
	in, out int // elements of a channel
}

func (a *poolF32Args) last(lo, hi int) {
	s := &a.s
	list := Borrow[int](product(s.Kernel))
	defer list.Release()
	w := slider{s: s, offs: list.Data[:0]}
	for q := lo; q < hi; q++ {
		from := w.slide(q % a.out)
		maxOfRows(a.y[q*s.Channels:(q+1)*s.Channels], a.x[q/a.out*a.in*s.Channels+from:], w.offs)
	}
}

// maxPoolPlanes is MaxPoolF32 of channels first.
func maxPoolPlanes(p *Pool, s *PoolShape, x, y []float32) {
	last := len(s.In) - 1
	in, out := product(s.In), product(s.Out)
	outer := PoolShape{In: s.In[:last], Out: s.Out[:last], Kernel: s.Kernel[:last]}
	for _, v := range []struct{ to, from *[]int }{{&outer.Stride, &s.Stride}, {&outer.Dilation, &s.Dilation}, {&outer.Pad, &s.Pad}} {
		if *v.from != nil {
			*v.to = (*v.from)[:last]
		}
	}
	width, rowLen := s.In[last], s.Out[last]
	stride, dilation, before := axisOr(s.Stride, last, 1), axisOr(s.Dilation, last, 1), axisOr(s.Pad, last, 0)
	// A padded row of the maxima over all axes but the last is cut into stride phases, in which the inputs of one tap
	// of a row of outputs lie together.
	padded := max(before+width, (rowLen-1)*stride+dilation*(s.Kernel[last]-1)+1)
	phaseLen := (padded + stride - 1) / stride
	p.For(s.Batch*s.Channels, 0, func(lo, hi int) {
		buf := borrow(4 * 2 * (padded + stride))
		defer buf.release()
		line, phases := buf.f32()[:phaseLen*stride], buf.f32()[phaseLen*stride:2*phaseLen*stride]
		offs := make([]int, 0, 64)
		for plane := lo; plane < hi; plane++ {
			src := x[plane*in : (plane+1)*in]
			for o := range out / rowLen {
				offs = outer.window(offs[:0], o, width)
				fillLeast(line[:before])
				fillLeast(line[before+width:])
				maxOfRows(line[before:before+width], src, offs)
				rows := line
				if stride > 1 {
					rows = phases
					for f := range stride {
						everyNth(rows[f*phaseLen:(f+1)*phaseLen], line[f:], stride)
					}
				}
				dst := y[plane*out+o*rowLen:][:rowLen]
				copy(dst, rows)
				for t := 1; t < s.Kernel[last]; t++ {
					pos := t * dilation
					Max(dst, rows[pos%stride*phaseLen+pos/stride:][:rowLen], dst)
				}
			}
		}
	})
}

// maxOfRows sets dst to the maximum over the rows of src that begin at offs; of none, the least finite value.
func maxOfRows(dst, src []float32, offs []int) {
	fillLeast(dst)
	for _, off := range offs {
		Max(dst, src[off:off+len(dst)], dst)
	}
}

// fillLeast sets x to the least finite value.
func fillLeast(x []float32) {
	for len(x) > 0 {
		x = x[copy(x, leastValues[:]):]
	}
}

var leastValues = func() (v [256]float32) {
	for i := range v {
		v[i] = -math.MaxFloat32
	}
	return v
}()

// everyNth sets dst[i] = src[n*i] as far as src goes.
func everyNth(dst, src []float32, n int) {
	if n == 2 && len(src) >= 2*len(dst)-1 {
		everyOther(words(dst), words(src))
		return
	}
	for i := range dst {
		if n*i >= len(src) {
			break
		}
		dst[i] = src[n*i]
	}
}
