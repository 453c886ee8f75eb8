"""What a probe says of itself against the enumeration of all its actions."""

from __future__ import annotations

import itertools
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.vector.utils import concatenate, create_empty_array

import kpg
from kpg.environments import GraphEnvironment, HostEnvironment, Rng
from kpg.testing.probes import ACTIONS, OBSERVATIONS, TASKS, Probe, ProbeEnv

ACTING = ("policy", "policy_of_state", "memory")
HYBRID = {"turn": ("discrete", "box"), "press": "multi_binary"}
NESTED = {"sign": ("text", "image"), "place": {"b": "discrete", "a": "box"}}
KINDS: list[Any] = [*ACTIONS, ("discrete", "box"), HYBRID]
GAMMA = 0.9


def elements(space: gym.Space[Any]) -> list[Any]:
    """All elements of an action space; of a Box, a grid that holds the quarters."""
    if isinstance(space, gym.spaces.Discrete):
        return [int(space.start) + n for n in range(int(space.n))]
    if isinstance(space, gym.spaces.Dict):
        rows = itertools.product(*map(elements, space.spaces.values()))
        return [dict(zip(space.spaces, row, strict=True)) for row in rows]
    if isinstance(space, gym.spaces.Tuple):
        return list(itertools.product(*map(elements, space.spaces)))
    if isinstance(space, gym.spaces.Box):
        axes = np.linspace(space.low, space.high, 5).T.astype(np.float32)
    elif isinstance(space, gym.spaces.MultiDiscrete):
        axes = space.start[:, np.newaxis] + np.arange(space.nvec[0])
    else:
        axes = np.array([[0, 1]] * int(np.prod(space.shape or ())), np.int8)
    return [np.array(row, space.dtype) for row in itertools.product(*axes)]


def best_values(probe: Probe, discount: float, horizon: int) -> np.ndarray:
    """Backward induction over every action, by the environment's own functions."""
    env, actions = GraphEnvironment(probe), elements(probe.action_space)
    size = len(probe.states)
    states = np.repeat(probe.states, len(actions))
    taken = tf.nest.map_structure(
        lambda *rows: np.stack([*rows] * size), actions[0], *actions[1:]
    )
    following = env.transition(states, taken, Rng(tf.constant([0, 0]), len(states)))
    rewards = env.reward(states, taken, following).numpy()
    ends = env.terminal(following).numpy()
    following = np.where(ends, 0, following.numpy())
    values = np.zeros(size)
    for _ in range(horizon):
        later = np.where(ends, 0.0, values[following])
        values = (rewards + discount * later).reshape(size, -1).max(axis=1)
    return values


def first_states(probe: Probe, count: int = 2000) -> np.ndarray:
    states: np.ndarray = probe.initial(Rng(tf.constant([1, 2]), count)).numpy()
    return states


@pytest.mark.parametrize("action", KINDS, ids=str)
@pytest.mark.parametrize("task", TASKS)
def test_values_and_optimum_against_enumeration(task: str, action: Any) -> None:
    for masked in {False, task in ACTING and action != "box"}:
        probe = Probe(task, action=action, masked=masked)
        endless = task == "truncation"
        values = best_values(probe, GAMMA, 200 if endless else 5)
        np.testing.assert_allclose(probe.values(GAMMA), values, atol=1e-6)
        undiscounted = best_values(probe, 1.0, 8)
        starts = np.bincount(first_states(probe), minlength=len(values)) > 0
        np.testing.assert_allclose(probe.optimum, undiscounted[starts].mean())


def test_known_values() -> None:
    np.testing.assert_allclose(Probe("value").values(0.5), [1.0])
    np.testing.assert_allclose(Probe("value_of_state").values(0.5), [-1.0, 1.0])
    np.testing.assert_allclose(Probe("discounting").values(0.5), [0.5, 1.0])
    np.testing.assert_allclose(Probe("policy").values(0.5), [1.0])
    np.testing.assert_allclose(Probe("policy_of_state").values(0.5), [1.0, 1.0])
    memory = np.repeat([0.125, 0.25, 0.5, 1.0], 2)
    np.testing.assert_allclose(Probe("memory").values(0.5), memory)
    np.testing.assert_allclose(Probe("truncation").values(0.5), [2.0])
    optima = [Probe(task).optimum for task in TASKS]
    np.testing.assert_allclose(optima, [1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 8.0])
    # Half of the episodes leave only the second best, ½, or for two choices nothing.
    assert Probe("policy", masked=True).optimum == 0.75
    assert Probe("policy", action="multi_binary", masked=True).optimum == 0.5
    assert Probe("policy", action="box").optimum == 0.0
    assert Probe("policy", action=("box", "discrete")).optimum == pytest.approx(1 / 3)


