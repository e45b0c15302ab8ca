package op

import "testing"

func TestAttentionGolden(t *testing.T) { runGolden(t, "attention.json") }

func TestContribAttentionGolden(t *testing.T) { runGolden(t, "attention_contrib.json") }
