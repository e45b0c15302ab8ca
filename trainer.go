package neuroquant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/codec/outfile"
	"github.com/neurotrain/neuroquant/internal/format"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/internal/quantize"
	"github.com/neurotrain/neuroquant/internal/train"
)

// What training showed.
type (
	// TrainHistory has a line for every epoch and the loss of every update.
	TrainHistory = train.History
	// TrainEpoch is a line of it.
	TrainEpoch = train.Epoch
)

// Trainer trains a model: Setup, Train, Save.
type Trainer struct {
	// Checkpoint is a file, with a name that ends in .safetensors, that a training which was stopped goes on from; "" is none.
	Checkpoint string
	// Observe, if it is not nil, is told of every epoch.
	Observe func(TrainEpoch)
	// Threads is the number of threads; 0 means all.
	Threads int

	config       TrainConfig
	quantization Config

	orig, work *model.Model
	plan       *quantize.Plan
	history    *TrainHistory
	adapters   []train.Adapter // of method lora
	scores     func(ctx context.Context, set data.Set, batch int) ([]float32, error)
}

// NewTrainer returns a trainer. q says how a model that is trained with rounding in place is quantized: its method is qat, or it is not looked at.
func NewTrainer(c TrainConfig, q Config) *Trainer { return &Trainer{config: c, quantization: q} }

// Setup opens the model at path. Nothing is trained yet. The caller closes the trainer.
func (t *Trainer) Setup(ctx context.Context, path string) error {
	if err := t.check(); err != nil {
		return err
	}
	orig, err := format.Open(ctx, path)
	if err != nil {
		return err
	}
	return t.setup(orig, path)
}

// SetupModel is [Trainer.Setup] for a model that is open, or that was made by [NewModel]. The trainer closes it.
func (t *Trainer) SetupModel(m *Model) error {
	if err := t.check(); err != nil {
		return err
	}
	return t.setup(m.m, m.name())
}

func (t *Trainer) check() error {
	if err := t.config.Validate(); err != nil {
		return err
	}
	if t.config.Method == "qat" {
		if err := t.quantization.Validate(); err != nil {
			return err
		}
		if t.quantization.Method != "qat" {
			return fmt.Errorf("quantization: method: want qat to train with, got %s", t.quantization.Method)
		}
	}
	return nil
}

func (t *Trainer) setup(orig *model.Model, path string) error {
	fail := func(err error) error { return errors.Join(fmt.Errorf("%s: %w", path, err), orig.Close()) }
	work := orig.With(orig.Graph.Clone())
	work.Path, work.Files = "", nil
	frozen := pass.FreezeInputs(work.Graph)
	if t.config.Method != "qat" {
		if err := pass.CleanToTrain(work.Graph); err != nil {
			return fail(err)
		}
		t.plan = &quantize.Plan{Decisions: []Decision{}, Frozen: frozen}
	} else {
		if err := pass.Clean(work.Graph); err != nil {
			return fail(err)
		}
		p, err := quantize.NewPlan(work, t.quantization.recipe())
		if err != nil {
			return fail(err)
		}
		t.plan = p
		t.plan.Frozen = frozen
	}
	if t.config.Method == "lora" {
		adapters, err := insertAdapters(work, t.config)
		if err != nil {
			return fail(err)
		}
		t.adapters = adapters
	}
	t.orig, t.work = orig, work
	return nil
}

// Close releases the model.
func (t *Trainer) Close() error {
	if t.orig == nil {
		return nil
	}
	return t.orig.Close()
}

