"""REINFORCE: the Monte Carlo policy gradient."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import tensorflow as tf

from kpg import advantages, losses
from kpg.environments.environment import Environment
from kpg.models import Critic, Policy
from kpg.trainers.batches import Batch, Estimates
from kpg.trainers.settings import TrainerSettings
from kpg.trainers.trainer import Trainer


@dataclasses.dataclass(frozen=True)
class REINFORCESettings(TrainerSettings):
    """Settings of `REINFORCE`.

    Attributes:
        whole_episodes: Whether each iteration starts new episodes and learns from one
            whole episode of each environment, which needs `num_steps` of at least the
            environment's time limit. If not, iterations are fragments of `num_steps`
            steps, and a critic's value stands for what follows them. Defaults to
            `True`.
    """

    whole_episodes: bool = True


@keras.saving.register_keras_serializable(package="kpg")
class REINFORCE(Trainer):
    """REINFORCE with reward-to-go, and with a learned baseline if there is a critic.

    The gradient is `E[∇ log π(aₜ|sₜ) (Gₜ − V(sₜ))]`; `Gₜ` is the sum of the
    discounted rewards from `t` on. Without a critic `V = 0`; `normalize_advantages`
    (the default) then subtracts the batch mean, which serves as a constant baseline.

    Note: as in nearly all implementations the factor `γᵗ` of the theorem
    is left out.

    Reference: Williams (1992), https://doi.org/10.1007/BF00992696; Sutton and Barto
    (2018), section 13.4.

    Args:
        policy: A `kpg.models.Policy`.
        critic: A `kpg.models.Critic` as baseline. Defaults to `None`.
        seed: Seed of all sampling. Defaults to a random one.
        **settings: Fields of `REINFORCESettings`.

    Raises:
        ValueError: If there is no critic and `whole_episodes` is `False`: the end of a
            fragment would count as the end of an episode.
    """

    settings_class = REINFORCESettings
    settings: REINFORCESettings

    def __init__(
        self,
        policy: Policy,
        critic: Critic | None = None,
        seed: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(policy, critic, seed, **settings)
        if critic is None and not self.settings.whole_episodes:
            raise ValueError(
                "REINFORCE without a critic learns from whole episodes only, since "
                "nothing tells what follows a fragment; give a critic or leave "
                "`whole_episodes=True`. Received: critic=None, whole_episodes=False"
            )

    @property
    def restart_every_iteration(self) -> bool:
        """See `Trainer.restart_every_iteration`."""
        return self.settings.whole_episodes

    def check_environment(self, env: Environment) -> None:
        """See `Trainer.check_environment`."""
        super().check_environment(env)
        limit, num_steps = env.max_episode_steps, self.settings.num_steps
        if self.settings.whole_episodes and (limit is None or limit > num_steps):
            raise ValueError(
                "REINFORCE on whole episodes needs `num_steps` of at least the "
                "environment's time limit (`max_episode_steps`); raise `num_steps`, or "
                "give a critic and `whole_episodes=False`. Received: "
                f"num_steps={num_steps}, max_episode_steps={limit}"
            )

    def estimate(self, estimates: Estimates) -> tuple[tf.Tensor, tf.Tensor]:
        """See `Trainer.estimate`."""
        returns = advantages.discounted_returns(
            estimates.rewards,
            estimates.next_values,
            estimates.terminated,
            estimates.truncated,
            gamma=self.settings.gamma,
        )
        return returns - estimates.values, returns

    def policy_loss(
        self, log_probs: tf.Tensor, rows: Batch, progress: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """See `Trainer.policy_loss`."""
        return losses.policy_gradient(log_probs, rows.advantages, rows.valid), {}
