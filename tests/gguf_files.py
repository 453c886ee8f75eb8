"""A tiny GGUF file of random weights, and what the model in it computes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from kpg import text

LAYERS, WIDTH, HEADS, GROUPS, INNER = 2, 32, 4, 2, 64
SIZE = WIDTH // HEADS
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["Ġ t", "h e", "Ġt he", "i n", "Ġ a", "1 2", "Ġ Ġ", "o u", "n d", "Ġa nd"]
VOCABULARY = [
    *SPECIAL,
    *text.byte_symbols(),
    *(merge.replace(" ", "") for merge in MERGES),
]
METADATA: dict[str, Any] = {
    "llama.block_count": LAYERS,
    "llama.context_length": 64,
    "llama.embedding_length": WIDTH,
    "llama.feed_forward_length": INNER,
    "llama.attention.head_count": HEADS,
    "llama.attention.head_count_kv": GROUPS,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.rope.freq_base": 100.0,
    "llama.rope.dimension_count": SIZE,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": VOCABULARY,
    "tokenizer.ggml.token_type": [3] * 3 + [1] * (len(VOCABULARY) - 3),
    "tokenizer.ggml.merges": MERGES,
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.ggml.padding_token_id": 2,
}


def weights(tied: bool = True) -> dict[str, np.ndarray]:
    """Returns random tensors by their names, outputs first."""
    random = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {"token_embd": (len(VOCABULARY), WIDTH)}
    for layer in range(LAYERS):
        parts: dict[str, tuple[int, ...]] = {
            "attn_norm": (WIDTH,),
            "attn_q": (WIDTH, WIDTH),
            "attn_k": (GROUPS * SIZE, WIDTH),
            "attn_v": (GROUPS * SIZE, WIDTH),
            "attn_output": (WIDTH, WIDTH),
            "ffn_norm": (WIDTH,),
            "ffn_gate": (INNER, WIDTH),
            "ffn_up": (INNER, WIDTH),
            "ffn_down": (WIDTH, INNER),
        }
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in parts.items()}
    shapes["output_norm"] = (WIDTH,)
    if not tied:
        shapes["output"] = (len(VOCABULARY), WIDTH)
    return {
        f"{name}.weight": random.normal(len(shape) == 1, 0.3, shape).astype(np.float32)
        for name, shape in shapes.items()
    }


def write(
    path: Path,
    tensors: dict[str, np.ndarray] | None = None,
    quantised: bool = False,
    architecture: str = "llama",
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a file; of what is given of the metadata, `None` leaves one out."""
    writer = gguf.GGUFWriter(path, architecture)
    add: dict[type, Any] = {
        str: writer.add_string,
        bool: writer.add_bool,
        int: writer.add_uint32,
        float: writer.add_float32,
        list: writer.add_array,
    }
    for key, value in {**METADATA, **(metadata or {})}.items():
        if value is not None:
            add[type(value)](key, value)
    for name, value in (weights() if tensors is None else tensors).items():
        if quantised and value.ndim == 2:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quantize(value, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def logits(tensors: dict[str, np.ndarray], tokens: list[int]) -> np.ndarray:
    """Returns `[L, V]`: Touvron et al. (2023) word for word, heads and places apart.

    As in ggml, the features 2i and 2i + 1 of a head are rotated together.
    """
    named = {name.removesuffix(".weight"): value for name, value in tensors.items()}
    hidden = named["token_embd"][tokens].astype(np.float64)
    for layer in range(LAYERS):
        part = {
            name: named[f"blk.{layer}.{name}"]
            for name in ("attn_q", "attn_k", "attn_v", "attn_output")
        }
        inputs = _normalised(hidden, named[f"blk.{layer}.attn_norm"])
        mixed = np.zeros_like(hidden)
        for head in range(HEADS):
            own = slice(head * SIZE, (head + 1) * SIZE)
            group = head // (HEADS // GROUPS)
            shared = slice(group * SIZE, (group + 1) * SIZE)
            queries = inputs @ part["attn_q"][own].T
            keys, values = (
                inputs @ part[name][shared].T for name in ("attn_k", "attn_v")
            )
            for place in range(len(tokens)):
                scores = np.array(
                    [
                        _rotated(queries[place], place) @ _rotated(keys[past], past)
                        for past in range(place + 1)
                    ]
                ) / np.sqrt(SIZE)
                attention = np.exp(scores - scores.max())
                attention /= attention.sum()
                mixed[place, own] = attention @ values[: place + 1]
        hidden = hidden + mixed @ part["attn_output"].T
        inputs = _normalised(hidden, named[f"blk.{layer}.ffn_norm"])
        gates = inputs @ named[f"blk.{layer}.ffn_gate"].T
        inner = (
            gates / (1.0 + np.exp(-gates)) * (inputs @ named[f"blk.{layer}.ffn_up"].T)
        )
        hidden = hidden + inner @ named[f"blk.{layer}.ffn_down"].T
    head_weights = named.get("output", named["token_embd"])
    result: np.ndarray = _normalised(hidden, named["output_norm"]) @ head_weights.T
    return result


def _normalised(rows: np.ndarray, scale: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = rows / np.sqrt((rows**2).mean(-1, keepdims=True) + 1e-5)
    scaled *= scale
    return scaled


def _rotated(features: np.ndarray, place: int) -> np.ndarray:
    turned = np.empty_like(features)
    for pair in range(SIZE // 2):
        angle = place * 100.0 ** (-2 * pair / SIZE)
        real, imaginary = features[2 * pair : 2 * pair + 2]
        turned[2 * pair] = real * np.cos(angle) - imaginary * np.sin(angle)
        turned[2 * pair + 1] = real * np.sin(angle) + imaginary * np.cos(angle)
    return turned