// Train fits the model to samples with labels. valid, which may be nil, is evaluated after every epoch. With method qat, ranges are calibrated on
// samples of set first. The result is what was best on valid, or came out last.
func (t *Trainer) Train(ctx context.Context, set, valid data.Set) (*TrainHistory, error) {
	if t.work == nil {
		return nil, errors.New("train: Setup comes first")
	}
	task := &train.Task{
		Graph: t.work.Graph, Loss: t.config.Criterion, Smoothing: t.config.LabelSmoothing, FreezeNorm: t.config.FreezeNorm,
		Distill: t.config.Distill, Temperature: t.config.Temperature, Recompute: t.config.RecomputeParts,
	}
	if t.config.Distill > 0 {
		task.Teacher = t.work.Graph.Clone()
	}
	if t.config.Method == "lora" {
		l := t.config.lora()
		task.LoRA, task.Trained = &l, train.Parameters(t.adapters)
		if task.Recompute == 0 {
			var err error
			if task.Recompute, err = recomputed(t.work.Graph); err != nil {
				return nil, err
			}
		}
	}
	var q *quantize.QAT
	if t.config.Method == "qat" {
		m := NewManager(t.quantization)
		m.Calibrate(set)
		samples, err := m.samples(t.orig, t.work.Graph)
		if err != nil {
			return nil, fmt.Errorf("calibration: %w", err)
		}
		c, err := quantize.Calibrate(ctx, t.work, t.plan, samples)
		if err != nil {
			return nil, fmt.Errorf("calibration: %w", err)
		}
		if q, err = quantize.NewQAT(t.work, t.plan, c, t.config.qat()); err != nil {
			return nil, err
		}
		task.Graph, task.Trained = q.Graph, q.Trained
	}
	s := t.config.settings(t.Checkpoint, t.Threads)
	trainer, err := train.New(task, s.Optimizer, s.Clip, s.Seed, t.Threads)
	if err != nil {
		return nil, err
	}
	defer trainer.Close()
	h, err := trainer.Fit(ctx, s, set, valid, t.Observe)
	t.history = h
	if err != nil {
		return h, err
	}
	if t.config.SaveBest && valid != nil {
		trainer.Best()
	}
	trainer.Store()
	if q != nil {
		evaluated := task.Graph.Clone()
		t.scores = func(ctx context.Context, set data.Set, batch int) ([]float32, error) {
			return train.Scores(ctx, evaluated, set, batch, t.Threads)
		}
		if err := q.Finish(ctx); err != nil {
			return h, err
		}
	}
	return h, nil
}

// Scores returns what the model computed in training, with rounding in place, on samples after [Trainer.Train] with method qat: the first
// output, row after row. What is saved computes the same but for the order of sums.
func (t *Trainer) Scores(ctx context.Context, set data.Set, batch int) ([]float32, error) {
	if t.scores == nil {
		return nil, errors.New("scores: there are some after training with method qat")
	}
	return t.scores(ctx, set, batch)
}

// Model returns the trained model. It is valid until the trainer is closed.
func (t *Trainer) Model() *Model { return &Model{m: t.work} }

const historyFile = "history.json"

// trainRecord is what history.json holds.
type trainRecord struct {
	Training TrainConfig  `json:"training"`
	Base     *inputRecord `json:"base,omitempty"` // what adapters were trained on
	*TrainHistory
}

// readHistory returns the history in a folder, or nil where none is.
func readHistory(dir string) (*TrainHistory, error) {
	file := filepath.Join(dir, historyFile)
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	h := &TrainHistory{}
	if err == nil {
		err = json.Unmarshal(text, h)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return h, nil
}

// Save writes the trained model to the folder out, with neuroquant.json and history.json beside it. The folder appears as a whole or not at all;
// one that exists and is not empty is refused unless overwrite is set. The checkpoint is not needed any more then, and removed. Of method lora
// the adapter is written, in the layout of PEFT, with history.json beside it.
func (t *Trainer) Save(ctx context.Context, out string, overwrite bool) error {
	if t.history == nil {
		return errors.New("save: nothing was trained")
	}
	in, err := recordInput(ctx, t.orig)
	if err != nil {
		return err
	}
	if t.config.Method == "lora" {
		return t.saved(outfile.WriteFolder(out, overwrite, func(dir string) error { return t.saveAdapter(dir, in) }))
	}
	c := t.quantization
	if t.config.Method != "qat" {
		c = DefaultConfig()
		c.Method, c.DType = t.config.Method, "float32"
	}
	c.Format = formatONNX
	r := &Result{Model: &Model{m: t.work}, Decisions: t.plan.Decisions, FrozenInputs: t.plan.Frozen, Config: c, Placement: t.plan.Placement(), original: t.orig, input: in}
	err = outfile.WriteFolder(out, overwrite, func(dir string) error {
		f, err := format.Find(formatONNX)
		if err != nil {
			return err
		}
		if err := f.Save(ctx, filepath.Join(dir, modelFile(formatONNX)), t.work, model.SaveOptions{}); err != nil {
			return err
		}
		bytes, err := modelBytes(dir)
		if err != nil {
			return err
		}
		return errors.Join(writeJSON(filepath.Join(dir, recordFile), r.record(bytes)), writeJSON(filepath.Join(dir, historyFile), trainRecord{t.config, nil, t.history}))
	})
	return t.saved(err)
}

func writeJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// saved removes the checkpoint of what was saved without an error.
func (t *Trainer) saved(err error) error {
	if err == nil && t.Checkpoint != "" {
		if err := os.Remove(t.Checkpoint); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return err
}
