package op

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// windowed holds the attributes of window functions, whose size is the input.
type windowed struct {
	DType    int  `attr:"output_datatype,1"` // tensor.DType
	Periodic bool `attr:"periodic,1"`        // one period of a periodic function, else symmetric
}

func (o windowed) target() (tensor.DType, error) {
	d, err := dtypeAttr("output_datatype", o.DType)
	if err == nil && !numbers.has(d) {
		err = fmt.Errorf("output_datatype: %v is not one of %v", d, numbers)
	}
	return d, err
}

func (o windowed) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	d, err := o.target()
	if err != nil {
		return nil, err
	}
	if err := indexInts.check(0, in[0].DType); err != nil {
		return nil, err
	}
	size := graph.Unknown
	if v, known := knownInts(in[0]); known && len(v) == 1 && v[0] >= 0 {
		size = graph.Known(v[0])
	}
	return []graph.Type{graph.Ranked(d, size)}, nil
}

// eval calls f with the phase of each point, from 0 to 2 pi. A window of one point is 1.
func (o windowed) eval(e *graph.Env, in []*tensor.Tensor, f func(phase float64) float64) ([]*tensor.Tensor, error) {
	in, err := args(in, 1, 1)
	if err != nil {
		return nil, err
	}
	d, err := o.target()
	if err != nil {
		return nil, err
	}
	size, err := scalarInt(in[0])
	if err != nil {
		return nil, fmt.Errorf("size: %w", err)
	}
	if size < 0 || size > maxSignal {
		return nil, fmt.Errorf("size: %d is not in 0..%d", size, maxSignal)
	}
	period := float64(size)
	if !o.Periodic {
		period--
	}
	v := make([]float64, size)
	for i := range v {
		v[i] = 1
		if size > 1 {
			v[i] = f(2 * math.Pi * float64(i) / period)
		}
	}
	return one(castTensor(e, tensor.Vector(v...), d, castMode{}))
}

// HannWindow is sin^2 of half the phase.
type HannWindow struct{ windowed }

func (*HannWindow) Kind() string { return "HannWindow" }

func (o *HannWindow) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return o.eval(e, in, func(p float64) float64 { return math.Sin(p/2) * math.Sin(p/2) })
}

// HammingWindow is 25/46 - 21/46 cos of the phase.
type HammingWindow struct{ windowed }

func (*HammingWindow) Kind() string { return "HammingWindow" }

func (o *HammingWindow) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return o.eval(e, in, func(p float64) float64 { return 25.0/46 - 21.0/46*math.Cos(p) })
}

// BlackmanWindow is 0.42 - 0.5 cos of the phase + 0.08 cos of twice the phase.
type BlackmanWindow struct{ windowed }

func (*BlackmanWindow) Kind() string { return "BlackmanWindow" }

func (o *BlackmanWindow) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return o.eval(e, in, func(p float64) float64 { return 0.42 - 0.5*math.Cos(p) + 0.08*math.Cos(2*p) })
}

// MelWeightMatrix makes the matrix [spectrum bins, mel bands] of triangular filters that lie evenly on the mel scale,
// mel(f) = 2595 log10(1+f/700). The inputs are the number of bands, the DFT length, the sample rate, the lower and the upper edge in
// hertz.
type MelWeightMatrix struct {
	DType int `attr:"output_datatype,1"` // tensor.DType
}

func (*MelWeightMatrix) Kind() string { return "MelWeightMatrix" }

func (o *MelWeightMatrix) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 5, 5); err != nil {
		return nil, err
	}
	d, err := windowed{DType: o.DType}.target()
	if err != nil {
		return nil, err
	}
	out := graph.Ranked(d, graph.Unknown, graph.Unknown)
	if v, known := knownInts(in[1]); known && len(v) == 1 && v[0] >= 0 {
		out.Dims[0] = graph.Known(v[0]/2 + 1)
	}
	if v, known := knownInts(in[0]); known && len(v) == 1 && v[0] >= 0 {
		out.Dims[1] = graph.Known(v[0])
	}
	return []graph.Type{out}, nil
}

func (o *MelWeightMatrix) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 5, 5)
	if err != nil {
		return nil, err
	}
	d, err := windowed{DType: o.DType}.target()
	if err != nil {
		return nil, err
	}
	var size [3]int // bands, DFT length, sample rate
	for i := range size {
		if size[i], err = scalarInt(in[i]); err != nil {
			return nil, fmt.Errorf("input %d: %w", i, err)
		}
		if size[i] < 1 {
			return nil, fmt.Errorf("input %d: %d is not positive", i, size[i])
		}
	}
	var edge [2]float64
	for i := range edge {
		if edge[i], err = scalarFloat(in[3+i]); err != nil {
			return nil, fmt.Errorf("input %d: %w", 3+i, err)
		}
	}
	if !(edge[0] >= 0 && edge[1] >= edge[0]) {
		return nil, fmt.Errorf("edges of %v and %v hertz", edge[0], edge[1])
	}
	bands, bins := size[0], size[1]/2+1
	shape := tensor.Shape{bins, bands}
	if err := checkSize(shape); err != nil {
		return nil, err
	}
	mel := func(hertz float64) float64 { return 2595 * math.Log1p(hertz/700) / math.Ln10 }
	low := mel(edge[0])
	step := (mel(edge[1]) - low) / float64(bands+2)
	at := make([]int, bands+2)
	for i := range at {
		hertz := 700 * math.Expm1((float64(i)*step+low)/2595*math.Ln10)
		at[i] = int(math.Floor(float64(size[1]+1) * hertz / float64(size[2])))
	}
	if last := at[bands+1] - 1; last >= bins || at[bands] >= bins {
		return nil, fmt.Errorf("an upper edge of %v hertz is beyond a spectrum of %d bins at %d samples per second", edge[1], bins, size[2])
	}
	v := make([]float64, shape.Len())
	for b := range bands {
		left, mid, right := at[b], at[b+1], at[b+2]
		if left == mid {
			v[mid*bands+b] = 1
		}
		for j := left; j <= mid && left < mid; j++ {
			v[j*bands+b] = float64(j-left) / float64(mid-left)
		}
		for j := mid; j < right; j++ {
			v[j*bands+b] = float64(right-j) / float64(right-mid)
		}
	}
	return one(castTensor(e, tensor.Of(shape, v), d, castMode{}))
}
