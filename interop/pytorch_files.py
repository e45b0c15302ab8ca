"""Saves networks in every form that PyTorch has for files, with inputs and what PyTorch computes from them.

    pytorch_files.py FOLDER [NAME...]

For each network NAME: NAME.KIND.pt (or .pt2) for each KIND of module, legacy, trace, script and export that this PyTorch can
make of it, NAME.in0.npy and so on,
NAME.names.json with the names of the inputs, and NAME.out0.npy and so on. What it cannot make is left out. Works with PyTorch 1.13 too.
"""

import inspect
import json
import os
import sys
import warnings

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    """A network of a class of its own, which no reader knows."""

    def __init__(self, **layers):
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)


class Residual(Net):
    def __init__(self):
        super().__init__(conv1=nn.Conv2d(4, 4, 3, padding=1, bias=False), bn1=nn.BatchNorm2d(4), conv2=nn.Conv2d(4, 4, 3, padding=1), down=nn.Conv2d(4, 4, 1))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.conv2(y)
        y += self.down(x)
        return F.relu_(y)


class Unet(Net):
    def __init__(self):
        super().__init__(a=nn.Conv2d(3, 6, 3, padding=1), b=nn.Conv2d(6, 12, 3, padding=1), up=nn.ConvTranspose2d(12, 6, 2, 2), c=nn.Conv2d(12, 2, 3, padding=1))

    def forward(self, x):
        a = torch.relu(self.a(x))
        b = torch.relu(self.b(F.max_pool2d(a, 2)))
        return self.c(torch.cat([a, self.up(b)], 1)), F.interpolate(b, scale_factor=2.0, mode="bilinear", align_corners=False)


