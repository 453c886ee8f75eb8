"""Gradient steps on fragments that were collected before; see `Replay`."""

from __future__ import annotations

import tensorflow as tf

from kpg import losses
from kpg.graph import random
from kpg.trainers.learning.batches import Batch
from kpg.trainers.learning.estimation import Estimation
from kpg.trainers.learning.fragments import Fragments
from kpg.trainers.learning.minibatches import Descent, Taken
from kpg.trainers.learning.objective import PolicyObjective
from kpg.trainers.learning.outputs import log_probs_of
from kpg.trainers.learning.replay import Replay
from kpg.trainers.learning.scaling import Scaling
from kpg.trainers.learning.soundness import Tally
from kpg.trainers.learning.training import Training
from kpg.trajectories import Trajectory
from kpg.types import Metrics, Nest, Tensor


class Replaying:
    """Learns from kept fragments, as if they had just been collected by older policies.

    `learn` and `keep` build graph, in that order in each iteration.

    Raises:
        ValueError: If the algorithm does not correct for older policies, the strategy
            has several replicas, or an executor learns, too.
    """

    def __init__(
        self,
        training: Training,
        replay: Replay,
        objective: PolicyObjective,
        scaling: Scaling,
    ) -> None:
        if not training.algorithm.needs.log_ratios:
            raise ValueError(
                "To replay fragments, an algorithm must correct for the policies that "
                "acted: have its `needs` say `log_ratios=True`, and use "
                "`estimates.log_ratios` as `kpg.advantages.VTrace` does. Received: "
                f"{type(training.algorithm).__name__} with {replay}"
            )
        if training.replicas > 1:
            raise ValueError(
                "Fragments are replayed on one device: train on one, or omit `replay`. "
                f"Received: {training.replicas} replicas, {replay}"
            )
        if training.partner is not None:
            raise ValueError(
                "What an executor wrote that learns itself is not replayed: let it "
                f"stay as it is, or omit `replay`. Received: an `executor`, {replay}"
            )
        self.training = training
        self.ratio = replay.ratio
        self.scaling = scaling
        self.estimation = Estimation(training)
        self.descent = Descent(training, objective, objective.standardised)
        self.fragments = Fragments(replay.num_fragments)

    def keep(self, trajectory: Trajectory, state: Nest, healthy: Tensor) -> None:
        """Keeps a fragment as it was collected; `state` is the critic's before it."""
        fragment = _kept(trajectory, state)
        self.fragments.shape(fragment)
        iteration = tf.convert_to_tensor(self.training.iteration)
        self.fragments.keep(fragment, iteration, healthy)

    def learn(
        self,
        trajectory: Trajectory,
        state: Nest,
        batch: Batch,
        seed: Tensor,
        healthy: Tensor,
        progress: Tensor,
        tally: Tally,
    ) -> Metrics:
        """Learns from earlier fragments; the shapes are those of this one and its rows.

        There is none in a first iteration, and nothing is learned if not `healthy`.
        """
        self.fragments.shape(_kept(trajectory, state))
        healthy &= self.fragments.some
        # Each phase has an order of its own.
        keys = random.seeds([self.ratio, 2], seed + tf.constant([0, tally.phases]))
        taken = self.descent.start(batch, self._orders(keys[0, 1]), healthy)

        def again(
            index: Tensor, taken: Taken, sums: Tensor
        ) -> tuple[Tensor, Taken, Tensor]:
            drawn = self.fragments.draw(keys[index, 0])
            rows, overlap = self.training.strategy.run(
                self.estimated, (drawn.trajectory,)
            )
            orders = self._orders(keys[index, 1])
            window = (0, self.training.minibatches()[1])
            taken = self.descent.run(rows, orders, window, taken, progress)
            age = tf.convert_to_tensor(self.training.iteration) - drawn.iteration
            return index + 1, taken, sums + [overlap, tf.cast(age, tf.float32)]

        _, taken, sums = tf.while_loop(
            lambda index, *_: index < self.ratio,
            again,
            (tf.constant(0), taken, tf.zeros([2])),
        )
        tally.add(self.descent.suspects, self.descent.faults(taken))
        overlap, age = tf.unstack(tf.where(healthy, sums / self.ratio, [1.0, 0.0]))
        return {"replay_overlap": overlap, "replay_age": age}

    def _orders(self, seed: Tensor) -> Tensor:
        size = self.training.algorithm.updates.minibatch_size
        orders: Tensor = self.training.strategy.run(
            lambda seed: self.training.orders(1, size, seed), (seed,)
        )
        return orders

    def estimated(self, trajectory: Trajectory) -> tuple[Batch, Tensor]:
        """Returns the rows of a kept fragment, and the policies' overlap in them."""
        training, reference = self.training, self.training.reference
        now = log_probs_of(training.policy, trajectory, training.columns)
        moved = tf.minimum(tf.exp(now - trajectory.log_probs), 1.0)
        overlap = losses.mean(moved, trajectory.valid)
        drift = None
        if reference is not None:
            # The policy that drifts is that of now.
            rows, alike = trajectory._replace(log_probs=now), training.columns
            alike = training.alike(alike or now.shape[1])
            drift = reference.drift(rows, training.columns, alike)
            if reference.kl.in_reward:
                trajectory = reference.charged(trajectory, drift)
        if training.settings.normalize_rewards:
            trajectory = self.scaling.scaled(trajectory)
        state = trajectory.critic_state
        batch, *_ = self.estimation.batch(trajectory, state, drift, now)
        return batch, overlap


def _kept(trajectory: Trajectory, state: Nest) -> Trajectory:
    """Returns what is kept of a fragment: all but the values, which are soon old."""
    return trajectory._replace(values=(), critic_state=state)
