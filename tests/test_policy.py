"""The policy as a Keras model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

from kpg.models import Policy

OBSERVATIONS = gym.spaces.Box(-np.inf, np.inf, (3,))
ACTIONS: list[gym.Space[Any]] = [
    gym.spaces.Discrete(4),
    gym.spaces.Box(-1.0, 1.0, (2,)),
]


def rows(count: int = 6) -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).normal(size=(count, 3)), tf.float32)


@pytest.mark.parametrize("space", ACTIONS, ids=str)
def test_methods_agree_with_the_distribution(space: gym.Space[Any]) -> None:
    policy = Policy(OBSERVATIONS, space, seed=0)
    observations = rows()
    parameters = policy(observations)
    assert parameters.shape == (6, *policy.family.parameters_shape)
    actions, log_probs = policy.sample(observations, tf.constant([1, 2]))
    oracle = policy.distribution(observations)
    np.testing.assert_allclose(log_probs, oracle.log_prob(actions), atol=1e-5)
    np.testing.assert_allclose(
        policy.log_prob(observations, actions), log_probs, atol=1e-5
    )
    np.testing.assert_allclose(policy.entropy(observations), oracle.entropy(), 1e-5)
    np.testing.assert_allclose(policy.mode(observations), oracle.mode())


def test_a_new_policy_is_nearly_uniform_and_has_unit_deviations() -> None:
    discrete, box = (Policy(OBSERVATIONS, space, seed=0) for space in ACTIONS)
    probs = tf.nn.softmax(discrete(rows()))
    np.testing.assert_allclose(probs, 0.25, atol=0.02)
    normal = box.distribution(rows()).distribution
    np.testing.assert_allclose(normal.loc, 0.0, atol=0.1)
    np.testing.assert_allclose(normal.scale, 1.0)


def test_initial_weights_are_orthogonal_with_the_stated_gains() -> None:
    policy = Policy(OBSERVATIONS, ACTIONS[0], hidden_units=(8, 8), seed=0)
    dense = [layer for layer in policy.backbone.layers if hasattr(layer, "kernel")]
    for kernel, gain in ((dense[1].kernel, np.sqrt(2)), (policy.head.kernel, 0.01)):
        matrix = kernel.numpy()
        wide = matrix.shape[1]
        np.testing.assert_allclose(
            matrix.T @ matrix, gain**2 * np.eye(wide), atol=1e-5 * gain
        )
    for layer in (*dense, policy.head):
        np.testing.assert_array_equal(layer.bias, 0.0)


def test_one_seed_makes_one_policy_and_layers_differ() -> None:
    first, again, other = (
        Policy(OBSERVATIONS, ACTIONS[0], hidden_units=(3, 3), seed=seed)
        for seed in (1, 1, 2)
    )
    for mine, same in zip(first.weights, again.weights, strict=True):
        np.testing.assert_array_equal(mine, same)
    assert not np.allclose(first(rows()), other(rows()), atol=1e-6)
    kernels = [layer.kernel.numpy() for layer in first.backbone.layers[1:]]
    assert not np.allclose(kernels[0], kernels[1])


def own_backbone() -> keras.Sequential:
    return keras.Sequential(
        [keras.layers.Dense(5, "relu"), keras.layers.Dense(4, "relu")]
    )


@pytest.mark.parametrize("space", ACTIONS, ids=str)
@pytest.mark.parametrize("own", [False, True], ids=["mlp", "own backbone"])
def test_saving_keeps_everything(
    space: gym.Space[Any], own: bool, tmp_path: Path
) -> None:
    backbone = own_backbone() if own else None
    policy = Policy(OBSERVATIONS, space, backbone=backbone, seed=0)
    for _, normalizer in policy.normalizers:
        normalizer.update(100.0 * rows() + 7.0)
    policy.save(tmp_path / "policy.keras")
    revived = keras.saving.load_model(tmp_path / "policy.keras")
    np.testing.assert_array_equal(revived(rows()), policy(rows()))
    assert revived.action_space == space
    config, again = policy.get_config(), revived.get_config()
    assert config.keys() == again.keys()
    assert {**config, "backbone": None} == {**again, "backbone": None}
    assert revived.backbone.get_config()["name"] == policy.backbone.name or not own


def test_images_are_flattened_unless_the_backbone_takes_them() -> None:
    images = gym.spaces.Box(0, 255, (4, 4, 1), np.uint8)
    batch = np.zeros((2, 4, 4, 1), np.uint8)
    assert Policy(images, ACTIONS[0])(batch).shape == (2, 4)
    layers = keras.layers
    cnn = keras.Sequential([layers.Conv2D(2, 2), layers.Flatten()])
    assert Policy(images, ACTIONS[0], backbone=cnn)(batch).shape == (2, 4)


@pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 3, 1)])
def test_refuses_observations_of_another_shape(shape: tuple[int, ...]) -> None:
    policy = Policy(OBSERVATIONS, ACTIONS[0])
    with pytest.raises(ValueError, match="batch of observations of shape"):
        policy(np.zeros(shape, "float32"))


def test_refuses_a_backbone_without_features() -> None:
    images = gym.spaces.Box(0, 1, (4, 4, 1))
    with pytest.raises(ValueError, match=r"\[B, features\].*Flatten"):
        Policy(images, ACTIONS[0], backbone=keras.layers.Conv2D(2, 2))


def test_refuses_spaces_it_does_not_know() -> None:
    graph: gym.Space[Any] = gym.spaces.Graph(gym.spaces.Discrete(2), None)
    with pytest.raises(ValueError, match=r"observation space must.*Graph.*Wrapper"):
        Policy(graph, ACTIONS[0])
    with pytest.raises(ValueError, match=r"action space must.*Text.*Wrapper"):
        Policy(OBSERVATIONS, gym.spaces.Text(3))
