"""What a recurrent model remembers: a Keras cell, its state, and the loop over time."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from kpg.graph.scan import scan
from kpg.models.attention import AttentionCell
from kpg.models.backbones import layer_seeds

State = tuple[tf.Tensor, ...]

TRANSFORMER = "transformer"
_CELLS = {"gru": keras.layers.GRUCell, "lstm": keras.layers.LSTMCell}


def memory_cell(
    memory: str, units: int, steps: int, seed: int | None
) -> keras.layers.Layer:
    """Makes a cell; a recurrent one as Keras does, with orthogonal recurrent weights.

    References: Hochreiter and Schmidhuber (1997), "Long short-term memory"; Cho et al.
    (2014), https://arxiv.org/abs/1406.1078, for the GRU.

    Args:
        memory: "gru", "lstm" or "transformer".
        units: Width of the state, ≥ 1.
        steps: Steps that a transformer sees besides the present one, ≥ 1.
        seed: Seed of the weights, or `None` for a random one.

    Raises:
        ValueError: If the memory is unknown, or has no units or no steps.
    """
    if memory not in (*_CELLS, TRANSFORMER):
        raise ValueError(
            "`memory` must be None or one of "
            f"{', '.join(map(repr, (*_CELLS, TRANSFORMER)))}. "
            f"Received: memory={memory!r}"
        )
    for name, count in (("memory_units", units), ("memory_steps", steps)):
        if not isinstance(count, int) or count < 1:
            raise ValueError(
                f"`{name}` must be a positive integer. Received: {name}={count!r}"
            )
    if memory == TRANSFORMER:
        return AttentionCell(units, steps, seed)
    seeds = layer_seeds(seed)
    return _CELLS[memory](
        units,
        kernel_initializer=keras.initializers.GlorotUniform(seed=next(seeds)),
        recurrent_initializer=keras.initializers.Orthogonal(seed=next(seeds)),
        seed=next(seeds),
    )


def state_spec(cell: keras.layers.Layer) -> tuple[tf.TensorSpec, ...]:
    """Returns the spec of one state; its first part is the cell's output.

    It is `(h,)` of a GRU, `(h, c)` of an LSTM, and of a transformer `(h, window,
    known)`: the last inputs, and which of them there were.
    """
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
        state: `[B, N]` each, as in `state_spec`, before the first row.
        resets: `[T, B]` bool: the state is zero before a row where it is `True`.
        training: Whether the call is part of an update.

    Returns:
        The state after each row, `[T, B, N]` each.
    """

    def step(state: Any, row: Any) -> tuple[Any, Any]:
        inputs, resets = row
        kept = tuple(tf.where(resets[:, tf.newaxis], 0.0, part) for part in state)
        state = advance(cell, inputs, kept, training)
        return state, state

    states: State = scan(step, state, (inputs, resets))[1]
    return states
