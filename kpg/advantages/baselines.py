"""Baselines: what is subtracted from the returns of whole episodes."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import ClassVar

import keras
import tensorflow as tf
from typing_extensions import override

from kpg import checks, contracts
from kpg.advantages.estimator import Estimates
from kpg.advantages.groups import SCALES, group_normalized, leave_one_out
from kpg.types import Tensor
from kpg.values import Value


class Baseline(Value, ABC):
    """What is subtracted from returns; derived classes are frozen dataclasses.

    Attributes:
        centers: Whether the updates subtract the mean of each minibatch.
        compares_episodes: Whether each column must be one whole episode, credited with
            its total return.
        needs_greedy: Whether it reads `estimates.greedy_rewards`, for which each
            episode is played again with the most likely actions.
        needs_critic: Whether it reads `estimates.values`.
        state_size: How many numbers are kept between iterations, and saved.
    """

    centers: ClassVar[bool] = False
    compares_episodes: ClassVar[bool] = False
    needs_greedy: ClassVar[bool] = False
    needs_critic: ClassVar[bool] = False
    state_size: ClassVar[int] = 0

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        contracts.check_names(cls, Baseline)

    @abstractmethod
    def compared(
        self, returns: Tensor, estimates: Estimates, gamma: float, state: Tensor
    ) -> Tensor:
        """Returns `[T, B]` float32 returns less the baseline; builds graph.

        `returns` are `[T, B]` float32, made of `estimates`; `gamma` is the discount in
        [0, 1]; `state` is `[state_size]` float32.
        """

    def followed(self, state: Tensor, mean_advantage: Tensor) -> Tensor:
        """Returns the `[state_size]` float32 state after an iteration.

        `mean_advantage` is a scalar over all rows, before they are standardised; NaN if
        nothing was learned.
        """
        return state


@keras.saving.register_keras_serializable(package="kpg")
@dataclasses.dataclass(frozen=True)
class CriticBaseline(Baseline):
    """The critic's value of each observation."""

    needs_critic: ClassVar[bool] = True

    @override
    def compared(
        self, returns: Tensor, estimates: Estimates, gamma: float, state: Tensor
    ) -> Tensor:
        return returns - estimates.values


@keras.saving.register_keras_serializable(package="kpg")
@dataclasses.dataclass(frozen=True)
class BatchMean(Baseline):
    """The mean over the minibatch. It shifts the expected gradient a little."""

    centers: ClassVar[bool] = True

    @override
    def compared(
        self, returns: Tensor, estimates: Estimates, gamma: float, state: Tensor
    ) -> Tensor:
        return returns


@keras.saving.register_keras_serializable(package="kpg")
@dataclasses.dataclass(frozen=True)
class NoBaseline(Baseline):
    """Nothing: the returns as they are."""

    @override
    def compared(
        self, returns: Tensor, estimates: Estimates, gamma: float, state: Tensor
    ) -> Tensor:
        return returns


@keras.saving.register_keras_serializable(package="kpg")
@dataclasses.dataclass(frozen=True)
class MovingAverage(Baseline):
    """The mean return of earlier iterations.

    After each iteration b ← d b + (1 − d) G, with G the mean return of its steps,
    divided by 1 − dⁿ after n of them so that the first counts in full; at first b is 0.
    It is saved with the trainer.

    Args:
        decay: d in [0, 1). Defaults to 0.9.
    """

    state_size: ClassVar[int] = 2

    decay: float = 0.9

    def __post_init__(self) -> None:
        if checks.fraction("decay", self.decay) == 1.0:
            checks.refuse("decay", "must be less than 1", self.decay)

    @override
    def compared(
        self, returns: Tensor, estimates: Estimates, gamma: float, state: Tensor
    ) -> Tensor:
        return returns - self._average(state)

    @override
    def followed(self, state: Tensor, mean_advantage: Tensor) -> Tensor:
        found = tf.stack([self._average(state) + mean_advantage, 1.0])
        moved = self.decay * state + (1.0 - self.decay) * found
        return tf.where(tf.math.is_finite(mean_advantage), moved, state)

    def _average(self, state: Tensor) -> Tensor:
        total, weight = tf.unstack(state)
        return tf.math.divide_no_nan(total, weight)


@keras.saving.register_keras_serializable(package="kpg")
@dataclasses.dataclass(frozen=True)
class SelfCritical(Baseline):
    """The return of the most likely actions from the same start, as in SCST.

    Every iteration plays twice from the same states; the environment must allow it.

    Reference: Rennie et al. (2017), https://arxiv.org/abs/1612.00563.
    """

    compares_episodes: ClassVar[bool] = True
    needs_greedy: ClassVar[bool] = True

    @override
    def compared(
        self, returns: Tensor, estimates: Estimates, gamma: float, state: Tensor
    ) -> Tensor:
        steps = tf.range(returns.shape[0], dtype=tf.float32)[:, tf.newaxis]
        rewards = gamma**steps * estimates.greedy_rewards
        return returns - tf.reduce_sum(rewards, axis=0)


@dataclasses.dataclass(frozen=True)
class GroupBaseline(Baseline):
    """Compares an episode's return with those of its group.

    Args:
        group_size: Adjacent environments of a group, ≥ 2. Defaults to `None`: those
            that complete one prompt of a text task, elsewhere all of them. A text task
            accepts no other group than its own.
    """

    compares_episodes: ClassVar[bool] = True

    group_size: int | None = None

    def __post_init__(self) -> None:
        if self.group_size is not None:
            checks.whole_number("group_size", self.group_size, low=2)

    @abstractmethod
    def within(self, totals: Tensor, group_size: int, valid: Tensor | None) -> Tensor:
        """Returns `[B]` advantages of `[B]` total returns.

        What is not `valid`, `[B]` bool, has no return; `None` is true for all.
        """

    @override
    def compared(
        self, returns: Tensor, estimates: Estimates, gamma: float, state: Tensor
    ) -> Tensor:
        # Every column is one episode, and the first row is credited with it.
        size = self.group_size or estimates.group_size or returns.shape[1]
        valid = estimates.valid
        known = None if valid is None else tf.reduce_any(valid, axis=0)
        return tf.broadcast_to(self.within(returns[0], size, known), returns.shape)


@keras.saving.register_keras_serializable(package="kpg")
@dataclasses.dataclass(frozen=True)
class LeaveOneOut(GroupBaseline):
    """The mean of the others in the group, as RLOO does; see `leave_one_out`."""

    @override
    def within(self, totals: Tensor, group_size: int, valid: Tensor | None) -> Tensor:
        return leave_one_out(totals, group_size, valid)


@keras.saving.register_keras_serializable(package="kpg")
@dataclasses.dataclass(frozen=True)
class GroupNormalized(GroupBaseline):
    """Standardised within the group, as GRPO does; see `group_normalized`.

    Args:
        group_size: See `GroupBaseline`.
        scale: Whose standard deviation divides: that of the "group" (the default), of
            the "batch", which is the whole iteration, or "none", as in Dr. GRPO.
    """

    scale: str = "group"

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.choice("scale", self.scale, SCALES)

    @override
    def within(self, totals: Tensor, group_size: int, valid: Tensor | None) -> Tensor:
        return group_normalized(totals, group_size, valid, self.scale)


BASELINES: dict[str, type[Baseline]] = {
    "critic": CriticBaseline,
    "batch_mean": BatchMean,
    "moving_average": MovingAverage,
    "self_critical": SelfCritical,
    "none": NoBaseline,
    "leave_one_out": LeaveOneOut,
    "group_normalized": GroupNormalized,
}
