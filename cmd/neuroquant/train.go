package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/progress"
)

// trainResult is what train --json prints.
type trainResult struct {
	Output string `json:"output"`
	File   string `json:"file"`
	Method string `json:"method"`
	// Perplexity on the validation data (lora).
	Before  *float64                 `json:"perplexity_before,omitempty"`
	After   *float64                 `json:"perplexity_after,omitempty"`
	History *neuroquant.TrainHistory `json:"history"`
}

func (a *app) trainCommand() *cobra.Command {
	var d dataFlags
	var valid, validLabels, configFile, checkpoint string
	var force bool
	flags, quantization := neuroquant.DefaultTrainConfig(), neuroquant.QATConfig()
	c := &cobra.Command{
		Use:   "train MODEL OUT --method qat --data D --labels L",
		Short: "Train a model, in float or with the rounding of quantization in place, or adapters of a language model, and write the folder OUT",
		Long: `Train MODEL, starting from the weights that it has, and write the folder OUT: model.onnx, neuroquant.json, and history.json with the losses of
every epoch and update. OUT appears whole or not at all.

--method qat trains with rounding in place: weights and activations are rounded to --weight-bits and --activation-bits where static quantization would
hold them in codes, and what is written, QuantizeLinear and DequantizeLinear around the operators, computes what was trained.

--method lora trains low-rank adapters beside the linear layers of a language model, a Hugging Face folder or a GGUF file, on texts; its weights stay as
they are, floats or codes (NF4, FP4, int8, GPTQ, ...: QLoRA). OUT is an adapter in the layout of PEFT, to be used with --adapter of run, eval and generate,
or merged by convert --adapter. With --valid the perplexity before and after is shown. Its defaults are AdamW with a rate of 0.0002, 3 epochs, batches of 4
and a clipped norm of 1.

A training that was stopped goes on where its last checkpoint was when the same command is given again, and ends with the same bytes.`,
		Example: `  neuroquant train model.onnx out/ --method qat --data train.npy --valid test.npy --epochs 5 --learning-rate 0.001
  neuroquant train model.onnx out/ --method qat --weight-bits 4 --distill 0.5 --data images/ --size 32
  neuroquant train ./Llama-nf4 adapter/ --method lora --data train.txt --valid held-out.txt --lora-rank 16 --target-modules q_proj,v_proj
  neuroquant train model.onnx out/ --config run.yaml`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			run := neuroquant.RunConfig{Train: neuroquant.DefaultTrainConfig(), Quantization: neuroquant.QATConfig()}
			if flags.Method == "lora" {
				run.Train = neuroquant.LoRATrainConfig()
			}
			if configFile != "" {
				if run, err = neuroquant.LoadRun(configFile); err != nil {
					return configError(err)
				}
			}
			trainFromFlags(cmd.Flags(), &run, &flags, &quantization)
			d.dataset(cmd.Flags(), &run.Dataset)
			if cmd.Flags().Changed("length") {
				run.Dataset.Length = d.length
			}
			if valid != "" {
				run.Dataset.Valid, run.Dataset.ValidLabels = []string{valid}, validLabels
			}
			out := run.Quantization.QuantizedModelPath
			if len(args) == 2 {
				out = args[1]
			}
			switch {
			case out == "":
				return usagef("train: OUT is missing: the folder to write to (or quantized_model_path in the configuration)")
			case len(run.Dataset.Train) == 0:
				return usagef("train: --data is missing: the samples to train on")
			}
			if err := errors.Join(run.Train.Validate(), run.Quantization.Validate()); err != nil {
				return &usageError{flagNames(err)}
			}
			if err := neuroquant.CheckOutput(out, force); err != nil {
				return err
			}
			return a.train(cmd.Context(), args[0], out, checkpoint, force, run)
		},
	}
	f := c.Flags()
	trainFlags(f, &flags)
	f.StringArrayVar(&quantization.Keep, "keep", nil, "layers to leave in float: a pattern over layer names, weight names and operators; may be given several times (qat)")
	f.StringArrayVar(&quantization.Only, "only", nil, "quantize these layers only: patterns as in --keep (qat)")
	f.StringVar(&quantization.Calibrator, "calibrator", quantization.Calibrator, "how ranges follow from calibration: mse, minmax, moving_average, percentile or entropy (qat)")
	f.IntVar(&quantization.NumCalibrationSamples, "num-calibration-samples", quantization.NumCalibrationSamples, "samples to calibrate with (qat)")
	f.StringVar(&configFile, "config", "", "YAML file of the whole run; flags override it")
	f.StringVar(&valid, "valid", "", "samples to evaluate on after every epoch")
	f.StringVar(&validLabels, "valid-labels", "", "file of their class indices or names")
	f.StringVar(&checkpoint, "checkpoint", "", "file to go on from, .safetensors; default: OUT.checkpoint.safetensors")
	f.IntVar(&d.length, "length", 0, "tokens of a sample of text; 0: 256, or what the model was made for if that is less")
	f.BoolVar(&force, "force", false, "replace files of an OUT that exists")
	d.add(f)
	complete(c, "method", neuroquant.TrainMethods...)
	complete(c, "optimizer", "sgd", "adam", "adamw", "lion")
	complete(c, "lr-scheduler", "constant", "step", "cosine", "linear", "one_cycle")
	complete(c, "criterion", "cross_entropy", "next_token", "mse", "l1", "bce")
	return c
}

