"""Writes the golden files of elementwise operators, activations, reductions, casts and signal operators: what numpy, ml_dtypes
or ONNX Runtime compute. Needs what golden.py needs.

    python golden_elementwise.py
"""
import json
import os
import ml_dtypes
import numpy as np
from golden import Cases, attr, number, HERE

R = np.random.default_rng(5)
INTS = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]
FLOATS = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]


def packed(a):
    a = np.asarray(a)

    def exact(v):  # all digits of float64, the sign of zero
        keep = v == 0 and np.signbit(float(v)) or a.dtype == np.float64
        return float(v) if keep and np.isfinite(v) else number(v)

    return {"DType": str(a.dtype), "Shape": list(a.shape), "Values": [exact(v) for v in a.reshape(-1)]}


def put(c, name, op, inputs, outputs, tol=0, **attrs):
    c.cases.append({"Name": name, "Op": op, "Attrs": {k: attr(v) for k, v in attrs.items()},
                    "In": [None if a is None else packed(a) for a in inputs], "Out": [packed(a) for a in outputs], "Tol": tol})


def values(dt, *shape, lo=-20, hi=20):
    if dt in FLOATS:
        return (R.standard_normal(shape) * 3).astype(dt)
    if dt in (np.uint8, np.uint16, np.uint32, np.uint64):
        lo = 0
    return R.integers(lo, hi, shape).astype(dt)


SHAPES = [((2, 3), (2, 3)), ((2, 1, 3), (4, 1)), ((), (3,)), ((3,), ()), ((1, 2), (3, 1)), ((2, 3, 2), (3, 1)), ((0, 2), (1, 2)),
          ((2, 3), (1,)), ((1, 1), (1,)), ((2, 1, 2, 1), (1, 3, 1, 2))]


def f32(x):
    return np.asarray(x).astype(np.float32)


