"""Conversations as a decision process: a policy writes, and others answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from kpg import checks
from kpg.language.generation import TextGeneration
from kpg.language.prompts import FROM_POLICY
from kpg.language.rewards.checking import Completed, called, name_of, required
from kpg.language.rewards.reward import Column, Columns, RewardFunction
from kpg.language.tools import Tool, Tools

TURNS = "turns"


Reply: TypeAlias = Callable[..., Sequence[str | None]]


class Conversation(TextGeneration):
    """Prompts that begin conversations of a language policy with an environment.

    The policy writes a turn, up to its end token or `max_turn_tokens`; it is answered
    with a string, whose tokens follow; the policy goes on, up to `max_turns` turns of
    its own, or until nobody answers. An episode is one conversation. Tokens of answers
    are read, and nothing else: they are no actions, and have no part in losses,
    entropies, drift, lengths or the time between actions. Rewards are of the whole:
    `completions` have all turns and answers one behind the other, and the column
    `turns` has them as a list of strings, the policy's first, without end tokens. What
    a reward gives to the token of an answer goes to the policy's last token before it.

    The policy must be a `kpg.models.CausalLMPolicy`, and read a prompt and
    `max_new_tokens` tokens behind it.

    Args:
        prompts: See `TextGeneration`.
        reply: A function of the same signature as a reward: it is given `prompts` and
            `completions` so far of the conversations that go on, and by name other
            columns that it asks for, such as `turns`. It returns a string for each, or
            `None` where the conversation is over. Defaults to `None`: `tools` alone
            answer.
        tools: Functions that the policy can call, or `kpg.environments.Tools`, which
            says how. A turn that calls one is answered by it, and any other by `reply`.
            Defaults to none.
        references: See `TextGeneration`.
        rewards: The same.
        max_turns: The most turns of the policy, ≥ 1. Defaults to 2.
        max_turn_tokens: The most tokens of a turn, its end included, ≥ 1. Defaults to
            32.
        max_reply_tokens: The most tokens of an answer, ≥ 1; what is longer is cut, as
            `cut_replies` tells. Defaults to 32.
        max_prompt_tokens: See `TextGeneration`.
        group_size: The same.
        num_envs: The same.
        reward_weights: The same.
        columns: The same.
        seed: The same.
        prompt_buckets: The same. What was said later comes on top.
        truncate_prompts: The same. What was said later is never cut.

    Attributes:
        max_new_tokens: The most tokens behind a prompt: of all turns, and of the
            answers between them. The trainer's `num_steps`.

    Raises:
        ValueError: See `TextGeneration`; if nothing answers, or a name of the columns
            is `turns`. In training, if `reply` raises or returns something else than a
            string or `None` for each conversation, or a tool neither text nor a number.
    """

    own_columns = (TURNS,)

    def __init__(
        self,
        prompts: Sequence[str],
        reply: Reply | None = None,
        tools: Sequence[Tool] | Tools = (),
        references: Column | None = None,
        rewards: Sequence[RewardFunction] = (),
        max_turns: int = 2,
        max_turn_tokens: int = 32,
        max_reply_tokens: int = 32,
        max_prompt_tokens: int = 128,
        group_size: int = 1,
        num_envs: int = 32,
        reward_weights: Sequence[float] | None = None,
        columns: Columns | None = None,
        seed: int = 0,
        prompt_buckets: int = 1,
        truncate_prompts: str | None = None,
    ) -> None:
        self.max_turns = checks.whole_number("max_turns", max_turns)
        self.max_turn_tokens = checks.whole_number("max_turn_tokens", max_turn_tokens)
        self.max_reply_tokens = checks.whole_number(
            "max_reply_tokens", max_reply_tokens
        )
        self.tools: Tools | None = None
        if tools:
            self.tools = tools if isinstance(tools, Tools) else Tools(tools)
        self.reply = reply
        if self.tools is None and not callable(reply):
            raise ValueError(
                "A conversation needs someone who answers: a function `reply`, or "
                "`tools`; for a single turn without an answer use `TextGeneration`. "
                f"Received: reply={reply!r}, tools={tools!r}"
            )
        answers = (max_turns - 1) * max_reply_tokens
        super().__init__(
            prompts,
            references,
            rewards,
            max_prompt_tokens=max_prompt_tokens,
            max_new_tokens=max_turns * max_turn_tokens + answers,
            group_size=group_size,
            num_envs=num_envs,
            reward_weights=reward_weights,
            columns=columns,
            seed=seed,
            prompt_buckets=prompt_buckets,
            truncate_prompts=truncate_prompts,
        )
        known = {*self.columns, *FROM_POLICY, TURNS}
        if reply is not None and (missing := sorted(required(reply) - known)):
            raise ValueError(
                f"The reply {name_of(reply)!r} needs {', '.join(missing)}, with one "
                f"entry for each prompt. Received: columns {sorted(known)}"
            )

    def answers(self, so_far: Completed) -> list[str | None]:
        """Returns what R conversations are answered, `None` for those that are over.

        `so_far` has a column `turns` of all that was said.
        """
        turns = so_far.columns[TURNS]
        found: list[str | None] = [None] * len(so_far.prompts)
        if self.tools is not None:
            found = [self.tools.answer(said[-1]) for said in turns]
        silent = [row for row, answer in enumerate(found) if answer is None]
        if self.reply is None or not silent:
            return found
        prompts, completions, columns = so_far
        rest = Completed(
            [prompts[row] for row in silent],
            [completions[row] for row in silent],
            {name: [part[row] for row in silent] for name, part in columns.items()},
        )
        for row, answer in zip(silent, _replies(self.reply, rest), strict=True):
            found[row] = answer
        return found


def _replies(reply: Reply, batch: Completed) -> list[str | None]:
    """Calls `reply`, and refuses what are no answers."""
    name = name_of(reply)
    found = called(reply, f"reply {name!r}", batch, "return None to end it")
    given = list(found) if isinstance(found, (list, tuple, np.ndarray)) else None
    if given is None or len(given) != len(batch.prompts):
        raise ValueError(
            f"The reply {name!r} must return a list with a string or None for each "
            f"of {len(batch.prompts)} conversations. Received: {found!r}"
        )
    for prompt, answer in zip(batch.prompts, given, strict=True):
        if answer is not None and not isinstance(answer, str):
            raise ValueError(
                f"The reply {name!r} must return strings, or None where a "
                f"conversation is over, for the prompt {prompt!r}. Received: {answer!r}"
            )
    return given
