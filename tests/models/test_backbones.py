"""The default networks between an observation and a head."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kpg.models import cnn, mlp


def convolutions(network: keras.Sequential) -> list[keras.layers.Conv2D]:
    return [x for x in network.layers if isinstance(x, keras.layers.Conv2D)]


def test_large_images_get_the_network_of_the_paper() -> None:
    network = cnn((84, 84, 4), seed=0)
    layers = convolutions(network)
    assert [(x.filters, x.kernel_size[0], x.strides[0]) for x in layers] == [
        (32, 8, 4),
        (64, 4, 2),
        (64, 3, 1),
    ]
    assert layers[-1].output.shape == (None, 7, 7, 64)
    assert network(np.zeros((2, 84, 84, 4), "float32")).shape == (2, 512)


@pytest.mark.parametrize("side", [*range(8, 17), 35, 36, 37])
def test_every_size_keeps_a_bit_of_space(side: int) -> None:
    shape = convolutions(cnn((side, side + 3, 1), units=2))[-1].output.shape
    assert 1 <= shape[1] <= shape[2] <= 7


def test_channels_may_come_first() -> None:
    first, last = cnn((3, 10, 12), units=4, seed=0), cnn((10, 12, 3), units=4, seed=0)
    images = tf.random.stateless_uniform([2, 3, 10, 12], [0, 1])
    transposed = tf.transpose(images, [0, 2, 3, 1])
    np.testing.assert_allclose(first(images), last(transposed), atol=1e-6)
    assert np.ptp(first(images)) > 0.01


def test_convolutions_are_orthogonal_of_gain_root_two() -> None:
    network = cnn((8, 8, 2), units=5, seed=1)
    weighted = [x for x in network.layers if hasattr(x, "kernel")]
    assert len(weighted) == 4
    for layer in weighted:
        matrix = layer.kernel.numpy().reshape(-1, layer.kernel.shape[-1])
        singular = np.linalg.svd(matrix, compute_uv=False)
        np.testing.assert_allclose(singular, math.sqrt(2.0), rtol=1e-4)
        np.testing.assert_array_equal(layer.bias, 0.0)


def test_one_seed_makes_one_network() -> None:
    first, again, other = (cnn((8, 8, 2), units=5, seed=seed) for seed in (1, 1, 2))
    for mine, same in zip(first.weights, again.weights, strict=True):
        np.testing.assert_array_equal(mine, same)
    assert np.abs(first.weights[0] - other.weights[0]).max() > 0.01


def test_configurations_come_back() -> None:
    for network in (cnn((3, 9, 9), units=4), mlp((3, 2), "relu")):
        config = keras.saving.serialize_keras_object(network)
        assert keras.saving.deserialize_keras_object(config).get_config() == (
            network.get_config()
        )


@pytest.mark.parametrize(
    "shape", [(7, 80, 3), (80, 7), (3, 7, 7), (2, 7, 8, 3), (80,), (2, 2, 8, 8, 3)]
)
def test_refuses_what_is_no_image(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"at least 8 by 8.*Received: image_shape"):
        cnn(shape)


@pytest.mark.parametrize("units", [(8, 0), (2.5,)])
def test_refuses_bad_widths(units: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"whole number.*Received: hidden_units"):
        mlp(units)


@pytest.mark.parametrize(
    ("shape", "channels", "seen", "permuted"),
    [
        ((9, 9, 17), "auto", (9, 9, 17), None),
        ((17, 9, 9), "auto", (9, 9, 17), (2, 3, 1)),
        ((9, 9, 9), "auto", (9, 9, 9), None),
        ((9, 9, 9), "first", (9, 9, 9), (2, 3, 1)),
        ((9, 12, 16), "auto", (9, 12, 16), None),
        ((12, 210, 160), "auto", (210, 160, 12), (2, 3, 1)),
        ((7, 12, 16), "auto", (12, 16, 7), (2, 3, 1)),
        ((10, 12), "auto", (10, 12, 1), None),
        ((4, 84, 84, 3), "auto", (84, 84, 12), (2, 3, 1, 4)),
        ((4, 3, 84, 84), "auto", (84, 84, 12), (3, 4, 1, 2)),
        ((84, 84, 3, 4), "auto", (84, 84, 12), None),
        ((9, 9, 17), "legacy", (9, 17, 9), (2, 3, 1)),
    ],
)
def test_where_the_channels_are(
    shape: Any, channels: str, seen: Any, permuted: Any
) -> None:
    network = cnn(shape, units=2, seed=0, channels=channels)
    assert convolutions(network)[0].input.shape == (None, *seen)
    orders = [tuple(x.dims) for x in network.layers if hasattr(x, "dims")]
    assert orders == ([] if permuted is None else [permuted])


def test_frames_and_their_channels_become_channels() -> None:
    frames = np.random.default_rng(0).normal(size=(2, 4, 10, 12, 3)).astype("float32")
    joined = np.moveaxis(frames, 1, 3).reshape(2, 10, 12, 12)
    stacked = cnn((4, 10, 12, 3), 3, seed=0)
    flat = cnn((10, 12, 12), 3, seed=0, channels="last")
    np.testing.assert_allclose(stacked(frames), flat(joined), atol=1e-5)
    plain, column = cnn((10, 12), 3, seed=0), cnn((10, 12, 1), 3, seed=0)
    images = frames[:, 0, ..., 0]
    np.testing.assert_allclose(plain(images), column(images[..., None]), atol=1e-6)
