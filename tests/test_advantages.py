"""Identities of returns and advantages, and the bugs that they must kill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

import kpg.advantages

GAMMA = 0.9
Array: TypeAlias = npt.NDArray[Any]
Gae: TypeAlias = Callable[..., Array]


class Fragment(NamedTuple):
    """A random trajectory in float64: T = 12 steps of B = 3 environments."""

    rewards: Array
    values: Array
    next_values: Array
    terminated: Array
    truncated: Array


def fragment(seed: int = 0) -> Fragment:
    rng = np.random.default_rng(seed)
    rewards, values, finals = rng.normal(size=(3, 12, 3))
    terminated = np.zeros((12, 3), bool)
    truncated = np.zeros((12, 3), bool)
    terminated[[3, 8], 0] = True
    truncated[[2, 6], 1] = True
    terminated[4, 2] = True
    truncated[9, 2] = True
    ended = terminated | truncated
    ended[-1] = True
    next_values = np.where(ended, finals, np.roll(values, -1, axis=0))
    return Fragment(rewards, values, next_values, terminated, truncated)


def naive_returns(data: Fragment, gamma: float) -> Array:
    """Sums the discounted rewards of each step to the end, then bootstraps."""
    returns = np.zeros_like(data.rewards)
    steps, batch = data.rewards.shape
    for b in range(batch):
        for t in range(steps):
            for k in range(t, steps):
                returns[t, b] += gamma ** (k - t) * data.rewards[k, b]
                if data.terminated[k, b]:
                    break
                if data.truncated[k, b] or k == steps - 1:
                    returns[t, b] += gamma ** (k - t + 1) * data.next_values[k, b]
                    break
    return returns


def errors(data: Fragment, gamma: float) -> Array:
    following = np.where(data.terminated, 0.0, data.next_values)
    return data.rewards + gamma * following - data.values


def naive_gae(data: Fragment, gamma: float, gae_lambda: float) -> Array:
    """Equation 16 of the paper, literally: the sum over k of (γλ)ᵏ δₜ₊ₖ."""
    advantages = np.zeros_like(data.rewards)
    deltas = errors(data, gamma)
    steps, batch = deltas.shape
    for b in range(batch):
        for t in range(steps):
            for k in range(t, steps):
                advantages[t, b] += (gamma * gae_lambda) ** (k - t) * deltas[k, b]
                if data.terminated[k, b] or data.truncated[k, b]:
                    break
    return advantages


def eager_gae(data: Fragment, gamma: float, gae_lambda: float) -> Any:
    return kpg.advantages.gae(*data, gamma=gamma, gae_lambda=gae_lambda).numpy()


def compiled_gae(data: Fragment, gamma: float, gae_lambda: float) -> Any:
    run = tf.function(kpg.advantages.gae, jit_compile=True)
    tensors = [tf.constant(array, tf.float32) for array in data[:3]]
    tensors += [tf.constant(array) for array in data[3:]]
    return run(*tensors, gamma=gamma, gae_lambda=gae_lambda).numpy()


def close(left: Any, right: Any) -> None:
    np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5)


# The identities. Each takes an implementation, so that mutants can be put in its place.


def lambda_one_is_return_minus_value(gae: Gae) -> None:
    data = fragment()
    close(gae(data, GAMMA, 1.0), naive_returns(data, GAMMA) - data.values)


def lambda_zero_is_td_error(gae: Gae) -> None:
    data = fragment()
    close(gae(data, GAMMA, 0.0), errors(data, GAMMA))


def equals_naive_sum(gae: Gae) -> None:
    data = fragment()
    for gae_lambda in (0.3, 0.95):
        close(gae(data, GAMMA, gae_lambda), naive_gae(data, GAMMA, gae_lambda))


def episodes_do_not_touch(gae: Gae) -> None:
    data = Fragment(*(array[:, 1:2] for array in fragment()))
    ends = [0, 3, 7, 12]
    apart = [
        gae(Fragment(*(array[start:end] for array in data)), GAMMA, 0.95)
        for start, end in zip(ends, ends[1:], strict=False)
    ]
    close(gae(data, GAMMA, 0.95), np.concatenate(apart))


def exact_values_leave_no_advantage(gae: Gae) -> None:
    ones = np.ones((9, 1))
    values = ones / (1.0 - GAMMA)
    truncated = (np.arange(9) % 3 == 2)[:, np.newaxis]
    data = Fragment(ones, values, values, np.zeros((9, 1), bool), truncated)
    for gae_lambda in (0.0, 0.5, 1.0):
        close(gae(data, GAMMA, gae_lambda), 0.0)


IDENTITIES = (
    lambda_one_is_return_minus_value,
    lambda_zero_is_td_error,
    equals_naive_sum,
    episodes_do_not_touch,
    exact_values_leave_no_advantage,
)


@pytest.mark.parametrize("identity", IDENTITIES)
@pytest.mark.parametrize("gae", [eager_gae, compiled_gae])
def test_gae_identity(identity: Callable[[Gae], None], gae: Gae) -> None:
    identity(gae)


# Bugs that were found in real libraries, or nearly made.


def recursion(deltas: Array, decay: Array) -> Array:
    following = np.zeros_like(deltas[0])
    advantages = np.zeros_like(deltas)
    for t in reversed(range(len(deltas))):
        following = advantages[t] = deltas[t] + decay[t] * following
    return advantages


def brax_recursion(data: Fragment, gamma: float, gae_lambda: float) -> Array:
    """Brax's `compute_gae`: r + γ·(V + Â)ₜ₊₁ − V, the advantage of V-trace."""
    ended = data.terminated | data.truncated
    advantages = naive_gae(data, gamma, gae_lambda)
    following = np.append(advantages[1:], np.zeros_like(advantages[:1]), axis=0)
    return errors(data, gamma) + gamma * np.where(ended, 0.0, following)


