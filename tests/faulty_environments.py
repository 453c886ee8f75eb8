"""Environments with one fault each, and a small trainer for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import tensorflow as tf
from gymnasium.vector import SyncVectorEnv, VectorWrapper
from gymnasium.wrappers.vector import DictInfoToList

import kpg
from kpg import doctor
from kpg.testing.finding import Finding

LIMIT = 20


class Walk(gym.Env[Any, Any]):
    """A healthy environment: a walk on a line that ends at either side."""

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(-2.0, 2.0, (2,))
        self.action_space: gym.Space[Any] = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.place = self.np_random.uniform(-0.5, 0.5)
        self.steps = 0
        return self.observation(), {}

    def step(self, action: Any) -> Any:
        self.place += 0.2 * float(action) - 0.1
        self.steps += 1
        ended = abs(self.place) > 0.8
        cut = self.steps >= LIMIT and not ended
        return self.observation(), -abs(self.place), ended, cut, {}

    def observation(self) -> Any:
        return np.array([self.place, 1.0], np.float32)


class WrongShape(Walk):
    def observation(self) -> Any:
        return super().observation()[:, np.newaxis]


class WrongDtype(Walk):
    def observation(self) -> Any:
        return super().observation().astype(np.float64)


class OutOfBounds(Walk):
    def observation(self) -> Any:
        return super().observation() + np.float32(3.0)


class NotFinite(Walk):
    def observation(self) -> Any:
        return np.array([np.inf if self.steps == 5 else 0.1, self.place], np.float32)


class NaNReward(Walk):
    def step(self, action: Any) -> Any:
        observation, _, *rest = super().step(action)
        return observation, np.nan, *rest


class FourThings(Walk):
    def step(self, action: Any) -> Any:
        observation, reward, terminated, _, info = super().step(action)
        return observation, reward, terminated, info


class RewardArray(Walk):
    def step(self, action: Any) -> Any:
        observation, reward, *rest = super().step(action)
        return observation, np.array([reward]), *rest


class RewardColumn(VectorWrapper[Any, Any, Any, Any, Any]):
    """A vector environment with rewards `[B, 1]`."""

    def step(self, actions: Any) -> Any:
        observations, rewards, *rest = self.env.step(actions)
        return observations, rewards[:, np.newaxis], *rest


class FloatImage(Walk):
    """Floats in a space of bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = gym.spaces.Box(0, 255, (2,), np.uint8)

    def observation(self) -> Any:
        return np.array([0.5, 1.0])


class Astronomic(Walk):
    """Numbers that float64 holds and float32 does not."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)

    def observation(self) -> Any:
        return np.array([1e300 if self.steps == 5 else 0.1, self.place])


class Beyond(Walk):
    """A choice that its space does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = gym.spaces.Discrete(5)

    def observation(self) -> Any:
        return np.int64(7 if self.steps == 5 else 1)


class Ragged(Walk):
    """Infos that Gymnasium allows and does not stack."""

    def step(self, action: Any) -> Any:
        *step, _ = super().step(action)
        odd = self.steps % 2
        return *step, {
            "path": np.zeros((self.steps, 2)),
            "kind": "text" if odd else np.zeros(2),
            "nest": {"deep": np.zeros(self.steps)} if odd else 1,
            "turned": 1 if odd else {"deep": 1},
            "large": 2**70 if odd else 1,
            "none": None if odd else 1.0,
        }


class Shared(Walk):
    """All copies move together: their place is an attribute of the class."""

    common: ClassVar[dict[str, float]] = {}

    @property
    def place(self) -> float:
        return self.common.get("place", 0.0)

    @place.setter
    def place(self, value: float) -> None:
        self.common["place"] = value


class OnlyAlone(Walk):
    """Works for one copy, and fails for another beside it."""

    alive = 0

    def reset(self, **arguments: Any) -> Any:
        if not vars(self).get("counted"):
            self.counted = True
            type(self).alive += 1
        return super().reset(**arguments)

    def step(self, action: Any) -> Any:
        if type(self).alive > 1:
            raise RuntimeError("the port is in use")
        return super().step(action)

    def close(self) -> None:
        type(self).alive = 0


class EndAsNumber(Walk):
    def step(self, action: Any) -> Any:
        observation, reward, terminated, *rest = super().step(action)
        return observation, reward, int(terminated), *rest


class ResetWithoutInfo(Walk):
    def reset(self, **arguments: Any) -> Any:
        return super().reset(**arguments)[0]


class ResetWithoutSeed(Walk):
    def reset(self) -> Any:  # type: ignore[override]  # the fault that is looked for
        return super().reset()


class Random(Walk):
    def reset(self, **arguments: Any) -> Any:
        super().reset(**arguments)
        self.place = np.random.default_rng().uniform(-0.5, 0.5)
        return self.observation(), {}


class LeftOver(Walk):
    """The counter of one episode goes on in the next."""

    total = 0

    def step(self, action: Any) -> Any:
        observation, reward, *rest = super().step(action)
        self.total += 1
        return observation, reward + 0.01 * self.total, *rest


class LimitAsTermination(Walk):
    max_steps = LIMIT

    def step(self, action: Any) -> Any:
        observation, reward, *_ = super().step(action)
        return observation, reward, self.steps >= self.max_steps, False, {}

    def observation(self) -> Any:
        return np.clip(super().observation(), -2, 2)


class Swapped(Walk):
    def step(self, action: Any) -> Any:
        observation, reward, terminated, _, info = super().step(action)
        return observation, reward, False, terminated, info


