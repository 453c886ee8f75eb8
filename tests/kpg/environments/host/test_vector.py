"""Host environments: every space, in every autoreset mode."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
import tensorflow as tf
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv, VectorWrapper
from gymnasium.vector.utils import concatenate, create_empty_array
from gymnasium.wrappers import TimeLimit
from gymnasium.wrappers.vector import DictInfoToList

import kpg
from kpg import spaces as space_of
from kpg.environments import HostEnvironment, HostStep, as_environment
from tests.environments import Counting, Noted
from tests.faulty_environments import (
    Astronomic,
    FloatImage,
    FourThings,
    Ragged,
    ResetWithoutInfo,
    ResetWithoutSeed,
    RewardArray,
    RewardColumn,
    Walk,
    WrongShape,
)

MODES = list(AutoresetMode)
COPIES = 3


def factory(copy: int) -> Callable[[], gymnasium.Env[Any, Any]]:
    return lambda: TimeLimit(Counting(copy), 5)


def counting(mode: AutoresetMode, **kwargs: Any) -> HostEnvironment:
    factories = [factory(copy) for copy in range(COPIES)]
    return HostEnvironment(SyncVectorEnv(factories, autoreset_mode=mode, **kwargs))


def hosted(make: Callable[[], Any], num_envs: int) -> HostEnvironment:
    env = as_environment(make, num_envs)
    assert isinstance(env, HostEnvironment)
    return env


def repeat(env: HostEnvironment, actions: Any, times: int) -> HostStep:
    """Takes the same actions several times; returns the last step."""
    return [env.step(actions) for _ in range(times)][-1]


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


def test_the_first_seed_counts_once() -> None:
    for given, wanted in (([None, None], [3, None]), ([7, None], [7, None])):
        vector = Noted()
        env = HostEnvironment(vector, seed=3)
        for seed in given:
            env.reset(seed)
        assert vector.seeds == wanted


@pytest.mark.parametrize("mode", MODES)
def test_a_reset_in_the_middle_starts_over(mode: AutoresetMode) -> None:
    env = counting(mode)
    env.reset()
    assert repeat(env, np.zeros(COPIES, int), 3).terminated[0]
    assert (env.reset()[:, 0] == 0.0).all()
    step = env.step(np.zeros(COPIES, int))
    assert step.valid.all()
    assert (step.next_observations[:, 0] == 1.0).all()


def test_termination_goes_before_truncation() -> None:
    # The time limit of 3 falls on the step that terminates copy 0.
    env = HostEnvironment(SyncVectorEnv([lambda: TimeLimit(Counting(0), 3)]))
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
        with pytest.raises(
            ValueError, match=rf"{what} that are not .* rows \[1\] of 2"
        ):
            env.step([0, 0])


# Infos that nobody reads, and what breaks the contract.


@pytest.mark.parametrize("mode", MODES)
def test_infos_of_any_kind_are_taken(mode: AutoresetMode) -> None:
    vector_env = SyncVectorEnv([Ragged] * 3, autoreset_mode=mode)
    own = [HostEnvironment(vector_env)]
    if mode is AutoresetMode.NEXT_STEP:
        own.append(hosted(Ragged, 3))
    for env in own:
        env.reset(seed=0)
        for index in range(50):
            actions = [index % 2, (index + 1) % 2, int(index % 5 < 2)]
            assert np.isfinite(env.step(actions).rewards).all()


def test_wrappers_still_see_the_infos_of_a_vector_environment() -> None:
    class Known(Ragged):
        def step(self, action: Any) -> Any:
            *step, info = super().step(action)
            return *step, {**info, "place": self.place}

    class Watching(VectorWrapper[Any, Any, Any, Any, Any]):
        infos: dict[str, Any]

        def step(self, actions: Any) -> Any:
            *step, self.infos = self.env.step(actions)
            return *step, self.infos

    watching = Watching(SyncVectorEnv([Known] * 2))
    env = HostEnvironment(watching)
    env.reset(seed=0)
    step = env.step([0, 1])
    np.testing.assert_allclose(watching.infos["place"], step.observations[:, 0])
    assert watching.infos["_kind"].all()
    assert [*watching.infos["kind"]] == ["text", "text"]


@pytest.mark.parametrize(
    ("make", "method", "seen"),
    [
        (RewardArray, "step", "array element"),
        (FourThings, "step", "expected 5, got 4"),
        (ResetWithoutInfo, "reset", "TypeError"),
        (ResetWithoutSeed, "reset", "seed"),
        (FloatImage, "reset", "float64"),
        (WrongShape, "reset", "array"),
    ],
)
def test_what_breaks_the_contract_is_named(make: Any, method: str, seen: str) -> None:
    text = rf"`{method}` of {make.__name__} breaks Gymnasium's contract.*({seen})"
    env = hosted(make, 2)
    with pytest.raises(ValueError, match=text):
        for _ in env.reset(seed=0):
            env.step([0, 0])


@pytest.mark.parametrize("mode", MODES)
def test_vector_environments_that_break_the_contract_are_named(
    mode: AutoresetMode,
) -> None:
    inner = [SyncVectorEnv([Walk] * 2, autoreset_mode=mode) for _ in range(2)]
    for wrapped, method, seen in (
        (RewardColumn(inner[0]), "step", r"\(2, 1\)"),
        (DictInfoToList(inner[1]), "reset", "DictInfoToList"),
    ):
        env = HostEnvironment(wrapped)
        with pytest.raises(ValueError, match=rf"`{method}` of Walk breaks.*{seen}"):
            env.reset(seed=0)
            env.step([0, 0])


def test_errors_of_the_environment_itself_stay_what_they_are() -> None:
    class Own(Walk):
        def step(self, action: Any) -> Any:
            raise KeyError("own")

    env = hosted(Own, 2)
    env.reset()
    with pytest.raises(KeyError, match="own"):
        env.step([0, 0])


@pytest.mark.parametrize(
    ("space", "wrong", "seen"),
    [
        (spaces.Discrete(5), np.array([4, 5]), r"5 at index \(1,\)"),
        (spaces.Discrete(5, start=-1), np.array([4, 3]), r"4 at index \(0,\)"),
        (spaces.Discrete(5), np.array([-1, 0]), r"-1 at index \(0,\)"),
        (
            spaces.MultiDiscrete([2, 3]),
            np.array([[1, 2], [0, 3]]),
            r"3 at index \(1, 1\)",
        ),
        (spaces.MultiBinary(2), np.array([[1, 2], [0, 1]]), r"2 at index \(0, 1\)"),
        (
            spaces.Box(0, 255, (1,), np.uint8),
            np.array([[7], [300]]),
            r"300 at index \(1, 0\)",
        ),
        (spaces.Discrete(5), np.array([1.0, 2.0]), "float64 numbers"),
    ],
)
def test_integers_outside_their_space_are_refused(
    space: Any, wrong: Any, seen: str
) -> None:
    for outer, value, where in (
        (space, wrong, ""),
        (spaces.Dict(x=spaces.Tuple([space])), {"x": (wrong,)}, r"\['x'\]\[0\]"),
    ):
        vector_env = Spaced(outer, BOX)
        vector_env.reset = lambda value=value, **_: (value, {})  # type: ignore[method-assign]
        env = HostEnvironment(vector_env)
        text = rf"`reset` of Spaced.*Observations{where} must be in .*{seen}"
        with pytest.raises(ValueError, match=text):
            env.reset()


def test_what_is_infinite_in_float32_is_not_finite() -> None:
    env = hosted(Astronomic, 2)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"Astronomic gave observations.*`step`.*rows"):
        for index in range(8):
            env.step([index % 2, index % 2])

    env = HostEnvironment(SyncVectorEnv([partial(Scripted, 0.0, 1e300)]))
    env.reset()
    with pytest.raises(ValueError, match="Scripted gave rewards that are not finite"):
        env.step([0])


def test_numbers_that_float32_does_not_tell_apart_are_refused() -> None:
    def told(offset: float, dtype: Any = np.float64, scale: float = 1.0) -> None:
        space = spaces.Box(-1e12, 1e12, (2,), dtype)
        noise = np.random.default_rng(0).normal(size=(8, 2, 2)) * scale
        env = HostEnvironment(Spaced(spaces.Dict(x=space), BOX))
        env.check_digits({"x": (offset + noise).astype(dtype)})

    told(1e6)
    told(1e3, scale=1e-9)  # small, and of no other importance
    told(1e9, scale=1e8)
    told(1e8, np.float32)  # lost before it comes here
    told(1e9, scale=0.0)
    for offset, dtype in ((1e8, np.float64), (1.7e9, np.float64), (1.7e9, np.int64)):
        text = r"Spaced gave observations\['x'\].*normalize_observations.*1\.?\d*e\+0"
        with pytest.raises(ValueError, match=text):
            told(offset, dtype, 10.0)


# Spaces.


class Echo(gymnasium.Env[Any, Any]):
    """Observes samples of a space, and remembers them and the actions.

    Every third step terminates.
    """

    def __init__(
        self, observed: spaces.Space[Any], acted: spaces.Space[Any], seed: int = 0
    ) -> None:
        self.observation_space, self.action_space = deepcopy((observed, acted))
        self.observation_space.seed(seed)
        self.seen: list[Any] = []
        self.actions: list[Any] = []
        self.starts: list[int] = []

    def _observe(self) -> Any:
        self.seen.append(self.observation_space.sample())
        return self.seen[-1]

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.starts.append(len(self.seen))
        return self._observe(), {}

    def step(self, action: Any) -> Any:
        self.actions.append(action)
        count = len(self.seen) - self.starts[-1]
        return self._observe(), 1.0, count == 3, False, {}


BOX = spaces.Box(-1.0, 1.0, (2,))
OBSERVED: list[spaces.Space[Any]] = [
    BOX,
    spaces.Box(-np.inf, np.inf, (), np.float64),
    spaces.Box(0, 255, (3, 2, 1), np.uint8),
    spaces.Discrete(5, start=-2),
    spaces.MultiDiscrete(np.array([[2, 3], [4, 5]])),
    spaces.MultiBinary([2, 2]),
    spaces.Text(6, charset="hello"),
    spaces.Dict(z=spaces.Text(3), a=spaces.Discrete(4), m=BOX),
    spaces.Tuple([spaces.Text(2), spaces.Dict(x=spaces.Tuple([BOX, BOX]))]),
]
ACTED: list[spaces.Space[Any]] = [
    BOX,
    spaces.Discrete(5, start=-2),
    spaces.MultiDiscrete([2, 3]),
    spaces.MultiDiscrete(np.array([[2, 3], [4, 5]]), start=np.array([[1, 0], [0, 7]])),
    spaces.MultiBinary(4),
    spaces.MultiBinary([2, 2]),
    spaces.Tuple([spaces.Discrete(3), BOX]),
    spaces.Dict(z=spaces.Discrete(3), a=spaces.Tuple([BOX, spaces.MultiBinary(2)])),
]


def encoded(space: Any, samples: list[Any]) -> Any:
    """Encodes single observations, one after another."""
    rows = [space_of.encode(space, batch_of(space, [sample])) for sample in samples]
    return tf.nest.map_structure(lambda *leaves: np.concatenate(leaves), *rows)


def batch_of(space: Any, samples: list[Any]) -> Any:
    empty: Any = create_empty_array(space, len(samples))
    return concatenate(space, samples, empty)


def assert_equal_nests(left: Any, right: Any) -> None:
    tf.nest.assert_same_structure(left, right)
    for a, b in zip(tf.nest.flatten(left), tf.nest.flatten(right), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("space", OBSERVED, ids=str)
def test_observations_of_every_space(
    space: spaces.Space[Any], mode: AutoresetMode
) -> None:
    echoes = [Echo(space, spaces.Discrete(2), seed) for seed in range(2)]
    factories = [lambda echo=echo: echo for echo in echoes]
    env = HostEnvironment(SyncVectorEnv(factories, autoreset_mode=mode, copy=False))
    first = env.reset()
    steps = [env.step([0, 0]) for _ in range(4)]

    def seen(index: int) -> Any:
        return encoded(space, [echo.seen[index] for echo in echoes])

    assert_equal_nests(first, seen(0))
    # The third step ends; index 4 is the observation of the reset.
    for index in (1, 2, 3):
        assert_equal_nests(steps[index - 1].next_observations, seen(index))
    assert steps[2].terminated.all()
    reset, after = (3, None) if mode is AutoresetMode.NEXT_STEP else (2, 3)
    assert_equal_nests(steps[reset].observations, seen(4))
    if after is not None:
        assert_equal_nests(steps[after].observations, seen(5))
    assert steps[3].valid.all() == (mode is not AutoresetMode.NEXT_STEP)


@pytest.mark.parametrize("space", ACTED, ids=str)
def test_actions_of_every_space(space: spaces.Space[Any]) -> None:
    echoes = [Echo(BOX, space), Echo(BOX, space)]
    factories = [lambda echo=echo: echo for echo in echoes]
    env = HostEnvironment(SyncVectorEnv(factories))
    env.reset()
    space.seed(0)
    samples = [space.sample() for _ in range(2)]
    # As policies give them: keys sorted, other dtypes.
    actions = tf.nest.map_structure(
        lambda leaf: leaf.astype({"i": np.int32, "f": np.float64}[leaf.dtype.kind]),
        space_of.encode(space, batch_of(space, samples)),
    )
    env.step(actions)
    for echo, sample in zip(echoes, samples, strict=True):
        (taken,) = echo.actions
        assert space.contains(taken)
        assert_equal_nests(batch_of(space, [taken]), batch_of(space, [sample]))


PAIR: list[spaces.Space[Any]] = [spaces.Discrete(2), spaces.Discrete(2)]


@pytest.mark.parametrize(
    ("space", "actions"),
    [
        (spaces.Dict(a=PAIR[0], b=PAIR[1]), [[0, 0], [0, 0]]),
        (spaces.Dict(a=PAIR[0], b=PAIR[1]), {"a": [0, 0]}),
        (spaces.Dict(a=PAIR[0], b=PAIR[1]), {"a": [0, 0], "c": [0, 0]}),
        (spaces.Tuple(PAIR), {"a": [0, 0], "b": [0, 0]}),
        (spaces.Tuple(PAIR), ([0, 0],)),
        (spaces.Tuple(PAIR), np.zeros((2, 2), int)),
    ],
)
def test_actions_of_another_structure_are_refused(space: Any, actions: Any) -> None:
    env = HostEnvironment(SyncVectorEnv([lambda: Echo(BOX, space)] * 2))
    env.reset()
    with pytest.raises(ValueError, match="`actions` must be a nest.*Received: "):
        env.step(actions)


class Broken(gymnasium.Env[Any, Any]):
    """Observes a number that is not finite, deep inside."""

    observation_space = spaces.Dict(x=spaces.Tuple([spaces.Discrete(2), BOX]))
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return {"x": (np.int64(0), np.array([0.0, np.nan], np.float32))}, {}


def test_numbers_that_are_not_finite_are_refused_in_every_leaf() -> None:
    env = HostEnvironment(SyncVectorEnv([Broken, Broken]))
    with pytest.raises(ValueError, match=r"observations\['x'\]\['1'\] that are not"):
        env.reset()


def test_a_final_observation_that_is_not_finite_is_refused() -> None:
    class Last(Counting):
        def step(self, action: Any) -> Any:
            return np.full(3, np.nan, np.float32), 0.0, True, False, {}

    for mode in MODES:
        env = HostEnvironment(SyncVectorEnv([lambda: Last(0)], autoreset_mode=mode))
        env.reset()
        with pytest.raises(ValueError, match="observations that are not finite"):
            env.step([0])


class Odd(spaces.Space[Any]):
    """A space of one's own."""


