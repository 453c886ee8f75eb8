"""REINFORCE: the Monte Carlo policy gradient."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import tensorflow as tf

from kpg import advantages, losses
from kpg.environments.environment import Environment
from kpg.models import Critic, Policy
from kpg.trainers.batches import Batch, Estimates, Gains
from kpg.trainers.settings import TrainerSettings
from kpg.trainers.trainer import Trainer

RETURNS = ("reward_to_go", "total")
GROUP_BASELINES = ("leave_one_out", "group_normalized")
BASELINES = ("critic", "batch_mean", "none", *GROUP_BASELINES)


@dataclasses.dataclass(frozen=True)
class REINFORCESettings(TrainerSettings):
    """Settings of `REINFORCE`.

    Attributes:
        whole_episodes: Whether each iteration starts new episodes and learns from one
            whole episode of each environment, which needs `num_steps` of at least the
            environment's time limit. If not, iterations are fragments of `num_steps`
            steps, and a critic's value stands for what follows them. Defaults to
            `True`.
        returns: What a step is credited with: "reward_to_go", the discounted rewards
            from it on, or "total", those of its whole episode. Defaults to
            "reward_to_go".
        baseline: What is subtracted from the returns: "critic", the learned value;
            "batch_mean", their mean; "none"; or, by the names of `kpg.advantages`,
            "leave_one_out" and "group_normalized", which compare an episode's return
            with those of its group, as RLOO and GRPO do. Defaults to `None`: the critic
            if there is one, else the mean.
        group_size: Environments of a group, ≥ 2, next to each other: for a text task
            those that complete one prompt. Defaults to `None`, all of them.
        discount_gradient: Whether step t weighs γᵗ, as the theorem says. Nearly every
            implementation leaves that factor out, and so do kpg's other trainers: late
            steps then count as much as early ones. Defaults to `False`.
    """

    whole_episodes: bool = True
    returns: str = "reward_to_go"
    baseline: str | None = None
    group_size: int | None = None
    discount_gradient: bool = False

    def __post_init__(self) -> None:
        """See `TrainerSettings`."""
        super().__post_init__()
        self._check_choice("returns", RETURNS)
        if self.baseline is not None:
            self._check_choice("baseline", BASELINES)
        self._check_groups()
        self.check_effect(
            "discount_gradient", self.returns == "reward_to_go", "returns='total'"
        )
        if not self.whole_episodes:
            for name in ("returns", "discount_gradient"):
                self.check_effect(name, False, "whole_episodes=False")
        if self.baseline == "none" and self.normalize_advantages:
            raise ValueError(
                "`normalize_advantages` subtracts the mean, which is a baseline; set "
                "it to False, or take baseline='batch_mean'. Received: "
                "baseline='none', normalize_advantages=True"
            )

    def _check_groups(self) -> None:
        grouped = self.baseline in GROUP_BASELINES
        self.check_effect("group_size", grouped, f"baseline={self.baseline!r}")
        if self.group_size is not None:
            self._check_count("group_size")
            if self.group_size < 2:
                self.refuse("group_size", "must be at least 2")
        if grouped and (self.returns != "total" or not self.whole_episodes):
            raise ValueError(
                "A group compares whole episodes: it needs returns='total' and "
                f"whole_episodes=True. Received: baseline={self.baseline!r}, "
                f"returns={self.returns!r}, whole_episodes={self.whole_episodes}"
            )


@keras.saving.register_keras_serializable(package="kpg")
class REINFORCE(Trainer):
    """REINFORCE: the returns of sampled episodes weigh the actions that led to them.

    The gradient is `E[Σ γᵗ ∇ log π(aₜ|sₜ) (Gₜ − b)]`; `Gₜ` is the sum of the discounted
    rewards from `t` on, or of the whole episode, and `b` a baseline. The factor `γᵗ` is
    left out unless `discount_gradient` asks for it.

    Reference: Williams (1992), https://doi.org/10.1007/BF00992696; Sutton and Barto
    (2018), section 13.4; Ahmadian et al. (2024), https://arxiv.org/abs/2402.14740, and
    Shao et al. (2024), https://arxiv.org/abs/2402.03300, for the groups.

    Args:
        policy: A `kpg.models.Policy`.
        critic: A `kpg.models.Critic` as baseline. Defaults to `None`.
        seed: Seed of all sampling. Defaults to a random one.
        **settings: Fields of `REINFORCESettings`.

    Raises:
        ValueError: If a critic is missing or of no use, or there is no critic and
            `whole_episodes` is `False`: the end of a fragment would count as the end of
            an episode.
    """

    settings_class = REINFORCESettings
    critic_is_optional = True
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
        baseline = self.settings.baseline
        if critic is None and baseline == "critic":
            raise ValueError(
                "The baseline 'critic' needs one; give a `kpg.models.Critic`. "
                "Received: critic=None, baseline='critic'"
            )
        if critic is None:
            self.settings.check_effect("vf_coef", False, "critic=None")
        unused = baseline not in (None, "critic") and self.settings.whole_episodes
        if critic is not None and unused:
            raise ValueError(
                "A critic has no effect on whole episodes unless it is the baseline; "
                "leave it out, or `baseline` away. Received: a critic, "
                f"baseline={baseline!r}"
            )

    @property
    def restart_every_iteration(self) -> bool:
        """See `Trainer.restart_every_iteration`."""
        return self.settings.whole_episodes

    def check_environment(self, env: Environment) -> None:
        """See `Trainer.check_environment`."""
        super().check_environment(env)
        size = self.settings.group_size
        if size is not None and env.num_envs % size:
            raise ValueError(
                "`group_size` must divide the number of environments. Received: "
                f"group_size={size}, num_envs={env.num_envs}"
            )
        limit, num_steps = env.max_episode_steps, self.settings.num_steps
        if self.settings.whole_episodes and (limit is None or limit > num_steps):
            raise ValueError(
                "REINFORCE on whole episodes needs `num_steps` of at least the "
                "environment's time limit (`max_episode_steps`); raise `num_steps`, or "
                "give a critic and `whole_episodes=False`. Received: "
                f"num_steps={num_steps}, max_episode_steps={limit}"
            )

    @property
    def baseline(self) -> str:
        """What is subtracted from the returns, one of `BASELINES`."""
        default = "batch_mean" if self.critic is None else "critic"
        return self.settings.baseline or default

    @property
    def centers_advantages(self) -> bool:
        """See `Trainer.centers_advantages`."""
        return self.baseline == "batch_mean"

    def estimate(self, estimates: Estimates) -> Gains:
        """See `Trainer.estimate`."""
        gamma = self.settings.gamma
        rewards, values, next_values, terminated, truncated, _ = estimates
        targets = advantages.discounted_returns(
            rewards, next_values, terminated, truncated, gamma=gamma
        )
        returns, weights = targets, None
        if self.settings.returns == "total":
            returns = advantages.total_returns(
                rewards, next_values, terminated, truncated, gamma=gamma
            )
        if self.settings.discount_gradient:
            weights = advantages.discount_weights(terminated, truncated, gamma=gamma)
        if self.baseline == "critic":
            returns -= values
        if self.baseline in GROUP_BASELINES:
            # Every column is one episode, and the first row is credited with it.
            compare = getattr(advantages, self.baseline)
            size = self.settings.group_size or returns.shape[1]
            returns = tf.broadcast_to(compare(returns[0], size), returns.shape)
        return Gains(returns, targets, weights)

    def policy_loss(
        self, log_probs: tf.Tensor, rows: Batch, progress: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """See `Trainer.policy_loss`."""
        gains = rows.advantages
        if rows.weights is not None:
            gains *= rows.weights
        return losses.policy_gradient(log_probs, gains, rows.valid), {}
