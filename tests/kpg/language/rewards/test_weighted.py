"""Weighted sums against loops over every number."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from kpg.language.rewards.weighted import joined
from kpg.rewards import (
    Evaluation,
    Repetition,
    RougeL,
    Weighted,
    evaluate,
)
from tests.mutants.subject import Implementation, Subject, close, killers

LENGTHS = [3, 1, 4, 2, 4]
PROMPTS, COMPLETIONS = [""] * 5, ["text"] * 5
COLUMNS = {"completion_ids": [list(range(length)) for length in LENGTHS]}


class Fixed:
    """Returns the scores that it was made with."""

    def __init__(self, name: str, *scores: Any) -> None:
        self.name = name
        self.scores = scores

    def __call__(self, **columns: Any) -> list[Any]:
        return list(self.scores)


def mixed(missing: bool = True) -> list[Fixed]:
    """Three rewards: numbers, arrays, and both; the second leaves one row out."""
    random = np.random.default_rng(0)
    arrays: list[Any] = [random.normal(size=length) for length in LENGTHS]
    third = [1.5, np.array([2.0]), True, list(arrays[3]), np.float32(-1.0)]
    if missing:
        arrays = [*arrays[:2], None, *arrays[3:]]
    return [
        Fixed("numbers", *random.normal(size=5)),
        Fixed("arrays", *arrays),
        Fixed("both", *third),
    ]


def loops(
    rewards: list[Any],
    weights: list[float],
    *,
    at: int = -1,
    left_out: Any = all,
    zero_weight_counts: bool = False,
) -> tuple[np.ndarray, list[bool]]:
    """Returns `[B, T]` sums and what is scored."""
    total, scored = np.zeros((5, max(LENGTHS))), []
    for row, length in enumerate(LENGTHS):
        scores = [reward()[row] for reward in rewards]
        nones = [
            score is None
            for score, weight in zip(scores, weights, strict=True)
            if weight or zero_weight_counts
        ]
        scored.append(not nones or not left_out(nones))
        for score, weight in zip(scores, weights, strict=True):
            if score is None or not scored[-1]:
                continue
            if np.ndim(score):
                for token in range(length):
                    total[row, token] += weight * score[token]
            else:
                total[row, range(length)[at]] += weight * float(score)
    return total, scored


def shipped(rewards: list[Any], weights: list[float]) -> tuple[np.ndarray, list[bool]]:
    found = evaluate(rewards, weights, PROMPTS, COMPLETIONS, COLUMNS)
    return found.total, list(found.scored)


def adds_up_what_is_said_of_a_completion(sums: Implementation) -> None:
    total, _ = sums(mixed(missing=False), [2.0, -0.5, 3.0])
    rows = zip(*(reward() for reward in mixed(missing=False)), strict=True)
    for got, (number, array, both) in zip(total.sum(axis=1), rows, strict=True):
        close(got, 2.0 * number - 0.5 * np.sum(array) + 3.0 * np.sum(both))


def says_it_of_a_whole_completion_at_its_last_token(sums: Implementation) -> None:
    total, _ = sums([Fixed("n", 1, 2, 3, 4, 5)], [1.0])
    expected = np.zeros((5, 4))
    expected[range(5), np.array(LENGTHS) - 1] = [1, 2, 3, 4, 5]
    close(total, expected)


def leaves_out_what_no_reward_that_counts_can_score(sums: Implementation) -> None:
    for weights, scored in (([1.0, 1.0, 1.0], True), ([0.0, 1.0, 0.0], False)):
        total, found = sums(mixed(), weights)
        assert found == [True, True, scored, True, True]
        assert total[2].any() == scored
    assert sums(mixed(), [0.0, 0.0, 0.0])[1] == [True] * 5


def counts_what_some_rewards_score(sums: Implementation) -> None:
    """Each of two tasks in one batch has a reward of its own."""
    one, other = Fixed("one", 1, None, 3, None, 5), Fixed("two", None, 2, None, 4, None)
    total, found = sums([one, other], [1.0, 10.0])
    assert found == [True] * 5
    close(total.sum(axis=1), [1.0, 20.0, 3.0, 40.0, 5.0])


SUBJECT = Subject(
    name="kpg.rewards.evaluate",
    shipped=shipped,
    identities=(
        adds_up_what_is_said_of_a_completion,
        says_it_of_a_whole_completion_at_its_last_token,
        leaves_out_what_no_reward_that_counts_can_score,
        counts_what_some_rewards_score,
    ),
    mutants={
        "at the first token": lambda *a: loops(*a, at=0),
        "one None leaves out": lambda *a: loops(*a, left_out=any),
        "None is 0": lambda *a: loops(*a, left_out=lambda nones: False),
        "a score of weight 0 counts": lambda *a: loops(*a, zero_weight_counts=True),
        "weights ignored": lambda rewards, weights: loops(
            rewards, [math.copysign(min(abs(w), 1.0), w) for w in weights]
        ),
    },
    right=loops,
)


@pytest.mark.parametrize("sums", [shipped, loops])
def test_identities(sums: Implementation) -> None:
    for identity in SUBJECT.identities:
        identity(sums)


@pytest.mark.parametrize("mutant", SUBJECT.mutants)
def test_mutant_is_killed(mutant: str) -> None:
    assert killers(SUBJECT, mutant)


@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [0.5, -2.0, 0.0], [0, 0, 1]])
def test_equals_the_loops(weights: list[float]) -> None:
    total, scored = shipped(mixed(), weights)
    expected, expected_scored = loops(mixed(), weights)
    close(total, expected)
    assert scored == expected_scored
    assert total.dtype == np.float32


def test_parts_are_not_weighted() -> None:
    found = evaluate(mixed(), [3.0, 3.0, 0.0], PROMPTS, COMPLETIONS, COLUMNS)
    numbers, arrays, both = (reward() for reward in mixed())
    assert found.parts["numbers"].shape == (5,)
    close(found.parts["numbers"], numbers)
    assert found.parts["arrays"].shape == found.parts["both"].shape == (5, 4)
    close(found.parts["arrays"][0], [*arrays[0], 0.0])
    assert np.isnan(found.parts["arrays"][2]).all()
    close(found.parts["both"][4], [0.0, 0.0, 0.0, -1.0])
    close(found.sums()["both"], [np.sum(score) for score in both])


def test_means_are_of_what_was_scored() -> None:
    rewards = [Fixed("some", 1, None, 3, None, 5), Fixed("none", *[None] * 5)]
    found = evaluate(rewards, None, PROMPTS, COMPLETIONS, COLUMNS)
    assert found.means()["some"] == 3.0
    assert math.isnan(found.means()["none"])
    assert found.scored.tolist() == [True, False, True, False, True]
    assert found.total.sum(axis=1).tolist() == [1.0, 0.0, 3.0, 0.0, 5.0]
    nothing = evaluate(rewards[1:], None, PROMPTS, COMPLETIONS, COLUMNS)
    assert not nothing.scored.any() and not nothing.total.any()


def test_parts_are_put_together() -> None:
    whole = evaluate(mixed(), [1.0, 2.0, 0.5], PROMPTS, COMPLETIONS, COLUMNS)
    cut = [
        Evaluation(
            whole.total[rows],
            whole.scored[rows],
            {name: part[rows] for name, part in whole.parts.items()},
        )
        for rows in (slice(2), slice(2, 5))
    ]
    found = joined(cut)
    np.testing.assert_array_equal(found.total, whole.total)
    np.testing.assert_array_equal(found.scored, whole.scored)
    for name, part in whole.parts.items():
        np.testing.assert_array_equal(found.parts[name], part)
    # In one part only numbers for texts: there are sums of all.
    name = next(name for name, part in whole.parts.items() if part.ndim == 2)
    cut[0].parts[name] = cut[0].sums()[name]
    np.testing.assert_array_equal(joined(cut).parts[name], whole.sums()[name])


def test_functions_that_share_a_name_are_numbered() -> None:
    rewards = [lambda prompts, completions, n=n: [n] * 5 for n in (1.0, 2.0, 3.0)]
    found = evaluate(rewards, None, PROMPTS, COMPLETIONS)
    assert found.means() == {"<lambda>": 1.0, "<lambda>_2": 2.0, "<lambda>_3": 3.0}
    with pytest.raises(ValueError, match="give `name=` to one.*'twice'"):
        evaluate([Fixed("twice"), Fixed("twice")], None, PROMPTS, COMPLETIONS)
    with pytest.raises(ValueError, match="give `name=` to one.*lambda"):
        evaluate([rewards[0], rewards[0]], None, PROMPTS, COMPLETIONS)


def test_the_number_of_tokens_can_be_given() -> None:
    found = evaluate(mixed(), None, PROMPTS, COMPLETIONS, COLUMNS, num_tokens=7)
    assert found.total.shape == found.parts["arrays"].shape == (5, 7)
    close(found.total[:, :4], shipped(mixed(), [1.0, 1.0, 1.0])[0])
    assert not found.total[:, 4:].any()
    with pytest.raises(ValueError, match="`num_tokens` must be 4 or more.*Received: 3"):
        evaluate(mixed(), None, PROMPTS, COMPLETIONS, COLUMNS, num_tokens=3)


def test_without_tokens_there_is_one_number_for_each_completion() -> None:
    found = evaluate([mixed()[0]], None, PROMPTS, COMPLETIONS)
    assert found.total.shape == (5, 1)
    close(found.total[:, 0], mixed()[0]())


def test_a_sum_is_its_parts() -> None:
    numbers, arrays, both = mixed()
    inner = Weighted([arrays, both], [2.0, -1.0], name="inner")
    outer = Weighted([numbers, inner], [1.0, 0.5], name="outer")
    found = evaluate([outer], [3.0], PROMPTS, COMPLETIONS, COLUMNS)
    assert list(found.parts) == [
        "outer/numbers",
        "outer/inner/arrays",
        "outer/inner/both",
    ]
    expected = evaluate(mixed(), [3.0, 3.0, -1.5], PROMPTS, COMPLETIONS, COLUMNS)
    close(found.total, expected.total)


def test_a_sum_is_a_reward() -> None:
    def called(reward: Weighted) -> Evaluation:
        once = Fixed("once", *reward(PROMPTS, COMPLETIONS, **COLUMNS))
        return evaluate([once], None, PROMPTS, COMPLETIONS, COLUMNS)

    weighted = Weighted(mixed(), [1.0, 2.0, 3.0])
    expected = evaluate([weighted], None, PROMPTS, COMPLETIONS, COLUMNS)
    close(called(weighted).total, expected.total)
    assert list(called(weighted).scored) == list(expected.scored)
    assert called(Weighted(mixed()[:1])).parts["once"].shape == (5,)


def test_an_example_of_every_kind() -> None:
    rewards = [RougeL(), Repetition(order=1, unit="token", per_token=True)]
    columns: dict[str, Any] = {
        "references": ["a b", None],
        "completion_ids": [[1, 2, 1], [1]],
    }
    found = evaluate(rewards, [1.0, 0.5], ["", ""], ["a b a", "a"], columns)
    close(found.total, [[0.0, 0.0, 2 * 2 / 5 - 0.5 / 3], [0.0, 0.0, 0.0]])
    assert found.scored.tolist() == [True, True]
