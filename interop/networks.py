"""Networks of well-known shapes with seeded random weights, small enough to be checked in seconds."""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


class Net:
    """Builds an ONNX graph node by node; weights and the statistics of normalizations are drawn as they are needed."""

    def __init__(self, name, inputs, seed):
        self.name, self.random = name, np.random.default_rng(seed)
        self.inputs = [helper.make_tensor_value_info(n, t, shape) for n, t, shape in inputs]
        self.nodes, self.weights = [], []

    def constant(self, array):
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def normal(self, deviation, *shape):
        return self.constant(self.random.normal(0, deviation, shape).astype(np.float32))

    def add(self, kind, *inputs, **attributes):
        out = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [out], name=out, **attributes))
        return out

    def model(self, outputs):
        typed = [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs]
        g = helper.make_graph(self.nodes, self.name, self.inputs, typed, self.weights)
        m = helper.make_model(g, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return onnx.shape_inference.infer_shapes(m)

    def values(self, name, feeds):
        """What the network as it stands computes for a value."""
        s = onnxruntime.InferenceSession(self.model([name]).SerializeToString(), providers=["CPUExecutionProvider"])
        return s.run([name], feeds)[0]


def mobilenet(images, classes=20):
    """MobileNetV2 (Sandler et al., 2018) at half width. The statistics of its normalizations are those of the given images, so
    that activations have the spread of a trained network's."""
    net = Net("mobilenetv2", [("input", TensorProto.FLOAT, ["n", 3, None, None])], 1)

    def conv(x, width, out, kernel=3, stride=1, group=1, clip=True):
        w = net.normal((2 / (width // group * kernel**2)) ** 0.5, out, width // group, kernel, kernel)
        pad = kernel // 2
        x = net.add("Conv", x, w, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4, group=group)
        seen = net.values(x, {"input": images})
        mean, variance = seen.mean((0, 2, 3)), seen.var((0, 2, 3))
        gamma, beta = net.random.uniform(0.5, 1.5, out), net.random.uniform(-0.5, 1.0, out)
        x = net.add("BatchNormalization", x, *(net.constant(np.float32(a)) for a in (gamma, beta, mean, variance)))
        return net.add("Clip", x, net.constant(np.float32(0)), net.constant(np.float32(6))) if clip else x

    width = 16
    x = conv("input", 3, width, stride=2)
    for expand, out, count, stride in ((1, 8, 1, 1), (6, 16, 2, 2), (6, 16, 3, 2), (6, 32, 4, 2), (6, 48, 3, 1), (6, 80, 3, 2), (6, 160, 1, 1)):
        for i in range(count):
            y, inner = x, width * expand
            if expand > 1:
                y = conv(y, width, inner, kernel=1)
            y = conv(y, inner, inner, stride=stride if i == 0 else 1, group=inner)
            y = conv(y, inner, out, kernel=1, clip=False)
            x = net.add("Add", x, y) if out == width and (i > 0 or stride == 1) else y
            width = out
    x = conv(x, width, 640, kernel=1)
    x = net.add("Flatten", net.add("GlobalAveragePool", x))
    net.nodes.append(helper.make_node("Gemm", [x, net.normal(640**-0.5, classes, 640), net.normal(0.1, classes)], ["logits"], transB=1))
    return net.model(["logits"])


def encoder(layers=2, hidden=128, heads=4, words=500, classes=50):
    """A BERT-shaped encoder (Devlin et al., 2019) with a classifier on its first token."""
    net = Net("encoder", [("tokens", TensorProto.INT64, ["n", 32])], 2)
    deep = 4 * hidden

    def norm(x):
        return net.add("LayerNormalization", x, net.constant(np.float32(net.random.uniform(0.8, 1.2, hidden))), net.normal(0.1, hidden), epsilon=1e-12)

    def dense(x, wide, out, spread=1.0):
        return net.add("Add", net.add("MatMul", x, net.normal(spread * wide**-0.5, wide, out)), net.normal(0.1, out))

    def split(x):
        return net.add("Transpose", net.add("Reshape", x, net.constant(np.int64([0, 0, heads, hidden // heads]))), perm=[0, 2, 1, 3])

    x = norm(net.add("Add", net.add("Gather", net.normal(1, words, hidden), "tokens"), net.normal(0.5, 32, hidden)))
    for _ in range(layers):
        q, k, v = (split(dense(x, hidden, hidden, 1.5)) for _ in range(3))
        scores = net.add("MatMul", q, net.add("Transpose", k, perm=[0, 1, 3, 2]))
        shares = net.add("Softmax", net.add("Div", scores, net.constant(np.float32((hidden / heads) ** 0.5))), axis=-1)
        mixed = net.add("Transpose", net.add("MatMul", shares, v), perm=[0, 2, 1, 3])
        mixed = net.add("Reshape", mixed, net.constant(np.int64([0, 0, hidden])))
        x = norm(net.add("Add", x, dense(mixed, hidden, hidden)))
        y = dense(x, hidden, deep)
        half = net.add("Mul", y, net.constant(np.float32(0.5)))
        y = net.add("Mul", half, net.add("Add", net.add("Erf", net.add("Div", y, net.constant(np.float32(2**0.5)))), net.constant(np.float32(1))))
        x = norm(net.add("Add", x, dense(y, deep, hidden)))
    first = net.add("Gather", x, net.constant(np.int64(0)), axis=1)
    pooled = net.add("Tanh", dense(first, hidden, hidden))
    net.nodes.append(helper.make_node("Gemm", [pooled, net.normal(hidden**-0.5, hidden, classes), net.normal(0.1, classes)], ["logits"]))
    return net.model(["logits"])
