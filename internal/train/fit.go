package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/tensor"
)

// Settings say how a task is fitted to data.
type Settings struct {
	Epochs int
	// Batch is how many samples make an update, in Accumulate parts (0: one) whose gradients are added.
	Batch, Accumulate int
	Optimizer         Optimizer
	Schedule          Schedule
	// Ordered takes samples in their order, in place of one that the seed gives for every epoch.
	Ordered bool
	// Clip bounds the norm of all gradients together; 0 does not.
	Clip    float64
	Augment Augment
	// Seed is that of the order of samples, of augmentation and of operators that draw random numbers.
	Seed uint64
	// Patience ends training when so many epochs in a row have not been better on the validation data; 0 does not.
	Patience int
	// Updates, if it is above 0, ends training after so many.
	Updates int
	// Checkpoint is a file that all of the state is written to every CheckpointEvery updates (0: every epoch) and at the end, and that
	// training goes on from if it is there; "" writes none.
	Checkpoint      string
	CheckpointEvery int
	// Before evaluates the validation data before the first update too.
	Before  bool
	Threads int
}

// Check reports settings that cannot be meant.
func (s *Settings) Check() error {
	var errs []error
	if s.Epochs < 1 {
		errs = append(errs, fmt.Errorf("epochs: want at least 1, got %d", s.Epochs))
	}
	if s.Batch < 1 {
		errs = append(errs, fmt.Errorf("batch: want at least 1, got %d", s.Batch))
	}
	if s.Accumulate < 0 || s.Accumulate > max(s.Batch, 1) {
		errs = append(errs, fmt.Errorf("accumulate: want 0 to %d parts of a batch, got %d", s.Batch, s.Accumulate))
	}
	if s.Patience < 0 || s.Updates < 0 || s.CheckpointEvery < 0 || s.Augment.Pad < 0 {
		errs = append(errs, errors.New("patience, updates, checkpoint every and pad: want 0 or more"))
	}
	if s.Checkpoint != "" && (!strings.HasSuffix(s.Checkpoint, checkpointExt) || filepath.Base(s.Checkpoint) == checkpointExt) {
		errs = append(errs, fmt.Errorf("checkpoint: want the name of a file that ends in %s, got %q", checkpointExt, s.Checkpoint))
	}
	return errors.Join(append(errs, s.Optimizer.Check(), s.Schedule.Check())...)
}

// Epoch is what one pass over the data showed.
type Epoch struct {
	Epoch    int      `json:"epoch"` // from 1
	Updates  int      `json:"updates"`
	Rate     float64  `json:"learning_rate"` // of the last update
	Loss     float64  `json:"train_loss"`
	Accuracy *float64 `json:"train_accuracy,omitempty"`
	Valid    *float64 `json:"valid_loss,omitempty"`
	Right    *float64 `json:"valid_accuracy,omitempty"`
	Best     bool     `json:"best,omitempty"`
}

// History is what training showed, epoch by epoch; Losses has the loss of every update.
type History struct {
	Epochs []Epoch   `json:"epochs"`
	Losses []float64 `json:"losses"`
	// Before is the loss on the validation data before the first update, where it was asked for.
	Before  *float64 `json:"valid_loss_before,omitempty"`
	Stopped string   `json:"stopped,omitempty"` // why training ended before all epochs were done
}

// Fit trains on the samples of set. valid, which may be nil, is evaluated after every epoch; what was best there is kept. observe, which may be nil,
// is told of every epoch. When Fit returns, the trainer holds what came out last; see [Trainer.Best]. An error leaves what the last checkpoint holds.
func (t *Trainer) Fit(ctx context.Context, s Settings, set, valid data.Set, observe func(Epoch)) (*History, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	if set.Len() < s.Batch {
		return nil, fmt.Errorf("the data has %d samples, a batch %d", set.Len(), s.Batch)
	}
	for _, d := range []data.Set{set, valid} {
		if d != nil {
			if err := t.checkLabels(ctx, d); err != nil {
				return nil, err
			}
		}
	}
	f := &fit{Trainer: t, s: s, set: set, valid: valid, history: &History{}, bestScore: math.Inf(-1), observe: observe}
	if err := f.resume(); err != nil {
		return nil, err
	}
	if s.Before && valid != nil && f.history.Before == nil {
		loss, _, err := f.Evaluate(ctx, valid, f.evaluated())
		if err != nil {
			return nil, fmt.Errorf("validation before training: %w", err)
		}
		f.history.Before = &loss
	}
	err := f.run(ctx)
	return f.history, err
}

// fit is a training under way.
type fit struct {
	*Trainer
	s          Settings
	set, valid data.Set
	observe    func(Epoch)

	history   *History
	epoch     int // that is under way, from 0
	done      int // updates of it
	lossSum   float64
	right     int
	seen      int
	bestScore float64
	worse     int // epochs in a row
	finished  bool
}

