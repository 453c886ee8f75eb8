"""What every family promises, against TFP, finite differences and the space itself."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

from kpg.distributions import BetaFamily, Family, TanhNormalFamily, for_space

S = gym.spaces
BOX = S.Box(np.array([-1.0, 0.0]), np.array([3.0, 0.1]), dtype=np.float64)
COUNTS = np.array([[2, 3], [4, 2]])
NESTED = S.Dict(
    {
        "z": S.Tuple((S.Discrete(3), S.Dict({"b": BOX, "a": S.MultiBinary(2)}))),
        "a": S.Discrete(2, start=5),
    }
)
CASES: dict[str, tuple[gym.Space[Any], dict[str, Any]]] = {
    "discrete": (S.Discrete(4, start=-1), {}),
    "multi_discrete": (S.MultiDiscrete(COUNTS, start=COUNTS - 3), {}),
    "multi_binary": (S.MultiBinary((2, 2)), {}),
    "normal": (S.Box(-1.0, 1.0, (2, 3)), {}),
    "normal_scalar": (S.Box(-1.0, 1.0, ()), {"state_dependent_std": True}),
    "tanh_normal": (BOX, {"distribution": "tanh_normal"}),
    "beta": (BOX, {"distribution": "beta"}),
    "nested": (NESTED, {}),
}
SEED = tf.constant([1, 2])
each = pytest.mark.parametrize("name", CASES)


def family_of(name: str) -> Family:
    space, options = CASES[name]
    return for_space(space, **options)


def parameters(family: Family, *shape: int, scale: float = 1.0) -> tf.Tensor:
    numbers = np.random.default_rng(0).normal(size=(*shape, *family.parameters_shape))
    return tf.constant(scale * numbers, tf.float32)


def event(family: Family, raw: Any) -> Any:
    """What `Family.distribution` has the density of: Box actions if transformed."""
    if isinstance(family, (TanhNormalFamily, BetaFamily)):
        return tf.cast(family.to_environment(raw), tf.float32)
    return raw


@each
def test_specs_describe_samples(name: str) -> None:
    family = family_of(name)
    assert family.constants.dtype == np.float32
    assert family.parameters_shape == family.constants.shape
    raw = family.sample(parameters(family, 7, 5), SEED)
    tf.nest.assert_same_structure(raw, family.raw_spec)
    for nest in (raw, family.mode(parameters(family, 7, 5))):
        for tensor, spec in zip(
            tf.nest.flatten(nest), tf.nest.flatten(family.raw_spec), strict=True
        ):
            assert tensor.shape == (7, 5, *spec.shape) and tensor.dtype == spec.dtype


@each
@pytest.mark.parametrize("batch", [(9,), (7, 5)])
def test_log_prob_and_entropy_equal_those_of_tfp(
    name: str, batch: tuple[int, ...]
) -> None:
    family = family_of(name)
    numbers = parameters(family, *batch)
    raw, oracle = family.sample(numbers, SEED), family.distribution(numbers)
    log_probs, entropies = family.log_prob(numbers, raw), family.entropy(numbers)
    assert log_probs.shape == entropies.shape == batch
    events = event(family, raw)
    if name == "tanh_normal":  # its inverse of tanh needs numbers inside the bounds
        inside = np.abs(raw.numpy()).max(axis=-1) < 3.0
        log_probs, oracles = log_probs[inside], oracle.log_prob(events)[inside]
        assert len(log_probs) > 5
        np.testing.assert_allclose(log_probs, oracles, rtol=1e-3)
        return  # TFP has no entropy of it: see its own tests
    np.testing.assert_allclose(log_probs, oracle.log_prob(events), atol=2e-5)
    if name == "nested":
        parts = [part.entropy() for part in oracle_parts(family, numbers)]
        np.testing.assert_allclose(entropies, sum(parts), atol=2e-5)
    else:
        np.testing.assert_allclose(entropies, oracle.entropy(), atol=2e-5)


def oracle_parts(family: Any, numbers: tf.Tensor) -> list[Any]:
    """TFP's distributions of the parts of NESTED, in the order of `tf.nest`."""
    joint = family.distribution(numbers).model
    choice, inner = joint["z"].model
    return [joint["a"], choice, inner.model["a"], inner.model["b"]]


@pytest.mark.parametrize("name", sorted(set(CASES) - {"tanh_normal", "nested"}))
def test_mode_equals_that_of_tfp(name: str) -> None:
    family = family_of(name)
    numbers = parameters(family, 7, 5)
    expected = family.distribution(numbers).mode()
    actual = event(family, family.mode(numbers))
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", sorted(set(CASES) - {"tanh_normal", "nested", "beta"}))
def test_named_parameters_are_those_of_tfp(name: str) -> None:
    family = family_of(name)
    numbers = parameters(family, 5)
    oracle = family.distribution(numbers)
    inner = getattr(oracle, "distribution", oracle)
    for key, value in family.named_parameters(numbers).items():
        np.testing.assert_allclose(value, inner.parameters[key], atol=1e-6)


