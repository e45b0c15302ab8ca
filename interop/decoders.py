"""Small configurations of every architecture of language models, by model_type: what a family's models differ in, each at least once. Texts are
40 tokens long, so that windows of 7, contexts of 16 and the like are shorter."""

BASE = dict(hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2, max_position_embeddings=64)
MHA = dict(BASE, num_key_value_heads=6)
WIDE = dict(BASE, head_dim=16)  # heads * head_dim is not hidden_size
TIED, UNTIED = dict(tie_word_embeddings=True), dict(tie_word_embeddings=False)


def rope(kind, theta=10000.0, **fields):
    return dict(rope_parameters=dict(rope_type=kind, rope_theta=theta, **fields))


LINEAR = rope("linear", factor=4.0)
DYNAMIC = dict(rope("dynamic", factor=4.0), max_position_embeddings=16)
LLAMA3 = rope("llama3", 500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)
YARN = rope("yarn", factor=4.0, original_max_position_embeddings=16)
YARN_ALL = rope("yarn", factor=4.0, original_max_position_embeddings=16, beta_fast=16.0, beta_slow=2.0, attention_factor=1.3)
LONG = dict(max_position_embeddings=64, original_max_position_embeddings=16)
SHORT = dict(max_position_embeddings=1024, original_max_position_embeddings=512)


def longrope(n):
    return rope("longrope", short_factor=[1.0 + 0.1 * i for i in range(n)], long_factor=[2.0 + 0.5 * i for i in range(n)])


QWEN_MOE = dict(BASE, num_experts=5, num_experts_per_tok=2, moe_intermediate_size=24)
GEMMA = dict(WIDE, query_pre_attn_scalar=16)
FALCON = dict(hidden_size=48, num_hidden_layers=3, num_attention_heads=8, max_position_embeddings=64)
BLOOM = dict(hidden_size=48, n_layer=3, n_head=8)
GPT2 = dict(n_embd=48, n_layer=3, n_head=6, n_positions=64)
NEOX = dict(hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=3, max_position_embeddings=64)
OPT = dict(hidden_size=48, ffn_dim=80, num_hidden_layers=3, num_attention_heads=6, max_position_embeddings=64, word_embed_proj_dim=48)

