from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import kpg
from kpg.cli.main import main
from kpg.doctor import NAMES
from kpg.trainers import Finding, diagnose

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


FAULTS: list[tuple[Callable[[], Any], str]] = [
    (WrongShape, "observation_shape"),
    (WrongDtype, "observation_dtype"),
    (OutOfBounds, "observation_bounds"),
    (NotFinite, "non_finite_observations"),
    (NaNReward, "non_finite_rewards"),
    (FourThings, "step_contract"),
    (RewardArray, "step_contract"),
    (EndAsNumber, "step_contract"),
    (ResetWithoutInfo, "reset_contract"),
    (ResetWithoutSeed, "crash"),
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
    (Aliased, "aliased_observations"),
    (Huge, "observation_scale"),
    (HugeReward, "reward_scale"),
    (NoLegalAction, "mask_without_action"),
    (IntegerActions, "unsupported_space"),
]


def names(findings: list[Finding]) -> list[str]:
    assert all(finding.name in NAMES for finding in findings)
    return [finding.name for finding in findings if not finding.note]


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    """Two environments for the command line, by id."""
    gym.register("WalkForDoctor-v0", lambda **_: Walk())
    gym.register("NaNRewardForDoctor-v0", lambda **_: NaNReward())
    yield
    del gym.registry["WalkForDoctor-v0"], gym.registry["NaNRewardForDoctor-v0"]


@pytest.mark.parametrize(("make", "name"), FAULTS)
def test_each_seeded_fault_is_found_and_named(
    make: Callable[[], Any], name: str
) -> None:
    assert names(diagnose(make())) == [name]


def test_an_episode_that_stays_over_is_found() -> None:
    assert "stuck_after_end" in names(diagnose(Stuck()))


@pytest.mark.parametrize("make", [lambda: gym.make("CartPole-v1"), Walk])
def test_a_healthy_environment_has_no_findings(make: Callable[[], Any]) -> None:
    assert diagnose(make) == []


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"max_steps": 7}, "time_limit_as_termination"),
        ({"constant": -1.0}, "constant_rewards"),
        ({}, "same_start"),
    ],
)
def test_what_may_be_intended_is_a_note(change: dict[str, Any], name: str) -> None:
    base = {
        "time_limit_as_termination": LimitAsTermination,
        "constant_rewards": ConstantReward,
        "same_start": SameStart,
    }[name]
    changed = type("Changed", (base,), change)
    findings = diagnose(changed(), trainer_for(changed()))
    assert [(finding.name, finding.note) for finding in findings] == [(name, True)]


def test_faults_of_the_data_are_told_together() -> None:
    class Both(NaNReward, WrongDtype):
        pass

    assert names(diagnose(Both())) == ["observation_dtype", "non_finite_rewards"]


class Unknown(SyncVectorEnv):
    """A vector environment that does not say how it resets."""

    metadata: dict[str, Any] = {}

    def __init__(self, factories: Any) -> None:
        super().__init__(factories)
        self.metadata = {}


def test_vector_environments_are_examined_by_their_first_copy() -> None:
    assert names(diagnose(Unknown([Walk] * 2))) == ["unknown_autoreset"]
    for mode in AutoresetMode:
        vector_env = SyncVectorEnv([NaNReward] * 3, autoreset_mode=mode)
        assert names(diagnose(vector_env)) == ["non_finite_rewards"]
        vector_env = SyncVectorEnv([NoEffect] * 3, autoreset_mode=mode)
        assert names(diagnose(vector_env)) == ["actions_without_effect"]


class Deaf(kpg.environments.CartPole):
    """In-graph CartPole whose cart does not feel its motor."""

    def transition(self, state: Any, action: Any, rng: Any, params: Any = None) -> Any:
        return super().transition(state, tf.zeros_like(action), rng)


def test_in_graph_environments_are_examined_too() -> None:
    assert names(diagnose(Deaf())) == ["actions_without_effect"]


def test_legal_actions_are_played_where_there_is_a_mask() -> None:
    class Strict(NoLegalAction):
        forbidden = (0, 1)

        def step(self, action: Any) -> Any:
            if 0 < self.steps != 3 and action == 1:
                raise RuntimeError("illegal")
            if self.steps == 3 and action == 0:
                raise RuntimeError("illegal")
            return super().step(action)

    # A policy that does not see the mask is another matter.
    findings = diagnose(Strict(), trainer_for(Strict()))
    assert [finding.name for finding in findings] == ["mask_in_info", "training_fails"]
    assert findings[1].words == "RuntimeError: illegal"

    def masked() -> Any:
        return kpg.environments.ActionMaskFromInfo(Masked())

    assert diagnose(masked) == []


@pytest.mark.parametrize("wrong", [3, "CartPole-v1", lambda: 3])
def test_what_is_no_environment_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="Received"):
        diagnose(wrong)


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
    trainer = kpg.trainers.PPO(
        kpg.models.Policy(env.observation_space, env.action_space, seed=0, **body),
        kpg.models.Critic(env.observation_space, hidden_units=(8,), seed=0),
        seed=0,
        **{"num_steps": 64, "minibatch_size": 64, "num_epochs": 2, **settings},
    )
    trainer.compile(optimizer, jit_compile=False)
    return trainer


