package torchop

import (
	"slices"
	"strings"
)

// listOps are operators on lists that look at no element.
var listOps = []string{"len", "append", "extend", "insert", "pop", "list", "copy", "__getitem__"}

// maxList bounds lists that code makes.
const maxList = 1 << 16

func length(_ *Builder, a []any) (any, bool) {
	switch v := a[0].(type) {
	case string:
		return N(len(v)), true
	case *Dict:
		return N(len(v.Keys)), true
	}
	items, ok := Items(a[0])
	return N(len(items)), ok
}

func appendTo(_ *Builder, a []any) (any, bool) {
	l, ok := a[0].(*List)
	if !ok || len(a) != 2 || len(l.Items) >= maxList {
		return nil, false
	}
	l.Items = append(l.Items, a[1])
	return l, true
}

func extend(_ *Builder, a []any) (any, bool) {
	l, ok := a[0].(*List)
	if !ok || len(a) != 2 {
		return nil, false
	}
	m, ok := Items(a[1])
	if !ok || len(l.Items)+len(m) > maxList {
		return nil, false
	}
	l.Items = append(l.Items, m...)
	return nil, true
}

func insertIn(_ *Builder, a []any) (any, bool) {
	l, ok := a[0].(*List)
	if !ok || len(a) != 3 || len(l.Items) >= maxList {
		return nil, false
	}
	n, ok := a[1].(Int)
	k, known := n.Const()
	if !ok || !known {
		return nil, false
	}
	if k < 0 {
		k += int64(len(l.Items))
	}
	l.Items = slices.Insert(l.Items, int(min(max(k, 0), int64(len(l.Items)))), a[2])
	return nil, true
}

// place returns an index into n elements that may count from the end.
func place(v any, n int) (int, bool) {
	i, ok := v.(Int)
	k, known := i.Const()
	if !ok || !known {
		return 0, false
	}
	if k < 0 {
		k += int64(n)
	}
	return int(k), k >= 0 && k < int64(n)
}

func pop(_ *Builder, a []any) (any, bool) {
	l, ok := a[0].(*List)
	if !ok {
		return nil, false
	}
	at := any(N(-1))
	if len(a) > 1 {
		at = a[1]
	}
	i, ok := place(at, len(l.Items))
	if !ok {
		return nil, false
	}
	v := l.Items[i]
	l.Items = slices.Delete(l.Items, i, i+1)
	return v, true
}

func copyList(_ *Builder, a []any) (any, bool) {
	items, ok := Items(a[0])
	if !ok || len(a) != 1 {
		return nil, false
	}
	return &List{slices.Clone(items)}, true
}

func contains(b *Builder, a []any) (any, bool) {
	if len(a) != 2 {
		return nil, false
	}
	if d, ok := a[0].(*Dict); ok {
		_, has := d.Get(a[1])
		return has, true
	}
	if s, ok := a[0].(string); ok {
		sub, ok := a[1].(string)
		return strings.Contains(s, sub), ok
	}
	items, ok := Items(a[0])
	if !ok {
		return nil, false
	}
	for _, v := range items {
		same, known := b.equal(v, a[1])
		if !known {
			return nil, false
		}
		if same {
			return true, true
		}
	}
	return false, true
}

func getItem(b *Builder, a []any) (any, bool) {
	if len(a) != 2 {
		return nil, false
	}
	if d, ok := a[0].(*Dict); ok {
		return d.Get(a[1])
	}
	if s, ok := a[0].(openSizes); ok {
		i, ok := place(a[1], 8)
		if ok {
			b.atLeast(s.of, i)
		}
		return s.at(b, i), ok
	}
	items, ok := Items(a[0])
	if !ok {
		return nil, false
	}
	i, ok := place(a[1], len(items))
	if !ok {
		return nil, false
	}
	return items[i], true
}

func dictPart(f func(d *Dict) []any) func(*Builder, []any) (any, bool) {
	return func(_ *Builder, a []any) (any, bool) {
		d, ok := a[0].(*Dict)
		if !ok {
			return nil, false
		}
		return &List{f(d)}, true
	}
}

func sliceList(_ *Builder, a []any) (any, bool) {
	items, ok := Items(a[0])
	if !ok || len(a) > 4 {
		return nil, false
	}
	lo, hi, step := int64(0), int64(len(items)), int64(1)
	for i, p := range []*int64{&lo, &hi, &step} {
		if i+1 >= len(a) || a[i+1] == nil {
			continue
		}
		n, ok := a[i+1].(Int)
		k, known := n.Const()
		if !ok || !known {
			return nil, false
		}
		if i < 2 {
			if k < 0 {
				k += int64(len(items))
			}
			k = min(max(k, 0), int64(len(items)))
		}
		*p = k
	}
	if step < 1 {
		return nil, false
	}
	out := &List{}
	for i := lo; i < hi; i += step {
		out.Items = append(out.Items, items[i])
	}
	return out, true
}

// ofList asks about the elements of a list.
func ofList(f func([]bool) bool) func(*Builder, []any) (any, bool) {
	return func(b *Builder, a []any) (any, bool) {
		items, ok := Items(a[0])
		if !ok || len(a) != 1 {
			return nil, false
		}
		v := make([]bool, len(items))
		for i, x := range items {
			truth, known := b.Truth(x)
			if !known {
				return nil, false
			}
			v[i] = truth
		}
		return f(v), true
	}
}

// rangeLength is the number of steps from a number to another.
func rangeLength(b *Builder, a []any) (any, bool) {
	n, ok := wholes(a, 3)
	if !ok {
		return nil, false
	}
	by, ok := n[2].Const()
	if !ok || by == 0 {
		return nil, false
	}
	span := n[1].Sub(n[0])
	if by < 0 {
		span, by = span.Mul(N(-1)), -by
	}
	return b.sym.Max(b.sym.FloorDiv(span.Add(N(by-1)), N(by)), N(0)), true
}

func sumList(b *Builder, a []any) (any, bool) {
	items, ok := Items(a[0])
	if !ok || len(a) != 1 {
		return nil, false
	}
	var total any = N(0)
	for _, v := range items {
		if total, ok = addValues(b, []any{total, v}); !ok {
			return nil, false
		}
	}
	return total, true
}
