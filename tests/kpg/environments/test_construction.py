"""From ids and from what users have at hand to environments."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import gymnasium
import numpy as np
import pytest
import tensorflow as tf
from gymnasium.envs.classic_control.cartpole import CartPoleEnv, CartPoleVectorEnv
from gymnasium.envs.registration import register, registry
from gymnasium.vector import SyncVectorEnv
from gymnasium.wrappers import (
    FlattenObservation,
    GrayscaleObservation,
    RescaleAction,
    TimeAwareObservation,
    TimeLimit,
    TransformReward,
)
from gymnasium.wrappers import FrameStackObservation as FrameStack

import kpg
from kpg.environments import (
    IN_GRAPH,
    CartPole,
    GraphEnvironment,
    HostEnvironment,
    MountainCar,
    Rng,
    as_environment,
)
from tests.environments import Counting, Walk, limited


def cart_pole() -> gymnasium.Env[Any, Any]:
    return gymnasium.make("CartPole-v1")


def doubled(env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    return TransformReward(env, lambda reward: 2.0 * float(reward))


@contextmanager
def registered(single: Any = None, vector: Any = None) -> Iterator[str]:
    """Registers an environment with Gymnasium for a while; gives its id."""
    env_id = "KpgTest-v0"
    register(env_id, single, vector_entry_point=vector)
    try:
        yield env_id
    finally:
        del registry[env_id]


def vector_env_of(env: Any) -> Any:
    assert isinstance(env, HostEnvironment)
    return env.vector_env


def steps_until_end(env: HostEnvironment, actions: Any) -> int:
    env.reset()
    for count in range(1, 1000):
        step = env.step(actions)
        if (step.terminated | step.truncated).any():
            return count
    raise AssertionError("no episode ended")


@pytest.mark.parametrize("env_id", IN_GRAPH)
def test_auto_takes_the_version_in_the_graph(env_id: str) -> None:
    env = kpg.make(env_id, num_envs=4, seed=3)
    assert isinstance(env, GraphEnvironment)
    assert (env.num_envs, env.seed) == (4, 3)
    assert env.spec is not None
    assert env.spec.id == env_id
    assert env.initial(Rng(tf.constant([0, 1]), 4)).shape[0] == 4


def test_auto_takes_gymnasium_for_everything_else() -> None:
    env = kpg.make("CliffWalking-v1", num_envs=2, max_episode_steps=30)
    assert isinstance(vector_env_of(env), SyncVectorEnv)
    assert env.num_envs == 2
    assert env.observation_space == gymnasium.spaces.Discrete(48)
    assert env.max_episode_steps == 30
    assert env.spec is not None
    assert env.spec.reward_threshold is None
    env.close()


def test_wrappers_and_arguments_need_the_host() -> None:
    wrapped = kpg.make("CartPole-v1", num_envs=2, seed=0, wrappers=[doubled])
    assert isinstance(wrapped, HostEnvironment)
    wrapped.reset()
    assert wrapped.step([0, 1]).rewards.tolist() == [2.0, 2.0]
    argued = kpg.make("CartPole-v1", sutton_barto_reward=True)
    assert isinstance(argued, HostEnvironment)
    argued.reset()
    assert argued.step([0]).rewards.tolist() == [0.0]


def test_a_stack_of_frames() -> None:
    env = kpg.make(
        "CartPole-v1", num_envs=2, seed=0, wrappers=[partial(FrameStack, stack_size=3)]
    )
    assert isinstance(env, HostEnvironment)
    assert env.observation_space.shape == (3, 4)
    first = env.reset()
    step = env.step([0, 1])
    np.testing.assert_array_equal(step.observations[:, :2], first[:, 1:])
    assert (step.observations[:, 2] != first[:, 2]).any(axis=1).all()


class Painted(gymnasium.Env[Any, Any]):
    """An image whose red channel is the number of steps."""

    observation_space = gymnasium.spaces.Box(0, 255, (6, 5, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)

    def _paint(self) -> Any:
        image = np.zeros((6, 5, 3), np.uint8)
        image[..., 0] = self.count
        return image

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.count = 0
        return self._paint(), {}

    def step(self, action: Any) -> Any:
        self.count += 100
        return self._paint(), 1.0, False, False, {}


def test_an_image_in_grey() -> None:
    wrappers = [partial(GrayscaleObservation, keep_dim=True)]
    with registered(single=Painted) as env_id:
        env = kpg.make(env_id, num_envs=2, wrappers=wrappers)
        assert isinstance(env, HostEnvironment)
        assert env.observation_space.shape == (6, 5, 1)
        assert not env.reset().any()
        grey = env.step([0, 1]).observations
    assert (grey.dtype, grey.shape) == (np.uint8, (2, 6, 5, 1))
    # The weight of red in luminance is 0.2125 or 0.299, as the wrapper wants it.
    assert 20 <= grey.min() == grey.max() <= 30


def test_an_observation_with_its_time() -> None:
    aware = partial(TimeAwareObservation, flatten=False, normalize_time=False)
    env = kpg.make("MountainCar-v0", num_envs=2, seed=0, wrappers=[aware])
    assert isinstance(env, HostEnvironment)
    assert sorted(env.reset()) == ["obs", "time"]
    steps = [env.step([0, 1]) for _ in range(3)]
    assert [step.observations["time"].tolist() for step in steps] == [
        [[1], [1]],
        [[2], [2]],
        [[3], [3]],
    ]


def test_a_rescaled_action() -> None:
    def rescaled(env: Any) -> Any:
        low, high = np.float32(-1.0), np.float32(1.0)
        return RescaleAction(env, low, high)

    one = kpg.make("Pendulum-v1", seed=0, wrappers=[rescaled])
    two = kpg.make("Pendulum-v1", seed=0, backend="gymnasium")
    assert isinstance(one, HostEnvironment)
    assert isinstance(two, HostEnvironment)
    assert one.action_space == gymnasium.spaces.Box(-1.0, 1.0, (1,))
    np.testing.assert_array_equal(one.reset(), two.reset())
    halves = one.step(np.array([[0.5]])), two.step(np.array([[1.0]]))
    np.testing.assert_allclose(halves[0].observations, halves[1].observations)


def test_a_flat_observation() -> None:
    env = kpg.make("CliffWalking-v1", num_envs=2, wrappers=[FlattenObservation])
    assert isinstance(env, HostEnvironment)
    plain = kpg.make("CliffWalking-v1", num_envs=2)
    assert isinstance(plain, HostEnvironment)
    np.testing.assert_array_equal(env.reset().argmax(axis=1), plain.reset())
    assert (env.reset().sum(axis=1) == 1).all()


def test_gymnasium_takes_the_vector_version_of_an_environment() -> None:
    env = kpg.make("CartPole-v1", num_envs=2, backend="gymnasium")
    assert isinstance(vector_env_of(env), CartPoleVectorEnv)
    assert env.spec is not None
    assert env.spec.reward_threshold == 475.0


def test_arguments_that_the_vector_version_does_not_know_need_copies() -> None:
    class Single(CartPoleEnv):
        def __init__(self, colour: str = "red") -> None:
            super().__init__()
            self.colour = colour

    with registered(single=Single, vector=CartPoleVectorEnv) as env_id:
        plain = kpg.make(env_id)
        assert isinstance(vector_env_of(plain), CartPoleVectorEnv)
        coloured = vector_env_of(kpg.make(env_id, colour="blue"))
        assert isinstance(coloured, SyncVectorEnv)
        assert coloured.get_attr("colour") == ("blue",)
        with pytest.raises(TypeError, match="taste"):
            kpg.make(env_id, taste="sweet")


def test_the_vector_version_behaves_like_the_copies() -> None:
    env = kpg.make("CartPole-v1", num_envs=3, seed=0, backend="gymnasium")
    assert isinstance(env, HostEnvironment)
    env.reset()
    before = np.zeros(3, bool)
    falls = 0
    for _ in range(60):
        step = env.step([1, 1, 0])
        np.testing.assert_array_equal(step.valid, ~before)
        # After a reset the state is near 0; the final one is where the pole fell.
        assert (np.abs(step.observations[before]) <= 0.05).all()
        assert (np.abs(step.next_observations[step.terminated, 2]) > 0.2).all()
        before = step.terminated | step.truncated
        falls += before.sum()
    assert falls >= 9


@pytest.mark.parametrize("backend", ["auto", "graph", "gymnasium"])
def test_a_time_limit_of_ones_own(backend: Any) -> None:
    env = kpg.make("MountainCar-v0", backend=backend, max_episode_steps=7)
    assert env.max_episode_steps == 7
    assert env.spec is not None
    assert env.spec.max_episode_steps == 7
    assert gymnasium.spec("MountainCar-v0").max_episode_steps == 200
    if isinstance(env, HostEnvironment):
        assert steps_until_end(env, [1]) == 7
    else:
        assert backend != "gymnasium"


def test_the_graph_takes_the_arguments_of_its_environments() -> None:
    env = kpg.make("MountainCar-v0", backend="graph", goal_velocity=0.05)
    assert isinstance(env, GraphEnvironment)
    func_env = env.func_env
    assert isinstance(func_env, MountainCar)
    assert func_env.goal_velocity == 0.05


def test_a_module_can_be_named_in_the_id() -> None:
    assert kpg.make("gymnasium:CliffWalking-v1").spec is not None


# Bad input.


@pytest.mark.parametrize(
    ("env_id", "close"),
    [
        ("MountainCar-v1", "MountainCar-v0"),
        ("mountaincar-v0", "MountainCar-v0"),
        ("CartPole", "CartPole-v1"),
        ("LunarLander-v2", "LunarLander-v3"),
    ],
)
def test_an_unknown_id_names_close_ones(env_id: str, close: str) -> None:
    with pytest.raises(ValueError, match="registered with Gymnasium") as caught:
        kpg.make(env_id)
    assert f"Received: id={env_id!r}" in str(caught.value)
    assert close in str(caught.value)


@pytest.mark.parametrize(
    ("env_id", "package"),
    [("ALE/Pong-v5", "ale"), ("MiniGrid-Empty-5x5-v0", "minigrid")],
)
def test_the_package_of_an_id_is_told(env_id: str, package: str) -> None:
    with pytest.raises(
        ValueError,
        match=rf"pip install {package}.*'{package}\S+:{env_id}|"
        rf"pip install {package}.*'{package}:{env_id}",
    ) as caught:
        kpg.make(env_id)
    assert "Did you mean" not in str(caught.value)


def test_a_namespace_that_nobody_registered_has_no_close_ids() -> None:
    with pytest.raises(ValueError, match="'module:id' imports") as caught:
        kpg.make("Mine/Ant-v5")
    assert "Did you mean" not in str(caught.value)


@pytest.mark.parametrize("name", ["n_envs", "num_environments", "random_seed"])
def test_arguments_of_other_libraries_are_no_environments(name: str) -> None:
    with pytest.raises(ValueError, match=rf"Did you mean (num_envs|seed)\?.*{name}=4"):
        made: Any = kpg.make
        made("CartPole-v1", **{name: 4})


@pytest.mark.parametrize("backend", ["graph", "gymnasium"])
def test_numbers_of_numpy(backend: Any) -> None:
    numbers: Any = {"num_envs": np.int64(2), "seed": np.int64(3)}
    numbers["max_episode_steps"] = np.int32(9)
    env: Any = kpg.make("CartPole-v1", backend=backend, **numbers)
    assert (env.num_envs, env.seed, env.max_episode_steps) == (2, 3, 9)
    assert type(env.num_envs) is type(env.seed) is int
    if backend == "gymnasium":
        env.reset()


@pytest.mark.parametrize("backend", ["graph", "gymnasium"])
def test_none_keeps_the_registered_limit(backend: Any) -> None:
    env = kpg.make("CartPole-v1", max_episode_steps=None, backend=backend)
    assert env.max_episode_steps == 500


def test_a_limit_among_the_wrappers_is_found() -> None:
    env: Any = kpg.make("CartPole-v1", wrappers=[lambda env: TimeLimit(env, 20)])
    assert env.max_episode_steps == env.spec.max_episode_steps == 20


def test_a_limit_can_be_said_of_what_has_none() -> None:
    """A single environment and one in the graph get it, a vector must keep it."""
    four: Any = np.int64(4)
    env = as_environment(lambda: Counting(2), 2, max_episode_steps=four)
    assert env.max_episode_steps == steps_until_end(cast(Any, env), np.zeros(2)) == 4
    walk = as_environment(Walk(), max_episode_steps=4)
    vector = as_environment(SyncVectorEnv([Counting]), max_episode_steps=four)
    assert walk.max_episode_steps == vector.max_episode_steps == 4


def test_another_limit_than_the_one_in_force_is_refused() -> None:
    for candidate in (SyncVectorEnv([lambda: limited(0)]), lambda: limited(0)):
        with pytest.raises(ValueError, match=r"that of the environment, 5.*steps=8"):
            as_environment(candidate, max_episode_steps=8)
    made = kpg.make("CartPole-v1")
    with pytest.raises(ValueError, match=r"where the environment is made.*steps=8"):
        as_environment(made, max_episode_steps=8)


def test_an_id_like_no_other_names_none() -> None:
    with pytest.raises(ValueError, match="Received: id='qqqqqqqq'") as caught:
        kpg.make("qqqqqqqq")
    assert "Did you mean" not in str(caught.value)


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(ImportError, match="install the package.*no_such_module"):
        kpg.make("no_such_module:Thing-v0")


@pytest.mark.parametrize("num_envs", [0, -3, 1.5, True])
def test_a_number_of_environments_that_is_none_is_refused(num_envs: Any) -> None:
    for env_id in ("CartPole-v1", "CliffWalking-v1"):
        with pytest.raises(ValueError, match="at least 1. Received: num_envs"):
            kpg.make(env_id, num_envs=num_envs)
    with pytest.raises(ValueError, match="at least 1. Received: num_envs"):
        as_environment(cart_pole, num_envs=num_envs)


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="gymnasium, envpool.*Received: backend='jax'"):
        kpg.make("CartPole-v1", backend=cast("Any", "jax"))


def test_the_graph_has_not_every_environment() -> None:
    with pytest.raises(ValueError, match="has only Acrobot-v1, CartPole-v1"):
        kpg.make("CliffWalking-v1", backend="graph")


def test_the_graph_takes_no_wrappers() -> None:
    with pytest.raises(ValueError, match="wrappers cannot run inside the graph"):
        kpg.make("CartPole-v1", backend="graph", wrappers=[doubled])


@pytest.mark.parametrize("steps", [0, -1, 2.5])
@pytest.mark.parametrize("backend", ["graph", "gymnasium", "envpool"])
def test_a_time_limit_that_is_none_is_refused(backend: Any, steps: Any) -> None:
    with pytest.raises(ValueError, match="`max_episode_steps` must be a whole"):
        kpg.make("CartPole-v1", backend=backend, max_episode_steps=steps)


@pytest.mark.parametrize(
    ("env_id", "backend"),
    [("CartPole-v1", "envpool"), ("envpool:LunarLander-v3", "auto")],
)
def test_a_missing_envpool_is_named(
    env_id: str, backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "envpool", None)
    with pytest.raises(ImportError, match="Run `pip install envpool`"):
        kpg.make(env_id, backend=backend)


@pytest.mark.parametrize("backend", ["graph", "gymnasium"])
def test_an_id_of_envpool_has_no_other_backend(backend: Any) -> None:
    with pytest.raises(ValueError, match=f"by EnvPool.*Received: backend='{backend}'"):
        kpg.make("envpool:CartPole-v1", backend=backend)


def test_envpool_takes_no_wrappers() -> None:
    with pytest.raises(ValueError, match="inside EnvPool.*Received: 1 wrappers"):
        kpg.make("envpool:CartPole-v1", wrappers=[doubled])


def test_a_missing_package_of_an_environment_is_named() -> None:
    def broken() -> gymnasium.Env[Any, Any]:
        raise gymnasium.error.DependencyNotInstalled("run `pip install swig`")

    with registered(single=broken) as env_id:
        with pytest.raises(ImportError, match=f"{env_id} needs.*pip install"):
            kpg.make(env_id)


def test_an_environment_that_exists_only_as_a_vector_takes_no_wrappers() -> None:
    with registered(vector=CartPoleVectorEnv) as env_id:
        assert kpg.make(env_id, num_envs=2).num_envs == 2
        with pytest.raises(ValueError, match="only as a vector environment"):
            kpg.make(env_id, wrappers=[doubled])
        with pytest.raises(TypeError, match="colour"):
            kpg.make(env_id, colour="red")


# What users have at hand.


def test_an_environment_stays_what_it_is() -> None:
    env = kpg.make("CartPole-v1", num_envs=3)
    assert as_environment(env, num_envs=5) is env


@pytest.mark.parametrize("candidate", [CartPole, CartPole()])
def test_functional_environments_and_their_classes_become_one(candidate: Any) -> None:
    env = as_environment(candidate, num_envs=3, seed=2)
    assert isinstance(env, GraphEnvironment)
    assert (env.num_envs, env.seed, env.max_episode_steps) == (3, 2, 500)


@pytest.mark.parametrize("make", [cart_pole, CartPoleEnv])
def test_factories_and_classes_are_called_for_every_copy(make: Any) -> None:
    env = as_environment(make, num_envs=3, seed=2)
    assert isinstance(env, HostEnvironment)
    assert env.reset().shape == (3, 4)
    assert len({id(copy) for copy in vector_env_of(env).envs}) == 3


def test_one_gymnasium_environment_is_one_copy() -> None:
    env = as_environment(cart_pole())
    assert (env.num_envs, env.max_episode_steps) == (1, 500)
    with pytest.raises(ValueError, match="function that makes it. Received"):
        as_environment(cart_pole(), num_envs=2)


@pytest.mark.parametrize("wrap", [lambda env: env, lambda env: lambda: env])
def test_vector_environments_keep_their_number(wrap: Any) -> None:
    env = as_environment(wrap(SyncVectorEnv([cart_pole] * 3)), seed=1)
    assert (env.num_envs, env.seed) == (3, 1)


def test_a_factory_of_a_made_environment() -> None:
    env = as_environment(lambda: kpg.make("CartPole-v1", num_envs=2))
    assert (env.num_envs, isinstance(env, GraphEnvironment)) == (2, True)


@pytest.mark.parametrize("candidate", ["CartPole-v1", 3, None, object()])
def test_something_else_is_refused(candidate: Any) -> None:
    with pytest.raises(ValueError, match="made by `kpg.make`.* Received"):
        as_environment(candidate)
    with pytest.raises(ValueError, match="made by `kpg.make`.* Received"):
        as_environment(lambda: candidate)


def test_a_factory_of_a_vector_environment() -> None:
    env = as_environment(lambda: SyncVectorEnv([cart_pole] * 2), seed=1)
    assert (env.num_envs, env.seed) == (2, 1)


def test_a_function_that_returns_a_function_is_refused() -> None:
    with pytest.raises(ValueError, match="must return one. Received"):
        as_environment(lambda: cart_pole)


def test_what_was_returned_is_not_written_again() -> None:
    # Gymnasium's vector environment is made to write all steps into one array.
    env: Any = kpg.make("Acrobot-v1", num_envs=2, seed=0, backend="gymnasium")
    given = [env.reset()]
    kept = [given[0].copy()]
    for _ in range(2):
        step = env.step(np.array([0, 2]))
        given += [step.observations, step.next_observations]
        kept += [step.observations.copy(), step.next_observations.copy()]
    np.testing.assert_array_equal(given, kept)
    assert not np.array_equal(kept[0], kept[1])


def test_a_function_makes_a_new_environment_at_each_call() -> None:
    env = gymnasium.make("CartPole-v1")
    with pytest.raises(ValueError, match="make a new one.*CartPole.* of 2 copies"):
        kpg.environments.as_environment(lambda: env, num_envs=2)
