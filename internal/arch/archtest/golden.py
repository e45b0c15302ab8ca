#!/usr/bin/env python3
"""Writes golden.json and encoders.json: small models of the architectures with what transformers computes in float32. Their weights are not stored: they
follow from the name of a tensor and the place of an element, by the formula of weights().
usage: golden.py   in this folder, with a Python that has interop/requirements-llm.txt"""
import json, logging, os, sys, tempfile, zlib

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../interop"))
import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
import transformers
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from decoders import DECODERS
from encoders import ENCODERS

logging.disable(logging.WARNING)
disable_progress_bar()
CASES = {
    "llama": ["biases", "rope dynamic", "rope llama3", "rope yarn, all fields"], "mistral": ["wide heads, tied"],
    "mixtral": ["3 experts, window", "all experts, wide heads"], "qwen2": ["window in some", "GQA"], "qwen2_moe": ["some layers", "shared expert"],
    "qwen3": ["GQA"], "qwen3_moe": ["normalized, tied"], "gemma": ["MQA"], "gemma2": ["low caps"], "gemma3_text": ["global rope linear"],
    "phi": ["normalized", "GQA, tied"], "phi3": ["longrope, long text", "partial"], "gpt2": ["scale by layer", "tied"],
    "gpt_neox": ["parallel", "one after the other"], "opt": ["norms behind, narrow embedding"],
    "falcon": ["multi query", "new, two norms", "alibi, one after the other"], "bloom": ["residual from norm", "tied"],
    "stablelm": ["parallel, normalized"], "starcoder2": ["untied, window", "GQA, tied"], "cohere": ["normalized", "GQA"], "olmo2": ["GQA"],
    "granite": ["factors"], "smollm3": ["window", "5 layers"],
}
ENCODER_CASES = {
    "bert": ["BertModel", "BertForPreTraining", "BertForSequenceClassification", "BertForMaskedLM, untied", "BertForMaskedLM, gelu_new, one type", "BertForQuestionAnswering", "BertForMultipleChoice"],
    "roberta": ["RobertaModel", "RobertaForMaskedLM, untied, types, padding 3", "RobertaForSequenceClassification"], "xlm-roberta": ["XLMRobertaForMaskedLM"],
    "distilbert": ["DistilBertForMaskedLM, untied, relu", "DistilBertForSequenceClassification"],
    "electra": ["ElectraForMaskedLM", "ElectraForPreTraining", "ElectraForTokenClassification", "ElectraForMultipleChoice"], "mpnet": ["MPNetModel, far", "MPNetForMaskedLM"],
    "vit": ["ViTModel, not square", "ViTForImageClassification, no biases, gelu_new"],
}
VOCAB, IDS = 32, [(7 * i * i + 3 * i + 5) % 32 for i in range(20)]


def weights(name, shape):
    """Element i is (h/2^32 - 1/2)*s + m, h the high half of (crc32(name) + i + 1)*0x9E3779B97F4A7C15 modulo 2^64; s is 4/sqrt(last dimension) for
    matrices and 1/2 for vectors, m is 1 for vectors called weight."""
    n = int(np.prod(shape))
    h = ((np.uint64(zlib.crc32(name.encode())) + np.arange(1, n + 1, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
    scale, mean = (4 / shape[-1] ** 0.5, 0) if len(shape) > 1 else (0.5, float(name.endswith("weight")))
    return ((h.astype(np.float64) / 2**32 - 0.5) * scale + mean).astype(np.float32).reshape(shape)


def made(built, config):
    """The model of a class with the weights of weights(), its configuration as saved, and the shapes of its tensors."""
    with tempfile.TemporaryDirectory() as folder:
        made = getattr(built, "from_config", built)
        made(config).save_pretrained(folder)
        file = os.path.join(folder, "model.safetensors")
        with safe_open(file, "pt") as f:
            shapes = {k: f.get_slice(k).get_shape() for k in f.keys()}
        save_file({k: torch.from_numpy(weights(k, s)) for k, s in shapes.items()}, file, {"format": "pt"})
        model = built.from_pretrained(folder, dtype=torch.float32).eval()
        with open(os.path.join(folder, "config.json")) as f:
            return model, json.load(f), shapes


def case(kind, name):
    config = AutoConfig.for_model(kind, **{**dict(vocab_size=VOCAB, bos_token_id=1, eos_token_id=2, pad_token_id=0), **DECODERS[kind][name]})
    model, saved, shapes = made(AutoModelForCausalLM, config)
    with torch.no_grad():
        logits = model(torch.tensor([IDS])).logits[0, -1].numpy()
    return {"name": name, "config": saved, "shapes": shapes, "logits": [float(f"{x:.6g}") for x in logits]}


def encoder(kind, name):
    """A batch of two texts, which are the choices of one example where there are any, the second shorter by 7 tokens, or an image; of each output about 24 elements, evenly spread."""
    built = getattr(transformers, name.partition(",")[0])
    fields = dict(ENCODERS[kind][name], **({} if kind == "vit" else dict(vocab_size=VOCAB)))
    model, saved, shapes = made(built, built.config_class(**fields))
    if kind == "vit":
        shape = [1, model.config.num_channels, *np.broadcast_to(model.config.image_size, 2).tolist()]
        inputs = {"pixel_values": torch.from_numpy(weights("pixel_values", shape))}
    else:
        ids = np.array([IDS, [4 + (5 * i) % 28 for i in range(20)]])
        mask = np.ones_like(ids)
        ids[1, 13:], mask[1, 13:] = model.config.pad_token_id, 0
        inputs = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        if getattr(model.config, "type_vocab_size", 1) > 1:
            inputs["token_type_ids"] = torch.arange(20).ge(9).long().expand(2, -1) * inputs["attention_mask"]
    choices = name.endswith("ForMultipleChoice")
    with torch.no_grad():
        out = {k: v.flatten().numpy() for k, v in model(**{k: v[None] if choices else v for k, v in inputs.items()}).items()}
    some = lambda v: [float(f"{x:.6g}") for x in v[:: max(len(v) // 24, 1)]]
    return {
        "name": name, "config": saved, "shapes": shapes, "inputs": {k: v.tolist() for k, v in inputs.items() if k != "pixel_values"},
        "outputs": {k: {"count": len(v), "values": some(v)} for k, v in out.items()},
    }


def write(file, head, cases):
    with open(file, "w") as f:
        f.write('{%s"cases": [\n' % head)
        f.write(",\n".join(json.dumps(c, separators=(",", ":")) for c in cases))
        f.write("\n]}\n")


write("golden.json", '"ids": %s, ' % json.dumps(IDS), (case(k, n) for k, names in CASES.items() for n in names))
write("encoders.json", "", (encoder(k, n) for k, names in ENCODER_CASES.items() for n in names))
