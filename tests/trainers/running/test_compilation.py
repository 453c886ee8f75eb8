"""When XLA is worth its compiling, and how many iterations a call runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

import kpg
from kpg.trainers.running import compilation
from kpg.trainers.running.compilation import Pace, pays_off
from kpg.trainers.running.kinds import kind_of

Make = Callable[..., Any]


def test_a_fixed_pace_is_kept() -> None:
    pace = Pace(4)
    pace.add(10.0, 4)
    assert [pace.size(left) for left in (9, 5, 1)] == [4, 4, 1]


def test_a_pace_of_its_own_fills_a_tenth_of_a_second() -> None:
    pace = Pace(None)
    assert pace.size(1000) == 1
    pace.add(5.0, 1)  # compiling
    assert pace.size(1000) == 1
    pace.add(0.001, 1)
    assert pace.size(1000) == 100
    assert pace.size(30) == 30
    pace.add(0.4, 100)  # disturbed
    assert pace.size(1000) == 100


def test_more_iterations_pay_off_and_those_on_the_host_later() -> None:
    env = kpg.make("CartPole-v1", num_envs=4)
    saved = kind_of(env).saved_by_xla(20, 32)
    assert not pays_off(100, saved)
    assert pays_off(1000, saved)
    on_host = kpg.make("CartPole-v1", num_envs=4, backend="gymnasium")
    assert 0.0 < kind_of(on_host).saved_by_xla(20, 32) < saved
    on_host.close()


@pytest.mark.slow  # `test_determinism.py` has the fast one
def test_the_weights_do_not_depend_on_the_pace(make_trainer: Make) -> None:
    weights = []
    for steps in (1, "auto"):
        trainer = make_trainer("ActorCritic", steps_per_execution=steps)
        trainer.fit(kpg.make("CartPole-v1", 4, seed=0), steps_per_epoch=5, verbose=0)
        weights.append(trainer.policy.get_weights())
    for one, auto in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, auto)


@pytest.mark.slow
def test_xla_begins_where_it_pays_off_and_goes_on_with_the_same_episodes(
    make_trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compilation, "_COMPILING", 0.02)
    weights = []
    for jit_compile, turns in (("auto", [False, True]), (False, [False, False])):
        trainer = make_trainer("PPO", jit_compile=jit_compile)
        env = kpg.make("CartPole-v1", 4, seed=0)
        used = []
        for _ in turns:
            trainer.fit(env, steps_per_epoch=4, verbose=0)
            used.append(trainer.uses_xla)
        assert used == turns
        weights.append(trainer.policy.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def test_what_was_chosen_is_saved_as_it_was_said(make_trainer: Make) -> None:
    trainer = make_trainer("PPO", steps_per_execution="auto", jit_compile="auto")
    config = trainer.get_compile_config()
    assert (config["steps_per_execution"], config["jit_compile"]) == ("auto", "auto")
    trainer.compile_from_config(config)
    assert trainer.get_compile_config() == config
    assert isinstance(trainer.optimizer, keras.optimizers.Optimizer)
