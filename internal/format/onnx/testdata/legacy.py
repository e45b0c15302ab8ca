"""Writes legacy.json: nodes in the forms of old operator sets, with inputs and expected outputs.

    pip install onnx==1.23.2 onnxruntime==1.32.0 && python legacy.py > legacy.json

Expected outputs come from ONNX Runtime, which runs operator sets from 7 on, and from numpy for older ones.
"""

import base64
import json

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

rng = np.random.default_rng(1)
cases = []


def encode(a):
    a = np.asarray(a)
    if a.dtype.kind in "UO":
        return {"dtype": "string", "shape": list(a.shape), "text": [str(s) for s in a.reshape(-1)]}
    return {"dtype": str(a.dtype), "shape": list(a.shape), "bytes": base64.b64encode(np.ascontiguousarray(a).tobytes()).decode()}


def case(name, opset, nodes, inputs, outputs, expected=None, initializers=None, domain="", known=True):
    """outputs: names; expected: arrays, or None to ask ONNX Runtime."""
    def info(n, a):
        t = helper.np_dtype_to_tensor_dtype(a.dtype) if a.dtype.kind not in "UO" else onnx.TensorProto.STRING
        return helper.make_tensor_value_info(n, t, list(a.shape) if known else None)

    g = helper.make_graph(
        nodes, name, [info(n, a) for n, a in inputs.items()], [onnx.ValueInfoProto(name=n) for n in outputs],
        [numpy_helper.from_array(a, n) for n, a in (initializers or {}).items()])
    opsets = [helper.make_opsetid("", opset)] if not domain else [helper.make_opsetid("", 9), helper.make_opsetid(domain, opset)]
    m = helper.make_model(g, opset_imports=opsets, ir_version=4)
    if expected is None:
        o = ort.SessionOptions()
        o.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        run = helper.make_model(g, opset_imports=opsets, ir_version=8)
        for out in run.graph.output:
            out.CopyFrom(onnx.ValueInfoProto(name=out.name))
        expected = ort.InferenceSession(run.SerializeToString(), o).run(None, inputs)
    cases.append({
        "name": name, "model": base64.b64encode(m.SerializeToString()).decode(),
        "inputs": {n: encode(a) for n, a in inputs.items()}, "outputs": {n: encode(a) for n, a in zip(outputs, expected)},
    })


def node(kind, ins, outs, **attrs):
    return helper.make_node(kind, ins, outs, name="n", **attrs)


