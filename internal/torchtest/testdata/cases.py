"""Writes layers.json.gz and networks.json.gz: modules of torch.nn and torchvision with what PyTorch computes from them.

    cases.py FOLDER

Weights and inputs are not stored: they follow from their names and shapes by the formula of `fill`, which torchtest.go has too.
Written with PyTorch 2.15.0 and torchvision 0.29.2.
"""

import gzip
import json
import sys
import warnings

import numpy as np
import torch
import torchvision
from torch import nn


def fill(name, shape):
    """Values between -1 and 1 that look random: a hash of the name and the index."""
    seed = 2166136261
    for b in name.encode():
        seed = (seed ^ b) * 16777619 % 2**32
    h = (np.arange(int(np.prod(shape)), dtype=np.uint64) * 2654435761 + seed) % 2**32
    h = (h ^ (h >> 15)) * 2246822519 % 2**32
    h = (h ^ (h >> 13)) * 3266489917 % 2**32
    h = h ^ (h >> 16)
    return (h / 2.0**31 - 1).reshape(shape)


def weight(name, shape, dtype):
    """A tensor of a state dict: variances are positive, factors near one, matrices keep the size of what they multiply."""
    if not dtype.is_floating_point:
        return torch.zeros(shape, dtype=dtype)
    v = fill(name, shape)
    if name.endswith("running_var"):
        v = 1 + v / 2
    elif len(shape) < 2:
        v = 1 + v / 4 if name.endswith("weight") else v / 4
    else:
        v = v * np.sqrt(3 / np.prod(shape[1:]))
    return torch.from_numpy(np.asarray(v, np.float64).astype(np.float32)).to(dtype)


def value(v):
    """An attribute as JSON, or KeyError where it is nothing that the cases need."""
    if v is None or isinstance(v, (bool, int, str)):
        return v
    if isinstance(v, float):
        return {"float": "inf" if v == float("inf") else "-inf" if v == -float("inf") else v}
    if isinstance(v, (tuple, list, torch.Size)):
        return {"tuple": [value(x) for x in v]}
    if callable(v) and getattr(v, "__module__", "").startswith("torch"):
        return {"global": [v.__module__, v.__name__]}
    if callable(v) and v in (torch.nn.functional.relu, torch.nn.functional.gelu):
        return {"global": ["torch._C._nn", v.__name__]}
    raise KeyError(v)


SKIPPED = {"_parameters", "_buffers", "_modules", "training", "_is_full_backward_hook", "_non_persistent_buffers_set", "_compiled_call_impl"}


def tree(m):
    """A module as JSON: its class, attributes, tensors and submodules."""
    attributes = {}
    for k, v in m.__dict__.items():
        if k not in SKIPPED and "hook" not in k and not isinstance(v, (nn.Module, torch.Tensor)):
            try:
                attributes[k] = value(v)
            except KeyError:
                pass
    tensors = lambda d: {k: None if v is None else [str(v.dtype).split(".")[1], list(v.shape)] for k, v in d.items()}
    node = {"class": f"{type(m).__module__}.{type(m).__qualname__}"}
    for k, v in (("attrs", attributes), ("params", tensors(m._parameters)), ("buffers", tensors(m._buffers)), ("modules", {k: None if v is None else tree(v) for k, v in m._modules.items()})):
        if v:
            node[k] = v
    return node


