"""The one loop over time: carry a state along and stack what each step emits."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from kpg.graph.compiling import aside
from kpg.types import Nest

# This many numbers stay in a core's cache; above it, a loop that reads them once wins.
_SMALL = 2**14


def scan(
    step: Callable[[Nest, Nest], tuple[Nest, Nest]],
    carry: Nest,
    inputs: Nest,
    *,
    reverse: bool = False,
    length: int | None = None,
    like: Nest | None = None,
    at_a_time: int = 10,
) -> tuple[Nest, Nest]:
    """Runs `step` once for each row of `inputs`, first to last (or last to first).

    Unlike in `tf.scan`, outputs need not look like the carry, and every `TensorArray`
    has the static shape that XLA requires. `step` makes `(carry, outputs_t)` of
    `(carry, inputs_t)` and keeps the carry's shapes and dtypes. `inputs` is a nest of
    `[T, ...]` tensors, or `None` if `length`, T ≥ 1, is given. `like`, a nest of
    `tf.TensorSpec` of a step's outputs, saves building a large step twice. Without XLA,
    up to `at_a_time` steps run at once where they do not wait for each other's carry.

    Returns the last carry, and the outputs stacked to `[T, ...]` in the inputs' order.
    """
    inputs = () if inputs is None else inputs
    rows = tf.nest.map_structure(tf.convert_to_tensor, inputs)
    if length is None:
        length = tf.nest.flatten(rows)[0].shape[0] if tf.nest.flatten(rows) else None
    if not length:
        raise ValueError(
            "`scan` needs at least one step, and a number of steps that is known when "
            f"the graph is built; pass `length`. Received: length={length}"
        )
    carry = tf.nest.map_structure(tf.convert_to_tensor, carry)

    def row(index: tf.Tensor | int) -> Nest:
        return tf.nest.map_structure(lambda values: values[index], rows)

    if tf.executing_eagerly():
        emitted = []
        for index in reversed(range(length)) if reverse else range(length):
            carry, outputs = step(carry, row(index))
            emitted.append(outputs)
        emitted = emitted[::-1] if reverse else emitted
        return carry, tf.nest.map_structure(lambda *parts: tf.stack(parts), *emitted)

    def body(count: tf.Tensor, carry: Nest, arrays: Nest) -> tuple[Nest, Nest, Nest]:
        index = length - 1 - count if reverse else count
        carry, outputs = step(carry, row(index))
        arrays = tf.nest.map_structure(
            lambda array, output: array.write(index, output), arrays, outputs
        )
        return count + 1, carry, arrays

    if like is None:
        with aside():
            emits = step(carry, row(0))[1]
        like = tf.nest.map_structure(tf.convert_to_tensor, emits)
    arrays = tf.nest.map_structure(
        lambda output: tf.TensorArray(output.dtype, length, element_shape=output.shape),
        like,
    )
    # XLA finds the number of passes in TensorFlow's own condition, if it is alone.
    _, carry, arrays = tf.while_loop(
        lambda *_: True,
        body,
        (tf.constant(0), carry, arrays),
        maximum_iterations=length,
        parallel_iterations=at_a_time,
    )
    return carry, tf.nest.map_structure(lambda array: array.stack(), arrays)


def decayed_sums(
    terms: tf.Tensor, decays: tf.Tensor, reverse: bool = False
) -> tf.Tensor:
    """Returns sₜ = termsₜ + decaysₜ · sₜ₋₁ of `[T, B]` float32, with s₋₁ = 0.

    In reverse it is sₜ = termsₜ + decaysₜ · sₜ₊₁ with s_T = 0. A decay of 0 cuts: what
    lies beyond it has no effect, not even `inf` and `nan`. A small forward problem does
    without a loop: after round k of ⌈log₂ T⌉ each row holds the sum of 2ᵏ rows.

    Reference: Hillis and Steele (1986), "Data parallel algorithms",
    https://doi.org/10.1145/7902.7903.
    """

    def add(rows: tuple[tf.Tensor, tf.Tensor], before: tf.Tensor) -> tf.Tensor:
        term, decay = rows
        # Not `decay * before`: a masked row beyond an episode may hold nan or inf.
        return term + unless(tf.equal(decay, 0.0), decay * before)

    def step(
        total: tf.Tensor, row: tuple[tf.Tensor, tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        total = add(row, total)
        return total, total

    if reverse or terms.shape.num_elements() > _SMALL:
        return scan(step, tf.zeros_like(terms[0]), (terms, decays), reverse=reverse)[1]
    reach = 1
    while reach < terms.shape[0]:
        pad = [[reach, 0], [0, 0]]
        before, further = (tf.pad(rows[:-reach], pad) for rows in (terms, decays))
        terms, decays = add((terms, decays), before), decays * further
        reach *= 2
    return terms


def unless(condition: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Returns `values`, with 0 where the condition holds; 0 · nan would be nan."""
    return tf.where(condition, 0.0, values)
