"""Actions of several parts against the families of the parts."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from kpg.distributions import Family, for_space

S = gym.spaces
BOX = S.Box(np.array([-1.0, 0.0], "f4"), np.array([3.0, 0.5], "f4"))
SPACE = S.Dict(
    {
        "z": S.Tuple((S.Discrete(3), S.Dict({"d": BOX, "c": S.MultiBinary(2)}))),
        "a": S.Discrete(2, start=5),
    }
)
# In the order of `tf.nest`: keys are sorted.
PARTS = [S.Discrete(2, start=5), S.Discrete(3), S.MultiBinary(2), BOX]
SIZES = [2, 3, 4, 4]
SEED = tf.constant([1, 2])
each = pytest.mark.parametrize("distribution", ["normal", "tanh_normal", "beta"])


def draw(family: Family, *shape: int) -> tf.Tensor:
    numbers = np.random.default_rng(0).normal(size=(*shape, *family.parameters_shape))
    return tf.constant(numbers, tf.float32)


def families(distribution: str) -> list[Family]:
    return [
        for_space(part, distribution=distribution) if part is BOX else for_space(part)
        for part in PARTS
    ]


@each
def test_is_the_product_of_its_parts(distribution: str) -> None:
    family, parts = for_space(SPACE, distribution=distribution), families(distribution)
    parameters = draw(family, 7, 5)
    raw = family.sample(parameters, SEED)
    pieces = tf.split(parameters, SIZES, axis=-1)
    flat = [raw["a"], raw["z"][0], raw["z"][1]["c"], raw["z"][1]["d"]]
    groups = list(zip(parts, pieces, flat, strict=True))
    log_prob = sum(part.log_prob(piece, own) for part, piece, own in groups)
    entropy = sum(part.entropy(piece) for part, piece, _ in groups)
    np.testing.assert_allclose(family.log_prob(parameters, raw), log_prob, atol=1e-5)
    np.testing.assert_allclose(family.entropy(parameters), entropy, atol=1e-5)
    actions = family.to_environment(raw)
    np.testing.assert_array_equal(actions["a"], raw["a"] + 5)
    expected = parts[3].to_environment(raw["z"][1]["d"])
    np.testing.assert_array_equal(actions["z"][1]["d"], expected)
    modes = tf.nest.flatten(family.mode(parameters))
    for mode, (part, piece, _) in zip(modes, groups, strict=True):
        np.testing.assert_array_equal(mode, part.mode(piece))


@each
def test_the_event_of_the_joint_distribution(distribution: str) -> None:
    """Discrete parts count from 0; a transformed Box is that of the environment."""
    family = for_space(SPACE, distribution=distribution)
    parameters = 0.3 * draw(family, 7)
    raw = family.sample(parameters, SEED)
    event = {"a": raw["a"], "z": (raw["z"][0], dict(raw["z"][1]))}
    if distribution != "normal":
        event["z"][1]["d"] = family.to_environment(raw)["z"][1]["d"]
    joint = family.distribution(parameters)
    assert isinstance(joint, tfp.distributions.JointDistribution)
    np.testing.assert_allclose(
        family.log_prob(parameters, raw), joint.log_prob(event), rtol=1e-3, atol=1e-4
    )


def test_parts_are_drawn_independently() -> None:
    """Two parts of the same kind do not share their random numbers."""
    family = for_space(S.Tuple((S.Box(-1, 1, ()), S.Box(-1, 1, ()), S.Discrete(2))))
    first, second, _ = family.sample(tf.zeros([20_000, 6]), SEED)
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / np.sqrt(20_000)


def test_specs_constants_and_names() -> None:
    family = for_space(SPACE, log_std_init=-1.0)
    assert family.raw_spec == {
        "a": tf.TensorSpec([], tf.int32),
        "z": (
            tf.TensorSpec([], tf.int32),
            {
                "c": tf.TensorSpec([2], tf.int32),
                "d": tf.TensorSpec([2], tf.float32),
            },
        ),
    }
    expected = [*[np.nan] * 11, -1.0, -1.0]
    np.testing.assert_array_equal(family.constants, expected)
    assert family.num_choices == 2 + 3 + 4
    assert {
        name: value.shape.as_list()
        for name, value in family.named_parameters(draw(family, 7)).items()
    } == {
        "a/logits": [7, 2],
        "z/0/logits": [7, 3],
        "z/1/c/logits": [7, 2, 2],
        "z/1/d/loc": [7, 2],
        "z/1/d/scale": [7, 2],
    }


def test_a_mask_of_the_discrete_parts() -> None:
    """Concatenated in the order of the parts; the Box in between is not counted."""
    space = S.Dict({"a": S.Discrete(2), "b": S.Box(-1, 1, (1,)), "c": S.Discrete(3)})
    family = for_space(space)
    masked = family.masked(tf.zeros([1, 7]), [[0, 1, 1, 0, 1]])
    expected = np.array([[-1e9, 0.0, 0.0, 0.0, 0.0, -1e9, 0.0]], np.float32)
    np.testing.assert_array_equal(masked, expected)


def test_no_legal_choice_makes_the_box_nan_too() -> None:
    family = for_space(S.Tuple((S.Discrete(2), BOX)), distribution="beta")
    masked = family.masked(tf.zeros([2, 6]), [[0, 0], [0, 1]])
    np.testing.assert_array_equal(np.isnan(masked), [[True] * 6, [False] * 6])
    raw: Any = family.sample(masked, SEED)  # the rejections of the Beta must end
    assert np.isfinite(family.log_prob(masked, raw)[1])


def test_refuses_actions_of_another_structure() -> None:
    family = for_space(SPACE)
    with pytest.raises(ValueError, match="structure"):
        family.log_prob(draw(family, 7), {"a": tf.zeros([7], tf.int32)})
