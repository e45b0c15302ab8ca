"""Compares GPTQ and AWQ on single layers with plain implementations in PyTorch: equal codes, no larger errors, and time.

    check_layers.py LAYER [--time]

LAYER is the program of bench/layer. Each layer is solved here in float64 by the algorithm as published and there with the same settings;
at least 99.9 % of the codes must be equal and the error, weighted by the Hessian, at most 2 % larger. With --time the steps are timed at
4096 x 4096 instead, as many threads on both sides.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch

from table import Table

DAMP = 0.01


def layer(seed, rows, cols, tokens):
    """A weight with inputs that depend on one another and differ in size."""
    g = torch.Generator().manual_seed(seed)
    w = torch.randn(rows, cols, generator=g) * 0.02
    mix = torch.randn(cols, cols, generator=g) / cols**0.5
    size = torch.exp(torch.randn(cols, generator=g))
    x = torch.randn(tokens, cols, generator=g)
    return w, (x @ mix + 0.3 * x) * size


def find(w, bits, symmetric, norm):
    """Scales and zero points of rows, as the specification of GPTQ's quantizer has them; a symmetric range is always that of both signs."""
    most = 2**bits - 1
    lo, hi = w.amin(1).clamp(max=0), w.amax(1).clamp(min=0)
    if symmetric:
        hi = torch.maximum(hi, -lo)
        lo = -hi
    none = (lo == 0) & (hi == 0)
    lo[none], hi[none] = -1, 1

    def grid(share):
        s = (share * hi - share * lo) / most
        return s, (torch.full_like(s, (most + 1) / 2) if symmetric else torch.round(-share * lo / s))

    s, z = grid(1)
    if norm:
        error = lambda s, z: (quantized(w, s[:, None], z[:, None], most)[1] - w).abs().pow(norm).sum(1)
        best = error(s, z)
        for i in range(1, 80):
            s1, z1 = grid(1 - i / 100)
            e = error(s1, z1)
            less = e < best
            best[less], s[less], z[less] = e[less], s1[less], z1[less]
    return s, z


def quantized(w, s, z, most):
    q = torch.clamp(torch.round(w / s) + z, 0, most)
    return q, s * (q - z)


def orders(h, order, group, cols):
    """The order of columns, and the group of each position."""
    d = torch.diag(h)
    if order in ("desc_act", "static_groups"):
        perm = torch.argsort(d, descending=True, stable=True)
    elif order == "act_group_aware":
        groups = [torch.arange(i, i + group) for i in range(0, cols - group + 1, group)]
        groups = [g[torch.argsort(d[g], descending=True, stable=True)] for g in groups]
        by = sorted(range(len(groups)), key=lambda i: -d[groups[i][0]].item())
        perm = torch.cat([groups[i] for i in by] + [torch.arange(len(groups) * group, cols)])
    else:
        perm = torch.arange(cols)
    position = torch.arange(cols)
    return perm, (position if order == "desc_act" else perm) // group


def factor(h):
    return torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)


