"""The shipped check of a family: what it accepts, and which mistakes it finds."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from kpg.distributions import (
    Beta,
    CategoricalFamily,
    Family,
    Normal,
    NormalFamily,
    TanhNormal,
    TanhNormalFamily,
    TruncatedFamily,
    for_space,
)
from kpg.testing import check_family

S = gym.spaces
WIDE = S.Box(np.array([-1.0, 0.0]), np.array([3.0, 0.1]), dtype=np.float64)
BOXES: dict[str, gym.spaces.Box] = {
    "one number": S.Box(-2.0, 2.0, (1,)),
    "a scalar": S.Box(-1.0, 1.0, ()),
    "a matrix": S.Box(-1.0, 1.0, (2, 3)),
    "double": WIDE,
}
CHOICES: dict[str, gym.Space[Any]] = {
    "discrete": S.Discrete(4, start=-1),
    "certain": S.Discrete(1),
    "multi-discrete": S.MultiDiscrete(
        np.array([[2, 3], [4, 2]]), start=np.array([[0, 1], [-3, 7]])
    ),
    "multi-binary": S.MultiBinary((2, 2)),
    "many": S.MultiDiscrete([9] * 6),
    "nested": S.Dict({"z": S.Tuple((S.Discrete(3), WIDE)), "a": S.MultiBinary(2)}),
}
DISTRIBUTIONS = [
    Normal(),
    Normal(state_dependent_std=True),
    TanhNormal(log_std_init=-0.5),
    Beta(),
]


# A matrix is a longer row; the distributions that are slow to draw from do without.
@pytest.mark.parametrize(
    ("name", "distribution"),
    [
        pytest.param(
            *(name, distribution),
            marks=pytest.mark.slow
            if name == "a matrix" and isinstance(distribution, TanhNormal | Beta)
            else (),
            id=f"{name}-{distribution}",
        )
        for name in BOXES
        for distribution in DISTRIBUTIONS
    ],
)
def test_shipped_families_over_boxes_pass(name: str, distribution: Any) -> None:
    check_family(for_space(BOXES[name], distribution=distribution))


@pytest.mark.parametrize("name", CHOICES)
def test_shipped_families_over_choices_pass(name: str) -> None:
    check_family(for_space(CHOICES[name]))


@pytest.mark.parametrize(
    "distribution", ["tanh_normal", pytest.param("beta", marks=pytest.mark.slow)]
)
def test_nested_families_pass(distribution: str) -> None:
    check_family(for_space(CHOICES["nested"], distribution=distribution))


def test_truncated_families_pass() -> None:
    check_family(TruncatedFamily(S.Discrete(6), top_k=3))
    check_family(TruncatedFamily(S.Discrete(6), top_p=0.7))


class Laplace(NormalFamily):
    """Right, and so the start of all mistakes below."""

    def distribution(self, parameters: tf.Tensor) -> Any:
        laplace = tfp.distributions.Laplace(**self.named_parameters(parameters))
        return tfp.distributions.Independent(laplace, len(self.action_space.shape))

    def sample(self, parameters: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        loc, log_scale = self.halves(parameters)
        u = tf.random.stateless_uniform(tf.shape(loc), seed, -0.4999999, 0.4999999)
        return loc - tf.exp(log_scale) * tf.sign(u) * tf.math.log1p(-2 * tf.abs(u))

    def terms(self, parameters: tf.Tensor, raw: tf.Tensor) -> tf.Tensor:
        loc, log_scale = self.halves(parameters)
        return -tf.abs(raw - loc) * tf.exp(-log_scale) - log_scale - np.log(2.0)

    def log_prob(self, parameters: tf.Tensor, raw: tf.Tensor) -> tf.Tensor:
        return self.total(self.terms(parameters, raw))

    def entropy(self, parameters: tf.Tensor) -> tf.Tensor:
        return self.total(self.halves(parameters)[1] + 1 + np.log(2.0))


@pytest.mark.parametrize("name", BOXES)
def test_a_family_of_ones_own_passes(name: str) -> None:
    check_family(Laplace(BOXES[name]))


class NotSummed(Laplace):
    def log_prob(self, parameters: tf.Tensor, raw: tf.Tensor) -> tf.Tensor:
        return self.terms(parameters, raw)


class Averaged(Laplace):
    def log_prob(self, parameters: tf.Tensor, raw: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(self.terms(parameters, raw), axis=-1)


class TwiceAsLikely:
    """A distribution whose density integrates to 2, as its family's does."""

    def __init__(self, right: Any) -> None:
        self.right = right

    def log_prob(self, events: tf.Tensor) -> tf.Tensor:
        return self.right.log_prob(events) + np.log(2.0)


class WrongConstant(Laplace):
    def distribution(self, parameters: tf.Tensor) -> Any:
        return TwiceAsLikely(super().distribution(parameters))

    def log_prob(self, parameters: tf.Tensor, raw: tf.Tensor) -> tf.Tensor:
        return super().log_prob(parameters, raw) + np.log(2.0)

    def entropy(self, parameters: tf.Tensor) -> tf.Tensor:
        return super().entropy(parameters) - np.log(2.0)


