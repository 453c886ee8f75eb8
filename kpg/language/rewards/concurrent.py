"""A reward that waits, asked about several completions at a time."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import cast

from typing_extensions import Self, override

from kpg import checks
from kpg.language.rewards import checking
from kpg.language.rewards.reward import (
    Column,
    Reward,
    RewardFunction,
    Score,
    deserialize,
    serialize,
)
from kpg.types import Config


class Concurrent(Reward):
    """Another reward, called in threads: for judges that wait.

    A judge on another machine that takes s seconds for each of N completions takes
    about s · N / `threads`. A reward that computes in Python gains nothing: only one
    thread computes at a time.

    Args:
        reward: A reward of single completions, or a coroutine function (`async def`)
            with the same signature. It must bear being called from several threads.
        threads: The most calls at a time, ≥ 1. Defaults to 8.
        batch_size: Completions in a call, ≥ 1. Defaults to 1.
        name: Defaults to that of the reward.

    Raises:
        ValueError: If a number is out of range or, when called, if a call returns
            another number of scores than it was given completions.
    """

    def __init__(
        self,
        reward: RewardFunction | Callable[..., Awaitable[Sequence[Score]]],
        threads: int = 8,
        batch_size: int = 1,
        name: str | None = None,
    ) -> None:
        if not callable(reward):
            checks.refuse("reward", "must be callable", reward)
        self.reward = cast("RewardFunction", reward)
        super().__init__(checking.name_of(self.reward) if name is None else name)
        self.threads = checks.whole_number("threads", threads)
        self.batch_size = checks.whole_number("batch_size", batch_size)
        self.requires = tuple(sorted(checking.required(self.reward)))

    @override
    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], **columns: Column
    ) -> list[Score]:
        every = {"prompts": prompts, "completions": completions, **columns}
        given = checking.accepted(self.reward, every)
        size, count = self.batch_size, len(completions)

        def ask(first: int) -> list[Score]:
            part = {name: row[first : first + size] for name, row in given.items()}
            found = self.reward(**part)
            if inspect.isawaitable(found):
                # A thread of the pool has no event loop of its own yet.
                found = asyncio.run(_awaited(found))
            wanted = min(size, count - first)
            if len(found) != wanted:
                raise ValueError(
                    f"The reward {self.name!r} must return a score for each of "
                    f"{wanted} completions. Received: {len(found)} scores"
                )
            return list(found)

        with ThreadPoolExecutor(self.threads) as pool:
            parts = list(pool.map(ask, range(0, count, size)))
        return [score for part in parts for score in part]

    @override
    def get_config(self) -> Config:
        """Returns the arguments; raises a `ValueError` if the reward is a function."""
        return {**super().get_config(), "reward": serialize(self.reward)}

    @classmethod
    @override
    def from_config(cls, config: Config) -> Self:
        return cls(**{**config, "reward": deserialize(config["reward"])})


async def _awaited(found: Awaitable[object]) -> Sequence[Score]:
    return cast("Sequence[Score]", await found)
