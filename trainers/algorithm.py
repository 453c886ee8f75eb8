"""The contract between a trainer and the code that runs it.

Derive from `kpg.trainers.Trainer`, which implements all but `estimate` and
`policy_loss`, or from one of kpg's algorithms. A missing method is an error when the
trainer is made, a misspelt one when its class is.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeAlias

from kpg import checks, contracts, losses
from kpg.advantages.estimator import Estimates, Gains
from kpg.environments.environment import Environment
from kpg.trainers.learning.batches import Batch
from kpg.trainers.learning.outputs import Outputs
from kpg.trainers.learning.replay import Replay
from kpg.trainers.settings import TrainerSettings
from kpg.types import Metrics, Tensor


@dataclasses.dataclass(frozen=True)
class Needs:
    """What an algorithm needs of a trajectory.

    Attributes:
        whole_episodes: Each iteration keeps one new episode of every copy.
        log_ratios: `estimates.log_ratios`, how far the policy has moved.
        fresh_estimates: The current models estimate advantages anew before each epoch.
        greedy: `estimates.greedy_rewards`, of the same episodes played greedily.
        further_rounds: In how many further rounds, at most, episodes are collected to
            replace groups that all earned the same; see `Environment.group_size`.
    """

    whole_episodes: bool = False
    log_ratios: bool = False
    fresh_estimates: bool = False
    greedy: bool = False
    further_rounds: int = 0


@dataclasses.dataclass(frozen=True)
class Updates:
    """How an algorithm's updates run.

    Attributes:
        num_epochs: Passes over each iteration's rows, ≥ 1.
        minibatch_size: Rows of a gradient step, a divisor of `num_envs * num_steps`;
            `None` takes all.
        target_kl: An iteration's updates end before a minibatch whose KL divergence
            from the acting policy exceeds 1.5 times this, in nats; `None` is never.
        center_advantages: Whether to subtract each minibatch's mean from its
            advantages. `normalize_advantages` includes this.
        replay: Earlier fragments that are learned from again after all that, in
            minibatches of the same size; needs `log_ratios`. `None` is none.
    """

    num_epochs: int = 1
    minibatch_size: int | None = None
    target_kl: float | None = None
    center_advantages: bool = False
    replay: Replay | None = None

    def __post_init__(self) -> None:
        checks.make_plain(self)
        checks.whole_number("num_epochs", self.num_epochs)
        if self.minibatch_size is not None:
            checks.whole_number("minibatch_size", self.minibatch_size)
        if self.target_kl is not None:
            checks.positive("target_kl", self.target_kl)


Loss: TypeAlias = Callable[[Outputs, Batch, Tensor], tuple[Tensor, Metrics]]
"""Returns a scalar to minimise and scalars to log; see `Iteration.minimize`."""


class Iteration(ABC):
    """What an algorithm may ask and do after an iteration's updates.

    The methods build graph, outside of replicas, as `Algorithm.after` does.

    Attributes:
        progress: Scalar in [0, 1], how much of this `fit` is done.
    """

    progress: Tensor

    @property
    @abstractmethod
    def healthy(self) -> Tensor:
        """Scalar bool; `False` if the iteration is to be as if it had never been.

        Then the trajectory held `inf` or `nan`, or no valid row, or a gradient step
        has failed and `fit` will raise an error.
        """

    @abstractmethod
    def kl(self) -> Tensor:
        """Returns KL(π_old ‖ π) over all rows, in nats; NaN if nothing was learned."""

    @abstractmethod
    def mean_advantage(self) -> Tensor:
        """Returns the mean of all rows' raw advantages; NaN if not `healthy`."""

    @abstractmethod
    def minimize(
        self, loss: Loss, num_epochs: int = 1, minibatch_size: int | None = None
    ) -> Metrics:
        """Takes more gradient steps on the iteration's rows, on another loss.

        For example PPG's auxiliary phase, or more steps of the critic alone. Weights
        that the loss does not depend on stay as they are.

        Args:
            loss: Receives what the models now say, a minibatch, whose advantages are
                not standardised, and the progress; returns a scalar and metrics.
            num_epochs: Passes over the rows, ≥ 1. Defaults to 1.
            minibatch_size: Rows of a step. Defaults to `None`, all.

        Returns:
            The means of the metrics over the minibatches, NaN if no step was taken.
        """


class Algorithm(ABC):
    """How a policy is improved; see the module."""

    settings: TrainerSettings

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        contracts.check_names(cls, Algorithm)

    @property
    def needs(self) -> Needs:
        """What the algorithm needs of a trajectory. Defaults to nothing special."""
        return Needs()

    @property
    def updates(self) -> Updates:
        """How its updates run. Defaults to one step on all rows."""
        return Updates()

    @abstractmethod
    def estimate(self, estimates: Estimates) -> Gains:
        """Returns advantages and critic targets, `[T, B]`; builds graph.

        For example `GAE(0.95).gains(estimates, self.settings.gamma)`.
        """

    @abstractmethod
    def policy_loss(
        self, log_probs: Tensor, rows: Batch, progress: Tensor
    ) -> tuple[Tensor, Metrics]:
        """Returns the policy's loss on a minibatch, and scalars to log their means.

        `log_probs`, `[N]` in nats, are of the rows' actions under the current policy;
        `progress` is a scalar in [0, 1], the part of this `fit` that is done.
        """

    def value_loss(self, values: Tensor, rows: Batch) -> Tensor:
        """Returns the critic's loss on a minibatch, a scalar, from its `[N]` values."""
        return losses.value(values, rows.targets, valid=rows.valid)

    def after(self, iteration: Iteration) -> Metrics:
        """Runs after an iteration's updates; returns scalars to log; builds graph.

        The place to adapt the algorithm's own weights, and to run further phases.
        """
        return {}

    def add_state(self) -> None:  # noqa: B027
        """Adds what an algorithm keeps, by `self.add_weight(…)` or as Keras layers.

        It is saved, and learned along with the policy if trainable.
        """

    def check_environment(self, env: Environment) -> None:  # noqa: B027
        """Raises a `ValueError` if the algorithm cannot learn from it.

        Environments that only evaluate are not asked.
        """
