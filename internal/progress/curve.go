package progress

import (
	"math"
	"strings"
)

// Curve draws values as a line of at most cells block characters, each as high as the mean of a part of them lies between the least and the
// greatest of these means. Values that are not finite are left out.
func Curve(values []float64, cells int) string {
	cells = min(cells, len(values))
	means := make([]float64, cells)
	least, most := math.Inf(1), math.Inf(-1)
	for i := range means {
		sum, n := 0.0, 0
		for _, v := range values[len(values)*i/cells : len(values)*(i+1)/cells] {
			if !math.IsNaN(v) && !math.IsInf(v, 0) {
				sum, n = sum+v, n+1
			}
		}
		if means[i] = math.NaN(); n > 0 {
			means[i] = sum / float64(n)
			least, most = min(least, means[i]), max(most, means[i])
		}
	}
	blocks := []rune("▁▂▃▄▅▆▇█")
	var s strings.Builder
	for _, v := range means {
		switch {
		case math.IsNaN(v):
			s.WriteByte(' ')
		case most == least:
			s.WriteRune(blocks[0])
		default:
			s.WriteRune(blocks[int(math.Round((v-least)/(most-least)*float64(len(blocks)-1)))])
		}
	}
	return s.String()
}
