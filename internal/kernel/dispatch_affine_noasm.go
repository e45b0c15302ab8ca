//go:build !amd64 || purego

package kernel

func affineBias(int) int { return 0 }

func vectorAffine(f affineForm, table *[16]byte, groups, inner, header int, unit, x []byte, info []blockInfo, factor, dst []float32) {
	vectorAffineGeneric(f, table, groups, inner, header, unit, x, info, factor, dst)
}

func unpackAffine(f affineForm, table *[16]byte, groups, inner, header int, dst, src []byte) {
	unpackAffineGeneric(f, table, groups, inner, header, dst, src)
}

func packAffine(f affineForm, inner int, dst, src []byte) { packAffineGeneric(f, inner, dst, src) }

func tileAffine(block, strips, blocks int, w []byte, ldw int, scale, mins []float32, x []byte, ldx int, info []blockInfo, ldi int, c []float32) {
	tileAffineGeneric(block, strips, blocks, w, ldw, scale, mins, x, ldx, info, ldi, c)
}

func quantizeBlocks(block, blocks int, codes []byte, info []blockInfo, x []float32, offset int32) {
	quantizeBlocksGeneric(block, blocks, codes, info, x, offset)
}
