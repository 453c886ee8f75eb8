"""Proximal policy optimisation."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import keras
import tensorflow as tf
from typing_extensions import Unpack, override

from kpg import adaptation, checks, losses, schedules
from kpg.advantages.estimator import Estimates, Estimator, Gains
from kpg.advantages.estimators import GAE
from kpg.models.critic import Critic
from kpg.models.policy import Policy
from kpg.trainers.algorithm import Iteration, Needs, Updates
from kpg.trainers.learning.batches import Batch
from kpg.trainers.settings import ADVANTAGE, TrainerArguments, TrainerSettings
from kpg.trainers.trainer import Trainer
from kpg.types import Metrics, Tensor


class PPOArguments(TrainerArguments, total=False):
    """The settings of `PPO` as keyword arguments."""

    num_epochs: int
    minibatch_size: int
    advantage: Estimator | type[Estimator] | str
    gae_lambda: float
    n_step: int
    clip_rho: float
    clip_c: float
    recompute_advantages: bool
    clip_range: float | None
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
            for recurrent models a multiple of `num_steps`. Defaults to 64, or, in `fit`
            on a text task, to about as many of whole texts.
        advantage: See `ActorCriticSettings`; `gae_lambda=0.9` is short for `GAE(0.9)`,
            and `VTrace` estimates anew before each epoch. Defaults to `GAE(0.95)`.
        recompute_advantages: Whether the current critic estimates advantages and
            targets anew before each epoch. Defaults to `False`.
        clip_range: ε > 0 of the clipped surrogate; `None`, which needs `kl_coef`, does
            not clip. Defaults to 0.2.
        clip_range_schedule: "constant", or "linear" to 0 over one `fit`.
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
    options = {**TrainerSettings.options, "advantage": ADVANTAGE}

    num_steps: int = 2048
    num_epochs: int = 10
    minibatch_size: int = 64
    advantage: Estimator = GAE(0.95)
    recompute_advantages: bool = False
    clip_range: float | None = 0.2
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
        checks.whole_number("minibatch_size", self.minibatch_size)
        for name in ("clip_range", "value_clip_range", "target_kl", "dual_clip"):
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
        self._check_combinations()

    def _check_combinations(self) -> None:
        clips, penalises = self.clip_range is not None, self.kl_coef > 0
        if self.dual_clip is not None and self.dual_clip <= 1:
            self.refuse("dual_clip", "must be greater than 1")
        if not clips and not penalises:
            self.refuse("clip_range", "may be None only with a `kl_coef` above 0")
        self.check_effect("clip_range_schedule", clips, "clip_range=None")
        self.check_effect("dual_clip", clips, "clip_range=None")
        self.check_effect("kl_coef_schedule", penalises, "kl_coef=0")
        self.check_effect("recompute_advantages", self.num_epochs > 1, "num_epochs=1")
        self.check_effect("desired_kl", self.adapts, "nothing that adapts to it")

    @property
    def adapts(self) -> bool:
        """Whether something follows the iterations' KL divergence."""
        rate = self.learning_rate_schedule == "adaptive_kl"
        return rate or self.kl_coef_schedule == "adaptive"


@keras.saving.register_keras_serializable(package="kpg")
class PPO(Trainer):
    """Proximal policy optimisation with the clipped surrogate, a KL penalty, or both.

    Each iteration takes `num_epochs` passes over its rows in shuffled minibatches; in
    the first minibatch all probability ratios are exactly 1.

    Reference: Schulman et al. (2017), https://arxiv.org/abs/1707.06347, equations 7 and
    8; Ye et al. (2020), https://arxiv.org/abs/1912.09729, for the dual clip;
    Andrychowicz et al. (2021), https://arxiv.org/abs/2006.05990, for estimating
    advantages anew.

    Takes the arguments of `Trainer`; `**settings` are fields of `PPOSettings`.
    """

    settings_class = PPOSettings
    settings: PPOSettings

    def __init__(
        self,
        policy: Policy,
        critic: Critic | None,
        seed: int | None = None,
        **settings: Unpack[PPOArguments],
    ) -> None:
        super().__init__(policy, critic, seed, **settings)

    @override
    def add_state(self) -> None:
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
        corrects = self.settings.advantage.uses_log_ratios
        fresh = corrects or self.settings.recompute_advantages
        return Needs(log_ratios=corrects, fresh_estimates=fresh)

    @property
    @override
    def updates(self) -> Updates:
        settings = self.settings
        return Updates(settings.num_epochs, settings.minibatch_size, settings.target_kl)

    @override
    def estimate(self, estimates: Estimates) -> Gains:
        return self.settings.advantage.gains(estimates, self.settings.gamma)

    @override
    def policy_loss(
        self, log_probs: Tensor, rows: Batch, progress: Tensor
    ) -> tuple[Tensor, Metrics]:
        clip_range = self.settings.clip_range
        if clip_range is not None:
            clip_range *= schedules.factor(self.settings.clip_range_schedule, progress)
        loss = losses.clipped_surrogate(
            log_probs,
            rows.log_probs,
            rows.advantages,
            clip_range=clip_range,
            dual_clip=self.settings.dual_clip,
            valid=rows.valid,
        )
        kl = losses.approximate_kl(log_probs, rows.log_probs, valid=rows.valid)
        if self.settings.kl_coef > 0:
            loss += self.kl_coefficient * kl
        fraction = tf.zeros([])
        if clip_range is not None:
            moves = tf.abs(tf.exp(log_probs - rows.log_probs) - 1.0)
            fraction = losses.mean(tf.cast(moves > clip_range, tf.float32), rows.valid)
        return loss, {"approx_kl": kl, "clip_fraction": fraction}

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
