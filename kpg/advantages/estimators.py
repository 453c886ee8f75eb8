"""Advantage estimators as values, such as `advantage=GAE(0.95)`."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import keras
from typing_extensions import override

from kpg import checks
from kpg.advantages.estimator import Estimates, Estimator, Gains
from kpg.advantages.gae import gae, n_step, td_error, vtrace

_STEPS = ("rewards", "values", "next_values", "terminated", "truncated")


@keras.saving.register_keras_serializable(package="kpg")
@dataclasses.dataclass(frozen=True)
class GAE(Estimator):
    """Generalised advantage estimation, with λ-returns as targets; see `gae`.

    Args:
        gae_lambda: λ in [0, 1]. Defaults to 0.95.
    """

    gae_lambda: float = 0.95

    def __post_init__(self) -> None:
        checks.fraction("gae_lambda", self.gae_lambda)

    @override
    def gains(self, estimates: Estimates, gamma: float) -> Gains:
        advantages = gae(
            **estimates.named(*_STEPS), gamma=gamma, gae_lambda=self.gae_lambda
        )
        return Gains(advantages, advantages + estimates.values)


@keras.saving.register_keras_serializable(package="kpg")
@dataclasses.dataclass(frozen=True)
class MonteCarlo(Estimator):
    """The return to the end of the fragment, bootstrapped there, minus the value."""

    @override
    def gains(self, estimates: Estimates, gamma: float) -> Gains:
        return GAE(1.0).gains(estimates, gamma)


@keras.saving.register_keras_serializable(package="kpg")
@dataclasses.dataclass(frozen=True)
class TDError(Estimator):
    """The one-step temporal-difference error; see `td_error`."""

    @override
    def gains(self, estimates: Estimates, gamma: float) -> Gains:
        errors = td_error(
            **estimates.named("rewards", "values", "next_values", "terminated"),
            gamma=gamma,
        )
        return Gains(errors, errors + estimates.values)


@keras.saving.register_keras_serializable(package="kpg")
@dataclasses.dataclass(frozen=True)
class NStep(Estimator):
    """The rewards of n steps and the value after them; see `n_step`.

    Args:
        n: Rewards in a return, ≥ 1. Defaults to 5.
    """

    n: int = 5

    def __post_init__(self) -> None:
        checks.whole_number("n", self.n)

    @override
    def gains(self, estimates: Estimates, gamma: float) -> Gains:
        advantages = n_step(**estimates.named(*_STEPS), gamma=gamma, n=self.n)
        return Gains(advantages, advantages + estimates.values)


@keras.saving.register_keras_serializable(package="kpg")
@dataclasses.dataclass(frozen=True)
class VTrace(Estimator):
    """V-trace, which corrects for a policy that has changed; see `vtrace`.

    Args:
        clip_rho: ρ̄ > 0. Defaults to 1, as in the paper.
        clip_c: c̄ > 0. Defaults to 1, as in the paper.
    """

    uses_log_ratios: ClassVar[bool] = True

    clip_rho: float = 1.0
    clip_c: float = 1.0

    def __post_init__(self) -> None:
        checks.positive("clip_rho", self.clip_rho)
        checks.positive("clip_c", self.clip_c)

    @override
    def gains(self, estimates: Estimates, gamma: float) -> Gains:
        return vtrace(
            **estimates.named(*_STEPS, "log_ratios"),
            gamma=gamma,
            clip_rho=self.clip_rho,
            clip_c=self.clip_c,
        )


ESTIMATORS: dict[str, type[Estimator]] = {
    "gae": GAE,
    "monte_carlo": MonteCarlo,
    "td_error": TDError,
    "n_step": NStep,
    "vtrace": VTrace,
}
