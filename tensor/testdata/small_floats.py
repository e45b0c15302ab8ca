"""Writes small_floats.json: what ml_dtypes 0.6 makes of every code of the 8-bit and 4-bit float types and of float32 values at
and around every rounding boundary. Saturated codes are those of the value clipped to the finite range.

    python small_floats.py
"""
import json, os
import ml_dtypes, numpy as np

TYPES = {"float8e4m3fn": "float8_e4m3fn", "float8e4m3fnuz": "float8_e4m3fnuz", "float8e5m2": "float8_e5m2",
         "float8e5m2fnuz": "float8_e5m2fnuz", "float4e2m1": "float4_e2m1fn", "float8e8m0": "float8_e8m0fnu"}
r = np.random.default_rng(0)
out = []
for name, ml in TYPES.items():
    dt = np.dtype(getattr(ml_dtypes, ml))
    n = 16 if name == "float4e2m1" else 256
    values = np.arange(n, dtype=np.uint8).view(dt).astype(np.float32)
    fin = np.unique(np.abs(values[np.isfinite(values)]))
    top = np.float32(fin[-1])
    with np.errstate(over="ignore"):
        mid = ((fin[:-1].astype(np.float64) + fin[1:]) / 2).astype(np.float32)
        beyond = np.array([top * 1.01, top * 1.03125, top * 1.0625, top * 1.125, top * 1.1251, top * 1.25, top * 2, 3e38], np.float32)
    x = np.concatenate([fin, mid, np.nextafter(mid, np.float32(0)), np.nextafter(mid, np.float32(np.inf)), beyond,
                        np.exp(r.uniform(np.log(max(float(fin[fin > 0][0]) / 4, 1e-37)), np.log(float(min(top, 1e38))), 64)).astype(np.float32)])
    x = x[np.isfinite(x)]
    if name == "float8e8m0":  # no sign; zero and infinity depend on saturate; subnormal float32 are rounded up from 1.25 there
        x = x[x >= np.float32(2.0**-126)]
    else:
        x = np.unique(np.concatenate([x, -x]))
        x = np.concatenate([x, np.array([0.0, -0.0, np.inf, -np.inf], np.float32)])
    plain = x.astype(dt).view(np.uint8)
    sat = np.clip(x, -top, top).astype(dt).view(np.uint8)
    if name == "float4e2m1":
        plain = sat
    out.append({"Type": name, "Values": [int(v) for v in values.view(np.uint32)],
                "X": [int(v) for v in x.view(np.uint32)], "Plain": [int(v) for v in plain], "Saturated": [int(v) for v in sat]})
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "small_floats.json"), "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(o, separators=(",", ":")) for o in out) + "\n]\n")
