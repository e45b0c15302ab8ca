package torchop

import (
	"fmt"
)

// compare orders numbers, and tells whether other values are equal.
func compare(is func(order int) bool, sign string) func(*Builder, []any) (any, bool) {
	return func(b *Builder, a []any) (any, bool) {
		if len(a) != 2 {
			return nil, false
		}
		x, ok1 := whole(a[0])
		y, ok2 := whole(a[1])
		if ok1 && ok2 {
			return b.relate(x, y, is, sign), true
		}
		f, ok1 := realOf(a[0])
		g, ok2 := realOf(a[1])
		if ok1 && ok2 {
			switch {
			case f < g:
				return is(-1), true
			case f > g:
				return is(1), true
			case f == g:
				return is(0), true
			}
			return sign == "!=", true // not a number
		}
		if sign != "==" && sign != "!=" {
			return nil, false
		}
		same, known := b.equal(a[0], a[1])
		if !known {
			return Undecided(fmt.Sprintf("%v %s %v", a[0], sign, a[1])), true
		}
		return same == (sign == "=="), true
	}
}

// relate compares two whole numbers as far as can be told.
func (b *Builder) relate(x, y Int, is func(order int) bool, sign string) any {
	if x.Equal(y) {
		return is(0)
	}
	less, known := b.sym.Less(x, y)
	more, known2 := b.sym.Less(y, x)
	switch {
	case known && less:
		return is(-1)
	case known2 && more:
		return is(1)
	case known && is(0) == is(1): // not less: equal or more
		return is(0)
	case known2 && is(0) == is(-1):
		return is(0)
	}
	if d := x.Sub(y); len(d.sum) == 0 {
		return is(0)
	}
	return Undecided(fmt.Sprintf("%v %s %v", x, sign, y))
}

// equal compares values that may hold others.
func (b *Builder) equal(x, y any) (same, known bool) {
	if l, ok := Items(x); ok {
		m, ok := Items(y)
		if !ok || len(l) != len(m) {
			return false, true
		}
		for i := range l {
			if same, known := b.equal(l[i], m[i]); !same || !known {
				return same, known
			}
		}
		return true, true
	}
	if _, ok := Items(y); ok {
		return false, true
	}
	n, ok1 := whole(x)
	m, ok2 := whole(y)
	if ok1 && ok2 {
		r, ok := b.relate(n, m, func(o int) bool { return o == 0 }, "==").(bool)
		return r, ok
	}
	switch x.(type) {
	case nil, string, float64, Device, bool:
		switch y.(type) {
		case nil, string, float64, Device, bool, Int:
			return x == y, true
		}
		return false, true
	}
	return false, false
}

// identical is "is", which code asks of None.
func identical(a []any, not bool) (any, bool) {
	if len(a) != 2 {
		return nil, false
	}
	if a[0] == nil || a[1] == nil {
		return (a[0] == nil && a[1] == nil) != not, true
	}
	switch x := a[0].(type) {
	case bool, *Tensor, *List, *Dict:
		return (x == a[1]) != not, true
	}
	return nil, false
}

func not(a []any) (any, bool) {
	switch v := a[0].(type) {
	case bool:
		return !v, true
	case Undecided:
		return Undecided("not " + string(v)), true
	case Int:
		if k, ok := v.Const(); ok {
			return k == 0, true
		}
	}
	return nil, false
}

func bools(f func(x, y bool) bool) func(*Builder, []any) (any, bool) {
	return func(_ *Builder, a []any) (any, bool) {
		if len(a) != 2 {
			return nil, false
		}
		x, ok1 := a[0].(bool)
		y, ok2 := a[1].(bool)
		return f(x, y), ok1 && ok2
	}
}
