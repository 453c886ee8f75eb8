"""What is counted in a text: words, characters or tokens."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence

from typing_extensions import override

from kpg import checks
from kpg.language.rewards.reward import Column, Reward, Score, token_ids

# Letters and digits: punctuation, spaces and underscores separate.
_WORD = re.compile(r"[^\W_]+")


def words(text: str) -> list[str]:
    """Returns lower-case runs of letters and digits; Chinese text is one run."""
    return _WORD.findall(text.lower())


class CountingReward(Reward, ABC):
    """A reward of words, characters (spaces too) or tokens (the end token too)."""

    def __init__(self, unit: str, name: str) -> None:
        super().__init__(name)
        self.unit = checks.choice("unit", unit, ("token", "word", "character"))
        self.requires = ("completion_ids",) if unit == "token" else ()

    @abstractmethod
    def score(self, items: Sequence[Hashable]) -> Score:
        """Scores one completion, by what is counted."""

    @override
    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], **columns: Column
    ) -> list[Score]:
        if self.unit == "token":
            ids = token_ids(self, columns, "completion_ids")
            return [self.score(row.tolist()) for row in ids]
        split = words if self.unit == "word" else str
        return [self.score(split(text)) for text in completions]
