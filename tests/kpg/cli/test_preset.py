from __future__ import annotations

import argparse
import dataclasses
import json
from typing import Any

import gymnasium
import pytest

import kpg
from kpg.cli import presets
from kpg.cli.commands import train
from kpg.cli.presets import Preset

TRAINER = ["num_steps", "gamma", "gae_lambda", "clip_range"]
POLICY = ["hidden_units", "activation"]


def with_settings(settings: dict[str, Any]) -> Preset:
    preset = presets.load("CartPole-v1")
    return presets.with_settings(preset, settings, policy=POLICY, trainer=TRAINER)


def test_names_are_environments_that_exist() -> None:
    assert {"CartPole-v1", "MountainCar-v0"} <= set(presets.names())
    for name in presets.names():
        assert name in gymnasium.registry
        assert presets.load(name).env == name


# What needs Box2D or MuJoCo is tested with an environment of the same kind of actions.
STAND_INS = {
    "HalfCheetah-v5": "Pendulum-v1",
    "Hopper-v5": "Pendulum-v1",
    "LunarLander-v3": "CartPole-v1",
    "LunarLanderContinuous-v3": "Pendulum-v1",
}


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [(name, entry) for name in presets.names() for entry in presets.algorithms(name)],
)
def test_every_preset_is_accepted_by_its_trainer(name: str, algorithm: str) -> None:
    preset = presets.load(name, algorithm)
    parts = built(dataclasses.replace(preset, env=STAND_INS.get(name, name)))
    assert type(parts.trainer).__name__ == algorithm
    # Whole epochs must not leave much of the budget unspent.
    assert parts.schedule.total_steps > 0.9 * preset.total_steps


@pytest.mark.parametrize(
    ("name", "continuous"), [("Blackjack-v1", False), ("BipedalWalker-v3", True)]
)
def test_the_defaults_are_accepted_by_their_trainer(
    name: str, continuous: bool
) -> None:
    assert name not in presets.names()
    preset = presets.load(name, continuous=continuous)
    settings = getattr(kpg.trainers, preset.algorithm).settings_class.make(
        dict(preset.trainer)
    )
    rows = preset.num_envs * settings.num_steps
    assert rows % settings.minibatch_size == 0


def built(preset: Preset) -> train.Parts:
    parts = train.build(preset, train.derived_seeds(0))
    parts.env.close()
    parts.validation.close()
    return parts


def test_policy_and_critic_share_what_concerns_both() -> None:
    # The standard deviation is the policy's alone: the critic would refuse it.
    options = {"hidden_units": [8, 8], "activation": "relu", "log_std_init": -0.5}
    preset = dataclasses.replace(presets.load("Pendulum-v1"), policy=options)
    trainer = built(preset).trainer
    for model in (trainer.policy, trainer.critic):
        config = model.get_config()
        assert config["hidden_units"] == [8, 8]
        assert config["activation"] == "relu"
    assert trainer.policy.log_std.numpy().tolist() == [-0.5]


def test_other_environments_take_the_default_of_their_actions() -> None:
    discrete = presets.load("FrozenLake-v1")
    continuous = presets.load("Reacher-v5", continuous=True)
    assert discrete.env == "FrozenLake-v1"
    assert continuous.env == "Reacher-v5"
    assert discrete.trainer != continuous.trainer


def test_the_first_algorithm_of_a_file_is_the_default() -> None:
    for name in presets.names():
        known = presets.algorithms(name)
        assert set(known) <= set(presets.ALGORITHMS)
        assert presets.load(name) == presets.load(name, known[0])
        assert [presets.load(name, entry).algorithm for entry in known] == known


def test_an_algorithm_without_settings_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be one of PPO.*algorithm='DQN'"):
        presets.load("CartPole-v1", "DQN")


def chosen(
    env: str, flag: str | None, settings: dict[str, Any] | None = None
) -> Preset:
    options = argparse.Namespace(
        env=env, algorithm=flag, num_envs=None, total_steps=None
    )
    return train.chosen_preset(options, settings or {})


def test_train_takes_the_settings_tuned_for_the_algorithm() -> None:
    tuned = presets.load("CartPole-v1", "ActorCritic")
    assert tuned.num_envs != presets.load("CartPole-v1").num_envs
    assert chosen("CartPole-v1", "ActorCritic") == tuned
    assert chosen("CartPole-v1", None, {"algorithm": "ActorCritic"}) == tuned
    assert chosen("CartPole-v1", None) == presets.load("CartPole-v1", "PPO")


