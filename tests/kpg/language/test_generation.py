"""Prompts, rewards, and everything that may be wrong with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import kpg.rewards
from kpg.environments import TextGeneration


def length(prompts: Any, completions: Any) -> list[float]:
    return [float(len(text)) for text in completions]


def exact(prompts: Any, completions: Any, references: Any) -> list[float | None]:
    pairs = zip(completions, references, strict=True)
    return [None if want is None else float(text == want) for text, want in pairs]


def task(rewards: Any = (length,), **options: Any) -> TextGeneration:
    prompts = options.pop("prompts", ["one", "two", "three"])
    options = {"max_new_tokens": 4, "num_envs": 2, **options}
    return TextGeneration(prompts, rewards=rewards, **options)


def test_completions_are_scored_by_the_task() -> None:
    env = task([length], prompts=["one", "two"])
    tokens = [np.zeros(3, np.int32), np.zeros(2, np.int32)]
    found = env.score(np.array([0, 1]), ["ab", "c"], tokens, tokens, [True, False])
    np.testing.assert_array_equal(found.total, [[0, 0, 2, 0], [0, 1, 0, 0]])
    assert env.completed is not None and env.completed is env.task.completed
    assert env.completed.prompts == ["one", "two"]
    measured = env.measured()
    assert measured.pop("reward_std/length") == measured.pop("ended") == 0.5
    assert measured.pop("reward_scored/length") == measured.pop("scored") == 1.0
    assert measured == {"reward/length": 1.5}
    assert env.task.measured() == {}


def test_every_prompt_has_its_turn_in_each_pass() -> None:
    env = task(prompts=[*"abcdefg"], num_envs=6, group_size=2)
    rows = [env.chosen(iteration) for iteration in range(7)]
    for row in rows:
        np.testing.assert_array_equal(row[::2], row[1::2])
    drawn = np.concatenate([row[::2] for row in rows]).reshape(3, 7)
    np.testing.assert_array_equal(np.sort(drawn), [np.arange(7)] * 3)
    assert not np.array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(env.chosen(3), rows[3])
    other = task(prompts=[*"abcdefg"], num_envs=6, group_size=2, seed=1)
    assert any(not np.array_equal(other.chosen(i), row) for i, row in enumerate(rows))


def test_parts_are_of_whole_groups() -> None:
    with pytest.raises(ValueError, match="times `parts`.*group_size=2, parts=3"):
        task(num_envs=8, group_size=2, parts=3)
    with pytest.raises(ValueError, match="parts=0"):
        task(parts=0)
    with pytest.raises(ValueError, match="times `parts`.*parts=2, 4 workers"):
        task(num_envs=4, group_size=1, parts=2).share(0, 4)


def test_workers_split_whole_groups() -> None:
    whole = task(prompts=[*"abcdefg"], num_envs=8, group_size=2)
    assert whole.share(0, 1) is whole
    shares = [whole.share(worker, 2) for worker in (0, 1)]
    assert [own.num_envs for own in shares] == [4, 4] and whole.num_envs == 8
    for iteration in range(3):
        parts = [own.chosen(iteration) for own in shares]
        np.testing.assert_array_equal(np.concatenate(parts), whole.chosen(iteration))
    with pytest.raises(
        ValueError, match="num_envs=8, group_size=2, parts=1, 3 workers"
    ):
        whole.share(0, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompts": []}, r"at least one. Received: prompts=\[\]"),
        ({"prompts": ["a", ""]}, r"not empty.*prompts\[1\]=''"),
        ({"prompts": ["a", 3]}, r"prompts\[1\]=3"),
        ({"references": ["a"]}, "`references` must have.*3 prompts. Received: 1"),
        ({"columns": {"topic": "abc"}}, "`topic` must have"),
        ({"columns": {"ended": [1, 2, 3]}}, "come from the policy"),
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
        ({"max_prompt_tokens": True}, "max_prompt_tokens=True"),
        ({"group_size": 3}, "num_envs=2, group_size=3"),
        ({"num_envs": 0}, "num_envs=0"),
        ({"rewards": []}, r"one callable or more.*Received: \[\]"),
        ({"rewards": ["bleu"]}, "one callable or more.*Received: 'bleu'"),
        ({"rewards": [length, length]}, r"name of its own.*\['length'\] twice"),
        ({"reward_weights": [1.0, 2.0]}, r"1 finite numbers.*\[1.0, 2.0\]"),
        ({"reward_weights": [float("nan")]}, "1 finite numbers"),
        ({"rewards": [exact]}, "'exact' needs references.*columns"),
        ({"rewards": [kpg.rewards.Bleu()]}, "needs references.*columns"),
    ],
)
def test_refuses_to_be_made(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        task(**options)
