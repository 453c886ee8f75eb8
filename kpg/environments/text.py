"""Text generation as a decision process: prompts to continue, and rewards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from kpg.environments.environment import Environment, checked_num_envs
from kpg.rewards import Evaluation, RewardFunction, Weighted, check_columns, evaluate

Array = np.ndarray[Any, Any]

_FROM_POLICY = ("prompt_ids", "completion_ids", "ended")


class Completed(NamedTuple):
    """B completions and what is known of them.

    Attributes:
        prompts: B strings.
        completions: B strings, without the end token.
        columns: Lists of B values that rewards may ask for by name: the task's own
            columns, `references` if there are any, `prompt_ids` and `completion_ids`
            (int32 arrays `[length]`, the latter with the end token) and `ended`
            (whether the end token came before the limit).
    """

    prompts: Sequence[str]
    completions: Sequence[str]
    columns: Mapping[str, Sequence[Any]]


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
        completed: The `Completed` of the last iteration or evaluation, or `None`.
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
        self.prompts = _checked_prompts(prompts)
        self.columns = dict(columns or {})
        if references is not None:
            self.columns["references"] = references
        _check_columns(self.columns, len(self.prompts))
        for name, count in (
            ("max_prompt_tokens", max_prompt_tokens),
            ("max_new_tokens", max_new_tokens),
            ("group_size", group_size),
        ):
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise ValueError(
                    f"`{name}` must be a positive integer. Received: {name}={count!r}"
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
        self.reward = Weighted(rewards, reward_weights)
        check_columns(rewards, [*self.columns, *_FROM_POLICY])
        self.completed: Completed | None = None
        self._measures: list[dict[str, float]] = []

    @property
    def max_episode_steps(self) -> int:
        """Tokens of a completion at most."""
        return self.max_new_tokens

    def chosen(self, iteration: int) -> Array:
        """Returns `[B]` indices of the prompts that an iteration completes."""
        count, total = self.num_envs // self.group_size, len(self.prompts)
        places = range(iteration * count, (iteration + 1) * count)
        orders = {
            number: np.random.default_rng([self.seed or 0, number]).permutation(total)
            for number in range(places[0] // total, places[-1] // total + 1)
        }
        prompts = [orders[place // total][place % total] for place in places]
        return np.repeat(np.array(prompts), self.group_size)

    def score(
        self,
        indices: Array,
        completions: Sequence[str],
        prompt_ids: Sequence[Array],
        completion_ids: Sequence[Array],
        ended: Sequence[bool],
    ) -> Evaluation:
        """Asks all rewards.

        Args:
            indices: `[B]`, which prompts were completed.
            completions: B strings.
            prompt_ids: B int32 arrays, the tokens of each prompt.
            completion_ids: B int32 arrays, of each completion, its end included.
            ended: Whether each completion ended before the limit.

        Raises:
            ValueError: If a reward fails, or answers with something else than it may.
        """
        columns: dict[str, Sequence[Any]] = {
            name: [values[index] for index in indices]
            for name, values in self.columns.items()
        }
        from_policy = (prompt_ids, completion_ids, ended)
        columns |= dict(zip(_FROM_POLICY, from_policy, strict=True))
        prompts = [self.prompts[index] for index in indices]
        self.completed = Completed(prompts, completions, columns)
        scores = evaluate(
            self.reward.rewards,
            self.reward.weights,
            *self.completed,
            num_tokens=self.max_new_tokens,
        )
        measures = {f"reward/{name}": mean for name, mean in scores.means().items()}
        self._measures.append({**measures, "ended": float(np.mean(ended))})
        return scores

    def measured(self) -> dict[str, float]:
        """See `Environment.measured`: the mean of each reward, and how many ended."""
        measures, self._measures = self._measures, []
        if not measures:
            return {}
        table = {name: [row[name] for row in measures] for name in measures[0]}
        return {name: _mean(values) for name, values in table.items()}

    def close(self) -> None:
        """Does nothing: there are only lists."""


def _mean(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def _checked_prompts(prompts: Sequence[str]) -> list[str]:
    prompts = [prompts] if isinstance(prompts, str) else list(prompts)
    for index, prompt in enumerate(prompts):
        if not isinstance(prompt, str) or not prompt:
            raise ValueError(
                "Each prompt must be a string that is not empty: the first token of a "
                f"completion follows one. Received: prompts[{index}]={prompt!r}"
            )
    if not prompts:
        raise ValueError("`prompts` must hold at least one. Received: prompts=[]")
    return prompts


def _check_columns(columns: Mapping[str, Sequence[Any]], count: int) -> None:
    for name, values in columns.items():
        if isinstance(values, str) or len(values) != count:
            raise ValueError(
                f"`{name}` must hold one value for each of {count} prompts. Received: "
                f"{len(values)}"
            )
        if name in _FROM_POLICY:
            raise ValueError(
                f"The columns {', '.join(_FROM_POLICY)} come from the policy. "
                f"Received: columns with {name!r}"
            )
