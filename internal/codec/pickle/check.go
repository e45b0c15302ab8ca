package pickle

import "fmt"

// maxDepth bounds how deep values are nested.
const maxDepth = 1000

// children returns what a value holds, and its identity; a value without children has none.
func children(v any) (id any, kids [][]any) {
	switch v := v.(type) {
	case Tuple:
		if len(v) == 0 {
			return nil, nil
		}
		return &v[0], [][]any{v}
	case *List:
		return v, [][]any{v.Items}
	case *Set:
		return v, [][]any{v.Items}
	case *Dict:
		return v, [][]any{v.Keys, v.Values, v.Args, {v.State}}
	case *Object:
		kids = [][]any{v.Args, {v.State}, v.Items}
		if v.Kwargs != nil {
			kids = append(kids, []any{v.Kwargs})
		}
		if v.Pairs != nil {
			kids = append(kids, []any{v.Pairs})
		}
		return v, kids
	}
	return nil, nil
}

// checkDepth reports values that are nested too deep. Every container is visited once, on the way that reaches it first, and
// again where a longer way leads to it, never on a way through itself.
func checkDepth(root any) error {
	type frame struct {
		id       any
		kids     [][]any
		list, at int
	}
	depth := map[any]int{} // of the deepest way to a container so far
	onPath := map[any]bool{}
	var path []frame
	visits := 0
	push := func(v any) error {
		id, kids := children(v)
		if id == nil || onPath[id] {
			return nil
		}
		d := len(path) + 1
		if d > maxDepth {
			return fmt.Errorf("values are nested deeper than %d", maxDepth)
		}
		if seen, ok := depth[id]; ok {
			if seen >= d {
				return nil
			}
			// A hostile graph of shared values could be walked for ever; a benign one is not nested in another order each time.
			if visits++; visits > 1<<20 {
				return fmt.Errorf("values share one another in more than %d ways", 1<<20)
			}
		}
		depth[id], onPath[id] = d, true
		path = append(path, frame{id: id, kids: kids})
		return nil
	}
	if err := push(root); err != nil {
		return err
	}
	for len(path) > 0 {
		f := &path[len(path)-1]
		switch {
		case f.list == len(f.kids):
			delete(onPath, f.id)
			path = path[:len(path)-1]
		case f.at == len(f.kids[f.list]):
			f.list, f.at = f.list+1, 0
		default:
			v := f.kids[f.list][f.at]
			f.at++
			if err := push(v); err != nil {
				return err
			}
		}
	}
	return nil
}
