"""Proximal policy optimisation."""

from __future__ import annotations

import dataclasses

import keras
import tensorflow as tf

from kpg import losses, schedules
from kpg.trainers.batches import Batch, Estimates
from kpg.trainers.settings import TrainerSettings
from kpg.trainers.trainer import Trainer


@dataclasses.dataclass(frozen=True)
class PPOSettings(TrainerSettings):
    """Settings of `PPO`; the defaults are those of Stable-Baselines3.

    Attributes:
        num_steps: See `TrainerSettings`. Defaults to 2048.
        num_epochs: Passes over each iteration's rows, ≥ 1. Defaults to 10.
        minibatch_size: Rows of a gradient step; it divides `num_envs * num_steps`.
            Defaults to 64.
        gae_lambda: λ of generalised advantage estimation, in [0, 1]. Defaults to 0.95.
        clip_range: ε of the clipped surrogate, > 0. Defaults to 0.2.
        clip_range_schedule: "constant", or "linear" to bring ε to 0 over one `fit`.
    """

    num_steps: int = 2048
    num_epochs: int = 10
    minibatch_size: int = 64
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    clip_range_schedule: str = "constant"

    def __post_init__(self) -> None:
        """See `TrainerSettings`."""
        super().__post_init__()
        self._check_count("num_epochs")
        self._check_count("minibatch_size")
        self._check_fraction("gae_lambda")
        self._check_positive("clip_range")
        self._check_schedule("clip_range_schedule")


@keras.saving.register_keras_serializable(package="kpg")
class PPO(Trainer):
    """Proximal policy optimisation with the clipped surrogate.

    Each iteration takes `num_epochs` passes over its rows in shuffled minibatches. In
    the first of them the ratio of the new policy to the old one is exactly 1.

    Reference: Schulman et al. (2017), https://arxiv.org/abs/1707.06347, equation 7;
    Huang et al. (2022), "The 37 implementation details of PPO".

    Args:
        policy: A `kpg.models.Policy`.
        critic: A `kpg.models.Critic`.
        seed: Seed of all sampling. Defaults to a random one.
        **settings: Fields of `PPOSettings`.
    """

    settings_class = PPOSettings
    settings: PPOSettings
    metric_names = (*Trainer.metric_names, "approx_kl", "clip_fraction")

    def estimate(self, estimates: Estimates) -> tuple[tf.Tensor, tf.Tensor]:
        """See `Trainer.estimate`."""
        return estimates.gae(self.settings.gamma, self.settings.gae_lambda)

    def policy_loss(
        self, log_probs: tf.Tensor, rows: Batch, progress: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """See `Trainer.policy_loss`."""
        scale = schedules.factor(self.settings.clip_range_schedule, progress)
        clip_range = self.settings.clip_range * scale
        loss = losses.clipped_surrogate(
            log_probs,
            rows.log_probs,
            rows.advantages,
            clip_range=clip_range,
            valid=rows.valid,
        )
        ratios = tf.exp(log_probs - rows.log_probs)
        clipped = tf.cast(tf.abs(ratios - 1.0) > clip_range, tf.float32)
        return loss, {
            "approx_kl": losses.approximate_kl(
                log_probs, rows.log_probs, valid=rows.valid
            ),
            "clip_fraction": losses.mean(clipped, rows.valid),
        }
