//go:build !amd64 || purego

package kernel

func affineBias(int) int { return 0 }

func wordActivations(int) bool { return false }

func wordsOfCodes(_, _ []byte) {}

func vectorAffine(f affineForm, table *[16]byte, groups, inner, header int, unit, x []byte, info []blockInfo, factor, dst []float32) {
	vectorAffineGeneric(f, table, groups, inner, header, unit, x, info, factor, dst)
}

func unpackAffine(f affineForm, table *[16]byte, groups, inner, header int, dst, src []byte) {
	unpackAffineGeneric(f, table, groups, inner, header, dst, src)
}

func packAffine(f affineForm, inner int, dst, src []byte) { packAffineGeneric(f, inner, dst, src) }

func packBlocks(affineForm, int, []byte, int, int, *byte, *byte, int, bool) bool { return false }

func tileAffine(f affineForm, strips, blocks int, w *stripCodes, scale, mins []float32, x []byte, ldx int, info []blockInfo, ldi int, c []float32) {
	tileAffineGeneric(f.block(), strips, blocks, w, scale, mins, x, ldx, info, ldi, c)
}

func affineScales(groups, inner int, halves []uint16, step int, factor, dst []float32, ldd int) {
	affineScalesGeneric(groups, inner, halves, step, factor, dst, ldd)
}

func quantizeBlocks(block, blocks int, codes []byte, info []blockInfo, x []float32, offset int32) {
	quantizeBlocksGeneric(block, blocks, codes, info, x, offset)
}
