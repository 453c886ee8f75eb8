"""ROUGE against the paper: its examples, and naive transcriptions of it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from kpg.language.rewards.rouge import longest_common_subsequence
from kpg.rewards import RougeL, RougeN
from tests.mutants.subject import Implementation, Subject, close, killers

POLICE = "police killed the gunman"
# Made by rouge-score 0.1.2, RougeScorer(["rouge1", "rouge2", "rougeL"]).score(second,
# first), without stemmer: precision and recall of each.
GOLDEN = [
    (
        "The cat's on the mat, isn't it?",
        "It is THE cat (on the mat).",
        (0.6666666667, 0.8571428571, 0.375, 0.5, 0.5555555556, 0.7142857143),
    ),
    (
        "U.S.A. in 3.14 snake_case words",
        "words in the U.S.A. or in snake case",
        (0.7777777778, 0.7, 0.375, 0.3333333333, 0.6666666667, 0.6),
    ),
]


def score(reward: Any, text: str, *texts: str) -> float:
    (found,) = reward(prompts=[""], completions=[text], references=[list(texts)])
    assert isinstance(found, float)
    return found


def shipped_n(text: str, reference: str, order: int) -> tuple[float, ...]:
    measures = ("precision", "recall", "f1")
    return tuple(score(RougeN(order, m), text, reference) for m in measures)


def naive_n(
    text: str, reference: str, order: int, *, clipped: bool = True
) -> tuple[float, ...]:
    """Lin, section 2: matching n-grams, each of which is then used up."""
    ours, theirs = (
        [tuple(words[i : i + order]) for i in range(len(words) - order + 1)]
        for words in (text.split(), reference.split())
    )
    left, common = list(theirs), 0
    for gram in ours:
        if gram in left:
            common += 1
            if clipped:
                left.remove(gram)
    precision = common / len(ours) if ours else 0.0
    recall = common / len(theirs) if theirs else 0.0
    both = precision + recall
    return precision, recall, 2 * precision * recall / both if both else 0.0


def sentences(count: int, longest: int) -> list[str]:
    random = np.random.default_rng(0)
    lengths = random.integers(1, longest + 1, count)
    return [" ".join(random.choice(list("abc"), length)) for length in lengths]


def uses_a_match_once(rouge: Implementation) -> None:
    close(rouge("a a a a", "a b", 1), (1 / 4, 1 / 2, 1 / 3))


def recall_is_of_the_reference(rouge: Implementation) -> None:
    """Section 3: one pair of three is that of the reference, for both."""
    for text in ("police kill the gunman", "the gunman kill police"):
        close(rouge(text, POLICE, 2), (1 / 3, 1 / 3, 1 / 3))
    close(rouge("the gunman", POLICE, 2), (1.0, 1 / 3, 1 / 2))


ROUGE_N = Subject(
    name="kpg.rewards.RougeN",
    shipped=shipped_n,
    identities=(uses_a_match_once, recall_is_of_the_reference),
    mutants={
        "not clipped": lambda *a: naive_n(*a, clipped=False),
        "precision and recall swapped": lambda t, r, n: naive_n(r, t, n),
        "mean for f1": lambda *a: (*naive_n(*a)[:2], np.mean(naive_n(*a)[:2])),
        "words for n-grams": lambda t, r, n: naive_n(t, r, 1),
    },
    right=naive_n,
)


@pytest.mark.parametrize("rouge", [shipped_n, naive_n])
def test_identities(rouge: Implementation) -> None:
    for identity in ROUGE_N.identities:
        identity(rouge)


@pytest.mark.parametrize("mutant", ROUGE_N.mutants)
def test_mutant_is_killed(mutant: str) -> None:
    assert killers(ROUGE_N, mutant)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_rouge_n_equals_the_transcription(order: int) -> None:
    texts = sentences(60, 9)
    for text, reference in zip(texts, texts[::-1], strict=True):
        found = shipped_n(text, reference, order)
        np.testing.assert_allclose(found, naive_n(text, reference, order), atol=1e-12)


def subsequences(items: str) -> set[tuple[str, ...]]:
    return {
        part
        for size in range(len(items) + 1)
        for part in itertools.combinations(items, size)
    }


def test_the_longest_common_subsequence_is_that_of_all() -> None:
    for first, second in itertools.product(sentences(25, 8), repeat=2):
        left, right = first.replace(" ", ""), second.replace(" ", "")
        longest = max(map(len, subsequences(left) & subsequences(right)))
        assert longest_common_subsequence(left, right) == longest
    assert longest_common_subsequence("", "abc") == 0
    assert longest_common_subsequence("abc", "") == 0


def test_the_longest_common_subsequence_is_no_common_run() -> None:
    assert longest_common_subsequence("axbxcx", "abcyyy") == 3
    assert longest_common_subsequence("ab" * 100, "ba" * 100) == 199


def test_rouge_l_of_the_examples_of_the_paper() -> None:
    """Lin, section 3.1: the order of words counts, that they are adjacent does not."""
    recall = RougeL("recall")
    close(score(recall, "police kill the gunman", POLICE), 3 / 4)
    close(score(recall, "the gunman kill police", POLICE), 2 / 4)
    close(score(recall, "the gunman police killed", POLICE), 2 / 4)
    text = "police then killed the gunman there"
    close(score(RougeL("precision"), text, POLICE), 4 / 6)
    close(score(recall, text, POLICE), 1.0)
    close(score(RougeL(), text, POLICE), 2 * (4 / 6) / (4 / 6 + 1))


@pytest.mark.parametrize(("text", "reference", "expected"), GOLDEN)
def test_equals_rouge_score(
    text: str, reference: str, expected: tuple[float, ...]
) -> None:
    found = [
        score(kind(measure=measure), text, reference)
        for kind in (lambda **k: RougeN(1, **k), RougeN, RougeL)
        for measure in ("precision", "recall")
    ]
    close(found, expected, 1e-9)


@pytest.mark.parametrize("reward", [RougeN(1), RougeL()])
def test_the_best_reference_counts(reward: Any) -> None:
    assert score(reward, "a b", "c d", "a b", "a c") == 1.0
    assert reward([""] * 2, ["a", "a"], references=[None, "a"]) == [None, 1.0]


@pytest.mark.parametrize("reward", [RougeN(1), RougeN(2), RougeL()])
def test_nothing_in_common_is_zero(reward: Any) -> None:
    for text in ("", "x y", "?!"):
        assert score(reward, text, "a b") == 0.0
    assert score(reward, "?", "?") == 0.0


def test_characters() -> None:
    close(score(RougeL("recall", unit="character"), "策略 网络", "策略梯度"), 2 / 4)
    close(score(RougeN(2, "recall", unit="character"), "A bc", "abd"), 1 / 2)
    assert score(RougeL(), "策略网络", "策略梯度") == 0.0


def test_options_out_of_range_are_refused() -> None:
    assert RougeN(3).name == "rouge3"
    with pytest.raises(ValueError, match="`order` must be a whole number.*order=0"):
        RougeN(0)
    for kind in (RougeN, RougeL):
        with pytest.raises(ValueError, match="`measure` must be one of .*='f2'"):
            kind(measure="f2")
        with pytest.raises(ValueError, match="`unit` must be one of .*='token'"):
            kind(unit="token")
