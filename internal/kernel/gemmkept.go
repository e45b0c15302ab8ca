package kernel

// packedProducts keeps products with packed matrices, so that one allocates nothing.
var packedProducts stock[packedProduct]

// packedProduct is what floatKernel.product makes, with the operands beside the functions that read them.
type packedProduct struct {
	blocked[float32]
	kernel      floatKernel[float32]
	transA      bool
	alpha, beta float32
	a, c        []float32
	lda, ldc    int
}

func (g *packedProduct) set(transA bool, m, n, k int, alpha float32, a []float32, lda int, beta float32, c []float32, ldc int) {
	g.kernel = kernelF32()
	g.transA, g.alpha, g.beta, g.a, g.c, g.lda, g.ldc = transA, alpha, beta, a, c, lda, ldc
	g.m, g.k, g.cols, g.mr, g.ops = m, k, splitLanes(n, g.kernel.lanes, 3), g.kernel.mr, 1
	if g.packA == nil {
		g.packA, g.tile = g.left, g.product
	}
}

func (g *packedProduct) left(dst []float32, i0, i1, k0, k1 int) {
	g.kernel.packA(dst, g.transA, g.a, g.lda, i0, i1, k0, k1)
}

func (g *packedProduct) product(height, width, k int, a, b, ahead []float32, row, col, rows, n int, add bool) {
	factor := g.beta
	if add {
		factor = 1
	}
	g.kernel.tile(height, width, k, a, b, width, g.c[row*g.ldc+col:], g.ldc, rows, n, g.alpha, factor, factor != 0, ahead)
}

func (g *packedProduct) done() {
	g.a, g.c, g.tasks = nil, nil, multiplication[float32]{}
	packedProducts.give(g)
}
