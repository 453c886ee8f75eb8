"""What every policy answers, whether it observes numbers or texts."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.models.action_model import ActionModel
from tests.texts import policy


def test_the_first_token_of_a_text() -> None:
    made = policy("abc")
    want = tf.nn.log_softmax(made.trunk.logits(made.trunk(tf.constant([[2], [3]]))))
    tokens = tf.constant([2, 3])
    log_probs = made.log_prob(tokens, tf.constant([4, 1]))
    np.testing.assert_allclose(log_probs, [want[0, 0, 4], want[1, 0, 1]], atol=1e-6)
    np.testing.assert_array_equal(made.mode(tokens), tf.argmax(want[:, 0], -1))
    np.testing.assert_allclose(
        made.entropy(tokens), made.distribution(tokens).entropy(), atol=1e-6
    )
    actions, own = made.sample(tokens, tf.constant([1, 2]))
    np.testing.assert_allclose(own, made.log_prob(tokens, actions))


@pytest.mark.parametrize("kind", ["numbers", "texts"])
def test_five_answers_agree(kind: str) -> None:
    made: ActionModel = policy("abc")
    observations = tf.constant([2, 3, 4])
    if kind == "numbers":
        spaces = gym.spaces.Box(-1.0, 1.0, (2,)), gym.spaces.Discrete(3)
        made = kpg.models.Policy(*spaces, seed=0)
        observations = tf.random.stateless_normal([3, 2], [1, 2])
    actions, log_probs = made.sample(observations, tf.constant([1, 2]))
    distribution = made.distribution(observations)
    close: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-6}
    np.testing.assert_allclose(log_probs, distribution.log_prob(actions), **close)
    np.testing.assert_allclose(made.log_prob(observations, actions), log_probs, **close)
    np.testing.assert_allclose(
        made.entropy(observations), distribution.entropy(), **close
    )
    np.testing.assert_array_equal(made.mode(observations), distribution.mode())
