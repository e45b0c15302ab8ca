package main

import (
	"context"
	"errors"
	"time"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/tensor"
)

// ours is this library in the benchmark's own process, as its users call it.
type ours struct {
	ctx   context.Context
	model *neuroquant.Model
	in    map[string]*tensor.Tensor
}

// load opens a model file and makes inputs for it.
func (o *ours) load(model string, threads, batch int) error {
	err := o.close()
	m, openErr := neuroquant.Open(o.ctx, model)
	if openErr != nil {
		return errors.Join(err, openErr)
	}
	m.SetThreads(threads)
	o.model, o.in = m, input(m.Inputs(), batch, 3)
	return err
}

func (o *ours) run(count int) (durations, error) {
	d := durations{make([]float64, count), make([]float64, count)}
	for i := range count {
		start, cpu := time.Now(), cpuTime()
		if _, err := o.model.Run(o.ctx, o.in); err != nil {
			return d, err
		}
		d.wall[i], d.cpu[i] = float64(time.Since(start)), cpuTime()-cpu
	}
	return d, nil
}

func (o *ours) outputs() (map[string]*tensor.Tensor, error) { return o.model.Run(o.ctx, o.in) }

func (o *ours) close() error {
	m := o.model
	o.model = nil
	if m == nil {
		return nil
	}
	return m.Close()
}
