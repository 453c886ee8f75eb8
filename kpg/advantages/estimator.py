"""What an advantage estimator is: from experience to what is learned."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

from kpg import contracts
from kpg.types import Tensor
from kpg.values import Value


class Estimates(NamedTuple):
    """What advantages are made of; all `[T, B]`, named as in `kpg.advantages`.

    Attributes:
        rewards: float32, scaled if the trainer normalises rewards.
        values: float32; zeros without a critic.
        next_values: float32.
        terminated: bool.
        truncated: bool.
        log_ratios: float32, log π(a|s) − log μ(a|s) of the current policy and the one
            that acted, in nats; `None` unless the estimator `uses_log_ratios`.
        valid: bool, or `None` if every row counts.
        greedy_rewards: float32, of the episode that the most likely actions make from
            each column's start; `()` unless the algorithm asks for it.
        group_size: Adjacent columns that begin alike, such as the completions of a
            prompt; `None` if the environment has no such groups.
    """

    rewards: Tensor
    values: Tensor
    next_values: Tensor
    terminated: Tensor
    truncated: Tensor
    log_ratios: Tensor | None = None
    valid: Tensor | None = None
    greedy_rewards: Tensor | tuple[()] = ()
    group_size: int | None = None

    def named(self, *names: str) -> dict[str, Tensor]:
        """Returns some of them as keyword arguments."""
        return {name: getattr(self, name) for name in names}


class Gains(NamedTuple):
    """What an estimator makes of `Estimates`; all `[T, B]`, float32 but for `learned`.

    Attributes:
        advantages: How much better than expected each step turned out.
        targets: What the critic should predict.
        weights: Of each row in the policy's loss; `None` is 1 everywhere.
        episodes: If given, each minibatch's weights are divided by its mean of these.
            With one over the length of a row's episode, in any unit, the loss is a mean
            over episodes, whichever are in the minibatch. Defaults to `None`.
        learned: bool, the rows that are learned from; `None` for the valid ones.
    """

    advantages: Tensor
    targets: Tensor
    weights: Tensor | None = None
    episodes: Tensor | None = None
    learned: Tensor | None = None


class Estimator(Value, ABC):
    """How advantages are estimated; derived classes are frozen dataclasses.

    Attributes:
        uses_log_ratios: Whether `gains` reads `estimates.log_ratios`, and so corrects
            for a policy that has changed since it acted.
    """

    uses_log_ratios: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        contracts.check_names(cls, Estimator)

    @abstractmethod
    def gains(self, estimates: Estimates, gamma: float) -> Gains:
        """Returns advantages and targets of one iteration; builds graph.

        `gamma` is the discount in [0, 1].
        """
