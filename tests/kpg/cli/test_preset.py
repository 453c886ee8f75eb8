from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from kpg.cli import preset
from kpg.cli.environments import Environments
from kpg.cli.preset import Preset

TRAINER = ["num_steps", "gamma", "gae_lambda", "clip_range"]
POLICY = ["hidden_units", "activation"]
PRESETS = Environments()


def with_settings(settings: dict[str, Any]) -> Preset:
    cart_pole = PRESETS.load("CartPole-v1")
    return preset.with_settings(cart_pole, settings, policy=POLICY, trainer=TRAINER)


def test_an_algorithm_without_settings_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be one of PPO.*algorithm='DQN'"):
        PRESETS.load("CartPole-v1", "DQN")


def test_presets_are_written_as_json() -> None:
    tuned = PRESETS.load("MountainCar-v0")
    assert Preset(**json.loads(json.dumps(dataclasses.asdict(tuned)))) == tuned


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
    parsed = preset.parse_assignment(text)
    assert parsed == (key, value)
    assert type(parsed[1]) is type(value)


@pytest.mark.parametrize("text", ["gamma", "=1", " = 1", ""])
def test_what_is_no_assignment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"written as key=value\. Received: "):
        preset.parse_assignment(text)


def test_settings_go_where_they_belong() -> None:
    given = with_settings(
        {"num_envs": 4, "gamma": 0.5, "hidden_units": [8], "learning_rate": 0.01}
    )
    assert given.num_envs == 4
    assert given.learning_rate == 0.01
    assert given.policy == {"hidden_units": [8]}
    assert given.trainer == {**PRESETS.load("CartPole-v1").trainer, "gamma": 0.5}


def test_unknown_settings_name_close_ones() -> None:
    with pytest.raises(ValueError, match=r"no setting 'gama'\. Did you mean gamma\?"):
        with_settings({"gama": 1})
    with pytest.raises(ValueError, match=r"Known: activation, algorithm, .*Received"):
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


def test_what_trainer_and_task_share_goes_to_both() -> None:
    given = preset.with_settings(
        PRESETS.load("CartPole-v1"),
        {"group_size": 4, "texts": ["a"]},
        policy=["texts"],
        trainer=["group_size"],
        task=["group_size", "texts"],
    )
    assert given.trainer["group_size"] == given.task["group_size"] == 4
    assert (given.policy, given.task) == ({"texts": ["a"]}, {"group_size": 4})


ENTRY = {"num_envs": 4, "total_steps": 100, "learning_rate": 0.1}
SHARED = {"num_steps": 7, "gamma": 0.5, "clip_range": 0.3}


def test_another_algorithm_keeps_only_settings_that_it_has() -> None:
    entries = {"PPO": {**ENTRY, "trainer": SHARED}}
    adapted = preset.select("Any-v0", entries, "REINFORCE")
    assert (adapted.algorithm, adapted.num_envs) == ("REINFORCE", 4)
    assert adapted.trainer == {"gamma": 0.5}  # a fragment's length is PPO's own
    assert preset.select("Any-v0", entries, "PPO").trainer == SHARED


@pytest.mark.parametrize("package", ["kpg.cli", "kpg.cli.language"])
def test_every_file_is_read(package: str) -> None:
    names = preset.names(package)
    assert names == sorted(names) and names
    for name in names:
        for fields in preset.read(package, name).values():
            assert set(ENTRY) <= set(fields)


def test_another_distribution_leaves_what_was_tuned_for_the_first() -> None:
    def given(settings: dict[str, Any]) -> Preset:
        return PRESETS.chosen_preset("MountainCarContinuous-v0", settings)

    assert given({}).policy == {"log_std_init": 1.0}
    assert given({"distribution": "beta"}).policy == {"distribution": "beta"}
    chosen = {"distribution": "tanh_normal", "log_std_init": -1.0}
    assert given(chosen).policy == chosen
    # Nor is a deviation tuned for the beta distribution of another entry.
    other: dict[str, Any] = {"algorithm": "ActorCritic", "distribution": "normal"}
    assert given(other).policy == {"distribution": "normal"}


def test_settings_are_read_from_files_and_runs(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"gamma": 0.9, "policy": {"hidden_units": [8]}, "task": {}}')
    flat = {"gamma": 0.9, "hidden_units": [8]}
    assert preset.read_settings(str(path)) == flat
    path.write_text(json.dumps({"env": "a", "seed": 1, "preset": {"trainer": flat}}))
    assert preset.read_settings(str(path)) == flat


def test_settings_are_read_from_yaml_with_the_numbers_people_write(
    tmp_path: Path,
) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(
        "env: CartPole-v1\nlearning_rate: 3e-4\ntotal_steps: 1e6\n"
        "normalize_rewards: true\nmax_grad_norm: null\n"
        "policy: {hidden_units: [8, 8], activation: relu}\n"
    )
    found = preset.read_settings(str(path))
    assert found == {
        **{"env": "CartPole-v1", "learning_rate": 0.0003, "total_steps": 1_000_000},
        **{"normalize_rewards": True, "max_grad_norm": None},
        **{"hidden_units": [8, 8], "activation": "relu"},
    }
    assert type(found["total_steps"]) is int


@pytest.mark.parametrize("suffix", ["json", "yaml"])
@pytest.mark.parametrize("text", [None, "[1]", "{", '{"policy": 3}'])
def test_a_file_without_settings_is_refused(
    tmp_path: Path, text: str | None, suffix: str
) -> None:
    path = tmp_path / f"settings.{suffix}"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=rf"file of settings.*Received: .*{suffix}"):
        preset.read_settings(str(path))
