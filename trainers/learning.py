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
from kpg.models import RunningNormalization
from kpg.scan import scan
from kpg.trainers.batches import Batch, Estimates, shuffled, take
from kpg.trajectories import Trajectory, flatten

if TYPE_CHECKING:
    from kpg.trainers.trainer import Trainer


class Learner:
    """Turns trajectories into gradient steps on a trainer's models.

    Args:
        trainer: Gives the models, the optimizer, the settings and the algorithm.
        num_envs: Environments of all replicas together.
    """

    def __init__(self, trainer: Trainer, num_envs: int) -> None:
        self.trainer = trainer
        self.settings = trainer.settings
        self.strategy = trainer.distribute_strategy
        self.replicas = self.strategy.num_replicas_in_sync
        self.num_envs = num_envs // self.replicas
        self.num_epochs, size = trainer.update_schedule(num_envs)
        self.minibatch_size = size // self.replicas
        models = [model for model in (trainer.policy, trainer.critic) if model]
        self.variables = [v for model in models for v in model.trainable_variables]

    def start(self) -> Any:
        """Returns what `learn` carries: discounted returns `[B]` of each replica."""
        return self.strategy.run(lambda: tf.zeros([self.num_envs]))

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
            The carry, and the means of `Trainer.metric_names` over the gradient steps
            followed by `explained_variance` and the number of broken trajectories.
        """
        run, sum_up = self.strategy.run, self.sum_up
        broken = sum_up(run(_is_broken, (trajectory,)))
        healthy = tf.equal(broken, 0.0)
        if self.settings.normalize_rewards:
            trajectory, carry = self._scale_rewards(trajectory, carry, healthy)
        batch, explained = run(self._prepare, (trajectory,))
        orders = run(self._shuffled, (seed,))
        metrics = self._update(batch, orders, progress, healthy)
        if self.settings.normalize_observations:
            self._follow_observations(trajectory, healthy)
        tail = [sum_up(explained) / self.replicas, broken]
        return carry, tf.concat([metrics, tf.stack(tail)], axis=0)

    def sum_up(self, value: Any) -> Any:
        """Adds up a nest of tensors over all replicas."""
        if self.replicas == 1:
            return value
        return tf.nest.map_structure(
            lambda tensor: self.strategy.reduce("SUM", tensor, axis=None), value
        )

    def _scale_rewards(
        self, trajectory: Trajectory, carry: Any, healthy: tf.Tensor
    ) -> tuple[Trajectory, Any]:
        """Divides rewards by the running std of the discounted return.

        The mean is not subtracted: that would change which policy is best.
        """
        moments = self.trainer.return_moments
        carry, totals = self.strategy.run(self._discounted_returns, (trajectory, carry))
        self._merge(moments, totals, trajectory.valid, healthy)

        def scale(trajectory: Trajectory) -> Trajectory:
            rewards = trajectory.rewards * moments.inverse_deviation()
            rewards = tf.clip_by_value(rewards, -moments.clip, moments.clip)
            return trajectory._replace(rewards=rewards)

        return self.strategy.run(scale, (trajectory,)), carry

    def _discounted_returns(
        self, trajectory: Trajectory, carry: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Accumulates `R ← γR + r` forward in time; returns the last R and all."""

        def step(
            total: tf.Tensor, row: tuple[tf.Tensor, tf.Tensor]
        ) -> tuple[tf.Tensor, tf.Tensor]:
            reward, ended = row
            total = self.settings.gamma * total + reward
            return tf.where(ended, 0.0, total), total

        if self.trainer.restart_every_iteration:
            carry = tf.zeros_like(carry)
        ended = trajectory.terminated | trajectory.truncated
        carry, totals = scan(step, carry, (trajectory.rewards, ended))
        return tf.where(tf.math.is_finite(carry), carry, 0.0), totals

    def _merge(
        self, moments: RunningNormalization, rows: Any, valid: Any, healthy: tf.Tensor
    ) -> None:
        """Merges `[T, B, ...]` rows of every replica into running moments."""

        def flat(values: tf.Tensor | None) -> tf.Tensor | None:
            return None if values is None else flatten(values)

        def sums(rows: tf.Tensor, valid: tf.Tensor | None) -> Any:
            return moments.sums(flat(rows), flat(valid))

        def squares(rows: tf.Tensor, valid: tf.Tensor | None, sums: Any) -> tf.Tensor:
            return moments.squares(flat(rows), sums, flat(valid))

        total = self.sum_up(self.strategy.run(sums, (rows, valid)))
        around = self.strategy.run(squares, (rows, valid, total))
        moments.merge(total, self.sum_up(around), healthy)

    def _prepare(self, trajectory: Trajectory) -> tuple[Batch, tf.Tensor]:
        """Computes advantages and targets, and forgets the order of time."""
        values, next_values = self._values(trajectory)
        estimates = Estimates(
            rewards=trajectory.rewards,
            values=values,
            next_values=next_values,
            terminated=trajectory.terminated,
            truncated=trajectory.truncated,
        )
        gains, targets = self.trainer.estimate(estimates)
        batch = Batch(
            observations=tf.nest.map_structure(flatten, trajectory.observations),
            actions=tf.nest.map_structure(flatten, trajectory.actions),
            log_probs=flatten(trajectory.log_probs),
            advantages=flatten(gains),
            targets=flatten(targets),
            valid=None if trajectory.valid is None else flatten(trajectory.valid),
        )
        return batch, _explained_variance(flatten(values), batch)

    def _values(self, trajectory: Trajectory) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns V of the observations and of the true next ones, both `[T, B]`.

        The next observation of a row is the observation of the row below it, unless an
        episode was cut there; only then is the critic asked about it.
        """
        critic = self.trainer.critic
        if critic is None:
            zeros = tf.zeros_like(trajectory.rewards)
            return zeros, zeros
        shape = trajectory.rewards.shape

        def evaluate(observations: tf.Tensor) -> tf.Tensor:
            return tf.reshape(critic(flatten(observations)), shape)

        values = evaluate(trajectory.observations)
        last = critic(trajectory.next_observations[-1])
        shifted = tf.concat([values[1:], last[tf.newaxis]], axis=0)
        cut = trajectory.truncated & ~trajectory.terminated
        next_values = tf.cond(
            tf.reduce_any(cut),
            lambda: tf.where(cut, evaluate(trajectory.next_observations), shifted),
            lambda: shifted,
        )
        return values, next_values

    def _shuffled(self, seed: tf.Tensor) -> tf.Tensor:
        """Draws this replica's minibatches of all epochs."""
        rows = self.num_envs * self.settings.num_steps
        return shuffled(
            fold_in_replica(seed), rows, self.num_epochs, self.minibatch_size
        )

    def _update(
        self, batch: Any, orders: Any, progress: tf.Tensor, healthy: tf.Tensor
    ) -> tf.Tensor:
        """Takes one gradient step on each minibatch; returns the mean metrics."""
        rows = self.num_envs * self.settings.num_steps
        steps = self.num_epochs * (rows // self.minibatch_size)

        def body(index: tf.Tensor, totals: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            arguments = (batch, orders, index, progress)
            gradients, metrics = self.strategy.run(self._gradients, arguments)
            self._apply(self.sum_up(gradients))
            return index + 1, totals + self.sum_up(metrics)

        _, totals = tf.while_loop(
            lambda index, _: index < steps,
            body,
            (
                tf.where(healthy, 0, steps),
                tf.zeros([len(self.trainer.metric_names)]),
            ),
            maximum_iterations=steps,
        )
        return totals / tf.cast(steps, tf.float32)

    def _gradients(
        self, batch: Batch, orders: tf.Tensor, index: tf.Tensor, progress: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Computes this replica's share of the gradient on one minibatch."""
        rows = take(batch, orders[index])
        share = self._share(rows.valid)
        if self.settings.normalize_advantages:
            rows = rows._replace(advantages=self._standardised(rows, share))
        with tf.GradientTape() as tape:
            loss, metrics = self._loss(rows, progress)
            loss = share * loss
        gradients = tape.gradient(
            loss, self.variables, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        values = [metrics[name] for name in self.trainer.metric_names]
        return gradients, share * tf.stack(values)

    def _loss(
        self, rows: Batch, progress: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Adds up the policy loss, the value loss and the entropy bonus."""
        policy, critic = self.trainer.policy, self.trainer.critic
        parameters = policy(rows.observations, training=True)
        log_probs = policy.family.log_prob(parameters, rows.actions)
        entropy = losses.mean(policy.family.entropy(parameters), rows.valid)
        policy_loss, metrics = self.trainer.policy_loss(log_probs, rows, progress)
        value_loss = tf.zeros([])
        if critic is not None:
            values = critic(rows.observations, training=True)
            value_loss = losses.value(values, rows.targets, valid=rows.valid)
        loss = (
            policy_loss
            + self.settings.vf_coef * value_loss
            - self.settings.ent_coef * entropy
        )
        for penalty in (*policy.losses, *(critic.losses if critic else ())):
            loss += penalty  # kernel regularizers of the user's backbones
        parts = {"policy_loss": policy_loss, "value_loss": value_loss}
        return loss, {"loss": loss, **parts, "entropy": entropy, **metrics}

    def _share(self, valid: tf.Tensor | None) -> tf.Tensor:
        """Returns the weight of this replica's mean in the mean over all replicas.

        Replicas with more valid rows weigh more, so that the sum over the replicas is
        the mean over all valid rows.
        """
        if self.replicas == 1:
            return tf.constant(1.0)
        if valid is None:
            return tf.constant(1.0 / self.replicas)
        count = tf.reduce_sum(tf.cast(valid, tf.float32))
        return count / tf.maximum(_all_sum(count), 1.0)

    def _standardised(self, rows: Batch, share: tf.Tensor) -> tf.Tensor:
        """Gives the advantages of a minibatch mean 0 and std 1, over all replicas."""
        center = losses.mean(rows.advantages, rows.valid) * share
        center = _all_sum(center) if self.replicas > 1 else center
        deviations = rows.advantages - center
        variance = losses.mean(tf.square(deviations), rows.valid) * share
        variance = _all_sum(variance) if self.replicas > 1 else variance
        return deviations / (tf.sqrt(variance) + 1e-8)

    def _apply(self, gradients: list[tf.Tensor]) -> None:
        """Clips the whole gradient and lets the optimizer take its step."""
        limit = self.settings.max_grad_norm
        own = getattr(self.trainer.optimizer, "global_clipnorm", None)
        if limit is not None and (own is None or own > limit):
            gradients, _ = tf.clip_by_global_norm(gradients, limit)
        self.trainer.optimizer.apply(gradients, self.variables)

    def _follow_observations(self, trajectory: Trajectory, healthy: tf.Tensor) -> None:
        """Merges the observations into the moments inside the models."""
        for model in (self.trainer.policy, self.trainer.critic):
            if model is not None:
                rows, valid = trajectory.observations, trajectory.valid
                self._merge(model.normalizer, rows, valid, healthy)


def schedule_learning_rate(
    trainer: Trainer, base: tf.Tensor, progress: tf.Tensor
) -> None:
    """Sets the optimizer's learning rate for this iteration, if it has a schedule."""
    name = trainer.settings.learning_rate_schedule
    if name != "constant":
        rate = base * schedules.factor(name, progress)
        trainer.optimizer.learning_rate.assign(rate)


def fold_in_replica(seed: tf.Tensor) -> tf.Tensor:
    """Makes a seed this replica's own; the first replica's is the seed itself."""
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return seed
    replica = tf.cast(context.replica_id_in_sync_group, tf.int32)
    return tf.bitwise.bitwise_xor(seed, tf.stack([replica * 0x61C88647, replica]))


def _all_sum(value: tf.Tensor) -> tf.Tensor:
    """Adds up a tensor over all replicas, from within one."""
    return tf.distribute.get_replica_context().all_reduce("SUM", value)


def _is_broken(trajectory: Trajectory) -> tf.Tensor:
    """Returns 1.0 if an observation or reward is not finite, else 0.0."""
    parts = [trajectory.rewards]
    parts += tf.nest.flatten((trajectory.observations, trajectory.next_observations))
    finite = [
        tf.reduce_all(tf.math.is_finite(part))
        for part in parts
        if part.dtype.is_floating
    ]
    return 1.0 - tf.cast(tf.reduce_all(tf.stack(finite)), tf.float32)


def _explained_variance(values: tf.Tensor, batch: Batch) -> tf.Tensor:
    """Returns 1 − Var(targets − values) / Var(targets); 0 if the targets are equal."""

    def variance(terms: tf.Tensor) -> tf.Tensor:
        return losses.mean(
            tf.square(terms - losses.mean(terms, batch.valid)), batch.valid
        )

    total = variance(batch.targets)
    unexplained = variance(batch.targets - values)
    return tf.where(total > 0.0, 1.0 - tf.math.divide_no_nan(unexplained, total), 0.0)
