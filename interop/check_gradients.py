"""Compares gradients of operators with PyTorch's on random shapes, in single precision. Usage: check_gradients.py GRADIENTS, the program that
'go build ./bench/gradients' makes."""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
import torch.nn.functional as F


def cases(rng):
    """Yields name, kind, attributes, inputs and the same function in PyTorch."""
    n, m, k = rng.integers(1, 6, 3)

    def r(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    def pos(*shape):
        return (np.abs(r(*shape)) + 0.2).astype(np.float32)

    for kind, f in (("Add", torch.add), ("Sub", torch.sub), ("Mul", torch.mul), ("Max", torch.maximum), ("Min", torch.minimum)):
        yield kind, kind, {}, [r(n, 1, k), r(m, 1)], f
    yield "div", "Div", {}, [r(n, m), pos(m)], torch.div
    yield "pow", "Pow", {}, [pos(n, m), r(m)], torch.pow
    for kind, f in (("Relu", F.relu), ("LeakyRelu", F.leaky_relu), ("Sigmoid", torch.sigmoid), ("Tanh", torch.tanh), ("Gelu", F.gelu), ("Elu", F.elu), ("Selu", F.selu),
                    ("Softplus", F.softplus), ("Softsign", F.softsign), ("Mish", F.mish), ("Swish", F.silu), ("HardSwish", F.hardswish), ("Exp", torch.exp), ("Erf", torch.erf),
                    ("Sin", torch.sin), ("Cos", torch.cos), ("Atan", torch.atan), ("Abs", torch.abs), ("Neg", torch.neg), ("Sinh", torch.sinh), ("Asinh", torch.asinh)):
        yield kind, kind, {}, [r(n, m, 7)], f
    for kind, f in (("Sqrt", torch.sqrt), ("Log", torch.log), ("Reciprocal", torch.reciprocal)):
        yield kind, kind, {}, [pos(n, m)], f
    yield "gelutanh", "Gelu", {"approximate": "tanh"}, [r(n, m)], lambda x: F.gelu(x, approximate="tanh")
    yield "matmul", "MatMul", {}, [r(2, 1, n, m), r(3, m, k)], torch.matmul
    yield "matmul2", "MatMul", {}, [r(4, 50, 33), r(33, 65)], torch.matmul
    yield "gemm", "Gemm", {"transB": 1}, [r(n, m), r(k, m), r(k)], lambda a, b, c: a @ b.T + c
    yield "conv", "Conv", {"pads": [1, 1, 1, 1], "strides": [2, 2]}, [r(2, 3, 9, 8), r(5, 3, 3, 3), r(5)], lambda x, w, b: F.conv2d(x, w, b, 2, 1)
    yield "conv1", "Conv", {"dilations": [2], "group": 2}, [r(2, 4, 12), r(6, 2, 3)], lambda x, w: F.conv1d(x, w, None, 1, 0, 2, 2)
    yield "depthwise", "Conv", {"group": 6, "pads": [1, 1, 1, 1]}, [r(2, 6, 7, 7), r(6, 1, 3, 3)], lambda x, w: F.conv2d(x, w, None, 1, 1, 1, 6)
    yield "convT", "ConvTranspose", {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}, [r(2, 4, 5, 5), r(4, 3, 3, 3), r(3)], lambda x, w, b: F.conv_transpose2d(x, w, b, 2, 1, 1)
    mean, var = torch.zeros(4), torch.ones(4)
    yield "bn", "BatchNormalization", {"training_mode": 1}, [r(5, 4, 6, 6), r(4), r(4), r(4), pos(4)], lambda x, g, b, *_: F.batch_norm(x, mean.clone(), var.clone(), g, b, True)
    yield "bneval", "BatchNormalization", {}, [r(5, 4, 6), r(4), r(4), r(4), pos(4)], lambda x, g, b, mu, v: F.batch_norm(x, mu.detach(), v.detach(), g, b, False)
    yield "ln", "LayerNormalization", {}, [r(n, m, 33), r(33), r(33)], lambda x, g, b: F.layer_norm(x, (33,), g, b)
    yield "rms", "RMSNormalization", {}, [r(n, m, 33), r(33)], lambda x, g: F.rms_norm(x, (33,), g, 1e-5)
    yield "gn", "GroupNormalization", {"num_groups": 2}, [r(3, 4, 5, 2), r(4), r(4)], lambda x, g, b: F.group_norm(x, 2, g, b)
    yield "in", "InstanceNormalization", {}, [r(3, 4, 5, 2), r(4), r(4)], lambda x, g, b: F.instance_norm(x, weight=g, bias=b)
    yield "maxpool", "MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, [r(2, 3, 9, 8)], lambda x: F.max_pool2d(x, 3, 2, 1)
    yield "avgpool", "AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2]}, [r(2, 3, 8, 8)], lambda x: F.avg_pool2d(x, 2)
    yield "gap", "GlobalAveragePool", {}, [r(2, 3, 5, 4)], lambda x: x.mean((2, 3), keepdim=True)
    yield "softmax", "Softmax", {"axis": 1}, [r(n, 7, m)], lambda x: x.softmax(1)
    yield "logsoftmax", "LogSoftmax", {}, [r(n, 7)], lambda x: x.log_softmax(-1)
    for kind, f in (("ReduceSum", lambda x: x.sum((0, 2), keepdim=True)), ("ReduceMean", lambda x: x.mean((0, 2), keepdim=True)),
                    ("ReduceMax", lambda x: x.amax((0, 2), keepdim=True)), ("ReduceL2", lambda x: x.norm(2, (0, 2), keepdim=True)),
                    ("ReduceLogSumExp", lambda x: x.logsumexp((0, 2), keepdim=True))):
        yield kind, kind, {}, [r(n, m, 5), np.array([0, 2])], lambda x, _, f=f: f(x)
    yield "gather", "Gather", {}, [r(9, m), np.array([[1, 1, 8], [0, 3, 1]])], lambda x, i: F.embedding(i, x)
    yield "topk", "TopK", {}, [r(n, 9), np.array([3])], lambda x, _: x.topk(3).values
    yield "gatherelements", "GatherElements", {"axis": 1}, [r(n, 9), rng.integers(0, 9, (int(n), 4))], lambda x, i: x.gather(1, i)
    yield "resize", "Resize", {"mode": "linear"}, [r(1, 2, 4, 5), None, None, np.array([1, 2, 8, 10])], lambda x, *_: F.interpolate(x, (8, 10), mode="bilinear")
    yield "pad", "Pad", {"mode": "reflect"}, [r(2, 2, 6), np.array([0, 0, 2, 0, 0, 3])], lambda x, _: F.pad(x, (2, 3), mode="reflect")

    def heads(x, count):
        return x.unflatten(2, (count, -1)).transpose(1, 2)

    def attention(q, k, v, mask=None, **more):
        y = F.scaled_dot_product_attention(heads(q, 4), heads(k, 2), heads(v, 2), attn_mask=mask, enable_gqa=True, **more)
        return y.transpose(1, 2).flatten(2)

    def rotated(x, cos, sin):
        """Rotates pairs half a head apart, of heads of 8, by tables [batch, tokens, 4]."""
        y = x.unflatten(2, (-1, 8))
        u, v = y[..., :4], y[..., 4:]
        c, s = cos.unsqueeze(2), sin.unsqueeze(2)
        return torch.cat([u * c - v * s, u * s + v * c], -1).flatten(2)

    grouped = {"q_num_heads": 4, "kv_num_heads": 2}
    t, u = (int(i) for i in rng.integers(2, 80, 2))
    yield "attention", "Attention", grouped, [r(2, t, 4 * 8), r(2, u, 2 * 8), r(2, u, 2 * 6)], attention
    yield "causal", "Attention", dict(grouped, is_causal=1), [r(2, t, 4 * 8), r(2, t, 2 * 8), r(2, t, 2 * 8)], lambda q, k, v: attention(q, k, v, is_causal=True)
    yield "masked", "Attention", grouped, [r(2, t, 4 * 8), r(2, u, 2 * 8), r(2, u, 2 * 8), r(t, u)], attention
    yield "scaled", "Attention", dict(grouped, scale="r:0.25"), [r(2, t, 4 * 8), r(2, u, 2 * 8), r(2, u, 2 * 8)], lambda q, k, v: attention(q, k, v, scale=0.25)
    yield "rotary", "RotaryEmbedding", {"num_heads": 3}, [r(2, t, 24), r(2, t, 4), r(2, t, 4)], rotated
    yield "transposed", "com.microsoft.FusedMatMul", {"transB": 1}, [r(3, t, 33), r(65, 33)], lambda a, b: a @ b.T
    codes, scales = rng.integers(0, 256, (24, 2, 16), np.uint8), pos(24, 2)

    def decoded(x, b, s):
        """Multiplies by codes of 4 bits, in blocks of 32, around 8."""
        w = torch.stack([b & 15, b >> 4], -1).flatten(2).float() - 8
        return x @ (w * s.detach().unsqueeze(2)).flatten(1).T

    yield "packed", "com.microsoft.MatMulNBits", {"K": 64, "N": 24, "bits": 4, "block_size": 32}, [r(3, t, 64), codes, scales], decoded

    def cell(module, swap):
        """ONNX's order of gates from PyTorch's."""
        def f(x, w, rr, b):
            hidden = rr.shape[2]

            def order(t):
                return torch.cat([t[i * hidden : (i + 1) * hidden] for i in swap])

            gates = len(swap) * hidden
            params = {"weight_ih_l0": order(w[0]), "weight_hh_l0": order(rr[0]), "bias_ih_l0": order(b[0, :gates]), "bias_hh_l0": order(b[0, gates:])}
            return torch.func.functional_call(module, params, (x,))[0].unsqueeze(1)
        return f

    yield "rnn", "RNN", {}, [r(5, 2, 3), r(1, 4, 3), r(1, 4, 4), r(1, 8)], cell(torch.nn.RNN(3, 4), [0])
    yield "lstm", "LSTM", {}, [r(5, 2, 3), r(1, 16, 3), r(1, 16, 4), r(1, 32)], cell(torch.nn.LSTM(3, 4), [0, 2, 3, 1])
    yield "gru", "GRU", {"linear_before_reset": 1}, [r(5, 2, 3), r(1, 12, 3), r(1, 12, 4), r(1, 24)], cell(torch.nn.GRU(3, 4), [1, 0, 2])


def main():
    tool = os.path.abspath(sys.argv[1])
    worst, count = {}, 0
    with tempfile.TemporaryDirectory() as tmp:
        listed, want = [], {}
        for seed in range(5):
            rng = np.random.default_rng(seed)
            for name, kind, attrs, inputs, f in cases(rng):
                name = f"{name}.{seed}"
                ts, files = [], []
                for i, x in enumerate(inputs):
                    if x is None:
                        ts.append(None)
                        files.append("")
                        continue
                    files.append(f"{name}.{i}.npy")
                    np.save(os.path.join(tmp, files[-1]), x)
                    t = torch.from_numpy(np.array(x))
                    ts.append(t.requires_grad_() if t.is_floating_point() else t)
                y = f(*ts)
                d = rng.standard_normal(tuple(y.shape)).astype(np.float32)
                np.save(os.path.join(tmp, f"{name}.d.npy"), d)
                y.backward(torch.from_numpy(d))
                for i, t in enumerate(ts):
                    if t is not None and t.requires_grad and t.grad is not None:
                        want[f"{name}.grad{i}.npy"] = (kind, t.grad.numpy())
                listed.append({"name": name, "kind": kind, "attrs": attrs, "inputs": files, "grad": f"{name}.d.npy"})
        with open(os.path.join(tmp, "cases.json"), "w") as out:
            json.dump(listed, out)
        subprocess.run([tool, tmp], check=True)
        for file, (kind, w) in want.items():
            g = np.load(os.path.join(tmp, file))
            diff = float(np.abs(g - w).max() / max(np.abs(w).max(), 1e-3))
            worst[kind] = max(worst.get(kind, 0), diff)
            count += 1
    bad = {k: v for k, v in worst.items() if not v <= 1e-4}
    kind = max(worst, key=worst.get)
    print(f"{count} gradients of {len(worst)} operators: the largest difference, relative to the largest element, is {worst[kind]:.1e} ({kind})")
    if bad:
        sys.exit(f"more than 1e-4: {bad}")


if __name__ == "__main__":
    main()