def elementwise():
    c = Cases("elementwise.json")
    binary = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Max": np.maximum, "Min": np.minimum}
    with np.errstate(all="ignore"):
        for n, dt in enumerate(FLOATS + INTS):
            for op, f in binary.items():
                a, b = SHAPES[n % len(SHAPES)], None
                a, b = values(dt, *a[0]), values(dt, *a[1])
                put(c, "%s_%s" % (op, np.dtype(dt)), op, [a, b], [f(a, b)])
        for i, (s, t) in enumerate(SHAPES):
            a, b = values(np.float32, *s), values(np.float32, *t)
            put(c, "Sub_shapes_%d" % i, "Sub", [a, b], [a - b])
            put(c, "Div_shapes_%d" % i, "Div", [a, b], [a / b], tol=1e-6)
            put(c, "Less_shapes_%d" % i, "Less", [a, b], [a < b])
            cond = R.integers(0, 2, t).astype(bool)
            put(c, "Where_shapes_%d" % i, "Where", [cond, a, b], [np.where(cond, a, b)])
        a = np.array([-128, 127, 100, -7, 7, -7], np.int8)
        b = np.array([-1, 2, 3, 2, -2, -2], np.int8)
        put(c, "Add_wraps", "Add", [a, b], [a + b])
        put(c, "Mul_wraps", "Mul", [a, b], [a * b])
        put(c, "Div_int_cut", "Div", [a[1:], b[1:]], [np.trunc(a[1:].astype(float) / b[1:]).astype(np.int8)])
        put(c, "Div_int_cut_scalar", "Div", [a, np.int8(2)], [np.trunc(a / 2.0).astype(np.int8)])
        for dt in (np.int8, np.int32, np.int64, np.uint8, np.uint64):
            a, b = values(dt, 3, 4), values(dt, 4) 
            b = np.where(b == 0, dt(3), b).astype(dt)
            put(c, "Mod_%s" % np.dtype(dt), "Mod", [a, b], [np.mod(a, b)])
            put(c, "Fmod_%s" % np.dtype(dt), "Mod", [a, b], [np.fmod(a, b)], fmod=1)
        a = np.array([5.5, -5.5, 5.5, -5.5, 0, -0.0, np.inf, np.nan, 3, -3], np.float32)
        b = np.array([2, 2, -2, -2, 2, -3, 2, 2, np.inf, np.inf], np.float32)
        put(c, "Mod_float", "Mod", [a, b], [np.mod(a, b)], tol=1e-6)
        put(c, "Fmod_float", "Mod", [a, b], [np.fmod(a, b)], tol=1e-6, fmod=1)
        for x, y in ((np.float32, np.float32), (np.float32, np.int64), (np.float64, np.int32), (np.float16, np.float32), (np.float32, np.uint8)):
            a, b = np.abs(values(x, 2, 3)) + x(0.1), values(y, 3, hi=5, lo=-3)
            put(c, "Pow_%s_%s" % (np.dtype(x), np.dtype(y)), "Pow", [a, b], [np.power(a.astype(float), b.astype(float)).astype(x)], tol=1e-3 if x == np.float16 else 1e-6)
        a = np.array([-3, 0, 2, 7, 46341], np.int32)
        put(c, "Pow_int_wraps", "Pow", [a, np.int32(2)], [a * a])
        put(c, "Pow_int_3", "Pow", [a, np.int64(3)], [a * a * a])
        put(c, "Pow_int_float", "Pow", [np.abs(a), np.float32(0.5)], [np.sqrt(np.abs(a)).astype(np.int32)])
        x = np.array([-2.5, -1, -0.0, 0, 0.3, 1, 2, 4e19, np.inf, -np.inf, np.nan], np.float32)
        for e in (2, 3, 0.5, 1, 0, -1, -0.5, 2.5):
            y = x[~np.isneginf(x)] if e == 0.5 else x  # numpy takes the square root there, which is not what pow of IEEE 754 says
            put(c, "Pow_scalar_%g" % e, "Pow", [y, np.float32(e)], [f32(np.power(y.astype(float), e))], tol=1e-6)
        nan = np.array([np.nan, 1, -np.inf, 3, np.nan], np.float32)
        put(c, "Max_nan", "Max", [nan, nan[::-1].copy()], [np.maximum(nan, nan[::-1])])
        for op, f in (("Max", np.maximum), ("Min", np.minimum), ("Sum", np.add)):
            for dt in (np.float32, np.float16, np.float64):
                a = [values(dt, 2, 3), values(dt, 1, 3), values(dt, 2, 1), values(dt)]
                wide = [v.astype(np.float64) for v in a]
                put(c, "%s_4_%s" % (op, np.dtype(dt)), op, a, [f(f(f(*wide[:2]), wide[2]), wide[3]).astype(dt)], tol=1e-3 if dt == np.float16 else 1e-6)
        a = [values(np.float32, 2, 3) for _ in range(3)]
        put(c, "Mean_3", "Mean", a, [(a[0] + a[1] + a[2]) / np.float32(3)], tol=1e-6)
        for dt in INTS:
            a, b = values(dt, 4, 1, lo=-90, hi=90), values(dt, 3)
            put(c, "BitwiseAnd_%s" % np.dtype(dt), "BitwiseAnd", [a, b], [a & b])
            put(c, "BitwiseOr_%s" % np.dtype(dt), "BitwiseOr", [a, b], [a | b])
            put(c, "BitwiseXor_%s" % np.dtype(dt), "BitwiseXor", [a, b], [a ^ b])
            put(c, "BitwiseNot_%s" % np.dtype(dt), "BitwiseNot", [a], [~a])
            put(c, "Equal_%s" % np.dtype(dt), "Equal", [a, a.reshape(-1)[:1]], [a == a.reshape(-1)[:1]])
        u = np.array([1, 200, 255, 3], np.uint8)
        put(c, "BitShift_left", "BitShift", [u, np.array([1, 1, 8, 9], np.uint8)], [np.array([2, 144, 0, 0], np.uint8)], direction="LEFT")
        put(c, "BitShift_right", "BitShift", [u, np.array([1, 3, 7, 9], np.uint8)], [np.array([0, 25, 1, 0], np.uint8)], direction="RIGHT")
        put(c, "BitShift_signed", "BitShift", [np.array([-8, -8, 8, -8], np.int8), np.array([1, 9, 9, -1], np.int8)], [np.array([-4, -1, 0, -1], np.int8)], direction="RIGHT")
        for op, f in (("And", np.logical_and), ("Or", np.logical_or), ("Xor", np.logical_xor)):
            a, b = R.integers(0, 2, (3, 4)).astype(bool), R.integers(0, 2, (3, 1)).astype(bool)
            put(c, op, op, [a, b], [f(a, b)])
        for dt in FLOATS:
            a = np.array([np.nan, 1, 2, -1, np.inf], dt)
            b = np.array([np.nan, 1, 1, 1, np.inf], dt)
            for op, f in (("Equal", np.equal), ("Less", np.less), ("LessOrEqual", np.less_equal), ("Greater", np.greater), ("GreaterOrEqual", np.greater_equal)):
                put(c, "%s_%s" % (op, np.dtype(dt)), op, [a, b], [f(f32(a), f32(b)) if dt != np.float64 else f(a, b)])
        special = np.array([-np.inf, -5.5, -2.5, -1.5, -0.5, -0.0, 0, 0.3, 0.5, 1, 1.5, 2.5, np.inf, np.nan], np.float64)
        for dt in FLOATS:
            x = special.astype(dt)
            w = x.astype(np.float64)
            for op, f in (("Abs", np.abs), ("Neg", np.negative), ("Ceil", np.ceil), ("Floor", np.floor), ("Round", np.rint), ("Sqrt", np.sqrt), ("Exp", np.exp),
                          ("Log", np.log), ("Sin", np.sin), ("Cos", np.cos), ("Tan", np.tan), ("Asin", np.arcsin), ("Acos", np.arccos), ("Atan", np.arctan),
                          ("Sinh", np.sinh), ("Cosh", np.cosh), ("Tanh", np.tanh), ("Asinh", np.arcsinh), ("Acosh", np.arccosh), ("Atanh", np.arctanh), ("Sign", np.sign),
                          ("Reciprocal", np.reciprocal), ("IsNaN", np.isnan), ("IsInf", np.isinf)):
                out = f(w)
                tol = {"float32": 4e-7, "float64": 1e-14, "float16": 1e-3, "bfloat16": 8e-3}[str(x.dtype)]
                put(c, "%s_%s" % (op, x.dtype), op, [x], [out if out.dtype == bool else out.astype(dt)], tol=tol)
        x = special.astype(np.float32)
        put(c, "IsInf_positive", "IsInf", [x], [np.isposinf(x)], detect_negative=0)
        put(c, "IsInf_negative", "IsInf", [x], [np.isneginf(x)], detect_positive=0)
        for dt in INTS:
            a = values(dt, 5)
            put(c, "Abs_%s" % np.dtype(dt), "Abs", [a], [np.abs(a)])
            put(c, "Sign_%s" % np.dtype(dt), "Sign", [a], [np.sign(a)])
            put(c, "Clip_%s" % np.dtype(dt), "Clip", [a, dt(2), dt(9)], [np.clip(a, dt(2), dt(9))])
            put(c, "Clip_max_%s" % np.dtype(dt), "Clip", [a, None, dt(9)], [np.minimum(a, dt(9))])
        for dt in FLOATS:
            x = special.astype(dt)
            put(c, "Clip_%s" % x.dtype, "Clip", [x, dt(-1), dt(1.5)], [np.clip(x.astype(float), -1, 1.5).astype(dt)])
            put(c, "Clip_min_%s" % x.dtype, "Clip", [x, dt(-1)], [np.maximum(x.astype(float), -1).astype(dt)])
            put(c, "Clip_crossed_%s" % x.dtype, "Clip", [x[:4], dt(3), dt(1)], [np.full(4, 1, dt)])
        for dt in (np.float32, np.float64, np.float16, np.int32, np.uint64):
            x = values(dt, 2, 3, 2, hi=4, lo=-4)
            for axis in range(3):
                w = x.astype(np.float64)
                tol = 0 if dt in INTS else 1e-3 if dt == np.float16 else 1e-6
                put(c, "CumSum_%s_%d" % (x.dtype, axis), "CumSum", [x, np.int64(axis)], [np.cumsum(w, axis).astype(dt)], tol=tol)
                put(c, "CumProd_%s_%d" % (x.dtype, axis), "CumProd", [x, np.int64(axis)], [np.cumprod(w, axis).astype(dt)], tol=tol)
                put(c, "CumSum_rev_%s_%d" % (x.dtype, axis), "CumSum", [x, np.int32(axis - 3)], [np.flip(np.cumsum(np.flip(w, axis), axis), axis).astype(dt)], tol=tol, reverse=1)
                put(c, "CumSum_excl_%s_%d" % (x.dtype, axis), "CumSum", [x, np.int64(axis)], [(np.cumsum(w, axis) - w).astype(dt)], tol=tol, exclusive=1)
    c.write()


