"""Writes linear.json, conv.json, quantize.json, qlinear.json and microsoft.json: calls of matrix products, convolutions, poolings,
normalizations, quantization operators and operators of the domain com.microsoft with what ONNX Runtime (one thread) or numpy
computes for them. Integer results are exact. Needs onnx 1.23, onnxruntime 1.32, numpy.

    python golden_linear.py
"""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
import onnxruntime as ort
import golden

rng = np.random.default_rng(3)
MS = "com.microsoft"
U, I, F = np.uint8, np.int8, np.float32


class Cases(golden.Cases):
    def call(self, op, inputs, outputs=(1,), domain="", tol=-1e-4, consts=(), model_opset=21, name=None, **attrs):
        """Runs op; inputs whose index is in consts, and those of sub-byte types, are initializers."""
        names, feeds, init, vi = [], {}, [], []
        for i, a in enumerate(inputs):
            names.append("" if a is None else "i%d" % i)
            if a is None:
                continue
            if i in consts or a.dtype.itemsize == 1 and a.dtype.name in ("int4", "uint4"):
                init.append(numpy_helper.from_array(a, "i%d" % i))
            else:
                vi.append(helper.make_tensor_value_info("i%d" % i, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape))
                feeds["i%d" % i] = a
        onames = ["o%d" % i if w else "" for i, w in enumerate(outputs)]
        node = helper.make_node(op, names, onames, domain=domain, **attrs)
        g = helper.make_graph([node], "g", vi, [onnx.ValueInfoProto(name=n) for n in onames if n], init)
        m = helper.make_model(g, opset_imports=[helper.make_opsetid("", model_opset), helper.make_opsetid(MS, 1)], ir_version=10)
        so = ort.SessionOptions()
        so.intra_op_num_threads, so.log_severity_level = 1, 3
        so.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        got = iter(ort.InferenceSession(m.SerializeToString(), so).run(None, feeds))
        self.store(op, inputs, [next(got) if n else None for n in onames], domain, tol, name, **attrs)

    def store(self, op, inputs, outputs, domain="", tol=-1e-4, name=None, **attrs):
        kind = domain + "." + op if domain else op
        exact = all(o is None or o.dtype.kind in "iub" for o in outputs)
        self.cases.append({"Name": "%s/%d" % (name or kind, len(self.cases)), "Op": kind,
                           "Attrs": {k: golden.attr(v) for k, v in attrs.items()},
                           "In": [golden.pack(None if a is None else np.asarray(a)) for a in inputs],
                           "Out": [golden.pack(None if a is None else digits(np.asarray(a), tol)) for a in outputs], "Tol": 0 if exact else tol})


def normal(*s):
    """Normal values with few digits, which keeps the files small."""
    return (np.round(rng.standard_normal(s) * 32) / 32).astype(F)


def digits(a, tol):
    """a with the digits that the tolerance looks at."""
    if a is None or a.dtype.kind != "f" or tol == 0:
        return a
    with np.errstate(all="ignore"):
        unit = 10.0 ** (np.floor(np.log10(np.maximum(np.abs(a.astype(np.float64)), 1e-30))) - 6)
    return (np.round(a / unit) * unit).astype(a.dtype)


