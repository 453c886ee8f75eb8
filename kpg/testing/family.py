"""What a family of distributions promises, checked on the family itself."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import NoReturn

import numpy as np
import tensorflow as tf

from kpg.distributions.composite import CompositeFamily
from kpg.distributions.family import Family
from kpg.environments.host.masking import choices
from kpg.types import Array, Tensor

_ROWS, _DRAWS, _ENUMERATED = 3, 20_000, 4096
# A sampled number may be off by this many standard errors, and by rounding.
_ERRORS, _ROUNDING = 5.0, 2e-3
# An integral over one number, in equal steps, may be off by this much.
_INTEGRAL = 1e-2
_SEED, _OTHER = tf.constant([3, 1]), tf.constant([3, 2])


def check_family(family: Family, seed: int = 0) -> None:
    """Checks that the methods of a family agree with each other and with its space.

    Probabilities sum or integrate to 1: densities over one number within 1 %, over more
    numbers within 5 standard errors of importance sampling. `log_prob` and `entropy`
    return one number for each row; `log_prob` is that of `distribution`; `entropy` is
    −E[log p] within 5 standard errors of 20,000 samples. Samples are as `raw_spec`
    says, follow the seed and become members of the space; none is more likely than the
    mode. Gradients are finite.

    Args:
        family: Any family, such as `policy.family` or one of your own.
        seed: Seed of the parameters that are tried. Defaults to 0.

    Raises:
        AssertionError: If a promise does not hold; it says which.
    """
    rng = np.random.default_rng(seed)
    _check_shapes(family, _parameters(family, rng, 7, 5))
    _check_seeds(family, _parameters(family, rng, 200))
    for scale in (1.0, 8.0):
        rows = _parameters(family, rng, 200, scale=scale)
        _check_members(family, rows)
        _check_gradients(family, rows)
    if isinstance(family, CompositeFamily):
        _check_sums(family, _parameters(family, rng, 50))
        for part in family.parts:
            check_family(part, seed)
    else:
        for row in tf.unstack(_parameters(family, rng, _ROWS)):
            _check_density(family, row, rng)


def _parameters(
    family: Family, rng: np.random.Generator, *shape: int, scale: float = 1.0
) -> Tensor:
    if isinstance(family, CompositeFamily):
        parts = [_parameters(p, rng, *shape, scale=scale) for p in family.parts]
        return tf.concat(parts, axis=-1)
    # A standard deviation beyond 3 would pile a squashed density up at the bounds.
    width = scale * (1.0 if family.num_choices else 0.3)
    noise = rng.normal(size=(*shape, *family.parameters_shape), scale=width)
    return tf.constant(np.nan_to_num(family.constants) + noise, tf.float32)


def _refuse(family: Family, promise: str, received: object) -> NoReturn:
    where = f"{type(family).__name__} over {family.action_space}"
    raise AssertionError(f"{where}: {promise}. Received: {received}")


def _require(holds: object, family: Family, promise: str, received: object) -> None:
    if not holds:
        _refuse(family, promise, received)


def _check_shapes(family: Family, rows: Tensor) -> None:
    batch = tuple(rows.shape[:-1])
    raw = family.sample(rows, _SEED)
    for name, nest in (("sample", raw), ("mode", family.mode(rows))):
        tf.nest.assert_same_structure(nest, family.raw_spec)
        specs = tf.nest.flatten(family.raw_spec)
        for tensor, spec in zip(tf.nest.flatten(nest), specs, strict=True):
            wanted = (*batch, *spec.shape)
            _require(
                tensor.shape == wanted and tensor.dtype == spec.dtype,
                family,
                f"`{name}` must return one raw action of `raw_spec` for each row, "
                f"{wanted} {spec.dtype.name}",
                f"{tuple(tensor.shape)} {tensor.dtype.name}",
            )
    numbers = {"log_prob": family.log_prob(rows, raw), "entropy": family.entropy(rows)}
    for name, values in numbers.items():
        promise = (
            f"`{name}` must return one number for each row, {batch}: sum over parts"
        )
        _require(values.shape == batch, family, promise, f"shape {values.shape}")


def _check_seeds(family: Family, rows: Tensor) -> None:
    one, again, other = (
        [leaf.numpy() for leaf in tf.nest.flatten(family.sample(rows, seed))]
        for seed in (_SEED, _SEED, _OTHER)
    )
    alike = all(map(np.array_equal, one, again))
    promise = "`sample` must draw the same actions from the same seed"
    _require(alike, family, promise, "different samples")
    certain = all(np.ptp(leaf) == 0 for leaf in one)
    varied = certain or not all(map(np.array_equal, one, other))
    promise = "`sample` must draw other actions from another seed"
    _require(varied, family, promise, "equal samples")


def _check_members(family: Family, rows: Tensor) -> None:
    raws = {"sample": family.sample(rows, _SEED), "mode": family.mode(rows)}
    for name, raw in raws.items():
        actions = tf.nest.map_structure(np.asarray, family.to_environment(raw))
        promise = f"`to_environment` must make `{name}` members of the space"
        for index in range(rows.shape[0]):
            action = tf.nest.map_structure(lambda leaf, i=index: leaf[i, ...], actions)
            _require(family.action_space.contains(action), family, promise, action)


def _check_gradients(family: Family, rows: Tensor) -> None:
    raw = tf.nest.map_structure(tf.stop_gradient, family.sample(rows, _SEED))
    functions: dict[str, Callable[[], Tensor]] = {
        "log_prob": lambda: family.log_prob(rows, raw),
        "entropy": lambda: family.entropy(rows),
    }
    for name, function in functions.items():
        with tf.GradientTape() as tape:
            tape.watch(rows)
            values = function()
        gradient = tape.gradient(values, rows, unconnected_gradients="zero")
        finite = np.isfinite(values).all() and np.isfinite(gradient).all()
        promise = f"`{name}` and its gradient must be finite"
        _require(finite, family, promise, "inf or nan for wide parameters")


def _check_sums(family: CompositeFamily, rows: Tensor) -> None:
    raw = family.sample(rows, _SEED)
    sizes = [part.parameters_shape[0] for part in family.parts]
    pieces = tf.split(rows, sizes, axis=-1)
    parts = list(zip(family.parts, pieces, tf.nest.flatten(raw), strict=True))
    log_probs = tf.add_n([part.log_prob(piece, own) for part, piece, own in parts])
    entropies = tf.add_n([part.entropy(piece) for part, piece, _ in parts])
    for name, total, expected in (
        ("log_prob", family.log_prob(rows, raw), log_probs),
        ("entropy", family.entropy(rows), entropies),
    ):
        close = np.allclose(total, expected, _ROUNDING, _ROUNDING)
        promise = f"`{name}` must be the sum over the parts"
        _require(close, family, promise, f"{total[0]:.4f}, not {expected[0]:.4f}")


def _check_density(family: Family, row: Tensor, rng: np.random.Generator) -> None:
    rows = _repeated(row, _DRAWS)
    raw = family.sample(rows, _SEED)
    log_probs = family.log_prob(rows, raw).numpy().astype(np.float64)
    squashed = _is_squashed(family, rows, raw, log_probs)
    total, error = _total_probability(family, row, raw, squashed, rng)
    promise = "the probabilities of all actions must add up to 1"
    _require(abs(total - 1.0) <= error, family, promise, f"{total:.4f} ± {error:.4f}")
    entropy, mean = float(family.entropy(row)), -log_probs.mean()
    error = _ERRORS * log_probs.std() / math.sqrt(_DRAWS) + _ROUNDING * (1 + abs(mean))
    promise = "`entropy` must be the mean of −`log_prob` over samples, in nats"
    received = f"{entropy:.4f}, and {mean:.4f} ± {error:.4f}"
    _require(abs(entropy - mean) <= error, family, promise, received)
    _check_mode(family, row, raw, log_probs, squashed)


def _repeated(row: Tensor, count: int) -> Tensor:
    return tf.broadcast_to(row, [count, row.shape[0]])


def _is_squashed(family: Family, rows: Tensor, raw: Tensor, log_probs: Array) -> bool:
    """Compares with TFP's distribution, whose events are raw actions or actions."""
    oracle = family.distribution(rows)
    actions = tf.cast(family.to_environment(raw), raw.dtype)
    scale = _ROUNDING * (1 + np.abs(log_probs))
    # Near a bound the inverse of a squashing function loses all digits.
    for events, share in ((raw, 1.0), (actions, 0.9)):
        expected = oracle.log_prob(events).numpy()
        whole = expected.shape == log_probs.shape
        promise = "one event of `distribution` must be one whole action"
        _require(whole, family, promise, f"log-probabilities {expected.shape}")
        if (np.abs(expected - log_probs) <= scale).mean() >= share:
            return events is not raw
    promise = "`log_prob` must be that of `distribution`, for raw actions or actions"
    _refuse(family, promise, f"{log_probs[0]:.4f}, not {expected[0]:.4f}")


