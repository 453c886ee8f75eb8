"""Advantage actor-critic: one gradient step on each short fragment."""

from __future__ import annotations

import dataclasses

import keras
from typing_extensions import Unpack, override

from kpg import checks, losses
from kpg.advantages.estimator import Estimates, Estimator, Gains
from kpg.advantages.estimators import GAE
from kpg.models.critic import Critic
from kpg.models.policy import Policy
from kpg.trainers.algorithm import Needs, Updates
from kpg.trainers.learning.batches import Batch
from kpg.trainers.learning.replay import Replay
from kpg.trainers.settings import (
    ADVANTAGE,
    Option,
    TrainerArguments,
    TrainerSettings,
)
from kpg.trainers.trainer import Trainer
from kpg.types import Metrics, Tensor


class ActorCriticArguments(TrainerArguments, total=False):
    """The settings of `ActorCritic` as keyword arguments."""

    advantage: Estimator | type[Estimator] | str
    gae_lambda: float
    n_step: int
    clip_rho: float
    clip_c: float
    num_epochs: int
    replay: Replay | type[Replay] | str | None
    replay_num_fragments: int
    replay_ratio: int


@dataclasses.dataclass(frozen=True)
class ActorCriticSettings(TrainerSettings):
    """Settings of `ActorCritic`; the defaults are those of A2C.

    Attributes:
        num_steps: See `TrainerSettings`. Defaults to 5.
        advantage: An estimator: `GAE(0.95)`, `MonteCarlo()`, `TDError()`, `NStep(5)` or
            `VTrace()` of `kpg.advantages`, or your own. Or a name with flat arguments:
            "gae" with `gae_lambda`, "n_step" with `n_step`, "vtrace" with `clip_rho`
            and `clip_c`. Defaults to `GAE(1.0)`.
        num_epochs: Gradient steps on each fragment, ≥ 1; more than 1 needs an estimator
            that corrects for a changed policy, such as `VTrace`. Defaults to 1.
        normalize_advantages: See `TrainerSettings`. Defaults to `False`.
        replay: `kpg.trainers.Replay(8, ratio=1)`, fragments of older policies that are
            learned from again; needs `VTrace` or another estimator that corrects for
            them. Flat: `replay_num_fragments`, `replay_ratio`. Defaults to `None`.
    """

    options = {
        **TrainerSettings.options,
        "advantage": ADVANTAGE,
        "replay": Option(
            Replay,
            {"replay": Replay},
            {"replay_num_fragments": "num_fragments", "replay_ratio": "ratio"},
            switch="replay_num_fragments",
        ),
    }

    num_steps: int = 5
    advantage: Estimator = GAE(1.0)
    num_epochs: int = 1
    normalize_advantages: bool = False
    replay: Replay | None = None

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole_number("num_epochs", self.num_epochs)
        corrects = self.advantage.uses_log_ratios
        self.check_effect("num_epochs", corrects, f"advantage={self.advantage}")
        if self.replay is None:
            return
        if not corrects:
            wanted = "needs an estimator that corrects for the policies that acted, as "
            self.refuse("replay", f"{wanted}VTrace() does: {self.advantage} does not")
        if self.normalize_advantages:
            wanted = "must be False with `replay`: a mean of advantages that have the "
            wanted += "weights ρ in them is no baseline"
            self.refuse("normalize_advantages", wanted)


@keras.saving.register_keras_serializable(package="kpg")
class ActorCritic(Trainer):
    """Synchronous advantage actor-critic (A2C).

    Each iteration takes one gradient step on `E[∇ log π(a|s) Â]` and the value loss of
    a fragment; with `advantage=VTrace()` perhaps several, as IMPALA does, and with
    `replay=Replay()` also on earlier ones.

    Reference: Mnih et al. (2016), https://arxiv.org/abs/1602.01783, algorithm S3;
    Schulman et al. (2016), https://arxiv.org/abs/1506.02438, equation 16 for GAE;
    Espeholt et al. (2018), https://arxiv.org/abs/1802.01561, for V-trace.

    Takes the arguments of `Trainer`; `**settings` are fields of `ActorCriticSettings`.
    """

    settings_class = ActorCriticSettings
    settings: ActorCriticSettings

    def __init__(
        self,
        policy: Policy,
        critic: Critic | None,
        seed: int | None = None,
        **settings: Unpack[ActorCriticArguments],
    ) -> None:
        super().__init__(policy, critic, seed, **settings)

    @property
    @override
    def needs(self) -> Needs:
        corrects = self.settings.advantage.uses_log_ratios
        return Needs(log_ratios=corrects, fresh_estimates=corrects)

    @property
    @override
    def updates(self) -> Updates:
        return Updates(self.settings.num_epochs, replay=self.settings.replay)

    @override
    def estimate(self, estimates: Estimates) -> Gains:
        return self.settings.advantage.gains(estimates, self.settings.gamma)

    @override
    def policy_loss(
        self, log_probs: Tensor, rows: Batch, progress: Tensor
    ) -> tuple[Tensor, Metrics]:
        return losses.policy_gradient(log_probs, rows.advantages, rows.valid), {}
