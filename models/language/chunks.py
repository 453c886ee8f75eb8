"""Asking a language model's head about many tokens, without all logits at once.

The logits of N tokens, `[N, V]`, with their probabilities and gradients, are the
largest tables of an update: 8 texts of 64 tokens of GPT-2 make one of 100 MB. Here only
one chunk of tokens has them at a time. The backward pass computes each chunk's logits
again, so that none is kept.

Reference: Jeffrey et al., "Cut your losses in large-vocabulary language models" (2024),
https://arxiv.org/abs/2411.09009, which never holds the table either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import keras
import tensorflow as tf

from kpg.graph.gradients import with_gradient
from kpg.graph.scan import scan
from kpg.types import Tensor

Pair: TypeAlias = tuple[Tensor, Tensor]
Ask: TypeAlias = Callable[[Tensor, Tensor], Pair]

# Numbers in a table of logits, 64 MiB. Half of it is slower on a CPU, by the weights'
# gradients, of which each chunk has its own; twice as much is not faster.
MOST = 2**24


def in_chunks(
    ask: Ask,
    features: Tensor,
    actions: Tensor,
    vocabulary_size: int,
    variables: Sequence[keras.Variable],
    most: int | None = None,
) -> Pair:
    """Asks about features `[N, F]` and actions `[N]`, in as few chunks as allowed.

    Args:
        ask: Returns two float32 tensors `[C]` about features `[C, F]` and actions `[C]`
            of a chunk, each row's from that row alone.
        features: `[N, F]`, N known.
        actions: `[N]` int32.
        vocabulary_size: V, numbers in a row of what `ask` computes on its way.
        variables: Those that `ask` reads; the trainable ones get gradients.
        most: Numbers in a table of logits. Defaults to `MOST`.

    Returns:
        Two tensors `[N]`, which are `ask(features, actions)` but for rounding.
    """
    count = int(features.shape[0])
    pieces = math.ceil(count * vocabulary_size / (most or MOST))
    if pieces <= 1:
        return ask(features, actions)
    chunks = _Chunks(ask, count, math.ceil(count / pieces), variables)
    learned = [tf.convert_to_tensor(own) for own in variables if own.trainable]
    pair: Pair = with_gradient(chunks.asked)(features, actions, *learned)
    return pair


class _Chunks:
    """The two passes through N rows, of which `size` are looked at at a time."""

    def __init__(
        self, ask: Ask, count: int, size: int, variables: Sequence[keras.Variable]
    ) -> None:
        self.ask = ask
        self.count = count
        self.size = size
        self.learned = [own for own in variables if own.trainable]
        # Read here, where an outer scope's weights are those of the caller.
        self.frozen = [
            (own, tf.stop_gradient(own)) for own in variables if not own.trainable
        ]

    def asked(
        self, features: Tensor, actions: Tensor, *weights: Tensor
    ) -> tuple[Pair, Callable[..., tuple[Tensor | None, ...]]]:
        """Returns what `ask` does about all rows, and its gradient."""
        rows = self._cut(features), self._cut(actions)
        spec = tf.TensorSpec([self.size])
        _, said = scan(
            lambda none, piece: (none, self._said(piece[0], piece[1], weights)),
            (),
            rows,
            like=(spec, spec),
            at_a_time=1,
        )

        def backward(*outer: Tensor) -> tuple[Tensor | None, ...]:
            totals, inner = scan(
                lambda totals, piece: self._added(totals, piece, weights),
                [tf.zeros_like(weight) for weight in weights],
                (*rows, *map(self._cut, outer)),
                like=tf.TensorSpec(rows[0].shape[1:], features.dtype),
                at_a_time=1,
            )
            return self._joined(inner), None, *totals

        return (self._joined(said[0]), self._joined(said[1])), backward

    def _added(
        self,
        totals: list[Tensor],
        piece: tuple[Tensor, ...],
        weights: tuple[Tensor, ...],
    ) -> tuple[list[Tensor], Tensor]:
        """Adds a chunk's gradients to those of the weights; returns its features'."""
        features, actions, *outer = piece
        with tf.GradientTape() as tape:
            tape.watch([features, *weights])
            said = self._said(features, actions, weights)
        own, *parts = tape.gradient(said, [features, *weights], outer)
        both = zip(totals, parts, strict=True)
        return [total if part is None else total + part for total, part in both], own

    def _said(
        self, features: Tensor, actions: Tensor, weights: tuple[Tensor, ...]
    ) -> Pair:
        """Asks with weights that are tensors."""
        pairs = [*zip(self.learned, weights, strict=True), *self.frozen]
        with keras.StatelessScope(pairs):
            return self.ask(features, actions)

    def _cut(self, rows: Tensor) -> Tensor:
        """Cuts `[N, ...]` into `[K, size, ...]`, with rows of zeros at the end."""
        missing = -self.count % self.size
        padded = tf.pad(rows, [[0, missing], *[[0, 0]] * (len(rows.shape) - 1)])
        return tf.reshape(padded, [-1, self.size, *rows.shape[1:]])

    def _joined(self, pieces: Tensor) -> Tensor:
        """Undoes `_cut`."""
        return tf.reshape(pieces, [-1, *pieces.shape[2:]])[: self.count]
