"""Text generation as a decision process: prompts to continue, and rewards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kpg.environments.environment import Environment, checked_num_envs
from kpg.language.task import Array as Array
from kpg.language.task import Completed, TextTask, check_counts
from kpg.rewards import Evaluation, RewardFunction


class TextGeneration(Environment):
    """Prompts that a language policy completes, and functions that judge the result.

    The state is the text so far, an action its next token. An episode is one
    completion: it ends with the end token or after `max_new_tokens`, and either is a
    termination, since the text is judged as it then stands. An iteration of a trainer
    takes the next `num_envs / group_size` prompts, `group_size` times each, in an order
    that is shuffled anew for every pass over them; `num_steps` of the trainer must be
    `max_new_tokens`.

    The policy brings the tokenizer, and with it the spaces.

    Example:
        def polite(prompts, completions):
            return [float("please" in text) for text in completions]

        task = kpg.environments.TextGeneration(
            ["Open the door", "Lend me a pen"], rewards=[polite],
            max_prompt_tokens=16, max_new_tokens=24,
        )

    Args:
        prompts: Strings, none empty.
        references: What completions are compared with, one value for each prompt: the
            column `references` of the rewards. Defaults to none.
        rewards: Functions `(prompts, completions, **columns)` that return for each
            completion a number, an array with a number for each of its tokens, or
            `None` if it cannot be scored: then nothing is learned from it. They are
            called by these names. Besides the task's columns they may name `prompt_ids`
            and `completion_ids` (int32 arrays, the end token included) and `ended`
            (whether the end token came). `kpg.rewards` has many.
        max_prompt_tokens: Longest prompt, ≥ 1; a longer one is refused.
        max_new_tokens: Tokens of a completion at most, the end token included, ≥ 1.
        group_size: Completions of each prompt in an iteration, ≥ 1; they stand next to
            each other. Defaults to 1.
        num_envs: Completions of an iteration, B, a multiple of `group_size`. Defaults
            to 32.
        reward_weights: A number for each reward. Defaults to 1 each.
        columns: Further lists that the rewards may ask for by name, one value for each
            prompt.
        seed: Seed of the order of the prompts. Defaults to 0.

    Attributes:
        task: The prompts, and the rewards.
        observation_space: `None`, that of the policy.
        action_space: `None`, that of the policy.

    Raises:
        ValueError: If a prompt is empty, lists differ in length, a number is out of
            range, or a reward wants a column that there is not.
    """

    def __init__(
        self,
        prompts: Sequence[str],
        references: Sequence[Any] | None = None,
        rewards: Sequence[RewardFunction] = (),
        max_prompt_tokens: int = 128,
        max_new_tokens: int = 64,
        group_size: int = 1,
        num_envs: int = 32,
        reward_weights: Sequence[float] | None = None,
        columns: Mapping[str, Sequence[Any]] | None = None,
        seed: int = 0,
    ) -> None:
        check_counts(
            max_prompt_tokens=max_prompt_tokens,
            max_new_tokens=max_new_tokens,
            group_size=group_size,
        )
        self.task = TextTask(
            prompts, references, rewards, reward_weights, columns, max_new_tokens
        )
        self.num_envs = checked_num_envs(num_envs)
        if num_envs % group_size:
            raise ValueError(
                "`num_envs` must be a multiple of `group_size`. Received: "
                f"num_envs={num_envs}, group_size={group_size}"
            )
        self.max_prompt_tokens = max_prompt_tokens
        self.max_new_tokens = max_new_tokens
        self.group_size = group_size
        self.seed = seed
        self.spec = None
        self.observation_space: Any = None
        self.action_space: Any = None

    @property
    def max_episode_steps(self) -> int:
        """Tokens of a completion at most."""
        return self.max_new_tokens

    @property
    def prompts(self) -> list[str]:
        """The prompts."""
        return self.task.prompts

    @property
    def columns(self) -> Mapping[str, Sequence[Any]]:
        """Lists of a value for each prompt, by name; `references` among them."""
        return self.task.columns

    @property
    def completed(self) -> Completed | None:
        """The completions of the last iteration or evaluation, if there was one."""
        return self.task.completed

    def chosen(self, iteration: int) -> Array:
        """Returns `[B]` indices of the prompts that an iteration completes."""
        count = self.num_envs // self.group_size
        places = range(iteration * count, (iteration + 1) * count)
        return np.repeat(self.task.drawn(places, self.seed or 0), self.group_size)

    def score(
        self,
        indices: Array,
        completions: Sequence[str],
        prompt_ids: Sequence[Array],
        completion_ids: Sequence[Array],
        ended: Sequence[bool],
    ) -> Evaluation:
        """See `TextTask.score`."""
        return self.task.score(indices, completions, prompt_ids, completion_ids, ended)

    def measured(self) -> dict[str, float]:
        """See `Environment.measured`: the mean of each reward, and how many ended."""
        return self.task.measured()

    def close(self) -> None:
        """Does nothing: there are only lists."""
