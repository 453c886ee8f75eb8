"""Proximal policy optimisation."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import keras
import tensorflow as tf
from typing_extensions import Unpack, override

from kpg import adaptation, checks, losses, schedules
from kpg.advantages.baselines import Baseline, GroupBaseline
from kpg.advantages.estimator import Estimates, Estimator, Gains
from kpg.advantages.estimators import GAE
from kpg.advantages.returns import total_returns
from kpg.environments.environment import Environment
from kpg.models.critic import Critic
from kpg.models.policy import Policy
from kpg.trainers.algorithm import Iteration, Needs, Updates
from kpg.trainers.baselined import (
    BASELINE,
    NORMALIZATIONS,
    Baselined,
    check_baseline,
    episode_shares,
)
from kpg.trainers.learning.batches import Batch
from kpg.trainers.settings import ADVANTAGE, TrainerArguments, TrainerSettings
from kpg.types import Metrics, Tensor

RATIO_LEVELS = ("token", "sequence")


class PPOArguments(TrainerArguments, total=False):
    """The settings of `PPO` as keyword arguments."""

    num_epochs: int
    minibatch_size: int | None
    baseline: Baseline | type[Baseline] | str | None
    baseline_decay: float
    group_size: int | None
    group_scale: str
    loss_normalization: str
    ratio_level: str
    mask_truncated: bool
    dynamic_sampling: int
    advantage: Estimator | type[Estimator] | str
    gae_lambda: float
    n_step: int
    clip_rho: float
    clip_c: float
    recompute_advantages: bool
    clip_range: float | None
    clip_range_high: float | None
    clip_range_schedule: str
    dual_clip: float | None
    value_clip_range: float | None
    target_kl: float | None
    kl_coef: float
    kl_coef_schedule: str
    desired_kl: float


@dataclasses.dataclass(frozen=True)
class PPOSettings(TrainerSettings):
    """Settings of `PPO`; the defaults are those of Stable-Baselines3.

    Attributes:
        num_steps: See `TrainerSettings`. Defaults to 2048.
        num_epochs: Passes over each iteration's rows, ≥ 1. Defaults to 10.
        minibatch_size: Rows of a gradient step, a divisor of `num_envs * num_steps`;
            for recurrent models a multiple of `num_steps`; `None` is all of them.
            Defaults to 64, or, in `fit` on a text task, to about as many of whole
            texts.
        baseline: In place of a critic, what is subtracted from the return of each whole
            episode: see `REINFORCESettings`, all but "critic". Iterations are then one
            new, whole episode of each environment, and `num_steps` at least the time
            limit. Defaults to `None`, the critic.
        loss_normalization: With a baseline, what divides the policy's loss: see
            `REINFORCESettings`. It counts what is in a minibatch.
        ratio_level: With a baseline, "token" for a ratio of each step, "sequence" for
            one of each whole episode, as in GSPO: the geometric mean of its steps'.
            The latter needs a recurrent policy or texts. Defaults to "token".
        mask_truncated: With a baseline, whether episodes that a limit cut, such as
            texts without an end, are left out of the loss. They still count in the
            baseline. `ControlledGeneration` is refused, whose texts end at the limit.
            Defaults to `False`.
        dynamic_sampling: With a baseline that compares groups, in a text task: rounds
            of further texts, at most, that replace groups whose texts all earned the
            same. Each writes as many as an iteration. Defaults to 0, none.
        advantage: See `ActorCriticSettings`; `gae_lambda=0.9` is short for `GAE(0.9)`,
            and `VTrace` estimates anew before each epoch. Defaults to `GAE(0.95)`.
        recompute_advantages: Whether the current critic estimates advantages and
            targets anew before each epoch. Defaults to `False`.
        clip_range: ε > 0 of the clipped surrogate; `None`, which needs `kl_coef`, does
            not clip. Defaults to 0.2.
        clip_range_high: Another ε above 1, greater than `clip_range`, as in DAPO.
            Defaults to `None`, the same.
        clip_range_schedule: "constant", or "linear" to 0 over one `fit`, for both.
        dual_clip: c > 1, a bound on the loss of bad actions that became likely, or
            `None` (the default).
        value_clip_range: How far a value may move from the one at the time of acting
            before its loss stops falling, > 0, in their units. Defaults to `None`.
        target_kl: See `Updates`. Defaults to `None`, never.
        kl_coef: β ≥ 0, weight of a penalty on the KL from the policy that acted.
        kl_coef_schedule: "constant", or "adaptive" to halve or double β after each
            iteration so that the divergence stays near `desired_kl`.
        desired_kl: Divergence per iteration, in nats, that both adaptive schedules aim
            at. Defaults to 0.01.
        learning_rate_schedule: See `TrainerSettings`; also "adaptive_kl", which raises
            the rate of the policy's optimizer after an iteration that moved the policy
            too little, and lowers it after one that moved it too far.
    """

    learning_rate_schedules: ClassVar[tuple[str, ...]] = (
        *schedules.SCHEDULES,
        "adaptive_kl",
    )
    options = {
        **TrainerSettings.options,
        "advantage": ADVANTAGE,
        "baseline": BASELINE,
    }

    num_steps: int = 2048
    num_epochs: int = 10
    minibatch_size: int | None = 64
    baseline: Baseline | None = None
    loss_normalization: str = "rows"
    ratio_level: str = "token"
    mask_truncated: bool = False
    dynamic_sampling: int = 0
    advantage: Estimator = GAE(0.95)
    recompute_advantages: bool = False
    clip_range: float | None = 0.2
    clip_range_high: float | None = None
    clip_range_schedule: str = "constant"
    dual_clip: float | None = None
    value_clip_range: float | None = None
    target_kl: float | None = None
    kl_coef: float = 0.0
    kl_coef_schedule: str = "constant"
    desired_kl: float = 0.01

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole_number("num_epochs", self.num_epochs)
        if self.minibatch_size is not None:
            checks.whole_number("minibatch_size", self.minibatch_size)
        bounds = ("clip_range", "clip_range_high", "value_clip_range", "dual_clip")
        for name in (*bounds, "target_kl"):
            if getattr(self, name) is not None:
                checks.positive(name, getattr(self, name))
        checks.number("kl_coef", self.kl_coef, low=0.0)
        checks.positive("desired_kl", self.desired_kl)
        checks.choice(
            "clip_range_schedule", self.clip_range_schedule, schedules.SCHEDULES
        )
        checks.choice(
            "kl_coef_schedule", self.kl_coef_schedule, ("constant", "adaptive")
        )
        checks.choice("loss_normalization", self.loss_normalization, NORMALIZATIONS)
        checks.choice("ratio_level", self.ratio_level, RATIO_LEVELS)
        checks.whole_number("dynamic_sampling", self.dynamic_sampling, 0)
        self._check_combinations()
        self._check_baseline()

    def _check_baseline(self) -> None:
        baseline, given = self.baseline, f"baseline={self.baseline}"
        of_baseline = ("loss_normalization", "ratio_level", "mask_truncated")
        for name in of_baseline:
            self.check_effect(name, baseline is not None, given)
        groups = isinstance(baseline, GroupBaseline)
        self.check_effect("dynamic_sampling", groups, given)
        if baseline is None:
            return
        for name in ("advantage", "recompute_advantages", "value_clip_range"):
            self.check_effect(name, False, given)
        if baseline.needs_critic:
            wanted = "must not be the critic, whose values `advantage` subtracts"
            self.refuse("baseline", f"{wanted}; omit it and give a critic")
        check_baseline(self, baseline)

    def _check_combinations(self) -> None:
        clips, penalises = self.clip_range is not None, self.kl_coef > 0
        if self.dual_clip is not None and self.dual_clip <= 1:
            self.refuse("dual_clip", "must be greater than 1")
        if not clips and not penalises:
            self.refuse("clip_range", "may be None only with a `kl_coef` above 0")
        for name in ("clip_range_schedule", "clip_range_high", "dual_clip"):
            self.check_effect(name, clips, "clip_range=None")
        high, low = self.clip_range_high, self.clip_range
        if high is not None and low is not None and high <= low:
            wanted = f"must be greater than clip_range={low}; omit it for the same"
            self.refuse("clip_range_high", wanted)
        self.check_effect("kl_coef_schedule", penalises, "kl_coef=0")
        self.check_effect("recompute_advantages", self.num_epochs > 1, "num_epochs=1")
        self.check_effect("desired_kl", self.adapts, "nothing that adapts to it")

    @property
    @override
    def uses_critic(self) -> bool:
        return self.baseline is None

    @property
    def adapts(self) -> bool:
        """Whether something follows the iterations' KL divergence."""
        rate = self.learning_rate_schedule == "adaptive_kl"
        return rate or self.kl_coef_schedule == "adaptive"


