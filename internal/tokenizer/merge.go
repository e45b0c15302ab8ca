package tokenizer

import "math/bits"

// mergeTable maps a pair of neighbouring ids to what they become and how early: an open hash table, because it is asked
// once a byte.
type mergeTable struct {
	keys  []uint64 // left<<32 | right, emptyKey where there is none
	rules []mergeRule
	shift uint
	n     int
}

type mergeRule struct{ rank, id int32 }

const emptyKey = ^uint64(0)

func pairKey(left, right int32) uint64 { return uint64(uint32(left))<<32 | uint64(uint32(right)) }

func newMergeTable(n int) *mergeTable {
	size := 1 << bits.Len(uint(2*n+1))
	t := &mergeTable{keys: make([]uint64, size), rules: make([]mergeRule, size), shift: uint(64 - bits.TrailingZeros(uint(size)))}
	for i := range t.keys {
		t.keys[i] = emptyKey
	}
	return t
}

// slot returns where the pair is or would be.
func (t *mergeTable) slot(key uint64) int {
	i := int(key * 0x9e3779b97f4a7c15 >> t.shift)
	for t.keys[i] != key && t.keys[i] != emptyKey {
		if i++; i == len(t.keys) {
			i = 0
		}
	}
	return i
}

// set stores the rule of a pair; a later one replaces an earlier one.
func (t *mergeTable) set(left, right int32, rule mergeRule) {
	i := t.slot(pairKey(left, right))
	if t.keys[i] == emptyKey {
		t.keys[i] = pairKey(left, right)
		t.n++
	}
	t.rules[i] = rule
}

func (t *mergeTable) get(left, right int32) (mergeRule, bool) {
	i := t.slot(pairKey(left, right))
	return t.rules[i], t.keys[i] != emptyKey
}

// symbol is a part of a word while it is merged.
type symbol struct {
	id         int32 // -1 for a part that no token is
	start, end int32 // bytes of the word
	prev, next int32 // neighbours, -1 at the ends; end < start marks a part merged into its left neighbour
}

// candidate is a possible merge of the symbol at pos with its next. It is stale once either symbol has changed.
type candidate struct {
	key    uint64 // rank<<32 | pos: the order of merging
	id     int32  // of the merged symbol
	middle int32  // end of the left symbol
	end    int32  // end of the right symbol
}

// merger merges the symbols of one word, always the pair of least rank, the leftmost of those.
type merger struct {
	symbols []symbol
	heap    []candidate
	rule    func(left, right *symbol) (mergeRule, bool)
}

// linearSymbols is the length up to which looking for the best pair each time is faster than a heap.
const linearSymbols = 24

func (m *merger) reset() { m.symbols = m.symbols[:0] }

// add appends a part that ends at byte end of the word.
func (m *merger) add(id, start, end int32) {
	n := int32(len(m.symbols))
	if n > 0 {
		m.symbols[n-1].next = n
	}
	m.symbols = append(m.symbols, symbol{id, start, end, n - 1, -1})
}

// merge leaves in symbols, from 0 along next, what the word becomes.
func (m *merger) merge() {
	if len(m.symbols) < 2 {
		return
	}
	m.heap = m.heap[:0]
	for i := range m.symbols[:len(m.symbols)-1] {
		m.propose(int32(i))
	}
	if len(m.symbols) > linearSymbols {
		for i := len(m.heap)/2 - 1; i >= 0; i-- {
			m.down(i)
		}
		for len(m.heap) > 0 {
			c := m.heap[0]
			last := len(m.heap) - 1
			m.heap[0] = m.heap[last]
			m.heap = m.heap[:last]
			m.down(0)
			at := len(m.heap)
			m.apply(c)
			for i := at; i < len(m.heap); i++ {
				m.up(i)
			}
		}
		return
	}
	for len(m.heap) > 0 {
		best := 0
		for i := range m.heap {
			if m.heap[i].key < m.heap[best].key {
				best = i
			}
		}
		c := m.heap[best]
		last := len(m.heap) - 1
		m.heap[best] = m.heap[last]
		m.heap = m.heap[:last]
		m.apply(c)
	}
}

// propose appends the merge of the symbol at pos with its next, if there is one.
func (m *merger) propose(pos int32) {
	left := &m.symbols[pos]
	if left.next < 0 {
		return
	}
	right := &m.symbols[left.next]
	if r, ok := m.rule(left, right); ok {
		m.heap = append(m.heap, candidate{uint64(uint32(r.rank))<<32 | uint64(pos), r.id, left.end, right.end})
	}
}

// apply carries a candidate out unless it is stale, and appends the candidates that it makes possible.
func (m *merger) apply(c candidate) {
	pos := int32(uint32(c.key))
	left := &m.symbols[pos]
	if left.end != c.middle || left.next < 0 || m.symbols[left.next].end != c.end {
		return
	}
	right := &m.symbols[left.next]
	left.id, left.end, left.next = c.id, right.end, right.next
	right.end = -1
	if left.next >= 0 {
		m.symbols[left.next].prev = pos
	}
	if left.prev >= 0 {
		m.propose(left.prev)
	}
	m.propose(pos)
}

func (m *merger) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if m.heap[parent].key <= m.heap[i].key {
			return
		}
		m.heap[parent], m.heap[i] = m.heap[i], m.heap[parent]
		i = parent
	}
}

func (m *merger) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(m.heap) {
			return
		}
		if child+1 < len(m.heap) && m.heap[child+1].key < m.heap[child].key {
			child++
		}
		if m.heap[i].key <= m.heap[child].key {
			return
		}
		m.heap[i], m.heap[child] = m.heap[child], m.heap[i]
		i = child
	}
}