@pytest.mark.parametrize(
    ("layer", "options"),
    [("Dropout", {"rate": 0.5, "seed": 0}), ("BatchNormalization", {})],
)
def test_layers_that_work_otherwise_in_training_are_found(
    layer: str, options: dict[str, Any]
) -> None:
    def backbone() -> Any:
        last = getattr(keras.layers, layer)(**options)
        return keras.Sequential([keras.layers.Dense(8, "tanh"), last])

    env = Walk()
    trainer = trainer_for(env, backbone)
    findings = diagnose(env, trainer)
    assert names(findings) == ["ratio_not_one"]
    assert layer in findings[0].words


def test_wrong_log_probs_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    env = Walk()
    trainer = trainer_for(env)
    noise = iter(np.linspace(0.1, 0.9, 50).tolist())
    right = trainer.policy.family.log_prob
    monkeypatch.setattr(
        trainer.policy.family, "log_prob", lambda p, a: right(p, a) + next(noise)
    )
    findings = diagnose(env, trainer)
    assert names(findings) == ["ratio_not_one"]
    assert "log_prob" in findings[0].words


def test_a_learning_rate_that_is_too_large_is_found() -> None:
    env = Walk()
    trainer = trainer_for(env, optimizer=keras.optimizers.Adam(0.5), num_epochs=8)
    assert "kl_too_large" in names(diagnose(env, trainer))


def test_weights_that_are_not_finite_are_found() -> None:
    env = Walk()
    trainer = trainer_for(env)
    kernel = trainer.learned_variables()[0]
    kernel.assign(np.full(kernel.shape, np.nan))
    assert names(diagnose(env, trainer)) == ["non_finite_weights"]


def test_a_critic_that_explains_nothing_is_found() -> None:
    env = Walk()
    trainer = trainer_for(env, vf_coef=0.0, gae_lambda=1.0, gamma=0.5)
    critic: Any = trainer.critic
    kernel = critic.head.kernel
    kernel.assign(100.0 * kernel)
    assert names(diagnose(env, trainer)) == ["explained_variance"]


def test_a_policy_that_stops_trying_is_found() -> None:
    class Obvious(Walk):
        def step(self, action: Any) -> Any:
            observation, reward, *rest = super().step(action)
            return observation, reward + 5.0 * float(action), *rest

    env = Obvious()
    rate = keras.optimizers.Adam(0.01)
    trainer = trainer_for(env, optimizer=rate, num_epochs=20, clip_range=5.0, gamma=0.0)
    assert "entropy_collapse" in names(diagnose(env, trainer))


def test_the_trainer_is_as_before() -> None:
    trainer = trainer_for(Walk())
    before = [
        variable.numpy()
        for variable in (*trainer.variables, *trainer.optimizer.variables)
    ]
    assert diagnose(Walk, trainer) == []
    after = (*trainer.variables, *trainer.optimizer.variables)
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new.numpy())
    assert trainer.env_steps == 0


def test_a_trainer_that_normalises_is_asked_for_no_more() -> None:
    env = Huge()
    trainer = trainer_for(env, normalize_observations=True)
    assert "observation_scale" not in names(diagnose(env, trainer))


def test_a_trainer_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="observation_space"):
        diagnose(gym.make("CartPole-v1"), trainer_for(Walk()))
    with pytest.raises(ValueError, match="minibatch_size"):
        diagnose(Walk(), trainer_for(Walk(), num_steps=48))
    trainer = kpg.trainers.PPO(
        *(trainer_for(Walk()).policy, trainer_for(Walk()).critic), seed=0
    )
    with pytest.raises(ValueError, match="compile"):
        diagnose(Walk(), trainer)


def called(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Runs `kpg doctor` and returns the exit code and the output."""
    code = main(["doctor", *map(str, arguments)])
    captured = capfd.readouterr()
    return code, captured.out or captured.err


def test_the_command_on_a_healthy_environment(
    capfd: pytest.CaptureFixture[str],
) -> None:
    code, out = called(capfd, "CartPole-v1", "--json")
    assert len(out.splitlines()) == 1
    values = json.loads(out)
    assert (code, values["healthy"], values["findings"]) == (0, True, [])
    assert (values["env"], values["run"]) == ("CartPole-v1", None)


def test_the_command_with_findings(capfd: pytest.CaptureFixture[str]) -> None:
    id = "NaNRewardForDoctor-v0"
    code, out = called(capfd, id, "--json")
    findings = json.loads(out)["findings"]
    assert code == 1
    assert [finding["name"] for finding in findings] == ["non_finite_rewards"]
    code, out = called(capfd, id)
    assert code == 1
    assert out.startswith("non_finite_rewards: ") and "healthy" not in out


def test_the_command_on_what_is_not_registered(
    capfd: pytest.CaptureFixture[str],
) -> None:
    code, out = called(capfd, "Nothing-v0")
    assert code == 2
    assert "Nothing-v0" in out and "Traceback" not in out


def test_the_command_on_a_run(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    trainer = trainer_for(Walk())
    trainer.save(tmp_path / "best.keras")
    settings = {"env": "WalkForDoctor-v0", "preset": {"num_envs": 2}}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    code, out = called(capfd, tmp_path)
    assert (code, out) == (0, f"{tmp_path}: healthy\n")
    (tmp_path / "best.keras").unlink()
    code, out = called(capfd, tmp_path)
    assert code == 1 and "neither" in out
