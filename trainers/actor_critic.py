"""Advantage actor-critic: one gradient step on each short fragment."""

from __future__ import annotations

import dataclasses

import keras
import tensorflow as tf

from kpg import losses
from kpg.trainers.batches import Batch, Estimates
from kpg.trainers.settings import TrainerSettings
from kpg.trainers.trainer import Trainer


@dataclasses.dataclass(frozen=True)
class ActorCriticSettings(TrainerSettings):
    """Settings of `ActorCritic`; the defaults are those of A2C.

    Attributes:
        num_steps: See `TrainerSettings`. Defaults to 5.
        gae_lambda: λ of generalised advantage estimation, in [0, 1]: 1 gives n-step
            returns minus the value, 0 the TD error. Defaults to 1.
        normalize_advantages: See `TrainerSettings`. Defaults to `False`.
    """

    num_steps: int = 5
    gae_lambda: float = 1.0
    normalize_advantages: bool = False

    def __post_init__(self) -> None:
        """See `TrainerSettings`."""
        super().__post_init__()
        self._check_fraction("gae_lambda")


@keras.saving.register_keras_serializable(package="kpg")
class ActorCritic(Trainer):
    """Synchronous advantage actor-critic (A2C).

    Each iteration takes one gradient step on `E[∇ log π(a|s) Â]` and one on the value
    loss, from the same fragment.

    Reference: Mnih et al. (2016), https://arxiv.org/abs/1602.01783, algorithm S3;
    Schulman et al. (2016), https://arxiv.org/abs/1506.02438, equation 16 for Â.

    Args:
        policy: A `kpg.models.Policy`.
        critic: A `kpg.models.Critic`.
        seed: Seed of all sampling. Defaults to a random one.
        **settings: Fields of `ActorCriticSettings`.
    """

    settings_class = ActorCriticSettings
    settings: ActorCriticSettings

    def estimate(self, estimates: Estimates) -> tuple[tf.Tensor, tf.Tensor]:
        """See `Trainer.estimate`."""
        return estimates.gae(self.settings.gamma, self.settings.gae_lambda)

    def policy_loss(
        self, log_probs: tf.Tensor, rows: Batch, progress: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """See `Trainer.policy_loss`."""
        return losses.policy_gradient(log_probs, rows.advantages, rows.valid), {}
