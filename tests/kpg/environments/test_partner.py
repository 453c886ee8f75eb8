"""A model inside an environment is handed on to whoever trains it."""

from __future__ import annotations

from typing import Any

import gymnasium
import tensorflow as tf
from gymnasium.vector import SyncVectorEnv

from kpg.environments import HostEnvironment, Partner


class Idle:
    """Does nothing, which is certain."""

    model: Any = None
    turn: Any = ()

    def log_probs(self, turn: Any) -> tf.Tensor:
        return tf.zeros([2])

    def refresh(self) -> None:
        pass


class WithPartner(SyncVectorEnv):
    """CartPole with a model that does nothing."""

    def partner(self) -> Partner:
        return Idle()

    def measured(self) -> dict[str, float]:
        return {"idle": 1.0}


def test_what_the_vector_environment_has_is_handed_on() -> None:
    env = HostEnvironment(WithPartner([lambda: gymnasium.make("CartPole-v1")] * 2))
    assert isinstance(env.partner(), Idle)
    assert env.measured() == {"idle": 1.0}
    env.close()
