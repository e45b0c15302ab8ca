package kernel

import (
	"context"
	"runtime"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"
)

// spinTime is how long an idle worker looks for the next job before it parks: long enough to bridge
// the serial work between two nodes of a graph, short enough to cost a busy machine little.
const spinTime = 40 * time.Microsecond

// joinTime is how long the caller of a loop looks for the end of the last chunks: longer than one takes, and short beside the time for
// which a core is given to another process.
const joinTime = 5 * spinTime

// Pool is a set of worker threads for fork-join loops.
//
// Workers are goroutines locked to OS threads (see parker). After a job they spin for some 40 microseconds and then
// park, so that loops in quick succession start within a microsecond or two and an idle pool costs
// nothing. Work is handed out in chunks: each thread takes those of its own share of the range first, so that what one loop
// left in a core's cache is found there by the next, and then what others have left. A loop never waits for a
// worker that has not begun: a core that another process takes costs its share and not the whole run. Where other processes leave two
// threads one core, neither spins for the other.
//
// A nil *Pool runs everything on the calling goroutine.
type Pool struct {
	threads int
	workers []*parker
	caller  *parker     // of For, which waits for the last workers
	places  []place     // of the threads, the caller first
	calls   int         // of For, counted for the places
	busy    atomic.Bool // a For is in progress, or the pool is closed
	closed  atomic.Bool

	// The job. Written by the caller while state is closed; read by workers that joined.
	body   func(lo, hi int)
	n      int
	chunk  int
	shares []share // of as many threads as there are chunks for

	_     [64]byte
	state atomic.Uint64 // epoch<<32 | open bit | number of workers inside
	_     [64]byte

	failure atomic.Pointer[failure]
	labels  atomic.Pointer[context.Context]
}

// place is where a thread runs.
type place struct {
	core   atomic.Int32 // as it was within the last lookEvery loops; -1: not known
	inside atomic.Bool  // of a job
	_      [56]byte     // a cache line of its own
}

// lookEvery is the number of loops after which a thread looks again on which core it runs.
const lookEvery = 32

// beside reports whether thread is on the caller's core, where other processes have the rest: it runs only while the caller does not, and
// neither may spin for the other then.
func (p *Pool) beside(thread int) bool {
	c := p.places[thread].core.Load()
	return c >= 0 && c == p.places[0].core.Load()
}

// share is a part of the range of a loop.
type share struct {
	next atomic.Int64 // first index not yet handed out
	end  int64
	_    [48]byte // a cache line of its own
}

type failure struct{ value any }

const (
	stateOpen   = 1 << 31
	stateInside = stateOpen - 1
	stateEpoch  = 1 << 32
)

// NewPool starts a pool of the given number of threads, the caller of For counted as one. A number
// below 1 means runtime.GOMAXPROCS(0).
func NewPool(threads int) *Pool {
	if threads < 1 {
		threads = runtime.GOMAXPROCS(0)
	}
	p := &Pool{threads: threads, workers: make([]*parker, threads-1), caller: newParker()}
	p.shares, p.places = make([]share, threads), make([]place, threads)
	for i := range p.places {
		p.places[i].core.Store(-1)
	}
	for i := range p.workers {
		w := newParker()
		p.workers[i] = w
		go p.run(w, i+1)
	}
	return p
}

var shared struct {
	once sync.Once
	pool *Pool
}

// Shared returns the process-wide pool of runtime.GOMAXPROCS(0) threads, started on first use. It
// must not be closed.
func Shared() *Pool {
	shared.once.Do(func() { shared.pool = NewPool(0) })
	return shared.pool
}

// Threads returns the number of threads that may run a body at once; 1 for a nil pool.
func (p *Pool) Threads() int {
	if p == nil {
		return 1
	}
	return p.threads
}

// For calls body on disjoint ranges [lo, hi) that together cover [0, n), on up to Threads() threads,
// and returns when all are done. Every range but the last has a length that is a multiple of grain;
// grain below 1 asks for about eight chunks a thread. Which thread gets which range is not
// determined, so a body's result must not depend on it.
//
// A For inside a body, and a For while another goroutine's For is in progress on the same pool, runs
// inline on the calling goroutine. A panic in a body stops the handing out of work and is raised
// again in the caller once all threads have left.
func (p *Pool) For(n, grain int, body func(lo, hi int)) {
	if n <= 0 {
		return
	}
	if p == nil || len(p.workers) == 0 {
		body(0, n)
		return
	}
	if grain < 1 {
		grain = max(1, n/(8*p.threads))
	}
	if n <= grain || !p.busy.CompareAndSwap(false, true) {
		body(0, n)
		return
	}
	if p.calls%lookEvery == 0 {
		p.places[0].core.Store(currentCore())
	}
	p.calls++
	p.open(n, grain, body)
	p.state.Store((p.state.Load()/stateEpoch+1)*stateEpoch | stateOpen)
	for i, w := range p.workers {
		if (i+1)*grain >= n {
			break // fewer chunks than threads
		}
		w.wake()
	}
	p.work(0)
	p.state.And(^uint64(stateOpen))
	p.join()
	f := p.failure.Swap(nil)
	p.body = nil
	p.busy.Store(false)
	if f != nil {
		panic(f.value)
	}
}

