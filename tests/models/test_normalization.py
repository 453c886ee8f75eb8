"""Running moments against NumPy, however the data are split."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kpg.models import RunningNormalization


def data() -> np.ndarray:
    # A mean far from 0 in units of the deviation, where naive sums cancel.
    numbers = np.random.default_rng(0).normal(size=(1000, 2)) * [0.02, 30.0]
    return (numbers + [50.0, -7.0]).astype("float32")


@pytest.mark.parametrize("splits", [[], [1], [10, 300], [500, 501, 502]])
def test_moments_do_not_depend_on_the_split(splits: list[int]) -> None:
    layer, rows = RunningNormalization((2,)), data()
    for part in np.split(rows, splits):
        layer.update(tf.constant(part))
    expected = rows.astype("float64")
    np.testing.assert_allclose(layer.mean, expected.mean(0), rtol=1e-5)
    np.testing.assert_allclose(layer.variance, expected.var(0), rtol=1e-3)
    assert float(layer.count) == 1000


def test_sums_of_two_replicas_are_sums_of_all() -> None:
    whole, halves = RunningNormalization((2,)), RunningNormalization((2,))
    rows = tf.constant(data())
    whole.update(rows)
    parts = tf.split(rows, 2)
    sums = tf.nest.map_structure(tf.add, *(halves.sums(part) for part in parts))
    halves.merge(sums, tf.add_n([halves.squares(part, sums) for part in parts]))
    np.testing.assert_allclose(whole.mean, halves.mean, rtol=1e-6)
    np.testing.assert_allclose(whole.variance, halves.variance, rtol=1e-4)


def test_masked_rows_do_not_count() -> None:
    layer, rows = RunningNormalization((2,)), data()
    valid = np.arange(1000) % 3 != 0
    garbage = np.where(valid[:, np.newaxis], rows, np.nan)
    layer.update(tf.constant(garbage), tf.constant(valid))
    np.testing.assert_allclose(layer.mean, rows[valid].mean(0), rtol=1e-5)
    assert float(layer.count) == valid.sum()


@pytest.mark.parametrize("enabled", [False, True])
def test_nothing_to_merge_changes_nothing(enabled: bool) -> None:
    layer = RunningNormalization((2,))
    rows = tf.constant(data() if not enabled else np.zeros((3, 2), "float32"))
    valid = None if not enabled else tf.zeros([3], tf.bool)
    sums = layer.sums(rows, valid)
    layer.merge(sums, layer.squares(rows, sums, valid), enabled)
    np.testing.assert_array_equal(layer.variance, [1.0, 1.0])
    assert float(layer.count) == 0


def test_is_the_identity_until_it_has_seen_something() -> None:
    layer = RunningNormalization((2,))
    rows = tf.constant([[1e6, -3.0]])
    np.testing.assert_allclose(layer(rows), rows, rtol=1e-6)


def test_standardises_clips_and_stays_frozen_when_called() -> None:
    layer, rows = RunningNormalization((2,)), data()
    layer.update(tf.constant(rows))
    before = [weight.numpy() for weight in layer.weights]
    outputs = layer(tf.constant(rows), training=True).numpy()
    np.testing.assert_allclose(outputs.mean(0), 0.0, atol=1e-2)
    np.testing.assert_allclose(outputs.std(0), 1.0, rtol=1e-2)
    np.testing.assert_array_equal(layer(tf.constant([[1e9, -1e9]])), [[10.0, -10.0]])
    for weight, value in zip(layer.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)
    assert not layer.trainable_weights


def test_configuration_round_trip() -> None:
    layer = RunningNormalization((2, 3), clip=5.0)
    config = keras.saving.serialize_keras_object(layer)
    revived = keras.saving.deserialize_keras_object(config)
    assert revived.get_config() == layer.get_config()
    assert revived.feature_shape == (2, 3)


def test_a_precise_layer_is_the_same_for_small_numbers() -> None:
    rows = data()
    layers = [RunningNormalization((2,), precise=own) for own in (False, True)]
    for layer in layers:
        layer.update(rows, tf.constant([True] * (len(rows) - 1) + [False]))
        layer.update(rows)
        assert layer.get_config()["precise"] == (layer.mean.dtype == "float64")
        again = RunningNormalization.from_config(layer.get_config())
        assert again.get_config() == layer.get_config()
    one, other = (layer(rows) for layer in layers)
    np.testing.assert_allclose(one, other, atol=1e-4)
