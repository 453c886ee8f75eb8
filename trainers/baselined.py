"""What trainers share that compare the returns of whole episodes with a baseline."""

from __future__ import annotations

import tensorflow as tf
from typing_extensions import override

from kpg.advantages.baselines import (
    BASELINES,
    Baseline,
    GroupBaseline,
    MovingAverage,
    NoBaseline,
)
from kpg.environments.environment import Environment
from kpg.graph.sums import all_sum
from kpg.trainers.algorithm import Iteration
from kpg.trainers.settings import Option, TrainerSettings
from kpg.trainers.trainer import Trainer
from kpg.types import Metrics, Tensor

NORMALIZATIONS = ("rows", "episodes", "constant")
BASELINE = Option(
    Baseline,
    BASELINES,
    {"baseline_decay": "decay", "group_size": "group_size", "group_scale": "scale"},
)


def check_baseline(settings: TrainerSettings, baseline: Baseline) -> None:
    """Refuses settings that a baseline cannot have, or that undo it."""
    if baseline.needs_greedy and settings.normalize_rewards:
        wanted = "rewards that are not normalised; omit `normalize_rewards`"
        settings.refuse("baseline", f"needs {wanted}")
    constant = isinstance(baseline, (NoBaseline, MovingAverage))
    if constant and settings.normalize_advantages:
        raise ValueError(
            "After `normalize_advantages`, which subtracts the mean, no constant "
            "baseline has an effect; set it to False, or use `BatchMean()`. "
            f"Received: baseline={baseline}, normalize_advantages=True"
        )


def episode_shares(valid: Tensor, normalization: str, num_steps: int) -> Tensor:
    """Returns `[T, B]` weights that make the mean over rows another mean.

    `valid`, `[T, B]` bool, has one episode in each column, of this replica. "episodes"
    divides each row by its episode's length, "constant" by `num_steps`, both in units
    of the mean length over all replicas.
    """
    lengths = tf.reduce_sum(tf.cast(valid, tf.float32), axis=0)
    episodes = tf.reduce_sum(tf.cast(lengths > 0.0, tf.float32))
    total, count = all_sum(tf.reduce_sum(lengths)), all_sum(episodes)
    mean_length = total / tf.maximum(count, 1.0)
    if normalization == "constant":
        lengths = tf.fill(lengths.shape, float(num_steps))
    return tf.broadcast_to(mean_length / tf.maximum(lengths, 1.0), valid.shape)


class Baselined(Trainer):
    """A trainer that may subtract a `kpg.advantages.Baseline` from returns."""

    # What makes the algorithm learn from fragments of episodes instead.
    fragments = "give a critic and no baseline"

    @property
    def baseline(self) -> Baseline | None:
        """What is subtracted from the returns, if anything is."""
        return None

    @override
    def check_environment(self, env: Environment) -> None:
        super().check_environment(env)
        replicas = self.distribute_strategy.num_replicas_in_sync
        if isinstance(self.baseline, GroupBaseline):
            self._check_groups(self.baseline, env, replicas)
        limit, num_steps = env.max_episode_steps, self.settings.num_steps
        if self.needs.whole_episodes and (limit is None or limit > num_steps):
            remedy = f"raise `num_steps` to {limit}"
            if limit is None:
                remedy = (
                    "none was found, so put one around it with `gymnasium.wrappers."
                    "TimeLimit`, or say `max_episode_steps=` to `kpg.make` or "
                    "`kpg.environments.as_environment`"
                )
            raise ValueError(
                f"{type(self).__name__} on whole episodes needs `num_steps` of at "
                f"least the environment's time limit (`max_episode_steps`); {remedy}, "
                f"or {self.fragments}. Received: num_steps={num_steps}, "
                f"max_episode_steps={limit}"
            )

    def _check_groups(
        self, baseline: GroupBaseline, env: Environment, replicas: int
    ) -> None:
        """Refuses groups that the task, the copies or the replicas cut."""
        size, given = baseline.group_size, env.group_size
        if given is not None and (given < 2 or size not in (None, given)):
            raise ValueError(
                "A group holds the completions of one prompt, at least 2, and the task "
                "says how many: give `group_size=` to the task, and to the baseline "
                f"the same or none. Received: group_size={given} of the task, "
                f"baseline={baseline}"
            )
        size = given or size
        if env.num_envs // replicas % (size or env.num_envs):
            raise ValueError(
                "`group_size` must divide the number of environments, on every "
                f"replica: a group is on one. Received: group_size={size}, "
                f"num_envs={env.num_envs}, {replicas} replicas"
            )

    @override
    def add_state(self) -> None:
        # What the baseline keeps between iterations.
        self.baseline_state = None
        if self.baseline is not None and self.baseline.state_size:
            self.baseline_state = self.add_weight(
                name="baseline_state",
                shape=(self.baseline.state_size,),
                initializer="zeros",
                trainable=False,
            )

    def kept_state(self) -> Tensor:
        """Returns what the baseline kept, `[state_size]` float32; builds graph."""
        state = self.baseline_state
        return tf.zeros([0]) if state is None else tf.convert_to_tensor(state)

    @override
    def after(self, iteration: Iteration) -> Metrics:
        if self.baseline is not None and self.baseline_state is not None:
            moved = self.baseline.followed(
                self.kept_state(), iteration.mean_advantage()
            )
            self.baseline_state.assign(moved)
        return {}
