"""Action masks come from the info and arrive beside the observation."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit

import kpg
from kpg import distributions
from kpg.environments import ActionMaskFromInfo, HostEnvironment

TAXI = next(name for name in ("Taxi-v4", "Taxi-v3") if name in gymnasium.registry)


class Narrow(gymnasium.Env[Any, Any]):
    """Only the action `count % 3` is legal; terminates at the count 4."""

    observation_space = spaces.Discrete(10)
    action_space: spaces.Space[Any] = spaces.Discrete(3)

    def _give(self) -> tuple[int, dict[str, Any]]:
        return self.count, {"action_mask": np.arange(3) == self.count % 3}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.count = 0
        return self._give()

    def step(self, action: Any) -> Any:
        self.count += 1
        observation, info = self._give()
        return observation, 1.0, self.count == 4, False, info


@pytest.mark.parametrize("limit", [4, 2])
@pytest.mark.parametrize("mode", AutoresetMode)
def test_the_mask_belongs_to_its_observation(mode: AutoresetMode, limit: int) -> None:
    def make() -> gymnasium.Env[Any, Any]:
        return ActionMaskFromInfo(TimeLimit(Narrow(), limit))

    env = HostEnvironment(SyncVectorEnv([make] * 2, autoreset_mode=mode))

    def assert_masks(observations: Any) -> None:
        wanted = np.eye(3, dtype=np.int8)[observations["observation"] % 3]
        np.testing.assert_array_equal(observations["action_mask"], wanted)
        assert observations["action_mask"].dtype == np.int8

    assert_masks(env.reset())
    finals = 0
    for _ in range(12):
        step = env.step([0, 0])
        assert_masks(step.observations)
        assert_masks(step.next_observations)
        ended = step.terminated | step.truncated
        assert (step.next_observations["observation"][ended] == limit).all()
        finals += ended.sum()
    assert finals >= 4


def test_taxi_has_a_mask() -> None:
    env = kpg.make(TAXI, num_envs=3, seed=0, wrappers=[ActionMaskFromInfo])
    assert isinstance(env, HostEnvironment)
    assert env.observation_space == spaces.Dict(
        action_mask=spaces.MultiBinary(6), observation=spaces.Discrete(500)
    )
    observations = env.reset()
    for _ in range(30):
        # A legal one of the four directions always moves the taxi.
        step = env.step(observations["action_mask"][:, :4].argmax(axis=1))
        moved = step.observations["observation"] != observations["observation"]
        assert moved.all()
        observations = step.observations


MASKED: list[tuple[spaces.Space[Any], Any]] = [
    (spaces.Discrete(3, start=-1), [1, 0, 1]),
    (spaces.MultiDiscrete([2, 3]), ([1, 0], [0, 1, 1])),
    (
        spaces.MultiDiscrete(np.array([[1, 2], [3, 1]])),
        ((np.ones(1), np.ones(2)), (np.zeros(3), np.ones(1))),
    ),
    (spaces.MultiBinary(2), np.array([[1, 0], [1, 1]], bool)),
    (
        spaces.Dict(b=spaces.Discrete(2), a=spaces.Box(-1, 1, (1,))),
        {"b": np.array([0, 1])},
    ),
    (
        spaces.Tuple([spaces.Discrete(2), spaces.MultiDiscrete([2])]),
        (np.array([0, 1]), np.array([1, 0])),
    ),
]


class Told(Narrow):
    """Gives what it is told to as a mask."""

    def __init__(self, space: spaces.Space[Any], mask: Any) -> None:
        self.action_space = space
        self.mask = mask

    def _give(self) -> tuple[int, dict[str, Any]]:
        return 0, {} if self.mask is None else {"action_mask": self.mask}


@pytest.mark.parametrize(("space", "mask"), MASKED)
def test_masks_have_the_length_that_families_want(space: Any, mask: Any) -> None:
    env = ActionMaskFromInfo(Told(space, mask))
    observation, _ = env.reset()
    family = distributions.for_space(space)
    assert observation["action_mask"].shape == (family.num_choices,)
    assert env.observation_space.contains(observation)


def test_masks_are_joined_in_order() -> None:
    space = spaces.MultiDiscrete([2, 3])
    env = ActionMaskFromInfo(Told(space, (np.array([1, 0]), np.array([0, 1, 1]))))
    assert env.reset()[0]["action_mask"].tolist() == [1, 0, 0, 1, 1]


# Bad input.


def test_an_info_without_a_mask_is_refused() -> None:
    env = ActionMaskFromInfo(Told(spaces.Discrete(3), None))
    with pytest.raises(ValueError, match=r"must give info\['action_mask'\].*Received"):
        env.reset()


def test_a_step_without_a_mask_is_refused() -> None:
    told = Told(spaces.Discrete(3), np.ones(3))
    env = ActionMaskFromInfo(told)
    env.reset()
    told.mask = None
    with pytest.raises(ValueError, match=r"must give info\['action_mask'\].*Received"):
        env.step(0)


@pytest.mark.parametrize(
    "mask", [np.ones(4), np.ones(2), np.array([0.5, 1, 1]), np.array([-1e9, 0, 0])]
)
def test_a_mask_of_something_else_is_refused(mask: Any) -> None:
    env = ActionMaskFromInfo(Told(spaces.Discrete(3), mask))
    with pytest.raises(ValueError, match="must hold 3 numbers 0 or 1.*Received"):
        env.reset()


def test_actions_without_choices_have_no_mask() -> None:
    box = spaces.Box(-1.0, 1.0, (2,))
    with pytest.raises(ValueError, match="can be masked. Received: Box"):
        ActionMaskFromInfo(Told(box, np.ones(2)))
