"""In-graph environments under ids of their own, and under those of Gymnasium."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import pytest
import tensorflow as tf
from gymnasium import spaces

import kpg
from kpg.environments import (
    IN_GRAPH,
    CartPole,
    FunctionalEnv,
    GraphEnvironment,
    HostEnvironment,
    Rng,
    register,
    unregister,
)

ID = "KpgLine-v0"
MODULE = f'''
import kpg
from {__name__} import Line

kpg.environments.register("{ID}", Line, max_episode_steps=20, reward_threshold=-4)
'''


class Line(FunctionalEnv):
    """A point that is pushed to the left or to the right."""

    observation_space = spaces.Box(-10, 10, (1,))
    action_space = spaces.Discrete(2)
    max_episode_steps = 30

    def __init__(self, speed: float = 0.2) -> None:
        super().__init__()
        self.speed = speed

    def initial(self, rng: Rng) -> tf.Tensor:
        return rng.uniform(-1.0, 1.0, (1,))

    def transition(self, state: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
        return state + self.speed * (2 * tf.cast(action, tf.float32)[:, None] - 1)

    def observation(self, state: tf.Tensor) -> tf.Tensor:
        return state

    def reward(self, state: Any, action: Any, next_state: tf.Tensor) -> tf.Tensor:
        return -tf.abs(next_state[:, 0])

    def terminal(self, state: tf.Tensor) -> tf.Tensor:
        return tf.zeros_like(state[:, 0], tf.bool)


def make_line(speed: float = 0.2) -> Line:
    return Line(speed)


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Removes what a test has registered."""
    yield
    if ID in IN_GRAPH:
        unregister(ID)


def line_of(env: Any) -> Line:
    assert isinstance(env, GraphEnvironment)
    assert isinstance(env.func_env, Line)
    return env.func_env


@pytest.mark.parametrize("entry", [Line, make_line, lambda speed=0.2: Line(speed)])
@pytest.mark.parametrize("backend", ["auto", "graph"])
def test_a_registered_environment_is_made(entry: Any, backend: Any) -> None:
    register(ID, entry, max_episode_steps=20, reward_threshold=-4.0)
    assert ID in IN_GRAPH
    env = kpg.make(ID, num_envs=3, seed=5, backend=backend)
    assert (env.num_envs, env.seed, env.max_episode_steps) == (3, 5, 20)
    assert env.spec is not None
    assert (env.spec.id, env.spec.reward_threshold) == (ID, -4.0)
    assert env.spec.max_episode_steps == 20
    assert line_of(env).speed == 0.2


def test_an_entry_may_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "kpg_lines.py").write_text(f"from {__name__} import Line\n")
    monkeypatch.syspath_prepend(tmp_path)
    register(ID, "kpg_lines:Line", speed=0.5)
    assert "kpg_lines" not in sys.modules
    assert line_of(kpg.make(ID)).speed == 0.5
    register(ID, "kpg_lines:Line")
    unregister(ID)
    register(ID, "kpg_lines:Lines")
    with pytest.raises(ValueError, match="Did you mean Line.*Received: 'kpg_lines:Lin"):
        kpg.make(ID)


def test_arguments_are_those_of_make_then_those_registered() -> None:
    register(ID, Line, speed=0.5)
    assert line_of(kpg.make(ID)).speed == 0.5
    # Gymnasium has no environment of this id, so "auto" takes arguments too.
    env = kpg.make(ID, speed=1.0, max_episode_steps=7)
    assert line_of(env).speed == 1.0
    assert env.max_episode_steps == 7
    assert env.spec is not None
    assert env.spec.max_episode_steps == 7
    with pytest.raises(TypeError, match="taste"):
        kpg.make(ID, taste="sweet")


def test_the_limit_of_the_environment_itself_comes_last() -> None:
    register(ID, Line)
    env = kpg.make(ID)
    assert env.spec is not None
    assert env.max_episode_steps == env.spec.max_episode_steps == 30