def _check_mode(
    family: Family, row: Tensor, raw: Tensor, log_probs: Array, squashed: bool
) -> None:
    mode = family.mode(row[tf.newaxis])
    best, highest = family.log_prob(row[tf.newaxis], mode).numpy()[0], log_probs.max()
    if squashed and best < highest:
        best += _log_slopes(family, mode)[0]
        highest = (log_probs + _log_slopes(family, raw)).max()
    likeliest = not best < highest - _ROUNDING * (1 + abs(highest))
    promise = "no sample may be more likely than the `mode`"
    received = f"log-probabilities {highest:.4f} > {best:.4f}"
    _require(likeliest, family, promise, received)


def _total_probability(
    family: Family, row: Tensor, raw: Tensor, squashed: bool, rng: np.random.Generator
) -> tuple[float, float]:
    """Returns the probability of all raw actions, and the error it may have."""
    if raw.dtype.is_floating:
        points, log_density = _spread(raw.numpy(), rng)
        log_probs = family.log_prob(_repeated(row, _DRAWS), points).numpy()
        if squashed:
            log_probs = log_probs + _log_slopes(family, points)
        exact = math.prod(raw.shape[1:]) == 1
    else:
        points, log_density, exact = _choices(family, raw, rng)
        rows = _repeated(row, points.shape[0])
        log_probs = family.log_prob(rows, points).numpy()
        # A choice that was cut counts as kept for its own log-probability.
        possible = family.distribution(rows).log_prob(points).numpy() > -100.0
        log_probs = np.where(possible, log_probs, -np.inf)
    # Where there is no density, as beyond 0 and 1, it may be no number.
    weights = np.nan_to_num(np.exp(log_probs - log_density), posinf=0.0)
    sampling = _ERRORS * weights.std() / math.sqrt(len(weights))
    return float(weights.mean()), _INTEGRAL + (0.0 if exact else float(sampling))