@keras.saving.register_keras_serializable(package="kpg")
class PPO(Baselined):
    """Proximal policy optimisation with the clipped surrogate, a KL penalty, or both.

    Each iteration takes `num_epochs` passes over its rows in shuffled minibatches; in
    the first minibatch all probability ratios are exactly 1.

    Advantages come from a critic and an estimator, or from a `baseline` alone: then
    without a critic, from the returns of whole episodes, whose groups may end up in
    different minibatches, since they have been compared before. Give one of the two.
    `kpg.trainers.recipes` has the settings of GRPO and its kin.

    Reference: Schulman et al. (2017), https://arxiv.org/abs/1707.06347, equations 7 and
    8; Ye et al. (2020), https://arxiv.org/abs/1912.09729, for the dual clip;
    Andrychowicz et al. (2021), https://arxiv.org/abs/2006.05990, for estimating
    advantages anew.

    Takes the arguments of `Trainer`; `**settings` are fields of `PPOSettings`.
    """

    settings_class = PPOSettings
    critic_is_optional = True
    settings: PPOSettings

    def __init__(
        self,
        policy: Policy,
        critic: Critic | None = None,
        seed: int | None = None,
        **settings: Unpack[PPOArguments],
    ) -> None:
        super().__init__(policy, critic, seed, **settings)
        own = self.settings
        if (critic is None) == (own.baseline is None):
            raise ValueError(
                "PPO needs a critic, or a baseline that whole episodes are compared "
                "with, and not both: give a `kpg.models.Critic`, or for example "
                f"baseline='group_normalized'. Received: critic={critic}, "
                f"baseline={own.baseline}"
            )
        own.check_effect("vf_coef", critic is not None, "critic=None")
        if own.ratio_level == "sequence" and not policy.recurrent:
            wanted = "may be 'sequence' with a recurrent policy or texts, whose "
            own.refuse("ratio_level", f"{wanted}minibatches are whole episodes")

    @property
    @override
    def baseline(self) -> Baseline | None:
        return self.settings.baseline

    @override
    def check_environment(self, env: Environment) -> None:
        super().check_environment(env)
        own = self.settings
        if own.dynamic_sampling and env.group_size is None:
            wanted = "needs a text task, which can write a group of a prompt anew"
            own.refuse("dynamic_sampling", wanted)
        if own.mask_truncated and not env.truncates:
            wanted = f"needs episodes that are cut, and those of {env.name} never are"
            own.refuse("mask_truncated", f"{wanted}; omit it")

    @override
    def add_state(self) -> None:
        super().add_state()
        # The weight of the KL penalty, which may adapt.
        self.kl_coefficient = self.add_weight(
            name="kl_coefficient",
            shape=(),
            initializer=keras.initializers.Constant(self.settings.kl_coef),
            trainable=False,
        )

    @property
    @override
    def needs(self) -> Needs:
        baseline = self.settings.baseline
        if baseline is not None:
            rounds = self.settings.dynamic_sampling
            return Needs(True, greedy=baseline.needs_greedy, further_rounds=rounds)
        corrects = self.settings.advantage.uses_log_ratios
        fresh = corrects or self.settings.recompute_advantages
        return Needs(log_ratios=corrects, fresh_estimates=fresh)

    @property
    @override
    def updates(self) -> Updates:
        own, baseline = self.settings, self.settings.baseline
        centers = baseline is not None and baseline.centers
        return Updates(own.num_epochs, own.minibatch_size, own.target_kl, centers)

    @override
    def estimate(self, estimates: Estimates) -> Gains:
        own, gamma = self.settings, self.settings.gamma
        if own.baseline is None:
            return own.advantage.gains(estimates, gamma)
        ends = (estimates.terminated, estimates.truncated)
        returns = total_returns(
            estimates.rewards, estimates.next_values, *ends, gamma=gamma
        )
        gains = own.baseline.compared(returns, estimates, gamma, self.kept_state())
        learned, weights, episodes = estimates.valid, None, None
        if own.mask_truncated:
            cut = tf.reduce_any(learned & estimates.truncated, axis=0)
            learned &= ~cut
        if own.loss_normalization != "rows":
            weights, episodes = (
                episode_shares(learned, unit, own.num_steps)
                for unit in (own.loss_normalization, "episodes")
            )
        return Gains(gains, returns, weights, episodes, learned)

    @override
    def policy_loss(
        self, log_probs: Tensor, rows: Batch, progress: Tensor
    ) -> tuple[Tensor, Metrics]:
        low, high = self._clip_ranges(progress)
        gains, logs = rows.advantages, (log_probs, rows.log_probs)
        if rows.weights is not None:
            gains *= rows.weights
        if self.settings.ratio_level == "sequence":
            moved = log_probs - tf.stop_gradient(rows.log_probs)
            moved = losses.sequence_log_ratios(moved, rows.valid)
            logs = (moved, tf.zeros_like(moved))
        loss = losses.clipped_surrogate(
            *logs,
            gains,
            clip_range=low,
            clip_range_high=high,
            dual_clip=self.settings.dual_clip,
            valid=rows.valid,
        )
        kl = losses.approximate_kl(log_probs, rows.log_probs, valid=rows.valid)
        if self.settings.kl_coef > 0:
            loss += self.kl_coefficient * kl
        shares = self._clipped(tf.exp(logs[0] - logs[1]), rows, low, high)
        return loss, {"approx_kl": kl, **shares}

    def _clip_ranges(self, progress: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Returns what the ratio may be below and above 1."""
        factor = schedules.factor(self.settings.clip_range_schedule, progress)
        ends = (self.settings.clip_range, self.settings.clip_range_high)
        low, high = (None if end is None else end * factor for end in ends)
        return low, high

    def _clipped(
        self, ratios: Tensor, rows: Batch, low: Tensor | None, high: Tensor | None
    ) -> Metrics:
        """Returns the share of ratios outside of the clip range.

        In comparisons also the shares of what the clip takes the gradient from, below
        and above 1.
        """
        if low is None:
            return {"clip_fraction": tf.zeros([])}

        def share(where: Tensor) -> Tensor:
            return losses.mean(tf.cast(where, tf.float32), rows.valid)

        if self.baseline is None and high is None:
            return {"clip_fraction": share(tf.abs(ratios - 1.0) > low)}
        below, above = (
            ratios < 1.0 - low,
            ratios > 1.0 + (low if high is None else high),
        )
        return {
            "clip_fraction": share(below | above),
            "clip_fraction_low": share(below & (rows.advantages < 0.0)),
            "clip_fraction_high": share(above & (rows.advantages > 0.0)),
        }

    @override
    def value_loss(self, values: Tensor, rows: Batch) -> Tensor:
        clip_range = self.settings.value_clip_range
        return losses.value(
            values,
            rows.targets,
            old_values=None if clip_range is None else rows.values,
            clip_range=clip_range,
            valid=rows.valid,
        )

    @override
    def after(self, iteration: Iteration) -> Metrics:
        super().after(iteration)
        if not self.settings.adapts:
            return {}
        kl, desired = iteration.kl(), self.settings.desired_kl
        if self.settings.learning_rate_schedule == "adaptive_kl":
            rate = self.optimizer.learning_rate
            rate.assign(adaptation.learning_rate(rate, kl, target_kl=desired))
        if self.settings.kl_coef_schedule == "adaptive":
            beta = self.kl_coefficient
            beta.assign(adaptation.kl_coefficient(beta, kl, target_kl=desired))
        return {}
