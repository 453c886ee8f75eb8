"""Algorithms by name and by "module:Name", and the whole path of one's own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import kpg
from kpg.cli import algorithms
from kpg.cli.environments import Environments
from kpg.cli.kind import kind_of
from kpg.cli.runs import Run
from tests.command_line import SMALL, Kpg, one_line, succeed

OWN = """
import dataclasses
import keras
import tensorflow as tf
import kpg

@keras.saving.register_keras_serializable(package="own")
class Steeper(kpg.trainers.PPO):
    def policy_loss(self, log_probs, rows, progress):
        loss, metrics = super().policy_loss(log_probs, rows, progress)
        return 2.0 * loss, metrics

class NotRegistered(kpg.trainers.ActorCritic):
    pass

@dataclasses.dataclass(frozen=True)
class FewSettings(kpg.trainers.TrainerSettings):
    temperature: float = 1.0

class Own(kpg.trainers.Trainer):
    settings_class = FewSettings

    def estimate(self, estimates):
        raise NotImplementedError

    def policy_loss(self, log_probs, rows, progress):
        raise NotImplementedError

class Incomplete(kpg.trainers.Trainer):
    settings_class = FewSettings

number = 3
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with modules of one's own; tests must not change it."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_algorithms.py").write_text(OWN)
    (folder / "own_mistake.py").write_text("import no_such_package")
    (folder / "own_script.py").write_text("raise SystemExit(3)")
    return folder


@pytest.fixture
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That folder as the current one, which the command line has to look in itself."""
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != ""])
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def steeper(folder: Path) -> Path:
    """A run of one's own algorithm; tests must not change it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        flags = ("--algorithm", "own_algorithms:Steeper", "--output", "run")
        succeed("train", "CartPole-v1", *SMALL, "--total-steps", 256, *flags)
    return folder / "run"


def test_those_of_kpg_are_found() -> None:
    for name in algorithms.KNOWN:
        assert algorithms.find(name) is getattr(kpg.trainers, name)
    public = {name for name in vars(kpg.trainers) if not name.startswith("_")}
    trainers = {
        name
        for name in public
        if isinstance(kind := getattr(kpg.trainers, name), type)
        and issubclass(kind, kpg.trainers.Trainer)
    }
    assert trainers - {"Trainer"} == set(algorithms.KNOWN)


def test_recipes_are_settings_of_ppo() -> None:
    assert algorithms.RECIPES == tuple(kpg.trainers.recipes.SETTINGS)
    for name in algorithms.RECIPES:
        assert algorithms.find(name) is kpg.trainers.PPO
        assert algorithms.declared_by(name) == "PPO"
        settings = kpg.trainers.PPOSettings.make(algorithms.recipe(name))
        assert not settings.uses_critic
    assert algorithms.recipe("PPO") == algorithms.recipe("own:Mine") == {}
    assert algorithms.OF_CRITIC <= set(kpg.trainers.PPOSettings.names())


@pytest.mark.parametrize("name", ["DQN", "", ":", "a:", ":b", "a b:c", "a:b:c", 3])
def test_what_cannot_be_a_name_is_refused(name: object) -> None:
    with pytest.raises(ValueError, match=r"must be one of PPO, .* Received: algorithm"):
        algorithms.check_name(name)


def test_settings_are_those_that_the_class_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kind = algorithms.find("PPO")
    assert {"gamma", "clip_range"} <= set(algorithms.settings_names(kind))

    class Settings:
        @classmethod
        def names(cls) -> list[str]:
            return ["flat", "names"]

    monkeypatch.setattr(kind, "settings_class", Settings)
    assert algorithms.settings_names(kind) == ["flat", "names"]


