"""All that a trainer remembers, as values."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from kpg.trainers.trainer import Trainer
from kpg.types import Array


def variables_of(trainer: Trainer) -> list[keras.Variable]:
    """Returns the variables of a trainer and its optimizers, each once."""
    own = [v for pair in trainer.optimized_variables() for v in pair[0].variables]
    return list({id(v): v for v in [*trainer.variables, *own]}.values())


def values_of(trainer: Trainer) -> list[Array]:
    """Returns copies of their values, in that order."""
    return [_value_of(own) for own in variables_of(trainer)]


def _value_of(variable: keras.Variable) -> Array:
    """Reads it without what gradients and casts need, in a quarter of the time."""
    own = variable.value
    return np.array(tf.raw_ops.ReadVariableOp(resource=own.handle, dtype=own.dtype))


def assign(trainer: Trainer, values: Sequence[Array]) -> None:
    """Gives them values of a trainer like it."""
    for variable, value in zip(variables_of(trainer), values, strict=True):
        variable.assign(value)


@contextlib.contextmanager
def holding(trainer: Trainer, values: Sequence[Array]) -> Iterator[None]:
    """Gives them other values inside of a `with` block."""
    before = values_of(trainer)
    assign(trainer, values)
    try:
        yield
    finally:
        assign(trainer, before)
