"""Rewards in threads: the same scores, sooner."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

import kpg
from kpg import rewards
from kpg.rewards import Concurrent, LetterShare

TEXTS = [letter * count for count, letter in enumerate("abcdefgh", 1)]


def length(prompts: Any, completions: Any) -> list[float]:
    return [float(len(text)) for text in completions]


def scored(reward: Any, **columns: Any) -> list[Any]:
    found = rewards.evaluate([reward], None, ["x"] * len(TEXTS), TEXTS, columns)
    scores: list[Any] = next(iter(found.sums().values())).tolist()
    return scores


def test_a_slow_judge_is_asked_at_the_same_time() -> None:
    together = threading.Barrier(4, timeout=60.0)

    def judge(prompts: Any, completions: Any) -> list[float]:
        together.wait()  # no call returns before four have begun
        return length(prompts, completions)

    assert scored(Concurrent(judge, threads=4)) == length([], TEXTS)


@pytest.mark.slow
def test_waiting_takes_its_share_of_the_time() -> None:
    def judge(prompts: Any, completions: Any) -> list[float]:
        time.sleep(0.1)
        return length(prompts, completions)

    started = time.monotonic()
    assert scored(Concurrent(judge, threads=4)) == length([], TEXTS)
    assert 0.2 <= time.monotonic() - started < 0.5  # 0.8 s one by one


@pytest.mark.parametrize("size", [1, 3, 8, 20])
def test_batches_keep_the_order_and_the_columns(size: int) -> None:
    sizes = []

    def judge(completions: Any, topic: Any) -> list[float]:
        sizes.append(len(topic))
        return [
            len(text) + 0.5 * one for text, one in zip(completions, topic, strict=True)
        ]

    reward = Concurrent(judge, threads=2, batch_size=size)
    assert reward.name == "judge" and reward.requires == ("topic",)
    found = scored(reward, topic=list(range(8)), other=["y"] * 8)
    assert found == [1.5 * number + 1.0 for number in range(8)]
    assert sorted(sizes) == sorted(min(size, 8 - i) for i in range(0, 8, size))


def test_coroutines_are_awaited() -> None:
    async def judge(prompts: Any, completions: Any) -> list[float]:
        await asyncio.sleep(0.0)
        return length(prompts, completions)

    assert scored(Concurrent(judge)) == length([], TEXTS)

    async def inside() -> list[Any]:  # as in a notebook, whose thread has a loop
        return scored(Concurrent(judge))

    assert asyncio.run(inside()) == length([], TEXTS)


def test_it_is_a_reward_like_others() -> None:
    reward = Concurrent(LetterShare("ae"), threads=3, name="vowels")
    kpg.testing.check_reward(reward)
    again = rewards.deserialize(rewards.serialize(reward))
    assert isinstance(again, Concurrent) and again.get_config() == reward.get_config()
    assert scored(again) == scored(LetterShare("ae"))


def test_what_a_judge_does_wrong_is_said() -> None:
    def raises(prompts: Any, completions: Any) -> list[float]:
        return [1.0 / (len(completions[0]) - 3)]

    with pytest.raises(
        ValueError, match="'raises' must not raise.*'ccc'.*ZeroDivision"
    ):
        scored(Concurrent(raises))
    with pytest.raises(ValueError, match="score for each of 2 completions.*1 scores"):
        scored(Concurrent(lambda completions: [1.0], batch_size=2))
    with pytest.raises(ValueError, match="at least 1. Received: threads=0"):
        Concurrent(length, threads=0)
    with pytest.raises(ValueError, match="at least 1. Received: batch_size=0"):
        Concurrent(length, batch_size=0)
    with pytest.raises(
        ValueError, match="`reward` must be callable. Received: reward=3"
    ):
        Concurrent(3)  # type: ignore[arg-type]  # what is refused
