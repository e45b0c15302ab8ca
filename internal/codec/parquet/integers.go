package parquet

import "fmt"

// most is how many integers a page may hold. Runs take no more bytes for more of them, so that the size of the file is no bound.
const most = 1 << 26

// hybrid reads count integers of width bits: runs of one value, and groups of eight side by side.
func hybrid(b []byte, width int, count int64) ([]uint32, error) {
	if count > most {
		return nil, fmt.Errorf("%d values in a page; at most %d are read", count, most)
	}
	var out []uint32
	r := reader{b: b}
	for int64(len(out)) < count {
		head := r.unsigned()
		left := uint64(count) - uint64(len(out))
		if head&1 == 0 {
			var v uint32
			for i, x := range r.take(uint64(width+7) / 8) {
				v |= uint32(x) << (8 * i)
			}
			for range min(head>>1, left) {
				out = append(out, v)
			}
			if head == 0 {
				r.fail(fmt.Errorf("a run of nothing"))
			}
		} else {
			groups := head >> 1
			if width > 0 && groups > uint64(len(r.b)) {
				r.fail(errShort)
			}
			packed := r.take(groups * uint64(width))
			for i := range min(8*groups, left) {
				out = append(out, uint32(unpack(packed, width, int(i))))
			}
			if groups == 0 {
				r.fail(fmt.Errorf("a run of nothing"))
			}
		}
		if r.err != nil {
			return nil, r.err
		}
	}
	return out, nil
}

// unpack returns integer i of those of width bits that lie side by side, the lowest bits first.
func unpack(b []byte, width, i int) (v uint64) {
	at := width * i
	for k := 0; k < width; {
		bit := (at + k) & 7
		n := min(8-bit, width-k)
		if (at+k)>>3 < len(b) {
			v |= (uint64(b[(at+k)>>3]) >> bit & (1<<n - 1)) << k
		}
		k += n
	}
	return v
}

// deltas reads count integers that are stored as differences, in blocks of parts that have a width each.
func deltas(r *reader, count int64) ([]int64, error) {
	block, parts, total, v := r.unsigned(), r.unsigned(), r.unsigned(), r.signed()
	if r.err != nil {
		return nil, r.err
	}
	if total != uint64(count) || count > most {
		return nil, fmt.Errorf("%d integers where the page says %d; at most %d are read", total, count, most)
	}
	if block == 0 || block > most || parts == 0 || block%parts != 0 || block/parts%8 != 0 {
		return nil, fmt.Errorf("integers in blocks of %d, in %d parts", block, parts)
	}
	var out []int64
	if count > 0 {
		out = append(out, v)
	}
	for int64(len(out)) < count {
		least := r.signed()
		widths := r.take(parts)
		for _, w := range widths {
			if int64(len(out)) >= count {
				break // parts that nothing lies in have no bytes
			}
			if w > 64 {
				return nil, fmt.Errorf("differences of %d bits", w)
			}
			per := int(block / parts)
			packed := r.take(uint64(per/8) * uint64(w))
			for i := 0; i < per && int64(len(out)) < count && r.err == nil; i++ {
				v += least + int64(unpack(packed, int(w), i))
				out = append(out, v)
			}
		}
		if r.err != nil {
			return nil, r.err
		}
	}
	return out, nil
}
