"""A Llama of 5 million parameters, a small mixture of experts, and token sequences with something to learn, for comparisons of training."""
import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

VOCABULARY, TOKENS = 2048, 256


def model(attention="sdpa"):
    """Returns the model with weights that PyTorch's seed gives."""
    m = LlamaForCausalLM(LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=256, intermediate_size=688, num_hidden_layers=6, num_attention_heads=8, num_key_value_heads=4,
        max_position_embeddings=TOKENS, tie_word_embeddings=True, attn_implementation=attention))
    m.config.use_cache = False
    return m.float().train()


def mixture(attention="sdpa"):
    """Returns a model of 8 experts, 2 for each token."""
    m = MixtralForCausalLM(MixtralConfig(
        vocab_size=VOCABULARY, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=TOKENS, sliding_window=None, attn_implementation=attention))
    return m.float().train()


def sequences(count, seed=1):
    """Returns count sequences [count, TOKENS] of a random walk over the vocabulary: each token has 8 that may follow, and tokens are as frequent
    as words are."""
    rng = np.random.default_rng(seed)
    frequency = 1 / np.arange(1, VOCABULARY + 1)
    follow = rng.choice(VOCABULARY, (VOCABULARY, 8), p=frequency / frequency.sum())
    ids = np.empty((count, TOKENS), np.int64)
    ids[:, 0] = rng.integers(0, VOCABULARY, count)
    for i in range(1, TOKENS):
        ids[:, i] = follow[ids[:, i - 1], rng.integers(0, 8, count)]
    return ids


def loss(m, ids):
    """Returns the mean cross entropy of the next token."""
    scores = m(input_ids=ids, use_cache=False).logits
    return torch.nn.functional.cross_entropy(scores[:, :-1].reshape(-1, VOCABULARY), ids[:, 1:].reshape(-1))
