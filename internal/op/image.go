package op

var imageOps = table{
	"Resize":       fresh[Resize],
	"GridSample":   fresh[GridSample],
	"AffineGrid":   fresh[AffineGrid],
	"ImageDecoder": fresh[ImageDecoder],
}