def test_an_id_of_gymnasium_gets_a_version_in_the_graph() -> None:
    gymnasium.register(
        ID,
        "gymnasium.envs.classic_control.cartpole:CartPoleEnv",
        reward_threshold=9.0,
        max_episode_steps=44,
    )
    try:
        register(ID, CartPole, reward_threshold=8.0)
        env, host = kpg.make(ID), kpg.make(ID, backend="gymnasium")
        assert isinstance(env, GraphEnvironment)
        assert isinstance(host, HostEnvironment)
        assert env.spec is not None and host.spec is not None
        assert (env.spec.reward_threshold, env.max_episode_steps) == (8.0, 44)
        assert (host.spec.reward_threshold, host.max_episode_steps) == (9.0, 44)
        assert isinstance(kpg.make(ID, sutton_barto_reward=True), HostEnvironment)
    finally:
        del gymnasium.registry[ID]


def test_the_module_of_an_id_registers_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "kpg_line_module.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    env = kpg.make(f"kpg_line_module:{ID}", num_envs=2)
    assert env.spec is not None
    assert (env.spec.id, env.max_episode_steps) == (ID, 20)
    # As on a reload of the module, the same entry may be registered again.
    register(ID, type("Line", (Line,), {"__module__": __name__}), max_episode_steps=9)
    assert kpg.make(ID).max_episode_steps == 9


def test_a_module_that_fails_shows_its_own_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "kpg_broken_module.py").write_text("import kpg\nkpg.environmnts\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="kpg_broken.*AttributeError: .*environmnts"):
        kpg.make(f"kpg_broken_module:{ID}")


# Bad input.


def test_an_id_registered_twice_is_refused() -> None:
    register(ID, Line)
    message = rf"another name or version.*unregister\('{ID}'\).*Received: id='{ID}'"
    for other in (CartPole, make_line, "module:Line"):
        with pytest.raises(ValueError, match=message):
            register(ID, other)
    with pytest.raises(ValueError, match="registered only once"):
        register("CartPole-v1", Line)
    unregister(ID)
    register(ID, lambda: Line())
    with pytest.raises(ValueError, match=message):
        register(ID, lambda: Line())


@pytest.mark.parametrize("id", ["", "Line v0", "module:Line-v0", "a/b/Line-v0", 3])
def test_a_malformed_id_is_refused(id: Any) -> None:
    with pytest.raises(ValueError, match="'namespace/Name-v0'.*Received: id="):
        register(id, Line)


class Half(FunctionalEnv):
    """Cannot be stepped."""

    def initial(self, rng: Rng) -> tf.Tensor:
        return rng.uniform()


@pytest.mark.parametrize(
    ("entry", "hint"),
    [
        (Half, "It lacks transition, observation, reward, terminal"),
        (int, "It lacks initial"),
        (gymnasium.Env, "Use `gymnasium.register`"),
        (Line(), "Give the class of an environment"),
        ("Line", "Write it as 'module:Name'"),
        (None, "Give the class of an environment"),
    ],
)
def test_an_entry_that_makes_no_functional_environment_is_refused(
    entry: Any, hint: str
) -> None:
    with pytest.raises(ValueError, match=f"{hint}.*Received: entry="):
        register(ID, entry)


def test_numbers_are_checked() -> None:
    with pytest.raises(ValueError, match="Received: max_episode_steps=0"):
        register(ID, Line, max_episode_steps=0)
    with pytest.raises(ValueError, match="Received: reward_threshold='many'"):
        register(ID, Line, reward_threshold="many")  # type: ignore[arg-type]


def test_a_function_that_makes_something_else_is_refused() -> None:
    register(ID, lambda: 3)
    with pytest.raises(ValueError, match="must have initial and .*Received: 3"):
        kpg.make(ID)
    unregister(ID)
    register(ID, f"{__name__}:ID")
    with pytest.raises(ValueError, match="must name a class or function.*Received"):
        kpg.make(ID)


def test_what_is_only_in_the_graph_has_no_other_backend() -> None:
    register(ID, Line)
    with pytest.raises(ValueError, match="only inside the graph.*Received: backend="):
        kpg.make(ID, backend="gymnasium")
    with pytest.raises(ValueError, match="inside the graph.*Received: 1 wrappers"):
        kpg.make(ID, wrappers=[gymnasium.wrappers.TimeAwareObservation])


def test_an_unknown_id_names_close_ones_of_both_registries() -> None:
    register(ID, Line)
    with pytest.raises(ValueError, match=f"Did you mean .*{ID}.*Received: id="):
        kpg.make("KpgLine-v1")
    with pytest.raises(ValueError, match=f"Did you mean .*{ID}.*Received: id="):
        unregister("KpgLine-v1")
