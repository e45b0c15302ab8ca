package neuroquant

import (
	"errors"
	"fmt"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/arch"
	"github.com/neurotrain/neuroquant/internal/config"
)

// RunConfig is a whole training: the blocks of a YAML file, see [LoadRun].
type RunConfig struct {
	Task         string        `yaml:"task" enum:"classification,language_modeling,regression" doc:"what the model does; it sets the criterion unless the train block does"`
	Model        RunModel      `yaml:"model" doc:"the model to start from"`
	Train        TrainConfig   `yaml:"train" doc:"how to train"`
	Dataset      DatasetConfig `yaml:"dataset" doc:"what to train and evaluate on"`
	Dataloader   LoaderConfig  `yaml:"dataloader" doc:"how samples come"`
	Quantization Config        `yaml:"quantization" doc:"how to quantize (method qat)"`
}

// RunModel names the model of a run.
type RunModel struct {
	Path string `yaml:"path" doc:"model file or folder; the command line's wins"`
}

// LoaderConfig says how samples come.
type LoaderConfig struct {
	BatchSize int `yaml:"batch_size" doc:"samples of an update; 0: that of the train block"`
}

// DatasetConfig names samples and says how images become inputs.
type DatasetConfig struct {
	Train       []string  `yaml:"train" doc:"samples to train on"`
	Labels      string    `yaml:"labels" doc:"file of their class indices or names; empty: class folders, or the labels file beside an array"`
	Valid       []string  `yaml:"valid" doc:"samples to evaluate on after every epoch"`
	ValidLabels string    `yaml:"valid_labels" doc:"file of their class indices or names"`
	Size        string    `yaml:"size" doc:"resize images to HxW, or the shorter side to N"`
	Crop        string    `yaml:"crop" doc:"cut this window from the middle after resizing"`
	Mean        []float64 `yaml:"mean" doc:"subtracted from pixel values in [0, 1]: one number, or one per channel"`
	Std         []float64 `yaml:"std" doc:"divided by after the mean"`
	Scale       float64   `yaml:"scale" doc:"factor of the pixel values; 0: 1/255"`
	Layout      string    `yaml:"layout" doc:"nchw or nhwc; empty: nchw"`
	Channels    string    `yaml:"channels" doc:"rgb, bgr or gray"`
	Resample    string    `yaml:"resample" doc:"bilinear, bicubic, box, lanczos or nearest; empty: bilinear"`
	Raw         bool      `yaml:"raw" doc:"pass uint8 arrays on as they are"`
	Length      int       `yaml:"length" doc:"tokens of a sample of text, for language models; 0: 256, or what the model was made for if that is less"`
	Limit       int       `yaml:"limit" doc:"draw this many training samples by the seed; 0: all"`
}

// LoadRun reads the YAML file of a training; keys that it lacks keep their defaults. The error names every mistake with file, line and column.
func LoadRun(path string) (RunConfig, error) {
	r := RunConfig{Task: "classification", Train: DefaultTrainConfig(), Quantization: QATConfig()}
	def := r.Train.Criterion
	if _, err := config.Load(path, &r); err != nil {
		return RunConfig{}, err
	}
	if r.Train.Method == "lora" { // which has defaults of its own
		r = RunConfig{Task: "language_modeling", Train: LoRATrainConfig(), Quantization: QATConfig()}
		if _, err := config.Load(path, &r); err != nil {
			return RunConfig{}, err
		}
	}
	criterion := map[string]string{"classification": "cross_entropy", "language_modeling": "next_token", "regression": "mse"}[r.Task]
	if criterion == "" {
		return RunConfig{}, fmt.Errorf("%s: task: want classification, language_modeling or regression, got %q", path, r.Task)
	}
	if r.Train.Criterion == def {
		r.Train.Criterion = criterion
	}
	if r.Dataloader.BatchSize != 0 {
		r.Train.BatchSize = r.Dataloader.BatchSize
	}
	return r, nil
}

// Open opens the samples for a model; valid is nil if there are none.
func (d *DatasetConfig) Open(m *Model, seed uint64) (train, valid data.Set, err error) {
	t := data.Transform{Mean: d.Mean, Std: d.Std, Scale: d.Scale, Layout: d.Layout, Channels: d.Channels, Filter: d.Resample}
	for _, s := range []struct {
		name, text string
		to         *data.Size
	}{{"size", d.Size, &t.Size}, {"crop", d.Crop, &t.Crop}} {
		if s.text == "" {
			continue
		}
		size, err := data.ParseSize(s.text)
		if err != nil {
			return nil, nil, fmt.Errorf("dataset: %s: %w", s.name, err)
		}
		*s.to = size
	}
	open := func(specs []string, labels string) (data.Set, error) {
		if len(specs) > 0 && data.IsText(specs[0]) {
			length := d.Length
			if length == 0 {
				length = 256
				if most := arch.Context(m.m.Config); most > 0 {
					length = min(length, most)
				}
			}
			return m.Texts(specs, max(length, 2))
		}
		var sets []data.Set
		for _, spec := range specs {
			o := data.Options{Raw: d.Raw, Labels: labels, Seed: seed, Transform: t}
			s, err := data.Open(spec, o)
			if err != nil {
				for _, s := range sets {
					err = errors.Join(err, s.Close())
				}
				return nil, err
			}
			sets = append(sets, s)
		}
		switch len(sets) {
		case 0:
			return nil, nil
		case 1:
			return sets[0], nil
		}
		return data.Concat(sets...)
	}
	if train, err = open(d.Train, d.Labels); err != nil {
		return nil, nil, err
	}
	if valid, err = open(d.Valid, d.ValidLabels); err != nil {
		return nil, nil, errors.Join(err, train.Close())
	}
	if d.Limit > 0 && train != nil { // the rest of the samples is not looked at
		train = data.Sample(train, d.Limit, seed)
	}
	return train, valid, nil
}
