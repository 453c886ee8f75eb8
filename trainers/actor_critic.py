"""Advantage actor-critic: one gradient step on each short fragment."""

from __future__ import annotations

import dataclasses

import keras
import tensorflow as tf

from kpg import advantages, losses
from kpg.trainers.learning.batches import Batch, Estimates, Gains
from kpg.trainers.settings import TrainerSettings
from kpg.trainers.trainer import Trainer

ADVANTAGES = ("gae", "monte_carlo", "td_error", "n_step", "vtrace")


@dataclasses.dataclass(frozen=True)
class ActorCriticSettings(TrainerSettings):
    """Settings of `ActorCritic`; the defaults are those of A2C.

    Attributes:
        num_steps: See `TrainerSettings`. Defaults to 5.
        advantage: How advantages are estimated, by the names of `kpg.advantages`:
            "gae", "monte_carlo" (the return to the end of the fragment, bootstrapped
            there, minus the value), "td_error", "n_step" or "vtrace". Defaults to
            "gae".
        gae_lambda: λ of "gae", in [0, 1]: 1 gives "monte_carlo", 0 "td_error". Defaults
            to 1.
        n_step: Rewards in a return of "n_step", ≥ 1. Defaults to 5.
        num_epochs: Gradient steps on each fragment, ≥ 1, all on the whole of it. More
            than one needs "vtrace", which corrects for the policy that has moved on
            since it acted. Defaults to 1.
        clip_rho: ρ̄ of "vtrace", > 0. Defaults to 1.
        clip_c: c̄ of "vtrace", > 0. Defaults to 1.
        normalize_advantages: See `TrainerSettings`. Defaults to `False`.
    """

    num_steps: int = 5
    advantage: str = "gae"
    gae_lambda: float = 1.0
    n_step: int = 5
    num_epochs: int = 1
    clip_rho: float = 1.0
    clip_c: float = 1.0
    normalize_advantages: bool = False

    def __post_init__(self) -> None:
        """See `TrainerSettings`."""
        super().__post_init__()
        self._check_choice("advantage", ADVANTAGES)
        self._check_fraction("gae_lambda")
        self._check_count("n_step")
        self._check_count("num_epochs")
        self._check_positive("clip_rho")
        self._check_positive("clip_c")
        owners = {
            "gae_lambda": "gae",
            "n_step": "n_step",
            "num_epochs": "vtrace",
            "clip_rho": "vtrace",
            "clip_c": "vtrace",
        }
        for name, owner in owners.items():
            reason = f"advantage={self.advantage!r}"
            self.check_effect(name, self.advantage == owner, reason)


@keras.saving.register_keras_serializable(package="kpg")
class ActorCritic(Trainer):
    """Synchronous advantage actor-critic (A2C).

    Each iteration takes one gradient step on `E[∇ log π(a|s) Â]` and one on the value
    loss, from the same fragment. With `advantage="vtrace"` it may take several, in the
    manner of IMPALA.

    Reference: Mnih et al. (2016), https://arxiv.org/abs/1602.01783, algorithm S3;
    Schulman et al. (2016), https://arxiv.org/abs/1506.02438, equation 16 for GAE;
    Espeholt et al. (2018), https://arxiv.org/abs/1802.01561, for V-trace.

    Args:
        policy: A `kpg.models.Policy`.
        critic: A `kpg.models.Critic`.
        seed: Seed of all sampling. Defaults to a random one.
        **settings: Fields of `ActorCriticSettings`.
    """

    settings_class = ActorCriticSettings
    settings: ActorCriticSettings

    def estimate(self, estimates: Estimates) -> Gains:
        """See `Trainer.estimate`."""
        settings, gamma = self.settings, self.settings.gamma
        rows, values = estimates[:5], estimates.values
        if settings.advantage == "gae":
            return estimates.gae(gamma, settings.gae_lambda)
        if settings.advantage == "vtrace":
            vtrace = advantages.vtrace(
                *rows,
                estimates.log_ratios,
                gamma=gamma,
                clip_rho=settings.clip_rho,
                clip_c=settings.clip_c,
            )
            return Gains(vtrace.advantages, vtrace.targets)
        if settings.advantage == "td_error":
            gains = advantages.td_error(*rows[:-1], gamma=gamma)
        elif settings.advantage == "n_step":
            gains = advantages.n_step(*rows, gamma=gamma, n=settings.n_step)
        else:
            gains = advantages.gae(*rows, gamma=gamma, gae_lambda=1.0)
        return Gains(gains, gains + values)

    def policy_loss(
        self, log_probs: tf.Tensor, rows: Batch, progress: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """See `Trainer.policy_loss`."""
        return losses.policy_gradient(log_probs, rows.advantages, rows.valid), {}

    @property
    def estimates_every_epoch(self) -> bool:
        """See `Trainer.estimates_every_epoch`."""
        return self.uses_log_ratios

    @property
    def uses_log_ratios(self) -> bool:
        """See `Trainer.uses_log_ratios`."""
        return self.settings.advantage == "vtrace"
