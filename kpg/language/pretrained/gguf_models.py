"""Language models from GGUF files, as KerasHub's with their tokenizers."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import numpy as np

from kpg.language.pretrained.gguf_file import GGUFFile
from kpg.language.tokenizers.bpe_splitting import SPLITTINGS
from kpg.language.tokenizers.bpe_tokenizer import BPETokenizer
from kpg.types import Array, Config

if TYPE_CHECKING:
    import keras_nlp

# Names of weights in KerasHub and in GGUF.
_LLAMA_WEIGHTS = {
    "token_embedding/embeddings": "token_embd",
    "token_embedding/reverse_embeddings": "output",
    "sequence_output_layernorm/scale": "output_norm",
    "self_attention_layernorm/scale": "attn_norm",
    "self_attention/query/kernel": "attn_q",
    "self_attention/key/kernel": "attn_k",
    "self_attention/value/kernel": "attn_v",
    "self_attention/attention_output/kernel": "attn_output",
    "feedforward_layernorm/scale": "ffn_norm",
    "feedforward_gate_dense/kernel": "ffn_gate",
    "feedforward_intermediate_dense/kernel": "ffn_up",
    "feedforward_output_dense/kernel": "ffn_down",
}
_LAYER = re.compile(r"transformer_layer_(\d+)/")
# Other names for ways of splitting words; a file without a name means GPT-2's.
_SPLITTINGS = {"default": "gpt-2", "llama3": "llama-bpe", "llama-v3": "llama-bpe"}
_CONTROL, _USER_DEFINED = 3, 4


def load_gguf(
    path: str | os.PathLike[str], dtype: str | None = None
) -> tuple[keras_nlp.models.CausalLM, BPETokenizer]:
    """Makes a language model and its tokenizer from a GGUF file.

    Files of the architecture "llama" (Llama 2 and 3, SmolLM, SmolLM2 and others) become
    a `keras_nlp.models.Llama3CausalLM` without a preprocessor, if their tokenizer is
    byte-pair encoding. Quantised weights become floats of `dtype`, by default Keras's
    `floatx`. Policies write the start token before their prompts if the file's
    `add_bos_token` says so, and make prompts of messages by its `chat_template`.

    Raises:
        ImportError: If the package gguf is not installed.
        ValueError: If it is not a GGUF file, is incomplete, or has something that
            KerasHub's model does not.
    """
    file = GGUFFile(path)
    architecture = file.value("general.architecture")
    if architecture != "llama":
        raise ValueError(
            "kpg can read files of the architecture 'llama'. Received: "
            f"{architecture!r} in {file.path}"
        )
    tokenizer = _tokenizer(file)
    return _llama(file, dtype), tokenizer


def _llama(file: GGUFFile, dtype: str | None) -> keras_nlp.models.CausalLM:
    """Returns the model of a file of the architecture "llama"."""
    import keras_nlp

    vocabulary_size, width = file.shape("token_embd.weight")
    heads = file.value("llama.attention.head_count")
    _check_llama(file, width // heads)
    backbone = keras_nlp.models.Llama3Backbone(
        vocabulary_size=vocabulary_size,
        num_layers=file.value("llama.block_count"),
        num_query_heads=heads,
        num_key_value_heads=file.value("llama.attention.head_count_kv", heads),
        hidden_dim=width,
        intermediate_dim=file.value("llama.feed_forward_length"),
        rope_max_wavelength=file.value("llama.rope.freq_base", 10000.0),
        layer_norm_epsilon=file.value("llama.attention.layer_norm_rms_epsilon"),
        tie_word_embeddings="output.weight" not in file,
        dtype=dtype,
        **_stretched(file, width // heads),
    )
    for weight in backbone.weights:
        weight.assign(_llama_weight(file, weight.path, tuple(weight.shape)))
    if file.unread():
        raise ValueError(
            "Every tensor must belong to a weight of KerasHub's Llama. Received: "
            f"{', '.join(file.unread()[:4])} in {file.path}, which do not"
        )
    return keras_nlp.models.Llama3CausalLM(backbone=backbone)


def _check_llama(file: GGUFFile, head_size: int) -> None:
    """Refuses what KerasHub's Llama does not compute."""
    wanted: dict[str, object] = {
        "llama.rope.dimension_count": head_size,
        "llama.attention.key_length": head_size,
        "llama.attention.value_length": head_size,
        "llama.rope.scaling.type": "none",
        "llama.expert_count": 0,
    }
    for key, value in wanted.items():
        if (found := file.value(key, None)) not in (None, value):
            raise ValueError(
                f"KerasHub's Llama needs {key} to be {value!r}. Received: {found!r} in "
                f"{file.path}"
            )