def case(name, model, inputs):
    model = model.eval()
    state = model.state_dict()
    for k, v in state.items():
        state[k] = weight(k, tuple(v.shape), v.dtype)
    model.load_state_dict(state, strict=True)
    xs, described = [], []
    for i, x in enumerate(inputs):
        if isinstance(x, list):
            xs.append(torch.tensor(x))
            described.append({"values": x})
        else:
            xs.append(torch.from_numpy(fill(f"input{i}", x).astype(np.float32)))
            described.append({"shape": list(x)})
    with torch.no_grad():
        y = model(*xs)
    flat = []
    for t in y if isinstance(y, tuple) else (y,):
        flat += [u for u in (t if isinstance(t, tuple) else (t,)) if u is not None]
    outputs = []
    for t in flat:
        v = t.reshape(-1).float()
        step = max(1, -(-v.numel() // 48))
        outputs.append({"shape": list(t.shape), "step": step, "values": [float(f"{x:.7g}") for x in v[::step].tolist()]})
    return {"name": name, "module": tree(model), "inputs": described, "outputs": outputs}


IMAGE, SIGNAL, VOLUME = (2, 4, 9, 7), (2, 4, 11), (1, 4, 5, 6, 7)
ENCODER = dict(d_model=8, nhead=2, dim_feedforward=12, batch_first=True)

LAYERS = {
    "Linear": (nn.Linear(6, 5), [(3, 6)]),
    "Linear of rank 3, no bias": (nn.Linear(6, 5, bias=False), [(2, 3, 6)]),
    "Bilinear": (nn.Bilinear(4, 5, 3), [(2, 4), (2, 5)]),
    "Identity": (nn.Sequential(nn.Linear(3, 3), nn.Identity(), nn.Dropout(0.5)), [(2, 3)]),
    "nested Sequential": (nn.Sequential(nn.Sequential(nn.Conv2d(4, 3, 1), nn.ReLU()), nn.Flatten(), nn.Linear(189, 2)), [IMAGE]),
    "Conv1d": (nn.Conv1d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2), [SIGNAL]),
    "Conv2d": (nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0)), [IMAGE]),
    "Conv2d depthwise": (nn.Conv2d(4, 8, 3, groups=4, bias=False), [IMAGE]),
    "Conv2d same": (nn.Conv2d(4, 3, (4, 3), padding="same", dilation=(1, 2)), [IMAGE]),
    "Conv2d reflect": (nn.Conv2d(4, 3, 3, padding=(2, 1), padding_mode="reflect"), [IMAGE]),
    "Conv2d replicate": (nn.Conv2d(4, 3, 3, padding=2, padding_mode="replicate"), [IMAGE]),
    "Conv2d circular": (nn.Conv2d(4, 3, 3, padding=1, padding_mode="circular"), [IMAGE]),
    "Conv3d": (nn.Conv3d(4, 3, 2, stride=2, padding=1), [VOLUME]),
    "ConvTranspose1d": (nn.ConvTranspose1d(4, 6, 3, stride=2, padding=1, output_padding=1), [SIGNAL]),
    "ConvTranspose2d": (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, dilation=2), [IMAGE]),
    "ConvTranspose3d": (nn.ConvTranspose3d(4, 2, 2, stride=2, bias=False), [VOLUME]),
    "BatchNorm1d": (nn.BatchNorm1d(4), [(3, 4)]),
    "BatchNorm2d": (nn.BatchNorm2d(4, eps=1e-3), [IMAGE]),
    "BatchNorm3d without weights": (nn.BatchNorm3d(4, affine=False), [VOLUME]),
    "InstanceNorm1d": (nn.InstanceNorm1d(4), [SIGNAL]),
    "InstanceNorm2d": (nn.InstanceNorm2d(4, affine=True), [IMAGE]),
    "InstanceNorm2d with statistics": (nn.InstanceNorm2d(4, track_running_stats=True), [IMAGE]),
    "LayerNorm": (nn.LayerNorm(7), [IMAGE]),
    "LayerNorm of two axes": (nn.LayerNorm((9, 7), elementwise_affine=False), [IMAGE]),
    "GroupNorm": (nn.GroupNorm(2, 4), [IMAGE]),
    "RMSNorm": (nn.RMSNorm(7), [IMAGE]),
    "LocalResponseNorm": (nn.LocalResponseNorm(3), [IMAGE]),
    **{k: (getattr(nn, k)(), [IMAGE]) for k in "ReLU Sigmoid Tanh Softsign SELU Mish ReLU6 Hardtanh LeakyReLU ELU CELU GELU SiLU Softplus Hardswish Hardsigmoid Hardshrink Softshrink Tanhshrink LogSigmoid PReLU".split()},
    "Hardtanh of a range": (nn.Hardtanh(-0.5, 0.25), [IMAGE]),
    "LeakyReLU steep": (nn.LeakyReLU(0.3), [IMAGE]),
    "GELU tanh": (nn.GELU("tanh"), [IMAGE]),
    "Softplus of beta": (nn.Softplus(2, 0.5), [IMAGE]),
    "PReLU of channels": (nn.PReLU(4), [IMAGE]),
    "Threshold": (nn.Threshold(0.1, -2), [IMAGE]),
    "GLU": (nn.GLU(1), [IMAGE]),
    "Softmax": (nn.Softmax(-1), [IMAGE]),
    "LogSoftmax": (nn.LogSoftmax(1), [IMAGE]),
    "Softmin": (nn.Softmin(1), [IMAGE]),
    "Softmax2d": (nn.Softmax2d(), [IMAGE]),
    "MaxPool1d": (nn.MaxPool1d(3, 2, 1), [SIGNAL]),
    "MaxPool2d": (nn.MaxPool2d((3, 2), stride=2, padding=1, dilation=1, ceil_mode=True), [IMAGE]),
    "MaxPool2d dilated": (nn.MaxPool2d(2, stride=1, dilation=2), [IMAGE]),
    "MaxPool3d": (nn.MaxPool3d(2), [VOLUME]),
    "AvgPool1d": (nn.AvgPool1d(3), [SIGNAL]),
    "AvgPool2d": (nn.AvgPool2d(3, 2, 1, ceil_mode=True), [IMAGE]),
    "AvgPool2d without padding": (nn.AvgPool2d(3, 2, 1, count_include_pad=False), [IMAGE]),
    "AvgPool3d": (nn.AvgPool3d(2), [VOLUME]),
    "AdaptiveAvgPool1d": (nn.AdaptiveAvgPool1d(4), [SIGNAL]),
    "AdaptiveAvgPool2d": (nn.AdaptiveAvgPool2d((4, 3)), [IMAGE]),
    "AdaptiveAvgPool2d of one axis": (nn.AdaptiveAvgPool2d((None, 2)), [IMAGE]),
    "AdaptiveAvgPool3d": (nn.AdaptiveAvgPool3d(1), [VOLUME]),
    "AdaptiveMaxPool2d": (nn.AdaptiveMaxPool2d((4, 3)), [IMAGE]),
    "LPPool2d": (nn.LPPool2d(2, 2), [IMAGE]),
    "Flatten": (nn.Flatten(2), [IMAGE]),
    "Unflatten": (nn.Unflatten(1, (2, 2)), [IMAGE]),
    "PixelShuffle": (nn.PixelShuffle(2), [(1, 8, 3, 2)]),
    "PixelUnshuffle": (nn.PixelUnshuffle(2), [(1, 2, 4, 6)]),
    "ChannelShuffle": (nn.ChannelShuffle(2), [IMAGE]),
    "ZeroPad2d": (nn.ZeroPad2d((1, 2, 3, 0)), [IMAGE]),
    "ZeroPad2d negative": (nn.ZeroPad2d((-1, 2, 0, -2)), [IMAGE]),
    "ConstantPad1d": (nn.ConstantPad1d((1, 2), 0.5), [SIGNAL]),
    "ReflectionPad2d": (nn.ReflectionPad2d((1, 2, 3, 0)), [IMAGE]),
    "ReplicationPad2d": (nn.ReplicationPad2d((1, 2, 3, 0)), [IMAGE]),
    "CircularPad2d": (nn.CircularPad2d((1, 2, 3, 0)), [IMAGE]),
    "Upsample nearest": (nn.Upsample(scale_factor=2), [IMAGE]),
    "Upsample bilinear": (nn.Upsample(size=(5, 12), mode="bilinear"), [IMAGE]),
    "Upsample aligned": (nn.Upsample(scale_factor=(2, 1.5), mode="bilinear", align_corners=True), [IMAGE]),
    "Upsample linear": (nn.Upsample(scale_factor=2, mode="linear"), [SIGNAL]),
    "Upsample bicubic": (nn.Upsample(scale_factor=2, mode="bicubic"), [IMAGE]),
    "Embedding": (nn.Embedding(9, 5), [[[1, 8, 0], [3, 3, 2]]]),
    "EmbeddingBag": (nn.EmbeddingBag(9, 5, mode="sum"), [[[1, 8, 0], [3, 3, 2]]]),
    "LSTM": (nn.LSTM(5, 4), [(6, 2, 5)]),
    "LSTM of two layers and directions": (nn.LSTM(5, 4, num_layers=2, bidirectional=True, batch_first=True), [(2, 6, 5)]),
    "LSTM without bias": (nn.LSTM(5, 4, bias=False), [(6, 2, 5)]),
    "GRU": (nn.GRU(5, 4, num_layers=2, bidirectional=True), [(6, 2, 5)]),
    "RNN": (nn.RNN(5, 4, batch_first=True), [(2, 6, 5)]),
    "RNN of ReLU": (nn.RNN(5, 4, nonlinearity="relu", bidirectional=True), [(6, 2, 5)]),
    "TransformerEncoderLayer": (nn.TransformerEncoderLayer(**ENCODER), [(2, 3, 8)]),
    "TransformerEncoderLayer norm first": (nn.TransformerEncoderLayer(**ENCODER, norm_first=True, activation="gelu"), [(2, 3, 8)]),
    "TransformerEncoderLayer of steps": (nn.TransformerEncoderLayer(8, 2, 12), [(3, 2, 8)]),
    "InstanceNorm3d": (nn.InstanceNorm3d(4), [VOLUME]),
    "SyncBatchNorm": (nn.SyncBatchNorm(4), [IMAGE]),
    "RReLU": (nn.RReLU(0.1, 0.4), [IMAGE]),
    "AdaptiveMaxPool1d": (nn.AdaptiveMaxPool1d(4), [SIGNAL]),
    "AdaptiveMaxPool3d": (nn.AdaptiveMaxPool3d((2, 3, 2)), [VOLUME]),
    "LPPool1d": (nn.LPPool1d(2, 2), [SIGNAL]),
    "ZeroPad1d": (nn.ZeroPad1d((1, 2)), [SIGNAL]),
    "ZeroPad3d": (nn.ZeroPad3d((1, 0, 2, 1, 0, 1)), [VOLUME]),
    "ConstantPad3d": (nn.ConstantPad3d(1, -2.0), [VOLUME]),
    "ReflectionPad1d": (nn.ReflectionPad1d((2, 1)), [SIGNAL]),
    "ReflectionPad3d": (nn.ReflectionPad3d(1), [VOLUME]),
    "ReplicationPad1d": (nn.ReplicationPad1d((2, 1)), [SIGNAL]),
    "ReplicationPad3d": (nn.ReplicationPad3d((1, 0, 2, 1, 0, 1)), [VOLUME]),
    "CircularPad1d": (nn.CircularPad1d((2, 1)), [SIGNAL]),
    "CircularPad3d": (nn.CircularPad3d((1, 0, 2, 1, 0, 1)), [VOLUME]),
    "UpsamplingNearest2d": (nn.UpsamplingNearest2d(scale_factor=2), [IMAGE]),
    "UpsamplingBilinear2d": (nn.UpsamplingBilinear2d(scale_factor=2), [IMAGE]),
    "Fold": (nn.Fold((5, 4), (2, 3), padding=1, stride=(2, 1)), [(2, 12, 12)]),
    "Unfold": (nn.Unfold((2, 3), dilation=(2, 1), padding=1, stride=2), [IMAGE]),
    "CosineSimilarity": (nn.CosineSimilarity(dim=1), [(3, 4, 2), (3, 4, 2)]),
    "PairwiseDistance": (nn.PairwiseDistance(), [(3, 4), (3, 4)]),
    "PairwiseDistance of order 1": (nn.PairwiseDistance(1, keepdim=True), [(3, 4), (3, 4)]),
    "LSTMCell": (nn.LSTMCell(5, 4), [(3, 5)]),
    "GRUCell": (nn.GRUCell(5, 4), [(3, 5)]),
    "GRUCell of one": (nn.GRUCell(5, 4, bias=False), [(5,)]),
    "RNNCell": (nn.RNNCell(5, 4, nonlinearity="relu"), [(3, 5)]),
    "TransformerDecoderLayer": (nn.TransformerDecoderLayer(**ENCODER), [(2, 3, 8), (2, 5, 8)]),
    "TransformerDecoderLayer norm first": (nn.TransformerDecoderLayer(**ENCODER, norm_first=True, activation="gelu"), [(2, 3, 8), (2, 5, 8)]),
    "TransformerDecoder": (nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 12), 2, norm=nn.LayerNorm(8)), [(3, 2, 8), (5, 2, 8)]),
    "Transformer": (nn.Transformer(8, 2, 1, 2, 12, batch_first=True), [(2, 5, 8), (2, 3, 8)]),
    "TransformerEncoder": (nn.TransformerEncoder(nn.TransformerEncoderLayer(**ENCODER), 2, norm=nn.LayerNorm(8)), [(2, 3, 8)]),
}


