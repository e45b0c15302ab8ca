"""Writes npy.json: arrays as numpy saves them (base64) with the values that they hold, row-major.

Run: python make_npy.py   (numpy 2.4.6 made the committed file)
"""
import base64
import io
import json

import numpy as np

cases = []


def add(name, a, version=None, same=False):
    f = io.BytesIO()
    np.lib.format.write_array(f, a, version=version)
    flat = np.ascontiguousarray(a).reshape(-1)
    if a.dtype.kind == "c":
        values = [[float(v.real), float(v.imag)] for v in flat]
    elif a.dtype.kind == "S":
        values = [v.decode() for v in flat.tolist()]
    elif a.dtype.kind == "f":
        values = [repr(float(v)) for v in flat]
    elif a.dtype.kind in "iu":
        values = [str(int(v)) for v in flat]
    else:
        values = flat.tolist()
    # same: our writer must give these very bytes for the values.
    cases.append(dict(name=name, kind=a.dtype.kind, shape=list(a.shape), values=values, same=same,
                      file=base64.b64encode(f.getvalue()).decode()))


rng = np.random.default_rng(7)
for code in ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]:
    info = np.iinfo(code)
    a = rng.integers(info.min, info.max, size=(3, 4), dtype=code, endpoint=True)
    a[0, 0], a[0, 1] = info.min, info.max
    for order in "<>":
        add(order + code, a.astype(order + code), same=order == "<")
for code in ["f2", "f4", "f8"]:
    a = rng.standard_normal((2, 3, 2)).astype(code)
    a[0, 0, 0], a[0, 0, 1], a[0, 1, 0] = np.inf, -0.0, np.finfo(code).smallest_subnormal
    for order in "<>":
        add(order + code, a.astype(order + code), same=order == "<")
for code in ["c8", "c16"]:
    a = (rng.standard_normal((2, 2)) + 1j * rng.standard_normal((2, 2))).astype(code)
    for order in "<>":
        add(order + code, a.astype(order + code), same=order == "<")
add("bool", np.array([[True, False, True]]), same=True)
add("fortran f4", np.asfortranarray(rng.standard_normal((3, 4, 5)).astype("<f4")))
add("fortran >i2", np.asfortranarray(np.arange(24, dtype=">i2").reshape(2, 3, 4)))
add("fortran u1", np.asfortranarray(np.arange(6, dtype="u1").reshape(2, 3)))
add("fortran f8", np.asfortranarray(rng.standard_normal((4, 3))))
add("fortran c16", np.asfortranarray((rng.standard_normal((2, 3)) + 1j).astype("c16")))
add("fortran strings", np.asfortranarray(np.array([["a", "bc"], ["def", ""], ["é", "日本"]])))
add("version 2", np.arange(3, dtype="<f4"), version=(2, 0))
add("version 3", np.arange(3, dtype="<i8"), version=(3, 0))
add("scalar", np.array(2.5, dtype="<f4"), same=True)
add("vector", np.arange(5, dtype="<i4"), same=True)
add("empty", np.zeros((0, 7), dtype="<f4"), same=True)
add("<U4", np.array(["one", "zwölf", "日本語", ""]), same=True)
add(">U2", np.array(["ab", "c"], dtype=">U2"))
add("S", np.array([b"cat", b"doge", b""]))
json.dump(cases, open("npy.json", "w"), indent=0, ensure_ascii=False)
