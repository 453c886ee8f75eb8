"""Learning from one trajectory: everything between collecting and new weights.

Every method builds graph, in the cross-replica context of the trainer's
`tf.distribute` strategy. What each replica does for itself goes through `strategy.run`;
what concerns all of them (gradients, moments) is reduced in between. That is the one
order which TensorFlow allows inside loops, and with one replica it costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from kpg import losses, schedules
from kpg.environments.partner import Partner
from kpg.trainers.learning.batches import Batch, Estimates, shuffled
from kpg.trainers.learning.minibatches import Progress, Updater, log_probs_of, outputs
from kpg.trainers.learning.reference import Drift
from kpg.trainers.learning.replicas import fold_in_replica, share, sum_up
from kpg.trainers.learning.scaling import Scaling
from kpg.trajectories import Trajectory, cuts, flatten, resets, zero_where

if TYPE_CHECKING:
    from kpg.trainers.trainer import Trainer

# What follows the metrics in the numbers that an iteration returns.
TAIL = ("explained_variance", "broken_environment", "broken_policy")


class Learner:
    """Turns trajectories into gradient steps on a trainer's models.

    Args:
        trainer: Gives the models, the optimizers, the settings and the algorithm.
        num_envs: Environments of all replicas together.
        partner: What acted after the policy, if it learns. Defaults to `None`.

    Attributes:
        names: Names of the numbers that `learn` returns.
    """

    def __init__(
        self, trainer: Trainer, num_envs: int, partner: Partner | None = None
    ) -> None:
        self.trainer = trainer
        self.partner = partner
        self.settings = trainer.settings
        self.strategy = trainer.distribute_strategy
        self.replicas = self.strategy.num_replicas_in_sync
        self.num_envs = num_envs // self.replicas
        self.num_epochs, size = trainer.update_schedule(num_envs)
        self.minibatch_size = size // self.replicas
        self.scaling = Scaling(trainer)
        self.updater = Updater(trainer, partner)
        self.reference = trainer.reference
        own = () if self.reference is None else self.reference.metric_names
        self.names = (*trainer.metric_names, *own, *TAIL)

    def start(self) -> Any:
        """Returns what `learn` carries, of each replica.

        It is the discounted returns `[B]` and the critic's state.
        """
        critic = self.trainer.critic
        return self.strategy.run(
            lambda: (
                tf.zeros([self.num_envs]),
                () if critic is None else critic.initial_state(self.num_envs),
            )
        )

    def learn(
        self, trajectory: Trajectory, carry: Any, seed: tf.Tensor, progress: tf.Tensor
    ) -> tuple[Any, tf.Tensor]:
        """Learns from a trajectory.

        Nothing is learned from one with an `inf` or `nan` in it, so that a broken
        environment leaves the weights as they were.

        Args:
            trajectory: Of each replica.
            carry: From `start` or the call before.
            seed: `[2]` int32, a stateless seed.
            progress: Scalar in [0, 1], how much of this `fit` is done.

        Returns:
            The carry, and the means of `Trainer.metric_names` over the minibatches
            followed by what is measured of the drift from a reference and by `TAIL`:
            the explained variance and two numbers that are positive if the environment
            or the policy gave something that is not finite.
        """
        run = self.strategy.run
        drift = self._drift(trajectory)
        if self.partner is not None:
            trajectory = run(self._with_log_probs, (trajectory,))
        broken = sum_up(self.strategy, run(_broken, (trajectory, drift)))
        healthy = tf.equal(tf.reduce_sum(broken), 0.0)
        totals, carried = carry
        if self.reference is not None and self.reference.in_reward:
            trajectory = run(self.reference.charged, (trajectory, drift))
        if self.settings.normalize_rewards:
            trajectory, totals = self.scaling.scale_rewards(trajectory, totals, healthy)
        if self.trainer.restart_every_iteration:
            carried = run(lambda: tf.nest.map_structure(tf.zeros_like, carried))
        state = trajectory.critic_state or carried
        batch, explained, following = run(self._prepare, (trajectory, state, drift))
        orders = run(self._shuffled, (seed,))
        done = self.updater.start(healthy)
        done = self._update(trajectory, state, drift, batch, orders, done, progress)
        if self.trainer.measures_kl:
            self._measure_kl(batch, healthy)
        if self.trainer.measures_gains:
            self._measure_gains(batch, healthy)
        if self.settings.normalize_observations:
            self.scaling.follow_observations(trajectory, healthy)
        explained = sum_up(self.strategy, explained) / self.replicas
        metrics = tf.math.divide_no_nan(done.totals, done.looked)
        tail = tf.concat([explained[tf.newaxis], broken], axis=0)
        measured = self._follow_drift(trajectory, drift, healthy)
        carried = carried if trajectory.critic_state else following
        return (totals, carried), tf.concat([metrics, measured, tail], axis=0)

    def _with_log_probs(self, trajectory: Trajectory) -> Trajectory:
        """Asks the partner about its turns, before any step changes it."""
        if self.partner is None:
            return trajectory
        turns = trajectory.turns
        return trajectory._replace(turns=(turns, _by_step(self.partner, turns)))

    def _log_ratios(self, trajectory: Trajectory) -> tf.Tensor:
        """Returns how much likelier what was done has become, `[T, B]` in nats."""
        policy = log_probs_of(self.trainer.policy, trajectory) - trajectory.log_probs
        if self.partner is None:
            return policy
        turns, before = trajectory.turns
        return policy + _by_step(self.partner, turns) - before

    def _drift(self, trajectory: Any) -> Any:
        """Asks the reference about each replica's actions, if there is one."""
        if self.reference is None:
            return None
        return self.strategy.run(self.reference.drift, (trajectory,))

    def _follow_drift(
        self, trajectory: Any, drift: Any, healthy: tf.Tensor
    ) -> tf.Tensor:
        """Returns what the drift is in all, and lets its price follow."""
        if self.reference is None:
            return tf.zeros([0])
        sums = self.strategy.run(self.reference.sums, (trajectory, drift))
        total, count = tf.unstack(sum_up(self.strategy, sums))
        kl = tf.math.divide_no_nan(total, count)
        known = healthy & (count > 0.0)
        return self.reference.follow(kl, known, self.num_envs * self.replicas)

    def _update(
        self,
        trajectory: Any,
        state: Any,
        drift: Any,
        batch: Any,
        orders: Any,
        done: Progress,
        progress: tf.Tensor,
    ) -> Progress:
        """Takes the gradient steps of all epochs."""
        rows = self.num_envs * self.settings.num_steps
        count = rows // self.minibatch_size
        last = self.num_epochs * count
        if not self.trainer.estimates_every_epoch or self.num_epochs == 1:
            return self.updater.run(batch, orders, (0, last), done, progress)
        done = self.updater.run(batch, orders, (0, count), done, progress)

        def epoch(first: tf.Tensor, done: Progress) -> tuple[tf.Tensor, Progress]:
            anew = trajectory._replace(values=())
            batch, *_ = self.strategy.run(self._prepare, (anew, state, drift))
            window = (first, first + count)
            return window[1], self.updater.run(batch, orders, window, done, progress)

        _, done = tf.while_loop(
            lambda first, done: (first < last) & ~done.stopped,
            epoch,
            (tf.constant(count), done),
        )
        return done

    def _prepare(
        self, trajectory: Trajectory, state: Any, drift: Drift | None = None
    ) -> tuple[Batch, Any, Any]:
        """Computes advantages and targets of this replica's rows.

        Returns:
            The batch, the explained variance of the values, and the critic's state
            after the last row.
        """
        values, next_values, following = self._values(trajectory, state)
        estimates = Estimates(
            rewards=trajectory.rewards,
            values=values,
            next_values=next_values,
            terminated=trajectory.terminated,
            truncated=trajectory.truncated,
            valid=trajectory.valid,
            greedy_rewards=trajectory.greedy_rewards,
        )
        batch = Batch(
            observations=trajectory.observations,
            actions=trajectory.actions,
            log_probs=trajectory.log_probs,
            values=values,
            advantages=None,
            targets=None,
            weights=None,
            valid=trajectory.valid,
            resets=resets(trajectory) if self.trainer.recurrent else None,
            states=(trajectory.policy_state, state),
            reference_log_probs=self._in_loss(drift),
            turns=trajectory.turns,
        )
        if self.trainer.uses_log_ratios:
            estimates = estimates._replace(log_ratios=self._log_ratios(trajectory))
        batch = batch._replace(**self.trainer.estimate(estimates)._asdict())
        explained = _explained_variance(batch)
        return self._in_rows(batch), explained, following

    def _in_loss(self, drift: Drift | None) -> Any:
        """Returns what the loss needs to know of the reference."""
        in_reward = self.reference is None or self.reference.in_reward
        return None if drift is None or in_reward else drift.log_probs

    def _in_rows(self, batch: Batch) -> Batch:
        """Forgets the order of time, unless the models are recurrent."""
        if self.trainer.recurrent:
            return batch
        rows: Batch = flatten(batch._replace(states=None))
        return rows._replace(states=batch.states)

    def _values(
        self, trajectory: Trajectory, state: Any
    ) -> tuple[tf.Tensor, tf.Tensor, Any]:
        """Returns V of the observations and of the true next ones, both `[T, B]`.

        The next observation of a row is the observation of the row below it, unless an
        episode was cut there; only then is the critic asked about it. The third result
        is the critic's state after the last row.
        """
        critic = self.trainer.critic
        if critic is None:
            zeros = tf.zeros_like(trajectory.rewards)
            return zeros, zeros, state
        values, states = trajectory.values, ()
        if isinstance(values, tuple):
            values, states = critic.unroll(
                trajectory.observations, state, resets(trajectory)
            )
        values = tf.ensure_shape(values, trajectory.rewards.shape)
        if not tf.nest.flatten(trajectory.next_observations):
            nothing = tf.zeros_like(values[:1])
            return values, tf.concat([values[1:], nothing], axis=0), state
        last, last_state = tf.nest.map_structure(
            lambda rows: rows[-1], (trajectory.next_observations, states)
        )
        shifted = tf.concat(
            [values[1:], critic.step(last, last_state)[0][tf.newaxis]], axis=0
        )
        cut = trajectory.truncated & ~trajectory.terminated

        def where_cut() -> tf.Tensor:
            finals = critic.step(
                flatten(trajectory.next_observations), flatten(states)
            )[0]
            return tf.where(cut, tf.reshape(finals, values.shape), shifted)

        next_values = tf.cond(tf.reduce_any(cut), where_cut, lambda: shifted)
        return values, next_values, zero_where(cuts(trajectory)[-1], last_state)

    def _shuffled(self, seed: tf.Tensor) -> tf.Tensor:
        """Draws this replica's minibatches of all epochs: of rows, or of sequences."""
        length = self.settings.num_steps
        sequences = self.trainer.recurrent
        return shuffled(
            fold_in_replica(seed),
            self.num_envs * (1 if sequences else length),
            self.num_epochs,
            self.minibatch_size // (length if sequences else 1),
        )

    def _measure_kl(self, batch: Any, healthy: tf.Tensor) -> None:
        """Tells the trainer how far the policy moved from the one that acted."""

        def kl(batch: Batch) -> tf.Tensor:
            policy = self.trainer.policy
            parameters = outputs(policy, batch, batch.states[0], training=False)
            log_probs = policy.family.log_prob(parameters, batch.actions)
            divergence = losses.approximate_kl(
                log_probs, batch.log_probs, valid=batch.valid
            )
            return divergence * share(batch.valid)

        divergence = sum_up(self.strategy, self.strategy.run(kl, (batch,)))
        self.trainer.follow_kl(tf.where(healthy, divergence, float("nan")))

    def _measure_gains(self, batch: Any, healthy: tf.Tensor) -> None:
        """Tells the trainer how much better than its baseline the iteration was."""

        def gains(batch: Batch) -> tf.Tensor:
            return losses.mean(batch.advantages, batch.valid) * share(batch.valid)

        mean = sum_up(self.strategy, self.strategy.run(gains, (batch,)))
        self.trainer.follow_gains(tf.where(healthy, mean, float("nan")))


