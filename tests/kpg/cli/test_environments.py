from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import pytest

import kpg
from kpg.cli import algorithms
from kpg.cli.command_result import UsageError
from kpg.cli.commands import train
from kpg.cli.environments import Environments
from kpg.cli.kind import Seeds
from kpg.cli.preset import Preset, select
from kpg.environments import GraphEnvironment, HostEnvironment

PRESETS = Environments()

# What needs Box2D or MuJoCo is tested with an environment of the same kind of actions.
STAND_INS = {
    "HalfCheetah-v5": "Pendulum-v1",
    "Hopper-v5": "Pendulum-v1",
    "LunarLander-v3": "CartPole-v1",
    "LunarLanderContinuous-v3": "Pendulum-v1",
    "Swimmer-v5": "Pendulum-v1",
    "Walker2d-v5": "Pendulum-v1",
}
OWN_MODULE = """
import gymnasium
gymnasium.register(
    "OwnCartPole-v0",
    "gymnasium.envs.classic_control.cartpole:CartPoleEnv",
    max_episode_steps=50,
)
"""


def built(preset: Preset) -> train.Parts:
    parts = train.build(preset, Seeds.derived(0))
    parts.env.close()
    parts.validation.close()
    return parts


def test_ids_are_environments_that_exist() -> None:
    assert {"CartPole-v1", "MountainCar-v0"} <= set(PRESETS.ids())
    assert set(PRESETS.ids()) <= set(gymnasium.registry)


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [(name, entry) for name in PRESETS.ids() for entry in PRESETS.entries(name)],
)
def test_every_preset_is_accepted_by_its_trainer(name: str, algorithm: str) -> None:
    preset = PRESETS.load(name, algorithm)
    parts = built(dataclasses.replace(preset, env=STAND_INS.get(name, name)))
    assert type(parts.trainer).__name__ == algorithm
    # Whole epochs must not leave much of the budget unspent.
    assert parts.schedule.total_steps > 0.9 * preset.total_steps


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("algorithm", [*algorithms.KNOWN, "grpo"])
def test_the_defaults_are_accepted_by_every_trainer(
    algorithm: str, continuous: bool
) -> None:
    preset = select("Any-v0", PRESETS.default_entries(continuous), algorithm)
    settings_class = algorithms.find(algorithm).settings_class
    # What would have no effect is refused.
    settings = settings_class.make(dict(preset.trainer))
    minibatch_size = getattr(settings, "minibatch_size", 1) or 1
    assert preset.num_envs * settings.num_steps % minibatch_size == 0


def test_policy_and_critic_share_what_concerns_both() -> None:
    # The standard deviation is the policy's alone: the critic would refuse it.
    options = {"hidden_units": [8, 8], "activation": "relu", "log_std_init": -0.5}
    preset = dataclasses.replace(PRESETS.load("Pendulum-v1"), policy=options)
    trainer = built(preset).trainer
    assert trainer.critic is not None
    for model in (trainer.policy, trainer.critic):
        config = model.get_config()
        assert config["hidden_units"] == [8, 8]
        assert config["activation"] == "relu"
    policy: Any = trainer.policy
    assert policy.log_std.numpy().tolist() == [-0.5]


def test_other_environments_take_the_default_of_their_actions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    discrete, continuous = map(PRESETS.default_entries, (False, True))
    assert discrete != continuous
    assert PRESETS.entries("FrozenLake-v1") == discrete
    monkeypatch.setattr(PRESETS, "ids", list)
    assert PRESETS.entries("Pendulum-v1") == continuous


def test_the_first_algorithm_of_a_file_is_the_default() -> None:
    for name in PRESETS.ids():
        known = list(PRESETS.entries(name))
        assert set(known) <= set(algorithms.KNOWN)
        assert PRESETS.load(name) == PRESETS.load(name, known[0])
        assert [PRESETS.load(name, entry).algorithm for entry in known] == known


def test_settings_tuned_for_the_algorithm_are_taken() -> None:
    tuned = PRESETS.load("CartPole-v1", "ActorCritic")
    assert tuned.num_envs != PRESETS.load("CartPole-v1").num_envs
    chosen = PRESETS.chosen_preset("CartPole-v1", {"algorithm": "ActorCritic"})
    assert chosen == tuned
    chosen = PRESETS.chosen_preset("CartPole-v1", {})
    assert chosen == PRESETS.load("CartPole-v1", "PPO")


def test_the_default_settings_are_adapted_to_another_algorithm() -> None:
    other = PRESETS.chosen_preset("FrozenLake-v1", {"algorithm": "ActorCritic"})
    default = PRESETS.load("FrozenLake-v1")
    assert other.algorithm == "ActorCritic"
    assert "clip_range" not in other.trainer
    assert other.trainer["gae_lambda"] == default.trainer["gae_lambda"]


@pytest.mark.parametrize(
    ("given", "num_steps"),
    [({}, 100), ({"num_steps": 200}, 200), ({"whole_episodes": False}, None)],
)
def test_whole_episodes_have_as_many_steps_as_the_longest(
    given: dict[str, object], num_steps: int | None
) -> None:
    settings = {"algorithm": "REINFORCE"} | given
    chosen = PRESETS.chosen_preset("FrozenLake-v1", settings)
    assert chosen.trainer.get("num_steps") == num_steps


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of an environment in a module of its own."""
    (tmp_path / "own_environment.py").write_text(OWN_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return "own_environment:OwnCartPole-v0"


def test_the_module_of_an_id_is_imported(own: str) -> None:
    assert PRESETS.load(own).env == own
    for env in (PRESETS.evaluation({"env": own}, 9, 0), kpg.make(own)):
        assert isinstance(env, HostEnvironment)
        assert env.max_episode_steps == 50
        env.close()
    assert callable(PRESETS.to_examine(own, None))


@pytest.mark.parametrize(
    "ask",
    [
        PRESETS.entries,
        lambda id: PRESETS.evaluation({"env": id}, 1, 0),
        lambda id: PRESETS.to_examine(id, None),
    ],
)
def test_a_module_that_fails_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Callable[[str], object]
) -> None:
    (tmp_path / "own_failure.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    for id, words in (
        ("own_failure:Any-v0", "ZeroDivisionError"),
        ("no_such_module:Any-v0", "No module named 'no_such_module'"),
    ):
        with pytest.raises(ValueError, match=words):
            ask(id)


def test_as_many_copies_are_measured_as_pay_off() -> None:
    counts = {
        ("CartPole-v1", 1000): 100,
        ("CartPole-v1", 7): 7,
        ("FrozenLake-v1", 1000): 16,
        ("FrozenLake-v1", 7): 7,
    }
    for (id, episodes), count in counts.items():
        env = PRESETS.evaluation({"env": id}, episodes, 0)
        assert env.num_envs == count
        env.close()


def test_the_doctor_examines_what_training_steps() -> None:
    examined = PRESETS.to_examine("CartPole-v1", 3)
    assert isinstance(examined, GraphEnvironment) and examined.num_envs == 3
    factory = PRESETS.to_examine("FrozenLake-v1", 3)
    assert callable(factory) and isinstance(factory(), gymnasium.Env)
    with pytest.raises(UsageError, match="Nothing-v0"):
        PRESETS.to_examine("Nothing-v0", None)
