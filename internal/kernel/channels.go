package kernel

// Loops over channels-last images [rows, channels] with a value for each channel, as batch normalization needs them in training. A value per
// channel is laid out for several pixels at a time, so that few channels fill vectors too.

const (
	channelTile   = 512 // floats that a value per channel is repeated to, about
	channelChunks = 16  // parts of the rows whose sums are made apart
	channelFlush  = 32  // tiles that are summed in single precision
)

// tileRows is how many pixels a tile has.
func tileRows(channels int) int { return max(1, channelTile/channels) }

// spreadChannels repeats one value per channel for a tile.
func spreadChannels(dst, v []float32) {
	for n := 0; n < len(dst); n += len(v) {
		copy(dst[n:], v)
	}
}

// ChannelSums sets sum[c] to the sum of x over the rows; with y it sets that to the sum of y, and product[c] to that of (x-center)*y, center with
// a value per channel.
// Sums are taken in double precision from short ones in single; their order does not depend on the number of threads.
func ChannelSums(p *Pool, rows, channels int, x, y, center []float32, sum, product []float64) {
	needLen("channel values", len(x), rows*channels)
	chunks := min(channelChunks, max(rows, 1))
	part := Borrow[float64](chunks * 2 * channels)
	defer part.Release()
	clear(part.Data)
	a := channelArgs{rows: rows, channels: channels, chunks: chunks, x: x, y: y, center: center, part: part.Data}
	summingChannels.For(p, chunks, 1, a, (*channelArgs).sums)
	clear(sum)
	clear(product)
	for k := range chunks {
		own := part.Data[k*2*channels:]
		for c := range sum {
			sum[c] += own[c]
		}
		for c := range product {
			product[c] += own[channels+c]
		}
	}
}

var summingChannels, scalingChannels Jobs[channelArgs]

type channelArgs struct {
	rows, channels, chunks   int
	x, y, center             []float32
	part                     []float64
	dst, scale, slope, shift []float32
}

func (a *channelArgs) sums(lo, hi int) {
	n := tileRows(a.channels)
	tile := n * a.channels
	work := Borrow[float32](4 * tile)
	defer work.Release()
	plain, product, center, now := work.Data[:tile], work.Data[tile:2*tile], work.Data[2*tile:3*tile], work.Data[3*tile:]
	if a.y != nil {
		spreadChannels(center, a.center)
	}
	for k := lo; k < hi; k++ {
		sums := a.part[k*2*a.channels : (k+1)*2*a.channels]
		clear(plain)
		clear(product)
		count := 0
		flush := func() {
			for i := range tile {
				sums[i%a.channels] += float64(plain[i])
				sums[a.channels+i%a.channels] += float64(product[i])
			}
			clear(plain)
			clear(product)
			count = 0
		}
		last := a.rows * (k + 1) / a.chunks * a.channels
		for at := a.rows * k / a.chunks * a.channels; at < last; at += tile {
			end := min(at+tile, last)
			x := a.x[at:end]
			if a.y != nil {
				y, now := a.y[at:end], now[:len(x)]
				Sub(now, x, center)
				Mul(now, now, y)
				Add(product[:len(x)], product[:len(x)], now)
				x = y
			}
			Add(plain[:len(x)], plain[:len(x)], x)
			if count++; count == channelFlush {
				flush()
			}
		}
		flush()
	}
}

// ChannelAffine sets dst = x*scale + shift, with one scale and shift per channel.
func ChannelAffine(p *Pool, rows, channels int, dst, x, scale, shift []float32) {
	a := channelArgs{channels: channels, dst: dst, x: x, scale: scale, shift: shift}
	scalingChannels.For(p, (rows*channels+1<<14-1)>>14, 1, a, (*channelArgs).affine)
}

// ChannelBlend sets dst = x*scale + y*slope + shift, with one value of each per channel. dst may be x or y.
func ChannelBlend(p *Pool, rows, channels int, dst, x, scale, y, slope, shift []float32) {
	a := channelArgs{channels: channels, dst: dst, x: x, scale: scale, y: y, slope: slope, shift: shift}
	scalingChannels.For(p, (rows*channels+1<<14-1)>>14, 1, a, (*channelArgs).affine)
}

// affine works on the tiles that begin in spans [lo, hi) of 2^14 values.
func (a *channelArgs) affine(lo, hi int) {
	tile := tileRows(a.channels) * a.channels
	work := Borrow[float32](4 * tile)
	defer work.Release()
	scale, slope, shift, now := work.Data[:tile], work.Data[tile:2*tile], work.Data[2*tile:3*tile], work.Data[3*tile:]
	spreadChannels(scale, a.scale)
	spreadChannels(shift, a.shift)
	if a.y != nil {
		spreadChannels(slope, a.slope)
	}
	first, last := (lo<<14+tile-1)/tile*tile, min(hi<<14, len(a.dst))
	for at := first; at < last; at += tile {
		end := min(at+tile, len(a.dst))
		dst := a.dst[at:end]
		if a.y != nil {
			now := now[:len(dst)]
			Mul(now, a.y[at:end], slope)
			Mul(dst, a.x[at:end], scale)
			Add(dst, dst, now)
		} else {
			Mul(dst, a.x[at:end], scale)
		}
		Add(dst, dst, shift)
	}
}

// MaskPositive sets dst[i] to d[i] where y[i] is above zero, else to 0, for len(dst) elements: the gradient of a ReLU from its output, in
// which no value is negative or NaN.
func MaskPositive(dst, d, y []float32) {
	d, y = d[:len(dst)], y[:len(dst)]
	if maskPositiveVector(dst, d, y) {
		return
	}
	a, b, c := words(dst), words(d), words(y)
	b, c = b[:len(a)], c[:len(a)]
	for i, v := range c {
		a[i] = b[i] & uint32(-int32(v&^(1<<31))>>31) // all ones but for a zero of either sign
	}
}
