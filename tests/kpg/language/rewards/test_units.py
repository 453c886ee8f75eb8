"""What is counted: words, characters and tokens."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pytest

from kpg.language.rewards.units import CountingReward, words
from kpg.rewards import evaluate


class Counted(CountingReward):
    """Keeps what it is given."""

    def __init__(self, unit: str, name: str = "counted") -> None:
        super().__init__(unit, name)
        self.seen: list[list[Hashable]] = []

    def score(self, items: Sequence[Hashable]) -> float:
        self.seen.append(list(items))
        return float(len(items))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The  Cat_sat, twice!", ["the", "cat", "sat", "twice"]),
        ("It's 3.5", ["it", "s", "3", "5"]),
        ("Ärger 日本語", ["ärger", "日本語"]),
        (" ?! ", []),
    ],
)
def test_words_are_runs_of_letters_and_digits(text: str, found: list[str]) -> None:
    assert words(text) == found


@pytest.mark.parametrize(
    ("unit", "seen"),
    [
        ("token", [[5, 6, 1], [1]]),
        ("word", [["a", "b"], []]),
        ("character", [["a", " ", "B"], []]),
    ],
)
def test_each_unit_is_counted(unit: str, seen: Any) -> None:
    columns: dict[str, Any] = {"completion_ids": [np.array([5, 6, 1]), [1]]}
    reward = Counted(unit)
    found = evaluate([reward], None, ["", ""], ["a B", ""], columns)
    assert reward.seen == seen
    assert found.means() == {"counted": sum(map(len, seen)) / 2}


def test_tokens_need_their_column() -> None:
    assert Counted("token").requires == ("completion_ids",)
    assert Counted("word").requires == Counted("character").requires == ()
    with pytest.raises(ValueError, match="`unit` must be one of .*'line'"):
        Counted("line")
    with pytest.raises(ValueError, match="`Counted` needs `completion_ids`"):
        Counted("token")(["?"], ["a"])