class WrongEntropy(Laplace):
    def entropy(self, parameters: tf.Tensor) -> tf.Tensor:
        return self.total(self.halves(parameters)[1] + np.log(2.0))


class EntropyInBits(Laplace):
    def entropy(self, parameters: tf.Tensor) -> tf.Tensor:
        return super().entropy(parameters) / np.log(2.0)


class EntropyNotSummed(Laplace):
    def entropy(self, parameters: tf.Tensor) -> tf.Tensor:
        return self.halves(parameters)[1] + 1 + np.log(2.0)


class OneSeed(Laplace):
    def sample(self, parameters: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return super().sample(parameters, tf.constant([0, 0]))


class NoSeed(Laplace):
    def sample(self, parameters: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return super().sample(parameters, tf.random.uniform([2], 0, 999, tf.int32))


class OtherSamples(Laplace):
    def sample(self, parameters: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return NormalFamily.sample(self, parameters, seed)


class OtherDistribution(Laplace):
    def distribution(self, parameters: tf.Tensor) -> Any:
        return NormalFamily.distribution(self, parameters)


class Outside(Laplace):
    def to_environment(self, raw: tf.Tensor) -> tf.Tensor:
        return tf.cast(raw, self.action_space.dtype)


class OtherMode(Laplace):
    def mode(self, parameters: tf.Tensor) -> tf.Tensor:
        return super().mode(parameters) + 0.5


class EndlessGradient(Laplace):
    def entropy(self, parameters: tf.Tensor) -> tf.Tensor:
        entropy = super().entropy(parameters)
        return entropy + 0.0 * (entropy - tf.stop_gradient(entropy)) ** 0.5


class WholeNumbers(Laplace):
    def sample(self, parameters: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return tf.cast(super().sample(parameters, seed), tf.int32)


class NoCorrection(TanhNormalFamily):
    def log_prob(self, parameters: tf.Tensor, raw: tf.Tensor) -> tf.Tensor:
        return NormalFamily(self.action_space).log_prob(parameters, raw)


class NotNormalised(CategoricalFamily):
    def distribution(self, parameters: tf.Tensor) -> Any:
        return TwiceAsLikely(super().distribution(parameters))

    def log_prob(self, parameters: tf.Tensor, raw: tf.Tensor) -> tf.Tensor:
        return super().log_prob(parameters, raw) + np.log(2.0)

    def entropy(self, parameters: tf.Tensor) -> tf.Tensor:
        return super().entropy(parameters) - np.log(2.0)


class UniformEntropy(CategoricalFamily):
    def entropy(self, parameters: tf.Tensor) -> tf.Tensor:
        return tf.fill(tf.shape(parameters)[:-1], float(np.log(self.num_choices)))


class LeastLikely(CategoricalFamily):
    def mode(self, parameters: tf.Tensor) -> tf.Tensor:
        return tf.argmin(parameters, axis=-1, output_type=tf.int32)


PAIR = S.Box(-1.0, 1.0, (2,))
MISTAKES: list[tuple[Family, str]] = [
    (NotSummed(PAIR), r"`log_prob` must return one number.*sum over.*\(7, 5, 2\)"),
    (Averaged(PAIR), r"must be that of `distribution`"),
    (WrongConstant(PAIR), r"must add up to 1\. Received: 2\.0"),
    (WrongConstant(BOXES["one number"]), r"must add up to 1\. Received: 2\.0"),
    (WrongConstant(BOXES["a matrix"]), r"must add up to 1\. Received: (1\.9|2\.)"),
    (WrongEntropy(PAIR), r"`entropy` must be the mean"),
    (EntropyInBits(PAIR), r"`entropy` must be the mean.*in nats"),
    (EntropyNotSummed(PAIR), r"`entropy` must return one number for each row"),
    (OneSeed(PAIR), r"other actions from another seed"),
    (NoSeed(PAIR), r"same actions from the same seed"),
    (OtherSamples(PAIR), r"`entropy` must be the mean"),
    (OtherDistribution(PAIR), r"must be that of `distribution`"),
    (Outside(PAIR), r"members of the space\. Received"),
    (OtherMode(PAIR), r"more likely than the `mode`"),
    (EndlessGradient(PAIR), r"`entropy` and its gradient must be finite"),
    (WholeNumbers(PAIR), r"raw action of `raw_spec`.*float32.*int32"),
    (NoCorrection(PAIR), r"must be that of `distribution`"),
    (NotNormalised(S.Discrete(4)), r"must add up to 1\. Received: 2\.0"),
    (UniformEntropy(S.Discrete(4)), r"`entropy` must be the mean"),
    (LeastLikely(S.Discrete(4)), r"more likely than the `mode`"),
]


@pytest.mark.parametrize(
    ("family", "message"), MISTAKES, ids=lambda value: type(value).__name__
)
def test_mistakes_are_found(family: Family, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_family(family)


def test_a_mistake_in_a_part_is_found() -> None:
    space = S.Dict({"a": PAIR, "b": S.Discrete(2)})
    check_family(for_space(space, distribution=Laplace))
    with pytest.raises(AssertionError, match="`entropy` must be the mean"):
        check_family(for_space(space, distribution=WrongEntropy))
