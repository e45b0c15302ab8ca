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
	s.each(p, x, y, poolWindow{most: true, signed: signed, least: least})
}

// poolWindow is what becomes of a window: its maximum, or its sum after what sum says.
type poolWindow struct {
	most, signed bool
	least        byte
	sum          scaledSum
	average      *averagePool // nil: sum is whole
}

func (w *poolWindow) codes(src []byte, offs []int, o int, dst []byte) {
	switch {
	case !w.most && w.average == nil:
		sumTaps(src, offs, &w.sum, dst)
	case !w.most:
		v := w.average.of(w.sum, len(offs), o)
		sumTaps(src, offs, &v, dst)
	case len(offs) == 0:
		fillWith(dst, w.least)
	default:
		maxTaps(src, offs, w.signed, dst)
	}
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
	s.each(p, x, y, poolWindow{sum: average, average: &averagePool{s, qx.Zero, countPad, padEnd}})
}

// averagePool says by what the sum of a window is divided.
type averagePool struct {
	s        *PoolShape
	zero     int32
	countPad bool
	padEnd   []int
}

// of completes v for output o, whose window has n elements.
func (a *averagePool) of(v scaledSum, n, o int) scaledSum {
	v.start = -int32(n) * a.zero
	if s := a.s; a.countPad { // elements of the window in the padded input
		n = 1
		for i := len(s.In) - 1; i >= 0; i-- {
			first := o%s.Out[i]*axisOr(s.Stride, i, 1) - axisOr(s.Pad, i, 0)
			o /= s.Out[i]
			end, step := s.In[i]+axisOr(a.padEnd, i, 0), axisOr(s.Dilation, i, 1)
			n *= min(s.Kernel[i], max(0, (end-first+step-1)/step))
		}
	}
	v.b = float32(n)
	if n == 0 {
		v.a, v.b = 0, 1
	}
	return v
}

// GlobalAveragePoolCodes averages all spatial elements of each channel as ONNX Runtime does com.microsoft.QLinearGlobalAveragePool:
//
//	y = sat(rne((sum (x-zx))*m) + zy)   with m = sx/(count*sy) in float32
//
// x is [batch, channels, count], or [batch, count, channels] with channelsLast; y is [batch, channels]. count is positive.
func GlobalAveragePoolCodes(p *Pool, batch, channels, count int, channelsLast bool, x []byte, qx *Code, y []byte, qy *Code) {
	sizes := Borrow[int](3)
	defer sizes.Release()
	sizes.Data[0], sizes.Data[1], sizes.Data[2] = count, 1, max(count, 1)
	s := PoolShape{Batch: batch, Channels: channels, In: sizes.Data[:1], Out: sizes.Data[1:2], Kernel: sizes.Data[2:3], ChannelsLast: channelsLast}
	s.check(len(x), len(y))
	checkCodes(qy, qx)
	least, most := qy.limits()
	v := scaledSum{
		signed: qx.Signed, start: -int32(count) * qx.Zero, a: qx.Scale / float32(float32(count)*qy.Scale), b: 1, c: 1,
		lo: float32(least - qy.Zero), hi: float32(most - qy.Zero), zp: qy.Zero,
	}
	s.each(p, x, y, poolWindow{sum: v})
}

// scaledSum is what becomes of a sum: rne(clamp(((start+sum)*a)/b)/c + z, lo, hi)) + zp.
type scaledSum struct {
	signed     bool
	start      int32
	a, b, c, z float32
	lo, hi     float32
	zp         int32
}

var pooling Jobs[poolArgs]

type poolArgs struct {
	s       PoolShape
	x, y    []byte
	window  poolWindow
	in, out int // elements of a channel
}

// channelGroup is how many channels are brought together at most.
const channelGroup = 64

// each computes every output position of groups of channels from the runs of channels in its window: src[offs[t]:] and dst hold the
// group's channels. Channels first are brought last.
func (s *PoolShape) each(p *Pool, x, y []byte, window poolWindow) {
	a := poolArgs{*s, x, y, window, product(s.In), product(s.Out)}
	if s.Batch*s.Channels*a.out == 0 {
		return
	}
	if s.Batch*s.Channels*a.out*product(s.Kernel) < minTask/2 {
		p = nil
	}
	if s.ChannelsLast {
		pooling.For(p, s.Batch*a.out, max(1, (1<<14)/(s.Channels*product(s.Kernel))), a, (*poolArgs).last)
		return
	}
	pooling.For(p, s.Batch*((s.Channels+channelGroup-1)/channelGroup), 1, a, (*poolArgs).groups)
}

func (a *poolArgs) last(lo, hi int) {
	s := &a.s
	list := Borrow[int](product(s.Kernel))
	defer list.Release()
	w := slider{s: s, offs: list.Data[:0]}
	for q := lo; q < hi; q++ {
		b, o := q/a.out, q%a.out
		from := w.slide(o)
		a.window.codes(a.x[b*a.in*s.Channels : (b+1)*a.in*s.Channels][from:], w.offs, o, a.y[q*s.Channels:(q+1)*s.Channels])
	}
}

func (a *poolArgs) groups(lo, hi int) {
	s, in, out := &a.s, a.in, a.out
	groups := (s.Channels + channelGroup - 1) / channelGroup
	buf := borrow(channelGroup * (in + out))
	defer buf.release()
	list := Borrow[int](product(s.Kernel))
	defer list.Release()
	for t := lo; t < hi; t++ {
		first := t/groups*s.Channels + t%groups*channelGroup
		count := min(channelGroup, s.Channels-t%groups*channelGroup)
		src, dst := buf.bytes()[:in*count], buf.bytes()[in*count:(in+out)*count]
		Transpose(src, count, a.x[first*in:], in, count, in)
		for o := range out {
			a.window.codes(src, s.window(list.Data[:0], o, count), o, dst[o*count:(o+1)*count])
		}
		Transpose(a.y[first*out:], out, dst, count, out, count)
	}
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
