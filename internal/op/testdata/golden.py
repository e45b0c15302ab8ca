"""Writes the golden files of this folder: calls of single operators with what ONNX Runtime or the ONNX reference
evaluator computes for them. Needs onnx 1.23, onnxruntime 1.32, numpy, ml_dtypes.

    python golden.py [recurrent attention contrib image]
"""
import json, os, sys
import numpy as np
import onnx
from onnx import helper, TensorProto
from onnx.reference import ReferenceEvaluator

HERE = os.path.dirname(os.path.abspath(__file__))


def attr(v):
    if isinstance(v, bool) or isinstance(v, (int, np.integer)):
        return {"I": int(v)}
    if isinstance(v, (float, np.floating)):
        return {"F": float(v)}
    if isinstance(v, str):
        return {"S": v}
    if len(v) and isinstance(v[0], str):
        return {"Strings": list(v)}
    if len(v) and isinstance(v[0], float):
        return {"Floats": list(v)}
    return {"Ints": list(v)}


def number(v):
    v = float(v)
    if np.isnan(v):
        return "nan"
    if np.isinf(v):
        return "inf" if v > 0 else "-inf"
    return int(v) if v == int(v) and abs(v) < 2**53 else float("%.9g" % v)


def pack(a):
    if a is None:
        return None
    return {"DType": str(a.dtype), "Shape": list(a.shape), "Values": [number(v) for v in a.reshape(-1)]}


class Cases:
    def __init__(self, file):
        self.file, self.cases = file, []

    def add(self, name, op, inputs, outputs, tol=2e-6, domain="", opset=23, ref=False, **attrs):
        """Runs op on inputs (None: omitted); outputs is how many, or a list of whether each is wanted."""
        wanted = [True] * outputs if isinstance(outputs, int) else outputs
        names = ["" if a is None else "i%d" % i for i, a in enumerate(inputs)]
        onames = ["o%d" % i if w else "" for i, w in enumerate(wanted)]
        node = helper.make_node(op, names, onames, domain=domain, **attrs)
        vi = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), list(a.shape))
              for n, a in zip(names, inputs) if a is not None]
        first = next(a for a in inputs if a is not None)
        vo = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(first.dtype), None) for n in onames if n]
        ops = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
        m = helper.make_model(helper.make_graph([node], "g", vi, vo), opset_imports=ops, ir_version=10)
        feeds = {n: a for n, a in zip(names, inputs) if a is not None}
        if ref:
            got = ReferenceEvaluator(m).run(None, feeds)
        else:
            import onnxruntime as ort
            ort.set_default_logger_severity(3)
            got = ort.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feeds)
        got = iter(got)
        outs = [next(got) if w else None for w in wanted]
        kind = (domain + "." if domain else "") + op
        self.cases.append({"Name": name, "Op": kind, "Attrs": {k: attr(v) for k, v in attrs.items()},
                           "In": [pack(a) for a in inputs], "Out": [pack(a) for a in outs], "Tol": tol})

    def write(self):
        with open(os.path.join(HERE, self.file), "w") as f:
            f.write("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in self.cases) + "\n]\n")
        print(self.file, len(self.cases), "cases")


