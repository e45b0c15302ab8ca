package tokenizer

import (
	"bytes"
	"sort"
)

// trie holds strings with a number each and finds those that begin a text. The children of a node are neighbours in nodes,
// in the order of their bytes.
type trie struct {
	nodes []trieNode
	label []byte     // the byte that leads to each node
	root  [256]int32 // children of the root, 0 where there is none
}

type trieNode struct {
	first, n int32
	value    int32 // -1: no string ends here
}

// newTrie makes a trie of keys, without the empty one; of equal keys the first counts.
func newTrie(keys []string, values []int32) *trie {
	order := make([]int, 0, len(keys))
	for i, k := range keys {
		if k != "" {
			order = append(order, i)
		}
	}
	sort.SliceStable(order, func(a, b int) bool { return keys[order[a]] < keys[order[b]] })
	t := &trie{nodes: []trieNode{{value: -1}}, label: []byte{0}}
	type span struct{ lo, hi, depth int } // order[lo:hi] share their first depth bytes
	spans := []span{{0, len(order), 0}}
	for at := 0; at < len(spans); at++ {
		s := spans[at]
		if at > 0 && len(keys[order[s.lo]]) == s.depth {
			t.nodes[at].value = values[order[s.lo]]
			for s.lo < s.hi && len(keys[order[s.lo]]) == s.depth {
				s.lo++
			}
		}
		t.nodes[at].first = int32(len(t.nodes))
		for lo := s.lo; lo < s.hi; {
			b := keys[order[lo]][s.depth]
			hi := lo + 1
			for hi < s.hi && keys[order[hi]][s.depth] == b {
				hi++
			}
			t.nodes = append(t.nodes, trieNode{value: -1})
			t.label = append(t.label, b)
			spans = append(spans, span{lo, hi, s.depth + 1})
			lo = hi
		}
		t.nodes[at].n = int32(len(t.nodes)) - t.nodes[at].first
	}
	for i := range t.nodes[0].n {
		node := t.nodes[0].first + i
		t.root[t.label[node]] = node
	}
	return t
}

// child returns the node after byte b, or 0.
func (t *trie) child(node int32, b byte) int32 {
	if node == 0 {
		return t.root[b]
	}
	n := t.nodes[node]
	labels := t.label[n.first : n.first+n.n]
	if len(labels) > 8 {
		if i := bytes.IndexByte(labels, b); i >= 0 {
			return n.first + int32(i)
		}
		return 0
	}
	for i, l := range labels {
		if l == b {
			return n.first + int32(i)
		}
	}
	return 0
}

// longest returns the value and the length of the longest string that begins s[at:]; length 0 means there is none.
func (t *trie) longest(s string, at int) (value int32, length int) {
	node := int32(0)
	for i := at; i < len(s); i++ {
		if node = t.child(node, s[i]); node == 0 {
			break
		}
		if v := t.nodes[node].value; v >= 0 {
			value, length = v, i+1-at
		}
	}
	return value, length
}
