"""A price for a completion that was cut off."""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import override

from kpg.language.rewards.required_columns import column
from kpg.language.rewards.reward import Column, Reward, Score


class MissingEnd(Reward):
    """−1 for a completion that was cut off before its end token, else 0.

    Reference: Huang et al., "The N+ implementation details of RLHF with PPO" (2024),
    https://arxiv.org/abs/2403.17031, where −1 takes the place of every other reward.
    Here it is one among others: to let it decide, weight it above what they can pay.

    Args:
        name: What the logs call it. Defaults to "missing_end".

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
        ended = column(columns, "ended", "MissingEnd", "whether it has an end token")
        return [0.0 if end else -1.0 for end in ended]
