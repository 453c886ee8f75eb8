"""The weights of `kpg.text.gpt2`, drawn again without kpg, for peers that take them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from measuring import Job

# The deviation of GPT-2's initial weights.
SPREAD = 0.02


class Layer(NamedTuple):
    """Kernels of a block, each `[inputs, outputs]`; its biases are 0, its norms 1."""

    query: Any
    key: Any
    value: Any
    merge: Any
    widen: Any
    narrow: Any


class Weights(NamedTuple):
    """Embeddings of tokens `[V, F]`, also the head's, and of places `[L, F]`."""

    tokens: Any
    places: Any
    layers: list[Layer]


def weights(job: Job) -> Weights:
    """Draws float32 weights in the order in which `kpg.text.gpt2` draws them."""
    rng = np.random.default_rng(job["seed"])
    width = job["hidden_dim"]
    room = job["prompt_tokens"] + job["new_tokens"]

    def draw(rows: int, columns: int) -> Any:
        return rng.normal(0.0, SPREAD, (rows, columns)).astype(np.float32)

    tokens, places = draw(job["vocabulary_size"], width), draw(room, width)
    layers = [
        Layer(
            *(draw(width, width) for _ in range(4)),
            draw(width, 4 * width),
            draw(4 * width, width),
        )
        for _ in range(job["num_layers"])
    ]
    return Weights(tokens, places, layers)
