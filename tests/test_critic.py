"""The critic as a Keras model."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import keras
import numpy as np
import pytest

from kpg.models import Critic, Policy

OBSERVATIONS = gym.spaces.Box(-1.0, 1.0, (3,))
ROWS = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")


def test_one_value_for_each_observation() -> None:
    critic = Critic(OBSERVATIONS, seed=0)
    values = critic(ROWS)
    assert values.shape == (5,)
    assert np.ptp(values) > 0.1


def test_head_has_gain_one() -> None:
    kernel = Critic(OBSERVATIONS, seed=0).head.kernel.numpy()
    assert np.linalg.norm(kernel) == pytest.approx(1.0, abs=1e-5)


def test_a_critic_and_a_policy_of_one_seed_have_their_own_weights() -> None:
    critic = Critic(OBSERVATIONS, seed=0)
    policy = Policy(OBSERVATIONS, gym.spaces.Discrete(2), seed=0)
    mine, its = (model.backbone.layers[1].kernel for model in (critic, policy))
    assert not np.allclose(mine, its)


def test_saving_keeps_everything(tmp_path: Path) -> None:
    critic = Critic(OBSERVATIONS, backbone=keras.layers.Dense(4, "relu"), seed=0)
    critic.save(tmp_path / "critic.keras")
    revived = keras.saving.load_model(tmp_path / "critic.keras")
    np.testing.assert_array_equal(revived(ROWS), critic(ROWS))
    assert revived.backbone.get_config() == critic.backbone.get_config()


def test_refuses_bad_widths() -> None:
    with pytest.raises(ValueError, match=r"positive integers.*Received: hidden_units"):
        Critic(OBSERVATIONS, hidden_units=(8, 0))
