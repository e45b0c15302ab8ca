"""Sessions of ONNX Runtime whose integer products are exact."""

import pathlib

import onnxruntime

CPU = pathlib.Path("/proc/cpuinfo")


def exact(options, fused=False):
    """Sets options so that products of uint8 and int8 do not saturate in 16 bits, as those of ONNX Runtime do on x86 without VNNI, and returns them.

    There static models run as they are written, since what ONNX Runtime fuses their nodes into saturates. With fused, for models of integer operators, it may
    rewrite them and is asked for its exact products, which it cannot do for every static model.
    """
    if CPU.exists() and "vnni" not in CPU.read_text():
        if fused:
            options.add_session_config_entry("session.x64quantprecision", "1")
        else:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options
