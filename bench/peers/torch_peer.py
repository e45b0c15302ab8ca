"""PyTorch as the benchmark's peer, with the commands of the ONNX Runtime one. The networks are written as its users write
them; weights come by name from the float32 file. Modes: eager, compiled, and int8 by PyTorch's own quantizers (dynamic for
the encoder, static with one calibration batch for the others).
"""

import copy
import json
import os
import sys
import time
import warnings

import numpy
import onnx
import onnx.numpy_helper
import torch
from torch import nn
from torch.nn import functional


class Conv(nn.Module):
    """A convolution without bias and its normalization."""

    def __init__(self, inputs, outputs, kernel, stride=1, groups=1):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return self.norm(self.conv(x))


class Block(nn.Module):
    def __init__(self, inputs, width, stride, bottleneck):
        super().__init__()
        self.bottleneck = bottleneck
        outputs = 4 * width if bottleneck else width
        if bottleneck:
            self.conv1, self.conv2, self.conv3 = Conv(inputs, width, 1), Conv(width, width, 3, stride), Conv(width, outputs, 1)
            self.relu2 = nn.ReLU()
        else:
            self.conv1, self.conv2 = Conv(inputs, width, 3, stride), Conv(width, width, 3)
        self.relu1, self.relu = nn.ReLU(), nn.ReLU()
        self.shortcut = Conv(inputs, outputs, 1, stride) if stride != 1 or inputs != outputs else nn.Identity()

    def forward(self, x):
        y = self.conv2(self.relu1(self.conv1(x)))
        if self.bottleneck:
            y = self.conv3(self.relu2(y))
        return self.relu(y + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self, blocks, bottleneck):
        super().__init__()
        self.stem, self.relu, self.pool = Conv(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        inputs = 64
        for stage, count in enumerate(blocks):
            layer = []
            for i in range(count):
                layer.append(Block(inputs, 64 << stage, 2 if stage > 0 and i == 0 else 1, bottleneck))
                inputs = (64 << stage) * (4 if bottleneck else 1)
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layer))
        self.average, self.classifier = nn.AdaptiveAvgPool2d(1), nn.Linear(inputs, 1000)

    def forward(self, images):
        x = self.pool(self.relu(self.stem(images)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.classifier(torch.flatten(self.average(x), 1))


class Inverted(nn.Module):
    def __init__(self, inputs, expansion, outputs, stride):
        super().__init__()
        wide = inputs * expansion
        self.expand = Conv(inputs, wide, 1) if expansion != 1 else nn.Identity()
        self.relu1 = nn.ReLU6() if expansion != 1 else nn.Identity()
        self.depthwise, self.relu2 = Conv(wide, wide, 3, stride, wide), nn.ReLU6()
        self.project = Conv(wide, outputs, 1)
        self.keep = stride == 1 and inputs == outputs

    def forward(self, x):
        y = self.project(self.relu2(self.depthwise(self.relu1(self.expand(x)))))
        return x + y if self.keep else y


class MobileNetV2(nn.Module):
    stages = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]

    def __init__(self):
        super().__init__()
        self.stem, self.relu = Conv(3, 32, 3, 2), nn.ReLU6()
        inputs, features = 32, []
        for stage, (expansion, outputs, count, stride) in enumerate(self.stages):
            layer = []
            for i in range(count):
                layer.append(Inverted(inputs, expansion, outputs, stride if i == 0 else 1))
                inputs = outputs
            setattr(self, f"features{stage}", nn.Sequential(*layer))
        self.last, self.relu_last, self.average, self.classifier = Conv(inputs, 1280, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Linear(1280, 1000)

    def forward(self, images):
        x = self.relu(self.stem(images))
        x = self.features3(self.features2(self.features1(self.features0(x))))
        x = self.features6(self.features5(self.features4(x)))
        return self.classifier(torch.flatten(self.average(self.relu_last(self.last(x))), 1))


class Layer(nn.Module):
    def __init__(self, hidden=768, heads=12, wide=3072):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.merge = (nn.Linear(hidden, hidden) for _ in range(4))
        self.up, self.down = nn.Linear(hidden, wide), nn.Linear(wide, hidden)
        self.norm1, self.norm2 = nn.LayerNorm(hidden, eps=1e-12), nn.LayerNorm(hidden, eps=1e-12)

    def forward(self, x, blocked):
        batch, tokens, hidden = x.shape
        q, k, v = (f(x).view(batch, tokens, self.heads, -1).transpose(1, 2) for f in (self.query, self.key, self.value))
        mixed = functional.scaled_dot_product_attention(q, k, v, blocked)
        x = self.norm1(x + self.merge(mixed.transpose(1, 2).reshape(batch, tokens, hidden)))
        return self.norm2(x + self.down(functional.gelu(self.up(x))))


class BERT(nn.Module):
    def __init__(self, layers=12, hidden=768):
        super().__init__()
        self.words, self.positions, self.kinds = nn.Embedding(30522, hidden), nn.Embedding(512, hidden), nn.Embedding(2, hidden)
        self.norm, self.layers, self.pooler = nn.LayerNorm(hidden, eps=1e-12), nn.ModuleList([Layer() for _ in range(layers)]), nn.Linear(hidden, hidden)

    def forward(self, input_ids, attention_mask, token_type_ids):
        at = torch.arange(input_ids.shape[1])[None]
        x = self.norm(self.words(input_ids) + self.kinds(token_type_ids) + self.positions(at))
        blocked = (1 - attention_mask[:, None, None].float()) * -10000
        for layer in self.layers:
            x = layer(x, blocked)
        return x, torch.tanh(self.pooler(x[:, 0]))


def read(path):
    """The parameters of a model file by name."""
    return {t.name: torch.from_numpy(onnx.numpy_helper.to_array(t).copy()) for t in onnx.load(path).graph.initializer}


def set_weights(model, weights):
    """Sets what a model has from the parameters of its file, whose names differ in the encoder."""
    rename = {"query": "attention.query", "key": "attention.key", "value": "attention.value", "merge": "attention.output.dense",
              "norm1": "attention.output.LayerNorm", "up": "intermediate.dense", "down": "output.dense", "norm2": "output.LayerNorm"}
    tops = {"words": "embeddings.word_embeddings", "positions": "embeddings.position_embeddings", "kinds": "embeddings.token_type_embeddings",
            "norm": "embeddings.LayerNorm", "pooler": "pooler.dense"}
    state = {}
    for name, have in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            state[name] = have
            continue
        words = name.split(".")
        key = name.replace(".conv.weight", ".weight")
        transpose = False
        if isinstance(model, BERT):
            if words[0] == "layers":
                key = ".".join(["encoder", "layer", words[1], rename[words[2]], words[3]])
                transpose = have.dim() == 2
            else:
                key = ".".join([tops[words[0]], words[1]])
        value = weights[key]
        state[name] = value.T.contiguous() if transpose else value
    model.load_state_dict(state)


def build(path):
    name = os.path.basename(path).split("-")[0]
    model = {"resnet18": lambda: ResNet([2, 2, 2, 2], False), "resnet50": lambda: ResNet([3, 4, 6, 3], True), "mobilenetv2": MobileNetV2, "bert": BERT}[name]().eval()
    set_weights(model, read(path))
    return model


def to_int8(model, feed):
    torch.backends.quantized.engine = "onednn" if "onednn" in torch.backends.quantized.supported_engines else "fbgemm"
    if isinstance(model, BERT):
        return torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx
    prepared = prepare_fx(copy.deepcopy(model), get_default_qconfig_mapping(torch.backends.quantized.engine), tuple(feed.values()))
    prepared(*feed.values())
    return convert_fx(prepared)


def load(command):
    torch.set_num_threads(command["threads"])
    feed = {name: torch.from_numpy(numpy.load(path)) for name, path in command["inputs"].items()}
    model = build(command["model"])
    order = ["input_ids", "attention_mask", "token_type_ids"] if isinstance(model, BERT) else ["images"]
    feed = {name: feed[name] for name in order}
    if command["mode"] == "int8":
        model = to_int8(model, feed)
    elif command["mode"] == "compiled":
        torch._dynamo.reset()
        model = torch.compile(model)
    else:
        assert command["mode"] == "eager"
    return model, feed


def main():
    warnings.simplefilter("ignore")
    model, feed = None, None
    with torch.inference_mode():
        for line in sys.stdin:
            command = json.loads(line)
            answer = {}
            try:
                if command["do"] == "load":
                    model = None
                    model, feed = load(command)
                    answer["version"] = f"PyTorch {torch.__version__} {command['mode']}"
                elif command["do"] == "run":
                    answer["ns"], answer["cpu_ns"] = [], []
                    for _ in range(command["count"]):
                        start, cpu = time.perf_counter_ns(), time.process_time_ns()
                        model(*feed.values())
                        answer["ns"].append(time.perf_counter_ns() - start)
                        answer["cpu_ns"].append(time.process_time_ns() - cpu)
                elif command["do"] == "save":
                    answer["outputs"] = {}
                    values = model(*feed.values())
                    names = ["last_hidden_state", "pooler_output"] if isinstance(values, tuple) else ["logits"]
                    for i, (name, value) in enumerate(zip(names, values if isinstance(values, tuple) else (values,))):
                        path = os.path.join(command["folder"], f"output{i}.npy")
                        numpy.save(path, value.numpy())
                        answer["outputs"][name] = path
            except Exception as error:  # the benchmark reports it and goes on
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), flush=True)


main()
