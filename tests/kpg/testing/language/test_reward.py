"""Rewards that are right, and each mistake that the check must find."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from kpg import rewards
from kpg.rewards import Reward, Score, Weighted
from kpg.testing import check_reward

REFERENCES = ["yes please", "a pen", None, "no no"]


def polite(prompts: Any, completions: Any) -> Any:
    return [float("please" in text) for text in completions]


def bytes_of(completion_ids: Any, **columns: Any) -> Any:
    return [np.asarray(ids, float) for ids in completion_ids]


def exact(completions: Any, references: Any) -> Any:
    pairs = zip(completions, references, strict=True)
    return [None if want is None else float(text == want) for text, want in pairs]


def topical(completions: Any, topic: Any, mood: Any = None) -> Any:
    return [float(t in text) for text, t in zip(completions, topic, strict=True)]


class HasWord(Reward):
    def __init__(self, word: str = "please", name: str = "contains") -> None:
        super().__init__(name)
        self.word = word

    def __call__(self, prompts: Any, completions: Any, **columns: Any) -> list[Score]:
        return [float(self.word in text) for text in completions]


class Scorer:
    """A model whose tokens are all equally likely."""

    def score(self, prompt_ids: Any, completion_ids: Any) -> Any:
        return [np.full(len(ids), -np.log(258.0)) for ids in completion_ids]


def centred(completions: Any) -> Any:
    lengths = np.array([len(text) for text in completions], float)
    return lengths - lengths.mean()


@pytest.mark.parametrize(
    ("reward", "columns"),
    [
        (polite, {}),
        (bytes_of, {}),
        (exact, {"references": REFERENCES}),
        (topical, {"topic": ["please", "!", "?", "no"]}),
        (HasWord("or"), {}),
        (rewards.Bleu(), {"references": REFERENCES}),
        (rewards.Repetition(1, unit="token", per_token=True), {}),
        (rewards.MissingEnd(), {"ended": [True, False, True, False]}),
        (rewards.Grammar(), {}),
        (rewards.LetterShare(), {}),
        (rewards.bleu_and_grammar(), {"references": REFERENCES}),
        (Weighted([polite, HasWord(), bytes_of], [1.0, -0.5, 0.0]), {}),
        (rewards.Fluency(Scorer()), {"saved": False}),
        (centred, {"depends_on_batch": True}),
    ],
)
def test_what_is_right_passes(reward: Any, columns: dict[str, Any]) -> None:
    check_reward(reward, **columns)


def test_texts_can_be_given() -> None:
    seen: list[Any] = []

    def heard(prompts: Any, completions: Any) -> Any:
        seen.append((prompts, completions))
        return [0.0] * len(prompts)

    check_reward(heard, ["a", "b"], ["c", "d"])
    assert seen[0] == (["a", "b"], ["c", "d"])
    with pytest.raises(ValueError, match="same number of entries.*'prompts': 1"):
        check_reward(heard, ["a"], ["c", "d"])


class Unsaved(HasWord):
    """Forgets its option."""

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}


class Lost(HasWord):
    """Keeps its option under another name."""

    def __init__(self, text: str = "please") -> None:
        super().__init__(text)


class Changed(HasWord):
    """Doubles its option when it is made."""

    def __init__(self, word: str = "please", name: str = "changed") -> None:
        super().__init__(word * 2, name)


class Undeclared(HasWord):
    """Reads a column that it does not require."""

    def __call__(self, prompts: Any, completions: Any, **columns: Any) -> list[Score]:
        return [float(topic == self.word) for topic in columns["topic"]]


def too_few(completions: Any) -> Any:
    return [1.0]


def words(completions: Any) -> Any:
    return ["good"] * len(completions)


def infinite(completions: Any) -> Any:
    return [np.log(float("please" in text)) if text else 0.0 for text in completions]


def too_long(completions: Any) -> Any:
    return [np.zeros(len(text) + 2) for text in completions]


def not_a_number(completions: Any) -> Any:
    return [float("nan")] * len(completions)


def fails_on_nothing(completions: Any) -> Any:
    return [text.count(" ") / len(text) for text in completions]


def fails_without_a_prompt(prompts: Any, completions: Any) -> Any:
    return [float(prompt[0] == "O") for prompt in prompts]


def one_token_short(completion_ids: Any) -> Any:
    return [1.0 / (len(ids) - 1) for ids in completion_ids]


CALLS = itertools.count()


def counts_calls(completions: Any) -> Any:
    return [float(next(CALLS))] * len(completions)


def counts_rows(completions: Any) -> Any:
    return [float(row) for row in range(len(completions))]


def first_is_best(completions: Any) -> Any:
    return [float(row == 0) for row in range(len(completions))]


def empties(completions: Any) -> Any:
    scores = [0.0] * len(completions)
    completions[0] = ""
    return scores


def cuts_tokens(completion_ids: Any) -> Any:
    for ids in completion_ids:
        del ids[1:]
    return [0.0] * len(completion_ids)


def hidden_column(completions: Any, **columns: Any) -> Any:
    return [float(topic == "no") for topic in columns["topic"]]


TOPIC = {"topic": ["please", "!", "?", "no"]}


@pytest.mark.parametrize(
    ("reward", "columns", "message"),
    [
        (too_few, {}, "'too_few' must return 4 scores.*Received: 1 scores"),
        (words, {}, "'words' must give a finite number.*Received: 'good'"),
        (not_a_number, {}, "must give a finite number.*Received: nan"),
        (too_long, {}, "must give the 10 tokens a number each"),
        (counts_calls, {}, "the same score in a second call. Received: 0.0, and then"),
        (counts_rows, {}, "the same score in another order. Received: 0.0, and then 3"),
        (first_is_best, {"depends_on_batch": True}, "the same score in another order"),
        (centred, {}, "same score alone, or be checked with depends_on_batch=True"),
        (topical, {}, "'topical' needs topic.*Received: columns"),
        (rewards.RougeL(), {}, "'rougeL' needs references"),
        (hidden_column, {}, "must not raise.*KeyError: 'topic'"),
        (
            hidden_column,
            TOPIC,
            "must name each column that it needs.*KeyError: 'topic'",
        ),
        (Undeclared(), TOPIC, "'contains' must name each column.*'topic'"),
        (fails_on_nothing, {}, "must not raise.*completion ''.*ZeroDivisionError"),
        (fails_without_a_prompt, {}, "must not raise.*the prompt ''.*IndexError"),
        (one_token_short, {}, "must not raise.*the completion ''.*ZeroDivisionError"),
        (empties, {}, "'empties' must leave the prompts, completions and columns"),
        (cuts_tokens, {}, "'cuts_tokens' must leave"),
        (Unsaved("no"), {}, "the same score after it was saved.*', please.'"),
        (Lost(), {}, "must be equal after it was saved.*AttributeError.*text"),
        (Changed(), {}, "same configuration after it was saved.*pleaseplease"),
        (
            rewards.Fluency(Scorer()),
            {},
            "equal after it was saved.*saved=False.*scorer",
        ),
        (Weighted([polite, Lost()]), {}, "'contains' must be equal after it was saved"),
        ("polite", {}, "one callable or more.*Received: 'polite'"),
    ],
)
def test_a_mistake_is_found(reward: Any, columns: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_reward(reward, **columns)


def test_infinity_is_found() -> None:
    with np.errstate(divide="ignore"):
        with pytest.raises(ValueError, match="finite number.*Received: .*-inf"):
            check_reward(infinite)


def test_small_differences_are_allowed() -> None:
    drift = itertools.count()

    def drifting(completions: Any) -> Any:
        return [1.0 + 1e-4 * next(drift)] * len(completions)

    with pytest.raises(ValueError, match="in a second call"):
        check_reward(drifting)
    check_reward(drifting, tolerance=1.0)
