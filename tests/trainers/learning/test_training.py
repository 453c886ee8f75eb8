"""Minibatches and replicas divide the rows, or training is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

Make = Callable[..., Any]


@pytest.mark.parametrize(
    ("algorithm", "settings", "wanted"),
    [
        ("PPO", {"num_epochs": 3, "minibatch_size": 16}, (3, 2)),
        ("PPO", {"num_epochs": 1, "minibatch_size": 32}, (1, 1)),
        ("ActorCritic", {}, (1, 1)),
        ("REINFORCE", {"num_steps": 8}, (1, 1)),
    ],
)
def test_epochs_and_their_minibatches(
    algorithm: str, settings: dict[str, Any], wanted: Any, make_trainer: Make
) -> None:
    training = make_trainer(algorithm, **settings).training_on(4)
    assert training.minibatches() == wanted


def test_minibatches_that_leave_rows_over_are_refused(make_trainer: Make) -> None:
    training = make_trainer("PPO", minibatch_size=24).training_on(4)
    with pytest.raises(ValueError, match=r"4 \* 8 = 32. Received: minibatch_size=24"):
        training.minibatches()


def test_an_order_holds_every_row_or_every_sequence_once(make_trainer: Make) -> None:
    training, seed = make_trainer("PPO").training_on(4), tf.constant([1, 2])
    orders = training.orders(2, 16, seed).numpy()
    assert orders.shape == (4, 16)
    for epoch in orders.reshape(2, 32):
        np.testing.assert_array_equal(np.sort(epoch), np.arange(32))


def test_each_variable_is_trained_by_one_optimizer(make_trainer: Make) -> None:
    trainer = make_trainer("PPO")
    training = trainer.training_on(4)
    ids = [id(variable) for variable in training.variables]
    assert len(set(ids)) == len(ids) == len(trainer.trainable_variables)
    trainer.compile("sgd", critic_optimizer="sgd")
    training = trainer.training_on(4)
    assert [len(own) for _, own in training.optimized] == [4, 4]
    assert {id(variable) for variable in training.variables} == set(ids)
