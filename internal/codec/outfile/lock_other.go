//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package outfile

import "os"

// locks is whether [Lock] keeps other processes out.
const locks = false

// Lock does nothing where the system has no such call.
func Lock(*os.File) error { return nil }
