"""Completions and their scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kpg.language.prompt_stream import PromptStream
from kpg.language.task import TextTask


def length(prompts: Any, completions: Any) -> list[float]:
    return [float(len(text)) for text in completions]


def exact(prompts: Any, completions: Any, references: Any) -> list[float | None]:
    pairs = zip(completions, references, strict=True)
    return [None if want is None else float(text == want) for text, want in pairs]


def task(rewards: Any = (length,), **options: Any) -> TextTask:
    return TextTask(
        ["one", "two", "three"],
        options.get("references"),
        rewards,
        options.get("reward_weights"),
        options.get("columns"),
        max_new_tokens=4,
    )


class Reader:
    """Reads a letter a token, and ten tokens in all."""

    def padded(self, prompts: Any, limit: Any = None, side: str = "") -> Any:
        self.asked = limit, side
        lengths = np.minimum([len(prompt) for prompt in prompts], limit or 10)
        return np.zeros([len(prompts), lengths.max()], np.int32), lengths

    def check_room(self, prompt_tokens: int, max_new_tokens: int) -> None:
        if prompt_tokens + max_new_tokens > 10:
            raise ValueError(f"no room for {prompt_tokens} + {max_new_tokens}")


def test_prompts_are_padded_to_the_longest() -> None:
    tokens, lengths = task().padded(Reader(), 5)
    assert tokens.shape == (3, 5) and lengths.tolist() == [3, 3, 5]
    with pytest.raises(ValueError, match="max_prompt_tokens=4, and 5 tokens of 'three"):
        task().padded(Reader(), 4)
    long = TextTask(["seventy"], None, [length], None, None, max_new_tokens=4)
    with pytest.raises(ValueError, match=r"no room for 7 \+ 4"):
        long.padded(Reader(), 8)


def test_prompts_are_cut_where_the_task_says() -> None:
    rows = ["one", "seventeen"]
    reader = Reader()
    cut = TextTask(rows, None, [length], None, None, 4, truncate_prompts="left")
    assert cut.padded(reader, 5)[1].tolist() == [3, 5] and reader.asked == (5, "left")
    with pytest.raises(ValueError, match="None, left, right.*truncate_prompts='top'"):
        TextTask(rows, None, [length], None, None, 4, truncate_prompts="top")


def test_a_stream_is_drawn_in_its_order() -> None:
    rows = [{"prompt": str(number), "number": number} for number in range(5)]
    env = TextTask(PromptStream(rows), None, [length], None, None, 4)
    assert env.streams and not task().streams
    found = []
    for first in (0, 2, 4):
        indices = env.drawn(range(first, first + 2), 0)
        assert indices.tolist() == [0, 1]
        found += list(zip(env.prompts, env.columns["number"], strict=True))
    assert found == [(str(n), n) for n in (0, 1, 2, 3, 4, 0)]
    tokens, lengths = env.padded(Reader(), 6)
    assert tokens.shape == (2, 6) and lengths.tolist() == [1, 1]
    with pytest.raises(ValueError, match="come with the rows.*columns=\\['references'"):
        TextTask(PromptStream(rows), ["a"] * 5, [length], None, None, 4)
    mixed = TextTask(
        PromptStream([*rows, {"prompt": "a"}]), None, [length], None, None, 4
    )
    with pytest.raises(ValueError, match="same further columns"):
        mixed.in_order(4, 2)
    changed = TextTask(PromptStream([*rows[:1], "a"]), None, [length], None, None, 4)
    with pytest.raises(ValueError, match="stay the same in all rows.*columns=\\[\\]"):
        changed.in_order(1, 1)


def per_token(prompts: Any, completions: Any, completion_ids: Any) -> list[Any]:
    return [np.arange(len(tokens)) for tokens in completion_ids]


def score(env: TextTask, texts: Any = ("ab", "c")) -> Any:
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
    assert with_length.scored.tolist() == [True, True]
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
    measured = env.measured()
    assert {**named, "ended": 0.5, "scored": 1.0}.items() <= measured.items()
    # Over all four numbers of the two calls.
    assert measured["reward_std/length"] == pytest.approx(np.std([2, 1, 3, 0]))
    assert measured["reward_scored/length"] == 1.0 and len(measured) == 8
    assert env.measured() == {}
    assert env.completed is not None and env.completed.completions == ["abc", ""]


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


def nothing(prompts: Any, completions: Any) -> list[None]:
    return [None for _ in completions]


def test_the_share_that_was_scored_is_measured() -> None:
    env = task([exact], references=["ab", "b", None])
    found = score(env)
    assert found.scored.tolist() == [True, False]
    measured = env.measured()
    assert measured.pop("reward/exact") == 1.0 and measured.pop("ended") == 0.5
    spread = {"reward_scored/exact": 0.5, "reward_std/exact": 0.0}
    assert measured == {"scored": 0.5, **spread}
    assert env.measured() == {}


def test_a_warning_says_when_nothing_was_scored() -> None:
    env = task([nothing, length], reward_weights=[1.0, 0.0])
    score(env)
    with pytest.warns(UserWarning, match="No completion was scored.*return a number"):
        assert env.measured()["scored"] == 0.0


def test_only_rewards_of_tokens_are_asked_about_what_goes_on() -> None:
    asked: list[str] = []

    def noted(prompts: Any, completions: Any) -> list[float]:
        asked.extend(completions)
        return length(prompts, completions)

    env = task([noted, per_token, nothing], reward_weights=[2.0, 0.5, 1.0])
    tokens = [np.arange(3), np.arange(2)]
    given = (np.array([0, 2]), ["ab", "c"], tokens, tokens, [False, False])
    for _ in range(3):
        assert env.scores_tokens
        np.testing.assert_array_equal(env.so_far(*given), [1.5, 0.5])
    assert asked == ["ab", "c"] and env.measured() == {}
    assert not task([per_token], reward_weights=[0.0]).scores_tokens
