"""Small configurations of every architecture of encoders, by model_type and class: what a family's models differ in, each at least once."""

TEXT = dict(hidden_size=48, num_hidden_layers=3, num_attention_heads=6, intermediate_size=80, max_position_embeddings=72)
DISTIL = dict(dim=48, n_layers=3, n_heads=6, hidden_dim=80, max_position_embeddings=72)
IMAGE = dict(hidden_size=48, num_hidden_layers=3, num_attention_heads=6, intermediate_size=80, image_size=24, patch_size=8)
ONE_TYPE, FIVE, UNTIED = dict(type_vocab_size=1), dict(num_labels=5), dict(tie_word_embeddings=False)
NARROW = dict(TEXT, embedding_size=32)


def heads(prefix, base, **more):
    """The heads that all encoders of text have."""
    return {
        f"{prefix}Model": base, f"{prefix}ForMaskedLM": base, f"{prefix}ForSequenceClassification": dict(base, **FIVE),
        f"{prefix}ForTokenClassification": dict(base, **FIVE), f"{prefix}ForQuestionAnswering": base, f"{prefix}ForMultipleChoice": base, **more,
    }


ENCODERS = {
    "bert": heads(
        "Bert", TEXT, BertForPreTraining=TEXT, BertForNextSentencePrediction=TEXT,
        **{"BertForMaskedLM, untied": dict(TEXT, **UNTIED), "BertForMaskedLM, gelu_new, one type": dict(TEXT, hidden_act="gelu_new", layer_norm_eps=1e-5, **ONE_TYPE)},
    ),
    "roberta": heads("Roberta", dict(TEXT, **ONE_TYPE), **{"RobertaForMaskedLM, untied, types, padding 3": dict(TEXT, pad_token_id=3, **UNTIED)}),
    "xlm-roberta": heads("XLMRoberta", dict(TEXT, **ONE_TYPE)),
    "distilbert": heads("DistilBert", DISTIL, **{"DistilBertForMaskedLM, untied, relu": dict(DISTIL, activation="relu", **UNTIED)}),
    "electra": heads(
        "Electra", NARROW, ElectraForPreTraining=NARROW, **{
            "ElectraForMaskedLM, wide": dict(TEXT, embedding_size=48), "ElectraForPreTraining, relu": dict(TEXT, embedding_size=48, hidden_act="relu"),
            "ElectraForMultipleChoice, mean, no activation": dict(NARROW, summary_type="mean", summary_activation=""),
            "ElectraForMultipleChoice, last, tanh": dict(NARROW, summary_type="last", summary_activation="tanh"),
        },
    ),
    "mpnet": heads("MPNet", TEXT, **{"MPNetModel, far": dict(TEXT, max_position_embeddings=312)}),
    "vit": {
        "ViTModel": IMAGE, "ViTForImageClassification": dict(IMAGE, **FIVE), "ViTModel, not square": dict(IMAGE, image_size=[16, 40], patch_size=[8, 4], num_channels=1),
        "ViTForImageClassification, no biases, gelu_new": dict(IMAGE, qkv_bias=False, hidden_act="gelu_new"),
        "ViTModel, pooler": dict(IMAGE, pooler_output_size=32, pooler_act="relu"),
    },
}
