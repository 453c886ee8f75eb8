"""The table of completions, from Python."""

from __future__ import annotations

import io
import json
from pathlib import Path

import keras
import numpy as np
import pytest

import kpg
from kpg.environments import TextGeneration
from kpg.trainers import recipes
from tests.text_training import small_policy, task, vowels


def maybe(prompts: list[str], completions: list[str]) -> list[float | None]:
    return [None if "?" in text else float(len(text)) for text in completions]


def scored() -> TextGeneration:
    """A text task with an iteration behind it."""
    env = TextGeneration(["x", "y"], rewards=[maybe], max_new_tokens=80, num_envs=2)
    rows = [np.array([2], np.int32)] * 2
    env.task.score(np.array([1, 0]), ["a" * 70, "?\n"], rows, rows, [True, False])
    return env


def test_a_table_has_a_column_for_each_reward(tmp_path: Path) -> None:
    stream, path = io.StringIO(), tmp_path / "texts.jsonl"
    callback = kpg.callbacks.Completions(scored(), path=path, stream=stream)
    for epoch in (0, 1):
        callback.on_epoch_end(epoch)
    head, *lines = stream.getvalue().splitlines()[:3]
    assert head == f"prompt  completion{' ' * 50}  maybe"
    assert lines == [f"y       {'a' * 59}…     70", f"x       ?\\n{' ' * 57}    nan"]
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [row["epoch"] for row in rows] == [1, 1, 2, 2]
    assert rows[1] == {
        "epoch": 1,
        "prompt": "x",
        "completion": "?\n",
        "rewards": {"maybe": None},
    }


def test_nothing_is_shown_before_anything_was_written() -> None:
    stream, env = io.StringIO(), task()
    kpg.callbacks.Completions(env, stream=stream).on_epoch_end(0)
    assert not stream.getvalue()


@pytest.mark.usefixtures("one_by_one")
def test_it_shows_what_is_trained_on(capsys: pytest.CaptureFixture[str]) -> None:
    trainer = recipes.rloo(small_policy("abc"), 0)
    trainer.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    env, other = task(num_envs=4, group_size=2), task(num_envs=4)
    history = trainer.fit(
        env,
        steps_per_epoch=1,
        validation_data=other,
        validation_episodes=4,
        callbacks=kpg.callbacks.Completions(env, rows=2),
        verbose=0,
    ).history
    assert capsys.readouterr().out.splitlines()[0].split() == [
        "prompt",
        "completion",
        "vowels",
    ]
    # Each reward is validated, and has a spread.
    for name in ("reward/vowels", "reward_std/vowels", "reward_scored/vowels", "ended"):
        assert len(history[f"val_{name}"]) == 1
    completed = env.task.completed
    assert completed is not None
    paid = np.array(vowels([], completed.completions))
    assert history["reward_std/vowels"] == pytest.approx([paid.std()])
    groups = paid.reshape(2, 2)
    flat = np.mean(groups[:, 0] == groups[:, 1])
    assert history["groups_without_spread"] == pytest.approx([flat])


def test_refuses_what_writes_no_texts() -> None:
    env = kpg.make("CartPole-v1")
    with pytest.raises(ValueError, match="`env` must be a text task.*Received"):
        kpg.callbacks.Completions(env)  # type: ignore[arg-type]  # what is refused
    with pytest.raises(ValueError, match="`rows` must be a whole number"):
        kpg.callbacks.Completions(task(), rows=-1)
