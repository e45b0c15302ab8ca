"""Times what others quantize with; prints a line of JSON.

usage: quantize_peer.py torch THREADS            NF4 in blocks of 64 with the operators of PyTorch that bitsandbytes' CPU path uses
       quantize_peer.py llama LIBS IN OUT TYPE THREADS   llama.cpp's quantizer on an F16 file; LIBS is the folder of its libraries
"""

import ctypes
import glob
import json
import os
import sys
import time

NF4 = [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
       0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0]
FILE_TYPES = {"Q4_0": 2, "Q4_K": 14}


def torch_nf4(threads):
    import torch

    torch.set_num_threads(threads)
    table = torch.tensor(NF4)
    bounds = (table[1:] + table[:-1]) / 2
    weights = torch.randn(4096 * 2048, dtype=torch.float32).to(torch.float16)

    def quantize():
        blocks = weights.float().reshape(-1, 64)
        largest = blocks.abs().max(dim=1, keepdim=True)[0]
        codes = torch.bucketize((blocks / largest).clamp(-1, 1), bounds).to(torch.uint8).reshape(-1, 2)
        return (codes[:, 0] << 4) | codes[:, 1]

    quantize()
    times = []
    for _ in range(5):
        start = time.perf_counter()
        quantize()
        times.append(time.perf_counter() - start)
    return 2 * weights.numel() / sorted(times)[2]


def llama(folder, source, target, kind, threads):
    libs = [ctypes.CDLL(sorted(glob.glob(os.path.join(folder, p)))[0], mode=ctypes.RTLD_GLOBAL) for p in ("libggml-base.so*", "libggml.*so*", "libllama.*so*")]
    block = ctypes.c_uint8 * 512  # a structure of which only the first fields are known: threads, file type; pure is byte 19

    class Params(ctypes.Structure):
        _fields_ = [("bytes", block)]

    libs[1].ggml_backend_load_all_from_path(folder.encode())
    log = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
    libs[2].llama_log_set(log, None)
    libs[2].llama_quantize_params = libs[2].llama_model_quantize_default_params
    libs[2].llama_quantize_params.restype = Params
    params = libs[2].llama_quantize_params()
    if bytes(params.bytes[:4]) != b"\0\0\0\0" or bytes(params.bytes[16:20]) != b"\0\1\0\0":
        raise SystemExit("llama_model_quantize_params has another layout in this release")
    ctypes.memmove(ctypes.byref(params, 0), ctypes.byref(ctypes.c_int32(threads)), 4)
    ctypes.memmove(ctypes.byref(params, 4), ctypes.byref(ctypes.c_int32(FILE_TYPES[kind])), 4)
    params.bytes[19] = 1
    start = time.perf_counter()
    if libs[2].llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params)):
        raise SystemExit("llama_model_quantize failed")
    return os.path.getsize(source) / (time.perf_counter() - start)


def main(args):
    if args[0] == "torch":
        rate = torch_nf4(int(args[1]))
    else:
        rate = llama(args[1], args[2], args[3], args[4], int(args[5]))
    print(json.dumps({"bytes_per_s": rate}))


main(sys.argv[1:])
