package neuroquant

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/quantize"
	"github.com/neurotrain/neuroquant/internal/train"
)

// TrainMethods are what a [Trainer] can do: train a float model, train with rounding in place (quantization-aware training), or train low-rank
// products beside the linear layers of a language model whose weights, floats or codes, stay as they are.
var TrainMethods = []string{"float", "qat", "lora"}

// TrainConfig is how a model is trained: the keys of the train block of a YAML file and, with dashes for underscores, the flags of the
// command train. [DefaultTrainConfig] gives the defaults; the zero TrainConfig is not valid.
type TrainConfig struct {
	Method    string `yaml:"method" json:"method" enum:"float,qat,lora" doc:"float; qat: with the rounding of quantization in place; lora: low-rank adapters of a language model, whose weights stay"`
	Epochs    int    `yaml:"epochs" json:"epochs" doc:"passes over the training data"`
	BatchSize int    `yaml:"batch_size" json:"batch_size" doc:"samples of an update"`
	// AccumulateSteps cuts a batch into parts whose gradients are added, which takes less memory.
	AccumulateSteps int     `yaml:"accumulate_steps" json:"accumulate_steps,omitempty" doc:"parts of a batch whose gradients are added, for less memory; 0: the whole at once"`
	Optimizer       string  `yaml:"optimizer" json:"optimizer" enum:"sgd,adam,adamw,lion" doc:"how weights follow their gradients"`
	LearningRate    float64 `yaml:"learning_rate" json:"learning_rate" doc:"learning rate, before the schedule"`
	Momentum        float64 `yaml:"momentum" json:"momentum,omitempty" doc:"of sgd"`
	Nesterov        bool    `yaml:"nesterov" json:"nesterov,omitempty" doc:"momentum that looks ahead (sgd)"`
	Beta1           float64 `yaml:"beta1" json:"beta1,omitempty" doc:"of adam, adamw and lion; 0: 0.9"`
	Beta2           float64 `yaml:"beta2" json:"beta2,omitempty" doc:"of adam, adamw (0: 0.999) and lion (0: 0.99)"`
	WeightDecay     float64 `yaml:"weight_decay" json:"weight_decay,omitempty" doc:"share of the weights that an update takes away; not of biases and scales"`
	Optimizer8Bit   bool    `yaml:"optimizer_8bit" json:"optimizer_8bit,omitempty" doc:"hold the state of adam and adamw in 8 bits"`
	LRScheduler     string  `yaml:"lr_scheduler" json:"lr_scheduler" enum:"constant,step,cosine,linear,one_cycle" doc:"how the learning rate changes"`
	WarmupSteps     int     `yaml:"warmup_steps" json:"warmup_steps,omitempty" doc:"updates over which the learning rate rises"`
	StepSize        int     `yaml:"step_size" json:"step_size,omitempty" doc:"epochs between falls of the scheduler step; 0: 10"`
	Gamma           float64 `yaml:"gamma" json:"gamma,omitempty" doc:"factor of a fall of the scheduler step; 0: 0.1"`
	ClipGradNorm    float64 `yaml:"clip_grad_norm" json:"clip_grad_norm,omitempty" doc:"largest norm of all gradients together; 0: any"`

	Criterion      string  `yaml:"criterion" json:"criterion" enum:"cross_entropy,next_token,mse,l1,bce" doc:"loss"`
	LabelSmoothing float64 `yaml:"label_smoothing" json:"label_smoothing,omitempty" doc:"share of cross_entropy that all classes get, from 0 to below 1"`
	// Distill is the share of the loss that compares with the float model that training starts from, at Temperature.
	Distill     float64 `yaml:"distill" json:"distill,omitempty" doc:"share of the loss that compares with the scores of the model that training starts from, from 0 to 1"`
	Temperature float64 `yaml:"temperature" json:"temperature,omitempty" doc:"of the softmax that distill compares; 0: 1"`

	RandomCrop     int       `yaml:"random_crop" json:"random_crop,omitempty" doc:"pixels that images are moved by at random at most"`
	CropFill       []float64 `yaml:"crop_fill" json:"crop_fill,omitempty" doc:"what moved images are filled with, one value or one per channel, as the model takes them"`
	HorizontalFlip bool      `yaml:"horizontal_flip" json:"horizontal_flip,omitempty" doc:"turn half of the images around"`

	Shuffle        bool   `yaml:"shuffle" json:"shuffle" doc:"samples in an order that the seed gives for every epoch; false: as they are"`
	Seed           uint64 `yaml:"seed" json:"seed" doc:"of everything that is drawn at random"`
	MaxSteps       int    `yaml:"max_steps" json:"max_steps,omitempty" doc:"updates to end after; 0: all epochs"`
	Patience       int    `yaml:"patience" json:"patience,omitempty" doc:"epochs without a better result on the validation data to end after; 0: never"`
	SaveBest       bool   `yaml:"save_best" json:"save_best" doc:"keep the epoch that was best on the validation data, in place of the last"`
	FreezeNorm     bool   `yaml:"freeze_norm" json:"freeze_norm,omitempty" doc:"batch normalizations keep their statistics (float)"`
	RecomputeParts int    `yaml:"recompute_parts" json:"recompute_parts,omitempty" doc:"parts of the model whose values are computed again for the gradients, for less memory; 1: none; 0: none either, but one for each block and the head where adapters are trained beside codes"`
	CheckpointStep int    `yaml:"checkpoint_steps" json:"checkpoint_steps,omitempty" doc:"updates between checkpoints; 0: one after every epoch"`

	WeightBits     int  `yaml:"weight_bits" json:"weight_bits,omitempty" doc:"bits of weights, 2 to 8 (qat)"`
	ActivationBits int  `yaml:"activation_bits" json:"activation_bits,omitempty" doc:"bits of activations, 2 to 8 (qat)"`
	LearnScales    bool `yaml:"learn_scales" json:"learn_scales,omitempty" doc:"train the scales too, LSQ; false: as calibration found them (qat)"`
	PowerOfTwo     bool `yaml:"power_of_two" json:"power_of_two,omitempty" doc:"scales are powers of two (qat)"`

	LoRARank      int      `yaml:"lora_rank" json:"lora_rank,omitempty" doc:"rank of adapters (lora)"`
	LoRAAlpha     float64  `yaml:"lora_alpha" json:"lora_alpha,omitempty" doc:"adapters are multiplied by alpha/rank (lora)"`
	LoRADropout   float64  `yaml:"lora_dropout" json:"lora_dropout,omitempty" doc:"share of the inputs of adapters that is dropped in training, from 0 to below 1 (lora)"`
	TargetModules []string `yaml:"target_modules" json:"target_modules,omitempty" doc:"layers that get adapters, by the ends of their paths such as q_proj; empty: all linear layers but the head (lora)"`
	UseRSLoRA     bool     `yaml:"use_rslora" json:"use_rslora,omitempty" doc:"adapters are multiplied by alpha/sqrt(rank) (lora)"`
}

