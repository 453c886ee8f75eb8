"""Each way of estimating advantages is the one that its name says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.trainers import ActorCriticSettings
from tests.fragments import B, Oracle, T, assert_weights, fragment, learn, values_of

Make = Callable[..., Any]
GAMMA = 0.9


def naive(name: str, rows: Any, values: Any, next_values: Any) -> np.ndarray:
    """Sums up rewards and a value for every row, by a loop over what follows it."""
    rewards = rows.rewards.numpy().astype(float)
    terminated, truncated = rows.terminated.numpy(), rows.truncated.numpy()
    horizon = {"td_error": 1, "n_step": 3, "monte_carlo": T}[name]
    gains = np.zeros((T, B))
    for start in range(T):
        for column in range(B):
            total, weight, time = 0.0, 1.0, start
            while True:
                total += weight * rewards[time, column]
                weight *= GAMMA
                cut = terminated[time, column] or truncated[time, column]
                if cut or time == T - 1 or time - start + 1 == horizon:
                    break
                time += 1
            if not terminated[time, column]:
                total += weight * next_values[time, column]
            gains[start, column] = total - values[start, column]
    return gains


@pytest.mark.parametrize("name", ["td_error", "n_step", "monte_carlo"])
def test_the_step_follows_the_advantage(name: str, make_trainer: Make) -> None:
    options = {"n_step": 3} if name == "n_step" else {}
    trainer = make_trainer(
        "ActorCritic",
        num_steps=T,
        gamma=GAMMA,
        advantage=name,
        max_grad_norm=None,
        optimizer=keras.optimizers.SGD(0.1),
        **options,
    )
    rows = fragment(trainer.policy)
    oracle = Oracle(trainer, rows)
    values, next_values = oracle.values()
    gains = naive(name, rows, values, next_values)

    def loss() -> tf.Tensor:
        errors = trainer.critic(oracle.flat) - oracle.constant(gains + values)
        terms = -oracle.log_probs() * oracle.constant(gains)
        return oracle.mean(terms + 0.5 * 0.5 * tf.square(errors))

    expected = oracle.step(loss, 0.1)
    learn(trainer, rows)
    assert_weights(trainer, expected)


def test_vtrace_corrects_for_the_steps_taken_meanwhile(make_trainer: Make) -> None:
    """Two steps on one fragment, each with the ratios and values of its own time."""
    trainer = make_trainer(
        "ActorCritic",
        num_steps=T,
        gamma=GAMMA,
        advantage="vtrace",
        num_epochs=2,
        clip_rho=0.9,
        clip_c=0.8,
        max_grad_norm=None,
        optimizer=keras.optimizers.SGD(0.5),
    )
    rows = fragment(trainer.policy)
    again = make_trainer("ActorCritic", num_steps=T)
    oracle = Oracle(again, rows)
    variables = again.learned_variables()
    ratios = tf.zeros([T, B])
    for _ in range(2):
        values, next_values = oracle.values()
        ratios = tf.reshape(oracle.log_probs(), [T, B]) - rows.log_probs
        found = kpg.advantages.vtrace(
            rows.rewards,
            values,
            next_values,
            rows.terminated,
            rows.truncated,
            ratios,
            gamma=GAMMA,
            clip_rho=0.9,
            clip_c=0.8,
        )

        def loss(found: Any = found) -> tf.Tensor:
            errors = again.critic(oracle.flat) - tf.reshape(found.targets, [-1])
            terms = -oracle.log_probs() * tf.reshape(found.advantages, [-1])
            return oracle.mean(terms + 0.25 * tf.square(errors))

        for variable, value in zip(variables, oracle.step(loss, 0.5), strict=True):
            variable.assign(value)
    assert np.abs(ratios).max() > 1e-3  # in the second step they mattered
    learn(trainer, rows)
    assert_weights(trainer, values_of(variables), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"advantage": "magic"}, r"`advantage` has no such choice.*gae.*'magic'"),
        ({"advantage": "td_error", "gae_lambda": 0.9}, r"`gae_lambda` has no effect"),
        ({"n_step": 3}, r"`n_step` has no effect with advantage=GAE"),
        ({"num_epochs": 2}, r"`num_epochs` has no effect with advantage=GAE"),
        ({"clip_rho": 2.0}, r"`clip_rho` has no effect.*Received: clip_rho=2"),
        ({"ent_coef_schedule": "linear"}, r"`ent_coef_schedule` has no effect"),
        ({"learning_rate_schedule": "adaptive_kl"}, r"must be one of constant, linear"),
    ],
)
def test_refuses_what_has_no_effect(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ActorCriticSettings.make(options)
