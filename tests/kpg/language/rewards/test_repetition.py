"""The repetition penalty against brute force."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from kpg.language.rewards.repetition import repeated
from kpg.rewards import Repetition
from tests.mutants.subject import Implementation, Subject, close, killers


def brute_force(items: Any, order: int) -> np.ndarray:
    """Compares each n-gram with every one before it."""
    starts = range(len(items) - order + 1)
    prices = np.zeros(len(items))
    for start in starts:
        gram = list(items[start : start + order])
        if any(list(items[i : i + order]) == gram for i in range(start)):
            prices[start + order - 1] = -1 / len(starts)
    return prices


def sums_to_the_share_that_is_not_distinct(price: Implementation) -> None:
    for items, order in itertools.product(("aaaa", "abab", "abcabc"), (1, 2, 3)):
        grams = [items[i : i + order] for i in range(len(items) - order + 1)]
        close(sum(price(items, order)), -(1 - len(set(grams)) / len(grams)))


def is_paid_where_the_repetition_is_complete(price: Implementation) -> None:
    close(price("abcab", 2), [0.0, 0.0, 0.0, 0.0, -1 / 4])


def shifted(items: Any, order: int) -> np.ndarray:
    return np.roll(brute_force(items, order), 1 - order)


def both_pay(items: Any, order: int) -> np.ndarray:
    grams = [tuple(items[i : i + order]) for i in range(len(items) - order + 1)]
    pays = [-float(grams.count(gram) > 1) / len(grams) for gram in grams]
    return np.array([0.0] * (order - 1) + pays)


SUBJECT = Subject(
    name="kpg.rewards.Repetition",
    shipped=repeated,
    identities=(
        sums_to_the_share_that_is_not_distinct,
        is_paid_where_the_repetition_is_complete,
    ),
    mutants={
        "paid where it begins": shifted,
        "the first one pays too": both_pay,
        "a share of all items": lambda items, order: (
            brute_force(items, order) * (len(items) - order + 1) / len(items)
        ),
    },
    right=brute_force,
)


@pytest.mark.parametrize("price", [repeated, brute_force])
def test_identities(price: Implementation) -> None:
    for identity in SUBJECT.identities:
        identity(price)


@pytest.mark.parametrize("mutant", SUBJECT.mutants)
def test_mutant_is_killed(mutant: str) -> None:
    assert killers(SUBJECT, mutant)


def test_equals_brute_force() -> None:
    for size, order in itertools.product(range(7), (1, 2, 3)):
        for items in itertools.product("ab", repeat=size):
            close(repeated(items, order), brute_force(items, order))


def test_units() -> None:
    texts = ["No no, NO!", "a-b_a b"]
    columns = {"completion_ids": [np.array([7, 7, 7, 7]), np.array([1, 2, 1, 2])]}
    given: dict[str, Any] = {"prompts": [""] * 2, "completions": texts, **columns}
    close(Repetition(order=1)(**given), [-2 / 3, -2 / 4])
    close(Repetition(order=2)(**given), [-1 / 2, -1 / 3])
    close(Repetition(order=2, unit="token")(**given), [-2 / 3, -1 / 3])
    close(Repetition(order=2, unit="character")(**given), [0.0, 0.0])
    close(
        Repetition(order=2, unit="token", per_token=True)(**given),
        [[0.0, 0.0, -1 / 3, -1 / 3], [0.0, 0.0, 0.0, -1 / 3]],
    )


def test_too_short_to_repeat() -> None:
    assert Repetition(order=3)(["", ""], ["", "a a"]) == [0.0, 0.0]


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="`order` must be a whole number.*order=0"):
        Repetition(order=0)
    with pytest.raises(ValueError, match="`unit` must be one of .*='sentence'"):
        Repetition(unit="sentence")
    with pytest.raises(ValueError, match='needs unit="token". Received: unit=.word'):
        Repetition(per_token=True)
    with pytest.raises(ValueError, match="needs `completion_ids`.*Received: columns"):
        Repetition(unit="token")([""], ["a"])
