package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/data"
)

// dataFlags are the flags of commands that read samples.
type dataFlags struct {
	specs                      []string
	labels                     string
	size, crop                 string
	mean, std                  []float64
	scale                      float64
	layout, channels, resample string
	limit                      int
	seed                       uint64
	raw                        bool
	batch                      int
	length                     int // tokens of a sample of text
	output                     string
}

func (d *dataFlags) add(f *pflag.FlagSet) {
	f.StringArrayVar(&d.specs, "data", nil, "samples: "+data.Accepted+"; for language models "+data.AcceptedTexts+"; may be given several times")
	f.StringVar(&d.labels, "labels", "", "file of class indices or names; default: class folders, or the labels file beside an array")
	f.StringVar(&d.size, "size", "", "resize images to HxW, or the shorter side to N")
	f.StringVar(&d.crop, "crop", "", "cut this window, HxW or N, from the middle after resizing")
	f.Float64SliceVar(&d.mean, "mean", nil, "subtracted from pixel values in [0, 1]: one number, or one per channel")
	f.Float64SliceVar(&d.std, "std", nil, "divided by after the mean: one number, or one per channel")
	f.Float64Var(&d.scale, "scale", 0, "factor of the pixel values (default 1/255)")
	f.StringVar(&d.layout, "layout", "", "nchw (default) or nhwc")
	f.StringVar(&d.channels, "channels", "", "rgb, bgr or gray")
	f.StringVar(&d.resample, "resample", "", "bilinear (default), bicubic, box, lanczos or nearest")
	f.BoolVar(&d.raw, "raw", false, "pass uint8 arrays on as they are instead of as images")
	f.IntVar(&d.limit, "limit", 0, "draw this many samples by --seed; 0: all")
	f.Uint64Var(&d.seed, "seed", 0, "of what is drawn at random")
}

func (d *dataFlags) addRun(f *pflag.FlagSet) {
	f.IntVar(&d.batch, "batch", 1, "samples per call; the results of dynamically quantized models depend on it")
	f.StringVar(&d.output, "output", "", "the output that holds class scores; default: the first with a row per sample")
}

// given reports whether samples were named.
func (d *dataFlags) given() bool { return len(d.specs) > 0 }

// text reports whether the samples are texts.
func (d *dataFlags) text() bool { return d.given() && data.IsText(d.specs[0]) }

// check finds numbers that cannot be meant, and flags that only make sense with --data but were given without it.
func (d *dataFlags) check(f *pflag.FlagSet) error {
	if f.Lookup("batch") != nil && d.batch < 1 {
		return usagef("--batch: want at least 1, got %d", d.batch)
	}
	if d.limit < 0 {
		return usagef("--limit: want 0 or more, got %d", d.limit)
	}
	if d.given() {
		return nil
	}
	var names []string
	for _, n := range []string{"labels", "size", "crop", "mean", "std", "scale", "layout", "channels", "resample", "raw", "limit"} {
		if f.Changed(n) {
			names = append(names, "--"+n)
		}
	}
	if names != nil {
		return usagef("%s: only with --data", strings.Join(names, ", "))
	}
	return nil
}

// open opens the samples for a model; nil if none were named.
func (d *dataFlags) open(m *neuroquant.Model) (data.Set, error) {
	if !d.given() {
		return nil, nil
	}
	if d.text() {
		set, err := m.Texts(d.specs, max(d.length, 1))
		if err == nil && d.limit > 0 {
			set = data.Sample(set, d.limit, d.seed)
		}
		return set, err
	}
	o := data.Options{Raw: d.raw, Labels: d.labels, Seed: d.seed}
	var errs []error
	size := func(name, s string) data.Size {
		if s == "" {
			return data.Size{}
		}
		v, err := data.ParseSize(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("--%s: %w", name, err))
		}
		return v
	}
	o.Transform = data.Transform{
		Size: size("size", d.size), Crop: size("crop", d.crop), Mean: d.mean, Std: d.std, Scale: d.scale,
		Layout: d.layout, Channels: d.channels, Filter: d.resample,
	}
	if err := errors.Join(errs...); err != nil {
		return nil, &usageError{err}
	}
	var sets []data.Set
	closeAll := func() {
		for _, s := range sets {
			_ = s.Close()
		}
	}
	for _, spec := range d.specs {
		if strings.HasPrefix(spec, "random:") {
			fields, err := m.SampleFields()
			if err != nil {
				closeAll()
				return nil, err
			}
			o.Inputs = fields
		}
		s, err := data.Open(spec, o)
		if err != nil {
			closeAll()
			return nil, err
		}
		sets = append(sets, s)
	}
	set := sets[0]
	if len(sets) > 1 {
		var err error
		if set, err = data.Concat(sets...); err != nil {
			closeAll()
			return nil, err
		}
	}
	if d.limit > 0 {
		set = data.Sample(set, d.limit, d.seed)
	}
	return set, nil
}

// describe names the samples for a report.
func (d *dataFlags) describe() string { return strings.Join(d.specs, ", ") }

// dataset sets what flags say of samples over what a configuration file says.
func (d *dataFlags) dataset(f *pflag.FlagSet, c *neuroquant.DatasetConfig) {
	for name, set := range map[string]func(){
		"data": func() { c.Train = d.specs }, "labels": func() { c.Labels = d.labels }, "size": func() { c.Size = d.size }, "crop": func() { c.Crop = d.crop },
		"mean": func() { c.Mean = d.mean }, "std": func() { c.Std = d.std }, "scale": func() { c.Scale = d.scale }, "layout": func() { c.Layout = d.layout },
		"channels": func() { c.Channels = d.channels }, "resample": func() { c.Resample = d.resample }, "raw": func() { c.Raw = d.raw }, "limit": func() { c.Limit = d.limit },
	} {
		if f.Changed(name) {
			set()
		}
	}
}