def schedule_learning_rates(
    trainer: Trainer, bases: tf.Tensor, progress: tf.Tensor
) -> None:
    """Sets the learning rates for this iteration, if they have a schedule in time.

    Args:
        trainer: Gives the optimizers and the schedule's name.
        bases: `[K]` float32, the rate of each optimizer at the start of this `fit`.
        progress: Scalar in [0, 1], how much of this `fit` is done.
    """
    name = trainer.settings.learning_rate_schedule
    if name not in schedules.SCHEDULES or name == "constant":
        return
    for index, optimizer in enumerate(trainer.optimizers):
        rate = bases[index] * schedules.factor(name, progress)
        optimizer.learning_rate.assign(rate)


def _broken(trajectory: Trajectory, drift: Drift | None) -> tf.Tensor:
    """Returns `[2]`, whether environment and policy gave what is not finite."""
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


def _by_step(partner: Partner, turns: Any) -> tf.Tensor:
    """Returns `[T, B]` log-probabilities of a partner's turns.

    A partner may be large, and all rows at once would need much memory.
    """
    sizes = tf.nest.flatten(turns)[0].shape
    return tf.map_fn(
        partner.log_probs,
        turns,
        fn_output_signature=tf.TensorSpec(sizes[1:2]),
        parallel_iterations=1,
    )


def _explained_variance(batch: Batch) -> tf.Tensor:
    """Returns 1 − Var(targets − values) / Var(targets); 0 if the targets are equal."""

    def variance(terms: tf.Tensor) -> tf.Tensor:
        return losses.mean(
            tf.square(terms - losses.mean(terms, batch.valid)), batch.valid
        )

    total = variance(batch.targets)
    unexplained = variance(batch.targets - batch.values)
    return tf.where(total > 0.0, 1.0 - tf.math.divide_no_nan(unexplained, total), 0.0)
