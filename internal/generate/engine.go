// Package generate runs causal language models token by token: an [Engine] holds the model made ready to continue sequences,
// with a key-value cache; a [Sampler] chooses tokens.
package generate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/tensor"
)

// Options of an engine.
type Options struct {
	Cache     tensor.DType // of keys and values: float16 (also if it is not set), int8 or float32
	Threads   int          // as of a session
	Context   int          // most tokens of a sequence; 0: no limit
	Chunk     int          // tokens of a prompt that are computed at once; 0: 512
	Positions string       // name of the value of the graph that holds the positions
	Exact     bool         // no rounding of products that are exact without; see [pass.RoundProducts]
	Profile   func(n *graph.Node, d time.Duration)
}

// Engine is a language model that continues sequences. It is used by one goroutine at a time.
type Engine struct {
	session *exec.Session
	o       Options
	vocab   int
}

// New makes the graph of a causal language model ready.
func New(g *graph.Graph, o Options) (*Engine, error) {
	if o.Cache == tensor.Invalid {
		o.Cache = tensor.Float16
	}
	if o.Chunk == 0 {
		o.Chunk = 512
	}
	c, err := pass.Cached(g, pass.CacheOptions{Positions: o.Positions, Type: o.Cache, Last: true})
	if err != nil {
		return nil, err
	}
	if c, err = pass.Lower(c); err != nil {
		return nil, err
	}
	if !o.Exact {
		if err := pass.RoundProducts(c); err != nil {
			return nil, err
		}
	}
	e := &Engine{o: o}
	if t := c.Outputs[0].Type; t.Ranked && len(t.Dims) == 3 && t.Dims[2].IsKnown() {
		e.vocab = t.Dims[2].Size
	}
	if e.vocab == 0 || len(c.Inputs) != 3 {
		return nil, errors.New("the graph is not that of a language model: one input of token ids, one output of logits")
	}
	if e.session, err = exec.NewSession(c, exec.Options{Threads: o.Threads, Profile: o.Profile}); err != nil {
		return nil, err
	}
	return e, nil
}

// Close releases the engine's threads and memory.
func (e *Engine) Close() { e.session.Close() }

// Batch is a number of sequences that an engine continues.
type Batch struct {
	e       *Engine
	history exec.History
	lengths []int // tokens of each sequence

	in  []*tensor.Tensor // of the last call: ids and positions [sequences, tokens], and the sequences
	out []*tensor.Tensor // of the last step
}

// Batch returns n empty sequences.
func (e *Engine) Batch(n int) *Batch { return &Batch{e: e, lengths: make([]int, n)} }

// Len is how many tokens a sequence has.
func (b *Batch) Len(sequence int) int { return b.lengths[sequence] }

// Truncate forgets the tokens of a sequence from a number of them on. It fails where earlier ones are needed that a sliding window has left
// behind; truncation to 0 does not.
func (b *Batch) Truncate(sequence, tokens int) error {
	if tokens < 0 || tokens > b.lengths[sequence] {
		return fmt.Errorf("truncation of %d tokens to %d", b.lengths[sequence], tokens)
	}
	if err := b.history.Truncate(sequence, tokens); err != nil {
		return err
	}
	b.lengths[sequence] = tokens
	return nil
}

// CacheBytes is the memory that keys and values take.
func (b *Batch) CacheBytes() int { return b.history.Bytes() }

// Feed appends tokens to a sequence and returns the logits of what follows the last.
func (b *Batch) Feed(ctx context.Context, sequence int, ids []int) ([]float32, error) {
	if len(ids) == 0 {
		return nil, errors.New("there are no tokens to go on from")
	}
	var logits []float32
	for len(ids) > 0 {
		n := min(len(ids), b.e.o.Chunk)
		out := []*tensor.Tensor{nil}
		if err := b.run(ctx, []int{sequence}, ids[:n], n, out); err != nil {
			return nil, err
		}
		logits, ids = tensor.Data[float32](out[0]), ids[n:]
	}
	return logits, nil
}

// Step appends one token to each of several sequences and returns the logits of what follows, one row after the other. They are valid until the
// next step.
func (b *Batch) Step(ctx context.Context, sequences, ids []int) ([]float32, error) {
	if b.out == nil {
		b.out = []*tensor.Tensor{nil}
	}
	if err := b.run(ctx, sequences, ids, 1, b.out); err != nil {
		return nil, err
	}
	return tensor.Data[float32](b.out[0]), nil
}

// run appends n tokens to each of the sequences. The logits go to out, as exec.Session.RunInto says.
func (b *Batch) run(ctx context.Context, sequences, ids []int, n int, out []*tensor.Tensor) error {
	if b.in == nil || b.in[0].Len() != len(ids) || b.in[2].Len() != len(sequences) {
		shape := tensor.Shape{len(sequences), n}
		b.in = []*tensor.Tensor{tensor.New(tensor.Int64, shape...), tensor.New(tensor.Int64, shape...), tensor.New(tensor.Int64, len(sequences))}
	}
	tokens, at, rows := tensor.Data[int64](b.in[0]), tensor.Data[int64](b.in[1]), tensor.Data[int64](b.in[2])
	for i, id := range ids {
		if id < 0 || id >= b.e.vocab {
			return fmt.Errorf("token %d is none of the %d of the model", id, b.e.vocab)
		}
		tokens[i] = int64(id)
	}
	for i, s := range sequences {
		if c := b.e.o.Context; c > 0 && b.lengths[s]+n > c {
			return fmt.Errorf("%d tokens are more than the context of %d", b.lengths[s]+n, c)
		}
		rows[i] = int64(s)
		for t := range n {
			at[i*n+t] = int64(b.lengths[s] + t)
		}
	}
	if err := b.e.session.RunInto(exec.WithHistory(ctx, &b.history), b.in, out); err != nil {
		return err
	}
	for _, s := range sequences {
		b.lengths[s] += n
	}
	return nil
}
