"""Sentiment, by a lexicon."""

from __future__ import annotations

import math

import pytest

from kpg.rewards import Sentiment
from tests.mutants.subject import close


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
