// Package neuroquant makes neural networks smaller and faster without Python: it loads a model in the format people have,
// quantizes it by the method they name, shows what that cost and gained, and writes it in the format that their runtime loads.
//
// The main job:
//
//	m := neuroquant.NewManager(neuroquant.DynamicConfig())
//	res, err := m.Quantize(ctx, "model.onnx")
//	if err != nil { ... }
//	defer res.Close()
//	err = m.Save(ctx, res, "out", false)
//
// [Config] holds the settings, [Manager] quantizes, saves and loads, [Model] runs, [Analyzer] compares two models. Everything
// takes a context: cancelling it stops the work at the next layer and leaves nothing half-written. Progress is silent unless
// the context carries a reporter, which the command-line tool installs.
package neuroquant