def activation():
    c = Cases("activation.json")
    x = np.concatenate([np.linspace(-9, 9, 37), [-0.0, 88, -88, 1e-3]]).astype(np.float32).reshape(-1, 1)
    for op, kw in (("Relu", {}), ("LeakyRelu", dict(alpha=0.2)), ("LeakyRelu", {}), ("Elu", dict(alpha=0.7)), ("Elu", {}), ("Selu", {}), ("Celu", dict(alpha=1.7)),
                   ("ThresholdedRelu", dict(alpha=0.6)), ("ThresholdedRelu", {}), ("HardSigmoid", dict(alpha=0.3, beta=0.4)), ("HardSigmoid", {}), ("HardSwish", {}), ("Sigmoid", {}), ("Softplus", {}),
                   ("Softsign", {}), ("Gelu", {}), ("Gelu", dict(approximate="tanh")), ("Mish", {}), ("Shrink", dict(bias=0.4, lambd=0.7)), ("Shrink", {}), ("Erf", {})):
        c.add("%s_%s" % (op, "_".join(kw) or "default"), op, [x], 1, tol=1e-6, opset=22, **kw)
    w = x.astype(np.float64)
    sig = lambda a: 1 / (1 + np.exp(-a * w))
    put(c, "Swish", "Swish", [x], [f32(w * sig(1))], tol=1e-6)
    put(c, "Swish_alpha", "Swish", [x], [f32(w * sig(1.5))], tol=1e-6, alpha=1.5)
    h = x[:37].astype(np.float16)
    put(c, "Sigmoid_float16", "Sigmoid", [h], [(1 / (1 + np.exp(-h.astype(float)))).astype(np.float16)], tol=1e-3)
    put(c, "Mish_float64", "Mish", [w], [w * np.tanh(np.logaddexp(0, w))], tol=1e-12)
    i = np.arange(-6, 6, dtype=np.int8)
    put(c, "Relu_int8", "Relu", [i], [np.maximum(i, 0)])
    put(c, "Shrink_int8", "Shrink", [i], [np.where(i < -2, i + 1, np.where(i > 2, i - 1, 0)).astype(np.int8)], lambd=2.0, bias=1.0)
    y = values(np.float32, 2, 3, 4)
    for s in ((3, 1), (4,), (1,), (), (2, 3, 4)):
        slope = values(np.float32, *s)
        put(c, "PRelu_%s" % "x".join(map(str, s)), "PRelu", [y, slope], [np.where(y < 0, slope * y, y)], tol=1e-6)
    for axis in (0, 1, 2, -1):
        for op in "Softmax", "LogSoftmax", "Hardmax":
            c.add("%s_%d" % (op, axis), op, [y * 9], 1, tol=1e-6, opset=13, axis=axis)
    big = np.array([[1e4, 1e4 - 1, -1e4], [3, -np.inf, 2]], np.float32)
    for op in "Softmax", "LogSoftmax":
        c.add(op + "_large", op, [big], 1, tol=1e-6, opset=13)
        d = y.astype(np.float64)
        e = np.exp(d - d.max(1, keepdims=True))
        p = e / e.sum(1, keepdims=True)
        put(c, op + "_float64", op, [d], [p if op == "Softmax" else np.log(p)], tol=1e-13, axis=1)
        hd = d.astype(np.float16).astype(float)
        e = np.exp(hd - hd.max(1, keepdims=True))
        p = e / e.sum(1, keepdims=True)
        put(c, op + "_float16", op, [d.astype(np.float16)], [(p if op == "Softmax" else np.log(p)).astype(np.float16)], tol=1e-3, axis=1)
    same = np.array([[1, 3, 3], [2, 2, 0]], np.float32)
    put(c, "Hardmax_first", "Hardmax", [same], [np.array([[0, 1, 0], [1, 0, 0]], np.float32)])
    c.write()


