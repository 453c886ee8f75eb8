"""Autoreset modes, EnvPool's too: the same MDP gives the same experience in all."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import pytest
import tensorflow as tf
from gymnasium.envs.registration import register, registry
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit

import kpg.advantages
from kpg.environments import EnvPoolVectorEnv, HostEnvironment, HostStep
from kpg.trainers.acting.host import HostCollector
from tests.environments import Counting
from tests.fake_envpool import FakeEnvPool

ENV_ID = "KpgCounting-v0"
MODES = [*(str(mode.name) for mode in AutoresetMode), "envpool"]
COPIES = 3
STEPS = 60
LIMIT = 5


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Registers the environment with Gymnasium and with an EnvPool."""
    fake = FakeEnvPool({ENV_ID: (Counting, LIMIT)})
    monkeypatch.setitem(sys.modules, "envpool", fake)
    register(ENV_ID, lambda **_: Counting(), max_episode_steps=LIMIT)
    yield
    del registry[ENV_ID]


def limited(copy: int) -> gymnasium.Env[Any, Any]:
    return TimeLimit(Counting(copy), LIMIT)


def counting(mode: str, copies: int = COPIES, **kwargs: Any) -> HostEnvironment:
    if mode == "envpool":
        return HostEnvironment(EnvPoolVectorEnv(ENV_ID, copies))
    factories = [lambda copy=copy: limited(copy) for copy in range(copies)]
    vector_env = SyncVectorEnv(factories, autoreset_mode=AutoresetMode[mode], **kwargs)
    return HostEnvironment(vector_env)


class Row(NamedTuple):
    observations: Any
    actions: Any
    step: HostStep


def policy(observations: Any) -> Any:
    """A deterministic policy of the observation, so that all modes can be compared."""
    return (observations.sum(axis=1) % 4).astype(np.int64)


def collect(env: HostEnvironment, steps: int = STEPS) -> list[Row]:
    observations = env.reset()
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
    env = limited(copy)
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
def test_valid_rows_are_those_of_the_mdp(mode: str, copy: int) -> None:
    steps = valid_steps(collect(counting(mode)), copy)
    assert steps == simulate(copy, len(steps))
    assert any(terminated for *_, terminated, _ in steps)
    assert any(truncated for *_, truncated in steps)


@pytest.mark.parametrize("copy", range(COPIES))
def test_a_pool_of_ones_own_has_its_rows_but_hides_an_end(copy: int) -> None:
    # EnvPool counts the termination that falls on the time limit as a truncation.
    pool = sys.modules["envpool"].make(ENV_ID, "gymnasium", num_envs=COPIES)
    steps = valid_steps(collect(HostEnvironment(pool)), copy)
    wanted = simulate(copy, len(steps))
    assert [step[:4] for step in steps] == [step[:4] for step in wanted]
    assert (steps == wanted) is (copy < 2)


@pytest.mark.parametrize("mode", MODES)
def test_only_next_step_has_rows_that_are_no_steps(mode: str) -> None:
    rows = collect(counting(mode))
    ended = np.stack([row.step.terminated | row.step.truncated for row in rows])
    valid = np.stack([row.step.valid for row in rows])
    if mode == "NEXT_STEP":
        np.testing.assert_array_equal(valid[1:], ~ended[:-1])
        assert valid[0].all()
    else:
        assert valid.all()
    for row in rows:
        idle = ~row.step.valid
        assert (row.step.rewards[idle] == 0.0).all()
        assert not (row.step.terminated | row.step.truncated)[idle].any()


@pytest.mark.parametrize("mode", MODES)
def test_no_true_next_observation_is_that_of_a_reset(mode: str) -> None:
    for row in collect(counting(mode)):
        assert (row.step.next_observations[row.step.valid, 0] > 0).all()
        ended = row.step.terminated | row.step.truncated
        if mode != "NEXT_STEP":
            assert (row.step.observations[ended, 0] == 0).all()


@pytest.mark.parametrize("mode", MODES[:3])
def test_arrays_that_the_environment_writes_into_again_are_copied(mode: str) -> None:
    shared = collect(counting(mode, copy=False))
    for copy in range(COPIES):
        steps = valid_steps(shared, copy)
        assert steps == simulate(copy, len(steps))


# What trainers make of it.


TABLE = np.random.default_rng(0).normal(size=(LIMIT + 1, STEPS, COPIES))


def values_of(observations: Any) -> Any:
    """A fixed table; the values of resets would ruin every advantage before them."""
    count, episode, copy = np.moveaxis(observations.astype(int), -1, 0)
    return (TABLE[count, episode, copy] + 1000.0 * (count == 0)).astype(np.float32)


def advantages_of(rows: list[Row], following: list[Any]) -> list[list[float]]:
    """Returns the advantages of the valid rows of each copy."""
    steps = [row.step for row in rows]
    advantages = kpg.advantages.gae(
        *map(
            tf.constant,
            (
                np.stack([step.rewards for step in steps]),
                values_of(np.stack([row.observations for row in rows])),
                values_of(np.stack(following)),
                np.stack([step.terminated for step in steps]),
                np.stack([step.truncated for step in steps]),
            ),
        ),
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
            np.testing.assert_allclose(other, first, rtol=1e-5, atol=1e-4)


def test_the_value_of_the_reset_would_give_others() -> None:
    # The mutant: V of what is acted on next, in place of the true next observation.
    rows = collect(counting("SAME_STEP"))
    right = advantages_of(rows, [row.step.next_observations for row in rows])
    wrong = advantages_of(rows, [row.step.observations for row in rows])
    assert np.abs(np.array(right) - np.array(wrong)).max() > 100.0


@pytest.mark.parametrize("mode", MODES)
def test_episode_statistics_are_those_of_the_mdp(mode: str) -> None:
    env = counting(mode)
    model = kpg.models.Policy(
        env.observation_space, env.action_space, hidden_units=(2,), seed=0
    )
    collector = HostCollector(env, model, STEPS // 2)
    fragments = [collector.collect(np.array([0, n], np.int32)) for n in range(2)]
    rewards, ended, valid = (
        np.concatenate(parts)
        for parts in zip(
            *((t.rewards, t.terminated | t.truncated, t.valid) for t, _ in fragments),
            strict=True,
        )
    )
    returns, lengths = [], []
    for copy in range(COPIES):
        # The lengths are known beforehand, the rewards are not: the policy is random.
        known = itertools.cycle([3 + copy, LIMIT])
        taken = rewards[valid[:, copy], copy]
        for _ in range(ended[:, copy].sum()):
            length = next(known)
            episode, taken = taken[:length], taken[length:]
            returns.append(episode.sum())
            lengths.append(length)
        assert len(taken) < LIMIT
    count = sum(float(episodes.number) for _, episodes in fragments)
    assert count == len(lengths) > 30
    assert sum(float(episodes.lengths) for _, episodes in fragments) == sum(lengths)
    total = sum(float(episodes.returns) for _, episodes in fragments)
    np.testing.assert_allclose(total, sum(returns), rtol=1e-5)


# Bad input.


class Mode(SyncVectorEnv):
    """Says something else about its autoreset mode than it does."""

    def __init__(self, mode: Any) -> None:
        super().__init__([lambda: limited(0)], autoreset_mode=AutoresetMode.NEXT_STEP)
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
    env.step([0])
    env.step([0])
    with pytest.raises(ValueError, match=r'infos\["final_obs"\].* Received'):
        env.step([0])
