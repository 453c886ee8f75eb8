"""REINFORCE on whole episodes without a critic, and what each step is credited with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import kpg
from tests.fragments import B, T

Make = Callable[..., Any]
GAMMA = 0.8


def without_critic(make_trainer: Make, **options: Any) -> Any:
    """Makes a trainer whose episodes have at most `T` steps."""
    policy = make_trainer("REINFORCE").policy
    trainer = kpg.trainers.REINFORCE(
        policy, seed=0, num_steps=T, gamma=GAMMA, max_grad_norm=None, **options
    )
    trainer.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    return trainer


def credited(rows: Any, returns: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns what each step is credited with, and γᵗ, both `[T, B]`."""
    rewards, valid = rows.rewards.numpy().astype(float), rows.valid.numpy()
    credit, weights = np.zeros((T, B)), np.zeros((T, B))
    for column in range(B):
        last = int(valid[:, column].sum())
        for time in range(last):
            first = time if returns == "reward_to_go" else 0
            credit[time, column] = sum(
                GAMMA ** (later - first) * rewards[later, column]
                for later in range(first, last)
            )
            weights[time, column] = GAMMA**time
    return credit, weights