func (a *app) train(ctx context.Context, path, out, checkpoint string, force bool, run neuroquant.RunConfig) (err error) {
	model, err := a.open(ctx, path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, model.Close()) }()
	set, valid, err := run.Dataset.Open(model, run.Train.Seed)
	if err != nil {
		return err
	}
	for _, s := range []data.Set{set, valid} {
		if s != nil {
			defer func() { err = errors.Join(err, s.Close()) }()
		}
	}
	t := neuroquant.NewTrainer(run.Train, run.Quantization)
	t.Threads, t.Checkpoint = a.threads, checkpoint
	if checkpoint == "" {
		t.Checkpoint = filepath.Clean(out) + ".checkpoint.safetensors"
	}
	if err := t.Setup(ctx, path); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	t.Observe = func(e neuroquant.TrainEpoch) { a.reporter.Log(epochLine(e)) }
	h, err := t.Train(ctx, set, valid)
	if err != nil {
		return err
	}
	if err := t.Save(ctx, out, force); err != nil {
		return err
	}
	doc := &trainResult{Output: out, File: "model.onnx", Method: run.Train.Method, History: h}
	files := doc.File + ", neuroquant.json, history.json"
	if run.Train.Method == "lora" {
		doc.File, files = "adapter_model.safetensors", "adapter_config.json, adapter_model.safetensors, history.json"
	}
	doc.Before, doc.After = perplexities(run.Train, h)
	if a.json {
		return a.printJSON(doc)
	}
	var rows [][]string
	for _, e := range h.Epochs {
		rows = append(rows, epochRow(e))
	}
	a.table([]string{"epoch", "updates", "loss", "accuracy", "validation loss", "validation accuracy", ""}, rows, 0, 1, 2, 3, 4, 5)
	if n := len(h.Losses); n > 1 {
		a.printf("loss of %d updates, %.4f to %.4f: %s\n", n, h.Losses[0], h.Losses[n-1], progress.Curve(h.Losses, 48))
	}
	if h.Stopped != "" {
		a.printf("ended early: %s\n", h.Stopped)
	}
	if doc.Before != nil {
		a.printf("perplexity on the validation data: %.4f before, %.4f after\n", *doc.Before, *doc.After)
	}
	a.printf("written to %s: %s\n", out, files)
	return nil
}

// perplexities are those on the validation data before training and of what was saved, nil where they were not measured.
func perplexities(c neuroquant.TrainConfig, h *neuroquant.TrainHistory) (before, after *float64) {
	if h.Before == nil || len(h.Epochs) == 0 {
		return nil, nil
	}
	loss := *h.Epochs[len(h.Epochs)-1].Valid
	for _, e := range h.Epochs {
		if c.SaveBest {
			loss = min(loss, *e.Valid)
		}
	}
	b, a := math.Exp(*h.Before), math.Exp(loss)
	return &b, &a
}

func epochRow(e neuroquant.TrainEpoch) []string {
	number := func(v *float64, format string, by float64) string {
		if v == nil {
			return ""
		}
		return fmt.Sprintf(format, *v*by)
	}
	best := ""
	if e.Best {
		best = "best so far"
	}
	return []string{
		fmt.Sprint(e.Epoch), fmt.Sprint(e.Updates), fmt.Sprintf("%.4f", e.Loss), number(e.Accuracy, "%.2f %%", 100), number(e.Valid, "%.4f", 1),
		number(e.Right, "%.2f %%", 100), best,
	}
}

func epochLine(e neuroquant.TrainEpoch) string {
	r := epochRow(e)
	line := fmt.Sprintf("epoch %s: loss %s", r[0], r[2])
	for _, x := range []struct{ name, value string }{{"accuracy", r[3]}, {"validation loss", r[4]}, {"validation accuracy", r[5]}} {
		if x.value != "" {
			line += fmt.Sprintf(", %s %s", x.name, x.value)
		}
	}
	return line
}

