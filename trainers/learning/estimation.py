"""From a trajectory to rows with advantages and targets; all methods build graph."""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf

from kpg import losses
from kpg.advantages.estimator import Estimates, Gains
from kpg.environments.partner import Partner
from kpg.graph.compiling import for_gpu
from kpg.graph.scan import scan
from kpg.trainers.learning.batches import Batch
from kpg.trainers.learning.outputs import by_columns, log_probs_of
from kpg.trainers.learning.own_steps import side_by_side
from kpg.trainers.learning.reference import Drift
from kpg.trainers.learning.replicas import sum_up
from kpg.trainers.learning.training import Training
from kpg.trajectories import Trajectory, cuts, flatten, resets, zero_where
from kpg.types import Nest, Tensor


class Estimation:
    """Asks critic and algorithm about one replica's trajectory."""

    def __init__(self, training: Training) -> None:
        self.training = training

    def with_log_probs(self, trajectory: Trajectory) -> Trajectory:
        """Adds the partner's log-probabilities of its turns, before it changes."""
        partner, turns = self.training.partner, trajectory.turns
        if partner is None:
            return trajectory
        return trajectory._replace(turns=(turns, _by_step(partner, turns)))

    def batch(
        self,
        trajectory: Trajectory,
        state: Nest,
        drift: Drift | None = None,
        now: Tensor | None = None,
    ) -> tuple[Batch, Tensor, Nest]:
        """Estimates advantages and targets of this replica's rows.

        `state` is the critic's before them, `now` the `[T, B]` log-probabilities under
        the policy of now, if they are known. Returns the batch, the explained variance
        of the values in these rows, and the critic's state after the last row.
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
            group_size=self.training.group_size,
        )
        if self.training.algorithm.needs.log_ratios:
            log_ratios = self._log_ratios(trajectory, now)
            estimates = estimates._replace(log_ratios=log_ratios)
        whole = not tf.nest.flatten(trajectory.next_observations)
        gains = self._gains(estimates, whole)
        reference, in_loss = self.training.reference, None
        if drift is not None and reference is not None and not reference.kl.in_reward:
            in_loss = drift.log_probs
        batch = Batch(
            observations=trajectory.observations,
            actions=trajectory.actions,
            log_probs=trajectory.log_probs,
            values=values,
            valid=trajectory.valid if gains.learned is None else gains.learned,
            resets=resets(trajectory) if self.training.recurrent else None,
            states=(trajectory.policy_state, state),
            advantages=gains.advantages,
            targets=gains.targets,
            weights=gains.weights,
            episodes=gains.episodes,
            reference_log_probs=in_loss,
            turns=trajectory.turns,
        )
        explained = _explained_variance(batch)
        if not self.training.recurrent:  # the order of time does not matter
            rows: Batch = flatten(batch._replace(states=None))
            batch = rows._replace(states=batch.states)
        return batch, explained, following

    def _gains(self, estimates: Estimates, whole: bool) -> Gains:
        """Asks the algorithm; `whole` says that each column is one episode."""
        own, restored = estimates, None
        if whole and estimates.valid is not None:
            own, restored = side_by_side(estimates, estimates.valid)
        gains = self.training.algorithm.estimate(own)
        gains = checked_gains(gains, estimates.values)
        return gains if restored is None else restored(gains)

    def _values(
        self, trajectory: Trajectory, state: Nest
    ) -> tuple[Tensor, Tensor, Nest]:
        """Returns V of observations and true next ones, `[T, B]`, and the last state.

        A row's next observation is that of the row below, unless an episode was cut
        there; only then is the critic asked about it.
        """
        critic = self.training.critic
        if critic is None:
            zeros = tf.zeros_like(trajectory.rewards)
            return zeros, zeros, state
        values, states = trajectory.values, ()
        if isinstance(values, tuple):
            rows = (trajectory.observations, resets(trajectory))
            if not tf.nest.flatten(trajectory.next_observations):
                values = by_columns(
                    lambda rows, state: critic.unroll(rows[0], state, rows[1])[0],
                    rows,
                    state,
                    self.training.columns,
                )
            elif tf.nest.flatten(state):
                values, states = critic.unroll(rows[0], state, rows[1])
            else:
                values = self._in_pieces(
                    lambda rows: critic.unroll(rows[0], state, rows[1])[0], rows
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

        def final(rows: tuple[Nest, Nest]) -> Tensor:
            values = critic.step(*map(flatten, rows))[0]
            return tf.reshape(values, tf.nest.flatten(rows)[0].shape[:2])

        def where_cut() -> Tensor:
            rows = (trajectory.next_observations, states)
            return tf.where(cut, self._in_pieces(final, rows), shifted)

        if for_gpu():  # asking in vain takes less time than the host's waiting
            next_values = where_cut()
        else:
            next_values = tf.cond(tf.reduce_any(cut), where_cut, lambda: shifted)
        return values, next_values, zero_where(cuts(trajectory)[-1], last_state)

    def _in_pieces(self, ask: Callable[[Nest], Tensor], rows: Nest) -> Tensor:
        """Asks about `[T, B, ...]` rows, on a GPU about two minibatches' at a time.

        What a critic computes on its way to all values is most of the memory that an
        iteration takes; a CPU's threads share one large call better.
        """
        length = tf.nest.flatten(rows)[0].shape[0]
        count = self.training.minibatches()[1]
        pieces = math.gcd(length, max(1, count // 2)) if for_gpu() else 1
        if pieces == 1:
            return ask(rows)
        cut = tf.nest.map_structure(
            lambda part: tf.reshape(part, [pieces, -1, *part.shape[1:]]), rows
        )
        _, answers = scan(lambda carry, piece: (carry, ask(piece)), (), cut)
        return tf.reshape(answers, [length, *answers.shape[2:]])

    def _log_ratios(self, trajectory: Trajectory, now: Tensor | None) -> Tensor:
        """Returns how much likelier the actions have become, `[T, B]` in nats."""
        if now is None:
            now = log_probs_of(self.training.policy, trajectory, self.training.columns)
        policy = now - trajectory.log_probs
        if self.training.partner is None:
            return policy
        turns, before = trajectory.turns
        return policy + _by_step(self.training.partner, turns) - before


def checked_gains(gains: Gains, like: Tensor) -> Gains:
    """Returns what an estimator returned, if it is `Gains` of tensors `[T, B]`."""
    if not isinstance(gains, Gains):
        raise ValueError(
            "`estimate` must return `kpg.advantages.Gains(advantages, targets)`. "
            f"Received: {type(gains).__name__}"
        )
    for name, rows in gains._asdict().items():
        if rows is not None and tf.convert_to_tensor(rows).shape != like.shape:
            raise ValueError(
                f"An estimator's {name} must have the shape [T, B] of the rewards, "
                f"{like.shape}. Received: {tf.convert_to_tensor(rows).shape}"
            )
    return gains


def _by_step(partner: Partner, turns: Nest) -> Tensor:
    """Returns a partner's `[T, B]` log-probabilities, row by row to save memory."""
    sizes = tf.nest.flatten(turns)[0].shape
    return tf.map_fn(
        partner.log_probs,
        turns,
        fn_output_signature=tf.TensorSpec(sizes[1:2]),
        parallel_iterations=1,
    )