class Attention(nn.MultiheadAttention):
    """Gives no weights, so that there is one output."""

    def forward(self, q, k, v):
        return super().forward(q, k, v, need_weights=False)[0]


Attention.__module__, Attention.__qualname__ = "torch.nn.modules.activation", "MultiheadAttention"
LAYERS["MultiheadAttention"] = (Attention(8, 2, batch_first=True), [(2, 3, 8), (2, 5, 8), (2, 5, 8)])
LAYERS["MultiheadAttention of other sizes"] = (Attention(8, 2, kdim=6, vdim=4, bias=False), [(3, 2, 8), (5, 2, 6), (5, 2, 4)])

NETWORKS = "resnet18 mobilenet_v2 mobilenet_v3_small efficientnet_b0 densenet121 googlenet shufflenet_v2_x0_5 squeezenet1_0 squeezenet1_1 mnasnet0_5 regnet_x_400mf regnet_y_400mf".split()


def main(folder):
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    write(folder + "/layers.json.gz", [case(n, m, x) for n, (m, x) in LAYERS.items()])
    make = lambda n: getattr(torchvision.models, n)(weights=None, **({"init_weights": False} if n == "googlenet" else {}))
    write(folder + "/networks.json.gz", [case(n, make(n), [(1, 3, 64, 64)]) for n in NETWORKS])


def write(path, cases):
    with gzip.GzipFile(path, "wb", mtime=0) as f:
        f.write(json.dumps(cases, separators=(",", ":")).encode())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
