from __future__ import annotations

import math

import pytest

from kpg.cli import episode_statistics


def test_summary() -> None:
    # Mean 3, squared deviations 4 + 1 + 0 + 1 + 4 = 10, sample variance 10 / 4.
    values = episode_statistics.summary([1.0, 2.0, 3.0, 4.0, 5.0], 7.0)
    assert values == {
        "episodes": 5,
        "return_mean": 3.0,
        "return_std": pytest.approx(math.sqrt(2.5)),
        "return_ci95": pytest.approx(2.7764 * math.sqrt(2.5) / math.sqrt(5), rel=1e-3),
        "length_mean": 7.0,
    }
    assert episode_statistics.in_words(values) == (
        "return 3.00 ± 1.96 (95 %) over 5 episodes, 7 steps each"
    )


@pytest.mark.parametrize(
    ("value", "beside", "words"),
    [(-98.06, None, "-98.1"), (0.9512, None, "0.951"), (1.26, 500.0, "1.3")],
)
def test_small_returns_have_more_digits(
    value: float, beside: float | None, words: str
) -> None:
    assert episode_statistics.written(value, beside) == words


def test_one_episode_has_no_spread() -> None:
    values = episode_statistics.summary([2.0], 4.0)
    assert math.isnan(values["return_std"])
    assert math.isnan(values["return_ci95"])
    assert (
        episode_statistics.in_words(values)
        == "return 2.00 over 1 episode, 4 steps each"
    )
