package op

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// NonMaxSuppression selects, per batch entry and class, boxes by descending score and leaves out those that overlap a selected
// one too much. Inputs: boxes [batch, n, 4], scores [batch, classes, n], and optionally the most boxes per class (default 0:
// none), the overlap (intersection over union) above which a box is suppressed (default 0), and the score that a box must
// exceed. The output lists batch, class and box of each selection. Boxes are two opposite corners y1, x1, y2, x2 or, with
// CenterPointBox, x and y of the centre, width, height.
type NonMaxSuppression struct {
	CenterPointBox bool `attr:"center_point_box,0"`
}

func (*NonMaxSuppression) Kind() string { return "NonMaxSuppression" }

func (o *NonMaxSuppression) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 2, 5); err != nil {
		return nil, err
	}
	for i, t := range in[:2] {
		if err := dtypes(tensor.Float32).check(i, t.DType); err != nil {
			return nil, err
		}
		if t.Ranked && len(t.Dims) != 3 {
			return nil, fmt.Errorf("input %d: want rank 3, got %d", i, len(t.Dims))
		}
	}
	return []graph.Type{graph.Ranked(tensor.Int64, graph.Unknown, graph.Known(3))}, nil
}

// rect is an axis-parallel rectangle.
type rect struct{ x0, y0, x1, y1 float32 }

func (r rect) area() float32 { return (r.x1 - r.x0) * (r.y1 - r.y0) }

// overlap is the intersection over union of two rectangles; 0 if either is empty.
func (r rect) overlap(o rect) float32 {
	i := rect{max(r.x0, o.x0), max(r.y0, o.y0), min(r.x1, o.x1), min(r.y1, o.y1)}
	if i.x1 <= i.x0 || i.y1 <= i.y0 {
		return 0
	}
	a, b, both := r.area(), o.area(), i.area()
	if a <= 0 || b <= 0 || both <= 0 || a+b-both <= 0 {
		return 0
	}
	return both / (a + b - both)
}

func (o *NonMaxSuppression) rects(boxes []float32) []rect {
	out := make([]rect, len(boxes)/4)
	for i := range out {
		b := boxes[4*i : 4*i+4]
		if o.CenterPointBox {
			out[i] = rect{b[0] - b[2]/2, b[1] - b[3]/2, b[0] + b[2]/2, b[1] + b[3]/2}
		} else {
			out[i] = rect{min(b[1], b[3]), min(b[0], b[2]), max(b[1], b[3]), max(b[0], b[2])}
		}
	}
	return out
}

func (o *NonMaxSuppression) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := tensors(in, 2, 5)
	if err != nil {
		return nil, err
	}
	boxes, scores := in[0], in[1]
	if boxes.DType != tensor.Float32 || scores.DType != tensor.Float32 {
		return nil, fmt.Errorf("want float32 boxes and scores, got %v and %v", boxes.DType, scores.DType)
	}
	if boxes.Rank() != 3 || boxes.Shape[2] != 4 || scores.Rank() != 3 || scores.Shape[0] != boxes.Shape[0] || scores.Shape[2] != boxes.Shape[1] {
		return nil, fmt.Errorf("boxes of shape %v with scores of shape %v", boxes.Shape, scores.Shape)
	}
	limit := 0
	if t := arg(in, 2); t != nil && t.Len() > 0 {
		if limit, err = scalarInt(t); err != nil {
			return nil, fmt.Errorf("max_output_boxes_per_class: %w", err)
		}
	}
	var thresholds [2]float64
	for i, name := range []string{"iou_threshold", "score_threshold"} {
		if t := arg(in, 3+i); t != nil && t.Len() > 0 {
			if thresholds[i], err = scalarFloat(t); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	if !(thresholds[0] >= 0 && thresholds[0] <= 1) {
		return nil, fmt.Errorf("iou_threshold: %v is not in [0, 1]", thresholds[0])
	}
	filter := arg(in, 4) != nil && in[4].Len() > 0
	batch, classes, n := scores.Shape[0], scores.Shape[1], scores.Shape[2]
	selected := make([][]int, batch*classes)
	e.For(batch*classes, 1, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			rects := o.rects(tensor.Data[float32](boxes)[i/classes*n*4 : (i/classes+1)*n*4])
			score := tensor.Data[float32](scores)[i*n : (i+1)*n]
			var order []int
			for b, s := range score {
				if !filter || s > float32(thresholds[1]) {
					order = append(order, b)
				}
			}
			slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(score[b], score[a]) })
			for _, b := range order {
				if len(selected[i]) >= limit {
					break
				}
				if !slices.ContainsFunc(selected[i], func(s int) bool { return rects[b].overlap(rects[s]) > float32(thresholds[0]) }) {
					selected[i] = append(selected[i], b)
				}
			}
		}
	})
	var out []int64
	for i, s := range selected {
		for _, b := range s {
			out = append(out, int64(i/classes), int64(i%classes), int64(b))
		}
	}
	t := e.New(tensor.Int64, len(out)/3, 3)
	copy(tensor.Data[int64](t), out)
	return []*tensor.Tensor{t}, nil
}
