"""What Keras's methods take and a trainer's do not says what to use instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import kpg


@pytest.mark.parametrize(
    ("method", "name", "value", "instead"),
    [
        ("compile", "loss", "mse", "override its `policy_loss`"),
        ("compile", "loss_weights", [1.0], "`vf_coef` and `ent_coef`"),
        ("compile", "metrics", ["mae"], "return metrics from `policy_loss`"),
        ("compile", "weighted_metrics", ["mae"], "in a callback"),
        ("compile", "run_eagerly", True, "`tf.config.run_functions_eagerly"),
        ("fit", "y", [1], "experience comes from the environment"),
        ("fit", "class_weight", {0: 1.0}, "experience comes"),
        ("fit", "batch_size", 32, "`minibatch_size`"),
        ("fit", "shuffle", False, "always shuffles"),
        ("fit", "validation_split", 0.1, "`validation_data` an environment"),
        ("fit", "validation_steps", 3, "`validation_episodes`"),
        ("evaluate", "steps", 3, "`episodes`"),
        ("evaluate", "batch_size", 3, "`num_envs`"),
        ("evaluate", "return_dict", True, "always is a dictionary"),
        ("compile", "optimiser", "adam", "Did you mean optimizer or"),
        ("fit", "epoch", 3, "Did you mean epochs?"),
        ("evaluate", "episode", 3, "Did you mean episodes?"),
    ],
)
def test_refuses_by_name(
    method: str,
    name: str,
    value: object,
    instead: str,
    make_trainer: Callable[..., Any],
) -> None:
    call = getattr(make_trainer("PPO"), method)
    given = () if method == "compile" else (kpg.make("CartPole-v1", num_envs=4),)
    with pytest.raises(ValueError) as caught:
        call(*given, **{name: value})
    message = str(caught.value)
    assert instead in message and message.endswith(f"Received: {name}={value!r}")


def test_a_batch_of_data_teaches_nothing(make_trainer: Callable[..., Any]) -> None:
    trainer, rows = make_trainer("PPO"), np.zeros((2, 4), np.float32)
    trainer_calls = (trainer.train_on_batch, trainer.test_on_batch)
    for call in trainer_calls:
        with pytest.raises(ValueError, match=r"learns from an environment.*fit\(env"):
            call(rows)
