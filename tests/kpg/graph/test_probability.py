"""TensorFlow Probability is imported when something needs it."""

from __future__ import annotations

import subprocess
import sys

import tensorflow_probability as tfp

from kpg.graph import probability


def test_names_are_those_of_tensorflow_probability() -> None:
    assert probability.distributions is tfp.distributions
    assert probability.math is tfp.math


LAZY = """
import sys
import gymnasium as gym
import numpy as np
import tensorflow as tf
import kpg

both = gym.spaces.Discrete(3), gym.spaces.Box(-1.0, 1.0, (2,))
policy = kpg.models.Policy(gym.spaces.Box(-1.0, 1.0, (2,)), gym.spaces.Tuple(both))
observations = np.zeros([4, 2], np.float32)
actions, _ = policy.sample(observations, tf.constant([1, 2]))
policy.log_prob(observations, actions), policy.entropy(observations)
assert "tensorflow_probability" not in sys.modules
log_probs = policy.distribution(observations).log_prob(actions)
assert "tensorflow_probability" in sys.modules
np.testing.assert_allclose(log_probs, policy.log_prob(observations, actions), 1e-5)
assert kpg.distributions.CategoricalByArgmax(logits=[0.0, 9.0]).mode() == 1
"""


def test_tensorflow_probability_is_imported_on_first_use() -> None:
    command = [sys.executable, "-c", LAZY]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