class Attention(Net):
    def __init__(self):
        super().__init__(qkv=nn.Linear(32, 96), out=nn.Linear(32, 32), norm=nn.LayerNorm(32))

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(b, t, 3, 4, c // 4).permute(2, 0, 3, 1, 4)
        a = (q @ k.transpose(-2, -1) * (c // 4) ** -0.5).softmax(dim=-1)
        return x + self.out((a @ v).transpose(1, 2).reshape(b, t, c))


class Classifier(Net):
    """Text to classes: embedding, LSTM of two directions, attention over the steps."""

    def __init__(self):
        super().__init__(embed=nn.Embedding(50, 16, padding_idx=0), rnn=nn.LSTM(16, 12, 2, batch_first=True, bidirectional=True), score=nn.Linear(24, 1), out=nn.Linear(24, 5))

    def forward(self, tokens):
        y, _ = self.rnn(self.embed(tokens))
        w = torch.softmax(self.score(y).squeeze(-1).masked_fill(tokens == 0, -1e9), dim=1)
        return self.out((y * w.unsqueeze(-1)).sum(1))


class TextEncoder(Net):
    def __init__(self):
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        super().__init__(embed=nn.Embedding(60, 32), place=nn.Embedding(40, 32), encoder=nn.TransformerEncoder(layer, 2), out=nn.Linear(32, 60))

    def forward(self, tokens):
        place = torch.arange(tokens.shape[1]).unsqueeze(0).expand_as(tokens)
        return self.out(self.encoder(self.embed(tokens) + self.place(place)))


class Gpt(Net):
    """A causal decoder of one layer that writes its attention out."""

    def __init__(self):
        super().__init__(embed=nn.Embedding(40, 24), qkv=nn.Linear(24, 72), out=nn.Linear(24, 24), norm=nn.LayerNorm(24), head=nn.Linear(24, 40, bias=False))
        self.head.weight = self.embed.weight
        self.register_buffer("mask", torch.tril(torch.ones(16, 16)).view(1, 1, 16, 16))

    def forward(self, tokens):
        x = self.embed(tokens)
        b, t, c = x.size()
        q, k, v = self.qkv(self.norm(x)).split(c, dim=2)
        q, k, v = (y.view(b, t, 3, c // 3).transpose(1, 2) for y in (q, k, v))
        a = (q @ k.transpose(-2, -1)) * (1.0 / 8**0.5)
        a = F.softmax(a.masked_fill(self.mask[:, :, :t, :t] == 0, float("-inf")), dim=-1)
        x = x + self.out((a @ v).transpose(1, 2).contiguous().view(b, t, c))
        return self.head(x)


class Causal(Net):
    def __init__(self):
        super().__init__(q=nn.Linear(16, 16), k=nn.Linear(16, 16), v=nn.Linear(16, 16))

    def forward(self, x):
        q, k, v = (f(x).unflatten(-1, (2, 8)).transpose(1, 2) for f in (self.q, self.k, self.v))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)


class SqueezeExcite(Net):
    def __init__(self):
        super().__init__(fc1=nn.Conv2d(6, 2, 1), fc2=nn.Conv2d(2, 6, 1))

    def forward(self, x):
        s = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.fc2(F.silu(self.fc1(s))))


class Shuffle(nn.Module):
    def forward(self, x):
        b, c, h, w = x.shape
        x = x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)
        left, right = x.chunk(2, dim=1)
        return torch.cat((right, left * 2), 1)


class Loop(Net):
    """Layers in a list, applied in a loop, with outputs as a dictionary of lists."""

    def __init__(self):
        super().__init__(layers=nn.ModuleList([nn.Linear(8, 8) for _ in range(3)]))

    def forward(self, x):
        out = []
        for layer in self.layers:
            x = torch.tanh(layer(x))
            out.append(x)
        return torch.stack(out, 1)


class Two(Net):
    def __init__(self):
        super().__init__(a=nn.Linear(6, 10), b=nn.Linear(4, 10))

    def forward(self, x, y):
        d = self.a(x) - self.b(y)
        return d.pow(2).sum(-1).sqrt(), d.abs().max(dim=1)[0]


class Merged(Net):
    """Two images of one size, added and put side by side."""

    def __init__(self):
        super().__init__(a=nn.Conv2d(3, 4, 3, padding=1), b=nn.Conv2d(3, 4, 3, padding=1), c=nn.Conv2d(8, 2, 1))

    def forward(self, x, y):
        a, b = self.a(x), self.b(y)
        return self.c(torch.cat([a + b, a * b], 1)), F.interpolate(a, size=y.shape[2:]) - b


class Arithmetic(nn.Module):
    def forward(self, x):
        y = torch.exp(-x.abs()) + torch.log1p(x.clamp(min=0)) - torch.rsqrt(x * x + 1.0)
        z = torch.where(x > 0, y, 1 - y) * torch.sin(x) + torch.cos(x) / 2 + x.floor() * 0.1 + torch.remainder(x, 2.0)
        return torch.minimum(z, y * 2) + x.std(dim=-1, keepdim=True) + x.var(dim=1, unbiased=False).unsqueeze(1) + x.norm(dim=-1, keepdim=True)


class Indexing(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("order", torch.tensor([3, 1, 0, 2]))

    def forward(self, x):
        y = x[:, self.order] + x[:, [0, 0, 1, 1]] + x.flip(-1) + torch.roll(x, 1, dims=1)
        y = torch.gather(y, 2, torch.zeros(y.shape[0], 4, 2, dtype=torch.long) + 1)
        return y, x.topk(2, dim=-1)[0], x.argmax(-1).float(), x[..., -1], x[:, 1:3, ::2], x.cumsum(1)


class Writing(nn.Module):
    """Writes into parts of a tensor in place."""

    def forward(self, x):
        y = torch.zeros_like(x)
        y[:, 0] = x[:, 1] * 2
        y[:, 1:, 1:] = x[:, 1:, :-1]
        y[:, :, 0] += 1
        z = y.view(-1, x.shape[2])
        z.mul_(3)
        return y, z.relu_().sum()


class Einsum(Net):
    def __init__(self):
        super().__init__(w=nn.Linear(6, 6))

    def forward(self, x):
        return torch.einsum("bij,kj->bik", x, self.w.weight) + torch.baddbmm(x, x, x.transpose(1, 2)) + torch.addmm(self.w.bias, x[0], self.w.weight)


class States(Net):
    """An LSTM that is given its first states."""

    def __init__(self):
        super().__init__(rnn=nn.LSTM(5, 7))

    def forward(self, x, h, c):
        y, (hn, cn) = self.rnn(x, (h, c))
        return y, hn, cn


class Cells(Net):
    def __init__(self):
        super().__init__(a=nn.LSTMCell(5, 6), b=nn.GRUCell(6, 4), c=nn.RNNCell(4, 3))

    def forward(self, x):
        h, c = self.a(x)
        return self.c(self.b(h)), c


class Masked(Net):
    def __init__(self):
        super().__init__(layer=nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True, activation="gelu"))

    def forward(self, x, padding):
        return self.layer(x, src_key_padding_mask=padding)


class Cross(Net):
    def __init__(self):
        super().__init__(attention=nn.MultiheadAttention(16, 4))

    def forward(self, q, k):
        return self.attention(q, k, k, need_weights=False)[0]


class Named(nn.Module):
    def forward(self, x):
        return {"sum": x.sum(1), "mean": x.mean(1)}


def image(*shape):
    return lambda: (torch.randn(*shape),)


def tokens(high, *shape):
    return lambda: (torch.randint(1, high, shape),)


def seq(*layers):
    return lambda: nn.Sequential(*(layer() for layer in layers))


def models():
    """The networks by name: what builds one, and what makes its inputs."""
    img, row = image(2, 6, 14, 14), image(2, 6, 20)
    act = {name: (lambda c=getattr(nn, name): c(), image(3, 4, 5)) for name in (
        "ReLU ReLU6 LeakyReLU ELU CELU SELU GELU SiLU Mish Sigmoid Tanh Softplus Softsign Hardswish Hardsigmoid Hardtanh "
        "Hardshrink Softshrink Tanhshrink LogSigmoid PReLU RReLU Identity AlphaDropout").split()}
    volume = image(1, 4, 5, 6, 7)
    table = {
        **act,
        "GELU_tanh": (lambda: nn.GELU(approximate="tanh"), image(3, 4, 5)),
        "Threshold": (lambda: nn.Threshold(0.1, 20), image(3, 4, 5)),
        "Softmax": (lambda: nn.Softmax(dim=1), image(3, 4, 5)),
        "LogSoftmax": (lambda: nn.LogSoftmax(dim=-1), image(3, 4, 5)),
        "GLU": (lambda: nn.GLU(dim=1), image(3, 4, 5)),
        "Linear": (lambda: nn.Linear(8, 5), image(3, 8)),
        "Linear_no_bias": (lambda: nn.Linear(8, 5, bias=False), image(3, 8)),
        "Bilinear": (lambda: nn.Bilinear(4, 5, 3), lambda: (torch.randn(2, 4), torch.randn(2, 5))),
        "Conv1d": (lambda: nn.Conv1d(6, 8, 5, stride=2, padding=2), row),
        "Conv2d": (lambda: nn.Conv2d(6, 9, 3, stride=2, padding=1, groups=3), img),
        "Conv2d_same": (lambda: nn.Conv2d(6, 8, 4, padding="same", dilation=2), img),
        "Conv2d_reflect": (lambda: nn.Conv2d(6, 8, 3, padding=1, padding_mode="reflect"), img),
        "Conv2d_circular": (lambda: nn.Conv2d(6, 8, 3, padding=(2, 1), padding_mode="circular"), img),
        "Conv3d": (lambda: nn.Conv3d(2, 4, 3, padding=1), image(1, 2, 6, 7, 8)),
        "ConvTranspose1d": (lambda: nn.ConvTranspose1d(6, 4, 3, stride=2), row),
        "ConvTranspose2d": (lambda: nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, output_padding=1, groups=2), img),
        "BatchNorm1d": (lambda: nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6)), image(3, 8)),
        "BatchNorm2d": (lambda: nn.BatchNorm2d(6), img),
        "GroupNorm": (lambda: nn.GroupNorm(3, 6), img),
        "LayerNorm": (lambda: nn.LayerNorm(12), image(2, 5, 12)),
        "InstanceNorm2d": (lambda: nn.InstanceNorm2d(6, affine=True), img),
        "LocalResponseNorm": (lambda: nn.LocalResponseNorm(3), img),
        "MaxPool2d": (lambda: nn.MaxPool2d(3, 2, 1), img),
        "MaxPool2d_ceil": (lambda: nn.MaxPool2d(3, 2, ceil_mode=True), img),
        "MaxPool1d": (lambda: nn.MaxPool1d(3), row),
        "AvgPool2d": (lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False), img),
        "AvgPool2d_ceil": (lambda: nn.AvgPool2d(3, 2, ceil_mode=True), img),
        "AdaptiveAvgPool2d": (lambda: nn.AdaptiveAvgPool2d((3, 5)), img),
        "AdaptiveMaxPool2d": (lambda: nn.AdaptiveMaxPool2d(7), img),
        "LPPool2d": (lambda: nn.LPPool2d(2, 3), img),
        "ReflectionPad2d": (lambda: nn.ReflectionPad2d((1, 2, 3, 1)), img),
        "ReplicationPad2d": (lambda: nn.ReplicationPad2d(2), img),
        "ZeroPad2d": (lambda: nn.ZeroPad2d((1, 0, 2, 1)), img),
        "ConstantPad1d": (lambda: nn.ConstantPad1d(2, 3.5), row),
        "Upsample_nearest": (lambda: nn.Upsample(scale_factor=2), img),
        "Upsample_bilinear": (lambda: nn.Upsample(size=(20, 31), mode="bilinear", align_corners=True), img),
        "Upsample_bicubic": (lambda: nn.Upsample(scale_factor=1.5, mode="bicubic"), img),
        "Softmin": (lambda: nn.Softmin(dim=1), image(3, 4, 5)),
        "Softmax2d": (nn.Softmax2d, img),
        "ConvTranspose3d": (lambda: nn.ConvTranspose3d(4, 2, 2, stride=2), volume),
        "BatchNorm3d": (lambda: nn.BatchNorm3d(4), volume),
        "InstanceNorm1d": (lambda: nn.InstanceNorm1d(6), row),
        "InstanceNorm3d": (lambda: nn.InstanceNorm3d(4), volume),
        "MaxPool3d": (lambda: nn.MaxPool3d(2), volume),
        "AvgPool1d": (lambda: nn.AvgPool1d(3), row),
        "AvgPool3d": (lambda: nn.AvgPool3d(2), volume),
        "AdaptiveAvgPool1d": (lambda: nn.AdaptiveAvgPool1d(6), row),
        "AdaptiveAvgPool3d": (lambda: nn.AdaptiveAvgPool3d((2, None, 3)), volume),
        "AdaptiveMaxPool1d": (lambda: nn.AdaptiveMaxPool1d(6), row),
        "AdaptiveMaxPool3d": (lambda: nn.AdaptiveMaxPool3d(2), volume),
        "LPPool1d": (lambda: nn.LPPool1d(2, 3), row),
        "ReflectionPad1d": (lambda: nn.ReflectionPad1d((2, 1)), row),
        "ReflectionPad3d": (lambda: nn.ReflectionPad3d(1), volume),
        "ReplicationPad1d": (lambda: nn.ReplicationPad1d(2), row),
        "ReplicationPad3d": (lambda: nn.ReplicationPad3d((1, 0, 2, 1, 0, 1)), volume),
        "ConstantPad2d": (lambda: nn.ConstantPad2d((1, -1, 2, 0), -0.5), img),
        "ConstantPad3d": (lambda: nn.ConstantPad3d(1, 2.5), volume),
        "UpsamplingNearest2d": (lambda: nn.UpsamplingNearest2d(scale_factor=3), img),
        "UpsamplingBilinear2d": (lambda: nn.UpsamplingBilinear2d(size=(9, 20)), img),
        "Dropout2d": (seq(lambda: nn.Conv2d(6, 4, 1), nn.Dropout2d, nn.ReLU), img),
        "LSTMCell": (lambda: nn.LSTMCell(5, 7), image(3, 5)),
        "GRUCell": (lambda: nn.GRUCell(5, 7), image(3, 5)),
        "RNNCell": (lambda: nn.RNNCell(5, 7), image(3, 5)),
        "PairwiseDistance": (nn.PairwiseDistance, lambda: (torch.randn(3, 9), torch.randn(3, 9))),
        "TransformerDecoderLayer": (lambda: nn.TransformerDecoderLayer(32, 4, 48), lambda: (torch.randn(5, 2, 32), torch.randn(7, 2, 32))),
        "TransformerDecoder": (lambda: nn.TransformerDecoder(
            nn.TransformerDecoderLayer(32, 4, 48, batch_first=True, norm_first=True, activation="gelu"), 2, norm=nn.LayerNorm(32)), lambda: (torch.randn(2, 5, 32), torch.randn(2, 7, 32))),
        "Transformer": (lambda: nn.Transformer(32, 4, 1, 1, 48, batch_first=True), lambda: (torch.randn(2, 7, 32), torch.randn(2, 5, 32))),
        "PixelShuffle": (lambda: nn.PixelShuffle(2), image(1, 8, 5, 6)),
        "PixelUnshuffle": (lambda: nn.PixelUnshuffle(2), image(1, 3, 6, 8)),
        "ChannelShuffle": (lambda: nn.ChannelShuffle(3), img),
        "Flatten": (lambda: nn.Sequential(nn.Conv2d(6, 3, 3), nn.Flatten(), nn.Linear(432, 4)), img),
        "Unflatten": (lambda: nn.Sequential(nn.Linear(8, 12), nn.Unflatten(1, (3, 4))), image(2, 8)),
        "Fold": (lambda: nn.Fold((6, 7), (2, 3)), image(1, 12, 25)),
        "Unfold": (lambda: nn.Unfold((2, 3), padding=1), image(1, 3, 6, 7)),
        "Embedding": (lambda: nn.Embedding(30, 7), tokens(30, 2, 9)),
        "EmbeddingBag": (lambda: nn.EmbeddingBag(30, 7, mode="sum"), tokens(30, 2, 9)),
        "CosineSimilarity": (lambda: nn.CosineSimilarity(dim=1), lambda: (torch.randn(3, 9), torch.randn(3, 9))),
        "Dropout": (seq(lambda: nn.Linear(8, 8), lambda: nn.Dropout(0.5), lambda: nn.ReLU(inplace=True)), image(3, 8)),
        "LSTM": (lambda: nn.LSTM(5, 7, 2), image(6, 3, 5)),
        "LSTM_bidirectional": (lambda: nn.LSTM(5, 7, 2, bidirectional=True, batch_first=True), image(3, 6, 5)),
        "GRU": (lambda: nn.GRU(5, 7, 2, batch_first=True), image(3, 6, 5)),
        "GRU_no_bias": (lambda: nn.GRU(5, 7, bias=False), image(6, 3, 5)),
        "RNN_tanh": (lambda: nn.RNN(5, 7), image(6, 3, 5)),
        "RNN_relu": (lambda: nn.RNN(5, 7, nonlinearity="relu", bidirectional=True), image(6, 3, 5)),
        "MultiheadAttention": (Cross, lambda: (torch.randn(5, 2, 16), torch.randn(7, 2, 16))),
        "TransformerEncoderLayer": (lambda: nn.TransformerEncoderLayer(32, 4, 48), image(7, 2, 32)),
        "TransformerEncoder": (lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 48, batch_first=True), 2), image(2, 7, 32)),
        "TransformerEncoder_gelu": (lambda: nn.TransformerEncoder(
            nn.TransformerEncoderLayer(32, 4, 48, batch_first=True, norm_first=True, activation="gelu"), 2, enable_nested_tensor=False), image(2, 7, 32)),
        "mlp": (seq(lambda: nn.Linear(12, 16), nn.ReLU, lambda: nn.Linear(16, 16), nn.Tanh, lambda: nn.Linear(16, 3)), image(4, 12)),
        "lenet": (seq(lambda: nn.Conv2d(1, 6, 5), nn.ReLU, lambda: nn.MaxPool2d(2), lambda: nn.Conv2d(6, 16, 5), nn.ReLU, lambda: nn.MaxPool2d(2), nn.Flatten,
                      lambda: nn.Linear(256, 10)), image(2, 1, 28, 28)),
        "residual": (Residual, image(2, 4, 9, 9)),
        "unet": (Unet, image(1, 3, 16, 16)),
        "attention": (Attention, image(2, 9, 32)),
        "text_classifier": (Classifier, tokens(50, 2, 11)),
        "text_encoder": (TextEncoder, tokens(60, 2, 13)),
        "gpt": (Gpt, tokens(40, 2, 10)),
        "squeeze_excite": (SqueezeExcite, img),
        "shuffle": (Shuffle, image(2, 8, 5, 5)),
        "loop": (Loop, image(3, 8)),
        "two_inputs": (Two, lambda: (torch.randn(3, 6), torch.randn(3, 4))),
        "merged": (Merged, lambda: (torch.randn(2, 3, 6, 8), torch.randn(2, 3, 6, 8))),
        "arithmetic": (Arithmetic, image(3, 6)),
        "indexing": (Indexing, image(2, 4, 6)),
        "writing": (Writing, image(2, 4, 6)),
        "einsum": (Einsum, image(2, 6, 6)),
        "states": (States, lambda: (torch.randn(6, 3, 5), torch.randn(1, 3, 7), torch.randn(1, 3, 7))),
        "cells": (Cells, image(3, 5)),
        "masked": (Masked, lambda: (torch.randn(2, 6, 16), torch.tensor([[False] * 6, [False] * 4 + [True] * 2]))),
        "named": (Named, image(3, 8)),
    }
    for name, around in (("ZeroPad1d", row), ("ZeroPad3d", volume), ("CircularPad1d", row), ("CircularPad2d", img), ("CircularPad3d", volume)):
        if hasattr(nn, name):
            table[name] = (lambda c=getattr(nn, name): c(2), around)
    if hasattr(nn, "RMSNorm"):
        table["RMSNorm"] = (lambda: nn.RMSNorm(12, eps=1e-6), image(2, 5, 12))
        table["SyncBatchNorm"] = (lambda: nn.SyncBatchNorm(6), img)  # PyTorch 1.13 computes it on GPUs alone
    if hasattr(F, "scaled_dot_product_attention"):
        table["causal"] = (Causal, image(2, 6, 16))
    return table


