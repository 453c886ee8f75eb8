"""Gradient steps: minibatches of one iteration to new weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import tensorflow as tf

from kpg import losses, schedules
from kpg.environments.partner import Partner
from kpg.trainers.learning.batches import Batch, take
from kpg.trainers.learning.replicas import all_sum, share, sum_up
from kpg.trajectories import Trajectory, resets

if TYPE_CHECKING:
    from kpg.trainers.trainer import Trainer


class Progress(NamedTuple):
    """How far the updates of an iteration have come.

    Attributes:
        steps: Scalar int32, gradient steps that were taken.
        stopped: Scalar bool, whether the KL divergence ended them early.
        totals: `[M]` float32, sums of the metrics over the minibatches looked at.
        looked: Scalar float32, number of those minibatches.
    """

    steps: Any
    stopped: Any
    totals: Any
    looked: Any


class Updater:
    """Takes gradient steps on a trainer's models.

    `run` builds graph outside of the replicas; what each replica does for itself goes
    through `strategy.run`, and the optimizer stands between them.

    Args:
        trainer: Gives the models, the optimizers, the settings and the algorithm.
        partner: What acted after the policy, if it learns. Defaults to `None`.
    """

    def __init__(self, trainer: Trainer, partner: Partner | None = None) -> None:
        self.trainer = trainer
        self.partner = partner
        self.settings = trainer.settings
        self.strategy = trainer.distribute_strategy
        self.variables = trainer.learned_variables()
        self._target_kl = getattr(trainer.settings, "target_kl", None)

    def start(self, healthy: tf.Tensor) -> Progress:
        """Returns the progress before the first step; unhealthy rows teach nothing."""
        totals = tf.zeros([len(self.trainer.metric_names)])
        return Progress(tf.constant(0), ~healthy, totals, tf.constant(0.0))

    def run(
        self,
        batch: Any,
        orders: Any,
        window: tuple[Any, Any],
        done: Progress,
        progress: tf.Tensor,
    ) -> Progress:
        """Takes one gradient step on each minibatch of a window.

        Args:
            batch: `Batch` of each replica.
            orders: `[K, minibatch_size]` int32 of each replica, from `shuffled`.
            window: First minibatch, and the one after the last.
            done: Progress before them.
            progress: Scalar in [0, 1], how much of this `fit` is done.
        """
        first, last = window

        def body(index: tf.Tensor, done: Progress) -> tuple[tf.Tensor, Progress]:
            arguments = (batch, orders, index, progress)
            gradients, metrics = self.strategy.run(self._gradients, arguments)
            metrics = sum_up(self.strategy, metrics)
            stop = self._moved_too_far(metrics)
            gradients = sum_up(self.strategy, gradients)
            if stop is None:
                self._apply(gradients)
                steps, stop = done.steps + 1, done.stopped
            else:
                tf.cond(stop, lambda: None, lambda: self._apply(gradients))
                steps = done.steps + tf.cast(~stop, tf.int32)
            return index + 1, Progress(
                steps, stop, done.totals + metrics, done.looked + 1.0
            )

        def more(index: tf.Tensor, done: Progress) -> tf.Tensor:
            # A condition on the index alone lets XLA know how often the loop runs.
            unfinished = index < last
            return unfinished if self._target_kl is None else unfinished & ~done.stopped

        start = tf.where(done.stopped, last, first)
        _, done = tf.while_loop(more, body, (start, done))
        return done

    def _moved_too_far(self, metrics: tf.Tensor) -> tf.Tensor | None:
        """Returns whether the KL divergence says to stop, or `None` without a limit."""
        if self._target_kl is None:
            return None
        kl = metrics[self.trainer.metric_names.index("approx_kl")]
        return kl > 1.5 * self._target_kl

    def _gradients(
        self, batch: Batch, orders: tf.Tensor, index: tf.Tensor, progress: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Computes this replica's share of the gradient on one minibatch."""
        rows = take(batch, orders[index])
        weight = share(rows.valid)
        rows = rows._replace(advantages=self._standardised(rows, weight))
        with tf.GradientTape() as tape:
            loss, metrics = self._loss(rows, progress)
            loss = weight * loss
        gradients = tape.gradient(
            loss, self.variables, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        values = [metrics[name] for name in self.trainer.metric_names]
        return gradients, weight * tf.stack(values)

    def _loss(
        self, rows: Batch, progress: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Adds up the losses of policy and critic, the bonus and the penalties."""
        policy, critic, settings = (
            self.trainer.policy,
            self.trainer.critic,
            self.settings,
        )
        parameters, values = self._outputs(rows)
        log_probs = policy.family.log_prob(parameters, rows.actions)
        entropy = losses.mean(policy.family.entropy(parameters), rows.valid)
        policy_loss, metrics = self.trainer.policy_loss(log_probs, rows, progress)
        value_loss = tf.zeros([])
        if critic is not None:
            value_loss = self._value_loss(values, rows)
        bonus = settings.ent_coef * schedules.factor(
            settings.ent_coef_schedule, progress
        )
        loss = policy_loss + settings.vf_coef * value_loss - bonus * entropy
        if self.partner is not None:
            loss += self._partner_loss(self.partner, rows, progress)
        for penalty in self._penalties():
            loss += penalty
        reference = self.trainer.reference
        if reference is not None and rows.reference_log_probs is not None:
            loss += reference.coefficient * losses.reference_kl(
                log_probs,
                rows.log_probs,
                rows.reference_log_probs,
                estimator=settings.kl_estimator,
                valid=rows.valid,
            )
        parts = {"policy_loss": policy_loss, "value_loss": value_loss}
        return loss, {"loss": loss, **parts, "entropy": entropy, **metrics}

    def _partner_loss(
        self, partner: Partner, rows: Batch, progress: tf.Tensor
    ) -> tf.Tensor:
        """Returns the policy's loss, of what a partner did instead."""
        turns, before = rows.turns
        own = rows._replace(log_probs=before)
        return self.trainer.policy_loss(partner.log_probs(turns), own, progress)[0]

    def _outputs(self, rows: Batch) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Returns the outputs of the policy and, if there is one, of the critic."""
        policy, critic = self.trainer.policy, self.trainer.critic
        if critic is None:
            return outputs(policy, rows, rows.states[0]), None
        if rows.resets is not None and critic.trunk is policy.trunk:
            # A pass through the trunk, and back, for both of them.
            sequences = (rows.observations, rows.states[0], rows.resets)
            both: Any = policy.unroll_with(critic, *sequences, training=True)
            return both[0], both[1]
        parameters = outputs(policy, rows, rows.states[0])
        return parameters, outputs(critic, rows, rows.states[1])

    def _penalties(self) -> list[tf.Tensor]:
        """Returns what the regularizers of the user's backbones ask for."""
        policy, critic = self.trainer.policy, self.trainer.critic
        if critic is None or critic.trunk is policy.trunk:
            return list(policy.losses)
        return [*policy.losses, *critic.losses]

    def _value_loss(self, values: tf.Tensor, rows: Batch) -> tf.Tensor:
        clip_range = getattr(self.settings, "value_clip_range", None)
        return losses.value(
            values,
            rows.targets,
            old_values=None if clip_range is None else rows.values,
            clip_range=clip_range,
            valid=rows.valid,
        )

    def _standardised(self, rows: Batch, weight: tf.Tensor) -> tf.Tensor:
        """Centres and scales the advantages of a minibatch, over all replicas."""
        scaled = self.settings.normalize_advantages
        if not scaled and not self.trainer.centers_advantages:
            return rows.advantages
        center = all_sum(losses.mean(rows.advantages, rows.valid) * weight)
        deviations = rows.advantages - center
        if not scaled:
            return deviations
        variance = losses.mean(tf.square(deviations), rows.valid) * weight
        return deviations / (tf.sqrt(all_sum(variance)) + 1e-8)

    def _apply(self, gradients: list[tf.Tensor]) -> None:
        """Lets each optimizer take its step on its variables."""
        first = 0
        for optimizer, variables in self.trainer.optimized_variables():
            part = gradients[first : first + len(variables)]
            first += len(variables)
            optimizer.apply(self._clipped(part, optimizer), variables)

    def _clipped(self, gradients: list[tf.Tensor], optimizer: Any) -> list[tf.Tensor]:
        """Clips the global norm, unless the optimizer does it more tightly itself."""
        limit = self.settings.max_grad_norm
        own = getattr(optimizer, "global_clipnorm", None)
        if limit is None or (own is not None and own <= limit):
            return gradients
        norm = global_norm(gradients)
        clipped: list[tf.Tensor] = tf.clip_by_global_norm(gradients, limit, norm)[0]
        return clipped


def global_norm(gradients: list[Any]) -> tf.Tensor:
    """Returns the Euclidean norm of all numbers in a list of tensors.

    It is `tf.linalg.global_norm` in fewer and quicker kernels: the norm of the norms of
    columns, which XLA turns into vector instructions. Sums of squares alone it would
    regroup into one slow sum for each tensor.

    Args:
        gradients: Tensors of any shapes, or `IndexedSlices`.
    """
    parts = []
    for gradient in gradients:
        part = getattr(gradient, "values", gradient)
        if part.shape.rank > 1:
            axes = list(range(part.shape.rank - 1))
            part = tf.sqrt(tf.reduce_sum(tf.square(part), axis=axes))
        parts.append(tf.reshape(part, [-1]))
    return tf.sqrt(tf.reduce_sum(tf.square(tf.concat(parts, axis=0))))


def outputs(model: Any, rows: Batch, state: Any, training: bool = True) -> tf.Tensor:
    """Returns a model's outputs on rows, or on sequences from their first state on."""
    if rows.resets is None:
        return model(rows.observations, training=training)
    return model.unroll(rows.observations, state, rows.resets, training=training)[0]


def log_probs_of(policy: Any, trajectory: Trajectory) -> tf.Tensor:
    """Returns `[T, B]` log-probabilities of a trajectory's actions, in nats."""
    sequences = (trajectory.observations, trajectory.policy_state, resets(trajectory))
    parameters, _ = policy.unroll(*sequences)
    return policy.family.log_prob(parameters, trajectory.actions)
