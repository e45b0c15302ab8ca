"""The layouts of quantized checkpoints decoded in PyTorch from their published descriptions, one weight at a time and without a kernel.

Each function takes the tensors of a module by the ends of their names and returns its weight [outputs, inputs] in float64, which holds
every product of a stored scale and a difference of codes exactly.
"""

import torch


def bits_of(words, bits, count):
    """Codes from rows of 32-bit words [rows, words] that are one run of bits, the lowest first: [rows, count]."""
    v = words.to(torch.int64) & 0xFFFFFFFF
    each = (v.unsqueeze(-1) >> torch.arange(32)) & 1
    each = each.reshape(v.shape[0], -1)[:, : count * bits].reshape(v.shape[0], count, bits)
    return (each << torch.arange(bits)).sum(-1)


def gptq(t, config):
    """AutoGPTQ's layout: codes along the inputs, zero points along the outputs, in version 1 stored less one."""
    bits, less = config["bits"], 0 if config.get("checkpoint_format") == "gptq_v2" else 1
    rows, cols = t["qweight"].shape[1], t["qweight"].shape[0] * 32 // bits
    codes = bits_of(t["qweight"].T.contiguous(), bits, cols)
    zeros = bits_of(t["qzeros"], bits, rows) + less
    group = t["g_idx"].long()
    return t["scales"].double()[group].T * (codes - zeros[group].T)


def awq(t, config):
    """AutoAWQ's GEMM layout: words of eight 4-bit codes along the outputs, in the order 0 2 4 6 1 3 5 7."""
    at = torch.tensor([0, 4, 1, 5, 2, 6, 3, 7])

    def unpack(words):
        return bits_of(words.reshape(-1, 1), 4, 8)[:, at].reshape(words.shape[0], -1)

    cols = t["qweight"].shape[0]
    group = torch.arange(cols) // (config["group_size"] if config["group_size"] > 0 else cols)
    return (t["scales"].double()[group] * (unpack(t["qweight"]) - unpack(t["qzeros"])[group])).T


def compressed(t, config):
    """compressed-tensors: int8 weights, or codes of few bits that follow each other without gaps along the inputs of a row."""
    scheme = config["config_groups"]["group_0"]["weights"]
    scale = t["weight_scale"].double()
    if "weight" in t:
        return t["weight"].double() * scale
    bits, (rows, cols) = scheme["num_bits"], t["weight_shape"].tolist()
    codes = bits_of(t["weight_packed"], bits, cols)
    size = scheme["group_size"] if scheme["strategy"] == "group" else cols
    group = t["weight_g_idx"].long() if "weight_g_idx" in t else torch.arange(cols) // size
    zeros = torch.full((rows, scale.shape[1]), 1 << (bits - 1))
    if "weight_zero_point" in t:
        zeros = bits_of(t["weight_zero_point"].T.contiguous(), bits, rows).T
    return scale[:, group] * (codes - zeros[:, group])


LAYOUTS = {"gptq": (gptq, "qweight"), "awq": (awq, "qweight"), "compressed-tensors": (compressed, "weight_scale")}


def decode(tensors, config):
    """The weights of all modules of a checkpoint that are stored in codes: {module: weight}."""
    read, mark = LAYOUTS[config["quant_method"]]
    out = {}
    for name in tensors:
        if name.endswith("." + mark):
            module = name[: -len(mark) - 1]
            parts = {k[len(module) + 1 :]: v for k, v in tensors.items() if k.startswith(module + ".")}
            out[module] = read(parts, config)
    return out
