package kernel

import (
	"slices"
	"sync/atomic"
)

// lastPlan keeps the plan that packed weights were used with last, so that a network whose images keep their size plans once.
type lastPlan[P any] struct{ last atomic.Pointer[keyedPlan[P]] }

type keyedPlan[P any] struct {
	s       *ConvShape
	xSigned bool
	zero    int32
	plan    *P
}

// of returns the plan for a shape and the form of x; build gets a copy of s that nobody changes.
func (l *lastPlan[P]) of(s *ConvShape, xSigned bool, zero int32, build func(s *ConvShape, xSigned bool, zero int32) *P) *P {
	if k := l.last.Load(); k != nil && k.xSigned == xSigned && k.zero == zero && k.s.equal(s) {
		return k.plan
	}
	own := s.clone()
	k := &keyedPlan[P]{own, xSigned, zero, build(own, xSigned, zero)}
	l.last.Store(k)
	return k.plan
}

func (s *ConvShape) equal(t *ConvShape) bool {
	return s.Batch == t.Batch && s.InC == t.InC && s.OutC == t.OutC && s.Group == t.Group && s.Activation == t.Activation &&
		slices.Equal(s.In, t.In) && slices.Equal(s.Kernel, t.Kernel) && slices.Equal(s.Stride, t.Stride) && slices.Equal(s.Dilation, t.Dilation) &&
		slices.Equal(s.PadBegin, t.PadBegin) && slices.Equal(s.PadEnd, t.PadEnd)
}

func (s *ConvShape) clone() *ConvShape {
	c := *s
	for _, v := range []*[]int{&c.In, &c.Kernel, &c.Stride, &c.Dilation, &c.PadBegin, &c.PadEnd} {
		*v = slices.Clone(*v)
	}
	return &c
}
