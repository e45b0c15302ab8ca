package op

import "testing"

func TestRecurrentGolden(t *testing.T) { runGolden(t, "recurrent.json") }