def test_train_adapts_the_default_settings_to_another_algorithm() -> None:
    other = chosen("FrozenLake-v1", "ActorCritic")
    default = presets.load("FrozenLake-v1")
    assert other.algorithm == "ActorCritic"
    assert "clip_range" not in other.trainer
    assert other.trainer["gae_lambda"] == default.trainer["gae_lambda"]


@pytest.mark.parametrize("algorithm", presets.ALGORITHMS)
@pytest.mark.parametrize("env", ["FrozenLake-v1", "Reacher-v1"])
def test_the_adapted_defaults_are_accepted_too(env: str, algorithm: str) -> None:
    preset = presets.load(env, continuous=env == "Reacher-v1")
    settings = getattr(kpg.trainers, algorithm).settings_class
    known = [field.name for field in dataclasses.fields(settings)]
    adapted = presets.with_algorithm(preset, algorithm, known)
    settings.make(dict(adapted.trainer))  # refuses what would have no effect


def test_presets_are_written_as_json() -> None:
    preset = presets.load("MountainCar-v0")
    assert Preset(**json.loads(json.dumps(dataclasses.asdict(preset)))) == preset


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("gamma=0.9", "gamma", 0.9),
        ("learning_rate=1e-3", "learning_rate", 0.001),
        ("num_envs=4", "num_envs", 4),
        ("total_steps=3e6", "total_steps", 3_000_000),
        ("gamma=1.0", "gamma", 1.0),
        ("hidden_units=[32, 16]", "hidden_units", [32, 16]),
        ("normalize_rewards=true", "normalize_rewards", True),
        ("normalize_rewards=False", "normalize_rewards", False),
        ("max_grad_norm=null", "max_grad_norm", None),
        ("max_grad_norm=None", "max_grad_norm", None),
        ("activation=relu", "activation", "relu"),
        ('activation="relu"', "activation", "relu"),
        ("note=a=b", "note", "a=b"),
        ("note=", "note", ""),
    ],
)
def test_assignments(text: str, key: str, value: Any) -> None:
    parsed = presets.parse_assignment(text)
    assert parsed == (key, value)
    assert type(parsed[1]) is type(value)


@pytest.mark.parametrize("text", ["gamma", "=1", " = 1", ""])
def test_what_is_no_assignment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"written as key=value\. Received: "):
        presets.parse_assignment(text)


def test_settings_go_where_they_belong() -> None:
    preset = with_settings(
        {"num_envs": 4, "gamma": 0.5, "hidden_units": [8], "learning_rate": 0.01}
    )
    assert preset.num_envs == 4
    assert preset.learning_rate == 0.01
    assert preset.policy == {"hidden_units": [8]}
    assert preset.trainer == {**presets.load("CartPole-v1").trainer, "gamma": 0.5}


def test_unknown_settings_name_close_ones() -> None:
    with pytest.raises(ValueError, match=r"no setting 'gama'\. Did you mean gamma\?"):
        with_settings({"gama": 1})
    with pytest.raises(
        ValueError, match=r"There are activation, algorithm, .*Received"
    ):
        with_settings({"zzzzzz": 1})


@pytest.mark.parametrize("key", ["env", "policy", "trainer"])
def test_what_is_no_setting_cannot_be_set(key: str) -> None:
    with pytest.raises(ValueError, match=f"no setting '{key}'"):
        with_settings({key: 1})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_envs", 0),
        ("num_envs", 2.5),
        ("num_envs", True),
        ("total_steps", "many"),
        ("steps_per_epoch", -1),
        ("steps_per_execution", 0),
        ("validation_episodes", None),
        ("learning_rate", 0),
        ("learning_rate", float("inf")),
        ("learning_rate", float("nan")),
        ("learning_rate", "fast"),
        ("jit_compile", "yes"),
        ("algorithm", "DQN"),
    ],
)
def test_values_out_of_range_are_refused(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"`{key}` must be .*Received: {key}="):
        with_settings({key: value})


def test_another_algorithm_keeps_only_settings_that_it_has() -> None:
    preset = presets.with_algorithm(
        presets.load("CartPole-v1"), "REINFORCE", ["num_steps", "gamma"]
    )
    assert preset.algorithm == "REINFORCE"
    assert preset.trainer == {"gamma": 0.98}  # a fragment's length is PPO's own
