"""What a recurrent model remembers: a Keras cell, its state, and the loop over time."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import ClassVar, TypeAlias

import keras
import tensorflow as tf
from typing_extensions import override

from kpg import checks, contracts, values
from kpg.graph.scan import scan
from kpg.models.attention import AttentionCell
from kpg.models.backbones import layer_seeds

State = tuple[tf.Tensor, ...]


class Memory(values.Value, ABC):
    """A kind of memory; derive a frozen dataclass for one of your own."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        contracts.check_names(cls, Memory)

    @abstractmethod
    def cell(self, seed: int | None) -> keras.layers.Layer:
        """Returns a new Keras cell.

        It has a `state_size`, a number or a list of them. `cell(inputs, states,
        training=…)` with inputs `[B, F]` returns its output and the next states, of
        which the first is the output. States of zeros mean that nothing has been seen.
        A `seed` of `None` is a random one.
        """


@dataclasses.dataclass(frozen=True)
class _Recurrent(Memory):
    """A recurrent cell of Keras, with Keras's orthogonal recurrent weights."""

    _kind: ClassVar[type[keras.layers.Layer]]
    units: int = 64

    def __post_init__(self) -> None:
        checks.whole_number("units", self.units)

    @override
    def cell(self, seed: int | None) -> keras.layers.Layer:
        seeds = layer_seeds(seed)
        return self._kind(
            self.units,
            kernel_initializer=keras.initializers.GlorotUniform(seed=next(seeds)),
            recurrent_initializer=keras.initializers.Orthogonal(seed=next(seeds)),
            seed=next(seeds),
        )


@keras.saving.register_keras_serializable(package="kpg")
@dataclasses.dataclass(frozen=True)
class GRU(_Recurrent):
    """A gated recurrent unit of width `units` ≥ 1, by default 64; its state is `(h,)`.

    Reference: Cho et al. (2014), https://arxiv.org/abs/1406.1078.
    """

    _kind: ClassVar[type[keras.layers.Layer]] = keras.layers.GRUCell


@keras.saving.register_keras_serializable(package="kpg")
@dataclasses.dataclass(frozen=True)
class LSTM(_Recurrent):
    """A long short-term memory; `units` as in `GRU`; its state is `(h, c)`.

    Reference: Hochreiter and Schmidhuber (1997), "Long short-term memory".
    """

    _kind: ClassVar[type[keras.layers.Layer]] = keras.layers.LSTMCell


@keras.saving.register_keras_serializable(package="kpg")
@dataclasses.dataclass(frozen=True)
class Transformer(Memory):
    """Attention to the last steps of the episode; see `kpg.models.AttentionCell`.

    Its state is `(h, window, known)`: the last inputs, and which of them there were.

    Args:
        units: Width, ≥ 1. Defaults to 64.
        steps: Steps before the present one that it sees, ≥ 1. Defaults to 32.
    """

    units: int = 64
    steps: int = 32

    def __post_init__(self) -> None:
        checks.whole_number("units", self.units)
        checks.whole_number("steps", self.steps)

    @override
    def cell(self, seed: int | None) -> keras.layers.Layer:
        return AttentionCell(self.units, self.steps, seed)


MemoryLike: TypeAlias = Memory | type[Memory] | str

MEMORIES: dict[str, type[Memory]] = {
    "gru": GRU,
    "lstm": LSTM,
    "transformer": Transformer,
}


def get(
    memory: MemoryLike | None, units: int | None = None, steps: int | None = None
) -> Memory | None:
    """Returns a memory given as in `Policy`, or as a configuration."""
    given = {"units": units, "steps": steps}
    arguments = {name: value for name, value in given.items() if value is not None}
    if memory is not None:
        return values.get("memory", memory, Memory, MEMORIES, arguments)
    for name, value in arguments.items():
        raise ValueError(
            f"`memory_{name}` has no effect without `memory`; leave it out. "
            f"Received: memory_{name}={value!r}"
        )
    return None


def state_spec(cell: keras.layers.Layer) -> tuple[tf.TensorSpec, ...]:
    """Returns the spec of one state; its first part is the cell's output."""
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
    """Returns the states `[T, B, N]` after each row of inputs `[T, B, F]`, T static.

    The state is zero before a row where `resets` `[T, B]` is true.
    """

    def step(state: State, row: tuple[tf.Tensor, tf.Tensor]) -> tuple[State, State]:
        inputs, resets = row
        kept = tuple(tf.where(resets[:, tf.newaxis], 0.0, part) for part in state)
        state = advance(cell, inputs, kept, training)
        return state, state

    states: State = scan(step, state, (inputs, resets))[1]
    return states