@pytest.mark.usefixtures("inside")
def test_a_variant_takes_the_settings_of_its_nearest_base(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend("")
    presets = Environments()
    for name, base in (("Steeper", "PPO"), ("NotRegistered", "ActorCritic")):
        variant = presets.load("CartPole-v1", f"own_algorithms:{name}")
        tuned = presets.load("CartPole-v1", base)
        assert variant.algorithm == f"own_algorithms:{name}"
        assert variant.trainer == tuned.trainer
        assert variant.total_steps == tuned.total_steps
    own = presets.load("CartPole-v1", "own_algorithms:Own")
    default = presets.load("CartPole-v1")
    assert own.total_steps == default.total_steps
    assert own.trainer == {
        key: default.trainer[key]
        for key in (
            *("gamma", "learning_rate_schedule"),
            *("normalize_advantages", "normalize_rewards"),
        )
    }


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("DQN", "or module:Name of a trainer of your own"),
        ("no_such_module:SPO", "No module named 'no_such_module'"),
        ("own_mistake:SPO", "No module named 'no_such_package'"),
        ("own_script:SPO", "SystemExit: 3"),
        ("own_algorithms:Steper", "Did you mean Steeper"),
        ("own_algorithms:number", "subclass of `kpg.trainers.Trainer`"),
        ("own_algorithms:FewSettings", "subclass of `kpg.trainers.Trainer`"),
        ("own_algorithms:Incomplete", "defines estimate and policy_loss"),
        ("kpg.trainers:Trainer", "defines estimate and policy_loss"),
    ],
)
def test_bad_algorithms_are_bad_usage(
    kpg_command: Kpg, inside: Path, name: str, words: str
) -> None:
    before = sorted(inside.iterdir())
    result = kpg_command("train", "CartPole-v1", *SMALL, "--algorithm", name)
    assert result.code == 2
    assert words in one_line(result)
    assert {path.name for path in inside.iterdir()} <= {
        *(path.name for path in before),
        "__pycache__",
    }


def test_one_s_own_algorithm_goes_the_whole_path(
    kpg_command: Kpg, inside: Path, steeper: Path
) -> None:
    name = "own_algorithms:Steeper"
    assert Run(steeper).settings()["preset"]["algorithm"] == name
    assert json.loads((steeper / "result.json").read_text())["algorithm"] == name
    assert type(algorithms.load(Run(steeper))).__name__ == "Steeper"
    for arguments in (
        ("evaluate", steeper, "--episodes", 2),
        ("export", steeper, "servable"),
        ("doctor", steeper),
    ):
        result = kpg_command(*arguments)
        assert result.code == 0, result.err


@pytest.mark.parametrize("command", ["evaluate", "export", "doctor"])
def test_elsewhere_the_module_is_asked_for(
    kpg_command: Kpg,
    steeper: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_algorithms")
    more = ["servable"] if command == "export" else []
    result = kpg_command(command, steeper, *more)
    assert result.code == 1
    words = one_line(result)
    assert "in the folder where it was trained" in words
    assert "No module named 'own_algorithms'" in words


def test_a_class_that_keras_does_not_know_is_loaded_too(
    kpg_command: Kpg, inside: Path, tmp_path: Path
) -> None:
    result = kpg_command(
        *("train", "CartPole-v1", "--algorithm", "own_algorithms:NotRegistered"),
        *("--num-envs", 2, "--total-steps", 64, "--set", "num_steps=16"),
        *("--set", "validation_episodes=2", "--set", "jit_compile=False"),
        *("--output", tmp_path / "run", "--json"),
    )
    assert result.code == 0, result.err
    assert result.values["algorithm"] == "own_algorithms:NotRegistered"


def test_text_tasks_take_them_too(inside: Path, steeper: Path) -> None:
    text = kind_of("text:letters").load("text:letters", "own_algorithms:Steeper")
    assert text.trainer == kind_of("text:letters").load("text:letters").trainer


@pytest.mark.usefixtures("inside")
def test_a_whole_last_model_beside_a_damaged_best_one_is_named(
    steeper: Path, tmp_path: Path
) -> None:
    run = Run(tmp_path)
    for name in ("settings.json", "best.keras", "last.keras"):
        (tmp_path / name).write_bytes((steeper / name).read_bytes())
    run.best_file.write_bytes(run.best_file.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"last\.keras.*is whole: remove best\.keras"):
        algorithms.load(run)
    assert algorithms.load(run, "last").env_steps == 256
    run.best_file.unlink()
    assert algorithms.load(run).env_steps == 256
