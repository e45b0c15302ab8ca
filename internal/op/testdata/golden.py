"""Writes the golden files of this folder: calls of single operators with what ONNX Runtime or the ONNX reference
evaluator computes for them. Needs onnx 1.23, onnxruntime 1.32, numpy, ml_dtypes.

    python golden.py [recurrent] [attention] [contrib] [image]
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


def attention():
    c = Cases("attention.json")
    r = np.random.default_rng(2)
    f = lambda *s, dt=np.float32: r.standard_normal(s).astype(dt)
    B, H, S, T, D = 2, 4, 3, 5, 4
    q, k, v = f(B, H, S, D), f(B, 2, T, D), f(B, 2, T, 6)
    pk, pv = f(B, 2, 3, D), f(B, 2, 3, 6)
    # Attention-25 (ONNX reference): windows and fully masked rows.
    a = dict(opset=25, ref=True, tol=3e-6)
    c.add("window", "Attention", [q, k, v], 1, left_window_size=1, right_window_size=1, **a)
    c.add("window_causal_past", "Attention", [q, k, v, None, pk, pv], 3, left_window_size=2, is_causal=1, **a)
    c.add("window_nonpad_causal", "Attention", [q, k, v, None, None, None, np.array([2, 5], np.int64)], 1, left_window_size=1, is_causal=1, **a)
    mask = r.random((B, 1, S, T)) > 0.4
    mask[0, 0, 1] = False
    c.add("bool_mask_dead_row", "Attention", [q, k, v, mask], [True, False, False, True], qk_matmul_output_mode=3, **a)
    c.add("bool_mask_dead_row_biased", "Attention", [q, k, v, mask], [True, False, False, True], qk_matmul_output_mode=2, is_causal=1, **a)
    c.add("short_mask_softcap", "Attention", [q, k, v, f(H, S, 4)], [True, False, False, True], softcap=0.7, qk_matmul_output_mode=1, **a)
    c.add("decode_grouped", "Attention", [f(B, 1, 4 * D), f(B, 1, 2 * D), f(B, 1, 2 * 6), f(1, 8)[:, :4], pk, pv], 3, q_num_heads=4, kv_num_heads=2, is_causal=1, **a)
    c.add("float64", "Attention", [q.astype(np.float64), k.astype(np.float64), v.astype(np.float64)], 1, scale=0.3, **dict(a, tol=1e-7))
    n = 70  # more than one block of rows, with a causal limit inside a block
    c.add("blocks_causal", "Attention", [f(1, 1, n, 2), f(1, 1, n, 2), f(1, 1, n, 1)], 1, is_causal=1, **a)
    # RotaryEmbedding against ONNX Runtime.
    ang = np.outer(np.arange(7), [1.0, 0.3, 0.1]).astype(np.float32)
    cos, sin = np.cos(ang), np.sin(ang)
    pos = np.array([[0, 3, 6], [5, 1, 2]], np.int64)
    c.add("rotary_4d", "RotaryEmbedding", [f(B, 2, S, 6), cos, sin, pos], 1, **dict(a, opset=23))
    c.add("rotary_partial_interleaved", "RotaryEmbedding", [f(B, S, 16), cos, sin, pos], 1, num_heads=2, rotary_embedding_dim=6, interleaved=1, **dict(a, opset=23))
    c.add("rotary_no_positions", "RotaryEmbedding", [f(B, S, 12), f(B, S, 3), f(B, S, 3)], 1, num_heads=2, **dict(a, opset=23))
    for rule in "linear", "gated", "delta", "gated_delta":
        g = -np.abs(f(B, S, 2 * D)) if rule == "gated" else -np.abs(f(B, S, 2)) if "gated" in rule else None
        b = r.random((B, S, 2)).astype(np.float32) if "delta" in rule else None
        c.add("linear_" + rule, "LinearAttention", [f(B, S, 4 * D), f(B, S, 2 * D), f(B, S, 2 * 3), f(B, 2, D, 3), g, b], 2,
              q_num_heads=4, kv_num_heads=2, update_rule=rule, **dict(a, opset=27))
    c.write()


def contrib():
    c = Cases("attention_contrib.json")
    r = np.random.default_rng(3)
    f = lambda *s: r.standard_normal(s).astype(np.float32)
    i32 = lambda *v: np.array(v, np.int32)
    B, N, S, D = 2, 2, 3, 4
    W, T = N * D, 5
    ms = dict(domain="com.microsoft", opset=17, tol=5e-6)
    x, w, b = f(B, S, 6), f(6, 3 * W), f(3 * W)
    c.add("attention", "Attention", [x, w, b], 1, num_heads=N, **ms)
    c.add("attention_unidirectional_past", "Attention", [x, w, b, None, f(2, B, N, 2, D)], 2, num_heads=N, unidirectional=1, **ms)
    c.add("attention_lengths", "Attention", [x, w, b, i32(2, 3)], 1, num_heads=N, **ms)
    c.add("attention_begins_and_ends", "Attention", [x, w, b, i32(3, 2, 1, 0)], 1, num_heads=N, **ms)
    c.add("attention_mask", "Attention", [x, w, b, np.array([[1, 1, 0], [1, 0, 0]], np.int32)], 1, num_heads=N, scale=0.4, **ms)
    c.add("attention_mask_3d_bias", "Attention", [x, w, None, r.integers(0, 2, (B, S, S)).astype(np.int32), None, f(1, N, S, S)], 1, num_heads=N, **ms)
    c.add("attention_v_size", "Attention", [x, f(6, 2 * W + 6), f(2 * W + 6)], 1, num_heads=N, qkv_hidden_sizes=[W, W, 6], **ms)
    q, k, v = f(B, S, W), f(B, T, W), f(B, T, N * 3)
    c.add("mha_cross", "MultiHeadAttention", [q, k, v], 1, num_heads=N, **ms)
    c.add("mha_bias_lengths", "MultiHeadAttention", [q, k, v, f(2 * W + N * 3), i32(3, 5)], 1, num_heads=N, **ms)
    c.add("mha_mask_attention_bias", "MultiHeadAttention", [q, k, f(B, T, W), None, r.integers(0, 2, (B, T)).astype(np.int32), f(B, 1, S, T)], [True, False, False, True], num_heads=N, scale=0.3, **ms)
    c.add("mha_keys_by_heads", "MultiHeadAttention", [q, f(B, N, T, D), f(B, N, T, D), f(3 * W)], 1, num_heads=N, **ms)
    c.add("mha_past_unidirectional", "MultiHeadAttention", [q, f(B, S, W), f(B, S, W), None, None, None, f(B, N, 2, D), f(B, N, 2, D)], 3, num_heads=N, unidirectional=1, **ms)
    c.add("mha_mask_3d", "MultiHeadAttention", [q, k, v, None, r.integers(0, 2, (B, S, T)).astype(np.int32)], 1, num_heads=N, **ms)
    G, D = 1, 16  # ONNX Runtime wants multiples of 16
    gq = dict(ms, num_heads=2, kv_num_heads=1)
    ang = np.outer(np.arange(9), [1.0, 0.7, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05]).astype(np.float32)
    cos, sin = np.cos(ang), np.sin(ang)
    q, k, v = f(B, S, 2 * D), f(B, S, G * D), f(B, S, G * D)
    none2 = np.zeros((B, G, 0, D), np.float32)
    c.add("gqa_prompt", "GroupQueryAttention", [q, k, v, None, None, i32(2, 2), i32(3)], 3, **gq)
    c.add("gqa_prompt_packed_rotary", "GroupQueryAttention", [f(B, S, 4 * D), None, None, None, None, i32(2, 2), i32(3), cos, sin], 3, do_rotary=1, **gq)
    c.add("gqa_token_rotary", "GroupQueryAttention", [f(B, 1, 2 * D), f(B, 1, D), f(B, 1, D), f(B, G, 4, D), f(B, G, 4, D), i32(4, 4), i32(5), cos, sin], 3, do_rotary=1, rotary_interleaved=1, **gq)
    c.add("gqa_token_softcap_window_scale", "GroupQueryAttention", [f(1, 1, 2 * D), f(1, 1, D), f(1, 1, D), f(1, G, 4, D), f(1, G, 4, D), i32(4), i32(5)], 3, softcap=0.8, local_window_size=2, scale=0.9, **gq)
    c.add("gqa_window_prompt", "GroupQueryAttention", [q, k, v, None, None, i32(2, 2), i32(3)], 3, local_window_size=2, **gq)
    c.add("gqa_smooth", "GroupQueryAttention", [q, k, v, None, None, i32(2, 2), i32(3)], 3, smooth_softmax=1, **gq)
    c.add("gqa_sink", "GroupQueryAttention", [q, k, v, None, None, i32(2, 2), i32(3), None, None, None, None, f(2)], 3, **gq)
    c.add("gqa_softcap_bias", "GroupQueryAttention", [q, k, v, None, None, i32(2, 2), i32(3), None, None, None, f(1, 2, S, 3)], 3, softcap=0.5, **gq)
    c.add("gqa_chunk", "GroupQueryAttention", [f(1, 2, 2 * D), f(1, 2, D), f(1, 2, D), f(1, G, 3, D), f(1, G, 3, D), i32(4), i32(5), cos, sin], 3, do_rotary=1, **gq)
    c.add("gqa_scores", "GroupQueryAttention", [f(1, 2, 2 * D), f(1, 2, D), f(1, 2, D), f(1, G, 3, D), f(1, G, 3, D), i32(4), i32(5)], 4, qk_output=2, **gq)
    ang = np.outer(np.arange(9), [1.0, 0.2]).astype(np.float32)
    cos, sin = np.cos(ang), np.sin(ang)
    c.add("rotary_offset", "RotaryEmbedding", [f(B, S, 8), np.array([2], np.int64), cos, sin], 1, **ms)
    c.add("rotary_positions_interleaved", "RotaryEmbedding", [f(B, 2, S, 4), np.array([[0, 1, 2], [3, 4, 8]], np.int64), cos, sin], 1, interleaved=1, **ms)
    c.add("rotary_partial", "RotaryEmbedding", [f(B, S, 12), np.array([[0, 1, 2], [3, 4, 8]], np.int64), cos, sin], 1, num_heads=2, rotary_embedding_dim=4, **ms)
    c.write()


def image():
    c = Cases("image.json")
    r = np.random.default_rng(4)
    f = lambda *s: r.standard_normal(s).astype(np.float32)
    f32 = lambda *v: np.array(v, np.float32)
    i64 = lambda *v: np.array(v, np.int64)
    x = f(1, 2, 4, 5)
    ort = dict(opset=19, tol=2e-5)
    ref = dict(opset=19, tol=2e-6, ref=True)
    up, down = f32(1, 1, 2.3, 1.6), f32(1, 1, 0.6, 0.75)
    for t in "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric":
        for m in "nearest", "linear", "cubic":
            c.add("resize_%s_%s_up" % (m, t), "Resize", [x, None, up], 1, mode=m, coordinate_transformation_mode=t,
                  **(ref if t == "align_corners" else ort))  # ONNX Runtime drops the fraction of the output width
            c.add("resize_%s_%s_down" % (m, t), "Resize", [x, None, down], 1, mode=m, coordinate_transformation_mode=t, **ref)
    for n in "round_prefer_floor", "round_prefer_ceil", "floor", "ceil":
        c.add("resize_" + n, "Resize", [x, None, None, i64(1, 2, 6, 3)], 1, nearest_mode=n, **ort)
        c.add("resize_asymmetric_" + n, "Resize", [x, None, f32(1, 1, 2, 2)], 1, nearest_mode=n, coordinate_transformation_mode="asymmetric", **ort)
    c.add("resize_linear_3d", "Resize", [f(1, 1, 2, 3, 4), None, f32(1, 1, 2, 1.5, 0.5)], 1, mode="linear", **ort)
    for m in "linear", "cubic":
        c.add("resize_antialias_" + m, "Resize", [f(1, 1, 7, 6), None, None, i64(1, 1, 3, 2)], 1, mode=m, antialias=1, **ref)
        c.add("resize_antialias_outside_" + m, "Resize", [f(1, 1, 7, 6), None, None, i64(1, 1, 3, 2)], 1, mode=m, antialias=1, exclude_outside=1, **ort)
        c.add("resize_exclude_outside_" + m, "Resize", [x, None, f32(1, 1, 1.7, 1.5)], 1, mode=m, exclude_outside=1, **ref)
    c.add("resize_cubic_a", "Resize", [x, None, f32(1, 1, 1.7, 1.4)], 1, mode="cubic", cubic_coeff_a=-0.5, **ort)
    for m in "nearest", "linear":
        c.add("resize_crop_" + m, "Resize", [x, f32(0.1, -0.2, 0.9, 1.3), None, i64(3, 7)], 1, mode=m, axes=[2, 3], extrapolation_value=7.5,
              coordinate_transformation_mode="tf_crop_and_resize", **ref)
    for p in "not_larger", "not_smaller":
        c.add("resize_" + p, "Resize", [x, None, None, i64(7, 9)], 1, mode="linear", axes=[3, 2], keep_aspect_ratio_policy=p, **ref)
    for dt in np.uint8, np.int8, np.int32:
        c.add("resize_linear_" + np.dtype(dt).name, "Resize", [r.integers(0, 100, (1, 1, 3, 4)).astype(dt), None, f32(1, 1, 2, 2)], 1, mode="linear", **ref)
    c.add("resize_float16", "Resize", [x.astype(np.float16), None, f32(1, 1, 2, 1)], 1, mode="linear", **dict(ref, tol=1e-3))
    for m in "linear", "nearest", "cubic":
        for p in "zeros", "border", "reflection":
            for al in 0, 1:
                c.add("grid_%s_%s_%d" % (m, p, al), "GridSample", [f(1, 2, 3, 4), f(1, 3, 3, 2) * 1.2], 1, mode=m, padding_mode=p, align_corners=al, opset=20, tol=2e-5, ref=True)
    c.add("grid_3d", "GridSample", [f(1, 1, 3, 4, 2), f(1, 2, 2, 3, 3)], 1, opset=20, tol=2e-5, ref=True)
    c.add("grid_ort", "GridSample", [f(2, 2, 5, 4), f(2, 4, 3, 2) * 1.1], 1, mode="cubic", padding_mode="reflection", opset=20, tol=2e-5)
    for al in 0, 1:
        c.add("affine_2d_%d" % al, "AffineGrid", [f(2, 2, 3), i64(2, 3, 4, 5)], 1, align_corners=al, opset=20, tol=2e-6)
        c.add("affine_3d_%d" % al, "AffineGrid", [f(1, 3, 4), i64(1, 3, 2, 4, 3)], 1, align_corners=al, opset=20, tol=2e-6)
    tr = dict(domain="ai.onnx.preview.training", ref=True, tol=2e-6)
    lr, xs = np.array(0.1, np.float32), [f(3), f(2, 2)]
    g = [f(3), f(2, 2)]
    c.add("adagrad", "Adagrad", [lr, np.array(2, np.int64), *xs, *g, f(3) ** 2, f(2, 2) ** 2], 4, norm_coefficient=0.1, decay_factor=0.2, epsilon=1e-3, **tr)
    for t in 0, 3:
        c.add("adam_%d" % t, "Adam", [lr, np.array(t, np.int64), *xs, *g, f(3), f(2, 2), f(3) ** 2, f(2, 2) ** 2], 6, alpha=0.8, beta=0.9, norm_coefficient=0.1, norm_coefficient_post=0.01, **tr)
        c.add("momentum_%d" % t, "Momentum", [lr, np.array(t, np.int64), xs[0], g[0], f(3)], 2, alpha=0.9, beta=0.3, mode="standard", norm_coefficient=0.1, **tr)
    c.add("nesterov", "Momentum", [lr, np.array(1, np.int64), *xs, *g, f(3), f(2, 2)], 4, alpha=0.9, beta=0.3, mode="nesterov", norm_coefficient=0.1, **tr)
    c.write()


ALL = {k: v for k, v in globals().items() if k in ("recurrent", "attention", "contrib", "image")}
if __name__ == "__main__":
    for k in sys.argv[1:] or ALL:
        ALL[k]()
