"""Learning from one trajectory: all between collecting and new weights.

Methods build graph in the cross-replica context: `strategy.run` does each replica's
part, and gradients and moments are reduced in between, the only order that TensorFlow
allows inside loops. With one replica this costs nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from kpg.trainers.learning.batches import Batch
from kpg.trainers.learning.estimation import Estimation
from kpg.trainers.learning.minibatches import (
    Descent,
    PolicyObjective,
    Taken,
    checked_loss,
)
from kpg.trainers.learning.phases import LearnedIteration
from kpg.trainers.learning.reference import Drift
from kpg.trainers.learning.replicas import sum_up
from kpg.trainers.learning.scaling import Scaling
from kpg.trainers.learning.training import Training
from kpg.trajectories import Trajectory
from kpg.types import Metrics, Nest, Tensor

BROKEN = ("broken_environment", "broken_policy")


class Carry(NamedTuple):
    """What each replica takes from one iteration to the next.

    Attributes:
        returns: `[B]` float32, discounted returns so far, for scaling rewards.
        critic_state: Nest of `[B, ...]`, a recurrent critic's state.
    """

    returns: Tensor
    critic_state: Nest


class Learner:
    """Turns trajectories into gradient steps."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.strategy = training.strategy
        self.num_envs = training.num_envs // training.replicas
        self.num_epochs, self.num_minibatches = training.minibatches()
        self.scaling = Scaling(training)
        self.estimation = Estimation(training)
        objective = PolicyObjective(training)
        self.descent = Descent(
            training, objective, objective.standardised, training.updates.target_kl
        )

    def start(self) -> Carry:
        """Returns what the first call of `learn` takes."""
        critic = self.training.critic
        carry: Carry = self.strategy.run(
            lambda: Carry(
                tf.zeros([self.num_envs]),
                () if critic is None else critic.initial_state(self.num_envs),
            )
        )
        return carry

    def learn(
        self, trajectory: Trajectory, carry: Carry, seed: Tensor, progress: Tensor
    ) -> tuple[Carry, Metrics]:
        """Learns from each replica's trajectory, given a `[2]` int32 seed.

        Nothing is learned from one with `inf` or `nan`: weights stay as they were. The
        scalars include two named `BROKEN`, positive if environment or policy gave such.
        """
        training, run = self.training, self.strategy.run
        drift = self._drift(trajectory)
        if training.partner is not None:
            trajectory = run(self.estimation.with_log_probs, (trajectory,))
        broken = sum_up(self.strategy, run(_broken, (trajectory, drift)))
        healthy = tf.equal(tf.reduce_sum(broken), 0.0)

        trajectory = self._charged(trajectory, drift)
        trajectory, returns = self._scaled(trajectory, carry.returns, healthy)
        state = trajectory.critic_state or self._critic_state(carry)
        batch, explained, following = run(
            self.estimation.batch, (trajectory, state, drift)
        )
        taken = self._updated(
            trajectory, state, drift, batch, seed, progress, healthy=healthy
        )
        after = training.algorithm.after(
            LearnedIteration(training, batch, seed, healthy, progress)
        )
        if training.settings.normalize_observations:
            self.scaling.follow_observations(trajectory, healthy)

        explained = sum_up(self.strategy, explained) / training.replicas
        if trajectory.critic_state:
            following = carry.critic_state
        metrics = {
            **self.descent.metrics(taken),
            **checked_loss("after", (tf.zeros([]), after))[1],
            **self._follow_drift(trajectory, drift, healthy),
            "explained_variance": explained,
            **dict(zip(BROKEN, tf.unstack(broken), strict=True)),
        }
        return Carry(returns, following), metrics

    def _drift(self, trajectory: Trajectory) -> Drift | None:
        """Returns the drift from the reference, if there is one."""
        if self.training.reference is None:
            return None
        drift: Drift = self.strategy.run(self.training.reference.drift, (trajectory,))
        return drift

    def _charged(self, trajectory: Trajectory, drift: Drift | None) -> Trajectory:
        """Subtracts the price of drift from rewards, if they carry it."""
        reference = self.training.reference
        if reference is None or not reference.kl.in_reward:
            return trajectory
        charged: Trajectory = self.strategy.run(reference.charged, (trajectory, drift))
        return charged

    def _scaled(
        self, trajectory: Trajectory, returns: Tensor, healthy: Tensor
    ) -> tuple[Trajectory, Tensor]:
        """Scales the rewards, if they are normalised."""
        if not self.training.settings.normalize_rewards:
            return trajectory, returns
        return self.scaling.scale_rewards(trajectory, returns, healthy)

    def _critic_state(self, carry: Carry) -> Nest:
        """Returns the critic's state at the start of the trajectory."""
        if not self.training.needs.whole_episodes:
            return carry.critic_state
        return self.strategy.run(
            lambda: tf.nest.map_structure(tf.zeros_like, carry.critic_state)
        )

    def _follow_drift(
        self, trajectory: Trajectory, drift: Drift | None, healthy: Tensor
    ) -> Metrics:
        """Returns the mean drift and lets its price follow."""
        reference = self.training.reference
        if reference is None:
            return {}
        sums = self.strategy.run(reference.sums, (trajectory, drift))
        total, count = tf.unstack(sum_up(self.strategy, sums))
        kl = tf.math.divide_no_nan(total, count)
        return reference.follow(kl, healthy & (count > 0.0), self.training.num_envs)

    def _updated(
        self,
        trajectory: Trajectory,
        state: Nest,
        drift: Drift | None,
        batch: Batch,
        seed: Tensor,
        progress: Tensor,
        healthy: Tensor,
    ) -> Taken:
        """Takes the gradient steps of all epochs."""
        size = self.training.updates.minibatch_size
        orders = self.strategy.run(
            lambda seed: self.training.orders(self.num_epochs, size, seed), (seed,)
        )
        count = self.num_minibatches
        last = self.num_epochs * count
        taken = self.descent.start(batch, orders, healthy)
        if not self.training.needs.fresh_estimates or self.num_epochs == 1:
            return self.descent.run(batch, orders, (0, last), taken, progress)
        taken = self.descent.run(batch, orders, (0, count), taken, progress)

        def epoch(first: Tensor, taken: Taken) -> tuple[Tensor, Taken]:
            anew = trajectory._replace(values=())
            batch, *_ = self.strategy.run(self.estimation.batch, (anew, state, drift))
            window = (first, first + count)
            return window[1], self.descent.run(batch, orders, window, taken, progress)

        done: Taken = tf.while_loop(
            lambda first, taken: (first < last) & ~taken.stopped,
            epoch,
            (tf.constant(count), taken),
        )[1]
        return done


def _broken(trajectory: Trajectory, drift: Drift | None) -> Tensor:
    """Returns `[2]`, 1 if environment or policy gave anything not finite."""
    parts = [trajectory.rewards]
    parts += tf.nest.flatten((trajectory.observations, trajectory.next_observations))
    finite = [
        tf.reduce_all(tf.math.is_finite(part))
        for part in parts
        if part.dtype.is_floating
    ]
    log_probs = tf.math.is_finite(trajectory.log_probs)
    if trajectory.turns:
        log_probs &= tf.math.is_finite(trajectory.turns[1])
    if trajectory.valid is not None:
        log_probs |= ~trajectory.valid
    if drift is not None:
        log_probs &= tf.math.is_finite(drift.estimates)
    sound = tf.stack([tf.reduce_all(tf.stack(finite)), tf.reduce_all(log_probs)])
    return 1.0 - tf.cast(sound, tf.float32)
