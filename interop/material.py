"""The models that are checked and the inputs to run them on."""

import dataclasses
import io
import json
import pathlib
import zipfile

import numpy as np
from PIL import Image


@dataclasses.dataclass
class Case:
    """A model file with a list of steps; a step is the inputs and, where they are stored, the expected outputs."""

    name: str
    path: pathlib.Path
    steps: list


def stored(shared):
    """The models of onnx-models with their stored inputs and outputs, and the CIFAR-10 networks on real images."""
    cases = []
    images = normalized(np.load(shared / "data/cifar10/raw_test_500.npy"))[:64]
    for file in sorted(shared.glob("data/onnx-models/*/*.onnx")):
        description = file.with_name("case.json")
        if description.exists():
            steps = [
                tuple({name: np.load(file.with_name(npy)) for name, npy in step[side].items()} for side in ("inputs", "outputs"))
                for step in json.loads(description.read_text())["steps"]
            ]
        else:  # the external-data copy of ResNet-20 has no case of its own
            steps = [({"input": images}, {})]
        cases.append(Case(file.stem, file, steps))
    for file in sorted(shared.glob("data/cifar10/*.onnx")):
        cases.append(Case(file.stem, file, [({"input": images}, {})]))
    return cases


def embedded(root, data):
    """The models of internal/example on the test samples that its program gen wrote to the folder data."""
    return [
        Case(file.stem, file, [({name: np.load(data / f"{file.stem}_test_inputs.npy")[:128]}, {})])
        for file, name in ((root / "internal/example/models" / f, n) for f, n in (("shapes.onnx", "images"), ("grammars.onnx", "tokens")))
    ]


def raw_images(shared):
    """The 500 lossless CIFAR-10 test images as the networks take them."""
    return normalized(np.load(shared / "data/cifar10/raw_test_500.npy"))


def jpeg_images(shared, file="test_jpeg_2000.zip", count=2000):
    """The 2,000 JPEG test images, or so many of another file and of all its classes, as the networks take them."""
    with zipfile.ZipFile(shared / "data/cifar10" / file) as z:
        names = sorted(n for n in z.namelist() if n.endswith(".jpg"))
        names = [names[i * len(names) // count] for i in range(count)]
        return normalized(np.stack([np.asarray(Image.open(io.BytesIO(z.read(n))).convert("RGB")) for n in names]))


def training_images(shared, kind):
    """512 training images, raw or JPEG, as the networks take them."""
    if kind == "raw":
        return normalized(np.load(shared / "data/cifar10/raw_train_3000.npy")[:512])
    return jpeg_images(shared, "train_jpeg_1000.zip", 512)


def normalized(pixels):
    """uint8 [n, 32, 32, 3] to float32 [n, 3, 32, 32] with the mean and deviation the networks were trained with."""
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    return np.ascontiguousarray(((pixels.astype(np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2))
