"""Running moments of rewards and observations, over the rows of all replicas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from kpg.graph.scan import decayed_sums
from kpg.models import RunningNormalization
from kpg.trainers.learning.replicas import sum_up
from kpg.trajectories import Trajectory, flatten

if TYPE_CHECKING:
    from kpg.trainers.trainer import Trainer


class Scaling:
    """Keeps a trainer's moments; every method builds graph outside of the replicas.

    Args:
        trainer: Gives the models, the settings and the moments of its rewards.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.strategy = trainer.distribute_strategy
        normalizers = [
            pair
            for model in (trainer.policy, trainer.critic)
            if model is not None
            for pair in model.normalizers
        ]
        # A critic with the policy's trunk has the policy's normalisers.
        self.normalizers = {id(layer): (select, layer) for select, layer in normalizers}

    def scale_rewards(
        self, trajectory: Trajectory, carry: Any, healthy: tf.Tensor
    ) -> tuple[Trajectory, Any]:
        """Divides rewards by the running std of the discounted return.

        The mean is not subtracted: that would change which policy is best.

        Args:
            trajectory: Of each replica.
            carry: `[B]` float32 of each replica, discounted returns so far.
            healthy: Scalar bool; `False` leaves the moments as they are.

        Returns:
            The trajectory with scaled rewards, and the carry.
        """
        moments = self.trainer.return_moments
        carry, totals = self.strategy.run(self._discounted_returns, (trajectory, carry))
        self._merge(moments, totals, trajectory.valid, healthy)

        def scale(trajectory: Trajectory) -> Trajectory:
            rewards = trajectory.rewards * moments.inverse_deviation()
            rewards = tf.clip_by_value(rewards, -moments.clip, moments.clip)
            return trajectory._replace(rewards=rewards)

        return self.strategy.run(scale, (trajectory,)), carry

    def follow_observations(self, trajectory: Trajectory, healthy: tf.Tensor) -> None:
        """Merges the observations into the moments inside the models."""
        for select, normalizer in self.normalizers.values():
            rows = self.strategy.run(select, (trajectory.observations,))
            self._merge(normalizer, rows, trajectory.valid, healthy)

    def _discounted_returns(
        self, trajectory: Trajectory, carry: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Accumulates `R ← γR + r` forward in time; returns the last R and all."""
        gamma, rewards = self.trainer.settings.gamma, trajectory.rewards
        ended = trajectory.terminated | trajectory.truncated
        before = tf.zeros_like(carry)
        if not self.trainer.restart_every_iteration:
            before = gamma * carry
        terms = tf.concat([rewards[:1] + before, rewards[1:]], axis=0)
        after = tf.concat([tf.ones_like(ended[:1]), ended[:-1]], axis=0)
        totals = decayed_sums(terms, tf.where(after, 0.0, gamma))
        carry = tf.where(ended[-1], 0.0, totals[-1])
        return tf.where(tf.math.is_finite(carry), carry, 0.0), totals

    def _merge(
        self, moments: RunningNormalization, rows: Any, valid: Any, healthy: tf.Tensor
    ) -> None:
        """Merges `[T, B, ...]` rows of every replica into running moments."""

        def sums(rows: tf.Tensor, valid: tf.Tensor | None) -> Any:
            return moments.sums(flatten(rows), flatten(valid))

        def squares(rows: tf.Tensor, valid: tf.Tensor | None, sums: Any) -> tf.Tensor:
            return moments.squares(flatten(rows), sums, flatten(valid))

        total = sum_up(self.strategy, self.strategy.run(sums, (rows, valid)))
        around = self.strategy.run(squares, (rows, valid, total))
        moments.merge(total, sum_up(self.strategy, around), healthy)