def reduction():
    c = Cases("reduce.json")
    with np.errstate(all="ignore"):
        funcs = {
            "ReduceSum": np.sum, "ReduceMean": np.mean, "ReduceProd": np.prod, "ReduceMax": np.max, "ReduceMin": np.min,
            "ReduceL1": lambda x, **k: np.sum(np.abs(x), **k), "ReduceL2": lambda x, **k: np.sqrt(np.sum(x * x, **k)),
            "ReduceSumSquare": lambda x, **k: np.sum(x * x, **k), "ReduceLogSum": lambda x, **k: np.log(np.sum(x, **k)),
            "ReduceLogSumExp": lambda x, **k: np.log(np.sum(np.exp(x), **k)),
        }
        for op, f in funcs.items():
            for n, axes in enumerate([(0,), (1,), (2,), (3,), (0, 2), (1, 3), (0, 1), (2, 3), (-1, 0), (0, 1, 2, 3), (1, 2)]):
                x = np.abs(values(np.float32, 2, 3, 1 + n % 2 * 3, 2)) + np.float32(0.1)
                keep = n % 2
                put(c, "%s_%d" % (op, n), op, [x, np.array(axes)], [np.asarray(f(x.astype(float), axis=axes, keepdims=bool(keep))).astype(np.float32)], tol=1e-6, keepdims=keep)
            x = np.abs(values(np.float32, 3, 2)) + np.float32(0.1)
            w = x.astype(float)
            put(c, op + "_all", op, [x], [f32(f(w)).reshape(1, 1)], tol=1e-6)
            put(c, op + "_noop", op, [x, np.zeros(0, np.int64)], [f32(f(w[None], axis=0))], tol=1e-6, noop_with_empty_axes=1)
            put(c, op + "_scalar", op, [x[0, 0]], [f32(f(w[:1, :1])).reshape(())], tol=1e-6, keepdims=0)
            for dt, tol in (np.float64, 1e-12), (np.float16, 1e-3):
                v = x.astype(dt)
                put(c, "%s_%s" % (op, v.dtype), op, [v, np.array([0])], [f(v.astype(float), axis=0, keepdims=True).astype(dt)], tol=tol)
        for dt in (np.int32, np.int64, np.uint32, np.int8):
            x = values(dt, 3, 4, lo=-9, hi=9)
            w = x.astype(np.int64)
            for op in "ReduceSum", "ReduceProd", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceSumSquare":
                put(c, "%s_%s" % (op, x.dtype), op, [x, np.array([1])], [funcs[op](w, axis=1, keepdims=True).astype(dt)])
            put(c, "ReduceMean_%s" % x.dtype, "ReduceMean", [x, np.array([0])], [np.trunc(w.mean(0, keepdims=True)).astype(dt)])
        b = np.array([[True, False], [True, True], [False, False]])
        put(c, "ReduceMax_bool", "ReduceMax", [b, np.array([1])], [b.max(1, keepdims=True)])
        put(c, "ReduceMin_bool", "ReduceMin", [b, np.array([1])], [b.min(1, keepdims=True)])
        nan = np.array([[1, np.nan], [2, 3], [-np.inf, np.inf]], np.float32)
        for op in "ReduceMax", "ReduceMin", "ReduceSum", "ReduceLogSumExp":
            out = funcs[op](nan.astype(float), axis=1, keepdims=True)
            put(c, op + "_nan", op, [nan, np.array([1])], [f32(out)], tol=1e-6)
        big = np.array([[1000, 1001], [-1000, -1002], [-np.inf, -np.inf]], np.float32)
        put(c, "ReduceLogSumExp_large", "ReduceLogSumExp", [big, np.array([1])], [f32(np.logaddexp(big[:, :1].astype(float), big[:, 1:]))], tol=1e-6)
        none = np.zeros((2, 0, 3), np.float32)
        for op, v in (("ReduceSum", 0), ("ReduceProd", 1), ("ReduceMax", -np.inf), ("ReduceMin", np.inf), ("ReduceL2", 0), ("ReduceLogSumExp", -np.inf), ("ReduceMean", np.nan)):
            put(c, op + "_empty", op, [none, np.array([1])], [np.full((2, 1, 3), v, np.float32)])
        put(c, "ReduceMax_empty_int32", "ReduceMax", [none.astype(np.int32), np.array([1])], [np.full((2, 1, 3), -2**31, np.int32)])
        put(c, "ReduceSum_empty_kept", "ReduceSum", [none, np.array([0])], [np.zeros((1, 0, 3), np.float32)])
        long = values(np.float32, 5000)
        put(c, "ReduceSum_long", "ReduceSum", [long], [f32([long.astype(float).sum()])], tol=1e-5)
        for op, f in (("ArgMax", np.argmax), ("ArgMin", np.argmin)):
            for dt in (np.float32, np.float64, np.float16, np.int8, np.uint8, np.int64):
                x = R.integers(0, 4, (3, 4, 2)).astype(dt)
                for axis in (0, 1, -1):
                    put(c, "%s_%s_%d" % (op, x.dtype, axis), op, [x], [np.expand_dims(f(x, axis), axis)], axis=axis)
                    last = x.shape[axis] - 1 - f(np.flip(x, axis), axis)
                    put(c, "%s_last_%s_%d" % (op, x.dtype, axis), op, [x], [last], axis=axis, keepdims=0, select_last_index=1)
            put(c, op + "_nan", op, [nan], [f(nan, 1)], axis=1, keepdims=0)
    c.write()


