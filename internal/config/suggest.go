package config

import (
	"fmt"
	"slices"
	"strings"
)

// Suggest returns ` (did you mean "x"?)` for the candidate that word was probably meant to be, or "".
func Suggest(word string, candidates []string) string {
	if c := Nearest(word, candidates); c != "" {
		return fmt.Sprintf(" (did you mean %q?)", c)
	}
	return ""
}

// Nearest returns the candidate that word was probably meant to be: equal but for case, dashes and underscores, a few edits
// away, or beginning with the word. It returns "" if none is near.
func Nearest(word string, candidates []string) string {
	plain := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r == '_' || r == '-' || r == ' ' {
				return -1
			}
			return r
		}, strings.ToLower(s))
	}
	w := plain(word)
	if w == "" {
		return ""
	}
	best, least := "", 1+max(1, len([]rune(w))/3)
	for _, c := range candidates {
		if d := edits(w, plain(c)); d < least {
			best, least = c, d
		}
	}
	if best != "" || len(w) < 3 {
		return best
	}
	i := slices.IndexFunc(candidates, func(c string) bool {
		return strings.HasPrefix(plain(c), w) || len(plain(c)) >= 3 && strings.HasPrefix(w, plain(c))
	})
	if i >= 0 {
		return candidates[i]
	}
	return ""
}

// edits is the optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours.
func edits(a, b string) int {
	x, y := []rune(a), []rune(b)
	if len(x) > 64 || len(y) > 64 {
		return 64
	}
	row := make([][]int, len(x)+1)
	for i := range row {
		row[i] = make([]int, len(y)+1)
		row[i][0] = i
	}
	for j := range row[0] {
		row[0][j] = j
	}
	for i := 1; i <= len(x); i++ {
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			d := min(row[i-1][j]+1, row[i][j-1]+1, row[i-1][j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				d = min(d, row[i-2][j-2]+1)
			}
			row[i][j] = d
		}
	}
	return row[len(x)][len(y)]
}
