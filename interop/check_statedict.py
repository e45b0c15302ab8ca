"""Checks that PyTorch loads the state dicts that neuroquant writes, with strict=True, and computes from them what neuroquant computes.

    check_statedict.py NEUROQUANT SHARED

Each network is quantized with --format pt and loaded into a fresh network of PyTorch. That is saved as a whole module, which
neuroquant runs: outputs may differ by 1e-4 of the largest. Against the original, outputs must keep 20 dB, and something must have changed. With --pt-qint8 a dynamically quantized model of
PyTorch takes the same state dict.
"""

import pathlib
import sys
import tempfile
import warnings

import numpy as np
import torch
import torchvision
from torch import nn

import material
from compare import snr
from neuroquant import Binary, Failed
from table import Table

IMAGE = (1, 3, 224, 224)


def tied():
    """Two layers of one weight."""
    first, last = nn.Linear(16, 16), nn.Linear(16, 16)
    last.weight = first.weight
    return nn.Sequential(first, nn.ReLU(), last)


def recurrent(kind, **options):
    return kind(12, 20, num_layers=2, bidirectional=True, batch_first=True, **options)


class Cifar(nn.Module):
    """ResNet-20 for CIFAR-10 (He et al., 2015), with the names that its ONNX file has."""

    class Block(nn.Module):
        def __init__(self, inputs, channels, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(channels)
            self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(channels)
            self.pad = channels - inputs if stride > 1 else None

        def forward(self, x):
            y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
            if self.pad:
                x = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad // 2, self.pad // 2))
            return torch.relu(x + y)

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        layer = lambda i, c, s: nn.Sequential(self.Block(i, c, s), self.Block(c, c, 1), self.Block(c, c, 1))
        self.layer1, self.layer2, self.layer3 = layer(16, 16, 1), layer(16, 32, 2), layer(32, 64, 2)
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(torch.relu(self.bn1(self.conv1(x))))))
        return self.linear(x.mean((2, 3)))


def tv(name, **options):
    return lambda: getattr(torchvision.models, name)(weights=None, **options)


# name: (how it is made, an input)
NETWORKS = {
    "resnet18": (tv("resnet18"), IMAGE),
    "mobilenet_v2": (tv("mobilenet_v2"), IMAGE),
    "mnasnet0_5": (tv("mnasnet0_5"), IMAGE),
    "efficientnet_b0": (tv("efficientnet_b0"), IMAGE),
    "densenet121": (tv("densenet121"), IMAGE),
    "swin_t": (tv("swin_t"), (1, 3, 224, 224)),
    "convolutions": (lambda: nn.Sequential(nn.Conv2d(3, 8, 3, groups=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8), nn.ConvTranspose2d(8, 6, 2, 2), nn.BatchNorm2d(6), nn.Conv2d(6, 4, 1)), (1, 3, 64, 64)),
    "linear": (lambda: nn.Sequential(nn.Linear(32, 64), nn.BatchNorm1d(64), nn.GELU(), nn.Linear(64, 10)), (3, 32)),
    "tied": (tied, (3, 16)),
    "LSTM": (lambda: recurrent(nn.LSTM), (2, 5, 12)),
    "GRU": (lambda: recurrent(nn.GRU), (2, 5, 12)),
    "embedding": (lambda: nn.Sequential(nn.Embedding(50, 32), nn.Linear(32, 8)), [[1, 4, 49], [0, 7, 3]]),
    "transformer": (lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 2, enable_nested_tensor=False), (2, 7, 32)),
}


def prepared(make):
    """Returns a network whose normalizations have statistics, some of whose channels are negative or off."""
    model = make().eval()
    for m in model.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            m.running_mean.normal_(0, 0.05)
            m.running_var.uniform_(0.8, 1.2)
            with torch.no_grad():
                m.weight.uniform_(0.5, 1.5)
                m.weight[0] *= -1
                m.weight[1] = 0
    return model


def first(y):
    return (y[0] if isinstance(y, tuple) else y).detach().float().numpy()


def check(table, binary, name, make, x, source, options, work):
    """Quantizes what source saves of a network, and loads the result."""
    label = f"{source}, {' '.join(options)}"
    model = prepared(make)
    if source == "half state dict":
        model = model.half()
    path, out, again, array = work / f"{name}.pt", work / "out", work / "again.pt", work / "x.npy"
    torch.save(model if source == "module" else model.state_dict(), path)
    np.save(array, x.numpy())
    binary.command("quantize", path, out, "--format", "pt", "--force", *options, *(["--data", array] if "static" in options else []))
    state = torch.load(out / "model.pt", weights_only=True)
    fresh = make().eval()
    fresh.load_state_dict(state, strict=True)
    with torch.no_grad():
        theirs, original = first(fresh(x)), first(model.float()(x))
    torch.save(fresh, again)
    ours = binary.run(again, {"input": x.numpy()}, ["output"], work / "run")["output"]
    table.at_most(name, f"{label}: difference to PyTorch", np.abs(ours - theirs).max() / np.abs(theirs).max(), 1e-4)
    table.at_least(name, f"{label}: signal to noise of rounding (dB)", snr(original, theirs), 20)
    changed = sum(not torch.equal(state[k].float(), v.float()) for k, v in model.state_dict().items())
    table.at_least(name, f"{label}: tensors changed", changed, 1)


