"""Densities, entropies and masks: what must hold, and how they go wrong."""

from __future__ import annotations

import math
from functools import partial

import gymnasium as gym
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from kpg.distributions import for_space
from tests.mutants.subject import Array, Implementation, Subject, close, softmax

BOX = gym.spaces.Box(-1.0, 1.0, (2,))
LOC, LOG_STD = np.array([0.3, -0.8]), np.array([-0.5, 0.4])
HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)

# Categorical: log-probability of an action `[...]` under logits `[..., A]`.


def categorical(logits: Array, actions: Array) -> Array:
    family = for_space(gym.spaces.Discrete(np.shape(logits)[-1]))
    return family.log_prob(
        tf.constant(logits, tf.float32), tf.constant(actions)
    ).numpy()


def random_logits() -> Array:
    return np.random.default_rng(0).normal(size=(5, 3, 4))


def all_actions(log_prob: Implementation, logits: Array) -> Array:
    shape = logits.shape[:-1]
    rows = [log_prob(logits, np.full(shape, a)) for a in range(logits.shape[-1])]
    return np.stack(rows, axis=-1)


def probabilities_sum_to_1(log_prob: Implementation) -> None:
    close(np.exp(all_actions(log_prob, random_logits())).sum(-1), 1.0)


def odds_are_those_of_the_logits(log_prob: Implementation) -> None:
    logits = random_logits()
    found = all_actions(log_prob, logits)
    close(found - found[..., :1], logits - logits[..., :1])


def categorical_equals_tfp(log_prob: Implementation) -> None:
    logits, actions = random_logits(), np.random.default_rng(1).integers(4, size=(5, 3))
    close(
        log_prob(logits, actions),
        tfp.distributions.Categorical(logits=logits).log_prob(actions),
    )


def large_logits_stay_finite(log_prob: Implementation) -> None:
    close(log_prob(np.array([[1000.0, 0.0]]), np.array([1])), -1000.0)


def chosen(log_probs: Array, actions: Array) -> Array:
    return np.take_along_axis(log_probs, actions[..., np.newaxis], -1)[..., 0]


def log_softmax(logits: Array, axis: int = -1) -> Array:
    shifted = logits - logits.max(axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))


def exp_without_a_shift(logits: Array) -> Array:
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        weights = np.exp(logits)
        return np.log(weights / weights.sum(-1, keepdims=True))


CATEGORICAL = Subject(
    name="CategoricalFamily.log_prob",
    shipped=categorical,
    identities=(
        probabilities_sum_to_1,
        odds_are_those_of_the_logits,
        categorical_equals_tfp,
        large_logits_stay_finite,
    ),
    mutants={
        "not normalised": chosen,
        "normalised over the batch": lambda x, a: chosen(log_softmax(x, 0), a),
        "probability for its logarithm": lambda x, a: chosen(np.exp(log_softmax(x)), a),
        "base 2": lambda x, a: chosen(log_softmax(x), a) / math.log(2.0),
        "exp overflows": lambda x, a: chosen(exp_without_a_shift(x), a),
        "next action": lambda x, a: chosen(log_softmax(x), (a + 1) % x.shape[-1]),
    },
    right=lambda x, a: chosen(log_softmax(x), a),
)

# Normal and tanh-normal: density of raw actions `[..., 2]`, given means and log stds.


def box_family(loc: Array, log_std: Array, raw: Array, name: str) -> Array:
    family = for_space(BOX, distribution=name, state_dependent_std=True)
    shape = np.shape(raw)
    rows = [np.broadcast_to(part, shape) for part in (loc, log_std)]
    parameters = tf.constant(np.concatenate(rows, axis=-1), tf.float32)
    return family.log_prob(parameters, tf.constant(raw, tf.float32)).numpy()


