"""The progress bar that `fit` shows."""

from __future__ import annotations

from typing import Any

import keras
import pytest

import kpg


def lines(capsys: pytest.CaptureFixture[str], **options: Any) -> list[str]:
    """Returns what a `fit` of two epochs of two steps shows, line by line."""
    env = kpg.make("CartPole-v1", num_envs=2, seed=0)
    trainer = kpg.trainers.ActorCritic(
        kpg.models.Policy(env.observation_space, env.action_space, hidden_units=(2,)),
        kpg.models.Critic(env.observation_space, hidden_units=(2,)),
        num_steps=2,
        seed=0,
    )
    trainer.compile("adam", jit_compile=False, steps_per_execution=1)
    trainer.fit(env, epochs=2, steps_per_epoch=2, **options)
    shown = capsys.readouterr().out.replace("\r", "\n").replace("\b", "")
    return [line for line in shown.split("\n") if line.strip()]


def test_a_running_epoch_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    shown = lines(capsys)
    assert sum("Epoch" in line for line in shown) == 2
    running = [line for line in shown if "loss" in line and "entropy" not in line]
    assert running and all("1/2" in line or "2/2" in line for line in running)
    ended = [line for line in shown if "entropy" in line and "env_steps" in line]
    assert len(ended) == 2


def test_a_bar_that_is_given_takes_its_place(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = lines(capsys, callbacks=keras.callbacks.ProgbarLogger())
    assert any("1/2" in line and "entropy" in line for line in shown)


def test_nothing_is_shown_if_nothing_is_wanted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert lines(capsys, verbose=0) == []
