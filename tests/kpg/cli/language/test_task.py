from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import kpg
from kpg.cli.language.task import Task, environment
from kpg.cli.language.texts import Texts
from kpg.types import Config

OWN = """
def long(prompts, completions):
    return [float(len(text)) for text in completions]

class Always:
    def __call__(self, prompts, completions):
        return [1.0] * len(completions)

number = 3
"""


@pytest.fixture(autouse=True)
def _own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_rewards.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)


def letters(**task: object) -> Config:
    """The fields of a preset with another task."""
    fields = dataclasses.asdict(Texts().load("text:letters"))
    return fields | {"task": fields["task"] | task}


@pytest.mark.parametrize(
    ("rewards", "scores"),
    [
        ("own_rewards:long", [4.0]),
        (["own_rewards:long", "own_rewards:Always"], [4.0, 1.0]),
        ([{"class_name": "LetterShare"}, "own_rewards:long"], [0.5, 4.0]),
        ("LetterShare", [0.5]),
    ],
)
def test_rewards_are_configurations_or_names(
    rewards: object, scores: list[float]
) -> None:
    env = environment(letters(rewards=rewards), 4, 0)
    given = [
        reward(prompts=["ba"], completions=["atat"])[0]
        for reward in env.task.reward.rewards
    ]
    assert given == scores


@pytest.mark.parametrize(
    ("rewards", "words"),
    [
        ("own_rewards:number", "functions or classes"),
        ("own_rewards:lon", "Did you mean long"),
        ("no_such_module:long", "No module named"),
        ("Blue", "'Blue'"),
    ],
)
def test_what_is_no_reward_is_refused(rewards: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        environment(letters(rewards=rewards), 4, 0)


def test_groups_are_for_learning_only() -> None:
    fields = letters(group_size=4)
    assert environment(fields, 8, 0).group_size == 4
    measured = environment(fields, None, 0)
    assert (measured.group_size, measured.num_envs) == (1, 32)


def test_a_supervised_start_needs_texts() -> None:
    with pytest.raises(ValueError, match="pretraining_epochs=0 to do without"):
        Task(prompts=[["a"]], rewards=["LetterShare"], pretraining_epochs=1)
    assert kpg.text.phrases([["a"]]) == ["a"]
