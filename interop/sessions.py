"""Sessions of ONNX Runtime whose integer products are exact."""

import collections
import pathlib

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

CPU = pathlib.Path("/proc/cpuinfo")


def session(model, options=None):
    """A session for the bytes or the file of a model in which products of uint8 and int8 do not saturate.

    On x86 without VNNI those of ONNX Runtime do, in 16 bits, unless it is asked to make all of them products of uint8.
    """
    options = options or onnxruntime.SessionOptions()
    model = model if isinstance(model, bytes) else str(model)
    disabled = options.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if not disabled and CPU.exists() and "vnni" not in CPU.read_text():
        loaded = onnx.load_from_string(model) if isinstance(model, bytes) else onnx.load(model)
        if not signed_operators(loaded):
            options.add_session_config_entry("session.x64quantprecision", "1")
            model = explicit(loaded).SerializeToString()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def signed_operators(model):
    """Whether the model has quantized operators with int8 activations, for which ONNX Runtime has no kernels once their weights are uint8."""
    signed = {i.name for i in model.graph.initializer if i.data_type == onnx.TensorProto.INT8}
    nodes = model.graph.node
    return any(n.op_type.startswith("QLinear") for n in nodes) and any(n.op_type == "QuantizeLinear" and set(n.input[2:]) & signed for n in nodes)


def explicit(model):
    """The model with an initializer of its own for each use, and zero points for weights in blocks: without either ONNX Runtime fails to make weights uint8."""
    initializers, uses = {i.name: i for i in model.graph.initializer}, collections.Counter()
    for node in model.graph.node:
        blocks = node.op_type == "DequantizeLinear" and any(a.name == "block_size" and a.i for a in node.attribute)
        if blocks and len(node.input) == 2 and initializers[node.input[0]].data_type == onnx.TensorProto.INT8:
            shape = initializers[node.input[1]].dims
            node.input.append(f"{node.output[0]}_zero_point")
            model.graph.initializer.append(numpy_helper.from_array(np.zeros(shape, np.int8), node.input[2]))
        for i, name in enumerate(node.input):
            if name in initializers:
                uses[name] += 1
                if uses[name] > 1:
                    copy = model.graph.initializer.add()
                    copy.CopyFrom(initializers[name])
                    copy.name = node.input[i] = f"{name}_use{uses[name]}"
    return model
