"""REINFORCE: the Monte Carlo policy gradient."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import tensorflow as tf

from kpg import advantages, losses
from kpg.environments.environment import Environment
from kpg.models import Critic, Policy
from kpg.trainers.learning.batches import Batch, Estimates, Gains
from kpg.trainers.learning.replicas import all_sum
from kpg.trainers.settings import TrainerSettings
from kpg.trainers.trainer import Trainer

RETURNS = ("reward_to_go", "total")
GROUP_BASELINES = ("leave_one_out", "group_normalized")
BASELINES = (
    *("critic", "batch_mean", "moving_average", "self_critical", "none"),
    *GROUP_BASELINES,
)
NORMALIZATIONS = ("rows", "episodes", "constant")


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
            "batch_mean", their mean; "moving_average", that of the iterations before;
            "self_critical", the return of the most likely actions from the same start,
            as in SCST (the environment must be one in the graph or a text task, and
            every iteration then plays twice); "none"; or, by the names of
            `kpg.advantages`, "leave_one_out" and "group_normalized", which compare an
            episode's return with those of its group, as RLOO and GRPO do. All but
            "batch_mean" and "group_normalized" leave the expected gradient as it is.
            Defaults to `None`: the critic if there is one, else the mean.
        baseline_decay: d in [0, 1) of "moving_average": after each iteration
            b ← d b + (1 − d) G, G the mean return of its steps, divided by 1 − dⁿ after
            n of them so that the first counts in full; before it b is 0. It is saved
            with the trainer. Defaults to 0.9.
        group_size: Environments of a group, ≥ 2, next to each other: for a text task
            those that complete one prompt. Defaults to `None`, all of them.
        loss_normalization: What the policy's loss, a sum over steps, is divided by:
            "rows", the number of steps in the iteration, as everywhere else in kpg;
            "episodes", each episode by its own length before their mean, as GRPO does,
            so that the steps of long episodes weigh less; or "constant", the number of
            episodes times `num_steps`, as Dr. GRPO does, with which alone the expected
            gradient is that of the return. Entropy and drift stay means over steps.
            Defaults to "rows".
        discount_gradient: Whether step t weighs γᵗ, as the theorem says. Nearly every
            implementation leaves that factor out, and so do kpg's other trainers: late
            steps then count as much as early ones. Defaults to `False`.
    """

    whole_episodes: bool = True
    returns: str = "reward_to_go"
    baseline: str | None = None
    baseline_decay: float = 0.9
    group_size: int | None = None
    loss_normalization: str = "rows"
    discount_gradient: bool = False

    def __post_init__(self) -> None:
        """See `TrainerSettings`."""
        super().__post_init__()
        self._check_choice("returns", RETURNS)
        if self.baseline is not None:
            self._check_choice("baseline", BASELINES)
        self._check_groups()
        self._check_averages()
        self._check_choice("loss_normalization", NORMALIZATIONS)
        self.check_effect(
            "discount_gradient", self.returns == "reward_to_go", "returns='total'"
        )
        if not self.whole_episodes:
            for name in ("returns", "discount_gradient", "loss_normalization"):
                self.check_effect(name, False, "whole_episodes=False")
        if self.baseline == "none" and self.normalize_advantages:
            raise ValueError(
                "`normalize_advantages` subtracts the mean, which is a baseline; set "
                "it to False, or take baseline='batch_mean'. Received: "
                "baseline='none', normalize_advantages=True"
            )

    def _check_averages(self) -> None:
        self._check_number("baseline_decay", 0.0, 1.0)
        if self.baseline_decay == 1.0:
            self.refuse("baseline_decay", "must be less than 1")
        averages = self.baseline == "moving_average"
        reason = f"baseline={self.baseline!r}"
        self.check_effect("baseline_decay", averages, reason)
        if averages and self.normalize_advantages:
            raise ValueError(
                "`normalize_advantages` subtracts the mean of the iteration, after "
                "which no constant baseline has an effect; set it to False. Received: "
                "baseline='moving_average', normalize_advantages=True"
            )
        if self.baseline == "self_critical" and self.normalize_rewards:
            raise ValueError(
                "The greedy episodes' rewards are not normalised: leave out "
                "`normalize_rewards`. Received: baseline='self_critical', "
                "normalize_rewards=True"
            )

    def _check_groups(self) -> None:
        grouped = self.baseline in GROUP_BASELINES
        self.check_effect("group_size", grouped, f"baseline={self.baseline!r}")
        if self.group_size is not None:
            self._check_count("group_size")
            if self.group_size < 2:
                self.refuse("group_size", "must be at least 2")
        whole = self.returns == "total" and self.whole_episodes
        if (grouped or self.baseline == "self_critical") and not whole:
            raise ValueError(
                "This baseline compares whole episodes: it needs returns='total' and "
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
    Shao et al. (2024), https://arxiv.org/abs/2402.03300, for the groups; Rennie et al.
    (2017), https://arxiv.org/abs/1612.00563, for the self-critical baseline; Liu et al.
    (2025), https://arxiv.org/abs/2503.20783, for Dr. GRPO.

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
        replicas = self.distribute_strategy.num_replicas_in_sync
        grouped = self.baseline in GROUP_BASELINES
        if grouped and env.num_envs // replicas % (size or env.num_envs):
            raise ValueError(
                "`group_size` must divide the number of environments, on every "
                f"replica: a group is on one. Received: group_size={size}, num_envs="
                f"{env.num_envs}, {replicas} replicas"
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

    def add_state(self) -> None:
        """See `Trainer.add_state`: a moving average and how much it has seen."""
        if self.baseline == "moving_average":
            self.average = self.add_weight(
                name="average", shape=(2,), initializer="zeros", trainable=False
            )

    @property
    def compares_with_greedy(self) -> bool:
        """See `Trainer.compares_with_greedy`."""
        return self.baseline == "self_critical"

    @property
    def measures_gains(self) -> bool:
        """See `Trainer.measures_gains`."""
        return self.baseline == "moving_average"

    def follow_gains(self, mean: tf.Tensor) -> None:
        """See `Trainer.follow_gains`."""
        decay = self.settings.baseline_decay
        found = tf.stack([self._average() + mean, 1.0])
        moved = decay * self.average + (1.0 - decay) * found
        self.average.assign(tf.where(tf.math.is_finite(mean), moved, self.average))

    def _average(self) -> tf.Tensor:
        total, weight = tf.unstack(tf.convert_to_tensor(self.average))
        return tf.math.divide_no_nan(total, weight)

    def estimate(self, estimates: Estimates) -> Gains:
        """See `Trainer.estimate`."""
        gamma = self.settings.gamma
        rewards, _, next_values, terminated, truncated = estimates[:5]
        rows = rewards, next_values, terminated, truncated
        targets = advantages.discounted_returns(*rows, gamma=gamma)
        returns, weights = targets, None
        if self.settings.returns == "total":
            returns = advantages.total_returns(*rows, gamma=gamma)
        if self.settings.discount_gradient:
            weights = advantages.discount_weights(terminated, truncated, gamma=gamma)
        if self.settings.loss_normalization != "rows":
            share = self._shares(estimates.valid)
            weights = share if weights is None else share * weights
        return Gains(self._compared(returns, estimates), targets, weights)

    def _compared(self, returns: tf.Tensor, estimates: Estimates) -> tf.Tensor:
        """Subtracts the baseline from the returns; a mean is subtracted later."""
        if self.baseline == "critic":
            return returns - estimates.values
        if self.baseline == "moving_average":
            return returns - self._average()
        if self.baseline == "self_critical":
            steps = tf.range(returns.shape[0], dtype=tf.float32)[:, tf.newaxis]
            rewards = self.settings.gamma**steps * estimates.greedy_rewards
            return returns - tf.reduce_sum(rewards, axis=0)
        if self.baseline in GROUP_BASELINES:
            # Every column is one episode, and the first row is credited with it.
            compare = getattr(advantages, self.baseline)
            size = self.settings.group_size or returns.shape[1]
            return tf.broadcast_to(compare(returns[0], size), returns.shape)
        return returns

    def _shares(self, valid: tf.Tensor) -> tf.Tensor:
        """Returns `[T, B]` weights that make the mean over rows another mean."""
        lengths = tf.reduce_sum(tf.cast(valid, tf.float32), axis=0)
        episodes = tf.reduce_sum(tf.cast(lengths > 0.0, tf.float32))
        total, count = tf.unstack(all_sum(tf.stack([tf.reduce_sum(lengths), episodes])))
        mean_length = total / tf.maximum(count, 1.0)
        if self.settings.loss_normalization == "constant":
            lengths = tf.fill(lengths.shape, float(self.settings.num_steps))
        return tf.broadcast_to(mean_length / tf.maximum(lengths, 1.0), valid.shape)

    def policy_loss(
        self, log_probs: tf.Tensor, rows: Batch, progress: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """See `Trainer.policy_loss`."""
        gains = rows.advantages
        if rows.weights is not None:
            gains *= rows.weights
        return losses.policy_gradient(log_probs, gains, rows.valid), {}
