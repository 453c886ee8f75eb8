"""A price for not coming to an end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kpg.language.rewards.reward import Reward, Score


class MissingEnd(Reward):
    """−1 for a completion that was cut off before its end token, else 0.

    Reference: Huang et al., "The N+ implementation details of RLHF with PPO" (2024),
    https://arxiv.org/abs/2403.17031, where −1 takes the place of every other reward.

    Note: here it is one reward among others. To make it the one that counts, give it a
    weight above what the others can pay.

    Args:
        name: What the logs call it. Defaults to "missing_end".

    Raises:
        ValueError: When called without a column `ended`.
    """

    requires = ("ended",)

    def __init__(self, name: str = "missing_end") -> None:
        super().__init__(name)

    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], **columns: Any
    ) -> list[Score]:
        """See `Reward.__call__`."""
        if columns.get("ended") is None:
            raise ValueError(
                "`MissingEnd` must know which completions came to an end: give "
                "`ended`, for each completion whether it has an end token. Received: "
                f"columns {sorted(columns)}"
            )
        return [0.0 if ended else -1.0 for ended in columns["ended"]]
