"""`kpg doctor` on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import pytest

from kpg.cli.main import main
from tests.command_line import Kpg, one_line
from tests.faulty_environments import NaNReward, Walk, trainer_for


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    """Two environments for the command line, by id."""
    gym.register("WalkForDoctor-v0", lambda **_: Walk())
    gym.register("NaNRewardForDoctor-v0", lambda **_: NaNReward())
    yield
    del gym.registry["WalkForDoctor-v0"], gym.registry["NaNRewardForDoctor-v0"]


def called(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Runs `kpg doctor` and returns the exit code and the output."""
    code = main(["doctor", *map(str, arguments)])
    captured = capfd.readouterr()
    return code, captured.out or captured.err


@pytest.mark.slow  # `test_a_run_that_is_healthy` is the fast one
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
    assert code == 1 and "no best.keras" in out


def test_a_run_that_is_healthy(kpg_command: Kpg, run_directory: Path) -> None:
    result = kpg_command("doctor", run_directory, "--json")
    assert result.code == 0, result.err
    values = result.values
    assert (values["env"], values["run"]) == ("CartPole-v1", str(run_directory))
    assert (values["healthy"], values["findings"]) == (True, [])


def test_a_saved_model(
    capfd: pytest.CaptureFixture[str], exported: Path, tmp_path: Path
) -> None:
    code, out = called(capfd, exported, "--json")
    values = json.loads(out)
    assert (code, values["healthy"], values["saved_model"]) == (1, False, str(exported))
    assert [finding["name"] for finding in values["findings"]] == ["no_serve_tag"]
    (tmp_path / "nothing").mkdir()
    code, out = called(capfd, tmp_path / "nothing")
    assert code == 1 and "must be a run, a SavedModel, or hold the versions" in out


def test_what_nobody_registered(kpg_command: Kpg) -> None:
    for id in ("Nothing-v0", "no_such_module:Nothing-v0"):
        result = kpg_command("doctor", id)
        assert result.code == 2
        assert id.rpartition(":")[0] in one_line(result)
