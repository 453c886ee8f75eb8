"""The last fragments of experience, as variables."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kpg.graph import random
from kpg.trainers.learning.free_memory import free_memory, gigabytes
from kpg.trajectories import Trajectory
from kpg.types import Nest, Tensor


class Drawn(NamedTuple):
    """A kept fragment, and the iteration that it was collected in."""

    trajectory: Trajectory
    iteration: Tensor


class Fragments:
    """A ring of the last `capacity` fragments; a new one takes the oldest one's place.

    Its variables have the shapes of the first fragment, which all others must have.
    `keep` and `draw` build graph.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        # How many there have been, and the iterations of those that are kept.
        self._count = tf.Variable(0, trainable=False, dtype=tf.int64)
        self._iterations = _zeros([capacity], tf.int64)
        self._kept: list[tf.Variable | None] = []
        self._like: Trajectory | None = None
        self._restored: Nest = None

    @property
    def some(self) -> Tensor:
        """Returns whether there is any fragment."""
        return self._count > 0

    def shape(self, like: Trajectory) -> None:
        """Makes room for fragments of these shapes.

        Raises:
            ValueError: If earlier ones have others, or the memory is too small.
        """
        leaves = tf.nest.flatten(like)
        if self._like is not None:
            self._refuse_other(leaves)
            return
        self._check_room(leaves)
        with tf.init_scope():  # outside of the graph that is being built
            self._kept = [
                None
                if leaf is None
                else _zeros([self.capacity, *leaf.shape], leaf.dtype)
                for leaf in leaves
            ]
            self._like = tf.nest.map_structure(lambda leaf: None, like)
            if self._restored is not None:
                self._put(self._restored)

    def keep(self, fragment: Trajectory, iteration: Tensor, healthy: Tensor) -> None:
        """Keeps a fragment that was collected in an iteration, if it is `healthy`."""
        place = tf.math.floormod(self._count, self.capacity)
        leaves = [tf.cast(iteration, tf.int64), *tf.nest.flatten(fragment)]
        for variable, leaf in zip([self._iterations, *self._kept], leaves, strict=True):
            if variable is not None:
                row = tf.where(healthy, leaf, tf.gather(variable, place))
                rows = tf.IndexedSlices(row[tf.newaxis], place[tf.newaxis])
                variable.scatter_update(rows)
        self._count.assign_add(tf.cast(healthy, tf.int64))

    def draw(self, seed: Tensor) -> Drawn:
        """Draws one of the kept fragments, each equally likely, given a `[2]` seed.

        If there is none, its rows are zeros.
        """
        known = tf.cast(tf.minimum(self._count, self.capacity), tf.int32)
        place = random.integers([1], seed, 0, tf.maximum(known, 1))[0]
        leaves = [None if own is None else tf.gather(own, place) for own in self._kept]
        drawn: Trajectory = tf.nest.pack_sequence_as(self._like, leaves)
        return Drawn(drawn, tf.gather(self._iterations, place))

    def state(self) -> Nest:
        """Returns what is kept, as arrays, or `None` if there was nothing yet."""
        if self._like is None:
            return self._restored
        variables = [self._count, self._iterations, *self._kept]
        return [None if own is None else own.numpy() for own in variables]

    def set_state(self, state: Nest) -> None:
        """Keeps what others had when they returned their `state`; `None` is nothing."""
        self._restored = state
        if state is None:
            self._count.assign(0)
        elif self._like is not None:
            self._put(state)

    def _put(self, state: Nest) -> None:
        variables = [self._count, self._iterations, *self._kept]
        for variable, value in zip(variables, state, strict=True):
            if variable is not None:
                variable.assign(value)

    def _refuse_other(self, leaves: list[Tensor | None]) -> None:
        for own, leaf in zip(self._kept, leaves, strict=True):
            if own is not None and leaf is not None and own.shape[1:] != leaf.shape:
                raise ValueError(
                    "What is replayed must have one shape: leave `prompt_buckets=1`, "
                    "so that all prompts are padded alike, or omit `replay`. Received: "
                    f"a fragment with {leaf.shape} after one with {own.shape[1:]}"
                )

    def _check_room(self, leaves: list[Tensor | None]) -> None:
        """Refuses more fragments than fit into the memory that is free."""
        known = [leaf for leaf in leaves if leaf is not None]
        size = sum(leaf.shape.num_elements() * leaf.dtype.size for leaf in known)
        free = free_memory()
        if free is not None and size * self.capacity > free:
            raise ValueError(
                f"The fragments to replay need {gigabytes(size * self.capacity)} of "
                f"memory, and {gigabytes(free)} are free: keep at most {free // size} "
                f"of them, or make them shorter. Received: num_fragments="
                f"{self.capacity} of {gigabytes(size)} each"
            )


def _zeros(shape: list[int], dtype: tf.DType) -> tf.Variable:
    return tf.Variable(np.zeros(shape, dtype.as_numpy_dtype), trainable=False)
