"""The settings of a text task, and the task made of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import cast

from kpg import checks, imports
from kpg.language.generation import TextGeneration
from kpg.language.rewards.reward import RewardFunction, deserialize
from kpg.language.tokenizers.phrases import phrases
from kpg.types import Config

# Completions of an evaluation that are written and kept together.
_ROWS = 32


@dataclasses.dataclass(frozen=True)
class Task:
    """The settings of a text task; a `ValueError` if they do not fit.

    Attributes:
        prompts: Parts for `kpg.text.phrases`.
        rewards: Each is a configuration, see `kpg.rewards.deserialize`, or
            "module:name" of your own function or class; one name may stand alone.
        texts: Of the supervised start, parts for `kpg.text.phrases`.
        reward_weights: A weight for each reward. Defaults to `None`: all are 1.
        group_size: Completions of each prompt, ≥ 1. Defaults to 1.
        pretraining_epochs: Passes over the texts before anything is rewarded.
        pretraining_learning_rate: Of Adam in these passes. Defaults to 0.001.
    """

    prompts: Sequence[Sequence[str]]
    rewards: Sequence[Config | str] | str
    texts: Sequence[Sequence[str]] = ()
    reward_weights: Sequence[float] | None = None
    group_size: int = 1
    pretraining_epochs: int = 0
    pretraining_learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        checks.whole_number("pretraining_epochs", self.pretraining_epochs, 0)
        checks.positive("pretraining_learning_rate", self.pretraining_learning_rate)
        if self.pretraining_epochs and not self.texts:
            raise ValueError(
                "A supervised start needs `texts`. Set pretraining_epochs=0 to do "
                f"without it. Received: texts={self.texts!r}, "
                f"pretraining_epochs={self.pretraining_epochs}"
            )


def environment(chosen: Config, num_envs: int | None, seed: int) -> TextGeneration:
    """Makes the task of a preset's fields.

    `num_envs` is the completions of an iteration; `None` is as many as are measured at
    a time. The seed is that of the order of prompts.
    """
    task = Task(**chosen["task"])
    imports.module_of("kpg.rewards")  # a reward has a name once its class is imported
    rewards = [task.rewards] if isinstance(task.rewards, str) else task.rewards
    return TextGeneration(
        phrases(task.prompts),
        rewards=[_reward(reward) for reward in rewards],
        reward_weights=task.reward_weights,
        max_new_tokens=chosen["trainer"]["num_steps"],
        group_size=task.group_size if num_envs else 1,
        num_envs=num_envs or min(chosen["validation_episodes"], _ROWS),
        seed=seed,
    )


def _reward(description: Config | str) -> RewardFunction:
    """Returns a reward from its configuration or its "module:name"."""
    if not isinstance(description, str):
        return deserialize(description)
    if ":" not in description:
        return deserialize({"class_name": description})
    found = imports.named(description)
    reward = found() if isinstance(found, type) else found
    if not callable(reward):
        checks.refuse("rewards", "must name functions or classes", description)
    return cast(RewardFunction, reward)
