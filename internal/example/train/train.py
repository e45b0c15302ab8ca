"""Trains the example models on data of the program in ../gen and writes them as ONNX.

usage: train.py DATA MODELS EXPECTED
  DATA      folder of NAME_SET_inputs.npy and NAME_SET_labels.npy
  MODELS    folder for NAME.onnx
  EXPECTED  JSON file for what the models compute: the tests compare with it

One thread and fixed seeds: the same machine and library versions give the same weights.
"""

import json
import math
import pathlib
import sys

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from export import Graph


class ShapeNet(nn.Module):
    """Convolutions with batch normalization, two residual blocks and a depthwise step: 32x32 pixels to 10 classes."""

    def __init__(self):
        super().__init__()

        def conv(cin, cout, kernel, stride=1, groups=1):
            pad = kernel // 2
            return nn.ModuleList([nn.Conv2d(cin, cout, kernel, stride, pad, groups=groups, bias=False), nn.BatchNorm2d(cout)])

        self.stem = conv(3, 32, 3)
        self.block1a, self.block1b = conv(32, 32, 3), conv(32, 32, 3)
        self.depthwise = conv(32, 32, 3, stride=2, groups=32)
        self.pointwise = conv(32, 64, 1)
        self.block2a, self.block2b = conv(64, 64, 3), conv(64, 64, 3)
        self.widen = conv(64, 128, 3, stride=2)
        self.head = nn.Linear(128, 10)

    def forward(self, x):
        return self.walk(x, Eager(self))

    def walk(self, x, to):
        """The network in terms of the steps that `to` offers: the tensors of Eager or the names of Recorder."""
        x = to.pool(to.relu(to.conv("stem", x)))
        y = to.relu(to.conv("block1a", x))
        x = to.relu(to.add(to.conv("block1b", y), x))
        x = to.relu(to.conv("depthwise", x))
        x = to.relu(to.conv("pointwise", x))
        y = to.relu(to.conv("block2a", x))
        x = to.relu(to.add(to.conv("block2b", y), x))
        x = to.relu(to.conv("widen", x))
        return to.linear("head", to.average(x))


class Eager:
    """Computes the steps of ShapeNet."""

    def __init__(self, net):
        self.net = net

    def conv(self, name, x):
        conv, norm = getattr(self.net, name)
        return norm(conv(x))

    def linear(self, name, x):
        return getattr(self.net, name)(x)

    pool = staticmethod(lambda x: F.max_pool2d(x, 2))
    relu = staticmethod(F.relu)
    add = staticmethod(torch.add)
    average = staticmethod(lambda x: x.mean((2, 3)))


class Recorder:
    """Records the steps of ShapeNet as ONNX nodes."""

    def __init__(self, net, graph):
        self.net, self.graph = net, graph

    def conv(self, name, x):
        g, (conv, norm) = self.graph, getattr(self.net, name)
        x = g.add("Conv", name, x, g.param(name + ".weight", conv.weight), kernel_shape=list(conv.kernel_size),
                  strides=list(conv.stride), pads=2 * list(conv.padding), group=conv.groups)
        moments = {"scale": norm.weight, "bias": norm.bias, "mean": norm.running_mean, "var": norm.running_var}
        return g.add("BatchNormalization", name + ".norm", x,
                     *(g.param(f"{name}.norm.{k}", v) for k, v in moments.items()), epsilon=norm.eps)

    def linear(self, name, x):
        g, layer = self.graph, getattr(self.net, name)
        return g.add("Gemm", name, x, g.param(name + ".weight", layer.weight), g.param(name + ".bias", layer.bias), transB=1)

    def pool(self, x):
        return self.graph.add("MaxPool", x + ".pool", x, kernel_shape=[2, 2], strides=[2, 2])

    def relu(self, x):
        return self.graph.add("Relu", x + ".relu", x)

    def add(self, a, b):
        return self.graph.add("Add", a + ".sum", a, b)

    def average(self, x):
        return self.graph.add("Flatten", "features", self.graph.add("GlobalAveragePool", "average", x), axis=1)


