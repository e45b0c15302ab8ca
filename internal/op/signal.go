package op

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

var signalOps = table{
	"DFT": fresh[DFT], "STFT": fresh[STFT],
	"HannWindow": fresh[HannWindow], "HammingWindow": fresh[HammingWindow], "BlackmanWindow": fresh[BlackmanWindow],
	"MelWeightMatrix": fresh[MelWeightMatrix],
}

// maxSignal bounds the lengths of transforms and windows, which come from inputs.
const maxSignal = 1 << 28

// DFT is the discrete Fourier transform along an axis, the optional third input (-2 if omitted). The last dimension holds real
// and imaginary part, or the real part only. The signal is cut or padded with zeros to the optional second input.
type DFT struct {
	Inverse  bool `attr:"inverse,0"`
	OneSided bool `attr:"onesided,0"` // leave out, or complete, the conjugate half of the spectrum of a real signal
}

func (*DFT) Kind() string { return "DFT" }

func (o *DFT) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 3); err != nil {
		return nil, err
	}
	x, length, axisIn := in[0], arg(in, 1), arg(in, 2)
	if err := floats.check(0, x.DType); err != nil {
		return nil, err
	}
	if !x.Ranked {
		return []graph.Type{graph.Unranked(x.DType)}, nil
	}
	if len(x.Dims) < 2 {
		return nil, fmt.Errorf("input 0: want at least 2 dimensions, got %v", x)
	}
	out := graph.Ranked(x.DType, unknownDims(len(x.Dims))...)
	out.Dims[len(out.Dims)-1] = graph.Known(2)
	if o.Inverse && o.OneSided {
		out.Dims[len(out.Dims)-1] = graph.Known(1)
	}
	axis := []int{-2}
	if !axisIn.IsNone() {
		var known bool
		if axis, known = knownInts(axisIn); !known || len(axis) != 1 {
			return []graph.Type{out}, nil
		}
	}
	a, err := dftAxis(axis[0], len(x.Dims))
	if err != nil {
		return nil, err
	}
	copy(out.Dims[:len(out.Dims)-1], x.Dims)
	n := x.Dims[a].Size
	switch {
	case !length.IsNone():
		v, known := knownInts(length)
		n = -1
		if known && len(v) == 1 {
			n = v[0]
		}
	case n >= 0 && o.Inverse && o.OneSided:
		n = 2 * (n - 1)
	}
	switch {
	case n < 0 && length.IsNone() && !o.OneSided:
	case n < 0:
		out.Dims[a] = graph.Unknown
	case o.OneSided && !o.Inverse:
		out.Dims[a] = graph.Known(n/2 + 1)
	default:
		out.Dims[a] = graph.Known(n)
	}
	return []graph.Type{out}, nil
}

// dftAxis resolves an axis, which must not be the last one.
func dftAxis(axis, rank int) (int, error) {
	a, err := tensor.Axis(axis, rank)
	if err == nil && a == rank-1 {
		err = fmt.Errorf("axis %d holds real and imaginary part", axis)
	}
	return a, err
}

func (o *DFT) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 1, 3)
	if err != nil {
		return nil, err
	}
	x := in[0]
	if err := floats.check(0, x.DType); err != nil {
		return nil, err
	}
	rank := x.Rank()
	if rank < 2 || x.Shape[rank-1] != 1 && x.Shape[rank-1] != 2 {
		return nil, fmt.Errorf("input 0: want a last dimension of 1 or 2, got shape %v", x.Shape)
	}
	axis := -2
	if t := arg(in, 2); t != nil {
		if axis, err = scalarInt(t); err != nil {
			return nil, fmt.Errorf("axis: %w", err)
		}
	}
	if axis, err = dftAxis(axis, rank); err != nil {
		return nil, err
	}
	size := x.Shape[axis]
	n := size
	if o.Inverse && o.OneSided {
		n = 2 * (size - 1)
	}
	if t := arg(in, 1); t != nil {
		if n, err = scalarInt(t); err != nil {
			return nil, fmt.Errorf("dft_length: %w", err)
		}
	}
	if n < 1 || n > maxSignal {
		return nil, fmt.Errorf("dft_length: %d is not in 1..%d", n, maxSignal)
	}
	shape := x.Shape.Clone()
	shape[axis], shape[rank-1] = n, 2
	switch {
	case o.OneSided && o.Inverse:
		shape[rank-1] = 1
	case o.OneSided:
		shape[axis] = n/2 + 1
	}
	if err := checkSize(shape); err != nil {
		return nil, err
	}
	values, err := x.Float64s()
	if err != nil {
		return nil, err
	}
	parts := x.Shape[rank-1]
	inner := x.Shape[axis+1 : rank-1].Len()
	lines := x.Shape[:axis].Len() * inner
	out := tensor.New(tensor.Float64, shape...)
	dst := tensor.Data[float64](out)
	rows, outParts := shape[axis], shape[rank-1]
	plan := newFourier(n, o.Inverse)
	e.For(lines, max(1, elementGrain/16/n), func(lo, hi int) {
		line, work := make([]complex128, n), plan.scratch()
		for l := lo; l < hi; l++ {
			at := (l/inner*size*inner + l%inner) * parts
			clear(line)
			for i := range min(n, size) {
				v := values[at+i*inner*parts:]
				if parts == 2 {
					line[i] = complex(v[0], v[1])
				} else {
					line[i] = complex(v[0], 0)
				}
			}
			if o.OneSided && o.Inverse {
				completeSpectrum(line)
			}
			plan.transform(line, work)
			at = (l/inner*rows*inner + l%inner) * outParts
			for i := range rows {
				v := dst[at+i*inner*outParts:]
				v[0] = real(line[i])
				if outParts == 2 {
					v[1] = imag(line[i])
				}
			}
		}
	})
	return one(castTensor(e, out, x.DType, castMode{}))
}

