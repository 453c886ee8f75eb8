from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.image
import numpy as np
import pytest

import kpg
from kpg.cli.commands import train
from kpg.cli.main import main
from kpg.cli.presets import load as load_preset
from kpg.cli.runs import Run

SMALL = [
    *("--num-envs", "4", "--total-steps", "1024", "--set", "num_steps=16"),
    *("--set", "minibatch_size=32", "--set", "num_epochs=2"),
    *("--set", "validation_episodes=10", "--set", "hidden_units=[8]"),
    *("--set", "steps_per_epoch=4", "--set", "jit_compile=False"),
]
TRAIN_KEYS = {
    *("env", "algorithm", "seed", "env_steps", "wall_seconds", "compile_seconds"),
    *("train_seconds", "steps_per_second", "return_mean", "solved", "run"),
}
MEASURE_KEYS = {"episodes", "return_mean", "return_std", "return_ci95", "length_mean"}


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def values(self) -> dict[str, Any]:
        """The JSON object on the last line of standard output."""
        values: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return values


Kpg = Callable[..., Result]


@pytest.fixture
def kpg_command(capfd: pytest.CaptureFixture[str]) -> Kpg:
    """Runs `kpg` in this process."""

    def run(*arguments: object) -> Result:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capfd.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="module")
def run_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a few iterations; tests must not change it."""
    directory = tmp_path_factory.mktemp("runs") / "small"
    assert main(["train", "CartPole-v1", *SMALL, "--output", str(directory)]) == 0
    return directory


@pytest.fixture(scope="module")
def servable(run_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That run's policy, exported; tests must not change it."""
    directory = tmp_path_factory.mktemp("servables") / "cart_pole"
    assert main(["export", str(run_directory), str(directory)]) == 0
    return directory


