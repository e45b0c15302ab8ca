package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/neurotrain/neuroquant/internal/codec/safetensors"
	"github.com/neurotrain/neuroquant/tensor"
)

// A checkpoint is a safetensors file with all that training goes on from: parameters, statistics, the optimizer's state, the best values
// so far, and, in its metadata, where training was. It is written under another name and renamed, so that a file of that name is whole.

// best are the values that were best on the validation data.
type best struct{ params, statistics []*tensor.Tensor }

func (t *Trainer) keepBest() { t.best = &best{clonesOf(t.params), clonesOf(t.statistics)} }

// Best puts the values that were best on the validation data, or after the epoch of the smallest loss where there is none, in place of those that
// came out last. It does nothing before an epoch has ended.
func (t *Trainer) Best() {
	if t.best == nil {
		return
	}
	for i, w := range t.best.params {
		copy(t.params[i].Bytes(), w.Bytes())
	}
	for i, w := range t.best.statistics {
		copy(t.statistics[i].Bytes(), w.Bytes())
	}
}

// checkpointExt is what the name of a checkpoint ends in.
const checkpointExt = ".safetensors"

// place is where a training was.
type place struct {
	Settings  string  `json:"settings"`
	Samples   int     `json:"samples"`
	Updates   int     `json:"updates"`
	Epoch     int     `json:"epoch"`
	Done      int     `json:"done"`
	LossSum   float64 `json:"loss_sum"`
	Right     int     `json:"right"`
	Seen      int     `json:"seen"`
	BestScore string  `json:"best_score"`
	Worse     int     `json:"worse"`
	Finished  bool    `json:"finished"`
	History   History `json:"history"`
}

// identity says what two trainings must share for one to go on where the other was.
func (f *fit) identity() string {
	s := f.s
	s.Checkpoint, s.CheckpointEvery, s.Threads = "", 0, 0
	text, err := json.Marshal(struct {
		Settings
		Loss                            string
		Smoothing, Distill, Temperature float64
		FreezeNorm                      bool
		LoRA                            *LoRA `json:",omitempty"`
	}{s, f.task.Loss, f.task.Smoothing, f.task.Distill, f.task.Temperature, f.task.FreezeNorm, f.task.LoRA})
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// tensors lists all state by name.
func (f *fit) tensors() (names []string, list []*tensor.Tensor) {
	add := func(name string, t *tensor.Tensor) { names, list = append(names, name), append(list, t) }
	for i, v := range f.trained {
		add("param."+v.Name, f.params[i])
		m := &f.opt.of[i]
		for _, s := range []struct {
			name string
			v    []float32
		}{{"m.", m.m}, {"v.", m.v}} {
			if s.v != nil {
				add(s.name+v.Name, tensor.Of(tensor.Shape{len(s.v)}, s.v))
			}
		}
		for _, s := range []struct {
			name string
			b    *blocks8
		}{{"m8.", m.m8}, {"v8.", m.v8}} {
			if s.b != nil {
				add(s.name+v.Name, tensor.Of(tensor.Shape{len(s.b.codes)}, s.b.codes))
				add(s.name+"scale."+v.Name, tensor.Of(tensor.Shape{len(s.b.scale)}, s.b.scale))
			}
		}
		if f.best != nil {
			add("best."+v.Name, f.best.params[i])
		}
	}
	for i, v := range f.stats {
		add("statistic."+v.Name, f.statistics[i])
		if f.best != nil {
			add("best."+v.Name, f.best.statistics[i])
		}
	}
	return names, list
}

// save writes a checkpoint.
func (f *fit) save() error {
	if err := f.allFinite(); err != nil {
		return err
	}
	if f.s.Checkpoint == "" {
		return nil
	}
	text, err := json.Marshal(place{
		Settings: f.identity(), Samples: f.set.Len(), Updates: f.opt.step, Epoch: f.epoch, Done: f.done, LossSum: f.lossSum, Right: f.right, Seen: f.seen,
		BestScore: strconv.FormatFloat(f.bestScore, 'x', -1, 64), Worse: f.worse, Finished: f.finished, History: *f.history,
	})
	if err != nil {
		return err
	}
	names, list := f.tensors()
	entries := make([]safetensors.Entry, len(names))
	for i, t := range list {
		entries[i] = safetensors.Entry{Name: names[i], DType: t.DType, Shape: t.Shape}
	}
	dir, file := filepath.Split(f.s.Checkpoint)
	if dir == "" {
		dir = "."
	}
	w, err := safetensors.Create(dir, entries, safetensors.WriteOptions{Stem: strings.TrimSuffix(file, checkpointExt), ShardBytes: math.MaxInt, Metadata: map[string]string{"training": string(text)}})
	if err != nil {
		return err
	}
	for i, t := range list {
		if err := w.Write(names[i], t); err != nil {
			w.Abort()
			return err
		}
	}
	return w.Close()
}

// resume goes on from a checkpoint, if there is one.
func (f *fit) resume() error {
	path := f.s.Checkpoint
	if path == "" {
		return nil
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	set, err := safetensors.Open(path)
	if err != nil {
		return fmt.Errorf("checkpoint %s: %w", path, err)
	}
	defer set.Close()
	if err := f.restore(set); err != nil {
		return fmt.Errorf("checkpoint %s: %w", path, err)
	}
	return nil
}

func (f *fit) restore(set *safetensors.Set) error {
	var p place
	if err := json.Unmarshal([]byte(set.Metadata["training"]), &p); err != nil {
		return fmt.Errorf("it is not one of a training: %w", err)
	}
	if p.Settings != f.identity() {
		return fmt.Errorf("it is of a training with other settings: %s, not %s", p.Settings, f.identity())
	}
	if p.Samples != f.set.Len() {
		return fmt.Errorf("it is of a training on %d samples, not %d", p.Samples, f.set.Len())
	}
	score, err := strconv.ParseFloat(p.BestScore, 64)
	if err != nil || math.IsNaN(score) {
		return fmt.Errorf("the best score is %q", p.BestScore)
	}
	if !math.IsInf(score, -1) {
		f.keepBest()
	}
	names, list := f.tensors()
	for i, name := range names {
		e := set.Tensor(name)
		if e == nil {
			return fmt.Errorf("tensor %q is missing", name)
		}
		if e.DType() != list[i].DType || !slices.Equal(e.Shape(), list[i].Shape) {
			return fmt.Errorf("tensor %q: want %v, got %v%v", name, list[i], e.DType(), e.Shape())
		}
		copy(list[i].Bytes(), e.Bytes())
	}
	f.opt.step, f.epoch, f.done, f.lossSum, f.right, f.seen = p.Updates, p.Epoch, p.Done, p.LossSum, p.Right, p.Seen
	f.bestScore, f.worse, f.finished, f.history = score, p.Worse, p.Finished, &p.History
	return nil
}

// allFinite reports the parameter or statistic that is not finite: what an update destroyed is not kept.
func (t *Trainer) allFinite() error {
	for i, w := range t.params {
		if !finite(w) {
			return fmt.Errorf("after update %d: parameter %q has values that are not finite", t.opt.step, t.trained[i].Name)
		}
	}
	for i, w := range t.statistics {
		if !finite(w) {
			return fmt.Errorf("after update %d: statistic %q has values that are not finite", t.opt.step, t.stats[i].Name)
		}
	}
	return nil
}
