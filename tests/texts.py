"""Small languages and language policies for the tests of texts.

Models have one layer; what has to do with layers asks for two.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import keras_nlp
import numpy as np
import tensorflow as tf

from kpg import text
from kpg.models import CausalLMPolicy


class Letters:
    """A tokenizer of a few letters: 0 pads, 1 ends, and letters follow.

    Args:
        letters: One token each.
    """

    pad_token_id = 0
    end_token_id = 1

    def __init__(self, letters: str = "a") -> None:
        self.letters = letters
        self.symbols = tf.constant(["", "", *letters])

    def vocabulary_size(self) -> int:
        return 2 + len(self.letters)

    def tokenize(self, texts: Any) -> tf.RaggedTensor:
        characters = tf.strings.bytes_split(texts)
        found = characters.flat_values[:, tf.newaxis] == self.symbols[2:]
        tokens = tf.argmax(found, axis=-1, output_type=tf.int32) + 2
        return characters.with_flat_values(tokens)

    def detokenize(self, tokens: Any) -> tf.Tensor:
        return tf.strings.reduce_join(tf.gather(self.symbols, tokens), axis=-1)


class Begun(Letters):
    """Letters whose texts begin with "^", if nobody says otherwise."""

    add_start_token = True

    def __init__(self, letters: str = "abc") -> None:
        super().__init__(letters + "^")
        self.start_token_id = 1 + len(self.letters)


def bpe(**options: Any) -> Any:
    """Returns a byte-pair tokenizer that joins two spaces, or a space and an n."""
    letters = [*"abcdefghijklmnopqrstuvwxyzITAM0123456789'.,!", "Ġ", "Ċ"]
    symbols = ["<pad>", *letters, "<|endoftext|>", "ĠĠ", "Ġn"]
    return keras_nlp.models.GPT2Tokenizer(
        vocabulary={symbol: index for index, symbol in enumerate(symbols)},
        merges=["Ġ Ġ", "Ġ n"],
        **options,
    )


def gpt2(vocabulary_size: int, **options: Any) -> Any:
    """Returns a small GPT-2 whose next tokens are far from uniform."""
    small = {"num_layers": 1, "hidden_dim": 16, "max_tokens": 24, "seed": 0}
    return stirred(text.gpt2(vocabulary_size, **{**small, **options}))


def llama(
    vocabulary_size: int, family: str = "Llama", num_layers: int = 1, **options: Any
) -> Any:
    """Returns a small Llama, or another of its family: places are rotations."""
    make = getattr(keras_nlp.models, f"{family}Backbone")
    backbone = make(
        vocabulary_size=vocabulary_size,
        num_layers=num_layers,
        num_query_heads=4,
        num_key_value_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        **options,
    )
    made = getattr(keras_nlp.models, f"{family}CausalLM")
    return drawn(made(backbone=backbone))


def gemma(vocabulary_size: int, num_layers: int = 1) -> Any:
    """Returns a small Gemma, which has no decoder of its own."""
    backbone = keras_nlp.models.GemmaBackbone(
        vocabulary_size=vocabulary_size,
        num_layers=num_layers,
        num_query_heads=2,
        num_key_value_heads=1,
        hidden_dim=16,
        intermediate_dim=32,
        head_dim=8,
    )
    return drawn(keras_nlp.models.GemmaCausalLM(backbone=backbone), 0.03)


def drawn(model: Any, scale: float = 0.3) -> Any:
    """Gives every weight the same value each time, which KerasHub does not."""
    random = np.random.default_rng(1)
    for weight in model.trainable_weights:
        weight.assign(random.normal(weight.name == "scale", scale, weight.shape))
    return model


def stirred(model: Any, scale: float = 0.3) -> Any:
    """Gives every weight some noise."""
    random = np.random.default_rng(1)
    for weight in model.trainable_weights:
        weight.assign_add(random.normal(0.0, scale, weight.shape))
    return model


def policy(letters: str = "a", model: Any = None, **options: Any) -> CausalLMPolicy:
    """Returns a policy over letters whose critic knows something."""
    tokenizer = Letters(letters)
    model = gpt2(tokenizer.vocabulary_size()) if model is None else model
    made = CausalLMPolicy(model, tokenizer, **options)
    if made.critic is not None:
        stirred(made.critic.head)
    return made


def padded(rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Returns `[B, P]` tokens, padded on the right, and their lengths."""
    lengths = np.array([len(row) for row in rows], np.int32)
    table = np.zeros([len(rows), lengths.max()], np.int32)
    for line, row in zip(table, rows, strict=True):
        line[: len(row)] = row
    return table, lengths


def before_the_last(
    prompts: np.ndarray, lengths: np.ndarray
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Returns the last token of each prompt and the state before it."""
    rows = np.arange(len(lengths))
    known = np.arange(prompts.shape[1] - 1) < (lengths - 1)[:, np.newaxis]
    state = (np.where(known, prompts[:, :-1], 0), lengths - 1)
    return prompts[rows, lengths - 1], state


def teacher_forced(
    made: CausalLMPolicy, prompt: Sequence[int], completion: Sequence[int]
) -> tf.Tensor:
    """Returns `[length]` log-probabilities, by the KerasHub model alone."""
    tokens = tf.constant([[*prompt, *completion]])
    inputs = {"token_ids": tokens, "padding_mask": tf.ones_like(tokens)}
    logits = made.trunk.causal_lm(inputs)[0] / made.temperature
    places = tf.range(len(prompt) - 1, tokens.shape[1] - 1)
    log_probs = tf.nn.log_softmax(tf.gather(logits, places))
    return tf.gather(log_probs, tf.constant(completion), batch_dims=1)


def language(vocabulary_size: int, length: int, end: int = 1) -> list[tuple[int, ...]]:
    """Returns every completion: up to its end token, or to the limit."""
    words = itertools.product(range(vocabulary_size), repeat=length)
    cut = {word[: word.index(end) + 1] if end in word else word for word in words}
    return sorted(cut)


def remainder(prompts: Any, completions: Any, completion_ids: Any) -> list[float]:
    """Pays for something that differs between completions."""
    return [float(sum(map(int, ids)) % 7) for ids in completion_ids]