def truncation_as_termination(data: Fragment, gamma: float, gae_lambda: float) -> Array:
    ended = data.terminated | data.truncated
    deltas = errors(data._replace(terminated=ended), gamma)
    return recursion(deltas, gamma * gae_lambda * ~ended)


def trace_leaks(data: Fragment, gamma: float, gae_lambda: float) -> Array:
    return recursion(errors(data, gamma), gamma * gae_lambda * ~data.terminated)


def mask_off_by_one(data: Fragment, gamma: float, gae_lambda: float) -> Array:
    ended = data.terminated | data.truncated
    late = np.append(ended[1:], np.zeros_like(ended[:1]), axis=0)
    late_terminated = np.append(data.terminated[1:], np.zeros_like(ended[:1]), axis=0)
    deltas = errors(data._replace(terminated=late_terminated), gamma)
    return recursion(deltas, gamma * gae_lambda * ~late)


def lambda_ignored(data: Fragment, gamma: float, gae_lambda: float) -> Array:
    return naive_gae(data, gamma, 1.0)


def gamma_missing_in_trace(data: Fragment, gamma: float, gae_lambda: float) -> Array:
    ended = data.terminated | data.truncated
    return recursion(errors(data, gamma), gae_lambda * ~ended)


def value_of_reset(data: Fragment, gamma: float, gae_lambda: float) -> Array:
    following = np.append(data.values[1:], data.next_values[-1:], axis=0)
    return naive_gae(data._replace(next_values=following), gamma, gae_lambda)


ONE, ZERO, NAIVE, APART, EXACT = IDENTITIES
KILLERS: list[tuple[Gae, set[Callable[[Gae], None]]]] = [
    (brax_recursion, {ZERO, NAIVE}),
    (truncation_as_termination, {ONE, ZERO, NAIVE, EXACT}),
    (trace_leaks, {ONE, NAIVE, APART}),
    (mask_off_by_one, {ONE, ZERO, NAIVE, APART}),
    (lambda_ignored, {ZERO, NAIVE}),
    (gamma_missing_in_trace, {ONE, NAIVE}),
    (value_of_reset, {ONE, ZERO, NAIVE, APART}),
]


