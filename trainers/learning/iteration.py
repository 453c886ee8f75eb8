"""Learning from one trajectory: all between collecting and new weights.

Methods build graph in the cross-replica context: `strategy.run` does each replica's
part, and gradients and moments are reduced in between, as TensorFlow's loops demand.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf
from typing_extensions import override

from kpg import checks, losses, spaces
from kpg.trainers.algorithm import Iteration, Loss
from kpg.trainers.learning.batches import Batch
from kpg.trainers.learning.estimation import Estimation, explained_by_all
from kpg.trainers.learning.minibatches import Descent, Taken
from kpg.trainers.learning.objective import (
    GRADIENT_NORM,
    Objective,
    PolicyObjective,
    checked_loss,
)
from kpg.trainers.learning.outputs import log_probs_now, outputs
from kpg.trainers.learning.reference import Drift
from kpg.trainers.learning.replaying import Replaying
from kpg.trainers.learning.replicas import share, sum_up
from kpg.trainers.learning.scaling import Scaling
from kpg.trainers.learning.soundness import FAULT, IDLE, Tally
from kpg.trainers.learning.training import Training
from kpg.trajectories import Trajectory
from kpg.types import Metrics, Nest, Space, Tensor

BROKEN = ("broken_environment", "broken_policy")
# Positive where an iteration must not be followed by another one.
FAILED = (*BROKEN, FAULT)


class Carry(NamedTuple):
    """Each replica's `[B]` discounted returns so far, and its critic's state."""

    returns: Tensor
    critic_state: Nest


@dataclasses.dataclass(eq=False)
class LearnedIteration(Iteration):
    """What `Algorithm.after` receives; see `Iteration`."""

    _training: Training
    _batch: Batch
    _seed: Tensor
    _healthy: Tensor
    progress: Tensor
    _tally: Tally

    @property
    @override
    def healthy(self) -> Tensor:
        return self._healthy & self._tally.sound()

    @override
    def kl(self) -> Tensor:
        def divergence(batch: Batch) -> Tensor:
            log_probs = log_probs_now(
                self._training.policy, batch, self._training.columns
            )
            return losses.approximate_kl(log_probs, batch.log_probs, valid=batch.valid)

        return self._mean(divergence)

    @override
    def mean_advantage(self) -> Tensor:
        return self._mean(lambda batch: losses.mean(batch.advantages, batch.valid))

    def _mean(self, of_replica: Callable[[Batch], Tensor]) -> Tensor:
        """Returns the mean over all replicas of a mean over rows."""

        def weighted(batch: Batch) -> Tensor:
            return of_replica(batch) * share(batch.valid)

        strategy = self._training.strategy
        mean = sum_up(strategy, strategy.run(weighted, (self._batch,)))
        return tf.where(self.healthy, mean, float("nan"))

    @override
    def minimize(
        self, loss: Loss, num_epochs: int = 1, minibatch_size: int | None = None
    ) -> Metrics:
        training, strategy = self._training, self._training.strategy
        checks.whole_number("num_epochs", num_epochs)
        # Each phase has an order of its own.
        seed = self._seed + tf.constant([0, self._tally.phases])
        orders = strategy.run(
            lambda seed: training.orders(num_epochs, minibatch_size, seed), (seed,)
        )
        size = training.minibatch_size(minibatch_size)
        rows = training.num_envs * training.settings.num_steps
        descent = Descent(training, OwnObjective(training, loss))
        taken = descent.start(self._batch, orders, self.healthy)
        window = (0, num_epochs * (rows // size))
        taken = descent.run(self._batch, orders, window, taken, self.progress)
        self._tally.add(descent.suspects, descent.faults(taken))
        metrics = descent.metrics(taken, unknown=float("nan"))
        return {k: own for k, own in metrics.items() if k != GRADIENT_NORM}


@dataclasses.dataclass(eq=False)
class OwnObjective(Objective):
    """A loss that an algorithm gave to `Iteration.minimize`."""

    training: Training
    loss: Loss

    def __post_init__(self) -> None:
        self.name = getattr(self.loss, "__name__", type(self.loss).__name__)
        self.terms = (f"the loss {self.name!r}",)

    @override
    def __call__(self, rows: Batch, progress: Tensor) -> tuple[Tensor, Metrics]:
        said = outputs(self.training.policy, self.training.critic, rows)
        loss, metrics = checked_loss(self.name, self.loss(said, rows, progress))
        return loss, {**metrics, self.terms[0]: loss}


class Learner:
    """Turns trajectories into gradient steps; `tally` says which were not sound."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.strategy = training.strategy
        self.num_envs = training.num_envs // training.replicas
        self.num_epochs, self.num_minibatches = training.minibatches()
        self.scaling = Scaling(training)
        self.estimation = Estimation(training)
        self.tally = Tally(training.on_nonfinite)
        objective = PolicyObjective(training)
        self.descent = Descent(training, objective, objective.standardised, stops=True)
        self.replaying: Replaying | None = None
        if (replay := training.algorithm.updates.replay) is not None:
            self.replaying = Replaying(training, replay, objective, self.scaling)

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

        Nothing is learned from one with `inf` or `nan`, or without a valid row: weights
        stay as they were. The scalars include two named `BROKEN`, positive if
        environment or policy gave such, and those of a `Tally`.
        """
        training, run = self.training, self.strategy.run
        reference, drift = training.reference, None
        if reference is not None:
            columns = training.columns
            alike = training.alike(columns or self.num_envs)
            drift = run(reference.drift, (trajectory, columns, alike))
        if training.partner is not None:
            trajectory = run(self.estimation.with_log_probs, (trajectory,))
        broken = sum_up(self.strategy, run(self._broken, (trajectory, drift)))
        healthy = tf.equal(tf.reduce_sum(broken), 0.0)
        if trajectory.valid is not None:
            healthy &= sum_up(self.strategy, run(_valid_rows, (trajectory,))) > 0.0

        collected = trajectory
        if reference is not None and reference.kl.in_reward:
            trajectory = run(reference.charged, (trajectory, drift))
        returns, moments = carry.returns, training.return_moments.variables
        before = [tf.identity(variable) for variable in moments]
        if training.settings.normalize_rewards:
            trajectory, returns = self.scaling.scale_rewards(
                trajectory, returns, healthy
            )
        state = trajectory.critic_state or self._critic_state(carry)
        batch, explained, following = run(
            self.estimation.batch, (trajectory, state, drift)
        )
        if training.replicas > 1:
            explained = explained_by_all(self.strategy, batch)
            with tf.control_dependencies([explained]):  # reduced before the updates
                healthy = tf.identity(healthy)
        taken = self._updated(
            trajectory, state, drift, batch, seed, progress, healthy=healthy
        )
        tally = self.tally
        tally.start()
        tally.add(self.descent.suspects, self.descent.faults(taken))
        replayed: Metrics = {}
        if self.replaying is not None:
            replayed = self.replaying.learn(
                collected,
                state,
                batch,
                seed,
                healthy & tally.sound(),
                progress,
                tally,
            )
        iteration = LearnedIteration(training, batch, seed, healthy, progress, tally)
        after = training.algorithm.after(iteration)
        healthy = iteration.healthy
        if self.replaying is not None:
            self.replaying.keep(collected, state, healthy)
        if training.settings.normalize_observations:
            self.scaling.follow_observations(trajectory, healthy)
        if training.settings.normalize_rewards:
            for variable, old in zip(moments, before, strict=True):
                variable.assign(tf.where(healthy, variable, old))

        if trajectory.critic_state:
            following = carry.critic_state
        metrics = {
            **self.descent.metrics(taken),
            **checked_loss("after", (tf.zeros([]), after))[1],
            **self._follow_drift(trajectory, drift, healthy),
            **self._taught(trajectory.valid),
            **replayed,
            **({} if training.critic is None else {"explained_variance": explained}),
            IDLE: self.descent.idle(taken),
            **tally.metrics(),
            **dict(zip(BROKEN, tf.unstack(broken), strict=True)),
        }
        return Carry(returns, following), metrics

    def _critic_state(self, carry: Carry) -> Nest:
        """Returns the critic's state at the start of the trajectory."""
        if not self.training.algorithm.needs.whole_episodes:
            return carry.critic_state
        return self.strategy.run(
            lambda: tf.nest.map_structure(tf.zeros_like, carry.critic_state)
        )

    def _taught(self, valid: Tensor | None) -> Metrics:
        """Returns the share of rows that belong to the episodes learned from."""
        if not self.training.algorithm.needs.whole_episodes:
            return {}
        shares = self.strategy.run(
            lambda valid: tf.reduce_mean(tf.cast(valid, tf.float32)), (valid,)
        )
        share = sum_up(self.strategy, shares) / self.training.replicas
        return {"valid_fraction": share}

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
        size = self.training.algorithm.updates.minibatch_size
        orders = self.strategy.run(
            lambda seed: self.training.orders(self.num_epochs, size, seed), (seed,)
        )
        count = self.num_minibatches
        last = self.num_epochs * count
        taken = self.descent.start(batch, orders, healthy)
        if not self.training.algorithm.needs.fresh_estimates or self.num_epochs == 1:
            return self.descent.run(batch, orders, (0, last), taken, progress)
        taken = self.descent.run(batch, orders, (0, count), taken, progress)

        def epoch(first: Tensor, taken: Taken) -> tuple[Tensor, Taken]:
            anew = trajectory._replace(values=())
            fresh, *_ = self.strategy.run(self.estimation.batch, (anew, state, drift))
            fresh = fresh._replace(values=batch.values)  # which value clipping is about
            window = (first, count)
            taken = self.descent.run(fresh, orders, window, taken, progress)
            return first + count, taken

        def unfinished(first: Tensor, taken: Taken) -> Tensor:
            more = first < last  # alone, it lets XLA know how often the loop runs
            return more if self.descent.target_kl is None else more & ~taken.stopped

        done: Taken = tf.while_loop(
            unfinished,
            epoch,
            (tf.constant(count), taken),
        )[1]
        return done

    def _broken(self, trajectory: Trajectory, drift: Drift | None) -> Tensor:
        """Returns `[2]`, 1 if environment or policy gave anything no one can use."""
        seen = [trajectory.observations, trajectory.next_observations]
        sound = [tf.math.is_finite(trajectory.rewards)]
        sound += [
            tf.math.is_finite(tf.cast(leaf, tf.float32))
            for leaf in tf.nest.flatten(seen)
            if leaf.dtype.is_floating
        ]
        space = self.training.policy.observation_space
        for nest in seen:
            sound += _possible(space, nest)
        log_probs = tf.math.is_finite(trajectory.log_probs)
        if trajectory.turns:
            log_probs &= tf.math.is_finite(trajectory.turns[1])
        if trajectory.valid is not None:
            log_probs |= ~trajectory.valid
        if drift is not None:
            log_probs &= tf.math.is_finite(drift.estimates)
        given = tf.stack([tf.reduce_all(part) for part in sound])
        both = tf.stack([tf.reduce_all(given), tf.reduce_all(log_probs)])
        return 1.0 - tf.cast(both, tf.float32)


def _valid_rows(trajectory: Trajectory) -> Tensor:
    """Returns how many of a replica's rows count, or 1 if nothing is said of them."""
    flags = trajectory.valid
    return tf.ones([]) if flags is None else tf.reduce_sum(tf.cast(flags, tf.float32))


def _possible(space: Space, nest: Nest) -> list[Tensor]:
    """Returns where choices that were observed are in their space."""
    parts = tf.nest.flatten(nest)
    leaves = spaces.leaves(space) if space is not None and parts else []
    bounds = [spaces.choices(leaf) for _, leaf in leaves]
    return [
        (part >= tf.cast(known[0], part.dtype))
        & (part <= tf.cast(known[1], part.dtype))
        for part, known in zip(parts, bounds, strict=bool(bounds))
        if known is not None
    ]
