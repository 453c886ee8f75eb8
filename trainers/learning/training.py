"""All that learning needs: an algorithm, models, optimizers, a strategy."""

from __future__ import annotations

import math
from typing import NamedTuple

import keras
import tensorflow as tf

from kpg.environments.partner import Partner
from kpg.models.critic import Critic
from kpg.models.normalization import RunningNormalization
from kpg.models.policy import Policy
from kpg.trainers.algorithm import Algorithm
from kpg.trainers.learning.batches import shuffled
from kpg.trainers.learning.reference import Reference
from kpg.trainers.learning.replicas import fold_in_replica
from kpg.trainers.settings import TrainerSettings
from kpg.types import Tensor

Optimized = tuple[keras.optimizers.Optimizer, list[keras.Variable]]


class Training(NamedTuple):
    """What is trained, and how; `num_envs` counts the environments of all replicas.

    `optimized` is in the order of the gradients; `iteration` and `env_steps` are int64
    counters; `partner` acts after the policy and learns too; for `group_size` see
    `Environment`, for `on_nonfinite` `Trainer.compile`; workers wait for each other for
    `worker_deadline` seconds.
    """

    algorithm: Algorithm
    policy: Policy
    critic: Critic | None
    optimized: list[Optimized]
    strategy: tf.distribute.Strategy
    return_moments: RunningNormalization
    seed: int
    iteration: keras.Variable
    env_steps: keras.Variable
    num_envs: int
    reference: Reference | None = None
    partner: Partner | None = None
    group_size: int | None = None
    worker_deadline: float | None = None
    on_nonfinite: str = "raise"

    @property
    def settings(self) -> TrainerSettings:
        """The algorithm's settings."""
        return self.algorithm.settings

    @property
    def replicas(self) -> int:
        """Replicas of the strategy."""
        return int(self.strategy.num_replicas_in_sync)

    @property
    def recurrent(self) -> bool:
        """Whether a model is recurrent; minibatches are then whole sequences."""
        critic = self.critic
        return self.policy.recurrent or (critic is not None and critic.recurrent)

    @property
    def variables(self) -> list[keras.Variable]:
        """All trainable variables, each once."""
        return [v for _, variables in self.optimized for v in variables]

    def stepped(self) -> list[keras.Variable]:
        """Returns all variables that optimizers change."""
        own = [v for optimizer, _ in self.optimized for v in optimizer.variables]
        return [*self.variables, *own]

    def followed(self) -> list[keras.Variable]:
        """Returns what layers follow as they are asked, as averages of batches."""
        partner = None if self.partner is None else self.partner.model
        found: dict[int, keras.Variable] = {}
        for model in (self.policy, self.critic, partner):
            layers = [] if model is None else model._flatten_layers()
            for layer in layers:
                # Not `non_trainable_variables`, which holds frozen weights, too.
                if not isinstance(layer, RunningNormalization):
                    found |= {id(v): v for v in layer._non_trainable_variables}
        return list(found.values())

    def changing(self) -> list[keras.Variable]:
        """Returns all variables that a gradient step changes."""
        return [*self.stepped(), *self.followed()]

    def minibatch_size(self, size: int | None) -> int:
        """Returns a minibatch's rows on all replicas; `None` is all rows."""
        num_envs, num_steps = self.num_envs, self.settings.num_steps
        rows, replicas = num_envs * num_steps, self.replicas
        size = rows if size is None else size
        if num_envs % replicas or size % replicas:
            raise ValueError(
                "The number of replicas must divide `num_envs` and `minibatch_size`. "
                f"Received: {replicas} replicas, num_envs={num_envs}, "
                f"minibatch_size={size}"
            )
        if rows % size:
            raise ValueError(
                "`minibatch_size` must divide the rows of an iteration, num_envs * "
                f"num_steps = {num_envs} * {num_steps} = {rows}. "
                f"Received: minibatch_size={size}"
            )
        if self.recurrent and size // replicas % num_steps:
            raise ValueError(
                "A recurrent policy or critic learns from whole sequences: "
                "`minibatch_size` must be a multiple of num_steps for each replica. "
                f"Received: minibatch_size={size}, num_steps={num_steps}, "
                f"{replicas} replicas"
            )
        return size

    @property
    def columns(self) -> int | None:
        """How many texts or fragments are looked at together; `None` is all."""
        return self.settings.micro_batch_size if self.recurrent else None

    def alike(self, columns: int) -> int:
        """Returns how many neighbours of so many columns begin alike, in their order.

        They are of one group, all of it or a part.
        """
        return math.gcd(self.group_size or 1, columns)

    def micro_batch_size(self, rows: int) -> int:
        """Returns how many of a replica's minibatch are learned from at a time."""
        size = self.settings.micro_batch_size
        if size is not None and rows % size:
            what = "texts or fragments" if self.recurrent else "rows"
            raise ValueError(
                "`micro_batch_size` must divide a minibatch on each replica, here "
                f"{rows} {what}. Received: micro_batch_size={size}"
            )
        return size or rows

    def minibatches(self) -> tuple[int, int]:
        """Returns the epochs of an iteration and the minibatches of an epoch."""
        updates = self.algorithm.updates
        size = self.minibatch_size(updates.minibatch_size)
        return updates.num_epochs, self.num_envs * self.settings.num_steps // size

    def orders(self, num_epochs: int, size: int | None, seed: Tensor) -> Tensor:
        """Draws this replica's minibatches, of rows or sequences; see `shuffled`."""
        num_steps = self.settings.num_steps
        unit = num_steps if self.recurrent else 1  # rows that stay together
        return shuffled(
            fold_in_replica(seed),
            self.num_envs // self.replicas * num_steps // unit,
            num_epochs,
            self.minibatch_size(size) // self.replicas // unit,
        )
