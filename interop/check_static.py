"""Checks static quantization against ONNX Runtime: the files load and compute what they compute here, and no file of its own
quantizer, from the same calibration samples, is nearer to the float model.

usage: check_static.py BINARY SHARED [CHECK...]
  BINARY  the neuroquant program
  SHARED  folder of the shared material
  CHECK   models, operators, calibrators, accuracy, four_bits or forms; all if none is named

Prints every figure with its limit; the exit status is 1 if one is missed or if nothing was checked.
"""

import contextlib
import io
import logging
import pathlib
import re
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quant_pre_process, quantize_static

import material
import networks
import sessions
from compare import agreement, snr
from neuroquant import Binary
from table import Table

LEAST = 20  # dB
CALIBRATORS = {"minmax": CalibrationMethod.MinMax, "entropy": CalibrationMethod.Entropy, "percentile": CalibrationMethod.Percentile}


def session(model, optimized=True):
    options = onnxruntime.SessionOptions()
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return sessions.session(model, options)


def run(s, feeds):
    taken = {i.name for i in s.get_inputs()}
    names = [o.name for o in s.get_outputs()]
    return dict(zip(names, s.run(names, {k: v for k, v in feeds.items() if k in taken})))


def logits(model, images):
    s = session(model)
    return np.concatenate([run(s, {"input": x})["logits"] for x in np.array_split(images, max(1, len(images) // 100))])


def quantize(binary, model, out, feeds, samples, *flags):
    """Quantizes statically with arrays of samples by input name; returns the written model and the command's JSON."""
    out.mkdir(parents=True, exist_ok=True)
    np.savez(out / "samples.npz", **feeds)
    return binary.quantize(model, out / "model", "static", "--data", out / "samples.npz", "--raw", "--num-calibration-samples", samples, *flags)


def worst_output(model, quantized, steps):
    """The lowest signal to noise (dB) of an output over all steps, both files in ONNX Runtime."""
    exact, ours = session(model), session(quantized)
    seen = {}
    for feeds, _ in steps:
        a, b = run(exact, feeds), run(ours, feeds)
        for name in a:
            seen.setdefault(name, []).append((a[name].ravel(), b[name].ravel()))
    return min(snr(*(np.concatenate(side) for side in zip(*pairs))) for pairs in seen.values())


def check_models(table, binary, shared, work):
    """Every stored model: it loads in ONNX Runtime and keeps its outputs, calibrated on the samples that it is run on. Where 8 bits
    do not do, the search names the layers that stay in float."""
    for case in material.stored(shared):
        try:
            one = len(case.steps) == 1 and len(case.steps[0][0]) == 1
            feeds = case.steps[0][0] if one else {n: np.stack([s[0][n] for s in case.steps]) for n in case.steps[0][0]}
            model, report = quantize(binary, case.path, work / case.name, feeds, 100)
            worst, how = worst_output(case.path, model, case.steps), "static"
            codes, _ = quantize(binary, case.path, work / case.name / "qoperator", feeds, 100, "--quant-format", "qoperator")
            table.at_least(case.name, "qoperator: SNR to the QDQ form (dB)", worst_output(model, codes, case.steps[:2]), 40)
            if worst < LEAST:
                table.note(case.name, "static: SQNR of the worst output (dB)", worst)
                flags = ("--force", "--search", "--search-target", f"sqnr={LEAST}", "--search-calibrators", "mse")
                model, report = quantize(binary, case.path, work / case.name, feeds, 100, *flags)
                worst, how = worst_output(case.path, model, case.steps), "static --search"
            kept = [d for d in report["decisions"] if not d["quantized"]]
            table.at_least(case.name, f"{how}: SQNR of the worst output (dB), {len(kept)} weights in float", worst, LEAST)
            if any(not d["why"] for d in kept):
                table.error(case.name, "every weight in float has its reason", kept)
        except Exception as e:  # what does not quantize, load or run is what this program looks for
            table.error(case.name, "static: quantizes, loads and runs", e)


class Reader(CalibrationDataReader):
    def __init__(self, images):
        self.batches = iter(np.array_split(images, 8))

    def get_next(self):
        return next(({"input": x} for x in self.batches), None)


def peer(path, images, method, out):
    """ONNX Runtime's quantizer on the same images; weights have a scale per channel."""
    prepared = out.with_suffix(".prepared.onnx")
    with contextlib.redirect_stdout(io.StringIO()):
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        # Three batches at a time, to bound its memory. The extremes need none of that.
        options = {} if method == CalibrationMethod.MinMax else {"CalibMaxIntermediateOutputs": 3}
        quantize_static(str(prepared), str(out), Reader(images), per_channel=True, calibrate_method=method, activation_type=QuantType.QUInt8, extra_options=options)
    return out


def check_calibrators(table, binary, shared, work):
    """ResNet-20 from 512 images of the kind that it is tested on: which file is nearer to the float model, both in ONNX Runtime. Neither corrects biases."""
    kinds = (
        ("resnet20", "raw", material.training_images(shared, "raw"), material.raw_images(shared)),
        ("resnet20", "jpeg", material.training_images(shared, "jpeg"), material.jpeg_images(shared)),
    )
    for name, kind, images, test in kinds:
        path = shared / "data/cifar10" / f"{name}.onnx"
        exact = logits(path, test)
        for ours, theirs in CALIBRATORS.items():
            model, _ = quantize(binary, path, work / f"{kind}-{ours}", {"input": images}, len(images), "--calibrator", ours, "--bias-correction=false")
            rival = logits(peer(path, images, theirs, work / f"{kind}-{ours}" / "peer.onnx"), test)
            table.at_least(f"{name}, {kind}", f"{ours}: logit SNR (dB); the limit is ONNX Runtime's", snr(exact, logits(model, test)), snr(exact, rival))


METHODS = ("mse", "minmax", "moving_average", "percentile", "entropy")  # the default first


def check_accuracy(table, binary, shared, work):
    """ResNet-20 by every calibrator, from 512 images of the kind that it is tested on: the classes and logits that it keeps."""
    path = shared / "data/cifar10/resnet20.onnx"
    for kind, test, least_agreement, least_snr in (
        ("raw", material.raw_images(shared), 0.992, 30),
        ("jpeg", material.jpeg_images(shared), 0.986, 29),
    ):
        subject, exact, seen = f"resnet20, {kind}", logits(path, test), {}
        images = material.training_images(shared, kind)
        for method in METHODS:
            flags = () if method == METHODS[0] else ("--calibrator", method)
            model, _ = quantize(binary, path, work / f"{kind}-{method}", {"input": images}, len(images), "--calibration-batch-size", 16, *flags)
            got = logits(model, test)
            seen[method] = snr(exact, got)
            if method == METHODS[0]:
                limits = (least_agreement, least_snr)
            else:
                limits = (0.98, 26) if kind == "jpeg" else (None, None)
            for what, figure, limit in zip(("same class as float", "logit SNR (dB)"), (agreement(got, exact), seen[method]), limits):
                if limit is None:
                    table.note(subject, f"{method}: {what}", figure)
                else:
                    table.at_least(subject, f"{method}: {what}", figure, limit)
        table.at_least(subject, "logit SNR of the default (dB); the limit is the best of the others", seen.pop(METHODS[0]), max(seen.values()))


def apart(model, path):
    """Writes a model with every quantized operator by itself: what reads codes reads them from an input, and all codes are outputs.
    Returns the names of the codes."""
    m = onnx.shape_inference.infer_shapes(onnx.load(model))
    types = {v.name: v for v in m.graph.value_info}
    codes = [n.output[0] for n in m.graph.node if n.op_type == "QuantizeLinear"]
    for n in m.graph.node:
        if n.op_type == "DequantizeLinear" and n.input[0] in codes:
            n.input[0] += "_given"
    for c in codes:
        given = onnx.ValueInfoProto()
        given.CopyFrom(types[c])
        given.name += "_given"
        m.graph.input.append(given)
        m.graph.output.append(types[c])
    onnx.save(m, path)
    return codes


def with_codes(model, parts):
    """The model with the codes that are outputs of parts, see apart, as outputs too."""
    m = onnx.load(model)
    known = {o.name for o in m.graph.output}
    m.graph.output.extend(v for v in onnx.load(parts).graph.output if v.name not in known)
    return m.SerializeToString()


def check_parity(table, binary, name, path, calibration, feeds, work):
    """Every quantized operator from the same codes, here and in ONNX Runtime, and the classes that the whole file sees."""
    model, _ = quantize(binary, path, work / name, calibration, 512)
    parts = work / name / "apart.onnx"
    names = apart(model, parts)
    codes = run(session(with_codes(model, parts)), feeds)
    given = {**feeds, **{n + "_given": codes[n] for n in names}}
    ours = binary.run(parts, given, names, work / name / "apart")
    theirs = run(session(parts), given)
    near = {n: np.mean(np.abs(ours[n].astype(int) - theirs[n].astype(int)) <= 1) for n in names}
    worst = min(near, key=near.get)
    table.at_least(name, f"codes within one of ONNX Runtime's, worst of {len(names)} operators ({worst})", near[worst], 0.999)
    table.note(name, "codes equal to ONNX Runtime's, all operators", np.mean(np.concatenate([(ours[n] == theirs[n]).ravel() for n in names])))
    ours = binary.run(model, feeds, ["logits"], work / name / "whole")["logits"]
    table.at_least(name, "top-1 agreement with ONNX Runtime", agreement(ours, run(session(model), feeds)["logits"]), 0.998)


def check_operators(table, binary, shared, work):
    raw, train = material.raw_images(shared), material.training_images(shared, "raw")
    check_parity(table, binary, "resnet20", shared / "data/cifar10/resnet20.onnx", {"input": train}, {"input": raw}, work)
    work.mkdir(exist_ok=True)
    onnx.save(networks.mobilenet(np.repeat(np.repeat(train[:64], 2, 2), 2, 3)), work / "mobilenetv2.onnx")
    large = np.repeat(np.repeat(raw, 2, 2), 2, 3)
    check_parity(table, binary, "mobilenetv2", work / "mobilenetv2.onnx", {"input": np.repeat(np.repeat(train[:100], 2, 2), 2, 3)}, {"input": large}, work)
    onnx.save(networks.encoder(), work / "encoder.onnx")
    tokens = np.random.default_rng(3).integers(0, 500, (612, 32))
    check_parity(table, binary, "encoder", work / "encoder.onnx", {"tokens": tokens[500:]}, {"tokens": tokens[:500]}, work)


def check_four_bits(table, binary, shared, work):
    """Weights of 4 bits: what equalization, ranges of least error and bias correction gain over the extremes of the weights, alone
    and together, and that ONNX Runtime sees the same classes."""
    train, raw = material.training_images(shared, "raw"), material.raw_images(shared)
    path = shared / "data/cifar10/resnet20.onnx"
    exact, seen = logits(path, raw), {}
    repairs = {"equalization": ("--cross-layer-equalization",), "ranges of least error": ("--weight-ranges", "mse"), "bias correction": ("--bias-correction",)}
    for what, flags in {"plain": (), **repairs, "all three": sum(repairs.values(), ())}.items():
        flags = ("--dtype", "qint4", "--calibration-batch-size", 16, "--bias-correction=false", *flags)
        model, _ = quantize(binary, path, work / what.replace(" ", "-"), {"input": train}, len(train), *flags)
        seen[what] = got = logits(model, raw)
        table.note("resnet20", f"4-bit weights, {what}: logit SNR (dB)", snr(exact, got))
    table.at_least("resnet20", "4-bit weights, all three: gain over plain (dB)", snr(exact, seen["all three"]) - snr(exact, seen["plain"]), 4)
    ours = binary.run(model, {"input": raw}, ["logits"], work / "out")["logits"]
    table.at_least("resnet20", "4-bit weights, all three: top-1 agreement with ONNX Runtime", agreement(ours, seen["all three"]), 0.998)


FORMS = (
    ("qint8",),
    ("qint8", "--symmetric-activations"),
    ("quint8", "--symmetric-activations"),
    ("quint8", "--per-channel=false"),
    ("quint16",),
    ("quint16", "--per-channel=false"),
    ("quint16", "--block-size", 16),
    ("qint16", "--symmetric-activations"),
    ("quint8", "--block-size", 16),
    ("quint8", "--block-size", 16, "--dtype", "qint4"),
    ("quint8", "--quant-format", "qoperator"),
    ("qint8", "--quant-format", "qoperator"),
)


def check_forms(table, binary, shared, work):
    """Other types of activations and other scales: ONNX Runtime loads the files and computes what they compute here.

    Where it has no integer kernels, it computes in float between the codes, and its sums depend on what it fuses: a code in a million
    differs, and more behind it. Signed codes that two operators read are such a place on x86. No more agreement can be asked for than it
    has with itself where it fuses less: with optimizations off, or with all codes as outputs."""
    train, raw = material.training_images(shared, "raw"), material.raw_images(shared)
    onnx.save(networks.encoder(), work.with_suffix(".onnx"))
    tokens = np.random.default_rng(3).integers(0, 500, (612, 32))
    for name, path, calibration, feeds in (
        ("resnet20", shared / "data/cifar10/resnet20.onnx", {"input": train}, {"input": raw}),
        ("encoder", work.with_suffix(".onnx"), {"tokens": tokens[500:]}, {"tokens": tokens[:500]}),
    ):
        exact = run(session(path), feeds)["logits"]
        for form in FORMS:
            what = " ".join(map(str, form))
            try:
                model, _ = quantize(binary, path, work / name / re.sub("[^a-z0-9]", "", what), calibration, 512, "--activations", *form)
                ours, theirs = binary.run(model, feeds, ["logits"], work / "out")["logits"], run(session(model), feeds)["logits"]
                table.at_least(name, f"{what}: logit SNR to ONNX Runtime's (dB); the limit is the float model's", snr(theirs, ours), snr(exact, theirs))
                apart(model, work / "apart.onnx")
                less = session(model, optimized=False), session(with_codes(model, work / "apart.onnx"))
                itself = min(agreement(theirs, run(s, feeds)["logits"]) for s in less)
                table.at_least(name, f"{what}: top-1 agreement with ONNX Runtime, which has {itself:.3f} with itself", agreement(ours, theirs), min(0.998, itself))
            except Exception as e:
                table.error(name, f"{what}: quantizes, loads and runs", e)


CHECKS = {f.__name__.removeprefix("check_"): f for f in (check_models, check_operators, check_calibrators, check_accuracy, check_four_bits, check_forms)}


def main(binary, shared, *chosen):
    binary, shared = Binary(pathlib.Path(binary).resolve()), pathlib.Path(shared)
    logging.disable(logging.WARNING)
    onnxruntime.set_default_logger_severity(4)
    table = Table()
    with tempfile.TemporaryDirectory() as work:
        for check in (CHECKS[c] for c in chosen or CHECKS):
            try:
                check(table, binary, shared, pathlib.Path(work, check.__name__))
            except Exception as e:
                table.error(check.__name__, "runs", e)
    table.finish()


if __name__ == "__main__":
    if len(sys.argv) < 3 or set(sys.argv[3:]) - set(CHECKS):
        sys.exit(__doc__)
    main(*sys.argv[1:])
