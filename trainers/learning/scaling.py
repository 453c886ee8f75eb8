"""Running moments of rewards and observations, over the rows of all replicas."""

from __future__ import annotations

import tensorflow as tf

from kpg.graph.scan import decayed_sums
from kpg.models.normalization import RunningNormalization
from kpg.trainers.learning.replicas import sum_up
from kpg.trainers.learning.training import Training
from kpg.trajectories import Trajectory, ends, flatten
from kpg.types import Tensor


class Scaling:
    """Keeps running moments; all but `scaled` builds graph outside of the replicas."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.strategy = training.strategy
        pairs = list(training.policy.normalizers)
        if training.critic is not None:
            pairs += training.critic.normalizers
        # A critic with the policy's trunk has the policy's normalisers.
        self.normalizers = {id(layer): (select, layer) for select, layer in pairs}

    def scale_rewards(
        self, trajectory: Trajectory, carry: Tensor, healthy: Tensor
    ) -> tuple[Trajectory, Tensor]:
        """Divides rewards by the running std of the discounted return.

        The mean is not subtracted: that would change which policy is best. `carry` is
        `[B]` float32, each replica's discounted returns so far.
        """
        moments = self.training.return_moments
        carry, totals = self.strategy.run(self._discounted_returns, (trajectory, carry))
        self._merge(moments, totals, trajectory.valid, healthy)
        return self.strategy.run(self.scaled, (trajectory,)), carry

    def scaled(self, trajectory: Trajectory) -> Trajectory:
        """Divides a replica's rewards by what that deviation is now."""
        moments = self.training.return_moments
        rewards = trajectory.rewards * moments.inverse_deviation()
        rewards = tf.clip_by_value(rewards, -moments.clip, moments.clip)
        return trajectory._replace(rewards=rewards)

    def follow_observations(self, trajectory: Trajectory, healthy: Tensor) -> None:
        """Merges the observations into the models' moments."""
        for select, normalizer in self.normalizers.values():
            rows = self.strategy.run(select, (trajectory.observations,))
            self._merge(normalizer, rows, trajectory.valid, healthy)

    def _discounted_returns(
        self, trajectory: Trajectory, carry: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Accumulates `R ← γR + r` forward in time; returns the last R and all."""
        gamma, rewards = self.training.settings.gamma, trajectory.rewards
        ended = ends(trajectory)
        before = tf.zeros_like(carry)
        if not self.training.algorithm.needs.whole_episodes:
            before = gamma * carry
        terms = tf.concat([rewards[:1] + before, rewards[1:]], axis=0)
        after = tf.concat([tf.ones_like(ended[:1]), ended[:-1]], axis=0)
        totals = decayed_sums(terms, tf.where(after, 0.0, gamma))
        carry = tf.where(ended[-1], 0.0, totals[-1])
        return tf.where(tf.math.is_finite(carry), carry, 0.0), totals

    def _merge(
        self,
        moments: RunningNormalization,
        rows: Tensor,
        valid: Tensor | None,
        healthy: Tensor,
    ) -> None:
        """Merges `[T, B, ...]` rows of every replica into running moments."""

        def sums(rows: Tensor, valid: Tensor | None) -> Tensor:
            return moments.sums(flatten(rows), flatten(valid))

        def squares(rows: Tensor, valid: Tensor | None, sums: Tensor) -> Tensor:
            return moments.squares(flatten(rows), sums, flatten(valid))

        total = sum_up(self.strategy, self.strategy.run(sums, (rows, valid)))
        around = self.strategy.run(squares, (rows, valid, total))
        moments.merge(total, sum_up(self.strategy, around), healthy)
