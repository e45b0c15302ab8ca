"""Writes movement.json: calls of the operators that move data with what ONNX Runtime (or, with ref, the ONNX reference
evaluator) computes for them. Needs onnx 1.23, onnxruntime 1.32, numpy.

    python golden_movement.py
"""
import numpy as np
import onnx
from onnx import helper, shape_inference
from onnx.reference import ReferenceEvaluator
import onnxruntime as ort
import golden

ort.set_default_logger_severity(3)
rng = np.random.default_rng(7)


class Cases(golden.Cases):
    def call(self, op, inputs, outputs=1, ref=False, opset=23, name=None, **attrs):
        names = ["" if a is None else "i%d" % i for i, a in enumerate(inputs)]
        onames = ["o%d" % i for i in range(outputs)]
        node = helper.make_node(op, names, onames, **attrs)
        vi = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), list(a.shape))
              for n, a in zip(names, inputs) if a is not None]
        vo = [onnx.ValueInfoProto(name=n) for n in onames]
        m = helper.make_model(helper.make_graph([node], "g", vi, vo), opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
        m = shape_inference.infer_shapes(m)
        for o in m.graph.output:
            if o.type.tensor_type.HasField("shape"):
                o.type.tensor_type.ClearField("shape")
        feeds = {n: a for n, a in zip(names, inputs) if a is not None}
        if ref:
            got = ReferenceEvaluator(m).run(None, feeds)
        else:
            got = ort.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feeds)
        self.cases.append({"Name": name or "%s/%d" % (op, len(self.cases)), "Op": op,
                           "Attrs": {k: golden.attr(v) for k, v in attrs.items()},
                           "In": [golden.pack(a) for a in inputs], "Out": [golden.pack(np.asarray(a)) for a in got], "Tol": -1e-6})


def data(shape, dtype="float32", lo=-9, hi=9):
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.startswith("uint"):
        lo = 0
    return rng.integers(lo, hi + 1, shape).astype(dtype)


def i64(*v):
    return np.array(v, dtype=np.int64)


def some_shape(rank=None, lo=1, hi=5):
    return [int(n) for n in rng.integers(lo, hi + 1, rank or rng.integers(1, 5))]


c = Cases("movement.json")
for dtype in ["float32", "uint8", "float16", "float64", "bool", "int32"]:
    for rank in [2, 3, 4, 5]:
        c.call("Transpose", [data(some_shape(rank, 1, 4), dtype)], perm=[int(p) for p in rng.permutation(rank)])
c.call("Transpose", [data([3, 4, 2])])

MAX, MIN = 10**6, -(10**6)
for _ in range(30):
    shape = some_shape()
    n = int(rng.integers(1, len(shape) + 1))
    axes = rng.permutation(len(shape))[:n]
    pick = lambda: [int(rng.choice([MAX, MIN, 0, -1, 1, 2, 3, -2, -3, 6, -7])) for _ in range(n)]
    steps = [int(rng.choice([1, 1, 2, -1, -2, 3, 100, -100])) for _ in range(n)]
    axes = [int(a - len(shape)) if rng.integers(2) else int(a) for a in axes]
    c.call("Slice", [data(shape), i64(*pick()), i64(*pick()), i64(*axes), i64(*steps)])
c.call("Slice", [data([4, 5]), np.array([1], np.int32), np.array([3], np.int32)])

for mode in ["constant", "reflect", "edge", "wrap"]:
    for k in range(7):
        rank = int(rng.integers(1, 4))
        shape = some_shape(rank, 3, 5)
        pads = [int(p) for p in rng.integers(-1 if mode == "constant" else 0, 3, 2 * rank)]
        c.call("Pad", [data(shape), i64(*pads), np.array(4, np.float32) if mode == "constant" and k % 2 else None], mode=mode)
    c.call("Pad", [data([3, 4, 2], "int32"), i64(2, 1, 1, 0), None, i64(1, -3)], mode=mode)
c.call("Pad", [data([5, 4]), i64(-2, 1, 2, -1)], mode="edge", name="Pad/crop and extend")

for _ in range(5):
    shape = some_shape()
    c.call("Tile", [data(shape), i64(*rng.integers(0 if len(shape) == 2 else 1, 4, len(shape)))])
for a, b in [([3, 1], [2, 1, 4]), ([1], [3]), ([2, 3], [1, 1]), ([], [2, 2]), ([4, 1, 2], [3, 1])]:
    c.call("Expand", [data(a), i64(*b)])
for axis in [0, 1, 2, -1]:
    shapes = [[2, 3, 2] for _ in range(3)]
    for s in shapes:
        s[axis] = int(rng.integers(0, 4))
    c.call("Concat", [data(s) for s in shapes], axis=axis)
c.call("Split", [data([7, 2])], 3, num_outputs=3)
c.call("Split", [data([2, 9, 2])], 4, axis=1, num_outputs=4)
c.call("Split", [data([2, 6]), i64(1, 0, 5)], 3, axis=-1)
for shape in [[0, -1], [-1], [2, 2, -1], [0, 0, 3, 1]]:
    c.call("Reshape", [data([2, 4, 3]), i64(*shape)])
c.call("Reshape", [data([0, 3]), i64(3, 0)], allowzero=1)
c.call("Squeeze", [data([1, 3, 1])])
c.call("Unsqueeze", [data([3, 2]), i64(3, 0)])

for axis, ishape in [(0, [2, 2]), (1, [3]), (-1, []), (2, [1, 2])]:
    c.call("Gather", [data([3, 4, 2]), rng.integers(-2, 2, ishape).astype(np.int64)], axis=axis)