@pytest.mark.parametrize(("mutant", "killers"), KILLERS)
def test_gae_mutant_is_killed_by_exactly(
    mutant: Gae, killers: set[Callable[[Gae], None]]
) -> None:
    found = set()
    for identity in IDENTITIES:
        try:
            identity(mutant)
        except AssertionError:
            found.add(identity)
    assert found == killers


def test_the_oracle_of_the_mutants_is_no_mutant() -> None:
    for identity in IDENTITIES:
        identity(naive_gae)


def normalized(advantages: Array) -> Any:
    return (advantages - advantages.mean()) / advantages.std()


def test_scale_of_rewards_does_not_matter_after_normalisation() -> None:
    data = fragment()
    scaled = data._replace(
        rewards=100.0 * data.rewards,
        values=100.0 * data.values,
        next_values=100.0 * data.next_values,
    )
    close(
        normalized(eager_gae(scaled, GAMMA, 0.95)),
        normalized(eager_gae(data, GAMMA, 0.95)),
    )


def test_gae_of_one_step_and_of_one_environment() -> None:
    data = Fragment(*(array[:1, :1] for array in fragment()))
    close(eager_gae(data, GAMMA, 0.95), errors(data, GAMMA))


def test_gae_is_traced_once() -> None:
    run = tf.function(kpg.advantages.gae)
    for seed in range(3):
        tensors = [tf.constant(array, tf.float32) for array in fragment(seed)[:3]]
        tensors += [tf.constant(array) for array in fragment(seed)[3:]]
        run(*tensors, gamma=GAMMA, gae_lambda=0.95)
    assert run.experimental_get_tracing_count() == 1


# Returns and TD errors.


def test_returns_equal_the_naive_sum() -> None:
    data = fragment()
    returns = kpg.advantages.discounted_returns(
        data.rewards, *data[2:], gamma=GAMMA
    ).numpy()
    close(returns, naive_returns(data, GAMMA))
    close(returns, eager_gae(data, GAMMA, 1.0) + data.values)


def test_returns_by_hand() -> None:
    # An episode 1, 2 that terminates, then 3 that is truncated before a value of 10.
    returns = kpg.advantages.discounted_returns(
        [[1.0], [2.0], [3.0]],
        [[7.0], [7.0], [10.0]],
        [[False], [True], [False]],
        [[False], [False], [True]],
        gamma=0.5,
    )
    close(returns, [[2.0], [2.0], [8.0]])


def test_returns_without_values_are_sums_of_rewards() -> None:
    data = fragment()._replace(next_values=np.zeros((12, 3)))
    returns = kpg.advantages.discounted_returns(data.rewards, *data[2:], gamma=1.0)
    close(returns[9:, 0], np.cumsum(data.rewards[9:, 0][::-1])[::-1])


@pytest.mark.parametrize("mutation", ["terminated", "next_values", "truncated"])
def test_returns_depend_on_each_argument(mutation: str) -> None:
    data = fragment()
    changed = data._replace(**{mutation: np.zeros_like(getattr(data, mutation))})
    returns = kpg.advantages.discounted_returns(
        changed.rewards, *changed[2:], gamma=GAMMA
    )
    with pytest.raises(AssertionError):
        close(returns, naive_returns(data, GAMMA))


def test_td_error_by_hand() -> None:
    found = kpg.advantages.td_error(
        [[1.0, 1.0]], [[2.0, 2.0]], [[10.0, 10.0]], [[False, True]], gamma=0.5
    )
    close(found, [[4.0, -1.0]])


@pytest.mark.parametrize("garbage", [np.nan, np.inf])
def test_what_follows_a_termination_is_not_read(garbage: float) -> None:
    data = fragment()
    dirty = data._replace(next_values=data.next_values.copy())
    dirty.next_values[data.terminated] = garbage
    close(eager_gae(dirty, GAMMA, 0.95), eager_gae(data, GAMMA, 0.95))
    ratios = np.zeros((12, 3))
    close(
        kpg.advantages.vtrace(*dirty, ratios, gamma=GAMMA).advantages,
        kpg.advantages.vtrace(*data, ratios, gamma=GAMMA).advantages,
    )
    close(
        kpg.advantages.discounted_returns(data.rewards, *dirty[2:], gamma=GAMMA),
        naive_returns(data, GAMMA),
    )