DECODERS = {
    "llama": {
        "GQA": BASE, "MHA, tied": dict(MHA, **TIED), "wide heads": WIDE, "biases": dict(BASE, attention_bias=True, mlp_bias=True),
        "rope linear": dict(BASE, **LINEAR), "rope dynamic": dict(BASE, **DYNAMIC), "rope llama3": dict(BASE, **LLAMA3),
        "rope yarn": dict(BASE, **YARN), "rope yarn, all fields": dict(BASE, **YARN_ALL), "activation": dict(BASE, hidden_act="gelu"),
    },
    "mistral": {
        "no window": dict(BASE, sliding_window=None), "window": dict(BASE, sliding_window=7), "wide heads, tied": dict(WIDE, sliding_window=9, **TIED),
        "rope yarn": dict(BASE, sliding_window=None, **YARN),
    },
    "mixtral": {
        "8 experts": BASE, "3 experts, window": dict(BASE, num_local_experts=3, sliding_window=7), "1 of 4, tied": dict(BASE, num_local_experts=4, num_experts_per_tok=1, **TIED),
        "all experts, wide heads": dict(WIDE, num_local_experts=4, num_experts_per_tok=4),
    },
    "qwen2": {
        "GQA": BASE, "MHA, tied": dict(MHA, **TIED), "window in some": dict(BASE, use_sliding_window=True, sliding_window=7, max_window_layers=1),
        "rope yarn": dict(BASE, **YARN),
    },
    "qwen2_moe": {
        "shared expert": dict(QWEN_MOE, shared_expert_intermediate_size=40), "normalized": dict(QWEN_MOE, shared_expert_intermediate_size=40, norm_topk_prob=True),
        "some layers": dict(QWEN_MOE, shared_expert_intermediate_size=40, num_hidden_layers=4, decoder_sparse_step=2, mlp_only_layers=[1]),
        "window, no biases": dict(QWEN_MOE, shared_expert_intermediate_size=40, use_sliding_window=True, sliding_window=7, max_window_layers=2, qkv_bias=False),
        "tied": dict(QWEN_MOE, shared_expert_intermediate_size=40, **TIED),
    },
    "qwen3": {
        "GQA": dict(WIDE), "tied": dict(WIDE, **TIED), "biases": dict(WIDE, attention_bias=True),
        "window in some": dict(WIDE, use_sliding_window=True, sliding_window=7, max_window_layers=1), "rope yarn": dict(WIDE, **YARN),
    },
    "qwen3_moe": {
        "plain": dict(QWEN_MOE, head_dim=16), "normalized, tied": dict(QWEN_MOE, norm_topk_prob=True, **TIED),
        "some layers": dict(QWEN_MOE, num_hidden_layers=4, decoder_sparse_step=2), "window, biases": dict(QWEN_MOE, use_sliding_window=True, sliding_window=7, attention_bias=True),
    },
    "gemma": {
        "MQA": dict(WIDE, num_key_value_heads=1), "untied": dict(WIDE, **UNTIED), "biases, gelu": dict(WIDE, attention_bias=True, hidden_act="gelu"),
    },
    "gemma2": {
        "window": dict(GEMMA, sliding_window=7), "low caps": dict(GEMMA, sliding_window=7, attn_logit_softcapping=2.0, final_logit_softcapping=3.0),
        "no caps": dict(GEMMA, sliding_window=7, attn_logit_softcapping=None, final_logit_softcapping=None), "query scale": dict(WIDE, query_pre_attn_scalar=12),
        "own windows": dict(GEMMA, sliding_window=5, layer_types=["full_attention", "sliding_attention", "sliding_attention"]),
    },
    "gemma3_text": {
        "7 layers": dict(GEMMA, num_hidden_layers=7, sliding_window=7), "cap": dict(GEMMA, sliding_window=7, final_logit_softcapping=3.0),
        "own windows": dict(GEMMA, sliding_window=5, layer_types=["full_attention", "sliding_attention", "full_attention"]),
        "global rope linear": dict(GEMMA, num_hidden_layers=7, sliding_window=7, rope_parameters={
            "sliding_attention": dict(rope_type="default", rope_theta=10000.0), "full_attention": dict(rope_type="linear", rope_theta=1000000.0, factor=8.0)}),
    },
    "phi": {
        "MHA": MHA, "GQA, tied": dict(BASE, **TIED), "normalized": dict(MHA, qk_layernorm=True), "all rotated": dict(MHA, **rope("default", partial_rotary_factor=1.0)),
    },
    "phi3": {
        "GQA": BASE, "MHA, tied": dict(MHA, **TIED), "window": dict(BASE, sliding_window=7), "longrope, long text": dict(BASE, **LONG, **longrope(4)),
        "longrope, short text": dict(BASE, **SHORT, **longrope(4)), "partial": dict(WIDE, num_attention_heads=3, num_key_value_heads=1, **rope("default", partial_rotary_factor=0.75)),
    },
    "gpt2": {
        "tied": GPT2, "untied, inner": dict(GPT2, n_inner=80, **UNTIED), "scale by layer": dict(GPT2, scale_attn_by_inverse_layer_idx=True),
        "no scale": dict(GPT2, scale_attn_weights=False, reorder_and_upcast_attn=True),
    },
    "gpt_neox": {
        "parallel": NEOX, "one after the other": dict(NEOX, use_parallel_residual=False), "tied, no biases": dict(NEOX, attention_bias=False, **TIED),
        "all rotated": dict(NEOX, **rope("default", partial_rotary_factor=1.0)), "rope linear": dict(NEOX, **rope("linear", factor=4.0, partial_rotary_factor=0.25)),
    },
    "opt": {
        "tied": OPT, "untied": dict(OPT, **UNTIED), "norms behind, narrow embedding": dict(OPT, do_layer_norm_before=False, word_embed_proj_dim=32),
        "no biases": dict(OPT, enable_bias=False), "norms without weights": dict(OPT, layer_norm_elementwise_affine=False), "gelu": dict(OPT, activation_function="gelu"),
    },
    "falcon": {
        "multi query": FALCON, "multi head, biases": dict(FALCON, multi_query=False, bias=True), "new, two norms": dict(FALCON, new_decoder_architecture=True, num_kv_heads=2),
        "new, one norm": dict(FALCON, new_decoder_architecture=True, num_kv_heads=4, num_ln_in_parallel_attn=1),
        "alibi, one after the other": dict(FALCON, alibi=True, parallel_attn=False, multi_query=False, bias=True), "untied": dict(FALCON, **UNTIED),
    },
    "bloom": {
        "tied": BLOOM, "untied": dict(BLOOM, **UNTIED), "residual from norm": dict(BLOOM, apply_residual_connection_post_layernorm=True),
        "6 heads": dict(BLOOM, n_head=6),
    },
    "stablelm": {
        "GQA": dict(BASE, num_attention_heads=3, num_key_value_heads=1), "biases, tied": dict(MHA, num_attention_heads=3, num_key_value_heads=3, use_qkv_bias=True, **TIED),
        "parallel, normalized": dict(BASE, num_attention_heads=3, num_key_value_heads=3, use_parallel_residual=True, qk_layernorm=True),
    },
    "starcoder2": {
        "GQA, tied": BASE, "untied, window": dict(BASE, sliding_window=7, **UNTIED), "no biases": dict(BASE, use_bias=False),
    },
    "cohere": {
        "GQA": BASE, "normalized": dict(BASE, use_qk_norm=True), "biases, untied": dict(BASE, attention_bias=True, **UNTIED), "logit scale": dict(MHA, logit_scale=0.5),
        "64 layers, normalized": dict(BASE, num_hidden_layers=64, use_qk_norm=True),
    },
    "olmo2": {"GQA": BASE, "MHA, tied": dict(MHA, **TIED), "biases": dict(BASE, attention_bias=True)},
    "granite": {
        "plain": BASE, "factors": dict(BASE, embedding_multiplier=12.0, logits_scaling=8.0, residual_multiplier=0.22, attention_multiplier=0.0156),
        "biases, tied": dict(BASE, attention_bias=True, mlp_bias=True, attention_multiplier=0.3, **TIED),
    },
    "smollm3": {
        "5 layers": dict(BASE, num_hidden_layers=5), "own layers, untied": dict(BASE, no_rope_layers=[0, 1, 0], **UNTIED),
        "window": dict(BASE, num_hidden_layers=5, use_sliding_window=True, sliding_window=7), "biases": dict(BASE, attention_bias=True, mlp_bias=True),
    },
}
