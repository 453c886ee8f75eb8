"""REINFORCE: the Monte Carlo policy gradient."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import keras
from typing_extensions import Unpack, override

from kpg import checks, losses
from kpg.advantages.baselines import Baseline, BatchMean, CriticBaseline
from kpg.advantages.estimator import Estimates, Gains
from kpg.advantages.returns import discount_weights, discounted_returns, total_returns
from kpg.models.critic import Critic
from kpg.models.policy import Policy
from kpg.trainers.algorithm import Needs, Updates
from kpg.trainers.baselined import (
    BASELINE,
    NORMALIZATIONS,
    Baselined,
    check_baseline,
    episode_shares,
)
from kpg.trainers.learning.batches import Batch
from kpg.trainers.settings import Option, TrainerArguments, TrainerSettings
from kpg.types import Metrics, Tensor

RETURNS = ("reward_to_go", "total")


class REINFORCEArguments(TrainerArguments, total=False):
    """The settings of `REINFORCE` as keyword arguments."""

    whole_episodes: bool
    returns: str
    baseline: Baseline | type[Baseline] | str | None
    baseline_decay: float
    group_size: int | None
    group_scale: str
    loss_normalization: str
    discount_gradient: bool


@dataclasses.dataclass(frozen=True)
class REINFORCESettings(TrainerSettings):
    """Settings of `REINFORCE`.

    Attributes:
        whole_episodes: Whether each iteration learns from one new, whole episode of
            each environment, which needs `num_steps` of at least the time limit. If
            not, iterations are fragments of `num_steps` steps, and a critic's value
            stands for what follows them. Defaults to `True`.
        returns: "reward_to_go" credits a step with the discounted rewards from it on,
            "total" with those of its whole episode. Defaults to "reward_to_go".
        baseline: What is subtracted from the returns: `CriticBaseline()`,
            `BatchMean()`, `MovingAverage(0.9)`, `SelfCritical()`, `LeaveOneOut(4)`,
            `GroupNormalized(4)` or `NoBaseline()` of `kpg.advantages`, or your own. Or
            a name with flat arguments: "critic", "batch_mean", "moving_average" with
            `baseline_decay`, "self_critical", "leave_one_out" and "group_normalized"
            with `group_size`, "none". All but `BatchMean` and `GroupNormalized` keep
            the expected gradient. Defaults to `None`: the critic, else the mean.
        loss_normalization: What divides the policy's loss, a sum over steps: "rows",
            the number of steps in the iteration, as everywhere else in kpg; "episodes",
            each episode's own length before their mean, as in GRPO, so that steps of
            long episodes weigh less; "constant", the number of episodes times
            `num_steps`, as in Dr. GRPO, the only one whose expected gradient is that of
            the return. Entropy and drift stay means over steps. Defaults to "rows".
        discount_gradient: Whether step t weighs γᵗ, as the theorem says. Nearly every
            implementation omits that factor, kpg's other trainers included, so that
            late steps count as much as early ones. Defaults to `False`.
    """

    options: ClassVar[dict[str, Option]] = {
        **TrainerSettings.options,
        "baseline": BASELINE,
    }

    whole_episodes: bool = True
    returns: str = "reward_to_go"
    baseline: Baseline | None = None
    loss_normalization: str = "rows"
    discount_gradient: bool = False

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        checks.choice("returns", self.returns, RETURNS)
        checks.choice("loss_normalization", self.loss_normalization, NORMALIZATIONS)
        self.check_effect(
            "discount_gradient", self.returns == "reward_to_go", "returns='total'"
        )
        if not self.whole_episodes:
            for name in ("returns", "discount_gradient", "loss_normalization"):
                self.check_effect(name, False, "whole_episodes=False")
        if self.baseline is not None:
            self._check_baseline(self.baseline)

    @property
    @override
    def uses_critic(self) -> bool:
        baseline = self.baseline
        return not self.whole_episodes or baseline is None or baseline.needs_critic

    def _check_baseline(self, baseline: Baseline) -> None:
        whole = self.returns == "total" and self.whole_episodes
        if baseline.compares_episodes and not whole:
            raise ValueError(
                "This baseline compares whole episodes: it needs returns='total' and "
                f"whole_episodes=True. Received: baseline={baseline}, "
                f"returns={self.returns!r}, whole_episodes={self.whole_episodes}"
            )
        check_baseline(self, baseline)


@keras.saving.register_keras_serializable(package="kpg")
class REINFORCE(Baselined):
    """REINFORCE: the returns of sampled episodes weigh the actions that led to them.

    The gradient is `E[Σ γᵗ ∇ log π(aₜ|sₜ) (Gₜ − b)]`, with `Gₜ` the discounted rewards
    from `t` on or of the whole episode, and a baseline `b`. The factor `γᵗ` is omitted
    unless `discount_gradient` is set.

    Reference: Williams (1992), https://doi.org/10.1007/BF00992696; Sutton and Barto
    (2018), section 13.4; Ahmadian et al. (2024), https://arxiv.org/abs/2402.14740, and
    Shao et al. (2024), https://arxiv.org/abs/2402.03300, for the groups; Rennie et al.
    (2017), https://arxiv.org/abs/1612.00563, for the self-critical baseline; Liu et al.
    (2025), https://arxiv.org/abs/2503.20783, for Dr. GRPO.

    Takes the arguments of `Trainer`; `**settings` are fields of `REINFORCESettings`.
    The critic is optional, but without one `whole_episodes` must be set: the end of a
    fragment is not that of an episode. A critic without effect is a `ValueError`.
    """

    settings_class = REINFORCESettings
    critic_is_optional = True
    fragments = "give a critic and `whole_episodes=False`"
    settings: REINFORCESettings

    def __init__(
        self,
        policy: Policy,
        critic: Critic | None = None,
        seed: int | None = None,
        **settings: Unpack[REINFORCEArguments],
    ) -> None:
        super().__init__(policy, critic, seed, **settings)
        if critic is not None:
            baseline = self.settings.baseline
            if self.settings.whole_episodes and not self.baseline.needs_critic:
                raise ValueError(
                    "A critic has no effect on whole episodes unless it is the "
                    "baseline; omit the critic or the baseline. Received: a critic, "
                    f"baseline={baseline}"
                )
            return
        if not self.settings.whole_episodes:
            raise ValueError(
                "REINFORCE without a critic learns from whole episodes only, since "
                "nothing tells what follows a fragment; give a critic or leave "
                "`whole_episodes=True`. Received: critic=None, whole_episodes=False"
            )
        if self.baseline.needs_critic:
            raise ValueError(
                f"The baseline needs a critic; give a `kpg.models.Critic`. Received: "
                f"critic=None, baseline={self.baseline}"
            )
        self.settings.check_effect("vf_coef", False, "critic=None")

    @property
    def baseline(self) -> Baseline:
        """What is subtracted from the returns."""
        default = BatchMean() if self.critic is None else CriticBaseline()
        return self.settings.baseline or default

    @property
    @override
    def needs(self) -> Needs:
        return Needs(
            whole_episodes=self.settings.whole_episodes,
            greedy=self.baseline.needs_greedy,
        )

    @property
    @override
    def updates(self) -> Updates:
        return Updates(center_advantages=self.baseline.centers)

    @override
    def estimate(self, estimates: Estimates) -> Gains:
        gamma, settings = self.settings.gamma, self.settings
        terminated, truncated = estimates.terminated, estimates.truncated
        rows = (estimates.rewards, estimates.next_values, terminated, truncated)
        targets = discounted_returns(*rows, gamma=gamma)
        returns, weights = targets, None
        if settings.returns == "total":
            returns = total_returns(*rows, gamma=gamma)
        if settings.discount_gradient:
            weights = discount_weights(terminated, truncated, gamma=gamma)
        if settings.loss_normalization != "rows":
            share = episode_shares(
                estimates.valid, settings.loss_normalization, settings.num_steps
            )
            weights = share if weights is None else share * weights
        gains = self.baseline.compared(returns, estimates, gamma, self.kept_state())
        return Gains(gains, targets, weights)

    @override
    def policy_loss(
        self, log_probs: Tensor, rows: Batch, progress: Tensor
    ) -> tuple[Tensor, Metrics]:
        gains = rows.advantages
        if rows.weights is not None:
            gains *= rows.weights
        return losses.policy_gradient(log_probs, gains, rows.valid), {}