// perEpoch is how many updates an epoch has: what does not fill a batch is left out, other samples each time.
func (f *fit) perEpoch() int { return f.set.Len() / f.s.Batch }

// evaluated is how many samples are evaluated together: one text, whose logits are what takes memory, or as many as are trained on together.
func (f *fit) evaluated() int {
	if f.task.Loss == "next_token" {
		return 1
	}
	return max(1, f.s.Batch/max(f.s.Accumulate, 1))
}

func (f *fit) total() int {
	n := f.perEpoch() * f.s.Epochs
	if f.s.Updates > 0 {
		n = min(n, f.s.Updates)
	}
	return n
}

func (f *fit) run(ctx context.Context) error {
	task := progress.From(ctx).Start("train", int64(f.total()), "updates")
	defer task.Done()
	task.Add(int64(f.opt.step))
	for !f.finished && f.epoch < f.s.Epochs {
		order := f.order()
		for f.done < f.perEpoch() && f.opt.step < f.total() {
			if err := f.update(ctx, order[f.done*f.s.Batch:][:f.s.Batch]); err != nil {
				return fmt.Errorf("epoch %d, update %d: %w", f.epoch+1, f.opt.step+1, err)
			}
			if n := len(f.history.Losses); n%max(n/64, 1) == 0 { // a curve takes all of them
				task.Note(fmt.Sprintf("loss %.4f %s", f.history.Losses[n-1], progress.Curve(f.history.Losses, noteCells)))
			}
			task.Add(1)
			if f.s.CheckpointEvery > 0 && f.opt.step%f.s.CheckpointEvery == 0 && f.done < f.perEpoch() {
				if err := f.save(); err != nil {
					return err
				}
			}
		}
		if err := f.endEpoch(ctx); err != nil {
			return err
		}
		if err := f.save(); err != nil {
			return err
		}
	}
	return nil
}

// noteCells is how wide the curve of losses is that stands beside a bar.
const noteCells = 12

func (f *fit) order() []int {
	if !f.s.Ordered {
		return orderOf(f.set.Len(), f.s.Seed, f.epoch)
	}
	order := make([]int, f.set.Len())
	for i := range order {
		order[i] = i
	}
	return order
}

// orderOf is the order of the samples in an epoch (Fisher and Yates).
func orderOf(n int, seed uint64, epoch int) []int {
	r := rand.NewPCG(seed, uint64(epoch)+0x65706f63)
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	for i := n - 1; i > 0; i-- {
		j, _ := bits.Mul64(r.Uint64(), uint64(i+1))
		order[i], order[j] = order[j], order[i]
	}
	return order
}

// rate is the learning rate of the next update.
func (f *fit) rate() float64 {
	return f.s.Optimizer.Rate * f.s.Schedule.factor(f.opt.step, f.perEpoch(), f.total())
}

// update makes one update on samples.
func (f *fit) update(ctx context.Context, index []int) error {
	n := max(f.s.Accumulate, 1)
	parts := make([]part, n)
	labels := make([][]int, n)
	for k := range parts {
		own := index[len(index)*k/n : len(index)*(k+1)/n]
		b, err := f.set.Read(ctx, own)
		if err != nil {
			return err
		}
		if parts[k], err = f.part(b); err != nil {
			return err
		}
		labels[k] = b.Labels
		if f.s.Augment.active() {
			if err := f.s.Augment.apply(parts[k].in[0], f.s.Seed, f.epoch, own); err != nil {
				return err
			}
		}
	}
	loss, err := f.step(ctx, parts, f.rate(), func(k int, scores *tensor.Tensor) {
		if labels[k] != nil && classifies(f.task.Loss) {
			f.right += hits(scores, labels[k])
			f.seen += len(labels[k])
		}
	})
	if err != nil {
		return err
	}
	f.history.Losses = append(f.history.Losses, loss)
	f.lossSum += loss
	f.done++
	return nil
}

func classifies(loss string) bool { return loss == "" || loss == "cross_entropy" }

// hits counts the rows whose greatest score is the label's.
func hits(scores *tensor.Tensor, labels []int) int {
	v := tensor.Data[float32](scores)
	classes := len(v) / max(len(labels), 1)
	n := 0
	for i, l := range labels {
		best := 0
		for c, s := range v[i*classes : (i+1)*classes] {
			if s > v[i*classes+best] {
				best = c
			}
		}
		if best == l {
			n++
		}
	}
	return n
}

