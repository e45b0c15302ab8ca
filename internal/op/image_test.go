package op

import "testing"

func TestImageGolden(t *testing.T) { runGolden(t, "image.json") }
