package mmap

import (
	"os"
	"sync"
)

// region is a mapping that several allocations share.
type region struct {
	data []byte
	used int // bytes from the front that were handed out
	live int // allocations that were not given back
}

// regionBytes is the size of a region: many large pages.
const regionBytes = 64 << 20

var regions struct {
	mu   sync.Mutex
	last *region // the one that has room, or nil
}

// Together is [Anonymous] for memory that is kept for long. What is no multiple of a large page shares a mapping with what was asked for before, so
// that nearly all of it lies on large pages. Its pages go back to the system when it is given back, the mapping with the last that it holds.
func Together(n int) (b []byte, free func() error, err error) {
	if n > regionBytes/2 {
		if b, free, err = Anonymous((n + hugePage - 1) &^ (hugePage - 1)); err == nil {
			b = b[:n]
		}
		return b, free, err
	}
	page := os.Getpagesize()
	size := (n + page - 1) &^ (page - 1)
	regions.mu.Lock()
	defer regions.mu.Unlock()
	r := regions.last
	if r == nil || size > len(r.data)-r.used {
		data, err := anonymous(regionBytes)
		if err != nil {
			return nil, nil, err
		}
		huge(data)
		r = &region{data: data}
		regions.last = r
	}
	b = r.data[r.used : r.used+size]
	r.used, r.live = r.used+size, r.live+1
	return b[:n:n], sync.OnceValue(func() error { return r.give(b) }), nil
}

// give takes an allocation back.
func (r *region) give(b []byte) error {
	regions.mu.Lock()
	defer regions.mu.Unlock()
	if r.live--; r.live > 0 {
		return advise(b, 0, len(b), DontNeed)
	}
	if regions.last == r {
		regions.last = nil
	}
	return unmap(r.data)
}
