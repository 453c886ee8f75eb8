"""Rewards for the length of a completion, and for its end."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from typing_extensions import override

from kpg import checks
from kpg.language.rewards.reward import Column, Reward, Score, column
from kpg.language.rewards.units import CountingReward


class TargetLength(CountingReward):
    """How close a completion is to a length, in [0, 1].

    max(0, 1 − |n − target| / width) for n tokens.

    Args:
        target: Length to reach, ≥ 1.
        width: Distance from which the reward is 0, ≥ 1. Defaults to `target`.
        unit: "token" (the end token counts), "word" (runs of letters and digits) or
            "character". Defaults to "token".
    """

    def __init__(
        self,
        target: int,
        width: int | None = None,
        unit: str = "token",
        name: str = "length",
    ) -> None:
        super().__init__(unit, name)
        self.target = checks.number("target", target, 1)
        self.width = checks.number("width", target if width is None else width, 1)

    @override
    def score(self, items: Sequence[Hashable]) -> float:
        return max(0.0, 1.0 - abs(len(items) - self.target) / self.width)


class SoftOverlong(CountingReward):
    """A price for the last stretch before a limit, in [−1, 0].

    0 up to `limit` − `buffer` tokens, then a line down to −1 at `limit`, and −1 above.

    Reference: Yu et al., "DAPO: an open-source LLM reinforcement learning system at
    scale" (2025), equation 13, https://arxiv.org/abs/2503.14476; L_max is `limit` and
    L_cache is `buffer`.

    Args:
        limit: Length of the full price, ≥ 1; for unit "token" at most `max_new_tokens`,
            or it is never reached.
        buffer: Length of the stretch, in [1, `limit`].
        unit: See `TargetLength`. Defaults to "token".
    """

    def __init__(
        self, limit: int, buffer: int, unit: str = "token", name: str = "soft_overlong"
    ) -> None:
        super().__init__(unit, name)
        if not 1 <= buffer <= limit:
            raise ValueError(
                "`buffer` must be in [1, limit]. Received: "
                f"buffer={buffer}, limit={limit}"
            )
        self.limit = limit
        self.buffer = buffer

    @override
    def score(self, items: Sequence[Hashable]) -> float:
        excess = len(items) - (self.limit - self.buffer)
        return -min(1.0, max(0.0, excess / self.buffer))


class MissingEnd(Reward):
    """−1 for a completion that was cut off before its end token, else 0.

    Reference: Huang et al., "The N+ implementation details of RLHF with PPO" (2024),
    https://arxiv.org/abs/2403.17031, where −1 takes the place of every other reward.
    Here it is one among others: to let it decide, weight it above what they can pay.

    Raises:
        ValueError: When called without a column `ended`.
    """

    requires = ("ended",)

    def __init__(self, name: str = "missing_end") -> None:
        super().__init__(name)

    @override
    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], **columns: Column
    ) -> list[Score]:
        ended = column(self, columns, "ended", "whether it has an end token")
        return [0.0 if end else -1.0 for end in ended]
