package op

// Tests call operators with hostile sizes on purpose; what they may allocate stays small.
func init() { maxElems = 1 << 22 }
