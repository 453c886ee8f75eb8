"""Acting in host environments: one compiled call per step, and little else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import tensorflow as tf

from kpg import spaces
from kpg.environments.host.vector import HostEnvironment
from kpg.graph.calling import FlatCall
from kpg.models.policy import Policy
from kpg.types import Array, Nest, Tensor

Chooser: TypeAlias = Callable[[Nest, Nest, Tensor], tuple[Nest, ...]]
"""Takes observations, a policy's state and a seed; returns a tuple that ends in it."""


class Actor:
    """Chooses the actions of some copies of a host environment.

    `kpg.spaces.encode` fixes shapes and dtypes, so that `choose` is traced once.
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
        self._choose = FlatCall(choose, [*specs, tf.TensorSpec([2], tf.int32)])
        self._start = tf.nest.map_structure(
            lambda spec: np.zeros(spec.shape, spec.dtype.as_numpy_dtype), specs[1]
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
        *chosen, self.state = self._choose(observations, self.state, seed)
        return chosen
