"""All that a trainer remembers, as values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import kpg
from kpg.trainers.variables import assign, holding, values_of, variables_of


@pytest.mark.usefixtures("one_by_one")
def test_values_go_in_and_come_out(make_trainer: Callable[..., Any]) -> None:
    trainer = make_trainer("ActorCritic", num_steps=2, normalize_observations=True)
    before = values_of(trainer)
    trainer.fit(
        kpg.make("CartPole-v1", num_envs=4, seed=0), steps_per_epoch=1, verbose=0
    )
    after = values_of(trainer)
    changed = [not np.array_equal(*pair) for pair in zip(before, after, strict=True)]
    assert sum(changed) > len(trainer.trainable_variables)
    with holding(trainer, before):
        for got, want in zip(values_of(trainer), before, strict=True):
            np.testing.assert_array_equal(got, want)
        assert trainer.env_steps == 0
    assert trainer.env_steps == 8
    other = make_trainer("ActorCritic", num_steps=2, normalize_observations=True)
    assign(other, after)
    for got, want in zip(values_of(other), after, strict=True):
        np.testing.assert_array_equal(got, want)
    assert len({id(v) for v in variables_of(trainer)}) == len(after)