def f(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def one(name, opset, kind, inputs, expected=None, initializers=None, outputs=("y",), order=None, domain="", known=True, **attrs):
    ins = order or list(inputs) + list(initializers or {})
    n = helper.make_node(kind, ins, list(outputs), name="n", domain=domain, **attrs)
    case(name, opset, [n], inputs, list(outputs), expected, initializers, domain, known)


x = f(2, 3, 4, 5)
for kind in ["Softmax", "LogSoftmax", "Hardmax"]:
    one(kind + "-11 axis 1", 11, kind, {"x": x})
    one(kind + "-11 axis 3", 11, kind, {"x": x}, axis=3)
    one(kind + "-7 axis 2", 7, kind, {"x": x}, axis=2)
    one(kind + "-11 unknown rank", 11, kind, {"x": x}, axis=-2, known=False)
im = f(1, 2, 4, 6)
one("Upsample-7 nearest", 7, "Upsample", {"x": im}, mode="nearest", scales=[1.0, 1.0, 2.0, 3.0])
one("Upsample-9 linear", 9, "Upsample", {"x": im}, initializers={"s": np.array([1, 1, 2, 2], np.float32)}, mode="linear")
for name, s in [("up", [1, 1, 2, 1.5]), ("down", [1, 1, 0.6, 0.6]), ("both", [1, 1, 2, 0.6])]:
    one("Resize-10 nearest " + name, 10, "Resize", {"x": im}, initializers={"s": np.array(s, np.float32)}, mode="nearest")
one("Resize-10 linear", 10, "Resize", {"x": im}, initializers={"s": np.array([1, 1, 2, 0.5], np.float32)}, mode="linear")
one("Clip-6", 6, "Clip", {"x": x}, [np.clip(x, -0.5, 0.25)], min=-0.5, max=0.25)
one("Clip-7 one limit", 7, "Clip", {"x": x}, max=0.25)
one("Pad-2", 7, "Pad", {"x": im}, mode="constant", pads=[0, 0, 1, 2, 0, 0, 0, 1], value=1.5)
one("Pad-2 reflect", 7, "Pad", {"x": im}, mode="reflect", pads=[0, 0, 1, 2, 0, 0, 0, 1])
one("Slice-1", 7, "Slice", {"x": x}, axes=[1, 3], starts=[1, -3], ends=[3, 1000])
one("Slice-1 without axes", 7, "Slice", {"x": x}, starts=[0, 1], ends=[1, 2])
one("TopK-1", 7, "TopK", {"x": f(3, 7)}, outputs=["y", "i"], k=3, axis=1)
one("Split-2", 7, "Split", {"x": f(6, 2)}, outputs=["a", "b"], split=[2, 4])
one("Split-2 equal", 11, "Split", {"x": f(6, 2)}, outputs=["a", "b", "c"])
one("Split-13 equal", 13, "Split", {"x": f(6, 2)}, outputs=["a", "b", "c"])
one("Squeeze-1", 7, "Squeeze", {"x": f(1, 3, 1, 2)}, axes=[0, 2])
one("Squeeze-11 all", 11, "Squeeze", {"x": f(1, 3, 1, 2)})
one("Unsqueeze-1", 7, "Unsqueeze", {"x": f(3, 2)}, axes=[0, 3])
for kind in ["ReduceMean", "ReduceSum", "ReduceMax", "ReduceL2", "ReduceLogSumExp", "ReduceProd"]:
    one(kind + "-11", 11, kind, {"x": x}, axes=[1, -1], keepdims=0)
    one(kind + "-7 all", 7, kind, {"x": x})
one("Dropout-7", 7, "Dropout", {"x": x}, [x], ratio=0.3)
one("Dropout-7 mask", 7, "Dropout", {"x": x}, [x, np.ones_like(x)], outputs=["y", "mask"], ratio=0.3)
one("Dropout-10 mask", 10, "Dropout", {"x": x}, [x, np.ones(x.shape, bool)], outputs=["y", "mask"])
bn = {"s": f(3), "b": f(3), "m": f(3), "v": np.abs(f(3))}
one("BatchNormalization-7", 7, "BatchNormalization", {"x": x}, initializers=bn)
one("BatchNormalization-9", 9, "BatchNormalization", {"x": x}, initializers=bn, epsilon=0.01)
per = {"s": f(3, 4, 5), "b": f(3, 4, 5), "m": f(3, 4, 5), "v": np.abs(f(3, 4, 5))}
one("BatchNormalization-7 per activation", 7, "BatchNormalization", {"x": x},
    [(x - per["m"]) / np.sqrt(per["v"] + np.float32(1e-5)) * per["s"] + per["b"]], initializers=per, spatial=0)
one("Scatter-9", 9, "Scatter", {"x": f(3, 3), "i": np.array([[1, 0, 2], [0, 2, 1]]), "u": f(2, 3)}, axis=0)
gn = f(2, 6, 3, 3)
one("GroupNormalization-18", 18, "GroupNormalization", {"x": gn}, initializers={"s": f(3), "b": f(3)}, num_groups=3)
grid = rng.uniform(-1.2, 1.2, (1, 3, 3, 2)).astype(np.float32)
for mode in ["bilinear", "bicubic", "nearest"]:
    one("GridSample-16 " + mode, 16, "GridSample", {"x": im, "grid": grid}, mode=mode)
one("DFT-17", 17, "DFT", {"x": f(1, 8, 3, 1)})
one("DFT-17 axis 2", 17, "DFT", {"x": f(1, 8, 3, 1)}, axis=2)
roi = {"rois": np.array([[0, 0, 3, 3], [1, 1, 4, 3]], np.float32), "batch": np.array([0, 0])}
one("RoiAlign-10", 10, "RoiAlign", {"x": im, **roi}, output_height=2, output_width=2, sampling_ratio=2)
one("LabelEncoder-1 strings", 1, "LabelEncoder", {"x": np.array(["b", "z", "a"], dtype=object)}, [np.array([1, -7, 0])],
    domain="ai.onnx.ml", classes_strings=["a", "b"], default_int64=-7)
one("LabelEncoder-1 numbers", 1, "LabelEncoder", {"x": np.array([1, 5, 0])}, [np.array(["b", "none", "a"], dtype=object)],
    domain="ai.onnx.ml", classes_strings=["a", "b"], default_string="none")

# Scan-8: batch, then the scanned dimension; running sum.
body = helper.make_graph(
    [helper.make_node("Add", ["state", "item"], ["next"]), helper.make_node("Mul", ["next", "twice"], ["seen"])], "body",
    [helper.make_tensor_value_info("state", 1, [2]), helper.make_tensor_value_info("item", 1, [2])],
    [helper.make_tensor_value_info("next", 1, [2]), helper.make_tensor_value_info("seen", 1, [2])])
init, items, twice = f(3, 2), f(3, 4, 2), np.array([2, 3], np.float32)
total = init[:, None] + np.cumsum(items, 1)
case("Scan-8", 8, [helper.make_node("Scan", ["", "init", "items"], ["final", "all"], name="n", num_scan_inputs=1, body=body)],
     {"init": init, "items": items, "twice": twice}, ["final", "all"], [total[:, -1], total * twice])
back = init[:, None] + np.cumsum(items[:, ::-1], 1)
case("Scan-8 backwards", 8,
     [helper.make_node("Scan", ["", "init", "items"], ["final", "all"], name="n", num_scan_inputs=1, directions=[1], body=body)],
     {"init": init, "items": items, "twice": twice}, ["final", "all"], [back[:, -1], back * twice])

# Operator sets below 7.
a, b = f(2, 3, 4, 5), f(3, 4)
one("Add-6 axis", 6, "Add", {"a": a, "b": b}, [a + b[:, :, None]], broadcast=1, axis=1)
one("Mul-6 suffix", 6, "Mul", {"a": a, "b": f(1) * 0 + 3}, [a * 3], broadcast=1)
suffix = f(4, 5)
one("Sub-1 suffix", 1, "Sub", {"a": a, "b": suffix}, [a - suffix], broadcast=1, consumed_inputs=[0, 0])
one("Greater-1 axis 0", 1, "Greater", {"a": a, "b": f(2) * 0}, [a > 0], broadcast=1, axis=0)
slope = np.abs(f(3))
one("PRelu-6", 6, "PRelu", {"x": a, "s": slope}, [np.where(a < 0, a * slope[:, None, None], a)])
one("Pad-1", 1, "Pad", {"x": b}, [np.pad(b, ((1, 0), (0, 2)))], paddings=[1, 0, 0, 2])
one("Upsample-1", 1, "Upsample", {"x": im}, [im.repeat(2, 2).repeat(3, 3)], height_scale=2.0, width_scale=3.0, mode="nearest")
one("Tile-1", 1, "Tile", {"x": b}, [np.concatenate([b, b, b], 1)],
    initializers={"n3": np.array([3], np.float32), "axis": np.array([1], np.float32)})
one("Reshape-1", 1, "Reshape", {"x": a}, [a.reshape(2, -1)], shape=[0, -1])
one("Concat-1", 1, "Concat", {"a": b, "b": b}, [np.concatenate([b, b], 1)])
one("Cast-1", 1, "Cast", {"x": b}, [b.astype(np.int32)], to="INT32")
one("Cast-1 double", 1, "Cast", {"x": b}, [b.astype(np.float64)], to="DOUBLE")
one("Selu-1", 1, "Selu", {"x": b}, [(1.0507 * np.where(b > 0, b, 1.6732 * np.exp(b) - 1.6732)).astype(np.float32)])
ga, gc = f(2, 3), f(3)
one("Gemm-6", 6, "Gemm", {"a": ga, "b": np.eye(3, dtype=np.float32), "c": gc}, [2 * ga + gc], broadcast=1, alpha=2.0)
one("Dropout-6 is_test", 6, "Dropout", {"x": b}, [b], is_test=1, ratio=0.5)
one("BatchNormalization-6 is_test", 6, "BatchNormalization", {"x": a},
    [(a - bn["m"][:, None, None]) / np.sqrt(bn["v"] + np.float32(1e-5))[:, None, None] * bn["s"][:, None, None] + bn["b"][:, None, None]],
    initializers=bn, is_test=1)
one("GlobalLpPool-1", 1, "GlobalLpPool", {"x": im}, [np.sqrt((im**2).sum((2, 3), keepdims=True))], p=2.0)

print(json.dumps(cases, indent=0))