def signal():
    c = Cases("signal.json")
    cat = lambda z: np.stack((z.real, z.imag), -1)
    for n in (1, 2, 3, 5, 8, 12, 17, 31, 64):
        z = R.standard_normal((2, n, 3)) + 1j * R.standard_normal((2, n, 3))
        put(c, "DFT_%d" % n, "DFT", [cat(z), None, np.int64(1)], [cat(np.fft.fft(z, axis=1))], tol=1e-8)
        put(c, "IDFT_%d" % n, "DFT", [cat(z), None, np.int64(-3)], [cat(np.fft.ifft(z, axis=1))], tol=1e-8, inverse=1)
        r = z.real
        put(c, "RFFT_%d" % n, "DFT", [r[..., None], None, np.int64(1)], [cat(np.fft.rfft(r, axis=1))], tol=1e-8, onesided=1)
        s = np.fft.rfft(r, axis=1)
        put(c, "IRFFT_%d" % n, "DFT", [cat(s), np.int64(n), np.int64(1)], [np.fft.irfft(s, n, axis=1)[..., None]], tol=1e-8, onesided=1, inverse=1)
    z = R.standard_normal((2, 6)) + 1j * R.standard_normal((2, 6))
    for n in (4, 9):
        put(c, "DFT_length_%d" % n, "DFT", [cat(z), np.int64(n)], [cat(np.fft.fft(z, n))], tol=1e-8)
    put(c, "IRFFT_default_length", "DFT", [cat(z)], [np.fft.irfft(z)[..., None]], tol=1e-8, onesided=1, inverse=1)
    x = f32(R.standard_normal((2, 30)))
    w = f32(np.hanning(8))
    frames = np.stack([x[:, i:i + 8] for i in range(0, 23, 3)], 1).astype(float)
    put(c, "STFT_window", "STFT", [x[..., None], np.int64(3), w], [f32(cat(np.fft.rfft(frames * w.astype(float))))], tol=1e-6)
    put(c, "STFT_both_sides", "STFT", [x[..., None], np.int64(3), None, np.int64(8)], [f32(cat(np.fft.fft(frames)))], tol=1e-6, onesided=0)
    for n in (3, 9, 10):
        i = np.arange(n)
        for op, f in (("HannWindow", lambda p: 0.5 - 0.5 * np.cos(p)), ("HammingWindow", lambda p: 25 / 46 - 21 / 46 * np.cos(p)),
                      ("BlackmanWindow", lambda p: 0.42 - 0.5 * np.cos(p) + 0.08 * np.cos(2 * p))):
            for periodic in 0, 1:
                put(c, "%s_%d_%d" % (op, n, periodic), op, [np.int64(n)], [f32(f(2 * np.pi * i / (n if periodic else n - 1)))], tol=1e-6, periodic=periodic)
    c.write()


