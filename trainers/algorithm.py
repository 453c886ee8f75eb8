"""What an algorithm is: the contract that engines and updates know of a trainer.

Derive from `kpg.trainers.Trainer`, which fulfils everything here but `estimate` and
`policy_loss`, or from one of kpg's algorithms. A class that leaves a method open is
refused when its trainer is made, a method with a misspelt name when the class is.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import Protocol

from kpg import checks, contracts, losses
from kpg.advantages.estimator import Estimates, Gains
from kpg.environments.environment import Environment
from kpg.trainers.learning.batches import Batch
from kpg.trainers.learning.outputs import Outputs
from kpg.trainers.settings import TrainerSettings
from kpg.types import Metrics, Tensor


@dataclasses.dataclass(frozen=True)
class Needs:
    """What an algorithm needs of a trajectory.

    Attributes:
        whole_episodes: Every iteration starts new episodes and keeps one of each copy.
        log_ratios: `estimates.log_ratios`, how far the policy has moved.
        fresh_estimates: Advantages are estimated anew before each epoch, by the models
            as they have become.
        greedy: `estimates.greedy_rewards`, of the same episodes played greedily.
    """

    whole_episodes: bool = False
    log_ratios: bool = False
    fresh_estimates: bool = False
    greedy: bool = False


@dataclasses.dataclass(frozen=True)
class Updates:
    """How an algorithm's updates run.

    Attributes:
        num_epochs: Passes over each iteration's rows, ≥ 1.
        minibatch_size: Rows of a gradient step; `None` is all of them. It divides
            `num_envs * num_steps`.
        target_kl: The updates of an iteration end before a minibatch whose KL
            divergence from the policy that acted is above 1.5 times this, in nats;
            `None` is never.
        center_advantages: Whether each minibatch's mean is subtracted from its
            advantages. `normalize_advantages` does that and more.
    """

    num_epochs: int = 1
    minibatch_size: int | None = None
    target_kl: float | None = None
    center_advantages: bool = False

    def __post_init__(self) -> None:
        checks.whole_number("num_epochs", self.num_epochs)
        if self.minibatch_size is not None:
            checks.whole_number("minibatch_size", self.minibatch_size)
        if self.target_kl is not None:
            checks.positive("target_kl", self.target_kl)


class Loss(Protocol):
    """A loss for `Iteration.minimize`."""

    def __call__(
        self, outputs: Outputs, rows: Batch, progress: Tensor
    ) -> tuple[Tensor, Metrics]:
        """Returns a scalar to minimise, and scalars to log.

        Args:
            outputs: What policy and critic say about the rows now.
            rows: A minibatch. Its advantages are not standardised.
            progress: Scalar in [0, 1], how much of this `fit` is done.
        """
        ...


class Iteration(ABC):
    """What an algorithm may ask and do after the updates of an iteration.

    Its methods build graph. Call them outside of replicas, as `Algorithm.after` is.

    Attributes:
        healthy: Scalar bool; `False` if the trajectory held `inf` or `nan`, so that
            nothing was learned from it.
        progress: Scalar in [0, 1], how much of this `fit` is done.
    """

    healthy: Tensor
    progress: Tensor

    @abstractmethod
    def kl(self) -> Tensor:
        """Returns KL(π_old ‖ π) over all rows, in nats; NaN if nothing was learned."""

    @abstractmethod
    def mean_advantage(self) -> Tensor:
        """Returns the mean advantage of all rows before they are standardised.

        It is NaN if nothing was learned.
        """

    @abstractmethod
    def minimize(
        self, loss: Loss, num_epochs: int = 1, minibatch_size: int | None = None
    ) -> Metrics:
        """Takes more gradient steps on the iteration's rows, on another loss.

        Such as PPG's auxiliary phase, or more steps of the critic alone. Weights that
        the loss does not depend on stay as they are.

        Args:
            loss: The loss.
            num_epochs: Passes over the rows, ≥ 1. Defaults to 1.
            minibatch_size: Rows of a step. Defaults to `None`, all.

        Returns:
            The means of the loss's metrics over the minibatches.
        """


class Algorithm(ABC):
    """How a policy is improved; see the module.

    Attributes:
        settings: The frozen settings.
    """

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
        """Returns advantages and the critic's targets, both `[T, B]`; builds graph.

        An estimator does it: `return GAE(0.95).gains(estimates, self.settings.gamma)`.
        """

    @abstractmethod
    def policy_loss(
        self, log_probs: Tensor, rows: Batch, progress: Tensor
    ) -> tuple[Tensor, Metrics]:
        """Returns the policy's loss on a minibatch and metrics of your own.

        Every metric is logged under its name, as the mean over the minibatches.

        Args:
            log_probs: `[N]`, of the rows' actions under the current policy, in nats.
            rows: The minibatch.
            progress: Scalar in [0, 1], how much of this `fit` is done.
        """

    def value_loss(self, values: Tensor, rows: Batch) -> Tensor:
        """Returns the critic's loss on a minibatch, a scalar.

        Args:
            values: `[N]`, the critic's of the rows' observations.
            rows: The minibatch.
        """
        return losses.value(values, rows.targets, valid=rows.valid)

    def after(self, iteration: Iteration) -> Metrics:
        """Does what is to be done after an iteration's updates; builds graph.

        Here weights of the algorithm's own adapt, and further phases of updates run.

        Returns:
            Scalars to log, by name. Defaults to none.
        """
        return {}

    def add_state(self) -> None:  # noqa: B027
        """Adds what an algorithm keeps besides the models.

        Use `self.add_weight(…)` or attributes that are Keras layers. They are saved;
        those that are trainable are learned along with the policy.
        """

    def check_environment(self, env: Environment) -> None:  # noqa: B027
        """Refuses an environment that the algorithm cannot learn from.

        Raises:
            ValueError: If it does not fit.
        """
