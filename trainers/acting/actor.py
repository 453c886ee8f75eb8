"""Acting in host environments: one compiled call per step, and little else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import tensorflow as tf

from kpg import spaces
from kpg.environments.host.vector import HostEnvironment
from kpg.models.policy import Policy
from kpg.types import Array, Nest, Tensor

Chooser: TypeAlias = Callable[[Nest, Nest, Tensor], tuple[Nest, ...]]
"""Takes observations, a policy's state and a seed; returns a tuple that ends in it."""


class Actor:
    """Chooses the actions of some copies of a host environment.

    `tf.function` checks arguments in Python at each call, which takes four times as
    long as a small policy. Here shapes and dtypes are fixed by `kpg.spaces.encode`, so
    `choose` is traced once, and its operation called with flat arguments. XLA would
    hand each call to a thread, which costs more than it saves.
    """

    def __init__(
        self,
        env: HostEnvironment,
        policy: Policy,
        choose: Chooser,
        num_copies: int | None = None,
    ) -> None:
        size = env.num_envs if num_copies is None else num_copies
        specs = tf.nest.map_structure(
            lambda spec: tf.TensorSpec([size, *spec.shape], spec.dtype),
            (spaces.specs(env.observation_space), policy.state_spec),
        )
        signature = [*specs, tf.TensorSpec([2], tf.int32)]
        # Kept, since the operation needs the function.
        self._traced = tf.function(
            choose, signature, autograph=False
        ).get_concrete_function()
        self._captured = list(self._traced.captured_inputs)
        self._dtypes = [output.dtype for output in self._traced.outputs]
        self._places = tf.nest.pack_sequence_as(
            self._traced.structured_outputs, [*range(len(self._dtypes))]
        )
        self._start = tf.nest.map_structure(
            lambda spec: np.zeros(spec.shape, spec.dtype.as_numpy_dtype), signature[1]
        )
        self.state = self._start

    def restart(self) -> None:
        """Forgets all episodes."""
        self.state = self._start

    def forget(self, rows: Array) -> None:
        """Forgets the episodes of the copies where `[B]` bool `rows` is true."""

        def zeroed(state: Array) -> Array:
            return np.where(rows.reshape([-1] + [1] * (state.ndim - 1)), 0, state)

        if self.state != () and rows.any():
            self.state = tf.nest.map_structure(zeroed, self.state)

    def __call__(self, observations: Nest, seed: Array) -> list[Nest]:
        """Returns what `choose` does as arrays, but keeps the state."""
        outputs = tf.raw_ops.StatefulPartitionedCall(
            args=[*leaves(observations), *leaves(self.state), seed, *self._captured],
            Tout=self._dtypes,
            f=self._traced,
        )
        arrays = [output.numpy() for output in outputs]
        *chosen, self.state = (filled(places, arrays) for places in self._places)
        return chosen


def leaves(nest: Nest) -> list[Array]:
    """Returns the arrays of a nest, sooner than `tf.nest` where there is only one."""
    if isinstance(nest, np.ndarray):
        return [nest]
    return [] if nest == () else tf.nest.flatten(nest)


def filled(places: Nest, arrays: list[Array]) -> Nest:
    """Puts arrays in the places that a nest of their numbers tells."""
    if isinstance(places, int):
        return arrays[places]
    return () if places == () else tf.nest.map_structure(arrays.__getitem__, places)
