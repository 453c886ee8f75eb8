"""Spelling, by a word list."""

from __future__ import annotations

import pytest

from kpg.rewards import Spelling, deserialize, serialize
from kpg.text import LetterShare
from tests.mutants.subject import close


@pytest.fixture(scope="module")
def spelling() -> Spelling:
    return Spelling(words=["Kpg"])


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("The quick brown fox", 1.0),
        ("Teh quikc brown fox", 0.5),
        ("the the the", 1.0),
        ("Kpg's fox, kpg", 1.0),
        ("Don't! The dog's, they’re", 1.0),
        ("xq 12 fox, 3rd", 1 / 3),
        ("12 ?!", 0.0),
        ("", 0.0),
    ],
)
def test_spelling_is_the_share_of_known_words(
    spelling: Spelling, text: str, share: float
) -> None:
    close(spelling([""], [text]), [share])


def test_spelling_in_another_language() -> None:
    spanish = Spelling(language="es")
    assert spanish(["", ""], ["¡El AÑO del corazón!", "xwq"]) == [1.0, 0.0]
    with pytest.raises(ValueError, match="`language` must be one of .*='tlh'"):
        Spelling(language="tlh")


def test_a_share_of_all_characters() -> None:
    texts = ["", "aei", "xa", "b c!", "AE"]
    scores = LetterShare()(prompts=["?"] * 5, completions=texts)
    assert scores == [0.0, 1.0, 0.5, 0.0, 0.0]


def test_any_letters_count() -> None:
    reward = LetterShare("xz", name="rare")
    assert reward(prompts=["?"], completions=["xyz"]) == [2 / 3]
    again = deserialize(serialize(reward))
    assert again.name == "rare"
    assert again(prompts=["?"], completions=["zza"]) == [2 / 3]