def recurrent():
    c = Cases("recurrent.json")
    r = np.random.default_rng(1)
    f = lambda *s, dt=np.float32: (r.standard_normal(s) * 0.6).astype(dt)
    for op, g in ("RNN", 1), ("GRU", 3), ("LSTM", 4):
        for d in "forward", "reverse", "bidirectional":
            n = 2 if d == "bidirectional" else 1
            T, B, I, H = 4, 3, 2, 3
            outs = 3 if op == "LSTM" else 2
            for full in False, True:
                ins = [f(T, B, I), f(n, g * H, I), f(n, g * H, H)]
                kw = dict(direction=d, hidden_size=H)
                if full:
                    ins += [f(n, 2 * g * H), np.array([2, 4, 1], np.int32), f(n, B, H)]
                    if op == "LSTM":
                        ins += [f(n, B, H), f(n, 3 * H)]
                    kw["clip"] = 0.3
                if op == "GRU":
                    kw["linear_before_reset"] = int(full)
                c.add("%s_%s_%s" % (op, d, "full" if full else "plain"), op, ins, outs, tol=5e-6, opset=14, **kw)
    T, B, I, H = 3, 2, 2, 2
    c.add("GRU_linear_before_reset_no_bias", "GRU", [f(T, B, I), f(1, 6, I), f(1, 6, H)], 2, tol=5e-6, opset=14, hidden_size=H, linear_before_reset=1)
    c.add("GRU_bias", "GRU", [f(T, B, I), f(1, 6, I), f(1, 6, H), f(1, 12)], 2, tol=5e-6, opset=14, hidden_size=H)
    c.add("LSTM_input_forget", "LSTM", [f(T, B, I), f(1, 8, I), f(1, 8, H), f(1, 16)], 3, tol=5e-6, opset=14, hidden_size=H, input_forget=1)
    c.add("LSTM_clip_peephole", "LSTM", [f(T, B, I) * 3, f(1, 8, I), f(1, 8, H), f(1, 16), None, f(1, B, H) * 3, f(1, B, H) * 3, f(1, 6)], 3, tol=5e-6, opset=14, hidden_size=H, clip=0.5)
    c.add("LSTM_layout1", "LSTM", [f(B, T, I), f(2, 8, I), f(2, 8, H), f(2, 16), None, f(B, 2, H), f(B, 2, H)], 3, tol=5e-6, opset=14, ref=True, hidden_size=H, layout=1, direction="bidirectional")
    c.add("GRU_layout1", "GRU", [f(B, T, I), f(2, 6, I), f(2, 6, H), f(2, 12), None, f(B, 2, H)], 2, tol=5e-6, opset=14, ref=True, hidden_size=H, layout=1, direction="bidirectional")
    c.add("RNN_layout1", "RNN", [f(B, T, I), f(1, 2, I), f(1, 2, H)], 2, tol=5e-6, opset=14, ref=True, hidden_size=H, layout=1)
    c.add("LSTM_float64", "LSTM", [f(T, B, I, dt=np.float64), f(1, 8, I, dt=np.float64), f(1, 8, H, dt=np.float64), f(1, 16, dt=np.float64)], 3, tol=1e-8, opset=14, ref=True, hidden_size=H)
    c.add("GRU_float64", "GRU", [f(T, B, I, dt=np.float64), f(1, 6, I, dt=np.float64), f(1, 6, H, dt=np.float64), f(1, 12, dt=np.float64)], 2, tol=1e-8, opset=14, ref=True, hidden_size=H)
    c.add("LSTM_float16", "LSTM", [f(T, B, I, dt=np.float16), f(1, 8, I, dt=np.float16), f(1, 8, H, dt=np.float16), f(1, 16, dt=np.float16)], 3, tol=4e-3, opset=14, ref=True, hidden_size=H)
    for name, kw in (("Relu", {}), ("LeakyRelu", dict(activation_alpha=[0.2])), ("Affine", dict(activation_alpha=[0.7], activation_beta=[0.1])),
                     ("ThresholdedRelu", dict(activation_alpha=[0.3])), ("ScaledTanh", dict(activation_alpha=[0.9], activation_beta=[0.5])),
                     ("HardSigmoid", dict(activation_alpha=[0.3], activation_beta=[0.4])), ("Elu", dict(activation_alpha=[0.8])),
                     ("Softsign", {}), ("Softplus", {}), ("Sigmoid", {})):
        c.add("RNN_" + name, "RNN", [f(T, B, I), f(1, H, I), f(1, H, H), f(1, 2 * H)], 2, tol=5e-6, opset=14, hidden_size=H, activations=[name], **kw)
    c.add("LSTM_alpha_order", "LSTM", [f(T, B, I), f(1, 8, I), f(1, 8, H), f(1, 16)], 3, tol=5e-6, opset=14, hidden_size=H,
          activations=["HardSigmoid", "LeakyRelu", "ScaledTanh"], activation_alpha=[0.3, 0.2, 0.9], activation_beta=[0.4, 0.6])
    c.write()


ALL = {k: v for k, v in globals().items() if k in ("recurrent", "attention", "contrib", "image")}
if __name__ == "__main__":
    for k in sys.argv[1:] or ALL:
        ALL[k]()
