"""Letters, known words, and words with a mood."""

from __future__ import annotations

import math

import pytest

from kpg.rewards import Sentiment, Spelling, deserialize, serialize
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


def test_words_come_as_a_list() -> None:
    with pytest.raises(ValueError, match="as a list of one.*Received: words='kpg'"):
        Spelling(words="kpg")


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


@pytest.fixture(scope="module")
def sentiment() -> Sentiment:
    return Sentiment()


def test_sentiment_is_the_squashed_sum_of_valences(sentiment: Sentiment) -> None:
    """Hutto and Gilbert: "good" is worth 1.9, "horrible" −2.5, "very" adds 0.293."""
    texts = ["good", "it is horrible", "very good", "not good", "the table", ""]
    sums = [1.9, -2.5, 1.9 + 0.293, -0.74 * 1.9, 0.0, 0.0]
    expected = [s / math.sqrt(s * s + 15) for s in sums]
    close(sentiment([""] * 6, texts), expected, 1e-4)


def test_sentiment_stays_within_its_range(sentiment: Sentiment) -> None:
    high, low = sentiment(["", ""], ["wonderful " * 500, "terrible " * 500])
    assert isinstance(high, float)
    assert isinstance(low, float)
    assert 0.99 < high <= 1.0
    assert -1.0 <= low < -0.99
