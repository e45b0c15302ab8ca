//go:build !purego

package kernel

import "github.com/neurotrain/neuroquant/internal/impl"

var (
	useGemmF32AVX512 bool
	useGemmF32AVX2   bool
	useGemmF64AVX512 bool
	useGemmF64AVX2   bool
	useTransposeAVX2 bool
	useGemmInt8VNNI  bool
	useGemmInt8AVX2  bool

	useGemmInt8AVXVNNI bool

	useFinishAVX512 bool
	useFinishAVX2   bool
	useGemmBF16     bool

	useGemmBF16Wider512 bool
	useGemmBF16Wider2   bool

	useConvAVX512 bool
	useConvAVX2   bool
)

func init() {
	impl.Register("gemmF32", impl.AVX512, &useGemmF32AVX512)
	impl.Register("gemmF32", impl.AVX2, &useGemmF32AVX2)
	impl.Register("gemmF64", impl.AVX512, &useGemmF64AVX512)
	impl.Register("gemmF64", impl.AVX2, &useGemmF64AVX2)
	impl.Register("transpose", impl.AVX2, &useTransposeAVX2)
	impl.Register("gemmInt8", impl.AVX512VNNI, &useGemmInt8VNNI)
	impl.Register("gemmInt8", impl.AVXVNNI, &useGemmInt8AVXVNNI)
	impl.Register("gemmInt8", impl.AVX2, &useGemmInt8AVX2)
	impl.Register("gemmInt8Finish", impl.AVX512, &useFinishAVX512)
	impl.Register("gemmInt8Finish", impl.AVX2, &useFinishAVX2)
	impl.Register("gemmBF16", impl.AVX512BF16, &useGemmBF16)
	impl.Register("gemmBF16", impl.AVX512, &useGemmBF16Wider512)
	impl.Register("gemmBF16", impl.AVX2, &useGemmBF16Wider2)
	impl.Register("conv", impl.AVX512, &useConvAVX512)
	impl.Register("conv", impl.AVX2, &useConvAVX2)
}
