"""Observations of every space as numbers, against NumPy."""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any, TypeAlias

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

from kpg import spaces
from kpg.models import ObservationEncoder, cnn

Space: TypeAlias = gym.Space[Any]
BOX = gym.spaces.Box(-1.0, 1.0, (2,))
# Of a few float32 operations: 1/√1 is 0.9999999 in some vectorised kernels.
ROUNDING = 1e-6
IMAGE = gym.spaces.Box(0, 255, (8, 9, 3), np.uint8)


def batch(space: Space, size: int = 4) -> Any:
    vector = gym.vector.utils.batch_space(space, size)
    vector.seed(0)
    return spaces.encode(space, vector.sample())


def one_hot(values: Any, count: int) -> Any:
    return np.eye(count, dtype=np.float32)[np.asarray(values)]


@pytest.mark.parametrize("shape", [(), (2,), (3, 2), (9, 9, 2)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_a_box_keeps_its_shape_and_is_standardised(shape: Any, dtype: Any) -> None:
    encoder = ObservationEncoder(gym.spaces.Box(-100, 100, shape, dtype))
    rows = np.random.default_rng(0).uniform(-50, 50, size=(64, *shape)).astype(dtype)
    outputs = encoder(rows)
    assert outputs.dtype == tf.float32
    np.testing.assert_allclose(outputs, rows.astype("float32"), rtol=ROUNDING)
    ((select, normalizer),) = encoder.normalizers
    normalizer.update(select(tf.constant(rows)))
    expected = (rows - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-8)
    np.testing.assert_allclose(encoder(rows), expected, atol=1e-4)


def test_a_plain_image_is_scaled_only() -> None:
    encoder = ObservationEncoder(IMAGE)
    rows = batch(IMAGE)
    np.testing.assert_allclose(encoder(rows), rows / 255.0, atol=1e-6)
    assert encoder.normalizers == [] and encoder.weights == []


@pytest.mark.parametrize("shape", [(8, 9, 3), (9, 9, 17), (84, 84), (4, 9, 9, 3)])
def test_an_image_is_scaled_from_its_bounds(shape: tuple[int, ...]) -> None:
    board = gym.spaces.Box(0, 1, shape, np.uint8)
    rows = batch(board)
    np.testing.assert_array_equal(ObservationEncoder(board)(rows), rows)
    shifted = gym.spaces.Box(10, 20, shape, np.uint8)
    rows = batch(shifted)
    expected = (rows - 10.0) / 10.0
    np.testing.assert_allclose(ObservationEncoder(shifted)(rows), expected, atol=1e-6)
    high = np.full(shape, 4, np.uint8)
    high.flat[0], high.flat[1] = 100, 0
    mixed = gym.spaces.Box(np.zeros(shape, np.uint8), high, dtype=np.uint8)
    rows = batch(mixed)
    expected = rows / np.maximum(high, 1)
    np.testing.assert_allclose(ObservationEncoder(mixed)(rows), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_large_numbers_keep_their_differences(dtype: Any) -> None:
    space = gym.spaces.Box(0, 4e9, (2,), dtype)
    encoder = ObservationEncoder(space)
    noise = np.random.default_rng(0).normal(size=(500, 2), scale=3.0)
    rows = (1.7e9 + noise).astype(dtype)
    ((select, layer),) = encoder.normalizers
    for part in np.split(rows, 5):
        layer.update(select(tf.constant(part)))
    outputs = encoder(tf.constant(rows))
    assert outputs.dtype == tf.float32
    expected = (rows - rows.mean(0)) / rows.astype(float).std(0)
    np.testing.assert_allclose(outputs, expected, atol=1e-3)


@pytest.mark.parametrize("shape", [(7, 8, 3), (84, 7), (8,)])
def test_other_bytes_are_standardised(shape: tuple[int, ...]) -> None:
    space = gym.spaces.Box(0, 255, shape, np.uint8)
    encoder = ObservationEncoder(space)
    assert len(encoder.normalizers) == 1
    np.testing.assert_allclose(encoder(batch(space)), batch(space), rtol=ROUNDING)


def test_discrete_spaces_are_one_hot_from_their_start() -> None:
    encoder = ObservationEncoder(gym.spaces.Discrete(3, start=-1))
    np.testing.assert_array_equal(encoder(np.array([1, -1, 0])), one_hot([2, 0, 1], 3))
    counts, starts = np.array([[2, 3], [1, 4]]), np.array([[1, 0], [5, -2]])
    space = gym.spaces.MultiDiscrete(counts, start=starts)
    rows = np.array([[[2, 1], [5, 1]], [[1, 2], [5, -2]]])
    expected = np.concatenate(
        [
            one_hot([1, 0], 2),
            one_hot([1, 2], 3),
            one_hot([0, 0], 1),
            one_hot([3, 0], 4),
        ],
        axis=1,
    )
    np.testing.assert_array_equal(ObservationEncoder(space)(rows), expected)


def test_bits_are_flattened() -> None:
    space = gym.spaces.MultiBinary((2, 3))
    rows = batch(space)
    encoded = ObservationEncoder(space)(rows)
    assert encoded.dtype == tf.float32
    np.testing.assert_array_equal(encoded, rows.reshape(4, 6))


def test_characters_are_embedded_and_padding_is_zero() -> None:
    encoder = ObservationEncoder(gym.spaces.Text(3, charset="ab"), seed=0)
    encoded = encoder(np.array([[1, 2, 1], [2, 0, 0], [0, 0, 0]], np.int32))
    letters = encoder.encoders[0].embeddings.numpy()
    assert letters.shape == (2, 16) and 0.5 < letters.std() < 1.5
    nothing = np.zeros(16)
    expected = [
        [letters[0], letters[1], letters[0]],
        [letters[1], nothing, nothing],
        [nothing] * 3,
    ]
    np.testing.assert_allclose(encoded, np.reshape(expected, (3, 48)), atol=1e-6)


NEST = gym.spaces.Dict(
    {
        "z": gym.spaces.Tuple((gym.spaces.Discrete(2), BOX)),
        "image": IMAGE,
        "a": gym.spaces.Dict({"count": gym.spaces.Box(0, 9, (1, 2), np.int8)}),
    }
)


def test_nests_are_concatenated_in_their_order() -> None:
    encoder = ObservationEncoder(NEST, seed=0)
    rows = batch(NEST)
    scaled = encoder.encoders[1].layers[1](rows["image"] / np.float32(255.0))
    expected = [
        rows["a"]["count"].reshape(4, 2),
        scaled,
        one_hot(rows["z"][0], 2),
        rows["z"][1],
    ]
    encoded = encoder(rows)
    assert encoded.shape == (4, 2 + 256 + 2 + 2)
    np.testing.assert_allclose(encoded, np.concatenate(expected, axis=1), atol=1e-5)
    np.testing.assert_array_equal(encoder(OrderedDict(rows)), encoded)
    selected = [select(rows) for select, _ in encoder.normalizers]
    np.testing.assert_array_equal(selected[0], rows["a"]["count"])
    np.testing.assert_array_equal(selected[1], rows["z"][1])
    assert len(selected) == 2


def test_nested_images_go_through_the_network_for_images() -> None:
    encoder = ObservationEncoder(gym.spaces.Tuple((IMAGE,)), seed=0)
    shapes = [weight.shape for weight in encoder.trainable_weights]
    assert shapes == [weight.shape for weight in cnn((8, 9, 3), 256).weights]


def test_the_action_mask_is_not_seen() -> None:
    space = gym.spaces.Dict({"mask": gym.spaces.MultiBinary(3), "position": BOX})
    encoder = ObservationEncoder(space, action_mask="mask")
    rows = batch(space)
    np.testing.assert_allclose(encoder(rows), rows["position"], rtol=ROUNDING)
    ((select, _),) = encoder.normalizers
    np.testing.assert_array_equal(select(rows), rows["position"])


@pytest.mark.parametrize(
    "space",
    [BOX, gym.spaces.Tuple((BOX,)), gym.spaces.Dict({"mask": BOX})],
    ids=["Box", "Tuple", "alone"],
)
def test_refuses_a_mask_that_is_not_an_entry_beside_others(space: Space) -> None:
    with pytest.raises(ValueError, match=r"key of a Dict.*action_mask='mask'"):
        ObservationEncoder(space, action_mask="mask")


def test_refuses_observations_of_another_structure() -> None:
    encoder = ObservationEncoder(NEST)
    rows = batch(NEST)
    without = {key: rows[key] for key in ("a", "z")}
    for wrong in (without, rows["image"], {**rows, "z": rows["z"][0]}):
        with pytest.raises(ValueError, match=r"structure of their space.*Received: "):
            encoder(wrong)


def test_names_the_leaf_of_another_shape() -> None:
    encoder = ObservationEncoder(NEST)
    rows = batch(NEST)
    wrong = {**rows, "z": (rows["z"][0], rows["z"][1][0])}
    with pytest.raises(ValueError, match=r"shape \(2,\) at 'z/1'.*shape=\(2,\)"):
        encoder(wrong)


def test_refuses_other_spaces_by_name() -> None:
    sequence = gym.spaces.Dict({"words": gym.spaces.Sequence(BOX)})
    with pytest.raises(ValueError, match=r"Sequence.*words.*Wrapper"):
        ObservationEncoder(sequence)


@pytest.mark.parametrize(
    "space",
    [
        BOX,
        IMAGE,
        gym.spaces.Discrete(3, start=2),
        gym.spaces.MultiDiscrete([2, 3]),
        gym.spaces.MultiBinary(2),
        gym.spaces.Text(4, charset="xyz"),
        NEST,
    ],
    ids=lambda space: type(space).__name__,
)
def test_configuration_round_trip(space: Space) -> None:
    encoder = ObservationEncoder(space, seed=3)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(encoder)))
    revived = keras.saving.deserialize_keras_object(config)
    assert revived.get_config() == encoder.get_config()
    np.testing.assert_array_equal(revived(batch(space)), encoder(batch(space)))