def check_packed(table, binary, name, make, x, work):
    """Linear layers as PyTorch's own dynamic quantization stores them."""
    model = prepared(make)
    path = work / f"{name}.pt"
    torch.save(model, path)
    states = []
    for out, flags in ((work / "plain", []), (work / "packed", ["--pt-qint8"])):
        binary.command("quantize", path, out, "--format", "pt", "--force", "--method", "dynamic", *flags)
        states.append(torch.load(out / "model.pt", weights_only=True))
    dynamic = torch.ao.quantization.quantize_dynamic(make().eval(), {nn.Linear}, dtype=torch.qint8)
    dynamic.load_state_dict(states[1], strict=True)
    rounded = make().eval()
    rounded.load_state_dict(states[0], strict=True)
    other, count = 0, 0
    for layer, float_layer in ((m, rounded.get_submodule(n)) for n, m in dynamic.named_modules() if isinstance(m, torch.ao.nn.quantized.dynamic.Linear)):
        other += ((layer.weight().dequantize() - float_layer.weight).abs().amax(1) > 1e-6).sum().item()
        count += 1
    table.at_least(name, "packed: linear layers", count, 1)
    # The row that a normalization multiplies by zero is rounded here alone.
    table.at_most(name, "packed: rows of weights that are not those in float", other, int(name == "linear"))
    with torch.no_grad():
        theirs, original = first(dynamic(x)), first(model(x))
    table.at_least(name, "packed: signal to noise in PyTorch's own integers (dB)", snr(original, theirs), 25)
    if name == "alexnet":  # an architecture that is told from the state dict alone
        ours = binary.run(work / "packed", {"input": x.numpy()}, ["output"], work / "run")["output"]
        with torch.no_grad():
            want = first(rounded(x))
        table.at_most(name, "packed: difference of what is read again", np.abs(ours - want).max() / np.abs(want).max(), 1e-4)


def check_onnx(table, binary, shared, work):
    """The CIFAR-10 network from its ONNX file to PyTorch."""
    images = material.raw_images(shared)[:100]
    for method in (["--method", "dynamic"], ["--method", "static", "--data", "random:8"]):
        binary.command("quantize", shared / "data/cifar10/resnet20_bn.onnx", work / "onnx", "--format", "pt", "--force", *method)
        model = Cifar().eval()
        model.load_state_dict(torch.load(work / "onnx/model.pt", weights_only=True), strict=True)
        with torch.no_grad():
            theirs = model(torch.from_numpy(images)).numpy()
        ours = binary.run(work / "onnx", {"input": images}, ["output"], work / "run")["output"]
        table.at_most("resnet20_bn.onnx", f"{method[1]}: difference to PyTorch", np.abs(ours - theirs).max() / np.abs(theirs).max(), 1e-4)


def main(binary, shared):
    binary, shared = Binary(pathlib.Path(binary).resolve()), pathlib.Path(shared)
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    table = Table()
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        for name, (make, shape) in NETWORKS.items():
            x = torch.tensor(shape) if isinstance(shape, list) else torch.randn(shape)
            runs = [("module", ["--method", "dynamic"])]
            if name in ("resnet18", "mnasnet0_5"):
                runs += [("state dict", ["--method", "dynamic"]), ("half state dict", ["--method", "dynamic"])]
            if name in ("resnet18", "linear", "LSTM", "transformer"):
                runs += [("module", ["--method", "dynamic", "--dtype", "quint8"]), ("module", ["--method", "dynamic", "--dtype", "float16"])]
            if name in ("resnet18", "mobilenet_v2", "convolutions", "linear", "tied"):
                runs += [("module", ["--method", "static"]), ("module", ["--method", "static", "--cross-layer-equalization", "--smooth-quant"])]
            for source, options in runs:
                try:
                    check(table, binary, name, make, x, source, options, work)
                except (Failed, RuntimeError, ValueError) as e:
                    table.error(name, f"{source}, {' '.join(options)}", e)
        torch.backends.mha.set_fastpath_enabled(False)  # which quantized layers do not have
        for name, make, x in (("linear", NETWORKS["linear"][0], torch.randn(3, 32)), ("alexnet", tv("alexnet"), torch.randn(IMAGE)),
                              ("transformer", NETWORKS["transformer"][0], torch.randn(2, 7, 32))):
            try:
                check_packed(table, binary, name, make, x, work)
            except (Failed, RuntimeError, ValueError) as e:
                table.error(name, "packed", e)
        try:
            check_onnx(table, binary, shared, work)
        except (Failed, RuntimeError) as e:
            table.error("resnet20_bn.onnx", "state dict", e)
    table.finish()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
