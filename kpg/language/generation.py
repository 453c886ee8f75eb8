"""Text generation as a decision process: prompts to continue, and rewards."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
from typing_extensions import override

from kpg import checks
from kpg.environments.environment import Environment
from kpg.language.prompt_stream import PromptStream
from kpg.language.rewards.reward import Column, Columns, RewardFunction
from kpg.language.rewards.weighted import Evaluation
from kpg.language.task import Completed, TextTask
from kpg.types import Array


class TextGeneration(Environment):
    """Prompts that a language policy completes, and rewards for the completions.

    The state is the text so far, an action its next token. An episode is one
    completion. It ends with the end token or after `max_new_tokens`; both are
    terminations, since the text is judged as it stands. An iteration of a trainer takes
    the next `num_envs / group_size` prompts, `group_size` times each; every pass
    shuffles them again. `num_steps` of the trainer is `max_new_tokens` unless it was
    said. The policy brings the tokenizer, and with it the spaces.

    Args:
        prompts: Strings, none empty; or lists of messages `{"role": …, "content": …}`,
            which the policy's chat template makes a string of (rewards see the last
            content, and all in the column `messages`); or rows `{"prompt": …}` whose
            further keys are columns. What has no length, such as a generator or a
            `tf.data.Dataset`, is read as training goes on, see
            `kpg.text.PromptStream`, in its own order.
        references: What completions are compared with, one value for each prompt: the
            column `references` of the rewards. Defaults to none.
        rewards: Functions as in `kpg.rewards`, see `kpg.rewards.Reward.__call__`.
            A completion counts by those that are not `None`; where all are, it has no
            part in any mean or baseline, and nothing is learned from it.
        max_prompt_tokens: Longest prompt, ≥ 1. Defaults to 128.
        max_new_tokens: Longest completion, the end token included, ≥ 1. Defaults to 64.
        group_size: Completions of each prompt in an iteration, ≥ 1, in neighbouring
            rows; baselines that compare a group take it from here. Defaults to 1.
        num_envs: B completions an iteration, whole groups. Defaults to 32.
        reward_weights: A number for each reward. Defaults to 1 each.
        prompt_buckets: To how many lengths prompts are padded, ≥ 1, in equal steps up
            to the longest prompt's; a batch gets the least that it fits into. Each is
            compiled when first met. Defaults to 1, that of the longest prompt.
        columns: More lists that the rewards may ask for by name, one value for each
            prompt. Defaults to none.
        seed: Seed of the order of the prompts. Defaults to 0.
        truncate_prompts: "left" cuts off the beginning of a prompt that is too long,
            but for its start token, "right" its end; rewards still see all of its text.
            Defaults to `None`: it is refused.
        parts: In how many parts an iteration's completions are written, ≥ 1, each of
            whole groups. While the rewards judge one, in a thread, the next is written:
            for judges that wait. Rewards are called for each part, and writing fewer
            texts at a time takes longer for each. Defaults to 1.

    Attributes:
        task: The prompts and the rewards.
        prompts: The text of each prompt, or of a stream those that were drawn last.
        columns: Lists of a value for each prompt, by name, `references` among them.
        observation_space, action_space: `None`, those of the policy.

    Raises:
        ValueError: If a prompt is empty, lists differ in length, a number is out of
            range, or a reward needs a column that is missing.
    """

    own_columns: ClassVar[tuple[str, ...]] = ()
    _worker, _workers = 0, 1

    def __init__(
        self,
        prompts: Iterable[Any] | PromptStream,
        references: Column | None = None,
        rewards: Sequence[RewardFunction] = (),
        max_prompt_tokens: int = 128,
        max_new_tokens: int = 64,
        group_size: int = 1,
        num_envs: int = 32,
        reward_weights: Sequence[float] | None = None,
        columns: Columns | None = None,
        seed: int = 0,
        prompt_buckets: int = 1,
        truncate_prompts: str | None = None,
        parts: int = 1,
    ) -> None:
        self.max_prompt_tokens = checks.whole_number(
            "max_prompt_tokens", max_prompt_tokens
        )
        self.max_new_tokens = checks.whole_number("max_new_tokens", max_new_tokens)
        self.group_size: int = checks.whole_number("group_size", group_size)
        self.episode_steps = self.max_new_tokens
        self.prompt_buckets = checks.whole_number("prompt_buckets", prompt_buckets)
        self.num_envs = checks.whole_number("num_envs", num_envs)
        self.parts = checks.whole_number("parts", parts)
        # A data set has a length only if it is known to be finite.
        if not isinstance(prompts, (Sequence, np.ndarray, PromptStream)):
            prompts = PromptStream(prompts)
        self.task = TextTask(
            prompts,
            *(references, rewards, reward_weights, columns),
            max_new_tokens,
            self.own_columns,
            truncate_prompts,
        )
        if num_envs % (group_size * parts):
            raise ValueError(
                "`num_envs` must be a multiple of `group_size` times `parts`. "
                f"Received: num_envs={num_envs}, group_size={group_size}, "
                f"parts={parts}"
            )
        self.seed = checks.seed(seed)
        self.spec = None
        self.observation_space: Any = None
        self.action_space: Any = None

    @property
    def prompts(self) -> list[str]:
        """See `TextTask.prompts`."""
        return self.task.prompts

    @property
    def columns(self) -> dict[str, list[Any]]:
        """See `TextTask.columns`."""
        return self.task.columns

    @property
    @override
    def max_episode_steps(self) -> int:
        """The most tokens of a completion."""
        return self.max_new_tokens

    @property
    def completed(self) -> Completed | None:
        """The completions of the last iteration or evaluation, if there was one."""
        return self.task.completed

    def chosen(self, iteration: int, further: int = 0) -> Array:
        """Returns `[B]` indices of the prompts that an iteration completes.

        With `further` > 0 they are those of a further round, in an order of its own.
        """
        count = self.num_envs // self.group_size
        first = (iteration * self._workers + self._worker) * count
        places = range(first, first + count)
        seed = (self.seed or 0) + (further << 32)
        return np.repeat(self.task.drawn(places, seed), self.group_size)

    @override
    def share(self, worker: int, workers: int) -> TextGeneration:
        """See `Environment.share`: whole groups, of other prompts for each worker."""
        if self.num_envs % (workers * self.group_size * self.parts):
            raise ValueError(
                "`num_envs` must be a multiple of `group_size` times the workers, and "
                f"times `parts`. Received: num_envs={self.num_envs}, "
                f"group_size={self.group_size}, parts={self.parts}, {workers} workers"
            )
        own = copy.copy(self)
        own._worker, own._workers = worker, workers
        own.num_envs //= workers
        return own if workers > 1 else self

    @property
    def score(self) -> Callable[..., Evaluation]:
        """Calls all rewards: `TextTask.score`."""
        return self.task.score

    @override
    def measured(self) -> dict[str, float]:
        """See `TextTask.measured`."""
        return self.task.measured()

    @override
    def close(self) -> None:
        """Does nothing: there are only lists."""