@pytest.mark.parametrize("kinds", [*OBSERVATIONS, NESTED], ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_observations_are_in_their_spaces(kinds: Any, masked: bool) -> None:
    probe = Probe("memory", kinds, masked=masked)
    host = ProbeEnv(probe)
    assert host.observation_space == probe.observation_space
    env = GraphEnvironment(probe)
    shown = env.observation(tf.constant(probe.states))
    specs = tf.nest.flatten(kpg.spaces.specs(probe.observation_space))
    for leaf, spec in zip(tf.nest.flatten(shown), specs, strict=True):
        assert leaf.shape[1:] == spec.shape
        assert leaf.dtype == spec.dtype
    for state in probe.states:
        host.reset()
        host._state = int(state)
        observation, _ = host._show()
        assert probe.observation_space.contains(observation)
        empty: Any = create_empty_array(probe.observation_space, 1)
        batch = concatenate(probe.observation_space, [observation], empty)
        encoded = kpg.spaces.encode(probe.observation_space, batch)
        tf.nest.map_structure(
            lambda ours, theirs, row=state: np.testing.assert_array_equal(
                ours[row], theirs[0]
            ),
            shown,
            encoded,
        )


def rows_of(observations: Any) -> list[tuple[bytes, ...]]:
    leaves = [leaf.numpy() for leaf in tf.nest.flatten(observations)]
    return [tuple(leaf[i].tobytes() for leaf in leaves) for i in range(len(leaves[0]))]


@pytest.mark.parametrize("kinds", [*OBSERVATIONS, NESTED], ids=str)
def test_every_leaf_is_needed_to_see_the_bit(kinds: Any) -> None:
    probe = Probe("value_of_state", kinds)
    states = np.unique(first_states(probe))
    bits = probe.values(GAMMA)[states] > 0.0
    leaves = len(tf.nest.flatten(kinds))
    assert len(states) == 2 * leaves
    rows = rows_of(probe.observation(states))
    # All of them together tell the bit; without any one of them, two states of
    # opposite bits look the same.
    assert len(set(rows)) == len(rows)
    for hidden in range(leaves):
        blind: dict[Any, set[bool]] = {}
        for row, bit in zip(rows, bits, strict=True):
            blind.setdefault(row[:hidden] + row[hidden + 1 :], set()).add(bool(bit))
        assert {True, False} in blind.values()


def test_memory_cannot_be_done_without_one() -> None:
    """The same blank at the last step, and at most ½ for one action in both cases."""
    probe = Probe("memory", "discrete")
    rows = rows_of(probe.observation(probe.states))
    assert len(set(rows[:2])) == 2
    assert len(set(rows[2:])) == 1
    assert rows[2] not in rows[:2]
    last = probe.states[-2:]
    means = [
        probe.reward(last, np.full(2, action), last).numpy().mean()
        for action in elements(probe.action_space)
    ]
    np.testing.assert_allclose(means, 0.5)
    assert probe.reward(probe.states[:6], np.ones(6, int), last).numpy().max() == 0


@pytest.mark.parametrize("action", ["discrete", "multi_discrete", "multi_binary"])
def test_a_mask_forbids_what_is_right_in_half_of_the_episodes(action: Any) -> None:
    probe = Probe("policy_of_state", action=action, masked=True)
    masks = probe.observation(probe.states)["action_mask"].numpy()
    free, bound = masks[::2], masks[1::2]
    assert (free == 1).all()
    actions = elements(probe.action_space)
    starts = np.array(getattr(probe.action_space, "start", 0))
    choices = 2 if action == "multi_binary" else 3
    for row, state in zip(bound, probe.states[1::2], strict=True):
        legal = row.reshape(-1, choices)
        for taken in actions:
            picked = np.reshape(np.asarray(taken) - starts, -1)
            allowed = all(
                legal[part, int(pick)] for part, pick in enumerate(picked.tolist())
            )
            batch = np.asarray(taken)[np.newaxis]
            reward = probe.reward(state[np.newaxis], batch, state).numpy()[0]
            assert (reward >= 0.0) == allowed
            assert allowed or reward <= -49.0
    assert np.bincount(first_states(probe), minlength=4).min() > 400


def test_compiled_and_eager_agree() -> None:
    env = GraphEnvironment(Probe("memory", NESTED, HYBRID, masked=True))
    env.action_space.seed(0)
    count = 6
    actions = tf.nest.map_structure(
        lambda *rows: np.stack(rows),
        *[env.action_space.sample() for _ in range(count)],
    )

    def step(states: tf.Tensor, seed: tf.Tensor) -> Any:
        rng = Rng(seed, count)
        following = env.transition(states, actions, rng)
        rewards = env.reward(states, actions, following)
        ends = env.terminal(following)
        return env.initial(rng), following, rewards, ends, env.observation(following)

    compiled = tf.function(step, autograph=False, jit_compile=True)
    states, seed = env.initial(Rng(tf.constant([0, 1]), count)), tf.constant([0, 2])
    ends = tf.zeros([count], tf.bool)
    for _ in range(4):
        assert not ends.numpy().any()
        first, second = step(states, seed), compiled(states, seed)
        tf.nest.map_structure(np.testing.assert_allclose, first, second)
        _, states, _, ends, _ = first
    assert ends.numpy().all()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("action", ["discrete", HYBRID], ids=str)
def test_host_and_graph_agree(task: str, action: Any) -> None:
    probe = Probe(task, "multi_binary", action, masked=task in ACTING)
    host = ProbeEnv(probe)
    host.action_space.seed(0)
    for seed in range(8):
        host.reset(seed=seed)
        state, steps = np.array([host._state], np.int32), 0
        terminated = truncated = False
        while not (terminated or truncated):
            action = host.action_space.sample()
            observation, reward, terminated, truncated, _ = host.step(action)
            batch = tf.nest.map_structure(lambda leaf: np.array([leaf]), action)
            following = probe.transition(state, batch)
            np.testing.assert_allclose(
                probe.reward(state, batch, following), [reward], rtol=1e-5
            )
            assert probe.terminal(following).numpy()[0] == terminated
            shown = probe.observation(following)
            tf.nest.map_structure(
                lambda ours, theirs: np.testing.assert_array_equal(ours[0], theirs),
                shown,
                observation,
            )
            state, steps = following.numpy(), steps + 1
        assert truncated == (task == "truncation")
        assert steps == {"memory": 4, "discounting": 2, "truncation": 8}.get(task, 1)


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("task", TASKS)
def test_the_best_policy_earns_the_optimum_on_the_host(task: str, mode: Any) -> None:
    probe = Probe(task, masked=task in ACTING)
    best, count = probe.best_actions(), 64
    vector = SyncVectorEnv([lambda: ProbeEnv(probe)] * count, autoreset_mode=mode)
    env = HostEnvironment(vector, seed=0)
    env.reset()
    returns, steps, valid = np.zeros(count), 0, 0
    while valid < 20 * count:
        # Terminal states wait for a reset, and any action will do.
        states = [min(single._state, len(best) - 1) for single in singles(vector)]
        step = env.step(best[states])
        returns += np.where(step.valid, step.rewards, 0.0)
        valid += int((step.valid & (step.terminated | step.truncated)).sum())
        steps += 1
    spread = 5 * 0.5 / np.sqrt(valid) * (1 + (task == "value_of_state"))
    tolerance = 0.0 if task in ("value", "discounting", "truncation") else spread
    np.testing.assert_allclose(returns.sum() / valid, probe.optimum, atol=tolerance)
    env.close()


def singles(vector: SyncVectorEnv) -> list[ProbeEnv]:
    return [env for env in vector.envs if isinstance(env, ProbeEnv)]


def test_a_mask_can_be_in_the_info() -> None:
    probe = Probe("policy_of_state", masked=True)
    env, plain = ProbeEnv(probe, mask_in_info=True), ProbeEnv(probe)
    for seed in range(6):
        observation, info = env.reset(seed=seed)
        both, nothing = plain.reset(seed=seed)
        assert env.observation_space.contains(observation)
        np.testing.assert_array_equal(observation, both["observation"])
        np.testing.assert_array_equal(info["action_mask"], both["action_mask"])
        assert nothing == {}
        assert "action_mask" in env.step(env.action_space.sample())[-1]


def test_gymnasium_finds_nothing_to_complain_of() -> None:
    probe = Probe("memory", NESTED, "discrete", masked=True)
    check_env(ProbeEnv(probe), skip_render_check=True)


def test_refuses_what_it_does_not_know() -> None:
    bad: list[tuple[dict[str, Any], str]] = [
        ({"task": "luck"}, r"`task` must be one of .*Received: 'luck'"),
        ({"observation": "smell"}, r"`observation` must be one of .*Received: 'smell'"),
        ({"observation": {}}, r"`observation` must be.*Received: \{\}"),
        ({"action": ("text",)}, r"`action` must be one of .*Received: 'text'"),
        ({"action": "box", "masked": True}, r"choices that count.*action='box'"),
        ({"task": "value", "masked": True}, r"choices that count.*task='value'"),
    ]
    for arguments, message in bad:
        with pytest.raises(ValueError, match=message):
            Probe(**{"task": "policy", **arguments})
    with pytest.raises(ValueError, match=r"`discount` must be.*Received: discount=1.0"):
        Probe("truncation").values(1.0)
    with pytest.raises(ValueError, match="needs a probe with masked=True"):
        ProbeEnv(Probe("policy"), mask_in_info=True)
