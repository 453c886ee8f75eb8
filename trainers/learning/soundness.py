"""Whether a gradient step is sound: its loss and its gradient are finite.

A step that is not is never applied. Its row of numbers, of the losses and of the norms
of the gradient's columns, names the culprit afterwards, outside of the program.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from kpg.types import Metrics, Tensor

ON_NONFINITE = ("raise", "skip")
# One more than the culprit's place among the suspects, and its number; 0 without one.
FAULT, FAULT_VALUE = "fault", "fault_value"
# Steps that were left out.
SKIPPED = "skipped_updates"
# Iterations without a single step, of which the means over minibatches are unknown.
IDLE = "idle"


class Part(NamedTuple):
    """One optimizer's share of a gradient, of global norm `norm`."""

    optimizer: keras.optimizers.Optimizer
    variables: list[keras.Variable]
    gradients: list[Tensor]
    norm: Tensor

    def sound(self) -> Tensor:
        """Returns whether it is finite, or left to an optimizer that scales the loss.

        That one skips what overflows, and halves its scale.
        """
        if isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            return tf.constant(True)
        return tf.math.is_finite(self.norm)


class Faults(NamedTuple):
    """Steps that were not sound: how many, and the place and value of a `culprit`."""

    number: Tensor
    place: Tensor
    value: Tensor


class Tally:
    """Adds up an iteration's `Faults`, phase by phase; methods build graph.

    A phase may stand in a branch, out of which only a variable leads.
    """

    def __init__(self, on_nonfinite: str) -> None:
        self.raises = on_nonfinite == "raise"
        self.suspects: list[str] = []
        self.phases = 0
        self._sums = tf.Variable(tf.zeros([3]), trainable=False)

    def start(self) -> None:
        """Begins an iteration."""
        self.suspects, self.phases = [], 0
        self._sums.assign(tf.zeros([3]))

    def add(self, suspects: list[str], faults: Faults) -> None:
        """Adds a phase's."""
        wrong = tf.logical_and(self.raises, faults.number > 0.0)
        place = 1.0 + len(self.suspects) + faults.place
        blame = tf.where(wrong, tf.stack([place, faults.value]), 0.0)
        self._sums.assign_add(tf.concat([faults.number[tf.newaxis], blame], axis=0))
        self.phases += 1
        self.suspects += suspects

    def sound(self) -> Tensor:
        """Returns whether nothing has to be raised so far."""
        return tf.equal(self._sums[1], 0.0)

    def metrics(self) -> Metrics:
        """Returns how many steps were skipped, or the one that raises."""
        number, fault, value = tf.unstack(tf.convert_to_tensor(self._sums))
        return {FAULT: fault, FAULT_VALUE: value} if self.raises else {SKIPPED: number}


def columns(gradient: Tensor) -> Tensor:
    """Returns the norms of a gradient's columns, `[K]` float32.

    XLA turns norms of norms of columns into vector instructions, but regroups sums of
    squares into one slow sum per tensor.
    """
    part = tf.cast(gradient, tf.float32)
    if part.shape.rank > 1:
        axes = list(range(part.shape.rank - 1))
        part = tf.sqrt(tf.reduce_sum(tf.square(part), axis=axes))
    return tf.reshape(part, [-1])


def global_norm(gradients: Sequence[Tensor]) -> Tensor:
    """Returns `tf.linalg.global_norm` in fewer and quicker kernels."""
    parts = [columns(gradient) for gradient in gradients]
    return tf.sqrt(tf.reduce_sum(tf.square(tf.concat(parts, axis=0))))


def total_norm(parts: Sequence[Part]) -> Tensor:
    """Returns the norm of all parts' gradients together, without their loss scales.

    It is 0 where one overflowed, since the optimizer then takes no step.
    """
    norms = [part.norm / part.optimizer.scale_loss(1.0) for part in parts]
    norm = norms[0] if len(norms) == 1 else tf.norm(tf.stack(norms))
    return tf.where(tf.math.is_finite(norm), norm, 0.0)


def row(
    losses: Tensor, parts: Sequence[Part], variables: Sequence[keras.Variable]
) -> Tensor:
    """Returns the numbers that `suspects` names; 0 for variables without effect."""
    norms = {
        id(variable): columns(gradient)
        for part in parts
        for variable, gradient in zip(part.variables, part.gradients, strict=True)
    }
    found = [norms.get(id(v), tf.zeros([_width(v)])) for v in variables]
    return tf.concat([losses, *found], axis=0)


def suspects(terms: Sequence[str], variables: Sequence[keras.Variable]) -> list[str]:
    """Returns what each number of a step's row is of: losses, then columns."""
    named = [f"the gradient of {v.path}" for v in variables for _ in range(_width(v))]
    return [*terms, *named]


def culprit(row: Tensor, losses: int) -> tuple[Tensor, Tensor]:
    """Returns the place and value of the first number that is not finite.

    If all are finite, the sum of their squares is not: then it is the largest norm.
    """
    wrong = ~tf.math.is_finite(row)
    first = tf.argmax(tf.cast(wrong, tf.int32), output_type=tf.int32)
    largest = losses + tf.argmax(row[losses:], output_type=tf.int32)
    place = tf.where(tf.reduce_any(wrong), first, largest)
    return tf.cast(place, tf.float32), tf.gather(row, place)


def not_finite(name: str, value: float) -> ValueError:
    """Says what was not finite, and what to do about it."""
    return ValueError(
        "The loss and its gradient must be finite in float32. This step was not taken: "
        "weights and optimizer are the last good ones. Lower the learning rate, or "
        "bound or normalise what is too large (`normalize_rewards=True`, "
        "`normalize_observations=True`); `compile(on_nonfinite='skip')` leaves such "
        f"steps out. Received: {name} = {value:g}"
    )


def _width(variable: keras.Variable) -> int:
    """Returns how many columns a variable has."""
    return int(variable.shape[-1]) if len(variable.shape) else 1