def _explained_variance(batch: Batch) -> Tensor:
    """Returns 1 − Var(targets − values) / Var(targets); 0 for equal targets."""

    def variance(terms: Tensor) -> Tensor:
        return losses.mean(
            tf.square(terms - losses.mean(terms, batch.valid)), batch.valid
        )

    total = variance(batch.targets)
    rounding = tf.square(1e-6 * losses.mean(batch.targets, batch.valid))
    unexplained = variance(batch.targets - batch.values)
    explained = 1.0 - tf.math.divide_no_nan(unexplained, total)
    return tf.where(total > rounding, explained, 0.0)


def explained_by_all(strategy: tf.distribute.Strategy, batch: Batch) -> Tensor:
    """Returns the explained variance over the rows of several replicas.

    Sums are taken outside of them: TensorFlow deadlocks where a reduction within the
    replicas runs beside those of the updates.
    """

    def sums(batch: Batch, center: Tensor | None) -> Tensor:
        pair = tf.stack([batch.targets, batch.targets - batch.values])
        rows = tf.reshape(pair, [2, -1])
        if center is not None:
            rows = tf.square(rows - center[:, tf.newaxis])
        valid = tf.ones_like(rows[0], tf.bool) if batch.valid is None else batch.valid
        valid = tf.reshape(valid, [-1])
        count = tf.reduce_sum(tf.cast(valid, tf.float32), keepdims=True)
        return tf.concat([count, tf.reduce_sum(tf.where(valid, rows, 0.0), 1)], 0)

    def means(center: Tensor | None = None) -> Tensor:
        total = sum_up(strategy, strategy.run(sums, (batch, center)))
        return tf.math.divide_no_nan(total[1:], total[0])

    center = means()
    total, unexplained = tf.unstack(means(center))
    explained = 1.0 - tf.math.divide_no_nan(unexplained, total)
    return tf.where(total > tf.square(1e-6 * center[0]), explained, 0.0)