def _spread(raw: Array, rng: np.random.Generator) -> tuple[Tensor, Array]:
    """Returns raw actions of Cauchy distributions about samples, and log densities."""
    flat = raw.reshape(len(raw), -1).astype(np.float64)
    low, middle, high = np.quantile(flat, [0.25, 0.5, 0.75], axis=0)
    scale = 0.5 * (high - low) + 1e-12
    if flat.shape[1] == 1:
        levels = ((np.arange(_DRAWS) + 0.5) / _DRAWS)[:, np.newaxis]
    else:
        levels = rng.uniform(size=(_DRAWS, flat.shape[1]))
    scores = np.tan(np.pi * (levels - 0.5))
    densities = -np.log(np.pi * scale * (1.0 + scores**2)).sum(axis=1)
    points = (middle + scale * scores).reshape(_DRAWS, *raw.shape[1:])
    return tf.constant(points, tf.float32), densities


def _choices(
    family: Family, raw: Tensor, rng: np.random.Generator
) -> tuple[Tensor, Array, bool]:
    """Returns all raw actions, or some if there are many; and whether it is all."""
    sizes = choices(family.action_space)
    total = math.prod(sizes)
    exact = total <= _ENUMERATED
    if exact:
        rows = np.array([*itertools.product(*map(range, sizes))])
    else:
        rows = rng.integers(0, sizes, size=(_DRAWS, len(sizes)))
    points = tf.constant(rows.reshape(-1, *raw.shape[1:]), raw.dtype)
    return points, np.full(len(rows), -math.log(total)), exact


def _log_slopes(family: Family, raw: Tensor) -> Array:
    """Returns log |det ∂a/∂u| of actions a of the environment by raw actions u."""
    size = math.prod(raw.shape[1:])
    flat = tf.reshape(raw, [-1, size])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(flat)
        actions = family.to_environment(tf.reshape(flat, tf.shape(raw)))
        parts = tf.unstack(tf.reshape(tf.cast(actions, tf.float32), [-1, size]), axis=1)
    slopes = np.stack([tape.gradient(part, flat).numpy() for part in parts], axis=1)
    with np.errstate(divide="ignore"):
        logs: Array = np.linalg.slogdet(slopes.astype(np.float64))[1]
    return logs