def grid(low: float, high: float, count: int) -> tuple[Array, float]:
    """Returns the midpoints of a square grid `[count, count, 2]`, and a cell's area."""
    edges = np.linspace(low, high, count + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    points = np.stack(np.meshgrid(middles, middles, indexing="ij"), axis=-1)
    return points, float((edges[1] - edges[0]) ** 2)


def one_number_for_one_action(log_prob: Implementation) -> None:
    raw = np.random.default_rng(0).normal(size=(5, 3, 2))
    assert np.shape(log_prob(LOC, LOG_STD, raw)) == (5, 3)


def normal_integrates_to_1(log_prob: Implementation) -> None:
    points, area = grid(-12.0, 12.0, 400)
    close(np.exp(log_prob(LOC, LOG_STD, points)).sum() * area, 1.0, 1e-3)


def normal_equals_tfp(log_prob: Implementation) -> None:
    raw = np.random.default_rng(0).normal(size=(5, 3, 2))
    normal = tfp.distributions.MultivariateNormalDiag(LOC, np.exp(LOG_STD))
    close(log_prob(LOC, LOG_STD, raw), normal.log_prob(raw))


def normal(
    loc: Array,
    log_std: Array,
    raw: Array,
    *,
    reduce: Implementation = np.sum,
    log_sigma: float = 1.0,
    constant: float = HALF_LOG_TWO_PI,
    precision: float = 1.0,
) -> Array:
    """The density again; each option, changed, makes a mutant of it."""
    scores = (raw - loc) * np.exp(-precision * log_std)
    return reduce(-0.5 * scores**2 - log_sigma * log_std - constant, axis=-1)


def unsummed(terms: Array, axis: int) -> Array:
    return terms


NORMAL = Subject(
    name="NormalFamily.log_prob",
    shipped=partial(box_family, name="normal"),
    identities=(one_number_for_one_action, normal_integrates_to_1, normal_equals_tfp),
    mutants={
        "mean over the dimensions": partial(normal, reduce=np.mean),
        "dimensions not summed": partial(normal, reduce=unsummed),
        "log σ missing": partial(normal, log_sigma=0.0),
        "½ log 2π missing": partial(normal, constant=0.0),
        "variance for deviation": partial(normal, precision=2.0),
        "σ for log σ": lambda loc, log_std, raw: normal(loc, np.exp(log_std), raw),
    },
    right=normal,
)


def tanh_normal_integrates_to_1(log_prob: Implementation) -> None:
    """Over the actions in (−1, 1)², not over what is squashed."""
    points, area = grid(-1.0, 1.0, 600)
    found = log_prob(LOC, np.array([-1.2, -1.0]), np.arctanh(points))
    close(np.exp(found).sum() * area, 1.0, 1e-2)


def tanh_normal_is_finite_near_the_bounds(log_prob: Implementation) -> None:
    """At raw actions of ±20 tanh is 1 in float32, and log(1 − tanh²) is −∞."""
    raw = np.array([20.0, -20.0], np.float32)
    with np.errstate(divide="ignore"):
        found = log_prob(LOC.astype("float32"), LOG_STD.astype("float32"), raw)
    correction = 2.0 * (math.log(2.0) - 20.0)
    close(found, normal(LOC, LOG_STD, raw) - 2.0 * correction, 1e-4)


def tanh_normal_equals_tfp(log_prob: Implementation) -> None:
    raw = np.random.default_rng(0).normal(size=(5, 3, 2))
    squashed = tfp.distributions.TransformedDistribution(
        tfp.distributions.MultivariateNormalDiag(LOC, np.exp(LOG_STD)),
        tfp.bijectors.Tanh(),
    )
    close(log_prob(LOC, LOG_STD, raw), squashed.log_prob(np.tanh(raw)), 1e-4)


def log_slopes(raw: Array) -> Array:
    return 2.0 * (math.log(2.0) - raw - np.logaddexp(0.0, -2.0 * raw))


def tanh_normal(
    loc: Array,
    log_std: Array,
    raw: Array,
    *,
    weight: float = 1.0,
    stable: bool = True,
    reduce: Implementation = np.sum,
) -> Array:
    """The density again; each option, changed, makes a mutant of it."""
    slopes = log_slopes(raw) if stable else np.log1p(-(np.tanh(raw) ** 2))
    return normal(loc, log_std, raw) - weight * reduce(slopes, axis=-1)


TANH_NORMAL = Subject(
    name="TanhNormalFamily.log_prob",
    shipped=partial(box_family, name="tanh_normal"),
    identities=(
        one_number_for_one_action,
        tanh_normal_integrates_to_1,
        tanh_normal_is_finite_near_the_bounds,
        tanh_normal_equals_tfp,
    ),
    mutants={
        "correction missing": partial(tanh_normal, weight=0.0),
        "correction added": partial(tanh_normal, weight=-1.0),
        "correction of one dimension": partial(
            tanh_normal, reduce=lambda terms, axis: terms[..., 0]
        ),
        "mean of the corrections": partial(tanh_normal, reduce=np.mean),
        "dimensions not summed": lambda loc, log_std, raw: (
            normal(loc, log_std, raw, reduce=unsummed) - log_slopes(raw)
        ),
        "log(1 − tanh²) as written": partial(tanh_normal, stable=False),
    },
    right=tanh_normal,
)

# Entropies in nats.


def categorical_entropy(logits: Array) -> Array:
    family = for_space(gym.spaces.Discrete(np.shape(logits)[-1]))
    return family.entropy(tf.constant(logits, tf.float32)).numpy()


def equals_the_sum(entropy: Implementation) -> None:
    for logits in random_logits()[0]:
        p = softmax(logits)
        close(entropy(logits), -sum(one * math.log(one) for one in p))


def uniform_has_log_n_nats(entropy: Implementation) -> None:
    close(entropy(np.zeros(4)), math.log(4.0))


def certainty_has_none(entropy: Implementation) -> None:
    close(entropy(np.array([0.0, -1e9, -1e9])), 0.0)


def entropy_of(p: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return -np.sum(p * np.log(p))


CATEGORICAL_ENTROPY = Subject(
    name="CategoricalFamily.entropy",
    shipped=categorical_entropy,
    identities=(equals_the_sum, uniform_has_log_n_nats, certainty_has_none),
    mutants={
        "sign": lambda x: np.sum(softmax(x) * log_softmax(x)),
        "base 2": lambda x: -np.sum(softmax(x) * log_softmax(x)) / math.log(2.0),
        "mean for sum": lambda x: -np.mean(softmax(x) * log_softmax(x)),
        "probability missing": lambda x: -np.sum(log_softmax(x)),
        "0 · log 0 is NaN": lambda x: entropy_of(softmax(x)),
    },
    right=lambda x: -np.sum(softmax(x) * log_softmax(x)),
)


def normal_entropy(log_std: Array) -> Array:
    family = for_space(BOX, state_dependent_std=True)
    parameters = np.concatenate([LOC, log_std])
    return family.entropy(tf.constant(parameters, tf.float32)).numpy()


def equals_the_integral(entropy: Implementation) -> None:
    points, area = grid(-12.0, 12.0, 400)
    logs = normal(LOC, LOG_STD, points)
    close(entropy(LOG_STD), -np.sum(np.exp(logs) * logs) * area, 1e-3)


def twice_the_width_adds_log_2_each(entropy: Implementation) -> None:
    wider = entropy(LOG_STD + math.log(2.0)) - entropy(LOG_STD)
    close(wider, 2.0 * math.log(2.0))


NORMAL_ENTROPY = Subject(
    name="NormalFamily.entropy",
    shipped=normal_entropy,
    identities=(equals_the_integral, twice_the_width_adds_log_2_each),
    mutants={
        "sign": lambda s: -np.sum(s + HALF_LOG_TWO_PI + 0.5),
        "base 2": lambda s: np.sum(s + HALF_LOG_TWO_PI + 0.5) / math.log(2.0),
        "mean over the dimensions": lambda s: np.mean(s + HALF_LOG_TWO_PI + 0.5),
        "log σ missing": lambda s: np.sum(0.0 * s + HALF_LOG_TWO_PI + 0.5),
        "½ missing": lambda s: np.sum(s + HALF_LOG_TWO_PI),
    },
    right=lambda s: np.sum(s + HALF_LOG_TWO_PI + 0.5),
)

# Masks: log-probabilities `[A]` of all actions, given logits and a mask `[A]`.

MASK = np.array([True, False, True, False])
MASKED_LOGITS = np.array([0.3, 2.0, -0.7, -1.0], np.float32)


def masked(logits: tf.Tensor, mask: Array) -> tf.Tensor:
    family = for_space(gym.spaces.Discrete(4))
    parameters = family.masked(logits, tf.constant(mask))
    return family.log_prob(tf.tile(parameters[tf.newaxis], [4, 1]), tf.range(4))


def forbidden_probability_is_exactly_0(apply: Implementation) -> None:
    probabilities = np.exp(apply(tf.constant(MASKED_LOGITS), MASK))
    assert (probabilities[~MASK] == 0.0).all()


def legal_probabilities_sum_to_1(apply: Implementation) -> None:
    probabilities = np.exp(apply(tf.constant(MASKED_LOGITS), MASK))
    close(probabilities[MASK], softmax(MASKED_LOGITS[MASK]))


def gradient_is_exactly_0_and_finite(apply: Implementation) -> None:
    logits = tf.Variable(MASKED_LOGITS)
    with tf.GradientTape() as tape:
        log_probs = apply(logits, MASK)
        entropy = -tf.reduce_sum(tf.exp(log_probs) * log_probs)
        total = log_probs[0] + entropy
    slope = tf.convert_to_tensor(tape.gradient(total, logits)).numpy()
    assert np.isfinite(total.numpy()) and np.isfinite(slope).all()
    assert (slope[~MASK] == 0.0).all() and (slope[MASK] != 0.0).all()


def all_legal_changes_nothing(apply: Implementation) -> None:
    found = apply(tf.constant(MASKED_LOGITS), np.ones(4, bool))
    close(found, np.log(softmax(MASKED_LOGITS)))


def replaced(logits: tf.Tensor, mask: Array, by: float = -1e9) -> tf.Tensor:
    return tf.nn.log_softmax(tf.where(mask, logits, by))


MASKS = Subject(
    name="CategoricalFamily.masked",
    shipped=masked,
    identities=(
        forbidden_probability_is_exactly_0,
        legal_probabilities_sum_to_1,
        gradient_is_exactly_0_and_finite,
        all_legal_changes_nothing,
    ),
    mutants={
        "probability times mask": lambda x, mask: tf.math.log(
            tf.nn.softmax(x) * tf.cast(mask, tf.float32)
        ),
        "logits times mask": lambda x, mask: tf.nn.log_softmax(
            x * tf.cast(mask, tf.float32)
        ),
        "logits of −10": partial(replaced, by=-10.0),
        "logits of −∞": partial(replaced, by=-math.inf),
        "mask upside down": lambda x, mask: replaced(x, ~mask),
        "10⁻⁸ for 0": lambda x, mask: tf.math.log(
            tf.nn.softmax(x) * tf.cast(mask, tf.float32) + 1e-8
        ),
        "mask ignored": lambda x, mask: tf.nn.log_softmax(x),
    },
    right=replaced,
)
