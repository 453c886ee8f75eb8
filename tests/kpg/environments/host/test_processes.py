"""Asynchronous environments: which copy crashed, or hangs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

import kpg
from kpg.environments import as_environment

STILL = np.zeros(3, np.int64)


class Troubled(gym.Env[Any, Any]):
    """One copy does something in its second step."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, trouble: Callable[[], None] | None = None) -> None:
        self.trouble = trouble

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.steps = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        if self.trouble is not None and self.steps == 2:
            self.trouble()
        return np.zeros(2, np.float32), 1.0, False, False, {}


def fail() -> None:
    raise ArithmeticError("the pole is made of air")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang() -> None:
    time.sleep(600)


def stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


@pytest.fixture
def make() -> Iterator[Callable[..., Any]]:
    """Returns what makes three copies, of which the last but one is in trouble."""
    made: list[AsyncVectorEnv] = []

    def troubled(trouble: Any, wrapped: bool = False, **options: Any) -> Any:
        made.append(AsyncVectorEnv([Troubled, lambda: Troubled(trouble), Troubled]))
        outer: Any = RecordEpisodeStatistics(made[-1]) if wrapped else made[-1]
        env: Any = as_environment(outer, **options)
        env.reset()
        env.step(STILL)
        return env

    yield troubled
    for env in made:
        assert env.closed
        assert not any(process.is_alive() for process in env.processes)


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_error_comes_with_its_copy_and_its_traceback(
    make: Callable[..., Any], wrapped: bool
) -> None:
    env = make(fail, wrapped)
    with pytest.raises(RuntimeError, match="Copy 1 .* ArithmeticError: the pole") as e:
        env.step(STILL)
    assert "in fail" in str(e.value)
    assert isinstance(e.value.__cause__, ArithmeticError)


def test_a_process_that_is_killed_is_named(make: Callable[..., Any]) -> None:
    env = make(die)
    with pytest.raises(RuntimeError, match="copy 1 ended with SIGKILL"):
        env.step(STILL)


def test_a_process_that_was_killed_between_two_steps_is_named(
    make: Callable[..., Any],
) -> None:
    env = make(None)
    env.vector_env.processes[2].kill()
    env.vector_env.processes[2].join()
    with pytest.raises(RuntimeError, match="copy 2 ended with SIGKILL"):
        env.step(STILL)


@pytest.mark.parametrize(("trouble", "wrapped"), [(hang, True), (stop, False)])
def test_a_copy_that_hangs_is_named_after_the_timeout(
    make: Callable[..., Any], trouble: Any, wrapped: bool
) -> None:
    env = make(trouble, wrapped, env_timeout=0.5)
    start = time.monotonic()
    with pytest.raises(TimeoutError, match=r"env_timeout=0\.5 .* copies \[1\]"):
        env.step(STILL)
    assert 0.5 <= time.monotonic() - start < 30.0


def test_a_timeout_that_is_kept_changes_nothing(make: Callable[..., Any]) -> None:
    env = make(None, env_timeout=60)
    assert env.step(STILL).rewards.tolist() == [1.0, 1.0, 1.0]
    env.close()


@pytest.mark.parametrize(
    "candidate",
    [
        Troubled,
        Troubled(),
        SyncVectorEnv([Troubled]),
        lambda: SyncVectorEnv([Troubled]),
    ],
)
def test_what_cannot_be_interrupted_takes_no_timeout(candidate: Any) -> None:
    with pytest.raises(ValueError, match=r"needs .*AsyncVectorEnv.* env_timeout=5"):
        as_environment(candidate, env_timeout=5)


def test_other_timeouts_are_refused(make: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="as_environment.* env_timeout=5"):
        kpg.make("CartPole-v1", env_timeout=5)
    with pytest.raises(ValueError, match="where the environment is made"):
        as_environment(kpg.make("CartPole-v1"), env_timeout=5)
    env = make(None)
    with pytest.raises(ValueError, match="env_timeout=-1"):
        as_environment(env.vector_env, env_timeout=-1)
    env.close()
