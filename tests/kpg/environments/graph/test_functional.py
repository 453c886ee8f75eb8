"""Stateless random numbers, and environments made of functions of tensors."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from gymnasium import spaces
from gymnasium.experimental.functional import FuncEnv

import kpg
from kpg.environments import FunctionalEnv, GraphEnvironment, Rng


def draws(seed: int = 0, batch_size: int = 1000) -> Rng:
    return Rng(tf.constant([seed, 7]), batch_size)


def test_draws_have_the_shapes_dtypes_and_ranges_asked_for() -> None:
    rng = draws()
    uniform = rng.uniform(-0.6, -0.4, (2,)).numpy()
    normal = rng.normal(1.0, 2.0).numpy()
    integers = rng.integers(-1, 3, (2, 3)).numpy()
    assert (uniform.shape, uniform.dtype) == ((1000, 2), np.float32)
    assert uniform.min() >= -0.6
    assert uniform.max() < -0.4
    assert (normal.shape, normal.dtype) == ((1000,), np.float32)
    assert (integers.shape, integers.dtype) == ((1000, 2, 3), np.int32)
    assert set(integers.ravel()) == {-1, 0, 1, 2}


def test_draws_have_the_right_moments() -> None:
    # Means within 4 standard errors: of a uniform in [0, 1) 1/√12, of the normal 2.
    rng = draws(batch_size=10_000)
    assert abs(rng.uniform().numpy().mean() - 0.5) < 4 * 12**-0.5 / 100
    assert abs(rng.normal(1.0, 2.0).numpy().mean() - 1.0) < 4 * 2.0 / 100


def test_calls_draw_from_independent_streams() -> None:
    rng = draws(batch_size=10_000)
    streams = np.stack([rng.uniform().numpy() for _ in range(8)])
    # The correlation of n independent pairs has the standard error 1/√n.
    correlations = np.corrcoef(streams) - np.eye(8)
    assert np.abs(correlations).max() < 5 / 100


def test_neighbouring_seeds_share_no_stream() -> None:
    # If a call added 1 to the seed, seed 0's second stream would be seed 1's first.
    found = set()
    for seed in range(20):
        rng = Rng(tf.constant([seed, seed]), 1)
        found |= {float(rng.uniform().numpy()[0]) for _ in range(20)}
    assert len(found) == 400


@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_same_calls_give_the_same_numbers_in_a_graph(jit_compile: bool) -> None:
    def sample(seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        rng = Rng(seed, 5)
        return rng.uniform(), rng.uniform(0.0, 1.0, (2,))

    compiled = tf.function(sample, autograph=False, jit_compile=jit_compile)
    seed = tf.constant([3, -4])
    for left, right in zip(sample(seed), compiled(seed), strict=True):
        np.testing.assert_array_equal(left, right)
    assert compiled.experimental_get_tracing_count() == 1


def test_other_seeds_give_other_numbers() -> None:
    assert (draws(0).uniform().numpy() != draws(1).uniform().numpy()).mean() > 0.99


@pytest.mark.parametrize("seed", [3, [1, 2, 3], [[1, 2]]])
def test_a_seed_of_the_wrong_shape_is_refused(seed: Any) -> None:
    with pytest.raises(ValueError, match=r"shape \[2\]. Received"):
        Rng(tf.constant(seed), 4)


class Params(NamedTuple):
    step: float


class Walk(FunctionalEnv):
    """Counts up or down; the parameters say by how much."""

    max_episode_steps = 7

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
        self.action_space = spaces.Discrete(2)

    def get_default_params(self, **kwargs: Any) -> Params:
        return Params(step=0.5)

    def initial(self, rng: Rng, params: Any = None) -> Any:
        return {"place": rng.integers(0, 2)}

    def transition(self, state: Any, action: Any, rng: Rng, params: Any = None) -> Any:
        sign = 2.0 * tf.cast(action, tf.float32) - 1.0
        place = tf.cast(state["place"], tf.float32) + sign * params.step
        return {"place": place}

    def observation(self, state: Any, rng: Any, params: Any = None) -> Any:
        return tf.cast(state["place"], tf.float32)[:, tf.newaxis]

    def reward(
        self, state: Any, action: Any, next_state: Any, rng: Any, params: Any = None
    ) -> Any:
        return action

    def terminal(self, state: Any, rng: Any, params: Any = None) -> Any:
        return tf.abs(state["place"]) > 2.0


def test_an_environment_of_ones_own_gets_its_parameters() -> None:
    assert isinstance(Walk(), FuncEnv)
    env = GraphEnvironment(Walk(), num_envs=3, seed=5)
    states = {"place": tf.constant([0.0, 1.0, 2.0])}
    actions = tf.constant([0, 1, 1])
    following = env.transition(states, actions, draws(batch_size=3))
    np.testing.assert_allclose(following["place"], [-0.5, 1.5, 2.5])
    np.testing.assert_allclose(env.observation(following), [[-0.5], [1.5], [2.5]])
    rewards = env.reward(states, actions, following)
    assert rewards.dtype == tf.float32
    np.testing.assert_allclose(rewards, [0.0, 1.0, 1.0])
    np.testing.assert_array_equal(env.terminal(following), [False, False, True])
    assert (env.num_envs, env.seed, env.spec) == (3, 5, None)


def test_the_batch_size_is_that_of_the_rng_not_of_the_environment() -> None:
    env = GraphEnvironment(Walk(), num_envs=3)
    assert env.initial(draws(batch_size=11))["place"].shape == (11,)


def test_an_object_without_parameters_need_not_take_any() -> None:
    class Plain:
        observation_space = spaces.Box(0.0, 1.0, (1,))
        action_space = spaces.Discrete(2)

        def initial(self, rng: Rng) -> tf.Tensor:
            return rng.uniform()

        def transition(self, state: Any, action: Any, rng: Rng) -> tf.Tensor:
            return state

        def observation(self, state: Any, rng: Any) -> tf.Tensor:
            return state[:, tf.newaxis]

        def reward(self, state: Any, action: Any, following: Any, rng: Any) -> Any:
            return state

        def terminal(self, state: Any, rng: Any) -> tf.Tensor:
            return state > 1.0

    env = GraphEnvironment(Plain(), num_envs=2)
    states = env.initial(draws(batch_size=2))
    assert env.observation(states).shape == (2, 1)
    assert not env.terminal(states).numpy().any()
    assert env.max_episode_steps is None
    env.close()


def test_the_time_limit_comes_from_the_nearest_source() -> None:
    spec = kpg.make("MountainCar-v0").spec
    assert GraphEnvironment(Walk()).max_episode_steps == 7
    assert GraphEnvironment(Walk(), spec=spec).max_episode_steps == 200
    limited = GraphEnvironment(Walk(), spec=spec, max_episode_steps=3)
    assert limited.max_episode_steps == 3


# What each method asks for.


class Still(FunctionalEnv):
    """Never moves; its methods are replaced in the tests."""

    observation_space = spaces.Box(0.0, 1.0, (1,))
    action_space = spaces.Discrete(2)

    def initial(self, rng: Rng) -> tf.Tensor:
        return rng.uniform(size=(1,))

    def transition(self, state: Any, action: Any) -> Any:
        return state

    def observation(self, state: Any) -> Any:
        return state

    def reward(self, state: Any, action: Any, next_state: Any) -> tf.Tensor:
        return next_state[:, 0] - state[:, 0]

    def terminal(self, state: Any) -> tf.Tensor:
        return state[:, 0] > 1.0


def with_method(name: str, method: Any) -> GraphEnvironment:
    func_env = Still()
    setattr(func_env, name, method)
    return GraphEnvironment(func_env)


def test_methods_may_leave_out_what_they_do_not_use() -> None:
    env, rng = GraphEnvironment(Still(), num_envs=2), draws(batch_size=2)
    states = env.initial(rng)
    assert env.transition(states, tf.constant([0, 1]), rng) is states
    assert env.observation(states, rng) is states
    np.testing.assert_array_equal(env.reward(states, None, states, rng), [0.0, 0.0])
    np.testing.assert_array_equal(env.terminal(states, rng), [False, False])


def test_arguments_come_in_the_order_of_gymnasium() -> None:
    rng, given = draws(), []

    def everything(state: Any, action: Any, rng: Any, params: Any) -> Any:
        given.append((state, action, rng, params))

    with_method("transition", everything).transition("s", "a", rng)
    # A default of its own is replaced only if the name asks for the argument.
    both: dict[str, Any] = {
        "params": lambda s, a, r, params="own": given.append((s, a, r, params)),
        "rng": lambda s, a, rng=None: given.append((s, a, rng, "none")),
        "own": lambda s, a, speed="own": given.append((s, a, rng, speed)),
        "all": lambda *every: given.append((*every, "none")),
    }
    for method in both.values():
        with_method("transition", method).transition("s", "a", rng)
    last = [row[3] for row in given]
    assert [row[:3] for row in given] == [("s", "a", rng)] * 5
    assert last == [None, "own", "none", "own", "none"]


def test_compiled_methods_can_be_looked_at_too() -> None:
    function = tf.function(lambda state, action: state + action)
    env = with_method("transition", function)
    assert env.transition(tf.constant(1), tf.constant(2), draws()).numpy() == 3


@pytest.mark.parametrize(
    ("name", "method", "received"),
    [
        ("initial", lambda: 0, r"\(rng\).*params.*Received: initial\(\)"),
        ("transition", lambda state: 0, r"\(state, action\).*transition\(state\)"),
        ("observation", lambda state, params: 0, r"rng and params.*\(state, params\)"),
        ("reward", lambda state, next_state, action: 0, "state, next_state, action"),
        ("reward", lambda s, a, n, r, p, more: 0, r"\(s, a, n, r, p, more\)"),
        ("terminal", lambda state, *, limit: 0, r"\(state, \*, limit\)"),
    ],
)
def test_a_signature_that_cannot_be_called_is_refused(
    name: str, method: Any, received: str
) -> None:
    with pytest.raises(ValueError, match=f"`{name}` must take .*{received}"):
        with_method(name, method)


def test_a_misspelt_method_is_refused_when_the_class_is_made() -> None:
    with pytest.raises(TypeError, match="Did you mean terminal.*Received: terminate"):

        class Typo(Still):
            def terminate(self, state: Any) -> Any:
                return state


def test_missing_methods_are_named_when_the_environment_is_used() -> None:
    class Half(FunctionalEnv):
        action_space = spaces.Discrete(2)

        def initial(self, rng: Rng) -> tf.Tensor:
            return rng.uniform()

    for make in (GraphEnvironment, kpg.environments.as_environment):
        with pytest.raises(ValueError, match="transition.*observation_space.*Received"):
            make(Half())
    with pytest.raises(ValueError, match="transition and .* terminal.*Received"):
        kpg.environments.as_environment(Half)


def test_an_object_that_lacks_something_is_refused() -> None:
    class Half:
        action_space = spaces.Discrete(2)

        def initial(self, rng: Rng) -> tf.Tensor:
            return rng.uniform()

    with pytest.raises(ValueError, match="transition.*observation_space.*Received"):
        GraphEnvironment(Half())


@pytest.mark.parametrize("num_envs", [0, -1, 2.0, True, None])
def test_a_number_of_environments_that_is_none_is_refused(num_envs: Any) -> None:
    with pytest.raises(ValueError, match="at least 1. Received: num_envs="):
        GraphEnvironment(Walk(), num_envs)


def test_a_time_limit_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1. Received: max_episode_steps=0"):
        GraphEnvironment(Walk(), max_episode_steps=0)


@pytest.mark.parametrize(
    ("name", "method", "seen"),
    [
        ("reward", lambda state, action, following: state, r"float32 \(3, 1\)"),
        ("reward", lambda state, action, following: 1.0, r"float32 \(\)"),
        ("terminal", lambda state: state > 1.0, r"bool \(3, 1\)"),
    ],
)
def test_a_column_for_the_copies_is_refused(name: str, method: Any, seen: str) -> None:
    env, states = with_method(name, method), tf.zeros([3, 1])
    with pytest.raises(ValueError, match=rf"`{name}` of Still must.*Received: {seen}"):
        env.reward(states, None, states)
        env.terminal(states)


def test_floats_in_a_space_of_integers_are_refused() -> None:
    func_env: Any = Still()
    func_env.observation_space = spaces.Box(0, 255, (1,), np.uint8)
    env = GraphEnvironment(func_env)
    with pytest.raises(ValueError, match="`observation` of Still must return uint8"):
        env.observation(tf.zeros([3, 1]))
    assert env.observation(tf.zeros([3, 1], tf.uint8)).dtype == tf.uint8
