"""Checks that ONNX Runtime loads what neuroquant writes and computes what neuroquant computes.

usage: check_onnxruntime.py BINARY SHARED EXAMPLE_DATA
  BINARY        the neuroquant program
  SHARED        folder of the shared material
  EXAMPLE_DATA  folder that `go run ./internal/example/gen -out DIR` wrote

Prints every figure with its limit; the exit status is 1 if one is missed or if nothing was checked.
"""

import pathlib
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

import material
import sessions
from compare import agreement, cosine, excess, snr
from networks import Net
from neuroquant import Binary, Failed
from table import Table

DTYPES = ("qint8", "quint8", "float16", "bfloat16")
ROOT = pathlib.Path(__file__).resolve().parent.parent


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4
    return sessions.session(path, options)


def outputs(s, feeds):
    names = [o.name for o in s.get_outputs()]
    return dict(zip(names, s.run(names, feeds)))


def check_case(table, binary, case, work):
    """One model: its float outputs, then every dtype quantized, loaded, and compared output by output."""
    reference = session(case.path)
    names = [o.name for o in reference.get_outputs()]
    float_error = stored_error = 0.0
    for i, (feeds, expected) in enumerate(case.steps):
        ours = binary.run(case.path, feeds, names, work / f"float{i}")
        theirs = outputs(reference, feeds)
        float_error = max(float_error, *(excess(ours[n], theirs[n]) for n in names))
        stored_error = max([stored_error] + [excess(ours[n], v) for n, v in expected.items()])
    table.at_most(case.name, "float: error / tolerance against ONNX Runtime", float_error, 1)
    if any(expected for _, expected in case.steps):
        table.at_most(case.name, "float: error / tolerance against stored outputs", stored_error, 1)

    for dtype in DTYPES:
        try:
            check_dtype(table, binary, case, dtype, names, work)
        except Exception as e:  # what does not quantize, load or run is what this program looks for
            table.error(case.name, f"{dtype}: quantizes, loads and runs", e)


def check_dtype(table, binary, case, dtype, names, work):
    model, report = binary.quantize(case.path, work / dtype, "dynamic", "--dtype", dtype)
    theirs = session(model)
    worst = 1.0
    for i, (feeds, _) in enumerate(case.steps):
        want = outputs(theirs, feeds)
        ours = binary.run(model, feeds, names, work / f"{dtype}{i}")
        worst = min(worst, *(cosine(ours[n], want[n]) for n in names))
    table.at_least(case.name, f"{dtype}: cosine to ONNX Runtime, worst output", worst, 0.999)
    table.note(case.name, f"{dtype}: compression ratio", report["compression_ratio"])


def check_classes(table, binary, shared, work):
    """ResNet-20 in int8 on real images: the classes that we, ONNX Runtime and the float model see."""
    raw, jpeg = material.raw_images(shared), material.jpeg_images(shared)
    for name in ("resnet20", "resnet20_bn"):
        original = shared / "data/cifar10" / f"{name}.onnx"
        model, _ = binary.quantize(original, work / name, "dynamic")

        def logits(path, images, label):
            parts = np.array_split(images, max(1, len(images) // 250))
            return np.concatenate([binary.run(path, {"input": x}, ["logits"], work / f"{name}-{label}{i}")["logits"] for i, x in enumerate(parts)])

        exact, ours = logits(original, raw, "raw-float"), logits(model, raw, "raw-int8")
        theirs = session(model)
        ort = np.concatenate([outputs(theirs, {"input": x})["logits"] for x in np.array_split(raw, 2)])
        table.at_least(name, "qint8: top-1 agreement with ONNX Runtime, raw_test_500", agreement(ours, ort), 0.995)
        table.at_least(name, "qint8: top-1 agreement with float, raw_test_500", agreement(ours, exact), 0.99)
        table.note(name, "qint8: logit SNR (dB), raw_test_500 in batches of 250", snr(exact, ours))
        exact, ours = logits(original, jpeg, "jpeg-float"), logits(model, jpeg, "jpeg-int8")
        table.at_least(name, "qint8: top-1 agreement with float, test_jpeg_2000", agreement(ours, exact), 0.985)


def check_few_bits(table, binary, work):
    """Weights of Gemm and MatMul in few bits: MatMulNBits computes there what it does here; a layer that is kept stays what it was."""
    net = Net("products", [("x", TensorProto.FLOAT, ["n", 64])], 3)
    first = net.add("Relu", net.add("Gemm", "x", net.normal(0.1, 96, 64), net.normal(0.1, 96), transB=1))
    second = net.add("Relu", net.add("Gemm", first, net.normal(0.1, 96, 128), net.normal(0.1, 128), alpha=0.5, beta=2.0))
    third = net.add("Relu", net.add("MatMul", second, net.normal(0.1, 128, 64)))
    net.nodes.append(helper.make_node("Gemm", [third, net.normal(0.1, 10, 64)], ["y"], name="head", transB=1))
    work.mkdir()
    path = work / "products.onnx"
    onnx.save(net.model(["y"]), path)
    x = np.random.default_rng(4).standard_normal((64, 64)).astype(np.float32)
    np.save(work / "x.npy", x)
    for method in ("rtn", "gptq", "awq"):
        for bits in (4, 8):
            data = () if method == "rtn" else ("--data", str(work / "x.npy"))
            model, _ = binary.quantize(path, work / f"{method}{bits}", method, "--bits", str(bits), "--group-size", "32", "--keep", "head", "--format", "onnx", *data)
            kinds = [n.op_type for n in onnx.load(model).graph.node]
            name = f"{method}, {bits} bits"
            table.at_least(name, "products that are MatMulNBits, of 3", kinds.count("MatMulNBits"), 3)
            table.at_least(name, "kept layers that are Gemm", kinds.count("Gemm"), 1)
            theirs = outputs(session(model), {"x": x})["y"]
            table.at_least(name, "SNR of ours to ONNX Runtime (dB)", snr(theirs, binary.run(model, {"x": x}, ["y"], work / f"run-{method}{bits}")["y"]), 90)


def main(binary, shared, example_data):
    binary, shared = Binary(pathlib.Path(binary).resolve()), pathlib.Path(shared)
    table = Table()
    cases = material.stored(shared) + material.embedded(ROOT, pathlib.Path(example_data))
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        for case in cases:
            try:
                check_case(table, binary, case, work / case.name)
            except Failed as e:
                table.error(case.name, "runs here", e)
        try:
            check_classes(table, binary, shared, work / "classes")
        except Failed as e:
            table.error("resnet20", "runs here", e)
        try:
            check_few_bits(table, binary, work / "few bits")
        except Failed as e:
            table.error("few bits", "quantizes and runs here", e)
    if len(cases) < 12:
        table.error("material", "models found", f"{len(cases)}: the shared folder is incomplete")
    table.finish()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
