"""Acting by hand: actions for one observation, or for a batch of them."""

from __future__ import annotations

import random as python_random

import numpy as np
import tensorflow as tf

from kpg import spaces
from kpg.distributions.family import Family
from kpg.graph.calling import FlatCall, leaves
from kpg.models.observation_model import ObservationModel
from kpg.types import Array, Nest, Tensor

# Seeds of the compiled function are of 31 bits.
_BITS = 0x7FFFFFFF


class Acting:
    """A policy's way to act, greedy or sampled, compiled once for batches of any size.

    `state` is that of `Policy.act`, here always a tuple; `()` without a memory.
    """

    def __init__(
        self, policy: ObservationModel, family: Family, deterministic: bool
    ) -> None:
        self._space = policy.observation_space
        self._units = [spec.shape[0] for spec in policy.state_spec]
        specs = tf.nest.map_structure(
            lambda spec: tf.TensorSpec([None, *spec.shape], spec.dtype),
            (spaces.specs(self._space), policy.state_spec),
        )

        def choose(observations: Nest, state: Nest, *seed: Tensor) -> tuple[Nest, Nest]:
            parameters, state = policy.step(observations, state)
            raw = family.sample(parameters, *seed) if seed else family.mode(parameters)
            return family.to_environment(raw), state

        self._samples = not deterministic
        seeds = [tf.TensorSpec([2], tf.int32)] * self._samples
        self._choose = FlatCall(choose, [*specs, *seeds], fused=False)

    def __call__(
        self,
        observations: Nest,
        state: tuple[Array, ...] | None,
        seed: int | None,
        step: int = 0,
    ) -> tuple[Nest, tuple[Array, ...]]:
        """Returns actions and the new state."""
        batch, single = spaces.batched(self._space, observations)
        count = len(leaves(batch)[0])
        sizes = [(units,) if single else (count, units) for units in self._units]
        seeds = []
        if self._samples:
            number = python_random.getrandbits(31) if seed is None else seed
            seeds = [np.array([number & _BITS, step & _BITS], np.int32)]
        if state is None:
            state = tuple(np.zeros(size, np.float32) for size in sizes)
        if [np.shape(part) for part in state] != sizes:
            raise ValueError(
                "`state` must be what the previous `act` returned for as many "
                f"observations, or None where episodes begin: arrays of shapes {sizes}."
                f" Received: shapes {[np.shape(part) for part in state]}"
            )
        if single:
            state = tuple(part[np.newaxis] for part in state)
        actions, kept = self._choose(batch, state, *seeds)
        if not single:
            return actions, kept
        return _first(actions), tuple(part[0] for part in kept)


def _first(rows: Nest) -> Nest:
    """Returns the first rows of a nest, sooner than `tf.nest` if it is an array."""
    if isinstance(rows, np.ndarray):
        return rows[0]
    return tf.nest.map_structure(lambda leaf: leaf[0], rows)