def casts():
    """Casts of values around every rounding and range limit; results as the bytes of the target type, one code per byte or word."""
    f = [0.0, -0.0, 1, -1, 0.5, 1.5, 2.5, -2.5, 0.0625, 0.1, 3.9, -3.9, 448, 464, 465, 480, 57344, 61439, 61440, 65519, 65520, 1e-8, -1e-8, 2**-9, 2**-10, 3 * 2**-11, 2**-17,
         3 * 2**-18, 240, 248, 247.9, 6, 5, 7, 0.25, 0.75, 1.75, 1e30, -1e30, 3.4e38, float("inf"), float("-inf"), float("nan"), 1e-45, 2**-127, 2**-126, 1.1754942e-38]
    x = np.array(f, np.float32)
    out = []
    with np.errstate(all="ignore"):
        for name, dt in (("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16), ("float8e4m3fn", ml_dtypes.float8_e4m3fn), ("float8e4m3fnuz", ml_dtypes.float8_e4m3fnuz),
                         ("float8e5m2", ml_dtypes.float8_e5m2), ("float8e5m2fnuz", ml_dtypes.float8_e5m2fnuz)):
            width = np.uint16 if np.dtype(dt).itemsize == 2 else np.uint8
            y = x.astype(dt)
            out.append({"To": name, "Saturate": False, "In": [float(v).hex() if np.isfinite(v) else number(v) for v in x], "Codes": [int(v) for v in y.view(width)]})
    with open(os.path.join(HERE, "cast.json"), "w") as fh:
        json.dump(out, fh, separators=(",", ":"))
        fh.write("\n")


if __name__ == "__main__":
    elementwise()
    activation()
    reduction()
    signal()
    casts()