// trainFlags binds the settings of training to flags named like their keys, dashes for underscores.
func trainFlags(f *pflag.FlagSet, c *neuroquant.TrainConfig) {
	f.StringVar(&c.Method, "method", c.Method, "float; qat: with the rounding of quantization in place; lora: low-rank adapters of a language model, whose weights stay")
	f.IntVar(&c.Epochs, "epochs", c.Epochs, "passes over the training data")
	f.IntVar(&c.BatchSize, "batch-size", c.BatchSize, "samples of an update")
	f.IntVar(&c.AccumulateSteps, "accumulate-steps", c.AccumulateSteps, "parts of a batch whose gradients are added, for less memory; 0: the whole at once")
	f.StringVar(&c.Optimizer, "optimizer", c.Optimizer, "sgd, adam, adamw or lion")
	f.Float64Var(&c.LearningRate, "learning-rate", c.LearningRate, "learning rate, before the schedule")
	f.Float64Var(&c.Momentum, "momentum", c.Momentum, "of sgd")
	f.BoolVar(&c.Nesterov, "nesterov", c.Nesterov, "momentum that looks ahead (sgd)")
	f.Float64Var(&c.Beta1, "beta1", c.Beta1, "of adam, adamw and lion; 0: 0.9")
	f.Float64Var(&c.Beta2, "beta2", c.Beta2, "of adam, adamw (0: 0.999) and lion (0: 0.99)")
	f.Float64Var(&c.WeightDecay, "weight-decay", c.WeightDecay, "share of the weights that an update takes away; not of biases and scales")
	f.BoolVar(&c.Optimizer8Bit, "optimizer-8bit", c.Optimizer8Bit, "hold the state of adam and adamw in 8 bits")
	f.StringVar(&c.LRScheduler, "lr-scheduler", c.LRScheduler, "constant, step, cosine, linear or one_cycle")
	f.IntVar(&c.WarmupSteps, "warmup-steps", c.WarmupSteps, "updates over which the learning rate rises")
	f.IntVar(&c.StepSize, "step-size", c.StepSize, "epochs between falls of the scheduler step; 0: 10")
	f.Float64Var(&c.Gamma, "gamma", c.Gamma, "factor of a fall of the scheduler step; 0: 0.1")
	f.Float64Var(&c.ClipGradNorm, "clip-grad-norm", c.ClipGradNorm, "largest norm of all gradients together; 0: any")
	f.StringVar(&c.Criterion, "criterion", c.Criterion, "loss: cross_entropy, next_token, mse, l1 or bce")
	f.Float64Var(&c.LabelSmoothing, "label-smoothing", c.LabelSmoothing, "share of cross_entropy that all classes get")
	f.Float64Var(&c.Distill, "distill", c.Distill, "share of the loss that compares with the scores of the model that training starts from, 0 to 1")
	f.Float64Var(&c.Temperature, "temperature", c.Temperature, "of the softmax that --distill compares; 0: 1")
	f.IntVar(&c.RandomCrop, "random-crop", c.RandomCrop, "pixels that images are moved by at random at most")
	f.Float64SliceVar(&c.CropFill, "crop-fill", c.CropFill, "what moved images are filled with, one value or one per channel, as the model takes them")
	f.BoolVar(&c.HorizontalFlip, "horizontal-flip", c.HorizontalFlip, "turn half of the images around")
	f.BoolVar(&c.Shuffle, "shuffle", c.Shuffle, "samples in an order that the seed gives for every epoch; --shuffle=false: as they are")
	f.IntVar(&c.MaxSteps, "max-steps", c.MaxSteps, "updates to end after; 0: all epochs")
	f.IntVar(&c.Patience, "patience", c.Patience, "epochs without a better result on the validation data to end after; 0: never")
	f.BoolVar(&c.SaveBest, "save-best", c.SaveBest, "keep the epoch that was best on the validation data, in place of the last")
	f.BoolVar(&c.FreezeNorm, "freeze-norm", c.FreezeNorm, "batch normalizations keep their statistics (float)")
	f.IntVar(&c.RecomputeParts, "recompute-parts", c.RecomputeParts, "parts of the model whose values are computed again for the gradients, for less memory; 1: none; 0: none either, but one for each block and the head where adapters are trained beside codes")
	f.IntVar(&c.CheckpointStep, "checkpoint-steps", c.CheckpointStep, "updates between checkpoints; 0: one after every epoch")
	f.IntVar(&c.WeightBits, "weight-bits", c.WeightBits, "bits of weights, 2 to 8 (qat)")
	f.IntVar(&c.ActivationBits, "activation-bits", c.ActivationBits, "bits of activations, 2 to 8 (qat)")
	f.BoolVar(&c.LearnScales, "learn-scales", c.LearnScales, "train the scales too, LSQ; --learn-scales=false: as calibration found them (qat)")
	f.BoolVar(&c.PowerOfTwo, "power-of-two", c.PowerOfTwo, "scales are powers of two (qat)")
	f.IntVar(&c.LoRARank, "lora-rank", c.LoRARank, "rank of adapters (lora)")
	f.Float64Var(&c.LoRAAlpha, "lora-alpha", c.LoRAAlpha, "adapters are multiplied by alpha/rank (lora)")
	f.Float64Var(&c.LoRADropout, "lora-dropout", c.LoRADropout, "share of the inputs of adapters that is dropped in training (lora)")
	f.StringSliceVar(&c.TargetModules, "target-modules", nil, "layers that get adapters, by the ends of their paths such as q_proj,v_proj; default: all linear layers but the head (lora)")
	f.BoolVar(&c.UseRSLoRA, "use-rslora", c.UseRSLoRA, "adapters are multiplied by alpha/sqrt(rank) (lora)")
}