def test_garbage_in_the_row_after_an_episode_stays_there() -> None:
    # Row 4 of column 0 comes after a termination: a NEXT_STEP reset, say.
    data = fragment()
    dirty = Fragment(*(array.copy() for array in data))
    for array in dirty[:3]:
        array[4, 0] = np.nan
    log_ratios = np.zeros((12, 3))
    log_ratios[4, 0] = np.inf
    rest = np.arange(12) != 4
    close(
        eager_gae(dirty, GAMMA, 0.9)[rest],
        eager_gae(data._replace(next_values=dirty.next_values), GAMMA, 0.9)[rest],
    )
    found = kpg.advantages.vtrace(*dirty, log_ratios, gamma=GAMMA)
    assert np.isfinite(found.targets.numpy()[rest]).all()
    assert np.isfinite(found.advantages.numpy()[rest]).all()


# V-trace.


def naive_vtrace(
    data: Fragment, log_ratios: Array, clip_rho: float, clip_c: float
) -> tuple[Array, Array]:
    """Equation 1 of the paper: vₛ = V + Σₜ γᵗ⁻ˢ (Π cᵢ) δₜ, with all its loops."""
    ratios = np.exp(log_ratios)
    rhos, traces = np.minimum(ratios, clip_rho), np.minimum(ratios, clip_c)
    deltas = rhos * errors(data, GAMMA)
    targets = data.values.copy()
    advantages = np.zeros_like(targets)
    steps, batch = targets.shape
    ended = data.terminated | data.truncated
    for b in range(batch):
        for s in reversed(range(steps)):
            weight = 1.0
            for t in range(s, steps):
                targets[s, b] += weight * deltas[t, b]
                weight *= GAMMA * traces[t, b]
                if ended[t, b]:
                    break
            following = data.next_values[s, b]
            if not ended[s, b] and s < steps - 1:
                following = targets[s + 1, b]
            if data.terminated[s, b]:
                following = 0.0
            error = data.rewards[s, b] + GAMMA * following - data.values[s, b]
            advantages[s, b] = rhos[s, b] * error
    return targets, advantages


@pytest.mark.parametrize(
    ("clip_rho", "clip_c"), [(1.0, 1.0), (2.0, 0.5), (np.inf, np.inf)]
)
def test_vtrace_equals_the_naive_sum(clip_rho: float, clip_c: float) -> None:
    data = fragment()
    log_ratios = np.random.default_rng(5).normal(size=(12, 3))
    run = tf.function(kpg.advantages.vtrace, jit_compile=True)
    tensors = [tf.constant(array, tf.float32) for array in data[:3]]
    tensors += [tf.constant(array) for array in data[3:]]
    found = run(
        *tensors,
        tf.constant(log_ratios, tf.float32),
        gamma=GAMMA,
        clip_rho=clip_rho,
        clip_c=clip_c,
    )
    targets, advantages = naive_vtrace(data, log_ratios, clip_rho, clip_c)
    close(found.targets, targets)
    close(found.advantages, advantages)


def test_vtrace_on_policy_is_the_return() -> None:
    data = fragment()
    found = kpg.advantages.vtrace(*data, np.zeros((12, 3)), gamma=GAMMA)
    close(found.targets, naive_returns(data, GAMMA))
    close(found.advantages, naive_returns(data, GAMMA) - data.values)


@pytest.mark.parametrize("mutant", [(np.inf, 1.0), (1.0, np.inf), (0.5, 1.0)])
def test_vtrace_with_another_clip_is_another_target(
    mutant: tuple[float, float],
) -> None:
    data = fragment()
    log_ratios = np.random.default_rng(5).normal(size=(12, 3))
    found = kpg.advantages.vtrace(*data, log_ratios, gamma=GAMMA)
    with pytest.raises(AssertionError):
        close(found.targets, naive_vtrace(data, log_ratios, *mutant)[0])


