"""Writes fourbit.json.gz: what bitsandbytes' CPU path makes of a few matrices. Needs torch and bitsandbytes of interop/requirements-llm.txt.
usage: fourbit.py OUT.json.gz"""
import gzip, json, sys
import numpy as np, torch
import bitsandbytes.functional as F

rng = np.random.default_rng(7)
out = {"dynamic": F.create_dynamic_map().numpy().tobytes().hex(), "fourbit": [], "int8": []}
for kind in ("nf4", "fp4"):
    out[kind] = F.get_4bit_type(kind, device="cpu").numpy().tobytes().hex()
for rows, cols, block in ((12, 96, 64), (8, 128, 32), (5, 40, 64), (3, 1024, 1024), (260, 32, 32)):
    w = (rng.standard_normal((rows, cols)) * 0.05).astype(np.float16)
    if rows == 8:
        w[1] = 0
    a = torch.from_numpy(w)
    for kind in ("nf4", "fp4"):
        for double in (False, True):
            q, s = F.quantize_4bit(a, blocksize=block, quant_type=kind, compress_statistics=double)
            c = dict(kind=kind, double=double, rows=rows, cols=cols, block=block, weight=w.tobytes().hex(), codes=q.numpy().tobytes().hex(),
                     values="" if rows > 200 or cols % block else F.dequantize_4bit(q, s).float().numpy().tobytes().hex())
            if double:
                c.update(absmax=s.absmax.numpy().tobytes().hex(), nested=s.state2.absmax.numpy().tobytes().hex(), offset=float(s.offset))
            else:
                c.update(absmax=s.absmax.numpy().tobytes().hex())
            out["fourbit"].append(c)
for rows, cols in ((12, 96), (7, 33)):
    w = (rng.standard_normal((rows, cols)) * 0.05).astype(np.float16)
    q, s, _ = F.int8_vectorwise_quant(torch.from_numpy(w))
    out["int8"].append(dict(rows=rows, cols=cols, weight=w.tobytes().hex(), codes=q.numpy().tobytes().hex(), scales=s.numpy().tobytes().hex()))
with gzip.GzipFile(sys.argv[1], "wb", mtime=0) as f:
    f.write(json.dumps(out, separators=(",", ":")).encode())
