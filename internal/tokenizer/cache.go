package tokenizer

import "hash/maphash"

// A word's ids are remembered up to these bounds; a full cache starts again empty.
const (
	cacheWordBytes = 256     // longer words are not worth keeping
	cacheFirst     = 1 << 12 // slots at first, at most three quarters of them used; powers of two
	cacheSlots     = 1 << 16 // slots at most
	cacheKeyBytes  = 1 << 20
)

// wordCache remembers the ids of words. It belongs to one encoder.
type wordCache struct {
	seed  maphash.Seed
	slots []cacheSlot
	keys  []byte
	ids   []int32
	used  int
}

// cacheSlot is empty if length is 0.
type cacheSlot struct {
	hash     uint64
	key, ids uint32
	length   uint16
	n        uint16
}

func newWordCache() *wordCache {
	return &wordCache{seed: maphash.MakeSeed(), slots: make([]cacheSlot, cacheFirst)}
}

// get appends the ids of word to dst, or reports false with the word's hash for put.
func (c *wordCache) get(dst []int, word string) (_ []int, hash uint64, ok bool) {
	hash = maphash.String(c.seed, word)
	mask := uint64(len(c.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		s := &c.slots[i]
		if s.length == 0 {
			return dst, hash, false
		}
		if s.hash == hash && string(c.keys[s.key:s.key+uint32(s.length)]) == word {
			for _, id := range c.ids[s.ids : s.ids+uint32(s.n)] {
				dst = append(dst, int(id))
			}
			return dst, hash, true
		}
	}
}

// put remembers the ids of a word that get did not find.
func (c *wordCache) put(hash uint64, word string, ids []int) {
	if word == "" || len(word) > cacheWordBytes || len(ids) > 1<<16-1 {
		return
	}
	if full := c.used >= len(c.slots)/4*3; full || len(c.keys)+len(word) > cacheKeyBytes {
		if full && len(c.slots) < cacheSlots {
			c.slots = make([]cacheSlot, 4*len(c.slots))
		} else {
			clear(c.slots)
		}
		c.keys, c.ids, c.used = c.keys[:0], c.ids[:0], 0
	}
	mask := uint64(len(c.slots) - 1)
	i := hash & mask
	for c.slots[i].length != 0 {
		i = (i + 1) & mask
	}
	c.slots[i] = cacheSlot{hash, uint32(len(c.keys)), uint32(len(c.ids)), uint16(len(word)), uint16(len(ids))}
	c.keys = append(c.keys, word...)
	for _, id := range ids {
		c.ids = append(c.ids, int32(id))
	}
	c.used++
}
