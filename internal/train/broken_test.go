package train

import (
	"context"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/tensor"
)

// A training whose loss is not finite any more stops and names where that begins. Its last checkpoint is from before, and a training that goes on
// from there ends as one that never broke; the same holds where an update itself makes weights that are not finite.
func TestBrokenTrainingKeepsItsCheckpoint(t *testing.T) {
	s := smallSettings
	s.Optimizer = Optimizer{Name: "adamw", Rate: 0.01}
	whole, _ := fitSmall(t, s, 1)
	for _, c := range []struct {
		value float32
		want  []string
	}{
		{3e38, []string{"epoch 2, update 7", "the loss is not finite", `node "conv2" (Conv) is the first`}},
		{float32(math.Inf(1)), []string{"after update 6", `parameter "conv2.w"`}},
	} {
		s.Checkpoint, s.CheckpointEvery = filepath.Join(t.TempDir(), "state.safetensors"), 3
		tr, err := New(&Task{Graph: smallNet(t)}, s.Optimizer, s.Clip, s.Seed, 1)
		if err != nil {
			t.Fatal(err)
		}
		if c.value-c.value == 0 { // finite weights are a good checkpoint still: the one of update 6 must not be written
			s.CheckpointEvery = 4
		}
		tr.task.After = func(update int) {
			if update == 6 {
				for i := range tensor.Data[float32](tr.Param("conv2.w")) {
					tensor.Data[float32](tr.Param("conv2.w"))[i] = c.value
				}
			}
		}
		_, err = tr.Fit(context.Background(), s, patterns(t, 64), patterns(t, 32), nil)
		tr.Close()
		if err == nil {
			t.Fatal("training did not stop")
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("error %q does not have %q", err, w)
			}
		}
		again, history := fitSmall(t, s, 1)
		if len(history.Losses) != 12 {
			t.Errorf("%d updates, want 12", len(history.Losses))
		}
		for i, v := range whole.trained {
			if !slices.Equal(whole.params[i].Bytes(), again.params[i].Bytes()) {
				t.Fatalf("%s differs from that of a training that did not break", v.Name)
			}
		}
	}
}