// LoRATrainConfig returns the defaults of method lora: a few epochs of AdamW on texts.
func LoRATrainConfig() TrainConfig {
	c := DefaultTrainConfig()
	c.Method, c.Epochs, c.BatchSize, c.Optimizer, c.LearningRate, c.Momentum, c.Criterion, c.ClipGradNorm = "lora", 3, 4, "adamw", 2e-4, 0, "next_token", 1
	return c
}

// DefaultTrainConfig returns the defaults: a few epochs of stochastic gradient descent from a trained model.
func DefaultTrainConfig() TrainConfig {
	return TrainConfig{
		Method: "float", Epochs: 5, BatchSize: 32, Optimizer: "sgd", LearningRate: 0.01, Momentum: 0.9, LRScheduler: "cosine", Criterion: "cross_entropy",
		SaveBest: true, Shuffle: true, WeightBits: 8, ActivationBits: 8, LearnScales: true, LoRARank: 16, LoRAAlpha: 32,
	}
}

// Validate reports all settings that are wrong.
func (c TrainConfig) Validate() error {
	var errs []error
	bad := func(key, format string, a ...any) { errs = append(errs, &FieldError{key, fmt.Errorf(format, a...)}) }
	if !slices.Contains(TrainMethods, c.Method) {
		bad("method", "want one of %s, got %q", strings.Join(TrainMethods, ", "), c.Method)
	}
	if !slices.Contains(train.Losses, c.Criterion) {
		bad("criterion", "want one of %s, got %q", strings.Join(train.Losses, ", "), c.Criterion)
	}
	if !(c.LabelSmoothing >= 0 && c.LabelSmoothing < 1) || c.LabelSmoothing > 0 && c.Criterion != "cross_entropy" {
		bad("label_smoothing", "want 0 to below 1, with cross_entropy only, got %v", c.LabelSmoothing)
	}
	if !(c.Distill >= 0 && c.Distill <= 1) {
		bad("distill", "want 0 to 1, got %v", c.Distill)
	}
	if !(c.Temperature >= 0) {
		bad("temperature", "want 0 or more, got %v", c.Temperature)
	}
	if c.RecomputeParts < 0 {
		bad("recompute_parts", "want 0 or more, got %d", c.RecomputeParts)
	}
	q, def := c.qat(), DefaultTrainConfig()
	if c.Method == "qat" {
		if err := q.Check(); err != nil {
			bad("weight_bits", "%w", err)
		}
		if c.FreezeNorm {
			bad("freeze_norm", "method qat folds batch normalizations, with their statistics as they are")
		}
	} else if c.WeightBits != def.WeightBits || c.ActivationBits != def.ActivationBits || c.LearnScales != def.LearnScales || c.PowerOfTwo {
		bad("weight_bits", "bits and scales are settings of method qat")
	}
	if c.Method == "lora" {
		l := c.lora()
		if err := l.Check(); err != nil {
			bad("lora_rank", "%w", err)
		}
		if c.Criterion != "next_token" {
			bad("criterion", "want next_token with method lora, got %q", c.Criterion)
		}
		if c.FreezeNorm {
			bad("freeze_norm", "method lora trains no normalization")
		}
	} else if c.LoRARank != def.LoRARank || c.LoRAAlpha != def.LoRAAlpha || c.LoRADropout != 0 || len(c.TargetModules) > 0 || c.UseRSLoRA {
		bad("lora_rank", "rank, alpha, dropout and target modules are settings of method lora")
	}
	s := c.settings("", 0)
	if err := s.Check(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (c TrainConfig) qat() quantize.QATSettings {
	return quantize.QATSettings{WeightBits: c.WeightBits, ActivationBits: c.ActivationBits, FixedScales: !c.LearnScales, PowerOfTwo: c.PowerOfTwo}
}

func (c TrainConfig) lora() train.LoRA {
	return train.LoRA{Rank: c.LoRARank, Alpha: c.LoRAAlpha, Dropout: c.LoRADropout, Targets: c.TargetModules, RankStabilized: c.UseRSLoRA}
}

func (c TrainConfig) settings(checkpoint string, threads int) train.Settings {
	s := train.Settings{
		Epochs: c.Epochs, Batch: c.BatchSize, Accumulate: c.AccumulateSteps,
		Optimizer: train.Optimizer{
			Name: c.Optimizer, Rate: c.LearningRate, Beta1: c.Beta1, Beta2: c.Beta2, WeightDecay: c.WeightDecay, States8: c.Optimizer8Bit,
		},
		Schedule: train.Schedule{Name: c.LRScheduler, WarmUp: c.WarmupSteps, StepEpochs: c.StepSize, Gamma: c.Gamma},
		Clip:     c.ClipGradNorm, Augment: train.Augment{Pad: c.RandomCrop, Flip: c.HorizontalFlip}, Seed: c.Seed, Ordered: !c.Shuffle, Patience: c.Patience, Updates: c.MaxSteps,
		Checkpoint: checkpoint, CheckpointEvery: c.CheckpointStep, Before: c.Method == "lora", Threads: threads,
	}
	if c.Optimizer == "sgd" {
		s.Optimizer.Momentum, s.Optimizer.Nesterov = c.Momentum, c.Nesterov
	}
	for _, v := range c.CropFill {
		s.Augment.Fill = append(s.Augment.Fill, float32(v))
	}
	return s
}
