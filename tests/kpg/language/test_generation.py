"""Prompts, rewards, and everything that may be wrong with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import kpg.rewards
from kpg.environments import TextGeneration


def length(prompts: Any, completions: Any) -> list[float]:
    return [float(len(text)) for text in completions]


def per_token(prompts: Any, completions: Any, completion_ids: Any) -> list[Any]:
    return [np.arange(len(tokens)) for tokens in completion_ids]


def exact(prompts: Any, completions: Any, references: Any) -> list[float | None]:
    pairs = zip(completions, references, strict=True)
    return [None if want is None else float(text == want) for text, want in pairs]


def task(rewards: Any = (length,), **options: Any) -> TextGeneration:
    prompts = options.pop("prompts", ["one", "two", "three"])
    options = {"max_new_tokens": 4, "num_envs": 2, **options}
    return TextGeneration(prompts, rewards=rewards, **options)


def score(env: TextGeneration, texts: Any = ("ab", "c")) -> Any:
    tokens = [np.arange(len(text) + 1, dtype=np.int32) for text in texts]
    given = [np.array([5], np.int32), np.array([6, 7], np.int32)]
    return env.score(np.array([0, 2]), list(texts), given, tokens, [True, False])


def test_rewards_stand_where_they_were_earned() -> None:
    found = score(task([length, per_token], reward_weights=[2.0, 0.5]))
    want = [[0.0, 0.0], [0.5, 2.0 + 0.5], [4.0 + 1.0, 0.0], [0.0, 0.0]]
    np.testing.assert_allclose(found.total.T, want)
    assert found.scored.all() and found.means() == {"length": 1.5, "per_token": 2.0}


def test_a_reward_may_have_nothing_to_say() -> None:
    env = task([exact], references=["ab", "x", None])
    found = score(env)
    np.testing.assert_array_equal(found.total[0], [0.0, 0.0, 1.0, 0.0])
    assert found.scored.tolist() == [True, False] and found.means() == {"exact": 1.0}
    with_length = score(task([exact, length], references=["ab", "x", None]))
    assert with_length.scored.tolist() == [True, False]
    assert with_length.means() == {"exact": 1.0, "length": 1.5}


def test_rewards_are_given_the_columns_that_they_name() -> None:
    seen: list[Any] = []

    def everything(prompts: Any, completions: Any, **columns: Any) -> list[float]:
        seen.append((prompts, completions, columns))
        return [0.0, 0.0]

    def one(prompts: Any, completions: Any, topic: Any, mood: str = "calm") -> Any:
        seen.append((topic, mood))
        return [0.0, 0.0]

    score(task([everything, one], columns={"topic": [7, 8, 9]}, references=["xyz"] * 3))
    (prompts, completions, columns), named = seen
    assert prompts == ["one", "three"] and completions == ["ab", "c"]
    assert columns["topic"] == [7, 9] and columns["references"] == ["xyz", "xyz"]
    assert columns["ended"] == [True, False] and len(columns["completion_ids"]) == 2
    assert [len(ids) for ids in columns["prompt_ids"]] == [1, 2]
    assert named == ([7, 9], "calm")


def test_measures_are_means_since_they_were_asked() -> None:
    env = task([length, lambda prompts, completions: [1.0, 2.0]])
    score(env)
    score(env, ("abc", ""))
    want = {"length": 1.5, "<lambda>": 1.5}
    named = {f"reward/{name}": mean for name, mean in want.items()}
    assert env.measured() == {**named, "ended": 0.5}
    assert env.measured() == {}
    assert env.completed is not None and env.completed.completions == ["abc", ""]


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompts": []}, r"at least one prompt. Received: prompts=\[\]"),
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


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([float("nan"), 1.0], "finite number.*the prompt 'one'.*'ab'. Received: nan"),
        ([1.0, float("inf")], "the prompt 'three'.*'c'. Received: inf"),
        ([1.0], "must return 2 scores.*'one'.*Received: 1 scores"),
        (
            [[1.0, 2.0, 3.0], [1.0]],
            r"the 2 tokens a number each.*'three'.*shape \(1,\)",
        ),
    ],
)
def test_refuses_an_answer(answer: Any, message: str) -> None:
    env = task([lambda prompts, completions: answer])
    with pytest.raises(ValueError, match=message):
        score(env)


def test_shows_the_prompt_that_a_reward_fails_on() -> None:
    def fussy(prompts: Any, completions: Any) -> list[float]:
        return [1.0 / (len(text) - 1) for text in completions]

    with pytest.raises(ValueError, match="the prompt 'three'.*'c'.*ZeroDivisionError"):
        score(task([fussy]))

    def together(prompts: Any, completions: Any) -> list[float]:
        if len(prompts) > 1:
            raise KeyError("many")
        return [0.0]

    with pytest.raises(ValueError, match="'one'.*only for the batch as a whole"):
        score(task([together]))
