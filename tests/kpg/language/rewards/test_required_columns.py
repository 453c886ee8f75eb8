"""Columns that a reward reads, and what it says when they are missing."""

from __future__ import annotations

from typing import Any

import pytest

from kpg.rewards import Bleu, MissingEnd, RougeL, TargetLength, evaluate

PROMPTS, COMPLETIONS = ["first", "second"], ["one", "two two"]


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (Bleu(), "`Bleu` needs `references`: a string or a list of strings for each"),
        (RougeL(), "`RougeL` needs `references`"),
        (TargetLength(5), "`TargetLength` needs `completion_ids`: a list of token ids"),
        (MissingEnd(), "`MissingEnd` needs `ended`: whether it has an end token for"),
    ],
)
def test_a_missing_column_is_named(reward: Any, message: str) -> None:
    for columns in ({"topic": [1, 2]}, {"topic": [1, 2], "references": None}):
        listed = r".*Received: columns .*'topic'"
        with pytest.raises(ValueError, match=message + listed):
            reward(PROMPTS, COMPLETIONS, **columns)


@pytest.mark.parametrize("wrong", ["", " ", [], ["a", ""], [1], 3])
def test_blank_references_are_refused(wrong: Any) -> None:
    message = "'bleu'.*`Bleu` needs references that are not blank"
    columns = {"references": ["a", wrong]}
    with pytest.raises(ValueError, match=message):
        evaluate([Bleu()], None, PROMPTS, COMPLETIONS, columns)


def test_references_of_bleu_are_missed_before_it_is_called() -> None:
    message = "The reward 'bleu' needs references, with one entry for each prompt"
    with pytest.raises(ValueError, match=message):
        evaluate([Bleu()], None, PROMPTS, COMPLETIONS)
