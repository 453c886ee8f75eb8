"""What is counted: words, characters and tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kpg.language.rewards.units import required_by, split, words


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


def test_each_unit_is_counted() -> None:
    columns: dict[str, Any] = {"completion_ids": [np.array([5, 6, 1]), [1]]}
    found = {
        unit: [list(row) for row in split(["a B", ""], columns, unit, "Length")]
        for unit in ("token", "word", "character")
    }
    assert found == {
        "token": [[5, 6, 1], [1]],
        "word": [["a", "b"], []],
        "character": [["a", " ", "B"], []],
    }


def test_tokens_need_their_column() -> None:
    assert required_by("token") == ("completion_ids",)
    assert required_by("word") == required_by("character") == ()
    with pytest.raises(ValueError, match="`unit` must be one of .*'line'"):
        required_by("line")
    with pytest.raises(ValueError, match="`Length` needs `completion_ids`"):
        split(["a"], {}, "token", "Length")