// join waits for the workers that are inside of a closed job. One that does not come back soon has lost its core to another process;
// the caller then leaves its own core to others, too, and has what it saved when work is to be done.
func (p *Pool) join() {
	var began time.Time
	for i := 1; p.state.Load()&stateInside != 0; i++ {
		pause()
		if i%64 != 0 {
			continue
		}
		if i == 64 {
			began = time.Now()
		}
		if i == 64 && p.waitsForNeighbour() || time.Since(began) > joinTime {
			p.caller.prepare()
			if p.state.Load()&stateInside != 0 || !p.caller.cancel() {
				p.caller.sleep()
			}
		}
	}
}

// waitsForNeighbour reports whether a worker that is inside of the job has the caller's core.
func (p *Pool) waitsForNeighbour() bool {
	for i := range p.workers {
		if p.places[i+1].inside.Load() && p.beside(i+1) {
			return true
		}
	}
	return false
}

// Label gives the workers the profiler labels of ctx (see package runtime/pprof) from their next job on.
func (p *Pool) Label(ctx context.Context) {
	if p != nil {
		p.labels.Store(&ctx)
	}
}

// Close ends the workers. A later For runs inline. Close must not run beside a For.
func (p *Pool) Close() {
	if p == nil || len(p.workers) == 0 || !p.busy.CompareAndSwap(false, true) {
		return
	}
	p.closed.Store(true)
	for _, w := range p.workers {
		w.wake()
	}
}

// open sets the job.
func (p *Pool) open(n, grain int, body func(lo, hi int)) {
	p.body, p.n, p.chunk = body, n, grain
	chunks := (n + grain - 1) / grain
	p.shares = p.shares[:min(chunks, p.threads)]
	for i := range p.shares {
		s := &p.shares[i]
		s.next.Store(int64(chunks * i / len(p.shares) * grain))
		s.end = int64(min(chunks*(i+1)/len(p.shares)*grain, n))
	}
}

// work takes chunks until none is left, those of a thread's own share first.
func (p *Pool) work(thread int) {
	done := false
	defer func() {
		if !done { // body panicked or called runtime.Goexit
			p.failure.CompareAndSwap(nil, &failure{recover()})
			for i := range p.shares {
				p.shares[i].next.Store(p.shares[i].end)
			}
		}
	}()
	chunk, body := int64(p.chunk), p.body
	for i := range p.shares {
		s := &p.shares[(thread+i)%len(p.shares)]
		for s.next.Load() < s.end {
			lo := s.next.Add(chunk) - chunk
			if lo >= s.end {
				break
			}
			body(int(lo), int(min(lo+chunk, s.end)))
		}
	}
	done = true
}

// run is a worker's life: spin for a job, join it, work, leave; park when nothing comes.
func (p *Pool) run(w *parker, thread int) {
	runtime.LockOSThread()
	var seen uint64
	var labels *context.Context
	idle := time.Now()
	own, jobs, patient := &p.places[thread], 0, true
	for i := 1; ; i++ {
		s := p.state.Load()
		if s&stateOpen != 0 && s/stateEpoch != seen {
			if p.state.CompareAndSwap(s, s+1) {
				seen = s / stateEpoch
				if l := p.labels.Load(); l != labels {
					labels = l
					pprof.SetGoroutineLabels(*l)
				}
				if jobs%lookEvery == 0 {
					own.core.Store(currentCore())
				}
				jobs++
				own.inside.Store(true)
				p.work(thread)
				own.inside.Store(false)
				if p.state.Add(^uint64(0))&stateInside == 0 {
					p.caller.wake()
				}
				idle, i = time.Now(), 0
				patient = !p.beside(thread)
			}
			continue
		}
		pause()
		if i%16 != 0 || patient && time.Since(idle) < spinTime {
			continue
		}
		w.prepare()
		// A job may have been opened, or the pool closed, between the look above and this: stay awake, unless the wake-up is
		// claimed already.
		s = p.state.Load()
		if (s&stateOpen == 0 || s/stateEpoch == seen) && !p.closed.Load() || !w.cancel() {
			w.sleep()
			jobs = 0
		}
		if p.closed.Load() {
			return
		}
		idle, patient = time.Now(), true
	}
}