# Groups of answers to one prompt.


def test_leave_one_out_by_brute_force() -> None:
    rewards = np.random.default_rng(0).normal(size=12)
    expected = [
        rewards[i] - np.delete(rewards[i // 4 * 4 :][:4], i % 4).mean()
        for i in range(12)
    ]
    close(kpg.advantages.leave_one_out(rewards, 4), expected)


@pytest.mark.parametrize(
    "function", [kpg.advantages.leave_one_out, kpg.advantages.group_normalized]
)
def test_a_constant_for_one_prompt_changes_nothing(
    function: Callable[[Any, int], tf.Tensor],
) -> None:
    rewards = np.random.default_rng(0).normal(size=12)
    shifted = rewards + np.repeat([5.0, -3.0, 0.0], 4)
    close(function(shifted, 4), function(rewards, 4))
    # A constant for single answers does change something: the groups are rows of 4.
    shifted = rewards + np.tile([5.0, -3.0, 0.0], 4)
    with pytest.raises(AssertionError):
        close(function(shifted, 4), function(rewards, 4))


def test_group_normalized_has_mean_0_and_std_1() -> None:
    rewards = 10.0 * np.random.default_rng(0).normal(size=12)
    groups = tf.reshape(kpg.advantages.group_normalized(rewards, 4), [3, 4]).numpy()
    np.testing.assert_allclose(groups.mean(axis=1), 0.0, atol=1e-6)
    np.testing.assert_allclose(groups.std(axis=1), 1.0, atol=1e-4)


def test_equal_rewards_have_no_advantage() -> None:
    close(kpg.advantages.group_normalized(np.full(4, 0.1), 2), np.zeros(4))


# Bad input.


@pytest.mark.parametrize("field", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("shape", [(12, 3, 1), (12, 1), (1, 3), (12,)])
def test_shapes_that_would_broadcast_are_refused(
    field: int, shape: tuple[int, ...]
) -> None:
    data = fragment()
    wrong = np.zeros(shape, data[field].dtype)
    arrays = data._replace(**{Fragment._fields[field]: wrong})
    with pytest.raises(ValueError, match=r"must have the shape of .* Received"):
        kpg.advantages.gae(*arrays, gamma=GAMMA, gae_lambda=0.95)
    with pytest.raises(ValueError, match=r"must have the shape of .* Received"):
        kpg.advantages.vtrace(*arrays, np.zeros((12, 3)), gamma=GAMMA)


def test_wrong_shapes_are_refused_while_the_graph_is_built() -> None:
    run = tf.function(kpg.advantages.discounted_returns)
    with pytest.raises(ValueError, match=r"\(8, 4\).*\(8, 1\)"):
        run.get_concrete_function(
            tf.TensorSpec([8, 4]),
            tf.TensorSpec([8, 1]),
            tf.TensorSpec([8, 4], tf.bool),
            tf.TensorSpec([8, 4], tf.bool),
            gamma=GAMMA,
        )


@pytest.mark.parametrize("gamma", [-0.1, 1.1, float("nan")])
def test_gamma_out_of_range_is_refused(gamma: float) -> None:
    with pytest.raises(ValueError, match=r"`gamma` must lie in \[0, 1\]. Received"):
        kpg.advantages.gae(*fragment(), gamma=gamma, gae_lambda=0.95)


def test_lambda_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`gae_lambda` must lie in .* Received"):
        kpg.advantages.gae(*fragment(), gamma=0.9, gae_lambda=2.0)


def test_clips_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="`clip_c` must be positive. Received"):
        kpg.advantages.vtrace(*fragment(), np.zeros((12, 3)), gamma=0.9, clip_c=0.0)


@pytest.mark.parametrize(
    ("shape", "group_size"), [((12,), 5), ((12,), 1), ((3, 4), 4), ((12,), 0)]
)
def test_broken_groups_are_refused(shape: tuple[int, ...], group_size: int) -> None:
    with pytest.raises(ValueError, match="whole groups.* Received"):
        kpg.advantages.leave_one_out(np.zeros(shape), group_size)
