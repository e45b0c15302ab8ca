package neuroquant

import "runtime/debug"

// Version returns the version of the module as it was built, or "devel" for a build from a working tree.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	v := info.Main.Version
	for _, d := range info.Deps {
		if d.Path == "github.com/neurotrain/neuroquant" {
			v = d.Version
		}
	}
	if v == "" || v == "(devel)" {
		return "devel"
	}
	return v
}