c.call("Gather", [data([5, 3], "uint8"), np.array([4, -5], np.int32)])
for axis in [0, 1, 2, -1]:
    c.call("GatherElements", [data([3, 4, 3]), rng.integers(-3, 3, [2, 2, 3]).astype(np.int64)], axis=axis)
for b, ishape in [(0, [2, 1]), (0, [2, 3, 2]), (1, [2, 2, 1]), (1, [2, 4, 2]), (2, [2, 3, 1])]:
    c.call("GatherND", [data([2, 3, 4]), rng.integers(-2, 2, ishape).astype(np.int64)], batch_dims=b)
for dtype in ["float32", "int32", "float16", "uint8", "int64"]:
    for reduction in ["none", "add", "mul", "max", "min"]:
        idx = np.array([[1, -1, 0], [0, 2, 3]]) if reduction == "none" else np.array([[1, 1, 1], [0, 3, 3]])
        c.call("ScatterElements", [data([2, 4], dtype), idx.astype(np.int64), data([2, 3], dtype)],
               ref=dtype == "float16", axis=1, reduction=reduction)
        idx = np.array([[2], [0]]) if reduction == "none" else np.array([[1], [1]])
        c.call("ScatterND", [data([3, 2], dtype), idx.astype(np.int64), data([2, 2], dtype)], ref=dtype == "float16", reduction=reduction)
for mode in ["linear", "circular"]:
    c.call("TensorScatter", [data([2, 3, 4, 2]), data([2, 3, 2, 2]), i64(1, 2 if mode == "linear" else 3)], ref=True, opset=24, mode=mode)

for dtype in ["float32", "int64", "float64", "int32"]:
    for axis, k, largest in [(0, 2, 1), (1, 3, 0), (-1, 1, 1), (2, 6, 1)]:
        c.call("TopK", [data([4, 5, 6], dtype, 0, 5), i64(k)], 2, axis=axis, largest=largest)
c.call("TopK", [data([1, 200], hi=500), i64(7)], 2, name="TopK/heap")
c.call("Unique", [data([3, 4], hi=2)], 4, ref=True)
c.call("Unique", [data([12], "int64", 0, 4)], 4, ref=True, sorted=0)
c.call("Unique", [data([3, 6, 2], lo=0, hi=1)], 4, ref=True, axis=1)
c.call("Unique", [data([7, 2], lo=0, hi=1)], 4, axis=0)
for dtype in ["float32", "bool", "int64"]:
    c.call("NonZero", [data([3, 2, 4], dtype, 0, 1)])
for axis in [0, 1, -1]:
    c.call("OneHot", [np.array([[0, -1], [3, 9]], np.int64), i64(4), np.array([2, 5], np.float32)], axis=axis)
for upper in [0, 1]:
    for k in [-9, -1, 0, 2, 9]:
        c.call("Trilu", [data([2, 3, 4]), np.array(k, np.int64)], upper=upper)
for k in [-2, 0, 1, 7]:
    c.call("EyeLike", [data([3, 4])], k=k, ref=k == 7)
for mode in ["DCR", "CRD"]:
    c.call("DepthToSpace", [data([2, 8, 2, 3])], blocksize=2, mode=mode)
c.call("SpaceToDepth", [data([2, 3, 4, 6])], blocksize=2)
c.call("ReverseSequence", [data([4, 3, 2]), i64(4, 0, 2)])
c.call("ReverseSequence", [data([3, 4]), i64(1, 4, 3)], batch_axis=0, time_axis=1)
c.call("Compress", [data([3, 4]), np.array([True, False, True])], axis=1)
c.call("Compress", [data([3, 4]), np.array([False, True, True, False, True])])
for shape, axes in [([5, 2], None), ([2, 9], [-1, 0])]:
    c.call("CenterCropPad", [data([4, 5]), i64(*shape)], ref=True, **({} if axes is None else {"axes": axes}))
c.call("Col2Im", [data([2, 3 * 6, 12]), i64(5, 5), i64(2, 3)])
c.call("Col2Im", [data([1, 2 * 4, 12]), i64(6, 7), i64(2, 2)], dilations=[2, 1], pads=[1, 0, 1, 1], strides=[2, 2])
for v in [(1, 9, 2), (5, -4, -3), (3, 3, 1), (0.5, 2.2, 0.3)]:
    c.call("Range", [np.array(x, np.float32) for x in v])
c.call("Range", [np.array(x, np.int64) for x in (10, -7, -4)])
boxes = rng.random((2, 40, 4)).astype(np.float32)
scores = rng.random((2, 3, 40)).astype(np.float32)
for center in [0, 1]:
    c.call("NonMaxSuppression", [boxes, scores, i64(6), np.array([0.3], np.float32), np.array([0.4], np.float32)], center_point_box=center)
words = rng.integers(0, 5, (3, 9))
for mode in ["TF", "IDF", "TFIDF"]:
    c.call("TfIdfVectorizer", [words.astype(np.int64)], mode=mode, min_gram_length=1, max_gram_length=3, max_skip_count=2,
           ngram_counts=[0, 3, 9], ngram_indexes=[6, 1, 2, 3, 4, 5, 0], pool_int64s=[1, 3, 4, 0, 1, 2, 3, 4, 4, 1, 2, 3],
           weights=[0.5, 1.0, 2.0, 3.0, 0.25, 1.5, 4.0])
c.write()
