package kernel

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// convLayer is a convolution of a network, how often it is there, and whether it adds a residual.
type convLayer struct {
	s        ConvShape
	times    int
	residual bool
}

// netLayers lists the convolutions of ResNet-18, ResNet-50 and MobileNetV2 for images of 224x224, in their order but for repetitions.
func netLayers(net string, batch int) (layers []convLayer) {
	add := func(times, in, out, size, k, stride, group int, residual bool) {
		a := Activation{Kind: ActivationReLU}
		if net == "mobilenetv2" {
			a = Activation{Kind: ActivationClip, Hi: 6}
		}
		p := k / 2
		layers = append(layers, convLayer{ConvShape{
			Batch: batch, InC: in, OutC: out, Group: group, In: []int{size, size}, Kernel: []int{k, k}, Stride: []int{stride, stride},
			PadBegin: []int{p, p}, PadEnd: []int{p, p}, Activation: a,
		}, times, residual})
	}
	switch net {
	case "resnet18":
		add(1, 3, 64, 224, 7, 2, 1, false)
		add(2, 64, 64, 56, 3, 1, 1, false)
		add(2, 64, 64, 56, 3, 1, 1, true)
		for in, size := 64, 56; in < 512; in, size = 2*in, size/2 {
			add(1, in, 2*in, size, 1, 2, 1, false)
			add(1, in, 2*in, size, 3, 2, 1, false)
			add(1, 2*in, 2*in, size/2, 3, 1, 1, false)
			add(2, 2*in, 2*in, size/2, 3, 1, 1, true)
		}
	case "resnet50":
		add(1, 3, 64, 224, 7, 2, 1, false)
		in, before := 64, 56
		for stage, blocks := range []int{3, 4, 6, 3} {
			width, stride := 64<<stage, 2
			if stage == 0 {
				stride = 1
			}
			size := before / stride
			add(1, in, width, before, 1, 1, 1, false)
			add(1, width, width, before, 3, stride, 1, false)
			add(1, in, 4*width, before, 1, stride, 1, false)
			add(blocks-1, 4*width, width, size, 1, 1, 1, false)
			add(blocks-1, width, width, size, 3, 1, 1, false)
			add(blocks, width, 4*width, size, 1, 1, 1, true)
			in, before = 4*width, size
		}
	case "mobilenetv2":
		add(1, 3, 32, 224, 3, 2, 1, false)
		add(1, 32, 32, 112, 3, 1, 32, false)
		add(1, 32, 16, 112, 1, 1, 1, false)
		in, size := 16, 112
		for _, g := range [][3]int{{24, 2, 2}, {32, 3, 2}, {64, 4, 2}, {96, 3, 1}, {160, 3, 2}, {320, 1, 1}} {
			out, times, stride := g[0], g[1], g[2]
			for i := range times {
				add(1, in, 6*in, size, 1, 1, 1, false)
				add(1, 6*in, 6*in, size, 3, stride, 6*in, false)
				size /= stride
				add(1, 6*in, out, size, 1, 1, 1, i > 0)
				in, stride = out, 1
			}
		}
		add(1, 320, 1280, 7, 1, 1, 1, false)
	}
	return layers
}

// convJob is a layer with operands.
type convJob struct {
	s                    ConvShape
	w                    *PackedConvF32NHWC
	x, bias, residual, y []float32
}

// newConvJob makes weights and takes the images from buffers.
func newConvJob(l *convLayer, r *rand.Rand, x, residual, y []float32) convJob {
	s := &l.s
	j := convJob{s: *s, x: x[:s.Batch*s.InC*product(s.In)], y: y[:s.Batch*s.OutC*product(s.Out())]}
	j.w = PackConvF32NHWC(s, randomF32(r, make([]float32, s.OutC*s.InC/s.Group*product(s.Kernel))))
	j.bias = randomF32(r, make([]float32, s.OutC))
	if l.residual {
		j.residual = residual[:len(j.y)]
	}
	return j
}

func (j *convJob) work() float64 {
	return 2 * float64(len(j.y)) * float64(j.s.InC/j.s.Group*product(j.s.Kernel))
}

func (j *convJob) run(p *Pool) { ConvF32NHWC(p, &j.s, j.x, j.w, j.bias, j.residual, j.y) }

// BenchmarkConvNets measures the convolutions of networks: each alone with its operands in the caches, and under "all" one after another
// on three images of the largest size, with weights of their own, in operations of the direct convolution.
func BenchmarkConvNets(b *testing.B) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, net := range []string{"resnet18", "resnet50", "mobilenetv2"} {
		for _, batch := range []int{1, 8} {
			b.Run(fmt.Sprintf("%s/batch=%d", net, batch), func(b *testing.B) {
				layers := netLayers(net, batch)
				largest := 0
				for _, l := range layers {
					largest = max(largest, batch*l.s.InC*product(l.s.In), batch*l.s.OutC*product(l.s.Out()))
				}
				var images [3][]float32
				for i := range images {
					images[i] = randomF32(r, make([]float32, largest))
				}
				for _, l := range layers {
					label := strings.ReplaceAll(shapeName(&l.s), "/", "_")
					if l.residual {
						label += "_add"
					}
					b.Run(label, func(b *testing.B) {
						j := newConvJob(&l, r, images[0], images[1], images[2])
						onThreads(b, func(b *testing.B, p *Pool) { flops(b, p, PeakF32, j.work(), func() { j.run(p) }) })
					})
				}
				b.Run("all", func(b *testing.B) {
					var jobs []convJob
					work := 0.0
					for _, l := range layers {
						for range l.times {
							n := len(jobs)
							jobs = append(jobs, newConvJob(&l, r, images[n%2], images[2], images[1-n%2]))
							work += jobs[n].work()
						}
					}
					onThreads(b, func(b *testing.B, p *Pool) {
						flops(b, p, PeakF32, work, func() {
							for i := range jobs {
								jobs[i].run(p)
							}
						})
					})
				})
			})
		}
	}
}