// endEpoch validates and records an epoch.
func (f *fit) endEpoch(ctx context.Context) error {
	e := Epoch{Epoch: f.epoch + 1, Updates: f.opt.step, Loss: f.lossSum / float64(max(f.done, 1))}
	if n := len(f.history.Losses); n > 0 {
		e.Rate = f.s.Optimizer.Rate * f.s.Schedule.factor(f.opt.step-1, f.perEpoch(), f.total())
	}
	if f.seen > 0 {
		a := float64(f.right) / float64(f.seen)
		e.Accuracy = &a
	}
	score := -e.Loss
	if f.valid != nil {
		if f.task.LoRA != nil { // the next step makes them again, which takes less than an update
			f.unbind()
			debug.FreeOSMemory() // what was read and copied for them too
		}
		loss, right, err := f.Evaluate(ctx, f.valid, f.evaluated())
		if err != nil {
			return fmt.Errorf("validation after epoch %d: %w", f.epoch+1, err)
		}
		e.Valid, score = &loss, -loss
		if right >= 0 {
			e.Right, score = &right, right-loss*1e-6 // accuracy, and of equals the smaller loss
		}
	}
	if score > f.bestScore {
		f.bestScore, f.worse, e.Best = score, 0, true
		f.keepBest()
	} else {
		f.worse++
	}
	f.history.Epochs = append(f.history.Epochs, e)
	if f.observe != nil {
		f.observe(e)
	}
	f.epoch, f.done, f.lossSum, f.right, f.seen = f.epoch+1, 0, 0, 0, 0
	switch {
	case f.s.Patience > 0 && f.valid != nil && f.worse >= f.s.Patience:
		f.finished = true
		f.history.Stopped = fmt.Sprintf("%d epochs in a row were no better", f.worse)
	case f.opt.step >= f.total() && f.epoch < f.s.Epochs:
		f.finished = true
		f.history.Stopped = fmt.Sprintf("%d updates were made", f.opt.step)
	}
	return nil
}

// part returns the inputs of the model and the target of a batch.
func (t *Trainer) part(b data.Batch) (part, error) {
	names := make([]string, len(t.task.Graph.Inputs))
	for i, v := range t.task.Graph.Inputs {
		names[i] = v.Name
	}
	var p part
	var err error
	switch {
	case t.task.Loss == "next_token":
		if p.in, err = b.For(names); err != nil {
			return p, err
		}
		p.target, err = nextTokens(p.in[0])
	case classifies(t.task.Loss):
		if b.Labels == nil {
			return p, errors.New("the data has no labels")
		}
		labels := make([]int64, len(b.Labels))
		for i, l := range b.Labels {
			labels[i] = int64(l)
		}
		p.target = tensor.Vector(labels...)
		p.in, err = b.For(names)
	default: // the last input is the target
		if len(b.Inputs) < 2 {
			return p, fmt.Errorf("loss %s: want data with the target behind the inputs, got %d arrays", t.task.Loss, len(b.Inputs))
		}
		last := len(b.Inputs) - 1
		p.target = b.Inputs[last]
		b.Inputs, b.Names = b.Inputs[:last], b.Names[:last]
		p.in, err = b.For(names)
	}
	return p, err
}

// nextTokens is the token behind every position, ignored behind the last.
func nextTokens(ids *tensor.Tensor) (*tensor.Tensor, error) {
	v, err := ids.Ints()
	if err != nil || ids.Rank() != 2 {
		return nil, fmt.Errorf("want token ids [batch, tokens], got %v", ids)
	}
	n := ids.Shape[1]
	next := make([]int64, len(v))
	for i := range v {
		next[i] = ignored
		if i%n < n-1 {
			next[i] = v[i+1]
		}
	}
	return tensor.Of(ids.Shape.Clone(), next), nil
}

// checkLabels compares all labels with the classes of the model, before anything is trained.
func (t *Trainer) checkLabels(ctx context.Context, set data.Set) error {
	if !classifies(t.task.Loss) || set.Len() == 0 {
		return nil
	}
	labels := set.Labels()
	if labels == nil {
		return errors.New("the data has no labels")
	}
	out := t.task.Graph.Outputs[0]
	classes := -1
	if out.Type.Ranked && len(out.Type.Dims) > 1 && out.Type.Dims[1].IsKnown() {
		classes = out.Type.Dims[1].Size
	}
	if classes < 0 {
		b, err := set.Read(ctx, []int{0})
		if err != nil {
			return err
		}
		scores, err := t.scoresOf(ctx, b)
		if err != nil {
			return err
		}
		classes = scores.Shape[scores.Rank()-1]
	}
	var bad []string
	count := 0
	for i, l := range labels {
		if l < 0 || l >= classes {
			if count++; len(bad) < 3 {
				bad = append(bad, fmt.Sprintf("sample %d has %d", i, l))
			}
		}
	}
	if count > 0 {
		return fmt.Errorf("labels: the model's output %q has %d classes, 0 to %d, but %d labels are out of range (%s)", out.Name, classes, classes-1, count, joinList(bad, count))
	}
	return nil
}

func joinList(list []string, count int) string {
	s := ""
	for i, x := range list {
		if i > 0 {
			s += ", "
		}
		s += x
	}
	if count > len(list) {
		s += ", ..."
	}
	return s
}

func clonesOf(ts []*tensor.Tensor) []*tensor.Tensor {
	out := slices.Clone(ts)
	for i, t := range ts {
		out[i] = t.Clone()
	}
	return out
}