def outputs(y):
    """All tensors of a result, in order."""
    if torch.is_tensor(y):
        return [y]
    if isinstance(y, dict):
        y = y.values()
    return [t for part in y if part is not None for t in outputs(part)]


def settle(model):
    """Gives normalizations statistics that are not zero and one."""
    for m in model.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            m.running_mean.normal_(0, 0.1)
            m.running_var.uniform_(0.7, 1.3)
    return model.eval()


def attempt(what, save):
    try:
        save()
    except Exception as e:  # a form that this PyTorch does not make of the network
        print(f"not saved: {what}: {str(e).strip().splitlines()[0][:120] if str(e).strip() else type(e).__name__}")


def write(folder, name, model, inputs, known):
    """Saves a network; known says that its classes are part of PyTorch."""
    path = os.path.join(folder, name)
    with torch.no_grad():
        result = outputs(model(*inputs))
    names = [p for p in inspect.signature(model.forward).parameters][: len(inputs)]
    with open(path + ".names.json", "w") as f:
        json.dump(names, f)
    for i, x in enumerate(inputs):
        np.save(f"{path}.in{i}.npy", x.numpy())
    for i, y in enumerate(result):
        np.save(f"{path}.out{i}.npy", y.numpy())
    if known:
        torch.save(model, path + ".module.pt")
        torch.save(model, path + ".legacy.pt", _use_new_zipfile_serialization=False)
    with torch.no_grad():
        attempt(name + " trace", lambda: torch.jit.trace(model, inputs, strict=False).save(path + ".trace.pt"))
        attempt(name + " script", lambda: torch.jit.script(model).save(path + ".script.pt"))
        if hasattr(torch, "export") and hasattr(torch.export, "save"):
            attempt(name + " export", lambda: torch.export.save(torch.export.export(model, inputs), path + ".export.pt2"))


def main():
    folder, wanted = sys.argv[1], sys.argv[2:]
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    os.makedirs(folder, exist_ok=True)
    table = models()
    for name in wanted or table:
        build, make = table[name]
        torch.manual_seed(1)
        model = settle(build())
        write(folder, name, model, make(), type(model).__module__ != "__main__")
    print(f"{len(wanted or table)} networks saved by PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