def central_differences(function: Any, point: tf.Tensor, step: float = 0.02) -> Any:
    """Gradient by five points, whose error is of order step⁴."""
    size = point.shape[0]
    shifts = (
        np.array([-2, -1, 1, 2], "f4")[:, None, None] * step * np.eye(size, dtype="f4")
    )
    values = function(point + shifts).numpy().astype(np.float64)
    return np.einsum("s,sp->p", [1 / 12, -8 / 12, 8 / 12, -1 / 12], values) / step


@each
def test_gradients_equal_finite_differences(name: str) -> None:
    family = family_of(name)
    point = parameters(family)
    raw = family.sample(point, SEED)

    def log_prob(numbers: tf.Tensor) -> tf.Tensor:
        batch = numbers.shape[:-1]
        rows = tf.nest.map_structure(
            lambda own: tf.broadcast_to(own, [*batch, *own.shape]), raw
        )
        return family.log_prob(numbers, rows)

    for function in (log_prob, family.entropy):
        with tf.GradientTape() as tape:
            tape.watch(point)
            value = function(point)
        gradient = tape.gradient(value, point, unconnected_gradients="zero")
        expected = central_differences(function, point)
        np.testing.assert_allclose(gradient, expected, rtol=2e-3, atol=2e-3)
        assert np.abs(expected).max() > 0.01


@each
def test_xla_computes_the_same(name: str) -> None:
    family = family_of(name)
    numbers = parameters(family, 6)

    def everything(numbers: tf.Tensor, seed: tf.Tensor) -> list[tf.Tensor]:
        raw = family.sample(numbers, seed)
        with tf.GradientTape() as tape:
            tape.watch(numbers)
            log_probs, entropies = (
                family.log_prob(numbers, raw),
                family.entropy(numbers),
            )
            total = tf.reduce_sum(log_probs + entropies)
        nests = raw, family.mode(numbers), family.to_environment(raw)
        gradient = tape.gradient(total, numbers)
        return [*tf.nest.flatten(nests), log_probs, entropies, gradient]

    compiled = tf.function(everything, jit_compile=True, autograph=False)
    for actual, expected in zip(
        compiled(numbers, SEED), everything(numbers, SEED), strict=True
    ):
        assert actual.dtype == expected.dtype
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["discrete", "multi_discrete", "normal"])
def test_xla_compiles_the_distribution_too(name: str) -> None:
    family = family_of(name)

    @tf.function(jit_compile=True, autograph=False)
    def draw(numbers: tf.Tensor) -> tf.Tensor:
        return family.distribution(numbers).sample(seed=SEED)

    assert draw(parameters(family, 6)).shape == (6, *family.raw_spec.shape)


@each
def test_the_seed_decides(name: str) -> None:
    family = family_of(name)
    numbers = parameters(family, 50)
    first, again, other = (
        tf.nest.flatten(family.sample(numbers, tf.constant(seed)))
        for seed in ([1, 2], [1, 2], [1, 3])
    )
    for one, same, different in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(one, same)
        assert np.any(one.numpy() != different.numpy())


@each
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_the_environment_gets_members_of_the_space(name: str, scale: float) -> None:
    family = family_of(name)
    numbers = parameters(family, 200, scale=scale)
    for raw in (family.sample(numbers, SEED), family.mode(numbers)):
        actions = family.to_environment(raw)
        for row in range(200):
            action = tf.nest.map_structure(partial(take, row=row), actions)
            assert family.action_space.contains(action), action


def take(actions: tf.Tensor, row: int) -> Any:
    return actions.numpy()[row, ...]


@each
def test_no_extreme_parameter_makes_nan(name: str) -> None:
    family = family_of(name)
    numbers = parameters(family, 200, scale=8.0)
    raw = family.sample(numbers, SEED)
    with tf.GradientTape() as tape:
        tape.watch(numbers)
        total = family.log_prob(numbers, raw) + family.entropy(numbers)
    assert np.isfinite(total).all()
    assert np.isfinite(tape.gradient(total, numbers)).all()


def check_sum(log_prob: Any) -> None:
    """Independent dimensions are summed: `[T, B]`, never `[T, B, A]`."""
    family = family_of("normal")
    numbers = parameters(family, 7, 5)
    raw = family.sample(numbers, SEED)
    named = family.named_parameters(numbers)
    loc, scale = named["loc"].numpy(), named["scale"].numpy()
    single = -0.5 * ((raw - loc) / scale) ** 2 - np.log(scale * np.sqrt(2 * np.pi))
    actual = log_prob(family, numbers, raw)
    assert actual.shape == (7, 5)
    np.testing.assert_allclose(actual, single.numpy().sum(axis=(2, 3)), atol=1e-4)


def test_independent_dimensions_are_summed() -> None:
    check_sum(lambda family, numbers, raw: family.log_prob(numbers, raw))


WRONG_SUMS: dict[str, Any] = {
    "not summed": lambda values: values,
    "mean": lambda values: tf.reduce_mean(values, [-2, -1]),
    "last axis only": lambda values: tf.reduce_sum(values, -1),
    "first dimension only": lambda values: values[..., 0, 0],
}


@pytest.mark.parametrize("wrong", WRONG_SUMS)
def test_wrong_sums_are_found(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "kpg.distributions.box.event_sum", lambda values, _: WRONG_SUMS[wrong](values)
    )
    with pytest.raises(AssertionError):
        check_sum(lambda family, numbers, raw: family.log_prob(numbers, raw))
