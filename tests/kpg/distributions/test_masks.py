"""Action masks: probability and gradient exactly 0, and nothing is NaN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

from kpg.distributions import Family, for_space

S = gym.spaces
SEED = tf.constant([1, 2])
SPACES: dict[str, gym.Space[Any]] = {
    "discrete": S.Discrete(4),
    "multi_discrete": S.MultiDiscrete(np.array([[2, 3], [4, 2]])),
    "multi_binary": S.MultiBinary(3),
    "nested": S.Dict(
        {"b": S.Tuple((S.Discrete(3), S.Box(-1, 1, (2,)))), "a": S.MultiBinary(2)}
    ),
}
# How many choices each component has, in the order of the mask.
GROUPS = {
    "discrete": [4],
    "multi_discrete": [2, 3, 4, 2],
    "multi_binary": [2, 2, 2],
    "nested": [2, 2, 3],
}
each = pytest.mark.parametrize("name", SPACES)
Masking = Callable[[Family, tf.Tensor, tf.Tensor], tf.Tensor]


def kpg_masking(family: Family, parameters: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    return family.masked(parameters, mask)


def draw(family: Family, *shape: int) -> tf.Tensor:
    numbers = np.random.default_rng(0).normal(size=(*shape, *family.parameters_shape))
    return tf.constant(numbers, tf.float32)


def random_masks(name: str, rows: int, legal: int | None = None) -> Any:
    """Masks that leave a random number of choices, or `legal`, to each component."""
    rng = np.random.default_rng(1)
    groups = []
    for count in GROUPS[name]:
        keep = np.full(rows, legal) if legal else rng.integers(1, count + 1, rows)
        ranks = rng.permuted(np.tile(np.arange(count), (rows, 1)), axis=1)
        groups.append(ranks < keep[:, None])
    return np.concatenate(groups, axis=-1)


def components(name: str, family: Family, raw: Any) -> Any:
    """Discrete components `[B, C]` of raw actions, in the order of the mask."""
    leaves = [raw["a"], raw["b"][0]] if name == "nested" else [raw]
    columns = [leaf.numpy().reshape(leaf.shape[0], -1) for leaf in leaves]
    return np.concatenate(columns, axis=-1)


def legality(name: str, mask: Any, choices: Any) -> Any:
    """Whether each chosen component `[B, C]` was legal."""
    firsts = np.cumsum([0, *GROUPS[name][:-1]])
    return np.take_along_axis(mask, choices + firsts, axis=-1)


def logit_places(name: str) -> Any:
    """Where the logits are among the parameters."""
    return np.arange(sum(GROUPS[name]))  # the Box of `nested` comes last


def check_masking(masking: Masking, name: str, legal: int | None = None) -> None:
    """The promise of `Family.masked`."""
    family, rows = for_space(SPACES[name]), 300
    mask, parameters = random_masks(name, rows, legal), draw(family, rows)
    raw = family.sample(masking(family, parameters, mask), SEED)
    for function in (family.entropy, lambda own: family.log_prob(own, raw)):
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            values = function(masking(family, parameters, mask))
        gradient = tape.gradient(values, parameters).numpy()
        assert np.isfinite(values).all() and np.isfinite(gradient).all()
        assert np.all(gradient[:, logit_places(name)][~mask] == 0.0)
    assert legality(name, mask, components(name, family, raw)).all()
    check_probabilities(masking, name, mask, parameters)


def check_probabilities(
    masking: Masking, name: str, mask: Any, parameters: tf.Tensor
) -> None:
    """Each component: softmax over what is legal, exactly 0 elsewhere."""
    family = for_space(SPACES[name])
    masked = masking(family, parameters, mask)
    for key, table in family.named_parameters(masked).items():
        if not key.endswith("logits"):
            continue
        assert np.isfinite(table).all()
    logits = masked.numpy()[:, logit_places(name)]
    numbers = parameters.numpy()[:, logit_places(name)].astype(np.float64)
    first = 0
    for count in GROUPS[name]:
        part = slice(first, first + count)
        probabilities = tf.nn.softmax(logits[:, part]).numpy()
        weights = np.exp(numbers[:, part]) * mask[:, part]
        expected = weights / weights.sum(axis=-1, keepdims=True)
        assert np.all(probabilities[~mask[:, part]] == 0.0)
        np.testing.assert_allclose(probabilities, expected, atol=1e-6)
        first += count


@each
@pytest.mark.parametrize("legal", [None, 1])
def test_masking(name: str, legal: int | None) -> None:
    check_masking(kpg_masking, name, legal)


def on_logits(function: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> Masking:
    """A masking that changes the logits by a function of them and the mask."""

    def masking(family: Family, parameters: tf.Tensor, mask: Any) -> tf.Tensor:
        return function(parameters, tf.cast(mask, tf.float32))

    return masking


WRONG: dict[str, Masking] = {
    "no masking": on_logits(lambda logits, _: logits),
    "logits times mask": on_logits(lambda logits, mask: logits * mask),
    "minus infinity": on_logits(lambda logits, mask: logits + tf.math.log(mask)),
    "too small": on_logits(lambda logits, mask: logits - 20.0 * (1.0 - mask)),
    "inverted": on_logits(lambda logits, mask: tf.where(mask > 0, -1e9, logits)),
    "shifted": on_logits(
        lambda logits, mask: tf.where(tf.roll(mask, 1, -1) > 0, logits, -1e9)
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", ["discrete", "multi_discrete"])
def test_wrong_maskings_are_found(wrong: str, name: str) -> None:
    with pytest.raises(AssertionError):
        check_masking(WRONG[wrong], name)


@each
def test_forbidden_choices_are_never_drawn(name: str) -> None:
    family, count = for_space(SPACES[name]), 100_000
    mask = np.tile(random_masks(name, 1), (count, 1))
    parameters = tf.tile(10.0 * draw(family, 1), [count, 1])
    masked = family.masked(parameters, mask)
    for raw in (family.sample(masked, SEED), family.mode(masked)):
        assert legality(name, mask, components(name, family, raw)).all()


@each
def test_one_choice_left_is_certain(name: str) -> None:
    """Its log-probability and entropy are exactly 0 and do not move."""
    family = for_space(SPACES[name])
    mask, parameters = random_masks(name, 50, legal=1), draw(family, 50)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(parameters)
        masked = family.masked(parameters, mask)
        raw = family.sample(masked, SEED)
        values = family.log_prob(masked, raw), family.entropy(masked)
    for value in values:
        gradient = tape.gradient(value, parameters).numpy()
        assert np.all(gradient[:, logit_places(name)] == 0.0)
        if name != "nested":  # whose Box is not certain
            assert np.all(value == 0.0)


@each
def test_a_row_without_a_legal_choice_is_nan(name: str) -> None:
    family = for_space(SPACES[name])
    parameters = draw(family, 3)
    mask = np.ones([3, family.num_choices], bool)
    last = GROUPS[name][-1]
    mask[1, -last:] = False  # only the last component has none
    masked = family.masked(parameters, mask)
    assert np.isnan(masked[1]).all()
    np.testing.assert_array_equal(masked.numpy()[[0, 2]], parameters.numpy()[[0, 2]])
    raw = family.sample(masked, SEED)
    for values in (family.log_prob(masked, raw), family.entropy(masked)):
        np.testing.assert_array_equal(np.isnan(values), [False, True, False])


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.int64, np.float32])
def test_masks_of_any_dtype(dtype: Any) -> None:
    family = for_space(S.Discrete(3))
    mask = np.array([[1, 0, 1]], dtype)
    masked = family.masked(draw(family, 1), mask)
    np.testing.assert_array_equal(masked[0] > -1e8, [True, False, True])


@each
def test_time_axes_and_xla(name: str) -> None:
    family = for_space(SPACES[name])
    parameters, mask = draw(family, 4, 5), random_masks(name, 20).reshape(4, 5, -1)
    compiled = tf.function(family.masked, jit_compile=True, autograph=False)
    masked = compiled(parameters, tf.constant(mask))
    rows = family.masked(tf.reshape(parameters, [20, -1]), mask.reshape(20, -1))
    np.testing.assert_array_equal(tf.reshape(masked, [20, -1]), rows)


@each
@pytest.mark.parametrize("shape", [(5, 1), (1, 4, 1), ()])
def test_refuses_masks_of_another_shape(name: str, shape: tuple[int, ...]) -> None:
    family = for_space(SPACES[name])
    with pytest.raises(ValueError, match=r"must have the shape \[5, \d+\].*Received: "):
        family.masked(draw(family, 5), np.ones(shape))


@pytest.mark.parametrize("distribution", ["normal", "tanh_normal", "beta"])
def test_a_box_has_nothing_to_mask(distribution: str) -> None:
    box = S.Box(-1.0, 1.0, (2,))
    for space in (box, S.Tuple((box, box))):
        family = for_space(space, distribution=distribution)
        assert family.num_choices == 0
        with pytest.raises(ValueError, match=r"needs a Discrete, .*Received: "):
            family.masked(draw(family, 5), np.ones([5, 0]))