def gptq(w, h, bits, group, symmetric, order, norm, drift=None, alpha=0.25, block=128, u=None):
    """GPTQ in the precision of its arguments; u is the factor of the damped and permuted Hessian where it is known. Returns codes, values and
    the damped Hessian."""
    rows, cols = w.shape
    group = group or cols
    most = 2**bits - 1
    h = h + torch.diag(torch.full((cols,), (DAMP * torch.diag(h).mean()).item(), dtype=h.dtype))
    perm, groups = orders(h, order, group, cols)
    whole = w.clone()
    w, hp = w[:, perm].clone(), h[perm][:, perm]
    u = factor(hp) if u is None else u
    p = None
    if drift is not None:
        p = alpha * torch.triu(drift[perm][:, perm] @ u.T, 1) @ u
    codes, values = torch.zeros_like(w), torch.zeros_like(w)
    static = {g: find(whole[:, g * group : (g + 1) * group], bits, symmetric, norm) for g in range(-(-cols // group))} if order == "static_groups" else None
    step = min(block, group) if static is None and block % min(block, group) else block
    for i1 in range(0, cols, step):
        i2 = min(i1 + step, cols)
        part, errors, before = w[:, i1:i2].clone(), torch.zeros(rows, i2 - i1, dtype=w.dtype), None
        for i in range(i2 - i1):
            c = i1 + i
            if static is not None:
                s, z = static[groups[c].item()]
            elif c == 0 or groups[c] != groups[c - 1]:
                end = min(c + group, cols)
                s, z = find(torch.cat([part[:, i : min(end, i2) - i1], w[:, i2:end]], 1), bits, symmetric, norm)
            x = part[:, i].clone()
            q, v = quantized(x, s, z, most)
            e = (x - v) / u[c, c]
            part[:, i:] -= e[:, None] * u[c, c:i2][None]
            if p is not None:
                part[:, i:] += x[:, None] * p[c, c:i2][None]
            part[:, i] = v
            codes[:, perm[c]], values[:, perm[c]], errors[:, i] = q, v, e
        w[:, i2:] -= errors @ u[i1:i2, i2:]
        if p is not None:
            w[:, i2:] += part @ p[i1:i2, i2:]
    return codes, values, h


class Layer:
    """The program, with matrices as files."""

    def __init__(self, path, folder):
        self.path, self.folder = path, pathlib.Path(folder)

    def run(self, w, x, *flags, original=None):
        for name, t in {"w": w, "x": x, "x0": original}.items():
            if t is not None:
                np.save(self.folder / f"{name}.npy", t.float().numpy())
        if original is not None:
            flags += ("-original", self.folder / "x0.npy")
        for stale in ("index", "factors"):
            (self.folder / f"{stale}.npy").unlink(missing_ok=True)
        command = [self.path, "-weight", self.folder / "w.npy", "-inputs", self.folder / "x.npy", "-out", self.folder, *flags]
        done = subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True)
        return json.loads(done.stdout)

    def values(self, group):
        load = lambda name: np.load(self.folder / f"{name}.npy")
        codes = load("codes")
        index = np.arange(codes.shape[1]) // (group or codes.shape[1])
        if (self.folder / "index.npy").exists():
            index = load("index")
        return torch.from_numpy(codes.astype(np.float64)), torch.from_numpy(load("scales")[:, index] * (codes.astype(np.float64) - load("zeros")[:, index]))


def weighted(d, h):
    return ((d @ h) * d).sum().item()


def check_gptq(program):
    shapes = [(256, 512, 128), (200, 172, 64), (128, 384, 0), (64, 256, 32), (96, 640, 256)]
    for seed, (rows, cols, group) in enumerate(shapes):
        w, x = layer(seed, rows, cols, 4 * cols)
        xd = x.double()
        h = 2 / len(x) * xd.T @ xd
        for bits in (2, 3, 4, 8):
            for symmetric in (True, False):
                for order in ("", "desc_act", "static_groups", "act_group_aware"):
                    for norm in (0, 2.4):
                        for gptaq in (False, True):
                            if gptaq and (norm or order not in ("", "desc_act")) or norm and (bits == 8 or seed % 2):
                                continue
                            x0 = x + 0.05 * x.roll(1, 1) if gptaq else None
                            drift = 2 / len(x) * (x0.double() - xd).T @ xd if gptaq else None
                            codes, values, damped = gptq(w.double(), h, bits, group, symmetric, order, norm, drift)
                            said = program.run(w, x, "-bits", bits, "-group", group, f"-symmetric={symmetric}".lower(), "-order", order, "-norm", norm, original=x0)
                            ours, back = program.values(group)
                            name = f"{rows}x{cols}/{group}, {bits} bits{' sym' if symmetric else ''} {order}{' mse' if norm else ''}{' gptaq' if gptaq else ''}"
                            yield name, ours, codes, weighted(back - w.double(), damped), weighted(values - w.double(), damped), said


def check_codes(table, program):
    same = total = 0
    worst, cases = 0.0, 0
    for name, ours, codes, error, reference, said in check_gptq(program):
        cases += 1
        if said["rounded"]:
            continue
        equal = (ours == codes).double().mean().item()
        same, total = same + equal * codes.numel(), total + codes.numel()
        worst = max(worst, error / reference)
        if equal < 0.98:
            table.at_least(name, "equal codes", equal, 0.98)
        if error > 1.02 * reference:
            table.at_most(name, "error over the reference's", error / reference, 1.02)
    table.note("gptq", "layers compared", cases)
    table.at_least("gptq", "equal codes of all layers", same / total, 0.999)
    table.at_most("gptq", "largest error over the reference's", worst, 1.02)


def main(path, times):
    torch.manual_seed(0)
    table = Table()
    with tempfile.TemporaryDirectory() as folder:
        program = Layer(path, folder)
        if times:
            time_gptq(table, program)
            time_awq(table, program)
        else:
            check_codes(table, program)
    table.finish()


def timed(f):
    start = time.perf_counter()
    f()
    return time.perf_counter() - start


def time_gptq(table, program, n=4096, tokens=2048, sequences=8):
    threads = os.cpu_count()
    torch.set_num_threads(threads)
    w, x = torch.randn(n, n) * 0.02, torch.randn(tokens, n)
    h = torch.zeros(n, n)

    def hessian():
        nonlocal h
        for i in range(sequences):
            h *= i / (i + 1)
            y = (2 / (i + 1)) ** 0.5 * x
            h += y.T @ y

    theirs_h = timed(hessian)
    damped = h + torch.diag(torch.full((n,), (DAMP * torch.diag(h).mean()).item()))
    u = factor(damped)
    theirs_f = timed(lambda: factor(damped))
    theirs_s = timed(lambda: gptq(w, h, 4, 128, False, "", 0, u=u))
    theirs = theirs_f + theirs_s
    said = program.run(w, x, "-half", "-repeat", sequences)
    table.at_least(f"{n}x{n}", f"Hessian of {sequences}x{tokens} tokens: {theirs_h:.2f} s over {said['hessian_s']:.2f} s", theirs_h / said["hessian_s"], 2.5)
    table.note(f"{n}x{n}", f"factor: {theirs_f:.2f} s over {said['factor_s']:.2f} s", theirs_f / said["factor_s"])
    loop = said["solve_s"] - said["comparing_s"]  # the reference does not compare with plain rounding
    table.at_least(f"{n}x{n}", f"solve loop: {theirs_s:.2f} s over {loop:.2f} s", theirs_s / loop, 10)
    table.note(f"{n}x{n}", f"with the error of plain rounding: {said['solve_s']:.2f} s", theirs_s / said["solve_s"])
    scale = 128 / sequences
    table.at_least(f"{n}x{n}", "whole layer, 128 sequences", (theirs_h * scale + theirs) / (said["hessian_s"] * scale + said["factor_s"] + said["solve_s"]), 2.5)


def time_awq(table, program, n=4096, tokens=512):
    w, x = torch.randn(n, n) * 0.02, torch.randn(tokens, n) * (1 + 5 * torch.rand(n))

    def fake(w):
        v = w.reshape(-1, 128)
        hi, lo = v.amax(1, True), v.amin(1, True)
        s = (hi - lo).clamp(min=1e-5) / 15
        z = (-torch.round(lo / s)).clamp(0, 15)
        return ((torch.clamp(torch.round(v / s) + z, 0, 15) - z) * s).reshape(w.shape)

    def search():
        size, y = x.abs().mean(0), x @ w.T
        share = (w.view(-1, 128).abs() / w.view(-1, 128).abs().amax(1, True)).view(w.shape).mean(0)
        for i in range(20):
            s = (size.pow(i / 20) / (share.pow(1 - i / 20) + 1e-4)).clamp(min=1e-4)
            s = s / (s.max() * s.min()).sqrt()
            ((y - x @ (fake(w * s) / s).T) ** 2).mean().item()

    theirs = timed(search)
    said = program.run(w, x, "-half", "-method", "awq")
    ours = said["search_s"] * 20 / 39  # it looks at 39 scalings, the 20 of the other and 19 without the weights
    table.at_least(f"{n}x{n}", f"20 scalings of AWQ: {theirs:.2f} s over {ours:.2f} s", theirs / ours, 5)


if __name__ == "__main__":
    main(sys.argv[1], "--time" in sys.argv[2:])
