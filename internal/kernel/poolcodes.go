package kernel

import "fmt"

// PoolShape describes pooling over any number of spatial axes. Input is [Batch, Channels, In...], or [Batch, In..., Channels]
// with ChannelsLast, output the same with Out for In, all contiguous. Stride and Dilation may be nil for ones, Pad nil for
// zeros. Out is given because it depends on ceil_mode; windows reach beyond the input freely, and what
// lies there does not count.
type PoolShape struct {
	Batch, Channels  int
	In, Out, Kernel  []int
	Stride, Dilation []int
	Pad              []int // before each axis
	ChannelsLast     bool
}

func (s *PoolShape) check(lenX, lenY int) {
	n := len(s.In)
	bad := s.Batch < 0 || s.Channels < 0 || n == 0 || len(s.Out) != n || len(s.Kernel) != n
	for _, v := range [][]int{s.Stride, s.Dilation, s.Pad} {
		bad = bad || v != nil && len(v) != n
	}
	if !bad {
		for i := range n {
			bad = bad || s.In[i] < 0 || s.Out[i] < 0 || s.Kernel[i] < 1 || axisOr(s.Stride, i, 1) < 1 || axisOr(s.Dilation, i, 1) < 1 || axisOr(s.Pad, i, 0) < 0
		}
	}
	if bad {
		panic(fmt.Sprintf("kernel: pooling shape %+v", *s))
	}
	needLen("pooling input", lenX, s.Batch*s.Channels*product(s.In))
	needLen("pooling output", lenY, s.Batch*s.Channels*product(s.Out))
}

// MaxPoolCodes takes the maximum of each window of 8-bit codes (ONNX MaxPool), two's complement if signed. A window without
// elements gives the least code.
func MaxPoolCodes(p *Pool, s *PoolShape, x []byte, signed bool, y []byte) {
	s.check(len(x), len(y))
	least := byte(0)
	if signed {
		least = 0x80
	}
	s.each(p, x, y, func(src []byte, offs []int, _ int, dst []byte) {
		if len(offs) == 0 {
			for i := range dst {
				dst[i] = least
			}
			return
		}
		maxTaps(src, offs, signed, dst)
	})
}

// AveragePoolCodes averages each window of 8-bit codes as ONNX Runtime does com.microsoft.QLinearAveragePool, with each step rounded
// to float32:
//
//	y = sat(rne(((sum (x-zx))*sx)/count)/sy + zy))
//
// count is the number of elements of the window inside the input, or with countPad inside the padded input, whose padding
// after each axis is padEnd (nil for none). An empty window gives zy.
func AveragePoolCodes(p *Pool, s *PoolShape, x []byte, qx *Code, countPad bool, padEnd []int, y []byte, qy *Code) {
	s.check(len(x), len(y))
	checkCodes(qy, qx)
	if padEnd != nil && len(padEnd) != len(s.In) {
		panic("kernel: pooling: one padding after each axis is wanted")
	}
	least, most := qy.limits()
	average := scaledSum{signed: qx.Signed, a: qx.Scale, c: qy.Scale, z: float32(qy.Zero), lo: float32(least), hi: float32(most)}
	pos := func(o int) (count int) { // elements of the window of output o in the padded input
		count = 1
		for i := len(s.In) - 1; i >= 0; i-- {
			first := o%s.Out[i]*axisOr(s.Stride, i, 1) - axisOr(s.Pad, i, 0)
			o /= s.Out[i]
			end, step := s.In[i]+axisOr(padEnd, i, 0), axisOr(s.Dilation, i, 1)
			count *= min(s.Kernel[i], max(0, (end-first+step-1)/step))
		}
		return count
	}
	s.each(p, x, y, func(src []byte, offs []int, o int, dst []byte) {
		v := average
		v.start = -int32(len(offs)) * qx.Zero
		count := len(offs)
		if countPad {
			count = pos(o)
		}
		v.b = float32(count)
		if count == 0 {
			v.a, v.b = 0, 1
		}
		sumTaps(src, offs, &v, dst)
	})
}

// GlobalAveragePoolCodes averages all spatial elements of each channel as ONNX Runtime does com.microsoft.QLinearGlobalAveragePool:
//
//	y = sat(rne((sum (x-zx))*m) + zy)   with m = sx/(count*sy) in float32
//
// x is [batch, channels, count], or [batch, count, channels] with channelsLast; y is [batch, channels]. count is positive.
func GlobalAveragePoolCodes(p *Pool, batch, channels, count int, channelsLast bool, x []byte, qx *Code, y []byte, qy *Code) {
	s := PoolShape{Batch: batch, Channels: channels, In: []int{count}, Out: []int{1}, Kernel: []int{max(count, 1)}, ChannelsLast: channelsLast}
	s.check(len(x), len(y))
	checkCodes(qy, qx)
	least, most := qy.limits()
	v := scaledSum{
		signed: qx.Signed, start: -int32(count) * qx.Zero, a: qx.Scale / float32(float32(count)*qy.Scale), b: 1, c: 1,
		lo: float32(least - qy.Zero), hi: float32(most - qy.Zero), zp: qy.Zero,
	}
	s.each(p, x, y, func(src []byte, offs []int, _ int, dst []byte) { sumTaps(src, offs, &v, dst) })
}