class GrammarNet(nn.Module):
    """A pre-norm transformer encoder with learned positions that start as waves: 32 token ids to 8 classes."""

    vocabulary, tokens, width, heads, hidden, layers, classes = 16, 32, 96, 4, 288, 2, 8

    def __init__(self):
        super().__init__()
        w = self.width
        self.embedding = nn.Embedding(self.vocabulary, w)
        angle = torch.arange(self.tokens)[:, None] / 100 ** (torch.arange(w // 2) * 2 / w)
        self.position = nn.Parameter(torch.cat([angle.sin(), angle.cos()], 1))
        self.encoder = nn.ModuleList()
        for _ in range(self.layers):
            self.encoder.append(nn.ModuleDict({
                "norm1": nn.LayerNorm(w), "query": nn.Linear(w, w), "key": nn.Linear(w, w), "value": nn.Linear(w, w),
                "project": nn.Linear(w, w), "norm2": nn.LayerNorm(w), "up": nn.Linear(w, self.hidden), "down": nn.Linear(self.hidden, w),
            }))
        self.norm = nn.LayerNorm(w)
        self.head = nn.Linear(w, self.classes)

    def forward(self, ids):
        x = self.embedding(ids) + self.position
        for layer in self.encoder:
            y = layer["norm1"](x)
            q, k, v = (layer[n](y).unflatten(2, (self.heads, -1)).transpose(1, 2) for n in ("query", "key", "value"))
            y = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(q.shape[-1]), -1) @ v
            x = x + layer["project"](y.transpose(1, 2).flatten(2))
            x = x + layer["down"](F.gelu(layer["up"](layer["norm2"](x))))
        return self.head(self.norm(x).mean(1))

    def record(self, g, ids):
        def linear(name, layer, x):
            x = g.add("MatMul", name, x, g.param(name + ".weight", layer.weight.T))
            return g.add("Add", name + ".sum", x, g.param(name + ".bias", layer.bias))

        def norm(name, layer, x):
            return g.add("LayerNormalization", name, x, g.param(name + ".weight", layer.weight), g.param(name + ".bias", layer.bias),
                         axis=-1, epsilon=layer.eps)

        def scalar(name, v):
            return g.param(name, torch.tensor(v))

        per_head = self.width // self.heads
        split = g.param("heads.shape", torch.tensor([0, 0, self.heads, per_head]))
        merge = g.param("width.shape", torch.tensor([0, 0, self.width]))
        scale, root2, half, one = (scalar(n, v) for n, v in
                                   (("scale", 1 / math.sqrt(per_head)), ("root2", math.sqrt(2)), ("half", 0.5), ("one", 1.0)))
        x = g.add("Gather", "embedding", g.param("embedding.weight", self.embedding.weight), ids, axis=0)
        x = g.add("Add", "embedding.sum", x, g.param("position", self.position))
        for i, layer in enumerate(self.encoder):
            p = f"encoder.{i}."

            def split_heads(name, y, perm):
                y = g.add("Reshape", p + name + ".split", linear(p + name, layer[name], y), split)
                return g.add("Transpose", p + name + ".heads", y, perm=perm)

            y = norm(p + "norm1", layer["norm1"], x)
            q, k, v = split_heads("query", y, [0, 2, 1, 3]), split_heads("key", y, [0, 2, 3, 1]), split_heads("value", y, [0, 2, 1, 3])
            y = g.add("Mul", p + "scores.scaled", g.add("MatMul", p + "scores", q, k), scale)
            y = g.add("MatMul", p + "mixed", g.add("Softmax", p + "attention", y, axis=-1), v)
            y = g.add("Reshape", p + "merged", g.add("Transpose", p + "mixed.tokens", y, perm=[0, 2, 1, 3]), merge)
            x = g.add("Add", p + "residual1", linear(p + "project", layer["project"], y), x)
            y = linear(p + "up", layer["up"], norm(p + "norm2", layer["norm2"], x))
            cdf = g.add("Add", p + "gelu.shift", g.add("Erf", p + "gelu.erf", g.add("Div", p + "gelu.scale", y, root2)), one)
            y = g.add("Mul", p + "gelu", g.add("Mul", p + "gelu.half", y, half), cdf)
            x = g.add("Add", p + "residual2", linear(p + "down", layer["down"], y), x)
        x = g.add("ReduceMean", "features", norm("norm", self.norm, x), axes=[1], keepdims=0)
        return g.add("Gemm", "head", x, g.param("head.weight", self.head.weight), g.param("head.bias", self.head.bias), transB=1)


def dihedral(x):
    """Turns and mirrors a batch of images: a shape stays what it is."""
    k, mirror = torch.randint(4, ()).item(), torch.randint(2, ()).item()
    x = torch.rot90(x, k, (2, 3))
    return x.flip(3) if mirror else x


def fit(net, inputs, labels, epochs, batch, rate, augment=None):
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.02)
    steps = epochs * (len(labels) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.15)
    for epoch in range(epochs):
        net.train()
        total = 0.0
        order = torch.randperm(len(labels))
        for i in range(len(labels) // batch):
            rows = order[i * batch:(i + 1) * batch]
            x = augment(inputs[rows]) if augment else inputs[rows]
            loss = F.cross_entropy(net(x), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"  epoch {epoch + 1}/{epochs}: loss {total / (len(labels) // batch):.4f}", flush=True)


def main(data, models, expected):
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    figures = {}
    for name, make, settings in (
        ("shapes", ShapeNet, dict(epochs=6, batch=64, rate=4e-3, augment=dihedral)),
        ("grammars", GrammarNet, dict(epochs=3, batch=64, rate=2e-3)),
    ):
        print(name, flush=True)
        torch.manual_seed(1)
        sets = {k: torch.from_numpy(np.load(pathlib.Path(data, f"{name}_{k}.npy"))) for k in
                ("training_inputs", "training_labels", "test_inputs", "test_labels")}
        net = make()
        fit(net, sets["training_inputs"], sets["training_labels"], **settings)
        net.eval()
        with torch.no_grad():
            logits = torch.cat([net(x) for x in sets["test_inputs"].split(250)])
        right = logits.argmax(1) == sets["test_labels"]
        print(f"  {right.sum().item()} of {len(right)} test samples right, {sum(p.numel() for p in net.parameters())} parameters", flush=True)
        figures[name] = {
            "samples": len(right), "correct": right.sum().item(), "correct_of_first_256": right[:256].sum().item(),
            "logits": [" ".join(f"{v:.6g}" for v in row) for row in logits[:4].tolist()],
        }

        graph = Graph(name)
        if name == "shapes":
            output = net.walk(graph.input("images", "float", ["batch", 3, 32, 32]), Recorder(net, graph))
        else:
            output = net.record(graph, graph.input("tokens", "int64", ["batch", net.tokens]))
        graph.save(pathlib.Path(models, name + ".onnx"), output, "logits", ["batch", logits.shape[1]])
    pathlib.Path(expected).write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
