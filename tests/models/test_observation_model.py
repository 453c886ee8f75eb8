"""What a model of observations of one's own must define."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

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