// scaledSum is what becomes of a sum: rne(clamp(((start+sum)*a)/b)/c + z, lo, hi)) + zp.
type scaledSum struct {
	signed     bool
	start      int32
	a, b, c, z float32
	lo, hi     float32
	zp         int32
}

// each calls window for every output position of groups of channels with the runs of channels in its window: src[offs[t]:] and
// dst hold the group's channels. Channels first are brought last, at most channelGroup at a time.
func (s *PoolShape) each(p *Pool, x, y []byte, window func(src []byte, offs []int, o int, dst []byte)) {
	const channelGroup = 64
	in, out := product(s.In), product(s.Out)
	if s.Batch*s.Channels*out == 0 {
		return
	}
	if s.Batch*s.Channels*out*product(s.Kernel) < minTask/2 {
		p = nil
	}
	if s.ChannelsLast {
		p.For(s.Batch*out, max(1, (1<<14)/(s.Channels*product(s.Kernel))), func(lo, hi int) {
			w := slider{s: s, offs: make([]int, 0, 64)}
			for q := lo; q < hi; q++ {
				b, o := q/out, q%out
				from := w.slide(o)
				window(x[b*in*s.Channels : (b+1)*in*s.Channels][from:], w.offs, o, y[q*s.Channels:(q+1)*s.Channels])
			}
		})
		return
	}
	groups := (s.Channels + channelGroup - 1) / channelGroup
	p.For(s.Batch*groups, 1, func(lo, hi int) {
		buf := borrow(channelGroup * (in + out))
		defer buf.release()
		offs := make([]int, 0, 64)
		for t := lo; t < hi; t++ {
			first := t/groups*s.Channels + t%groups*channelGroup
			count := min(channelGroup, s.Channels-t%groups*channelGroup)
			src, dst := buf.bytes()[:in*count], buf.bytes()[in*count:(in+out)*count]
			Transpose(src, count, x[first*in:], in, count, in)
			for o := range out {
				offs = s.window(offs[:0], o, count)
				window(src, offs, o, dst[o*count:(o+1)*count])
			}
			Transpose(y[first*out:], out, dst, count, out, count)
		}
	})
}

// slider gives the windows of consecutive outputs of channels-last images: one that lies inside of its row like the one before it
// is the same window further on.
type slider struct {
	s      *PoolShape
	offs   []int
	from   int
	inside bool // the last window lay inside of its row
}

// slide sets offs to the window of output o, and returns from where on its offsets count. Between calls o grows by one, or a new
// image begins.
func (w *slider) slide(o int) int {
	last := len(w.s.In) - 1
	x, stride := o%w.s.Out[last], axisOr(w.s.Stride, last, 1)
	first := x*stride - axisOr(w.s.Pad, last, 0)
	inside := first >= 0 && first+(w.s.Kernel[last]-1)*axisOr(w.s.Dilation, last, 1) < w.s.In[last]
	if x > 0 && inside && w.inside {
		w.from += stride * w.s.Channels
		return w.from
	}
	w.offs, w.from, w.inside = w.s.window(w.offs[:0], o, w.s.Channels), 0, inside
	return 0
}

// window appends the offsets, step apart, of the elements in the window of output o.
func (s *PoolShape) window(offs []int, o, step int) []int {
	var from, taps [8]int
	n := len(s.In)
	if n > len(from) {
		panic("kernel: pooling over more than 8 axes")
	}
	total := 1
	for i := n - 1; i >= 0; i-- {
		first, dilation := o%s.Out[i]*axisOr(s.Stride, i, 1)-axisOr(s.Pad, i, 0), axisOr(s.Dilation, i, 1)
		o /= s.Out[i]
		skip := 0
		if first < 0 {
			skip = (-first + dilation - 1) / dilation
		}
		from[i] = first + skip*dilation
		taps[i] = max(0, min(s.Kernel[i], (s.In[i]-first+dilation-1)/dilation)-skip)
		total *= taps[i]
	}
	for t := range total {
		at, size := 0, step
		for i := n - 1; i >= 0; i-- {
			at += (from[i] + t%taps[i]*axisOr(s.Dilation, i, 1)) * size
			t /= taps[i]
			size *= s.In[i]
		}
		offs = append(offs, at)
	}
	return offs
}

func maxTapsGeneric(src []byte, offs []int, signed bool, dst []byte) {
	flip := byte(0)
	if signed {
		flip = 0x80
	}
	for c := range dst {
		m := src[offs[0]+c] ^ flip
		for _, off := range offs[1:] {
			m = max(m, src[off+c]^flip)
		}
		dst[c] = m ^ flip
	}
}

func sumTapsGeneric(src []byte, offs []int, v *scaledSum, dst []byte) {
	for c := range dst {
		sum := v.start
		for _, off := range offs {
			if v.signed {
				sum += int32(int8(src[off+c]))
			} else {
				sum += int32(src[off+c])
			}
		}
		f := float32(float32(float32(float32(sum)*v.a)/v.b)/v.c) + v.z
		dst[c] = byte(roundCode(f, v.lo, v.hi) + v.zp)
	}
}
