"""BLEU against the paper: its examples, and a naive transcription of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from kpg.rewards import Bleu
from tests.mutants.subject import Implementation, Subject, close, killers

WORDS = ["a", "b", "c", "d"]


def shipped(text: str, texts: list[str], order: int = 4) -> float:
    reward = Bleu(max_order=order, smoothing="none", tokenizer="none")
    (score,) = reward(["prompt"], [text], references=[texts])
    assert isinstance(score, float)
    return score


def grams(text: str, n: int) -> list[list[str]]:
    words = text.split()
    return [words[i : i + n] for i in range(len(words) - n + 1)]


def transcription(
    text: str,
    texts: list[str],
    order: int = 4,
    *,
    clip: Any = max,
    closest: Any = None,
    mean: Any = None,
    brevity: bool = True,
) -> float:
    """Papineni et al., section 2, with N at most the number of words."""
    words = len(text.split())
    precisions = []
    for n in range(1, min(order, words) + 1):
        matches = 0
        for gram in {tuple(gram) for gram in grams(text, n)}:
            count = grams(text, n).count(list(gram))
            allowed = clip(grams(other, n).count(list(gram)) for other in texts)
            matches += min(count, allowed)
        precisions.append(matches / len(grams(text, n)))
    if 0.0 in precisions or not precisions:
        return 0.0
    others = [len(other.split()) for other in texts]
    r = (closest or (lambda c, rs: min(rs, key=lambda r: (abs(r - c), r))))(
        words, others
    )
    penalty = min(1.0, math.exp(1 - r / words)) if brevity else 1.0
    return penalty * float(
        (mean or (lambda p: math.exp(np.mean(np.log(p)))))(precisions)
    )


def examples() -> list[tuple[str, list[str], int]]:
    random = np.random.default_rng(0)

    def sentence(low: int) -> str:
        return " ".join(random.choice(WORDS, random.integers(low, 9)))

    return [
        (sentence(0), [sentence(1) for _ in range(random.integers(1, 4))], order)
        for order in (1, 2, 3, 4)
        for _ in range(80)
    ]


def counts_a_word_at_most_as_often_as_one_reference(bleu: Implementation) -> None:
    """Section 2.1: "the" stands twice in one of them."""
    texts = ["the cat is on the mat", "there is a cat on the mat"]
    close(bleu("the the the the the the the", texts, 1), 2 / 7)


def takes_the_length_of_the_closest_reference(bleu: Implementation) -> None:
    close(bleu("a b c", ["a b c d", "a"], 1), math.exp(1 - 4 / 3))
    close(bleu("a b c d", ["a b c d b", "a b c d b c d b"], 1), math.exp(1 - 5 / 4))


def is_one_for_a_reference_alone(bleu: Implementation) -> None:
    for text in ("a", "a b", "a b c d a"):
        close(bleu(text, ["c", text]), 1.0)
    assert bleu("a b c d", ["a b c c"]) < 1.0


def has_the_geometric_mean(bleu: Implementation) -> None:
    close(bleu("a b x", ["a b c"], 2), math.sqrt(2 / 3 * 1 / 2))


SUBJECT = Subject(
    name="kpg.rewards.Bleu",
    shipped=shipped,
    identities=(
        counts_a_word_at_most_as_often_as_one_reference,
        takes_the_length_of_the_closest_reference,
        is_one_for_a_reference_alone,
        has_the_geometric_mean,
    ),
    mutants={
        "counts not clipped": lambda *a: transcription(
            *a, clip=lambda counts: 1000 * max(counts)
        ),
        "clipped by all references together": lambda *a: transcription(*a, clip=sum),
        "clipped by every reference": lambda *a: transcription(*a, clip=min),
        "shortest reference": lambda *a: transcription(
            *a, closest=lambda c, rs: min(rs)
        ),
        "longest reference": lambda *a: transcription(
            *a, closest=lambda c, rs: max(rs)
        ),
        "arithmetic mean": lambda *a: transcription(*a, mean=np.mean),
        "no brevity penalty": lambda *a: transcription(*a, brevity=False),
    },
    right=transcription,
)


def test_equals_the_transcription() -> None:
    found = [shipped(*example) for example in examples()]
    close(found, [transcription(*example) for example in examples()], 1e-12)
    assert sum(score > 0.0 for score in found) > 100


@pytest.mark.parametrize("bleu", [SUBJECT.shipped, transcription])
def test_identities(bleu: Implementation) -> None:
    for identity in SUBJECT.identities:
        identity(bleu)


@pytest.mark.parametrize("mutant", SUBJECT.mutants)
def test_mutant_is_killed(mutant: str) -> None:
    assert killers(SUBJECT, mutant)


@pytest.mark.parametrize(
    ("smoothing", "matches"),
    [("exp", (1 / 2, 1 / 4)), ("floor", (0.1, 0.1)), ("none", (0.0, 0.0))],
)
def test_smoothing(smoothing: str, matches: tuple[float, float]) -> None:
    # Of "a x b y" against "a b c d", two words match, no pair, and of three none.
    reward = Bleu(max_order=3, smoothing=smoothing)
    expected = (2 / 4 * matches[0] / 3 * matches[1] / 2) ** (1 / 3)
    close(reward([""], ["a x b y"], references=["a b c d"]), [expected])


def test_smoothing_adds_one_to_longer_orders() -> None:
    reward = Bleu(max_order=3, smoothing="add-k")
    expected = (2 / 4 * (0 + 1) / (3 + 1) * (0 + 1) / (2 + 1)) ** (1 / 3)
    close(reward([""], ["a x b y"], references=["a b c d"]), [expected])


def test_words_are_separated_as_asked() -> None:
    def score(text: str, reference: str, **options: Any) -> Any:
        return Bleu(**options)([""], [text], references=[reference])[0]

    assert score("Hello, you", "Hello , you") == pytest.approx(1.0)
    assert score("Hello, you", "Hello , you", tokenizer="none") < 0.5
    assert score("HELLO you", "hello YOU", lowercase=True) == pytest.approx(1.0)
    assert score("HELLO you", "hello YOU") == 0.0
    chinese = "策略网络训练", "策略梯度训练"
    assert score(*chinese) == 0.0
    for tokenizer in ("zh", "char"):
        assert 0.1 < score(*chinese, tokenizer=tokenizer) < 0.6


def test_a_row_without_references_is_not_scored() -> None:
    found = Bleu()([""] * 3, ["a", "a", ""], references=[None, ["b", "a"], "a"])
    assert found[0] is None
    assert found[1:] == [pytest.approx(1.0), 0.0]


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="`max_order` must be a whole number.*order=0"):
        Bleu(max_order=0)
    with pytest.raises(ValueError, match="`smoothing` must be one of .*='chen'"):
        Bleu(smoothing="chen")
    with pytest.raises(ValueError, match="`tokenizer` must be one of .*='flores200'"):
        Bleu(tokenizer="flores200")
