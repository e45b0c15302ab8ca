package torchop

import (
	"github.com/neurotrain/neuroquant/internal/graph"
)

// normOps are the normalizations.
var normOps = table{
	"batch_norm":                           {"input weight bias running_mean running_var training momentum eps cudnn_enabled=None", batchNorm},
	"native_batch_norm":                    {"input weight bias running_mean running_var training momentum eps", withStats(batchNorm)},
	"cudnn_batch_norm":                     {"input weight bias running_mean running_var training exponential_average_factor epsilon eps=1e-05", batchNorm},
	"_native_batch_norm_legit":             {"input weight bias running_mean running_var training momentum eps", withStats(batchNorm)},
	"_native_batch_norm_legit_no_training": {"input weight bias running_mean running_var momentum eps training=False", withStats(batchNorm)},
	"_batch_norm_no_update":                {"input weight bias running_mean running_var momentum eps training=False", withStats(batchNorm)},
	"instance_norm":                        {"input weight bias running_mean running_var use_input_stats momentum eps cudnn_enabled=None", instanceNorm},
	"layer_norm":                           {"input normalized_shape weight=None bias=None eps=1e-05 cudnn_enable=None", layerNorm},
	"native_layer_norm":                    {"input normalized_shape weight bias eps", withStats(layerNorm)},
	"group_norm":                           {"input num_groups weight=None bias=None eps=1e-05 cudnn_enabled=None", groupNorm},
	"native_group_norm":                    {"input weight bias N C HxW num_groups eps group=None", nativeGroupNorm},
	"rms_norm":                             {"input normalized_shape weight=None eps=None", rmsNorm},
	"_fused_rms_norm":                      {"input normalized_shape weight eps", func(c *call) any { return Tuple{rmsNorm(c), Absent("the statistics of _fused_rms_norm")} }},
}

// withStats is for operators that return the statistics of the batch as well, which nothing uses in evaluation.
func withStats(f func(c *call) any) func(c *call) any {
	return func(c *call) any {
		stats := Absent("the statistics of " + c.op)
		return Tuple{f(c), stats, stats}
	}
}

func batchNorm(c *call) any {
	x := c.tensor("input")
	if c.bool("training") {
		return c.failf("the model was saved in training mode, in which results depend on the batch; save it after model.eval()")
	}
	return Of(c.BatchNorm(x, c.optional("weight"), c.optional("bias"), c.optional("running_mean"), c.optional("running_var"), c.float("eps")))
}

func (c *call) channels(x *graph.Value) (int, bool) {
	for _, name := range []string{"weight", "bias"} {
		if t, ok := c.args[name].(*Tensor); ok {
			if s, ok := c.typeOf(t).Shape(); ok && len(s) == 1 {
				return s[0], true
			}
		}
	}
	n, ok := c.sym.Size(x, 1).Const()
	if !ok {
		c.failf("the number of channels is not known")
	}
	return int(n), ok
}

func instanceNorm(c *call) any {
	x, w, bias := c.tensor("input"), c.optional("weight"), c.optional("bias")
	if !c.bool("use_input_stats") {
		return Of(c.BatchNorm(x, w, bias, c.optional("running_mean"), c.optional("running_var"), c.float("eps")))
	}
	n, ok := c.channels(x)
	if !ok {
		return nil
	}
	return Of(c.InstanceNorm(x, w, bias, n, c.float("eps")))
}

func layerNorm(c *call) any {
	x, shape := c.tensor("input"), c.ints("normalized_shape")
	if c.bad {
		return nil
	}
	return Of(c.LayerNorm(x, c.optional("weight"), c.optional("bias"), shape, c.float("eps")))
}

func groupNorm(c *call) any {
	x := c.tensor("input")
	n, ok := c.channels(x)
	if !ok {
		return nil
	}
	return Of(c.GroupNorm(x, c.optional("weight"), c.optional("bias"), c.known("num_groups"), n, c.float("eps")))
}

func nativeGroupNorm(c *call) any {
	if c.has("group") {
		c.args["num_groups"] = c.args["group"]
	}
	return withStats(groupNorm)(c)
}

func rmsNorm(c *call) any {
	x, shape := c.tensor("input"), c.ints("normalized_shape")
	eps := 0x1p-23 // of float32, which PyTorch takes where none is given
	if c.has("eps") {
		eps = c.float("eps")
	}
	if c.bad {
		return nil
	}
	return Of(c.RMSNorm(x, c.optional("weight"), shape, eps))
}