// trainFromFlags sets what flags say over what the file says.
func trainFromFlags(f *pflag.FlagSet, run *neuroquant.RunConfig, flags *neuroquant.TrainConfig, quantization *neuroquant.Config) {
	file := run.Train
	given := *flags
	set := func(name string, put func()) {
		if f.Changed(name) {
			put()
		}
	}
	c := &run.Train
	*c = file
	for name, put := range map[string]func(){
		"method": func() { c.Method = given.Method }, "epochs": func() { c.Epochs = given.Epochs }, "batch-size": func() { c.BatchSize = given.BatchSize },
		"accumulate-steps": func() { c.AccumulateSteps = given.AccumulateSteps }, "optimizer": func() { c.Optimizer = given.Optimizer },
		"learning-rate": func() { c.LearningRate = given.LearningRate }, "momentum": func() { c.Momentum = given.Momentum }, "nesterov": func() { c.Nesterov = given.Nesterov },
		"beta1": func() { c.Beta1 = given.Beta1 }, "beta2": func() { c.Beta2 = given.Beta2 }, "weight-decay": func() { c.WeightDecay = given.WeightDecay },
		"optimizer-8bit": func() { c.Optimizer8Bit = given.Optimizer8Bit }, "lr-scheduler": func() { c.LRScheduler = given.LRScheduler },
		"warmup-steps": func() { c.WarmupSteps = given.WarmupSteps }, "step-size": func() { c.StepSize = given.StepSize }, "gamma": func() { c.Gamma = given.Gamma },
		"clip-grad-norm": func() { c.ClipGradNorm = given.ClipGradNorm }, "criterion": func() { c.Criterion = given.Criterion },
		"label-smoothing": func() { c.LabelSmoothing = given.LabelSmoothing }, "distill": func() { c.Distill = given.Distill }, "temperature": func() { c.Temperature = given.Temperature },
		"random-crop": func() { c.RandomCrop = given.RandomCrop }, "crop-fill": func() { c.CropFill = given.CropFill }, "horizontal-flip": func() { c.HorizontalFlip = given.HorizontalFlip },
		"seed": func() { c.Seed, _ = f.GetUint64("seed") }, "shuffle": func() { c.Shuffle = given.Shuffle }, "max-steps": func() { c.MaxSteps = given.MaxSteps }, "patience": func() { c.Patience = given.Patience },
		"save-best": func() { c.SaveBest = given.SaveBest }, "freeze-norm": func() { c.FreezeNorm = given.FreezeNorm }, "recompute-parts": func() { c.RecomputeParts = given.RecomputeParts },
		"checkpoint-steps": func() { c.CheckpointStep = given.CheckpointStep }, "weight-bits": func() { c.WeightBits = given.WeightBits },
		"activation-bits": func() { c.ActivationBits = given.ActivationBits }, "learn-scales": func() { c.LearnScales = given.LearnScales }, "power-of-two": func() { c.PowerOfTwo = given.PowerOfTwo },
		"lora-rank": func() { c.LoRARank = given.LoRARank }, "lora-alpha": func() { c.LoRAAlpha = given.LoRAAlpha },
		"lora-dropout": func() { c.LoRADropout = given.LoRADropout }, "target-modules": func() { c.TargetModules = given.TargetModules },
		"use-rslora": func() { c.UseRSLoRA = given.UseRSLoRA },
		"keep":       func() { run.Quantization.Keep = quantization.Keep }, "only": func() { run.Quantization.Only = quantization.Only },
		"calibrator":              func() { run.Quantization.Calibrator = quantization.Calibrator },
		"num-calibration-samples": func() { run.Quantization.NumCalibrationSamples = quantization.NumCalibrationSamples },
	} {
		set(name, put)
	}
}
