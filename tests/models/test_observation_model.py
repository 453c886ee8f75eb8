"""What a model of observations of one's own must define."""

from __future__ import annotations

import json
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.models.observation_model import ObservationModel
from kpg.models.trunk import TrunkOptions

SPACE = gym.spaces.Box(-1.0, 1.0, (3,))


class Features(ObservationModel):
    """Returns what its head makes of the features."""

    def outputs(self, features: tf.Tensor, observations: Any) -> tf.Tensor:
        return self.head(features)


def make(kind: type[ObservationModel], memory: Any = None) -> ObservationModel:
    options = TrunkOptions(hidden_units=(4,), memory=memory)
    return kind(SPACE, options, units=2, gain=1.0, seed=0)


def test_outputs_are_all_that_is_needed() -> None:
    model = make(Features)
    rows = np.ones((5, 3), np.float32)
    assert model(rows).shape == (5, 2)
    assert model.get_config()["hidden_units"] == [4]
    outputs, states = model.unroll(rows[np.newaxis], (), np.zeros((1, 5), bool))
    np.testing.assert_allclose(outputs[0], model(rows), rtol=1e-6)
    assert states == () and not model.recurrent


def test_refuses_a_class_without_outputs() -> None:
    with pytest.raises(TypeError, match=r"Unfinished must define outputs.*Received"):
        make(type("Unfinished", (ObservationModel,), {}))


def test_refuses_a_misspelt_method() -> None:
    with pytest.raises(TypeError, match=r"Did you mean outputs\?.*Received: ouputs"):
        type("Misspelt", (ObservationModel,), {"ouputs": lambda self: None})


def test_arguments_of_other_libraries_are_told_ours() -> None:
    space, actions = gym.spaces.Box(-1.0, 1.0, (2,)), gym.spaces.Discrete(2)
    with pytest.raises(
        ValueError, match=r"Did you mean hidden_units\?.*net_arch=\[8\]"
    ):
        kpg.models.Policy(space, actions, net_arch=[8])  # type: ignore[call-arg]
    with pytest.raises(ValueError, match=r"Critic has no such argument.*lstm=3"):
        kpg.models.Critic(space, lstm=3)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match=r"`hidden_units` must be a sequence.*=64"):
        kpg.models.Policy(space, actions, hidden_units=64)  # type: ignore[arg-type]


def test_numbers_of_numpy() -> None:
    space, actions = gym.spaces.Box(-1.0, 1.0, (2,)), gym.spaces.Box(-1.0, 1.0, (1,))
    numbers: Any = {
        "hidden_units": np.array([4, 3]),
        "log_std_init": np.float32(-0.5),
        "memory": "gru",
        "memory_units": np.int64(5),
        "seed": np.int64(3),
    }
    policy = kpg.models.Policy(space, actions, **numbers)
    plain = {k: getattr(v, "tolist", lambda v=v: v)() for k, v in numbers.items()}
    other = kpg.models.Policy(space, actions, **plain)
    for one, same in zip(policy.weights, other.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), same.numpy())
    json.dumps(policy.get_config())
