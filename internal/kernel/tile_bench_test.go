//go:build amd64 && !purego

package kernel

import "testing"

// BenchmarkTile runs the micro-kernels on operands in the first-level cache: the rate that the
// blocked products can come near to.
func BenchmarkTile(b *testing.B) {
	const k = 96
	x, y, c := make([]float32, 8*k), make([]float32, panelWidth*k), make([]float32, 8*panelWidth)
	b.Run("f32", func(b *testing.B) {
		for b.Loop() {
			for range 100 {
				tileF32(tileRowsF32(), panelWidth, k, x, y, panelWidth, c, panelWidth, tileRowsF32(), panelWidth, 1, 0, false, nil)
			}
		}
		b.ReportMetric(2*100*float64(tileRowsF32())*panelWidth*k*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
	})
	xb, yb, cb := make([]uint32, 8*k*leftWords()), make([]byte, 4*panelWidth*k), make([]int32, 8*panelWidth)
	b.Run("int8", func(b *testing.B) {
		for b.Loop() {
			for range 100 {
				tileInt8(false, 8, panelWidth, k, xb, yb, cb, nil)
			}
		}
		b.ReportMetric(8*100*8*panelWidth*k*float64(b.N)/b.Elapsed().Seconds()/1e9, "GOP/s")
	})
}
