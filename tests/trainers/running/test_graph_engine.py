"""However many iterations a call runs, and whoever compiles them, all learn alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import kpg
from tests.fragments import values_of

Make = Callable[..., Any]


def cartpole(num_envs: int = 4, seed: int = 0) -> Any:
    return kpg.make("CartPole-v1", num_envs=num_envs, seed=seed)


def test_how_iterations_are_run_does_not_change_what_is_learned(
    make_trainer: Make,
) -> None:
    results = []
    for arguments in (
        {},
        {"steps_per_execution": 4},
        {"jit_compile": True, "steps_per_execution": 3},
    ):
        trainer = make_trainer(
            "PPO", learning_rate_schedule="linear", normalize_rewards=True, **arguments
        )
        trainer.fit(cartpole(), epochs=2, steps_per_epoch=4, verbose=0)
        results.append(values_of(trainer.weights))
    for other in results[1:]:
        for got, want in zip(other, results[0], strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-3, atol=2e-5)
