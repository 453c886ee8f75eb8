"""Autoreset modes: the same MDP gives the same experience in all of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit

import kpg.advantages
from kpg.environments import HostEnvironment, HostStep

MODES = list(AutoresetMode)
COPIES = 3
STEPS = 60


class Counting(gymnasium.Env[Any, Any]):
    """Counts its steps; observes (count, number of the episode, number of the copy).

    Even episodes terminate at the count 3 + copy, odd ones never; a `TimeLimit` around
    it truncates them.
    """

    observation_space = spaces.Box(-1e6, 1e6, (3,), np.float32)
    action_space = spaces.Discrete(4)

    def __init__(self, copy: int) -> None:
        self.place = copy
        self.episode = -1
        self.count = 0

    def _observe(self) -> Any:
        return np.array([self.count, self.episode, self.place], np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.episode += 1
        self.count = 0
        return self._observe(), {}

    def step(self, action: Any) -> Any:
        self.count += 1
        ends = self.episode % 2 == 0 and self.count == 3 + self.place
        reward = float(action) + 0.1 * self.count
        return self._observe(), reward, ends, False, {}


def factory(copy: int) -> Callable[[], gymnasium.Env[Any, Any]]:
    return lambda: TimeLimit(Counting(copy), 5)


def counting(mode: AutoresetMode, **kwargs: Any) -> HostEnvironment:
    factories = [factory(copy) for copy in range(COPIES)]
    return HostEnvironment(SyncVectorEnv(factories, autoreset_mode=mode, **kwargs))


def repeat(env: HostEnvironment, actions: Any, times: int) -> HostStep:
    """Takes the same actions several times; returns the last step."""
    return [env.step(actions) for _ in range(times)][-1]


class Row(NamedTuple):
    observations: Any
    actions: Any
    step: HostStep


def policy(observations: Any) -> Any:
    """A deterministic policy of the observation, so that all modes can be compared."""
    return (observations.sum(axis=1) % 4).astype(np.int64)


def collect(env: HostEnvironment, steps: int = STEPS) -> list[Row]:
    observations = env.reset(seed=0)
    rows = []
    for _ in range(steps):
        actions = policy(observations)
        step = env.step(actions)
        rows.append(Row(observations, actions, step))
        observations = step.observations
    return rows


def valid_steps(rows: list[Row], copy: int) -> list[tuple[Any, ...]]:
    """Everything a trainer may read about the steps of one copy."""
    return [
        (
            tuple(row.observations[copy]),
            int(row.actions[copy]),
            tuple(row.step.next_observations[copy]),
            float(row.step.rewards[copy]),
            bool(row.step.terminated[copy]),
            bool(row.step.truncated[copy]),
        )
        for row in rows
        if row.step.valid[copy]
    ]


def simulate(copy: int, count: int) -> list[tuple[Any, ...]]:
    """Steps a single environment, resetting by hand: the oracle."""
    env = factory(copy)()
    observation, _ = env.reset()
    steps: list[tuple[Any, ...]] = []
    while len(steps) < count:
        action = int(policy(observation[np.newaxis])[0])
        following, reward, ends, cuts, _ = env.step(action)
        before, after = tuple(observation), tuple(following)
        reward = float(np.float32(reward))
        steps.append((before, action, after, reward, ends, cuts and not ends))
        observation = env.reset()[0] if ends or cuts else following
    return steps


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("copy", range(COPIES))
def test_valid_rows_are_those_of_the_mdp(mode: AutoresetMode, copy: int) -> None:
    steps = valid_steps(collect(counting(mode)), copy)
    assert steps == simulate(copy, len(steps))
    assert any(terminated for *_, terminated, _ in steps)
    assert any(truncated for *_, truncated in steps)


@pytest.mark.parametrize("mode", MODES)
def test_only_next_step_has_rows_that_are_no_steps(mode: AutoresetMode) -> None:
    rows = collect(counting(mode))
    ended = np.stack([row.step.terminated | row.step.truncated for row in rows])
    valid = np.stack([row.step.valid for row in rows])
    if mode is AutoresetMode.NEXT_STEP:
        np.testing.assert_array_equal(valid[1:], ~ended[:-1])
        assert valid[0].all()
    else:
        assert valid.all()
    for row in rows:
        idle = ~row.step.valid
        assert (row.step.rewards[idle] == 0.0).all()
        assert not (row.step.terminated | row.step.truncated)[idle].any()


@pytest.mark.parametrize("mode", MODES)
def test_no_true_next_observation_is_that_of_a_reset(mode: AutoresetMode) -> None:
    for row in collect(counting(mode)):
        assert (row.step.next_observations[row.step.valid, 0] > 0).all()


def values_of(observations: Any) -> Any:
    """Some values; those of a reset observation would ruin every advantage."""
    return np.sin(observations.sum(axis=-1)) + 1000.0 * (observations[..., 0] == 0)


def advantages_of(rows: list[Row], following: list[Any]) -> list[list[float]]:
    """Returns the advantages of the valid rows of each copy."""
    steps = [row.step for row in rows]
    advantages = kpg.advantages.gae(
        np.stack([step.rewards for step in steps]),
        values_of(np.stack([row.observations for row in rows])),
        values_of(np.stack(following)),
        np.stack([step.terminated for step in steps]),
        np.stack([step.truncated for step in steps]),
        gamma=0.9,
        gae_lambda=0.8,
    ).numpy()
    return [
        [float(advantages[t, b]) for t, step in enumerate(steps) if step.valid[b]]
        for b in range(COPIES)
    ]


def whole_episodes(rows: list[Row], copy: int) -> int:
    """Counts the valid rows of one copy that lie in finished episodes."""
    ends = [
        terminated or truncated for *_, terminated, truncated in valid_steps(rows, copy)
    ]
    return len(ends) - ends[::-1].index(True)


def test_all_modes_give_the_same_advantages() -> None:
    rows = {mode: collect(counting(mode)) for mode in MODES}
    found = {
        mode: advantages_of(taken, [row.step.next_observations for row in taken])
        for mode, taken in rows.items()
    }
    for copy in range(COPIES):
        count = min(whole_episodes(rows[mode], copy) for mode in MODES)
        assert count > 30
        first, *others = (found[mode][copy][:count] for mode in MODES)
        for other in others:
            np.testing.assert_allclose(other, first, rtol=1e-4, atol=1e-4)


def test_the_value_of_the_reset_would_give_others() -> None:
    # The mutant: V of what is acted on next, in place of the true next observation.
    rows = collect(counting(AutoresetMode.SAME_STEP))
    right = advantages_of(rows, [row.step.next_observations for row in rows])
    wrong = advantages_of(rows, [row.step.observations for row in rows])
    assert np.abs(np.array(right) - np.array(wrong)).max() > 100.0


def test_actions_of_rows_that_are_no_steps_are_ignored() -> None:
    env = counting(AutoresetMode.NEXT_STEP)
    for _ in range(2):
        env.reset(seed=0)
        steps = [env.step(np.full(COPIES, 1)) for _ in range(3)]
        assert steps[-1].terminated[0]
        for action in (0, 3):
            row = env.step(np.full(COPIES, action))
            if not row.valid[0]:
                np.testing.assert_array_equal(row.observations[0, 0], 0.0)


@pytest.mark.parametrize("mode", MODES)
def test_a_reset_in_the_middle_starts_over(mode: AutoresetMode) -> None:
    env = counting(mode)
    env.reset()
    assert repeat(env, np.zeros(COPIES, int), 3).terminated[0]
    assert (env.reset()[:, 0] == 0.0).all()
    step = env.step(np.zeros(COPIES, int))
    assert step.valid.all()
    assert (step.next_observations[:, 0] == 1.0).all()


@pytest.mark.parametrize("mode", MODES)
def test_arrays_that_the_environment_writes_into_again_are_copied(
    mode: AutoresetMode,
) -> None:
    shared = collect(counting(mode, copy=False))
    for copy in range(COPIES):
        steps = valid_steps(shared, copy)
        assert steps == simulate(copy, len(steps))


def test_termination_goes_before_truncation() -> None:
    # The time limit of 3 falls on the step that terminates copy 0.
    def make() -> gymnasium.Env[Any, Any]:
        return TimeLimit(Counting(0), 3)

    env = HostEnvironment(SyncVectorEnv([make]))
    env.reset()
    step = repeat(env, [0], 3)
    assert step.terminated[0]
    assert not step.truncated[0]


class Scripted(Counting):
    """Gives what it is told to, whatever happens."""

    def __init__(self, observation: float = 0.0, reward: float = 0.0) -> None:
        super().__init__(0)
        self.told = observation, reward

    def step(self, action: Any) -> Any:
        observation, reward = self.told
        return np.full(3, observation, np.float32), reward, False, False, {}


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(garbage: float) -> None:
    for what, told in (("observations", (garbage, 0.0)), ("rewards", (0.0, garbage))):
        env = HostEnvironment(SyncVectorEnv([Scripted, partial(Scripted, *told)]))
        env.reset()
        with pytest.raises(ValueError, match=rf"{what} that are not .* \[1\] of 2"):
            env.step([0, 0])


class Nested(Counting):
    """Observes a dictionary."""

    observation_space: Any = spaces.Dict(
        {"count": spaces.Box(0, 99, (1,), np.float32), "episode": spaces.Discrete(99)}
    )

    def _observe(self) -> Any:
        return {
            "count": np.array([self.count], np.float32),
            "episode": np.int64(self.episode),
        }


@pytest.mark.parametrize("mode", MODES)
def test_nested_observations_keep_their_final_values(mode: AutoresetMode) -> None:
    factories = [lambda: Nested(0), lambda: Nested(1)]
    env = HostEnvironment(SyncVectorEnv(factories, autoreset_mode=mode))
    env.reset()
    step = repeat(env, [0, 0], 3)
    assert step.terminated.tolist() == [True, False]
    assert step.next_observations["count"][:, 0].tolist() == [3.0, 3.0]
    assert step.next_observations["episode"].tolist() == [0, 0]
    if mode is not AutoresetMode.NEXT_STEP:
        assert step.observations["count"][:, 0].tolist() == [0.0, 3.0]
        assert step.observations["episode"].tolist() == [1, 0]


def test_box_actions_reach_the_environment_in_its_dtype() -> None:
    env = HostEnvironment(SyncVectorEnv([lambda: gymnasium.make("Pendulum-v1")] * 2))
    env.reset(seed=0)
    step = env.step(np.zeros((2, 1), np.float64))
    assert step.rewards.dtype == np.float32
    assert step.rewards.shape == (2,)


def test_the_seed_of_the_constructor_serves_the_first_reset() -> None:
    def make(seed: int | None) -> HostEnvironment:
        factories = [lambda: gymnasium.make("CartPole-v1")] * 2
        return HostEnvironment(SyncVectorEnv(factories), seed)

    first, again, other = (make(seed).reset() for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    env = make(3)
    np.testing.assert_array_equal(env.reset(), first)
    assert (env.reset() != first).all()
    np.testing.assert_array_equal(env.reset(seed=3), first)


# Bad input.


class Mode(SyncVectorEnv):
    """Says something else about its autoreset mode than it does."""

    def __init__(self, mode: Any) -> None:
        super().__init__([factory(0)], autoreset_mode=AutoresetMode.NEXT_STEP)
        self.metadata = {} if mode is None else {"autoreset_mode": mode}


@pytest.mark.parametrize("mode", [None, "Sometimes", 3])
def test_an_unknown_autoreset_mode_is_refused(mode: Any) -> None:
    with pytest.raises(ValueError, match="NEXT_STEP.*SAME_STEP.*Received: ") as caught:
        HostEnvironment(Mode(mode))
    assert repr(mode) in str(caught.value)


@pytest.mark.parametrize("mode", ["NextStep", "NEXT_STEP", AutoresetMode.NEXT_STEP])
def test_a_mode_may_be_written_as_a_string(mode: Any) -> None:
    assert HostEnvironment(Mode(mode)).autoreset_mode is AutoresetMode.NEXT_STEP


def test_same_step_without_final_observations_is_refused() -> None:
    env = HostEnvironment(Mode("SameStep"))
    env.reset()
    with pytest.raises(ValueError, match=r'infos\["final_obs"\].* Received'):
        repeat(env, [0], 3)


def test_a_step_before_the_first_reset_is_refused() -> None:
    with pytest.raises(ValueError, match="Call `reset` before `step`"):
        counting(AutoresetMode.NEXT_STEP).step(np.zeros(COPIES, int))


@pytest.mark.parametrize("shape", [(COPIES + 1,), (COPIES, 1), ()])
def test_a_wrong_number_of_actions_is_refused(shape: tuple[int, ...]) -> None:
    env = counting(AutoresetMode.NEXT_STEP)
    env.reset()
    with pytest.raises(ValueError, match=r"shape \(3,\).* Received: shape "):
        env.step(np.zeros(shape, int))


def test_closing_twice_does_no_harm() -> None:
    env = counting(AutoresetMode.NEXT_STEP)
    env.close()
    env.close()
