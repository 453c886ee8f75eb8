"""What a recurrent model remembers: a Keras cell, its state, and the loop over time."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from kpg.models.backbones import layer_seeds
from kpg.scan import scan

State = tuple[tf.Tensor, ...]

_CELLS = {"gru": keras.layers.GRUCell, "lstm": keras.layers.LSTMCell}


def memory_cell(memory: str, units: int, seed: int | None) -> keras.layers.Layer:
    """Makes a recurrent cell, as Keras initialises it: orthogonal recurrent weights.

    References: Hochreiter and Schmidhuber (1997), "Long short-term memory"; Cho et al.
    (2014), https://arxiv.org/abs/1406.1078, for the GRU.

    Args:
        memory: "gru" or "lstm".
        units: Width of the state, ≥ 1.
        seed: Seed of the weights, or `None` for a random one.

    Raises:
        ValueError: If the memory is unknown, or has no units.
    """
    if memory not in _CELLS:
        raise ValueError(
            f"`memory` must be None or one of {', '.join(map(repr, _CELLS))}. "
            f"Received: memory={memory!r}"
        )
    if not isinstance(units, int) or units < 1:
        raise ValueError(
            "`memory_units` must be a positive integer. "
            f"Received: memory_units={units!r}"
        )
    seeds = layer_seeds(seed)
    return _CELLS[memory](
        units,
        kernel_initializer=keras.initializers.GlorotUniform(seed=next(seeds)),
        recurrent_initializer=keras.initializers.Orthogonal(seed=next(seeds)),
        seed=next(seeds),
    )


def state_spec(cell: keras.layers.Layer) -> tuple[tf.TensorSpec, ...]:
    """Returns the spec of one state: `(h,)` of a GRU, `(h, c)` of an LSTM."""
    return tuple(tf.TensorSpec([size]) for size in tf.nest.flatten(cell.state_size))


def advance(
    cell: keras.layers.Layer, inputs: tf.Tensor, state: State, training: bool
) -> State:
    """Returns the state after inputs `[B, F]`; its first part is the cell's output."""
    _, state = cell(inputs, list(state), training=training)
    return tuple(tf.cast(part, tf.float32) for part in state)


def unroll(
    cell: keras.layers.Layer,
    inputs: tf.Tensor,
    state: State,
    resets: tf.Tensor,
    training: bool,
) -> State:
    """Carries the state over time.

    Args:
        cell: From `memory_cell`.
        inputs: `[T, B, F]`, with `T` known when the graph is built.
        state: `[B, units]` each, before the first row.
        resets: `[T, B]` bool: the state is zero before a row where it is `True`.
        training: Whether the call is part of an update.

    Returns:
        The state after each row, `[T, B, units]` each.
    """

    def step(state: Any, row: Any) -> tuple[Any, Any]:
        inputs, resets = row
        kept = tuple(tf.where(resets[:, tf.newaxis], 0.0, part) for part in state)
        state = advance(cell, inputs, kept, training)
        return state, state

    states: State = scan(step, state, (inputs, resets))[1]
    return states