class Endless(Walk):
    def step(self, action: Any) -> Any:
        observation, reward, *_ = super().step(action)
        self.place = float(np.clip(self.place, -0.8, 0.8))
        return observation, reward, False, False, {}


class Stuck(Walk):
    """The first episode of the object is the only one that is not over at once."""

    over: bool | None = None

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.over = self.over is not None
        return super().reset(seed=seed)

    def step(self, action: Any) -> Any:
        observation, reward, terminated, *rest = super().step(action)
        return observation, reward, terminated or bool(self.over), *rest


class ConstantReward(Walk):
    constant = 1.0

    def step(self, action: Any) -> Any:
        observation, _, _, _, info = super().step(action)
        self.place = float(np.clip(self.place, -0.8, 0.8))
        return observation, self.constant, False, self.steps >= LIMIT, info


class NoEffect(Walk):
    def step(self, action: Any) -> Any:
        return super().step(1)


class Aliased(Walk):
    def reset(self, **arguments: Any) -> Any:
        self.array = np.ones(2, np.float32)
        return super().reset(**arguments)

    def observation(self) -> Any:
        self.array[0] = self.place
        return self.array


class Huge(Walk):
    def __init__(self) -> None:
        super().__init__()
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (2,))

    def observation(self) -> Any:
        return super().observation() * np.float32(1e4)


class HugeReward(Walk):
    def step(self, action: Any) -> Any:
        observation, reward, *rest = super().step(action)
        return observation, 1e4 * reward, *rest


class NoLegalAction(Walk):
    forbidden = (0, 0)

    def step(self, action: Any) -> Any:
        *step, _ = super().step(action)
        mask = self.forbidden if self.steps == 3 else (1, 0)
        return *step, {"action_mask": np.array(mask, np.int8)}


class Masked(Walk):
    """Allows the way to the middle only."""

    def reset(self, **arguments: Any) -> Any:
        return super().reset(**arguments)[0], self.info()

    def step(self, action: Any) -> Any:
        if not self.info()["action_mask"][action]:
            raise RuntimeError("illegal")
        return *super().step(action)[:-1], self.info()

    def info(self) -> dict[str, Any]:
        return {"action_mask": np.array([self.place > -0.6, self.place < 0.6], int)}


class IntegerActions(Walk):
    def __init__(self) -> None:
        super().__init__()
        self.action_space = gym.spaces.Box(0, 1, (1,), np.int32)


class SameStart(Walk):
    def reset(self, **arguments: Any) -> Any:
        super().reset(**arguments)
        self.place = 0.0
        return self.observation(), {}


class Unknown(SyncVectorEnv):
    """A vector environment that does not say how it resets."""

    metadata: dict[str, Any] = {}

    def __init__(self, factories: Any) -> None:
        super().__init__(factories)
        self.metadata = {}


class Deaf(kpg.environments.CartPole):
    """In-graph CartPole whose cart does not feel its motor."""

    def transition(self, state: Any, action: Any) -> Any:
        return super().transition(state, tf.zeros_like(action))


CONTRACT_FAULTS: list[tuple[Callable[[], Any], str]] = [
    (WrongShape, "observation_shape"),
    (WrongDtype, "observation_dtype"),
    (OutOfBounds, "observation_bounds"),
    (NotFinite, "non_finite_observations"),
    (NaNReward, "non_finite_rewards"),
    (FloatImage, "observation_dtype"),
    (Astronomic, "non_finite_observations"),
    (Beyond, "observation_bounds"),
    (FourThings, "step_contract"),
    (lambda: RewardColumn(SyncVectorEnv([Walk] * 2)), "step_contract"),
    (lambda: DictInfoToList(SyncVectorEnv([Walk] * 2)), "reset_contract"),
    (RewardArray, "step_contract"),
    (EndAsNumber, "step_contract"),
    (ResetWithoutInfo, "reset_contract"),
    (ResetWithoutSeed, "crash"),
    (Aliased, "aliased_observations"),
    (NoLegalAction, "mask_without_action"),
    (IntegerActions, "unsupported_space"),
]
VERDICT_FAULTS: list[tuple[Callable[[], Any], str]] = [
    (Random, "nondeterministic"),
    (LeftOver, "nondeterministic"),
    (
        lambda: gym.wrappers.TimeLimit(LimitAsTermination(), LIMIT),
        "time_limit_as_termination",
    ),
    (Swapped, "termination_as_truncation"),
    (Endless, "endless_episodes"),
    (ConstantReward, "constant_rewards"),
    (NoEffect, "actions_without_effect"),
    (Huge, "observation_scale"),
    (HugeReward, "reward_scale"),
]


def names(findings: list[Finding]) -> list[str]:
    assert all(finding.name in doctor.NAMES for finding in findings)
    return [finding.name for finding in findings if not finding.note]


def trainer_for(
    env: Any,
    backbone: Callable[[], Any] | None = None,
    optimizer: Any = None,
    **settings: Any,
) -> kpg.trainers.Trainer:
    """A small PPO, compiled."""
    body: dict[str, Any] = {"hidden_units": (8,)}
    if backbone is not None:
        body = {"backbone": backbone()}
    arguments: dict[str, Any] = {"num_steps": 64, "minibatch_size": 64, "num_epochs": 2}
    arguments.update(settings)
    trainer = kpg.trainers.PPO(
        kpg.models.Policy(env.observation_space, env.action_space, seed=0, **body),
        kpg.models.Critic(env.observation_space, hidden_units=(8,), seed=0),
        seed=0,
        **arguments,
    )
    trainer.compile(optimizer, jit_compile=False)
    return trainer