@pytest.mark.parametrize(
    "space",
    [
        spaces.Graph(BOX, None),
        spaces.Sequence(spaces.Discrete(2)),
        spaces.OneOf([spaces.Discrete(2), BOX]),
        Odd(),
    ],
    ids=lambda space: type(space).__name__,
)
def test_spaces_that_are_not_supported_are_refused_by_name(space: Any) -> None:
    name = type(space).__name__
    nested = spaces.Dict(x=space)
    for observed, acted, text in (
        (space, BOX, f"observation space.*Received: {name}.*ObservationWrapper"),
        (nested, BOX, r"observation space.*observation_space\['x'\]"),
        (BOX, space, f"action space.*Received: {name}.*ActionWrapper"),
    ):
        with pytest.raises(ValueError, match=text):
            HostEnvironment(Spaced(observed, acted))


@pytest.mark.parametrize("space", [spaces.Box(0, 9, (2,), np.int64), spaces.Text(3)])
def test_integer_boxes_and_texts_are_no_actions(space: Any) -> None:
    HostEnvironment(Spaced(space, BOX))
    with pytest.raises(ValueError, match="The action space.*gymnasium.ActionWrapper"):
        HostEnvironment(Spaced(BOX, space))


class Spaced(VectorEnv[Any, Any, Any]):
    """Has spaces and does nothing; Gymnasium's own cannot batch every space."""

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
    num_envs = 1

    def __init__(self, observed: spaces.Space[Any], acted: spaces.Space[Any]) -> None:
        self.single_observation_space = observed
        self.single_action_space = acted


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


def test_workers_split_the_copies() -> None:
    whole: Any = kpg.make("CartPole-v1", 6, seed=3, backend="gymnasium")
    assert whole.share(0, 1) is whole
    own = whole.share(1, 2)
    assert (own.num_envs, own.seed, own.spec) == (3, 3, whole.spec)
    assert own.reset(5).shape == (3, 4)
    assert whole.calls == 0
    assert whole.share(1, 2) is own  # which goes on with its episodes
    whole.close()
    limited: Any = as_environment(factory(0), 4, max_episode_steps=5)
    assert limited.share(0, 2).max_episode_steps == 5


def test_what_workers_cannot_split_is_refused() -> None:
    env: Any = kpg.make("CartPole-v1", 3, backend="gymnasium")
    with pytest.raises(ValueError, match="divide.*Received: num_envs=3, 2 workers"):
        env.share(0, 2)
    made = SyncVectorEnv([factory(0), factory(1)])
    with pytest.raises(ValueError, match=r"give `fit` what `kpg\.make`.*make=None"):
        HostEnvironment(made).share(0, 2)
    split = HostEnvironment(made, make=lambda n: SyncVectorEnv([factory(n)] * n))
    assert split.share(0, 2).num_envs == 1