// completeSpectrum sets the upper half of a spectrum to the conjugates of the lower one, so that its signal is real.
func completeSpectrum(line []complex128) {
	n := len(line)
	line[0] = complex(real(line[0]), 0)
	for k := 1; 2*k <= n; k++ {
		if 2*k == n {
			line[k] = complex(real(line[k]), 0)
			break
		}
		line[n-k] = complex(real(line[k]), -imag(line[k]))
	}
}

// STFT is the discrete Fourier transform of overlapping windowed frames of signals [batch, length, 1 or 2]. The result is
// [batch, frames, bins, 2].
type STFT struct {
	OneSided bool `attr:"onesided,1"`
}

func (*STFT) Kind() string { return "STFT" }

func (o *STFT) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 2, 4); err != nil {
		return nil, err
	}
	x, window := in[0], arg(in, 2)
	d, err := sameDType(x, window)
	if err != nil {
		return nil, err
	}
	if err := floats.check(0, d); err != nil {
		return nil, err
	}
	out := graph.Ranked(d, graph.Unknown, graph.Unknown, graph.Unknown, graph.Known(2))
	length := -1
	if x.Ranked {
		if len(x.Dims) != 3 {
			return nil, fmt.Errorf("input 0: want 3 dimensions, got %v", x)
		}
		out.Dims[0], length = x.Dims[0], x.Dims[1].Size
	}
	frame := length
	if given := arg(in, 3); !given.IsNone() {
		frame = -1
		if v, known := knownInts(given); known && len(v) == 1 {
			frame = v[0]
		}
	} else if !window.IsNone() {
		frame = -1
		if window.Ranked && len(window.Dims) == 1 {
			frame = window.Dims[0].Size
		}
	}
	if frame > 0 {
		out.Dims[2] = graph.Known(o.bins(frame))
		if step, known := knownInts(in[1]); known && len(step) == 1 && step[0] > 0 && length >= frame {
			out.Dims[1] = graph.Known((length-frame)/step[0] + 1)
		}
	}
	return []graph.Type{out}, nil
}

func (o *STFT) bins(frame int) int {
	if o.OneSided {
		return frame/2 + 1
	}
	return frame
}

func (o *STFT) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 2, 4)
	if err != nil {
		return nil, err
	}
	x, window := in[0], arg(in, 2)
	if err := floats.check(0, x.DType); err != nil {
		return nil, err
	}
	if x.Rank() != 3 || x.Shape[2] != 1 && x.Shape[2] != 2 {
		return nil, fmt.Errorf("input 0: want shape [batch, length, 1 or 2], got %v", x.Shape)
	}
	batch, length, parts := x.Shape[0], x.Shape[1], x.Shape[2]
	step, err := scalarInt(in[1])
	if err != nil {
		return nil, fmt.Errorf("frame_step: %w", err)
	}
	frame := length
	var weights []float64
	if window != nil {
		if window.Rank() != 1 {
			return nil, fmt.Errorf("window: want 1 dimension, got shape %v", window.Shape)
		}
		frame = window.Len()
		if weights, err = window.Float64s(); err != nil {
			return nil, fmt.Errorf("window: %w", err)
		}
	}
	if t := arg(in, 3); t != nil {
		if frame, err = scalarInt(t); err != nil {
			return nil, fmt.Errorf("frame_length: %w", err)
		}
		if window != nil && frame != window.Len() {
			return nil, fmt.Errorf("frame_length: %d differs from the window's length %d", frame, window.Len())
		}
	}
	if step < 1 || frame < 1 || frame > length {
		return nil, fmt.Errorf("frames of %d samples every %d do not fit a signal of %d", frame, step, length)
	}
	frames, bins := (length-frame)/step+1, o.bins(frame)
	shape := tensor.Shape{batch, frames, bins, 2}
	if err := checkSize(shape); err != nil {
		return nil, err
	}
	values, err := x.Float64s()
	if err != nil {
		return nil, err
	}
	out := tensor.New(tensor.Float64, shape...)
	dst := tensor.Data[float64](out)
	plan := newFourier(frame, false)
	e.For(batch*frames, max(1, elementGrain/16/frame), func(lo, hi int) {
		line, work := make([]complex128, frame), plan.scratch()
		for l := lo; l < hi; l++ {
			signal := values[(l/frames*length+l%frames*step)*parts:]
			for i := range line {
				re, im := signal[i*parts], 0.0
				if parts == 2 {
					im = signal[i*parts+1]
				}
				if weights != nil {
					re, im = re*weights[i], im*weights[i]
				}
				line[i] = complex(re, im)
			}
			plan.transform(line, work)
			row := dst[l*bins*2 : (l+1)*bins*2]
			for i, v := range line[:bins] {
				row[2*i], row[2*i+1] = real(v), imag(v)
			}
		}
	})
	return one(castTensor(e, out, x.DType, castMode{}))
}
