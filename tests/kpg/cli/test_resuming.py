"""`kpg train --resume`: a run that broke off ends as if it had not."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kpg
from kpg import files
from kpg.cli import resuming
from kpg.cli.command_result import UsageError
from kpg.cli.runs import Run
from tests.command_line import SMALL, Kpg, one_line
from tests.fragments import values_of

OFTEN = ["--checkpoint-minutes", "1e-9"]


def outcome(directory: Path) -> tuple[Any, ...]:
    """Returns what a run has led to, but for times and its own name."""
    run = Run(directory)
    timed = {"steps_per_second", "wall_seconds", "compile_seconds", "train_seconds"}
    logs = [*run.metrics(), run.result()]
    kept = [{k: v for k, v in row.items() if k not in timed | {"run"}} for row in logs]
    models = [kpg.load(path) for path in (run.best_file, run.last_file)]
    return kept, [
        values_of([*own.variables, *own.optimizer.variables]) for own in models
    ]


def break_off(run: Path, monkeypatch: pytest.MonkeyPatch, command: Kpg) -> None:
    """Trains as `run_directory` was, until the disk is full in the third epoch."""
    append, calls = Run.append_metrics, iter([0, 0])

    def full(self: Any, logs: Any) -> None:
        if next(calls, None) is None:
            with self.metrics_file.open("a") as file:
                file.write('{"epoch": 3, "val_re')
            raise OSError(28, "No space left on device")
        append(self, logs)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "append_metrics", full)
        result = command("train", "CartPole-v1", *SMALL, *OFTEN, "--output", run)
    assert result.code == 1 and "No space left" in result.err


def test_a_run_that_broke_off_ends_as_if_it_had_not(
    kpg_command: Kpg,
    run_directory: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = tmp_path / "runs" / "CartPole-v1" / "1"
    break_off(run, monkeypatch, kpg_command)
    assert len(Run(run).metrics()) == 2  # and a half line
    monkeypatch.chdir(tmp_path)
    result = kpg_command("train", "--resume", *OFTEN, "--json")
    assert result.code == 0, result.err
    assert "Going on from runs/CartPole-v1/1/checkpoints/checkpoint-2-4" in result.err
    left, right = outcome(run), outcome(run_directory)
    assert left[0] == right[0]
    for own, other in zip(left[1], right[1], strict=True):
        for one, two in zip(own, other, strict=True):
            np.testing.assert_array_equal(one, two)
    assert {*os.listdir(run)} == {*os.listdir(run_directory)}
    again = kpg_command("train", "--resume", run)
    assert again.code == 1 and "has finished" in one_line(again)


SAVED: dict[str, Any] = {
    "env": "CartPole-v1",
    "seed": 3,
    "versions": {"kpg": "0.0.1"},
    "preset": {
        **{"env": "CartPole-v1", "algorithm": "PPO", "num_envs": 4},
        **{"total_steps": 64, "learning_rate": 0.1, "policy": {}, "task": {}},
        "trainer": {"gamma": 0.9},
    },
}


@pytest.fixture
def begun(tmp_path: Path) -> Run:
    """A run that has been killed before there was anything to keep."""
    run = Run(tmp_path / "runs" / "CartPole-v1" / "1")
    run.directory.mkdir(parents=True)
    run.settings_file.write_text(json.dumps(SAVED))
    return run


def test_a_run_has_its_own_settings(begun: Run) -> None:
    given = {"seed": 3, "gamma": 0.9, "num_envs": 4, "algorithm": "PPO"}
    chosen = resuming.preset_of(begun, given)
    assert chosen.trainer == {"gamma": 0.9} and chosen.total_steps == 64
    for name, value in (("seed", 4), ("gamma", 0.8), ("num_envs", 5), ("lr", 0.1)):
        with pytest.raises(UsageError, match=rf"own settings.*{name}={value}, but the"):
            resuming.preset_of(begun, {**given, name: value})


def test_settings_of_an_unknown_version_are_refused(begun: Run) -> None:
    strange = {**SAVED, "preset": {**SAVED["preset"], "quantum": True}}
    begun.settings_file.write_text(json.dumps(strange))
    with pytest.raises(ValueError, match=r"of kpg 0\.0\.1, and this is.*quantum"):
        resuming.preset_of(begun, {})


def test_the_newest_run_is_found(
    begun: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    others = [Run(f"runs/{name}") for name in ("CartPole-v1/2", "Acrobot-v1/1")]
    for place, other in enumerate(others):
        shutil.copytree(begun.directory, other.directory)
        env = str(other.directory.parent.name)
        other.settings_file.write_text(json.dumps({**SAVED, "env": env}))
        os.utime(other.settings_file, (place, place))
    os.utime(begun.settings_file, (5, 5))
    assert resuming.find("").directory == Path("runs/CartPole-v1/1")
    assert resuming.find("", "Acrobot-v1").directory == Path("runs/Acrobot-v1/1")
    others[0].checkpoints.mkdir()
    (others[0].checkpoints / "checkpoint-1-0.keras").touch()
    assert resuming.find("").directory == Path("runs/CartPole-v1/2")
    with pytest.raises(ValueError, match=r"no run to go on with.*nothing in runs/"):
        resuming.find("", "Pendulum-v1")


def test_runs_that_cannot_go_on_are_refused(begun: Run) -> None:
    directory = str(begun.directory)
    assert resuming.find(directory).directory == begun.directory
    with pytest.raises(UsageError, match="Acrobot-v1, but .* is of CartPole-v1"):
        resuming.find(directory, "Acrobot-v1")
    begun.append_metrics({"epoch": 1})
    with pytest.raises(ValueError, match=r"no checkpoints.*which kpg 0\.0\.1 wrote"):
        resuming.find(directory)
    begun.checkpoints.mkdir()
    resuming.find(directory)
    begun.result_file.write_text('{"interrupted": true}')
    resuming.find(directory)
    begun.result_file.write_text('{"interrupted": false}')
    with pytest.raises(ValueError, match="has finished"):
        resuming.find(directory)
    with pytest.raises(ValueError, match="no such directory"):
        resuming.find(f"{directory}0")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train"], "kpg train --resume"),
        (["train", "--resume", "RUN", "--output", "x"], "leave --output out"),
        (["train", "--resume", "RUN", "--seed", "4"], "seed=4, but the run has 3"),
        (["train", "--resume", "RUN", "--set", "gamma=0.5"], "gamma=0.5, but the run"),
        (["train", "Acrobot-v1", "--resume", "RUN"], "leave ENV out"),
    ],
)
def test_other_settings_are_refused(
    kpg_command: Kpg, begun: Run, arguments: list[str], words: str
) -> None:
    given = [str(begun.directory) if own == "RUN" else own for own in arguments]
    result = kpg_command(*given)
    assert result.code == 2
    assert words in one_line(result)
    assert os.listdir(begun.directory) == ["settings.json"]


def test_two_trainings_do_not_share_a_run(kpg_command: Kpg, begun: Run) -> None:
    with files.locked(begun.checkpoints / ".lock"):
        begun.append_metrics({"epoch": 1})
        settings = {**SAVED["preset"], "total_steps": 512}
        settings |= {"trainer": {"num_steps": 8, "minibatch_size": 32}}
        settings |= {"policy": {"hidden_units": [4]}, "jit_compile": False}
        begun.settings_file.write_text(json.dumps({**SAVED, "preset": settings}))
        result = kpg_command("train", "--resume", begun.directory)
    assert result.code == 1
    assert "another one is running" in result.err
    assert begun.metrics() == [{"epoch": 1}]