def one_line(result: Result) -> str:
    """The error, which must be a single line."""
    assert "Traceback" not in result.err
    lines = result.err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_train_says_what_it_did(
    kpg_command: Kpg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = kpg_command("train", "CartPole-v1", *SMALL, "--seed", 3, "--json")
    assert result.code == 0
    assert len(result.out.splitlines()) == 1
    values = result.values
    assert set(values) >= TRAIN_KEYS
    assert (values["env"], values["algorithm"], values["seed"]) == (
        "CartPole-v1",
        "PPO",
        3,
    )
    assert values["env_steps"] == 1024
    assert values["run"] == "runs/CartPole-v1/1"
    assert values["solved"] is (values["return_mean"] >= 475)
    assert values["steps_per_second"] == pytest.approx(1024 / values["train_seconds"])
    total = values["train_seconds"] + values["compile_seconds"]
    assert 0 < total < values["wall_seconds"]
    assert "1,024/1,024 steps" in result.err
    # The same seed again is the same training, in the next directory.
    again = kpg_command("train", "CartPole-v1", *SMALL, "--seed", 3)
    assert again.code == 0
    assert "Not solved: the official threshold is 475." in again.out
    curves = [
        [(logs["return"], logs["val_return"]) for logs in Run(path).metrics()]
        for path in ("runs/CartPole-v1/1", "runs/CartPole-v1/2")
    ]
    assert curves[0] == curves[1]


def test_train_leaves_a_run_directory(run_directory: Path) -> None:
    assert {path.name for path in run_directory.iterdir()} == {
        *("settings.json", "metrics.jsonl", "learning_curve.png"),
        *("best.keras", "last.keras", "result.json"),
    }
    settings = json.loads((run_directory / "settings.json").read_text())
    assert settings["env"] == "CartPole-v1"
    assert settings["seed"] == 0
    assert settings["preset"]["policy"] == {"hidden_units": [8]}
    assert settings["preset"]["trainer"]["num_steps"] == 16
    lines = (run_directory / "metrics.jsonl").read_text().splitlines()
    metrics = [json.loads(line) for line in lines]
    assert [logs["epoch"] for logs in metrics] == [1, 2, 3, 4]
    assert metrics[-1]["env_steps"] == 1024
    assert set(metrics[0]) >= {"loss", "approx_kl", "learning_rate", "val_return"}
    assert np.asarray(
        matplotlib.image.imread(run_directory / "learning_curve.png")
    ).size
    best = kpg.load(run_directory / "best.keras")
    assert best.get_config()["num_epochs"] == 2
    result = json.loads((run_directory / "result.json").read_text())
    assert result["run"] == str(run_directory)


@pytest.mark.parametrize("algorithm", ["ActorCritic", "REINFORCE"])
def test_train_with_another_algorithm(
    kpg_command: Kpg, tmp_path: Path, algorithm: str
) -> None:
    result = kpg_command(
        *("train", "CartPole-v1", "--algorithm", algorithm, "--num-envs", 2),
        *("--total-steps", 1024, "--set", "validation_episodes=2"),
        *("--set", "jit_compile=False", "--output", tmp_path / "run", "--json"),
    )
    assert result.code == 0, result.err
    assert result.values["algorithm"] == algorithm


def test_train_on_a_host_environment(kpg_command: Kpg, tmp_path: Path) -> None:
    result = kpg_command(
        *("train", "Blackjack-v1", "--num-envs", 2, "--total-steps", 128),
        *("--set", "num_steps=32", "--set", "num_epochs=1"),
        *("--set", "minibatch_size=32", "--set", "jit_compile=False"),
        *("--set", "validation_episodes=2", "--output", tmp_path / "run", "--json"),
    )
    assert result.code == 0, result.err
    assert result.values["env_steps"] == 128
    assert result.values["solved"] is None  # Blackjack has no threshold.


def test_evaluate(kpg_command: Kpg, run_directory: Path) -> None:
    arguments = ("evaluate", run_directory, "--episodes", 7, "--json", "--seed")
    first, same, other = (kpg_command(*arguments, seed) for seed in (5, 5, 6))
    assert first.code == same.code == other.code == 0
    assert set(first.values) >= MEASURE_KEYS
    assert first.values["episodes"] == 7
    assert first.values == same.values
    assert first.values != other.values
    text = kpg_command("evaluate", run_directory, "--episodes", 2)
    assert "over 2 episodes" in text.out


def test_export(kpg_command: Kpg, run_directory: Path, tmp_path: Path) -> None:
    first = kpg_command("export", run_directory, tmp_path / "model", "--json")
    assert first.code == 0
    assert first.values["version"] == 1
    assert Path(first.values["path"]) == tmp_path / "model" / "1"
    assert 0 <= first.values["parity_max_abs"] <= 1e-5
    assert {"serving_default", "sample"} <= set(first.values["signatures"])
    before = sorted(tmp_path.rglob("*"))
    taken = kpg_command("export", run_directory, tmp_path / "model", "--version", 1)
    assert taken.code == 1
    assert "version=1, which exists" in one_line(taken)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture
def served(servable: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server process and its address."""
    command = [sys.executable, "-m", "kpg", "serve", str(servable), "--port", "0"]
    with subprocess.Popen(
        [*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout and process.stderr
        try:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            yield process, json.loads(line)["address"]
        finally:
            process.kill()


def test_serve_and_play(
    kpg_command: Kpg, served: tuple[subprocess.Popen[str], str]
) -> None:
    process, address = served
    arguments = ("play", "CartPole-v1", "--server", address, "--episodes", 3, "--json")
    first, same = kpg_command(*arguments), kpg_command(*arguments)
    assert first.code == 0, first.err
    assert set(first.values) >= MEASURE_KEYS
    assert first.values["episodes"] == 3
    assert first.values["length_mean"] == first.values["return_mean"]
    assert first.values == same.values
    other = kpg_command(*arguments, "--model_name", "nobody")
    assert other.code == 1
    assert "nobody" in one_line(other)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    assert "Traceback" not in err


def test_play_survives_a_killed_server_with_one_line(
    kpg_command: Kpg, served: tuple[subprocess.Popen[str], str]
) -> None:
    process, address = served
    timer = threading.Timer(1.0, process.kill)
    timer.start()
    result = kpg_command(
        "play", "CartPole-v1", "--server", address, "--episodes", 10**6
    )
    timer.join()
    assert result.code == 1
    assert address in one_line(result)


def test_the_first_signal_stops_and_saves(kpg_command: Kpg, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    budget = ["--total-steps", "1e9", "--set", "steps_per_epoch=2"]
    command = [sys.executable, "-m", "kpg", "train", "CartPole-v1", *SMALL, *budget]
    with subprocess.Popen(
        [*command, "--output", str(directory), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + 120
        while not (directory / "best.keras").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT, err
    assert "stopping and saving" in err
    values = json.loads(out.splitlines()[-1])
    assert values["interrupted"] is True
    assert values["return_mean"] is None
    assert {path.name for path in directory.iterdir()} >= {"last.keras", "result.json"}
    assert kpg_command("evaluate", directory, "--episodes", 2).code == 0


def test_list(kpg_command: Kpg) -> None:
    values = kpg_command("list", "--json").values
    assert {"CartPole-v1", "MountainCar-v0"} <= set(values["presets"])
    assert {"CartPole-v1", "MountainCar-v0"} <= set(values["in_graph"])
    assert "MountainCar-v0" in kpg_command("list").out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["MountainCr-v0"], "MountainCar-v0"),
        (["CartPole-v1", "--set", "gama=0.9"], "gamma"),
        (["CartPole-v1", "--set", "gamma"], "key=value"),
        (["CartPole-v1", "--set", "gamma=1.5"], "gamma=1.5"),
        (["CartPole-v1", "--set", "clip_range=0"], "clip_range=0"),
        (["CartPole-v1", "--set", "num_steps=0"], "num_steps=0"),
        (["CartPole-v1", "--set", "minibatch_size=7"], "minibatch_size=7"),
        (["CartPole-v1", "--set", "num_envs=0"], "num_envs=0"),
        (["CartPole-v1", "--set", "algorithm=DQN"], "PPO"),
        (["CartPole-v1", "--total-steps", "100"], "total_steps=100"),
        (
            [
                *("CartPole-v1", "--algorithm", "REINFORCE", "--total-steps", "99999"),
                *("--set", "num_steps=9"),
            ],
            "max_episode_steps=500",
        ),
    ],
)
def test_train_refuses_bad_settings(
    kpg_command: Kpg,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = kpg_command("train", *arguments)
    assert result.code == 2
    assert words in one_line(result)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["train"],
        ["train", "CartPole-v1", "--algorithm", "DQN"],
        ["train", "CartPole-v1", "--seed", "-1"],
        ["train", "CartPole-v1", "--seed", "1.5"],
        ["train", "CartPole-v1", "--total-steps", "inf"],
        ["train", "CartPole-v1", "--num-envs", "nan"],
        ["evaluate", "run", "--episodes", "0"],
        ["play", "CartPole-v1"],
        ["play", "CartPole-v1", "--server", "localhost"],
        ["play", "CartPole-v1", "--server", "localhost:99999"],
        ["play", "CartPol-v1", "--server", "localhost:1"],
        ["serve", "directory", "--port", "-1"],
    ],
)
def test_bad_usage(kpg_command: Kpg, arguments: list[str]) -> None:
    result = kpg_command(*arguments)
    assert result.code == 2
    assert not result.out
    assert "Traceback" not in result.err


def test_an_existing_output_is_refused_untouched(
    kpg_command: Kpg, tmp_path: Path
) -> None:
    (tmp_path / "precious").write_text("kept")
    result = kpg_command("train", "CartPole-v1", *SMALL, "--output", tmp_path)
    assert result.code == 1
    assert "which exists" in one_line(result)
    assert (tmp_path / "precious").read_text() == "kept"


@pytest.mark.parametrize("command", ["evaluate", "export"])
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda run: (run / "settings.json").unlink(), "no settings.json"),
        (lambda run: (run / "settings.json").write_text('{"env": '), "damaged"),
        (lambda run: (run / "best.keras").write_bytes(b"PK\x03\x04"), "truncated"),
        (lambda run: os.truncate(run / "best.keras", 5000), "truncated"),
        (
            lambda run: [path.unlink() for path in run.glob("*.keras")],
            "neither best.keras nor last.keras",
        ),
    ],
)
def test_a_damaged_run_is_refused(
    kpg_command: Kpg,
    run_directory: Path,
    tmp_path: Path,
    command: str,
    damage: Callable[[Path], object],
    words: str,
) -> None:
    damaged = tmp_path / "run"
    damaged.mkdir()
    for path in run_directory.iterdir():
        (damaged / path.name).write_bytes(path.read_bytes())
    damage(damaged)
    more = [tmp_path / "model"] if command == "export" else []
    result = kpg_command(command, damaged, *more)
    assert result.code == 1
    assert words in one_line(result)
    assert not (tmp_path / "model").exists()


def test_what_is_no_run_is_refused(kpg_command: Kpg, tmp_path: Path) -> None:
    assert "no such directory" in one_line(kpg_command("evaluate", tmp_path / "none"))
    assert "no settings.json" in one_line(kpg_command("export", tmp_path, tmp_path))


def test_what_cannot_be_served_is_refused(
    kpg_command: Kpg, tmp_path: Path, servable: Path
) -> None:
    empty = kpg_command("serve", tmp_path, "--port", 0)
    assert empty.code == 1
    assert "kpg export" in one_line(empty)
    rest = kpg_command("serve", servable, "--port", 0, "--rest_api_port", 8501)
    assert rest.code == 1
    assert "rest_api_port=8501" in one_line(rest)


def test_a_busy_port_is_refused(kpg_command: Kpg, servable: Path) -> None:
    with kpg.export.Server(servable, port=0) as server:
        result = kpg_command("serve", servable, "--port", server.port)
    assert result.code == 1
    assert str(server.port) in one_line(result)


def test_nobody_to_play_against(kpg_command: Kpg) -> None:
    result = kpg_command("play", "CartPole-v1", "--server", "127.0.0.1:1")
    assert result.code == 1
    assert "127.0.0.1:1" in one_line(result)


def test_debug_shows_the_traceback(kpg_command: Kpg, tmp_path: Path) -> None:
    result = kpg_command("evaluate", tmp_path, "--debug")
    assert result.code == 1
    assert "Traceback" in result.err
    assert result.err.splitlines()[-1].startswith("kpg evaluate: ")


def test_unexpected_errors_are_one_line_too(
    kpg_command: Kpg, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("one\n  two")

    monkeypatch.setattr(train, "build", fail)
    result = kpg_command("train", "CartPole-v1", "--output", tmp_path / "run")
    assert result.code == 1
    assert one_line(result) == (
        "kpg train: ZeroDivisionError: one two (--debug shows the traceback)"
    )


def test_the_budget_is_never_exceeded() -> None:
    preset = load_preset("MountainCar-v0")
    plan = train.planned(preset, num_steps=64, in_graph=True)
    batch = preset.num_envs * 64
    assert plan.total_steps == plan.epochs * plan.steps_per_epoch * batch
    assert 0.97 * preset.total_steps < plan.total_steps <= preset.total_steps
    assert 50 <= plan.epochs <= 60
    assert plan.steps_per_execution == plan.steps_per_epoch
    assert train.planned(preset, num_steps=64, in_graph=False).steps_per_execution == 1


def test_one_seed_gives_different_seeds_to_all_parts() -> None:
    seeds = train.derived_seeds(0)
    assert len(set(seeds)) == len(seeds)
    assert seeds == train.derived_seeds(0)
    assert not set(seeds) & set(train.derived_seeds(1))
    assert all(0 <= seed < 2**31 for seed in seeds)