def _stretched(file: GGUFFile, head_size: int) -> Config:
    """Returns how Llama 3.1 and later slow the slow rotations down further.

    A file has the result for each pair of features, KerasHub computes it from the
    factor and three numbers that all Llamas share: Grattafiori et al., "The Llama 3
    herd of models" (2024), https://arxiv.org/abs/2407.21783, and its code.
    """
    name, low, high, length = "rope_freqs.weight", 1.0, 4.0, 8192
    if name not in file:
        return {}
    divisors = file.array(name)
    pairs = 2.0 * np.arange(head_size // 2) / head_size
    turns = length / (2.0 * np.pi * file.value("llama.rope.freq_base") ** pairs)
    own = np.clip((turns - low) / (high - low), 0.0, 1.0)
    factor = float(divisors.max())
    fits = divisors.shape == own.shape and factor >= 1.0
    if not fits or not np.allclose(divisors * (1.0 - own + own * factor), factor):
        raise ValueError(
            f"{name} must slow rotations down as Llama 3.1 does. Received: shape "
            f"{divisors.shape} in {file.path}, with other divisors up to {factor:g}"
        )
    return {
        "rope_frequency_adjustment_factor": factor,
        "rope_low_freq_factor": low,
        "rope_high_freq_factor": high,
        "rope_pretraining_sequence_length": length,
    }


def _llama_weight(file: GGUFFile, path: str, shape: tuple[int, ...]) -> Array:
    """Returns the value of a weight of KerasHub's Llama."""
    layer = _LAYER.search(path)
    name = _LLAMA_WEIGHTS[path[layer.end() if layer else 0 :]] + ".weight"
    if layer:
        name = f"blk.{layer[1]}.{name}"
    value = file.array(name)
    if value.size != np.prod(shape):
        raise ValueError(
            f"{name} of {file.path} must have {np.prod(shape)} numbers, for a weight "
            f"of shape {shape}. Received: shape {value.shape}"
        )
    if name.endswith(("attn_q.weight", "attn_k.weight")):
        # GGUF rotates neighbours of a head together, KerasHub one of each half.
        _, heads, size = shape
        pairs = value.reshape(heads, size // 2, 2, -1)
        value = pairs.swapaxes(1, 2).reshape(value.shape)
    # GGUF has outputs first, KerasHub inputs.
    outputs_last = path.endswith(("/kernel", "/reverse_embeddings"))
    return (value.T if outputs_last else value).reshape(shape)


def _tokenizer(file: GGUFFile) -> BPETokenizer:
    """Returns the tokenizer that the metadata describes."""
    kind = file.value("tokenizer.ggml.model")
    if kind != "gpt2":
        raise ValueError(
            "The tokenizer must be byte-pair encoding, which GGUF calls 'gpt2'. "
            f"Received: {kind!r} in {file.path}"
        )
    splitting = file.value("tokenizer.ggml.pre", "default")
    splitting = _SPLITTINGS.get(splitting, splitting)
    if splitting not in SPLITTINGS:
        raise ValueError(
            "kpg can split words in these ways: "
            f"{', '.join([*SPLITTINGS, *_SPLITTINGS])}. Received: {splitting!r} in "
            f"{file.path}"
        )
    vocabulary = file.value("tokenizer.ggml.tokens")
    kinds = file.value("tokenizer.ggml.token_type", [1] * len(vocabulary))
    end = file.value("tokenizer.ggml.eos_token_id")
    start = file.value("tokenizer.ggml.bos_token_id", None)
    pad = file.value("tokenizer.ggml.padding_token_id", end)
    # Many files pad with the end token; it could not be told from padding.
    pad = pad if pad != end else int(end == 0)
    return BPETokenizer(
        vocabulary,
        file.value("tokenizer.ggml.merges"),
        end_token=vocabulary[end],
        pad_token=vocabulary[pad],
        special_tokens=[
            token
            for token, kind in zip(vocabulary, kinds, strict=True)
            if kind in (_CONTROL, _USER_DEFINED)
        ],
        splitting=splitting,
        start_token=None if start is None else vocabulary[start],
        # llama.cpp assumes it for Llama 3 alone.
        add_start_token=start is not None
        and bool(file.value("tokenizer.ggml.add_bos_token", splitting == "llama-bpe")),
        chat_template=file.value("tokenizer.chat_template", None),
    )