def codes(dtype, *s):
    lo, hi = {"int4": (-8, 7), "uint4": (0, 15)}.get(np.dtype(dtype).name) or (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return np.array(rng.integers(lo, hi + 1, s)).astype(dtype)


def scale(*s):
    return np.array(rng.uniform(0.001, 0.1, s)).astype(F)


def ints(lo, hi, n):
    return [int(v) for v in rng.integers(lo, hi, n)]


def pick(*v):
    return v[int(rng.integers(len(v)))]


c = Cases("linear.json")
for a, b in [((3,), (3,)), ((3,), (3, 4)), ((2, 3), (3,)), ((2, 2, 3), (3,)), ((3,), (2, 3, 2)), ((3, 1, 2, 3), (2, 3, 2)), ((1, 2, 3), (4, 3, 2)),
             ((2, 0), (0, 3)), ((2, 3, 2, 5), (5, 4)), ((20, 9), (9, 17))]:
    for t in (np.float32, np.float64, np.int32, np.uint64):
        x, y = normal(*a) * 5, normal(*b) * 5
        x, y = (np.abs(v).astype(t) if t == np.uint64 else v.astype(t) for v in (x, y))
        c.store("MatMul", [x, y], [np.matmul(x, y)])
for q, shapes in [("ij,jk->ik", [(2, 3), (3, 4)]), ("ij->ji", [(3, 4)]), ("ii->i", [(4, 4)]), ("ii", [(4, 4)]), ("...ii->...i", [(2, 3, 3)]),
                  ("bhqd,bhkd->bhqk", [(2, 2, 3, 4), (2, 2, 5, 4)]), ("i,j->ij", [(3,), (4,)]), ("ij,kl->", [(2, 3), (2, 2)]),
                  ("abc,cd,de->abe", [(2, 3, 4), (4, 5), (5, 2)]), ("...ij,...jk->...ik", [(2, 1, 3, 4), (3, 4, 2)]),
                  ("b...d,d...->b...", [(2, 3, 4), (4, 3)]), ("iij,jk->k", [(3, 3, 2), (2, 4)]), ("ba", [(3, 2)]), ("a,a,a->a", [(3,)] * 3),
                  ("abcd,bd->acb", [(2, 3, 2, 3), (3, 3)])]:
    for t in (np.float32, np.int64):
        x = [(normal(*s) * 4).astype(t) for s in shapes]
        c.store("Einsum", x, [np.einsum(q, *x)], equation=q, name=q)
for ta in (0, 1):
    for tb in (0, 1):
        for s in (None, (), (4,), (3, 1), (3, 4)):
            a, b = normal(*((5, 3) if ta else (3, 5))), normal(*((4, 5) if tb else (5, 4)))
            c.call("Gemm", [a, b] + ([] if s is None else [np.asarray(normal(*s))]), transA=ta, transB=tb, alpha=0.5, beta=2.0)
x = normal(3, 4, 4)
c.store("Det", [x], [np.linalg.det(x)])
for t in (0, 1):
    c.call("LayerNormalization", [normal(2, 3, 4), normal(4), normal(4)][: 3 - t], (1, 1, 1), axis=-1)
    c.call("LayerNormalization", [normal(2, 3, 4), normal(3, 4), normal(3, 4)], (1, 1, 1), axis=1, epsilon=1e-3)
c.call("BatchNormalization", [normal(2, 3, 4), normal(3), normal(3), normal(3), np.abs(normal(3))])
c.call("InstanceNormalization", [normal(2, 3, 4, 5), normal(3), normal(3)])
c.call("GroupNormalization", [normal(2, 4, 3, 2), normal(4), normal(4)], num_groups=2)
c.call("LRN", [normal(2, 5, 3, 2)], size=3, alpha=0.3, beta=0.6)
for p in (1, 2):
    c.call("LpNormalization", [normal(2, 3, 4)], p=p, axis=1)
c.write()

c = Cases("conv.json")
for n in (1, 2, 3):
    for k in range(5):
        g = pick(1, 1, 2, 4)
        ch, m = g * ints(1, 3, 1)[0], g * ints(1, 3, 1)[0]
        kernel, strides, dilations = ints(1, 4, n), ints(1, 4, n), ints(1, 3, n)
        x, w, b = normal(pick(1, 2), ch, *ints(4, 6 if n > 2 else 7, n)), normal(m, ch // g, *kernel), normal(m)
        pad = pick("NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")
        a = dict(group=g, strides=strides, kernel_shape=kernel, dilations=dilations)
        if pad == "NOTSET":
            a["pads"] = ints(1, 4, 2 * n)
        else:
            a["auto_pad"], a["dilations"] = pad, [1] * n
        c.call("Conv", [x, w, b][: pick(2, 3)], **a)
        w = normal(ch, m // g, *kernel)
        a = dict(group=g, strides=strides, kernel_shape=kernel, dilations=dilations)
        if k % 4 == 0:
            a["pads"] = ints(0, 2, 2 * n)
        elif k % 4 == 1 and all(s <= q for s, q in zip(strides, kernel)):
            a["auto_pad"] = pick("SAME_UPPER", "SAME_LOWER")
        elif k % 4 == 2:
            a["output_padding"] = [int(rng.integers(0, s)) for s in strides]
        else:
            a["output_shape"] = [int((s - 1) * q + 1 + rng.integers(0, 2)) for s, q in zip(x.shape[2:], strides)]
        try:
            c.call("ConvTranspose", [x, w, b][: pick(2, 3)], **a)
        except Exception:
            pass  # pads larger than the output
        x = normal(1, 2, *ints(4, 6 if n > 2 else 8, n))
        kernel = ints(2, 4, n)
        a = dict(kernel_shape=kernel, strides=ints(1, 4, n), ceil_mode=pick(0, 1), dilations=ints(1, 3, n), pads=[min(p, q - 1) for p, q in zip(ints(0, 3, 2 * n), kernel * 2)])
        c.call("MaxPool", [x], (1, 1), storage_order=pick(0, 1), **a)
        c.call("MaxPool", [(x * 20).astype(I)], **a)
        c.call("MaxPool", [(x * 20 + 100).astype(U)], **a)
        c.call("AveragePool", [x], count_include_pad=pick(0, 1), **a)
        c.call("LpPool", [x], p=pick(1, 2, 3), **a)
x = normal(2, 3, 5, 6)
for op in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"):
    c.call(op, [x])
rois = np.array([[0, 1, 1, 3, 4], [1, 0, 0, 5, 4], [0, -2, 0, 9, 9], [1, 3, 3, 2, 2]], F)
c.call("MaxRoiPool", [x, rois], pooled_shape=[3, 2], spatial_scale=0.5)
for mode in ("avg", "max"):
    for ratio in (0, 2):
        for transform in ("half_pixel", "output_half_pixel"):
            c.call("RoiAlign", [x, np.array([[0, 1, 5, 4], [1, 1, 2.5, 3.5], [-2, 0, 9, 9]], F), np.array([0, 1, 1])], mode=mode,
                   sampling_ratio=ratio, coordinate_transformation_mode=transform, output_height=3, output_width=2, spatial_scale=0.6)
c.write()

c = Cases("quantize.json")
x = np.concatenate([normal(40) * 3, np.array([0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 300, -300, 127.5, -128.5, np.nan, np.inf, -np.inf], F)]).astype(F)
for t in (U, I, np.uint16, np.int16):
    for s in (1, 0.0371):
        for z in (0, 3):
            c.call("QuantizeLinear", [x, np.array(s, F), np.array(z, t)])
    y = normal(3, 4, 5) * 3
    for axis in (0, 1, 2):
        c.call("QuantizeLinear", [y, scale(y.shape[axis]), codes(t, y.shape[axis])], axis=axis)
        c.call("DequantizeLinear", [codes(t, *y.shape), scale(y.shape[axis]), codes(t, y.shape[axis])], axis=axis, tol=0)
    y = normal(4, 7, 3) * 3
    for axis, block in ((0, 2), (1, 4), (2, 2)):
        s = list(y.shape)
        s[axis] = -(-s[axis] // block)
        c.call("QuantizeLinear", [y, scale(*s), codes(t, *s)], axis=axis, block_size=block)
        c.call("DequantizeLinear", [codes(t, *y.shape), scale(*s), codes(t, *s)], axis=axis, block_size=block, tol=0)
    c.call("QuantizeLinear", [x, np.array(0.05, F), np.array(3, t)], domain=MS, model_opset=13)
    c.call("DequantizeLinear", [codes(t, 9), np.array(0.05, F), np.array(3, t)], domain=MS, model_opset=13, tol=0)
c.call("QuantizeLinear", [x, np.array(0.05, F)])
c.call("QuantizeLinear", [x[:40].astype(np.float16), np.array(0.0371, np.float16), np.array(3, U)])
c.call("DequantizeLinear", [codes(U, 20), np.array(0.0371, np.float16), np.array(3, U)], tol=0)
c.call("DequantizeLinear", [rng.integers(-(2**24), 2**24, (5, 4)).astype(np.int32), scale(5)], axis=0, tol=0)
import ml_dtypes

for t in (ml_dtypes.int4, ml_dtypes.uint4):
    c.call("DequantizeLinear", [codes(t, 33), scale()], tol=0)
    c.call("DequantizeLinear", [codes(t, 6, 5), scale(3, 5), codes(t, 3, 5)], axis=0, block_size=2, tol=0)
for v in ([0.3, 2, -1, 0.5], [1, 2, 3, 4], [-1, -2, -3, -4], [0, 0, 0, 0]):
    c.call("DynamicQuantizeLinear", [np.array(v, F)], (1, 1, 1), tol=0)
c.call("DynamicQuantizeLinear", [normal(10, 17) * 7], (1, 1, 1), tol=0)
for ta in (U, I):
    for tb in (U, I):
        for sa, sb in (((5, 7), (7, 6)), ((2, 3, 7), (7, 6)), ((2, 3, 7), (2, 7, 4)), ((1, 40), (40, 9))):
            c.call("MatMulInteger", [codes(ta, *sa), codes(tb, *sb), codes(ta), codes(tb)], consts=(1, 3))
            if len(sb) == 2:
                c.call("MatMulInteger", [codes(ta, *sa), codes(tb, *sb), codes(ta), codes(tb, sb[1])], consts=(1, 3))
        for n in (1, 2, 3):
            for k in range(2):
                g = pick(1, 1, 2, 4)
                ch, m = g * ints(1, 3, 1)[0], g * ints(1, 3, 1)[0]
                a = dict(group=g, strides=ints(1, 3, n), dilations=ints(1, 3, n), kernel_shape=ints(1, 4, n), pads=ints(0, 3, 2 * n))
                y, w = codes(ta, 2, ch, *ints(5, 7, n)), codes(tb, m, ch // g, *a["kernel_shape"])
                if k == 0:
                    c.call("ConvInteger", [y, w, codes(ta), codes(tb)], consts=(1, 3), **a)
                    continue
                # ONNX Runtime has no zero points per channel here; in float32 these sums are exact.
                zx, zw = codes(ta), codes(tb, m)
                f = Cases("")
                f.call("Conv", [y.astype(F) - F(zx), w.astype(F) - zw.astype(F).reshape([m] + [1] * (n + 1))], tol=0, **a)
                out = f.cases[0]["Out"][0]
                c.store("ConvInteger", [y, w, zx, zw], [np.array(out["Values"]).astype(np.int32).reshape(out["Shape"])], **a)
for ta, tb in ((U, U), (U, I), (I, I)):
    for sa, sb in (((5, 7), (7, 6)), ((2, 3, 7), (7, 6)), ((2, 3, 7), (2, 7, 4))):
        for columns in (False, True):
            if columns and len(sb) > 2:
                continue
            s, z = (scale(sb[-1]), codes(tb, sb[-1])) if columns else (scale(), codes(tb))
            c.call("QLinearMatMul", [codes(ta, *sa), scale(), codes(ta), codes(tb, *sb), s, z, np.array(rng.uniform(0.2, 3), F), codes(ta)],
                   consts=(1, 2, 3, 4, 5, 6, 7))
    for n in (1, 2, 3):
        for k in range(2):
            g = pick(1, 1, 2, 4)
            ch, m = g * ints(1, 3, 1)[0], g * ints(1, 3, 1)[0]
            a = dict(group=g, strides=ints(1, 3, n), dilations=ints(1, 3, n), kernel_shape=ints(1, 4, n), pads=ints(0, 3, 2 * n))
            y, w = codes(ta, 2, ch, *ints(5, 7, n)), codes(tb, m, ch // g, *a["kernel_shape"])
            s, z = (scale(m), codes(tb, m)) if k else (scale(), codes(tb))
            c.call("QLinearConv", [y, scale(), codes(ta), w, s, z, np.array(rng.uniform(0.2, 2), F), codes(ta), rng.integers(-2000, 2000, m).astype(np.int32)][: 9 - k],
                   consts=(1, 2, 3, 4, 5, 6, 7, 8), **a)
c.write()

c = Cases("qlinear.json")
half, quarter, whole = (np.array(v, F) for v in (0.5, 0.25, 1))
for t in (U, I):
    zero = lambda: codes(t)
    for sa, sb in (((3, 4, 5), (3, 4, 5)), ((3, 4), (4,)), ((3, 4), (1,)), ((4, 1), (1, 6)), ((60,), (60,)), ((1, 3, 1, 1), (2, 3, 2, 2))):
        for s in ([scale(), scale(), scale()], [half, quarter, whole]):
            for op in ("QLinearAdd", "QLinearMul"):
                c.call(op, [codes(t, *sa), s[0], zero(), codes(t, *sb), s[1], zero(), s[2], zero()], domain=MS, consts=(1, 2, 4, 5, 6, 7))
    every = np.arange(256).astype(U).view(t)
    c.call("QLinearSigmoid", [every, scale(), zero(), scale(), zero()], domain=MS, consts=(1, 2, 3, 4))
    c.call("QLinearLeakyRelu", [every, scale(), zero(), scale(), zero()], domain=MS, consts=(1, 2, 3, 4), alpha=0.2)
    for axis, last in ((1, (3, 2, 2)), (-1, (3, 4, 1))):
        c.call("QLinearConcat", [scale(), zero(), codes(t, 3, 4, 2), scale(), zero(), codes(t, *last), scale(), zero()], domain=MS, axis=axis)
    c.call("QLinearWhere", [rng.integers(0, 2, (4, 1)).astype(bool), codes(t, 4, 5), scale(), zero(), codes(t, 5), scale(), zero(), scale(), zero()],
           domain=MS, consts=(2, 3, 5, 6, 7, 8))
    for opset in (11, 13):
        for axis in (0, 1, -1):
            c.call("QLinearSoftmax", [codes(t, 3, 4, 3), scale(), zero(), np.array(1 / 256, F), np.array(0 if t == U else -128, t)], domain=MS,
                   consts=(1, 2, 3, 4), axis=axis, opset=opset)
    for last in (0, 1):
        y = codes(t, 2, 3, 5, 4)
        c.call("QLinearGlobalAveragePool", [y, scale(), zero(), scale(), zero()], domain=MS, consts=(1, 2, 3, 4), channels_last=last)
        for pads in (0, 1):
            for ceil in (0, 1):
                c.call("QLinearAveragePool", [codes(t, 2, 5, 6, 3) if last else codes(t, 2, 3, 5, 6), half, zero(), half, zero()], domain=MS, consts=(1, 2, 3, 4),
                       kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1], count_include_pad=pads, ceil_mode=ceil, channels_last=last)
for ta, tb in ((U, U), (U, I), (I, I)):
    for tra in (0, 1):
        for trb in (0, 1):
            for k, s in enumerate((None, (6,), (5, 6))):
                if ta == I and tra:
                    continue
                bias = None if s is None else rng.integers(-3000, 3000, s).astype(np.int32)
                y = [codes(ta, *((7, 5) if tra else (5, 7))), scale(), codes(ta), codes(tb, *((6, 7) if trb else (7, 6)))]
                y += [scale(6), codes(tb, 6)] if k else [scale(), codes(tb)]
                try:
                    c.call("QGemm", y + [bias, np.array(rng.uniform(0.2, 3), F), codes(ta)], domain=MS, consts=(1, 2, 3, 4, 5, 6, 7, 8), transA=tra, transB=trb, alpha=0.7)
                    c.call("QGemm", y + ([] if bias is None else [bias]), domain=MS, consts=(1, 2, 3, 4, 5, 6), transA=tra, transB=trb, tol=0)
                except ort.capi.onnxruntime_pybind11_state.NotImplemented:
                    pass
    for sa in ((5, 7), (2, 3, 7)):
        c.call("MatMulIntegerToFloat", [codes(ta, *sa), codes(tb, 7, 6), scale(), scale(6), codes(ta), codes(tb, 6), normal(6)], domain=MS, consts=(1, 3, 5), tol=-1e-6)
        c.call("DynamicQuantizeMatMul", [normal(*sa), codes(tb, 7, 6), scale(6), codes(tb, 6), normal(6)], domain=MS, consts=(1, 3), tol=-1e-6)
        c.call("DynamicQuantizeMatMul", [normal(*sa), codes(tb, 7, 6), scale(), codes(tb)], domain=MS, consts=(1, 3), tol=-1e-6)
c.write()

c = Cases("microsoft.json")
for bits in (2, 4, 8):
    for k, n, block in ((64, 4, 16), (50, 33, 32)):
        nb = -(-k // block)
        for z in (None, codes(U, n, -(-nb * bits // 8)), rng.uniform(0, 2**bits, (n, nb)).astype(F)):
            if bits == 8 and z is not None and z.dtype == F:
                continue  # ONNX Runtime has no such kernel
            y = [normal(2, 1, k), codes(U, n, nb, block * bits // 8), (normal(n, nb) * 0.1).astype(F), z]
            c.call("MatMulNBits", y[: 3 if z is None else 4], domain=MS, consts=(1, 2, 3), K=k, N=n, bits=bits, block_size=block)
    c.call("MatMulNBits", [normal(2, 32), codes(U, 5, 2, 16 * bits // 8), scale(5, 2), None, None, normal(5)], domain=MS, consts=(1, 2, 5), K=32, N=5, bits=bits, block_size=16)
    y = [codes(U, 5, 64 * bits // 8), np.array([[0, 3], [2, -1]]), scale(5, 4), codes(U, 5, -(-4 * bits // 8))]
    for m in (3, 4):
        c.call("GatherBlockQuantized", y[:m], domain=MS, consts=(0, 2, 3), bits=bits, block_size=16, quantize_axis=1, gather_axis=0)
for kind in (0, 1):
    for k, n, block in ((64, 4, 16), (32, 7, 32)):
        c.call("MatMulBnb4", [normal(2, k), codes(U, n * k // 2), np.abs(normal(n * k // block))], domain=MS, consts=(1, 2), K=k, N=n, block_size=block, quant_type=kind)
for t in (ml_dtypes.int4, ml_dtypes.uint4):
    for ga, qa in ((0, 1), (1, 0), (2, 1)):
        s = [3, 3, 3]
        s[qa] = 18
        z = list(s)
        z[qa] = 2
        c.call("GatherBlockQuantized", [codes(t, *s), np.array([[1, 2]]), scale(*z), codes(t, *z)][: 3 + ga % 2], domain=MS, consts=(2,), block_size=16, quantize_axis=qa, gather_axis=ga)
x = normal(2, 3, 8)
c.call("SkipLayerNormalization", [x, normal(2, 3, 8), normal(8), normal(8), normal(8)], (1, 0, 0, 1), domain=MS, epsilon=1e-5)
c.call("SkipLayerNormalization", [x, normal(3, 8), normal(8)], domain=MS, epsilon=1e-5)
c.call("SkipSimplifiedLayerNormalization", [x, normal(2, 3, 8), normal(8), normal(8)], (1, 0, 0, 1), domain=MS, epsilon=1e-5)
for op, y in (("Gelu", [x * 3]), ("FastGelu", [x * 3, normal(8)]), ("FastGelu", [x * 3]), ("BiasGelu", [x * 3, normal(8)]), ("QuickGelu", [x * 3])):
    c.call(op, y, domain=MS, tol=2e-6)
ids, seg, mask = (rng.integers(0, n, (2, 6)).astype(np.int32) for n in (20, 2, 2))
tables = [normal(20, 8), normal(8, 8), normal(2, 8), normal(8), normal(8)]
c.call("EmbedLayerNormalization", [ids, seg] + tables + [mask], (1, 1, 1), domain=MS, epsilon=1e-5)
c.call("EmbedLayerNormalization", [ids, None, tables[0], tables[1], None, tables[3], tables[4]], (1, 1), domain=MS, epsilon=1e-5)
for tra, trb, ba, bb, sa, sb in [(0, 0, 0, 0, (2, 3, 4), (2, 4, 5)), (1, 0, 0, 0, (2, 4, 3), (2, 4, 5)), (0, 1, 0, 0, (2, 3, 4), (2, 5, 4)), (1, 1, 0, 0, (4, 3), (5, 4)),
                                 (0, 0, 1, 0, (3, 2, 4), (2, 4, 5)), (1, 0, 1, 0, (4, 2, 3), (2, 4, 5)), (0, 1, 1, 1, (3, 2, 4), (5, 2, 4)), (0, 0, 1, 1, (3, 2, 2, 4), (4, 2, 2, 5))]:
    c.call("FusedMatMul", [normal(*sa), normal(*sb)], domain=MS, transA=tra, transB=trb, transBatchA=ba, transBatchB=bb, alpha=0.5)
for t in (I, U):
    for d in ("forward", "reverse", "bidirectional"):
        for per in (0, 1):
            n, h, i, b = (2 if d == "bidirectional" else 1), 4, 3, 3
            s = (n, 4 * h) if per else (n,)
            z = np.full(s, 0 if t == I else 128, t)
            w = lambda: rng.uniform(0.002, 0.006, s).astype(F)
            c.call("DynamicQuantizeLSTM", [normal(4, b, i), codes(t, n, i, 4 * h), codes(t, n, h, 4 * h), normal(n, 8 * h) * F(0.1), np.array([4, 2, 3], np.int32),
                                           normal(n, b, h) * F(0.3), normal(n, b, h) * F(0.3), None, w(), z, w(), z], (1, 1, 1), domain=MS,
                   consts=(1, 2, 3, 8, 9, 10, 11), hidden_size=h, direction=d)
c.write()
