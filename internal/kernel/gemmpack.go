package kernel

import "unsafe"

func sizeOf[W any]() int { return int(unsafe.Sizeof(*new(W))) }

// view is a buffer as words of type W.
func view[W any](b *buffer) []W {
	return unsafe.Slice((*W)(unsafe.Pointer(&b.raw[0])), len(b.raw)/sizeOf[W]())
}

// packRows packs k rows of n elements, ld apart, into panels of width columns side by side: rows of width
// elements padded with zeros.
func packRows[W any](dst []W, width int, src []W, ld, k, n int) {
	if many := n / width; many > 0 && width*sizeOf[W]() == panelBytes && copyPanels(dst, src, ld, k, many) {
		dst, src, n = dst[many*width*k:], src[min(many*width, len(src)):], n-many*width
	}
	for ; n > 0; n -= width {
		valid := min(n, width)
		for l := range k {
			row := dst[l*width : (l+1)*width]
			copy(row, src[l*ld:l*ld+valid])
			clear(row[valid:])
		}
		if n > width {
			dst, src = dst[k*width:], src[width:]
		}
	}
}

// packColumns packs n columns, stored as n rows of k elements ld apart, into panels of width columns.
func packColumns[W uint32 | uint64](dst []W, width int, src []W, ld, k, n int) {
	for j := 0; j < n; j += width {
		packTransposed(dst[j*k:(j+width)*k], width, src[j*ld:], ld, min(width, n-j), k)
	}
}

// packTransposed sets dst[l*width+i] = src[i*ld+l] for i < rows, l < k, and 0 for i in [rows, width).
func packTransposed[W uint32 | uint64](dst []W, width int, src []W, ld, rows, k int) {
	need("packTransposed src", len(src), rows, k, ld)
	need("packTransposed dst", len(dst), k, width, width)
	i := transposeStrips(dst, width, src, ld, rows, k)
	for ; i < rows; i++ {
		for l, v := range src[i*ld : i*ld+k] {
			dst[l*width+i] = v
		}
	}
	for ; i < width; i++ {
		for l := range k {
			dst[l*width+i] = 0
		}
	}
}

// packLeft packs rows [0, rows) of k words, ld apart, into row panels of up to mr rows, each as k columns of panel
// height. The last panel has the height that panelRows gives; rows beyond the matrix are zero.
func packLeft[W uint32 | uint64](dst []W, mr int, src []W, ld, rows, k int) {
	for i := 0; i < rows; i += mr {
		valid := min(mr, rows-i)
		height := panelRows(valid, mr)
		if height == 6 && i+8 <= rows && len(dst) >= 6*k+2 && sizeOf[W]() == 4 && transposeStrips(dst, height, src[i*ld:], ld, 8, k) > 0 {
			// Eight rows went in where six belong: each packed column overwrote the excess of the one
			// before it, and the next panel overwrites that of the last.
		} else {
			packTransposed(dst[:height*k], height, src[i*ld:], ld, valid, k)
		}
		dst = dst[height*k:]
	}
}

// packLeftTransposed is packLeft for a matrix stored as k rows of words, ld apart, of which columns [0, rows) are packed.
func packLeftTransposed[W any](dst []W, mr int, src []W, ld, rows, k int) {
	done := copyColumns(dst, src, ld, k, mr, rows)
	dst = dst[done*k:]
	for i := done; i < rows; i += mr {
		valid := min(mr, rows-i)
		height := panelRows(valid, mr)
		for l := range k {
			row := dst[l*height : (l+1)*height]
			copy(row, src[l*ld+i:l*ld+i+valid])
			clear(row[valid:])
		}
		dst = dst[height*k:]
	}
}

const panelBytes = 4 * panelWidth
