"""The critic as a Keras model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

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
    with pytest.raises(ValueError, match=r"whole number.*Received: hidden_units"):
        Critic(OBSERVATIONS, hidden_units=(8, 0))


def shared() -> tuple[Policy, Critic]:
    policy = Policy(
        OBSERVATIONS,
        gym.spaces.Box(-1.0, 1.0, (2,)),
        hidden_units=(4,),
        memory="gru",
        memory_units=3,
        seed=0,
    )
    return policy, Critic(OBSERVATIONS, trunk=policy, seed=0)


def test_a_shared_trunk_is_one_trunk() -> None:
    policy, critic = shared()
    mine, its = (
        {id(weight): weight for weight in model.trainable_variables}
        for model in (critic, policy)
    )
    assert [w.shape for k, w in mine.items() if k not in its] == [(3, 1), (1,)]
    only_policy = [w for k, w in its.items() if k not in mine]
    assert [w.shape for w in only_policy] == [(2,), (3, 2), (2,)]  # log_std, head
    assert critic.normalizers[0][1] is policy.normalizers[0][1]
    assert critic.state_spec == policy.state_spec
    cell: Any = policy.trunk.memory
    features, _ = cell(policy.trunk(ROWS), [tf.zeros([5, 3])], training=False)
    np.testing.assert_allclose(
        critic(ROWS), tf.squeeze(critic.head(features), -1), atol=1e-6
    )


def test_the_configuration_of_a_shared_trunk_needs_the_policy() -> None:
    policy, critic = shared()
    config = json.loads(json.dumps(critic.get_config()))
    assert config["trunk"] is True
    with pytest.raises(ValueError, match=r"from_config\(config, trunk=policy\)"):
        Critic.from_config(config)
    again = Critic.from_config(config, trunk=policy)
    np.testing.assert_array_equal(again(ROWS), critic(ROWS))
    assert again.get_config() == critic.get_config()


class Pair(keras.Model):
    """Holds the models as a trainer does."""

    def __init__(self) -> None:
        super().__init__()
        self.policy, self.critic = shared()
        self.built = True


def test_weights_of_a_shared_trunk_are_saved_once_and_come_back(tmp_path: Path) -> None:
    pair, again = Pair(), Pair()
    assert len(pair.weights) == len({id(w) for w in pair.weights})
    for weight in pair.weights:
        weight.assign(weight + 0.25)
    pair.save_weights(tmp_path / "pair.weights.h5")
    again.load_weights(tmp_path / "pair.weights.h5")
    for mine, other in zip(again.weights, pair.weights, strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize(
    "own",
    [
        {"backbone": keras.layers.Dense(2)},
        {"hidden_units": [4]},
        {"activation": "relu"},
        {"memory": "gru"},
        {"memory": "gru", "memory_units": 2},
        {"action_mask": "mask"},
    ],
    ids=str,
)
def test_a_shared_trunk_has_no_options_of_its_own(own: dict[str, Any]) -> None:
    name = next(iter(own))
    with pytest.raises(ValueError, match=f"`{name}` has no effect with a shared"):
        Critic(OBSERVATIONS, trunk=shared()[0], **own)


def test_refuses_what_cannot_be_shared() -> None:
    with pytest.raises(ValueError, match=r"must be the kpg.models.Policy.*Received"):
        Critic(OBSERVATIONS, trunk=keras.layers.Dense(2))
    other = gym.spaces.Box(-1.0, 1.0, (4,))
    with pytest.raises(ValueError, match=r"for the same observations.*\(4,\)"):
        Critic(other, trunk=shared()[0])


def test_does_not_see_the_action_mask() -> None:
    space = gym.spaces.Dict({"x": OBSERVATIONS, "mask": gym.spaces.MultiBinary(2)})
    critic = Critic(space, action_mask="mask", seed=0)
    none, all_ = ({"x": ROWS, "mask": np.full((5, 2), bit, "int8")} for bit in (0, 1))
    np.testing.assert_array_equal(critic(none), critic(all_))
    seeing = Critic(space, seed=0)
    assert np.abs(seeing(none) - seeing(all_)).min() > 1e-4
