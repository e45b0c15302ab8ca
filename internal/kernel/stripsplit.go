package kernel

import "sync/atomic"

// lastSplit keeps what splitStrips said last of one product, whose size stays.
type lastSplit struct{ packed atomic.Uint64 } // threads<<48 | rows<<32 | parts

// of is splitStrips.
func (l *lastSplit) of(threads, m, panels, words int) (rows, parts int) {
	if v := l.packed.Load(); v>>48 == uint64(threads) {
		return int(v >> 32 & 0xffff), int(v & 0xffffffff)
	}
	rows, parts = splitStrips(threads, m, panels, words)
	l.packed.Store(uint64(threads)<<48 | uint64(rows)<<32 | uint64(parts))
	return rows, parts
}

// stripHeights are the rows of a task of strips: multiples of the heights of tiles, seven and eight.
var stripHeights = [...]int{192, 168, 112, 96, 64, 56, 48, 40, 32, 28, 24, 16, 8, 7}

// splitStrips cuts a product of m rows and so many panels of columns, each the sum over words, into tasks of rows rows times
// panels/parts panels. It chooses what ends first if threads take the tasks one after the other: all tasks, shared out, and half of the
// last one, for which the other threads wait. A task reads its weights from the second-level cache, which takes a quarter of a tile's
// time, and begins.
func splitStrips(threads, m, panels, words int) (rows, parts int) {
	if threads == 1 || m*panels*panelWidth*(words+endWords) < minTask {
		return rowsMax, 1
	}
	const begin = 64 // of a task, in words
	best := 0
	for _, r := range stripHeights {
		if r > 2*m && r > 8 {
			continue
		}
		tasks := (m + r - 1) / r
		tiles, last := stripTiles(min(r, m)), stripTiles(m-(tasks-1)*r)
		for p := 1; p <= panels; p++ {
			if p > 16*threads {
				break
			}
			widest := (panels + p - 1) / p
			task := widest*(4*tiles+1)*(words+endWords)/4 + begin
			all := panels*(4*(tiles*(tasks-1)+last)+tasks)*(words+endWords)/4 + begin*tasks*p
			cost := all + task*(threads-1)/2
			if tasks*p < threads {
				cost = max(cost, threads*task)
			}
			if best == 0 || cost < best {
				best, rows, parts = cost, r, p
			}
		}
	}
	return rows, parts
}

// stripHeight is how many rows at a time a strip takes best of a number of rows.
func stripHeight(rows int) int {
	if (rows+6)/7*7 < (rows+7)/8*8 {
		return 7
	}
	return 8
}

// stripTiles is how many tiles a strip of so many rows takes.
func stripTiles(rows int) int {
	height := stripHeight(rows)
	return (rows + height - 1) / height
}
