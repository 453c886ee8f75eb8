"""What all engines do: they go on where they stopped, and follow a schedule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

import kpg
from tests.fragments import values_of

Make = Callable[..., Any]


def cartpole(num_envs: int = 4, seed: int = 0) -> Any:
    return kpg.make("CartPole-v1", num_envs=num_envs, seed=seed)


def test_two_fits_carry_on_like_one(make_trainer: Make) -> None:
    once, twice = make_trainer("PPO"), make_trainer("PPO")
    once.fit(cartpole(), epochs=2, steps_per_epoch=3, verbose=0)
    env = cartpole()
    for _ in range(2):
        twice.fit(env, epochs=1, steps_per_epoch=3, verbose=0)
    for got, want in zip(
        values_of(twice.weights), values_of(once.weights), strict=True
    ):
        np.testing.assert_array_equal(got, want)


def test_linear_schedule_ends_at_zero_and_is_undone(make_trainer: Make) -> None:
    trainer = make_trainer(
        "PPO",
        learning_rate_schedule="linear",
        optimizer=keras.optimizers.Adam(1e-2),
    )
    history = trainer.fit(cartpole(), epochs=4, steps_per_epoch=1, verbose=0)
    expected = [1e-2, 0.75e-2, 0.5e-2, 0.25e-2]
    np.testing.assert_allclose(history.history["learning_rate"], expected, rtol=1e-5)
    assert float(trainer.optimizer.learning_rate) == pytest.approx(1e-2)
