"""Rewards for the length of a completion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kpg.language.rewards.reward import Reward, Score
from kpg.language.rewards.units import check_choice, split

UNITS = ("token", "word", "character")


class TargetLength(Reward):
    """How near a completion is to a length, in [0, 1].

    max(0, 1 − |n − target| / width) for n tokens: 1 at the target, 0 from `width` on.

    Args:
        target: Length to reach, > 0.
        width: Distance from which the reward is 0, > 0. Defaults to `target`.
        unit: "token" (the end token counts), "word" (runs of letters and digits) or
            "character". Defaults to "token".
        name: What the logs call it. Defaults to "length".

    Raises:
        ValueError: If an option is out of range or unknown, or, when called for
            tokens, if there are no `completion_ids`.
    """

    def __init__(
        self,
        target: int,
        width: int | None = None,
        unit: str = "token",
        name: str = "length",
    ) -> None:
        super().__init__(name)
        self.target = target
        self.width = target if width is None else width
        self.unit = unit
        self.requires = ("completion_ids",) if unit == "token" else ()
        if target < 1 or self.width < 1:
            raise ValueError(
                "`target` and `width` must be positive. Received: "
                f"target={target}, width={width}"
            )
        check_choice("unit", unit, UNITS)

    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], **columns: Any
    ) -> list[Score]:
        """See `Reward.__call__`."""
        pieces = split(completions, columns, self.unit, "TargetLength")
        misses = (abs(len(piece) - self.target) / self.width for piece in pieces)
        return [max(0.0, 1.0 - miss) for miss in misses]


class SoftOverlong(Reward):
    """A price for the last stretch before a limit, in [−1, 0].

    0 up to `limit` − `buffer` tokens, from there a line down to −1 at `limit`, and −1
    above.

    Reference: Yu et al., "DAPO: an open-source LLM reinforcement learning system at
    scale" (2025), equation 13, https://arxiv.org/abs/2503.14476; L_max is `limit` and
    L_cache is `buffer`.

    Args:
        limit: Length at which the price is full, > 0. Tokens beyond `max_new_tokens`
            are never written, so for unit "token" it is at most that.
        buffer: Length of the stretch, in [1, `limit`].
        unit: "token" (the end token counts), "word" (runs of letters and digits) or
            "character". Defaults to "token".
        name: What the logs call it. Defaults to "soft_overlong".

    Raises:
        ValueError: If an option is out of range or unknown, or, when called for
            tokens, if there are no `completion_ids`.
    """

    def __init__(
        self, limit: int, buffer: int, unit: str = "token", name: str = "soft_overlong"
    ) -> None:
        super().__init__(name)
        if not 1 <= buffer <= limit:
            raise ValueError(
                "1 <= `buffer` <= `limit` is wanted. Received: "
                f"buffer={buffer}, limit={limit}"
            )
        check_choice("unit", unit, UNITS)
        self.limit = limit
        self.buffer = buffer
        self.unit = unit
        self.requires = ("completion_ids",) if unit == "token" else ()

    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], **columns: Any
    ) -> list[Score]:
        """See `Reward.__call__`."""
        pieces = split(completions, columns, self.unit, "SoftOverlong")
        excesses = (len(piece) - (self.limit - self.buffer) for piece in pieces)
        return [-min(1.0, max(0.0, excess / self.buffer)) for excess in excesses]
