package generate

import (
	"context"
	"errors"
	"time"
)

// Why a sequence ended.
const (
	EndToken   = "end"     // the model said that it is done
	EndStop    = "stop"    // the caller did
	EndLength  = "length"  // as many tokens as were asked for
	EndContext = "context" // no room for more
)

// Request is what is to be generated.
type Request struct {
	Prompts [][]int
	// Batch, if it is set, holds a sequence for each prompt, of which Before are the tokens; the prompts continue them.
	Batch    *Batch
	Before   [][]int
	Tokens   int   // most new ones of each
	End      []int // tokens that end a sequence; they are not part of what is returned
	Sampling Sampling
	// Each is told every token as it comes, and says whether the sequence is done. It may be nil.
	Each func(sequence, id int) (done bool, err error)
}

// Sequence is what came of a prompt.
type Sequence struct {
	IDs []int
	End string
}

// Timing is where the time went.
type Timing struct {
	Prompt, Generated int // tokens
	Prefill, Decode   time.Duration
	CacheBytes        int
}

// Run generates.
func (e *Engine) Run(ctx context.Context, r Request) ([]Sequence, Timing, error) {
	var t Timing
	if err := r.Sampling.Check(); err != nil {
		return nil, t, err
	}
	if r.Tokens < 1 {
		return nil, t, errors.New("want at least one new token")
	}
	l := &loop{e: e, r: r, batch: r.Batch, end: map[int]bool{}, out: make([]Sequence, len(r.Prompts))}
	if l.batch == nil {
		l.batch = e.Batch(len(r.Prompts))
	}
	for _, id := range r.End {
		l.end[id] = true
	}
	start := time.Now()
	if err := l.prefill(ctx, &t); err != nil {
		return nil, t, err
	}
	t.Prefill = time.Since(start)
	err := l.decode(ctx, &t)
	t.Decode = time.Since(start) - t.Prefill
	t.CacheBytes = l.batch.CacheBytes()
	return l.out, t, err
}

// loop is a run of an engine.
type loop struct {
	e        *Engine
	r        Request
	batch    *Batch
	end      map[int]bool
	samplers []*Sampler
	out      []Sequence
	active   []int // sequences that go on
	last     []int // their last tokens
}

// prefill computes the prompts and chooses the first token of each.
func (l *loop) prefill(ctx context.Context, t *Timing) error {
	for i, p := range l.r.Prompts {
		logits, err := l.batch.Feed(ctx, i, p)
		if err != nil {
			return err
		}
		t.Prompt += len(p)
		s := NewSampler(l.r.Sampling, i)
		if l.r.Before != nil {
			s.Saw(l.r.Before[i]...)
		}
		s.Saw(p...)
		l.samplers = append(l.samplers, s)
		id, done, err := l.next(i, logits)
		if err != nil {
			return err
		}
		t.Generated++
		if !done {
			l.active, l.last = append(l.active, i), append(l.last, id)
		}
	}
	return nil
}

// decode continues the sequences together until each has ended.
func (l *loop) decode(ctx context.Context, t *Timing) error {
	for len(l.active) > 0 {
		logits, err := l.batch.Step(ctx, l.active, l.last)
		if err != nil {
			return err
		}
		var active, last []int
		for i, s := range l.active {
			id, done, err := l.next(s, logits[i*l.e.vocab:][:l.e.vocab])
			if err != nil {
				return err
			}
			t.Generated++
			if !done {
				active, last = append(active, s), append(last, id)
			}
		}
		l.active, l.last = active, last
	}
	return nil
}

// next chooses a token of a sequence.
func (l *loop) next(sequence int, logits []float32) (id int, done bool, err error) {
	if id, err = l.samplers[sequence].Next(logits); err != nil {
		return 0, false, err
	}
	o := &l.out[sequence]
	if l.end[id] {
		o.End = EndToken
		return id, true, nil
	}
	o.IDs = append(o.IDs, id)
	if l.r.Each != nil {
		if done, err = l.r.Each(sequence, id); err != nil {
			return 0, false, err
		}
	}
	switch {
	case done:
		o.End = EndStop
	case len(o.IDs) >= l.r.Tokens:
		o.End, done = EndLength, true
	case l.e.o.Context > 0 && l.batch.Len(sequence) >= l.e.o.Context:
		o.End, done = EndContext, true
	}
	return id, done, nil
}
