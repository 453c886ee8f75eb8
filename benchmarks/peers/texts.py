"""What the works on language models have in common: prompts, lengths, the reward.

Token 0 pads, token 1 ends a text, and token `2 + b` is the byte `b`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from measuring import Job

PAD, END, FIRST_BYTE = 0, 1, 2
LETTERS = range(FIRST_BYTE + ord("a"), FIRST_BYTE + ord("z") + 1)
# Tokens that this divides are rewarded: a quarter of them at first.
DIVISOR = 4


def prompts(job: Job, count: int, seed: Sequence[int]) -> Any:
    """Draws `[count, P]` tokens, all of them letters."""
    rng = np.random.default_rng(seed)
    shape = (count, job["prompt_tokens"])
    return rng.integers(LETTERS.start, LETTERS.stop, shape, np.int32)


def strings(job: Job) -> list[str]:
    """Draws the prompts of a training, as many as an iteration has groups."""
    count = job["batch_size"] // job["group_size"]
    tokens = prompts(job, count, [job["seed"]])
    return [bytes((row - FIRST_BYTE).tolist()).decode() for row in tokens]


def lengths(completions: Any) -> Any:
    """Returns the `[B]` tokens of each of `[B, T]` completions, the end included."""
    ended = np.cumsum(np.asarray(completions) == END, axis=1)
    before = np.concatenate([np.zeros_like(ended[:, :1]), ended[:, :-1]], axis=1)
    return (before == 0).sum(axis=1)


class Reward:
    """How many of a completion's tokens `DIVISOR` divides; called as TRL does.

    Where texts end early, it is their share, which does not pay for being long.

    Attributes:
        shares: For each call, what share of all tokens that was.
    """

    __name__ = "count"

    def __init__(self, job: Job) -> None:
        self.shares: list[float] = []
        self._per_token = "end_logit" in job

    def __call__(
        self, prompts: Any, completions: Any, completion_ids: Any, **columns: Any
    ) -> list[float]:
        rows = [np.asarray(row) for row in completion_ids]
        counts = [float(np.sum(row % DIVISOR == 0)) for row in rows]
        self.shares.append(sum(counts) / sum(map(len, rows)))
        if self._per_token:
            return [own / len(row) for own, row in zip(counts, rows, strict=True)]
        return counts
