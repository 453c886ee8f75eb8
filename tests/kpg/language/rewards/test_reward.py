"""Rewards as objects: configurations, names, columns and packages that are missing."""

from __future__ import annotations

import json
import subprocess
import sys
from abc import ABC, abstractmethod
from inspect import isabstract
from typing import Any

import pytest

from kpg import rewards
from kpg.rewards import (
    Bleu,
    Concurrent,
    Grammar,
    LetterShare,
    MissingEnd,
    Repetition,
    Reward,
    RougeL,
    RougeN,
    Score,
    Sentiment,
    SoftOverlong,
    Spelling,
    TargetLength,
    Weighted,
    bleu_and_grammar,
    deserialize,
    evaluate,
    serialize,
)

PROMPTS, COMPLETIONS = ["first", "second"], ["one", "two two"]
EXAMPLES: list[Reward] = [
    Bleu(max_order=2, smoothing="floor", lowercase=True, tokenizer="char", name="b"),
    RougeN(1, "recall", "character"),
    RougeL("precision", "character", name="r"),
    Grammar(["ending"], name="g"),
    Spelling("es", ["kpg"], name="s"),
    Sentiment("mood"),
    Repetition(2, "token", per_token=True),
    TargetLength(30, 10, "word"),
    SoftOverlong(30, 10, "character"),
    MissingEnd("end"),
    LetterShare("xz", name="rare"),
    bleu_and_grammar(0.25),
    Concurrent(RougeL(), threads=2, batch_size=3, name="c"),
    Weighted([RougeL(), Weighted([RougeN(1)], [2.0])], [0.5, 1.0], name="w"),
]


class Vowels(Reward):
    """A reward of one's own."""

    def __init__(self, letters: str = "aeiou", name: str = "vowels") -> None:
        super().__init__(name)
        self.letters = letters

    def __call__(self, prompts: Any, completions: Any, **columns: Any) -> list[Score]:
        return [float(sum(c in self.letters for c in text)) for text in completions]


@pytest.mark.parametrize("reward", EXAMPLES, ids=lambda r: type(r).__name__)
def test_a_configuration_makes_an_equal_reward(reward: Reward) -> None:
    saved = json.loads(json.dumps(serialize(reward)))
    again = deserialize(saved)
    assert type(again) is type(reward)
    assert again.name == reward.name
    assert again.get_config() == reward.get_config()
    columns = {"references": ["a tisch", "the end"], "ended": [True, False]}
    given: dict[str, Any] = {
        "prompts": ["", ""],
        "completions": ["an tisch kpg", "The the"],
        "completion_ids": [[1, 2, 1, 2], [3]],
        **columns,
    }
    assert repr(again(**given)) == repr(reward(**given))
    assert set(reward.requires) <= set(given)


def test_every_class_has_an_example_and_options_that_are_not_the_defaults() -> None:
    shipped = {
        name
        for name, kind in vars(rewards).items()
        if isinstance(kind, type) and issubclass(kind, Reward) and not isabstract(kind)
    }
    models = {"Fluency", "ExecutorLogLikelihood", "Coherence", "Judgement"}
    assert {type(reward).__name__ for reward in EXAMPLES} == shipped - models


def test_a_reward_of_ones_own() -> None:
    config = serialize(Weighted([Vowels("ae")]))
    again = deserialize(config)
    assert again([""], ["banane"]) == [3.0]
    assert deserialize({"class_name": "Vowels"}).get_config() == {
        "letters": "aeiou",
        "name": "vowels",
    }


def test_a_name_is_that_of_one_class() -> None:
    body = {"__module__": "elsewhere", "__call__": Vowels.__call__}
    with pytest.raises(TypeError, match="name of its own. Received: Bleu in elsewhere"):
        type("Bleu", (Reward,), body)
    # Defining it again, as in a notebook, replaces it.
    body["__module__"] = __name__
    again = type("Vowels", (Reward,), body)
    assert deserialize({"class_name": "Vowels", "config": {"name": "v"}}).name == "v"
    assert type(deserialize({"class_name": "Vowels", "config": {"name": "v"}})) is again


def scored(*arguments: Any, **columns: Any) -> list[Score]:
    return []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "Slip must define __call__; see the base class"),
        ({"call": scored}, "Slip must define __call__"),
        ({"__call__": scored, "get_configs": scored}, "Did you mean get_config?.*figs"),
        ({"__call__": scored, "from_confg": scored}, "Did you mean from_config?"),
        ({"__call__": scored, "require": ("ended",)}, "Did you mean requires.*require"),
    ],
)
def test_a_class_that_breaks_the_contract_is_refused(
    body: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        type("Slip", (Reward,), {"__module__": __name__, **body})
    with pytest.raises(ValueError, match="`class_name` must be one of"):
        deserialize({"class_name": "Slip"})


def test_a_base_of_rewards_may_leave_methods_open() -> None:
    class Counting(Reward, ABC):
        @abstractmethod
        def count(self, text: str) -> int:
            """Returns what a text is worth."""

        def __call__(self, prompts: Any, completions: Any, **columns: Any) -> Any:
            return [float(self.count(text)) for text in completions]

    class Spaces(Counting):
        def count(self, text: str) -> int:
            return text.count(" ")

    assert Spaces("spaces")([""], ["a b c"]) == [2.0]
    with pytest.raises(TypeError, match="Dots must define count"):
        type("Dots", (Counting,), {"__module__": __name__})
    with pytest.raises(ValueError, match="`class_name` must be one of"):
        deserialize({"class_name": "Counting"})


def test_functions_and_unknown_classes_are_refused() -> None:
    def polite(**columns: Any) -> list[float]:
        return []

    with pytest.raises(ValueError, match="instance of `kpg.rewards.Reward`.*polite"):
        Weighted([polite]).get_config()
    with pytest.raises(ValueError, match="`class_name` must be one of .*: 'Rouge'"):
        deserialize({"class_name": "Rouge"})


@pytest.mark.parametrize(
    ("kind", "module", "package"),
    [
        (Bleu, "sacrebleu.metrics", "sacrebleu"),
        (Spelling, "spellchecker", "pyspellchecker"),
        (Sentiment, "vaderSentiment.vaderSentiment", "vaderSentiment"),
    ],
)
def test_a_missing_package_is_named(
    monkeypatch: pytest.MonkeyPatch, kind: type[Reward], module: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    message = f"rewards.{kind.__name__} needs the package {package}.*" + r"kpg\[text\]"
    with pytest.raises(ImportError, match=message):
        kind.from_config({})


def test_importing_rewards_imports_neither_tensorflow_nor_optional_packages() -> None:
    heavy = {"tensorflow", "keras", "sacrebleu", "spellchecker", "vaderSentiment"}
    code = f"import kpg.rewards, sys; sys.exit(bool({heavy} & {{*sys.modules}}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


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
