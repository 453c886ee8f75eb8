from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

import kpg
from kpg.cli.commands import train
from kpg.cli.kind import kind_of
from kpg.cli.runs import Run
from kpg.trainers.running import checkpoints
from tests.command_line import SMALL, Kpg, Result, one_line

TRAIN_KEYS = {
    *("env", "algorithm", "seed", "env_steps", "wall_seconds", "compile_seconds"),
    *("train_seconds", "steps_per_second", "return_mean", "solved", "run"),
}


def test_a_board_needs_its_package(
    kpg_command: Kpg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    result = kpg_command("train", "CartPole-v1", "--tensorboard")
    assert result.code == 1 and 'pip install "kpg[tensorboard]"' in one_line(result)
    assert not list(tmp_path.iterdir())


def test_train_says_what_it_did(trained: tuple[Path, Result]) -> None:
    directory, result = trained
    assert len(result.out.splitlines()) == 1
    values = result.values
    assert set(values) >= TRAIN_KEYS
    assert (values["env"], values["algorithm"], values["seed"]) == (
        "CartPole-v1",
        "PPO",
        0,
    )
    assert values["env_steps"] == 1024
    assert values["run"] == "runs/CartPole-v1/2"  # the next that is free
    assert directory.is_dir()
    assert values["solved"] is (values["return_mean"] >= 475)
    assert values["steps_per_second"] == pytest.approx(1024 / values["train_seconds"])
    total = values["train_seconds"] + values["compile_seconds"]
    assert 0 < total < values["wall_seconds"]
    assert "1,024/1,024 steps" in result.err


def test_the_same_seed_again_is_the_same_training(
    kpg_command: Kpg, run_directory: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    command = ("train", "CartPole-v1", *SMALL, "--seed", 0, "--output", again)
    assert kpg_command(*command).code == 0
    first, second = (
        [(logs["return"], logs["val_return"]) for logs in Run(path).metrics()]
        for path in (run_directory, again)
    )
    assert first == second


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
    assert run_directory.parts[-3:] == Path(result["run"]).parts


@pytest.mark.parametrize(
    "algorithm",
    [
        # `test_algorithms.py` trains with one's own algorithm, by the same way.
        pytest.param("ActorCritic", marks=pytest.mark.slow),
        pytest.param("REINFORCE", marks=pytest.mark.slow),
    ],
)
def test_train_with_another_algorithm(
    kpg_command: Kpg, tmp_path: Path, algorithm: str
) -> None:
    result = kpg_command(
        *("train", "CartPole-v1", "--algorithm", algorithm, "--num-envs", 2),
        *("--total-steps", 1024, "--set", "validation_episodes=2"),
        *("--set", "jit_compile=False", "--output", tmp_path / "run", "--seed", 3),
    )
    assert result.code == 0, result.err
    assert "Not solved: the official threshold is 475." in result.out
    values = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (values["algorithm"], values["seed"]) == (algorithm, 3)


@pytest.mark.usefixtures("one_by_one")
def test_train_on_a_host_environment(kpg_command: Kpg, tmp_path: Path) -> None:
    board = tmp_path / "board"
    result = kpg_command(
        *("train", "Blackjack-v1", "--num-envs", 2, "--total-steps", 128),
        *("--set", "num_steps=32", "--set", "num_epochs=1"),
        *("--set", "minibatch_size=32", "--set", "jit_compile=False"),
        *("--set", "validation_episodes=2", "--output", tmp_path / "run", "--json"),
        *("--tensorboard", board),
    )
    assert result.code == 0, result.err
    for part in ("train", "validation"):
        assert list((board / part).glob("events.*")), part
    # Half the rows of an iteration only begin new games, which cost nothing.
    assert 128 - 2 * 32 < result.values["env_steps"] <= 128
    assert result.values["solved"] is None  # Blackjack has no threshold.


@pytest.mark.slow
def test_the_settings_of_a_run_train_another_one_like_it(
    kpg_command: Kpg, run_directory: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    flags = ("--config", run_directory / "settings.json", "--output", again)
    assert kpg_command("train", "CartPole-v1", *flags).code == 0
    curves = [
        [(logs["return"], logs["val_return"]) for logs in Run(path).metrics()]
        for path in (run_directory, again)
    ]
    assert curves[0] == curves[1]


@pytest.mark.slow
@pytest.mark.parametrize("env", ["CartPole-v1", "tests.painted:Painted-v0"])
def test_several_seeds_are_several_runs(
    kpg_command: Kpg, tmp_path: Path, env: str
) -> None:
    flags, parent = (*SMALL, "--json", "--output"), tmp_path / "many"
    many = kpg_command("train", env, "--seeds", 2, "--seed", 4, *flags, parent)
    assert many.code == 0, many.err
    assert many.values["seeds"] == 2
    assert many.values["runs"] == [str(parent / "4"), str(parent / "5")]
    alone = tmp_path / "alone"
    assert kpg_command("train", env, "--seed", 5, *flags, alone).code == 0
    logs = [Run(path).metrics() for path in (parent / "5", alone)]
    for log in (*logs[0], *logs[1]):
        del log["steps_per_second"]
    assert logs[0] == logs[1]
    results = [Run(path).result() for path in (parent / "5", alone)]
    assert results[0]["return_mean"] == results[1]["return_mean"]


def test_several_seeds_begin_anew_on_one_device(kpg_command: Kpg) -> None:
    for flags in (("--resume",), ("CartPole-v1", "--strategy", "mirrored")):
        result = kpg_command("train", *flags, "--seeds", 2)
        assert result.code in (1, 2) and one_line(result)
    assert "--seeds 2" in one_line(result)


def test_a_configuration_of_something_else_is_refused(
    kpg_command: Kpg, run_directory: Path, tmp_path: Path
) -> None:
    config = tmp_path / "config.json"
    for text, env, words in (
        (
            (run_directory / "settings.json").read_text(),
            "Pendulum-v1",
            "of CartPole-v1",
        ),
        ('{"gama": 0.9}', "CartPole-v1", "mean gamma"),
        ("{", "CartPole-v1", "JSON or YAML file of settings"),
    ):
        config.write_text(text)
        result = kpg_command(
            "train", env, "--config", config, "--output", tmp_path / "r"
        )
        assert result.code == 2 and words in one_line(result)
    assert not (tmp_path / "r").exists()


@pytest.mark.slow  # `test_recording.py` has the fast one, in one process
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_stops_and_saves(
    kpg_command: Kpg, tmp_path: Path, number: signal.Signals
) -> None:
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
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert "stopping and saving" in err
    values = json.loads(out.splitlines()[-1])
    assert values["interrupted"] is True
    assert values["return_mean"] is None
    assert {path.name for path in directory.iterdir()} >= {"last.keras", "result.json"}
    saved = checkpoints.youngest(directory / "checkpoints")
    assert saved is not None
    iterations = int(kpg.load(directory / "last.keras").iteration)
    assert 2 * saved.state["fit"]["epoch"] + saved.state["fit"]["step"] == iterations
    assert kpg_command("evaluate", directory, "--episodes", 2).code == 0


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


def test_what_is_misspelt_is_told_before_tensorflow_loads(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("learning_rate: 3e-4\ntrainer:\n  gama: 0.9\n")
    lines = {
        "--set gama=0.9": "Did you mean gamma?",
        "--set num_steps=many": "`num_steps` must be a whole number.",
        f"--config {config}": "Did you mean gamma?",
        "--gama 0.9": "Did you mean --gamma?",
        "--algorithm ActorCritic --baseline critic": "no setting 'baseline'",
        "--algorithm DQN": "PPO, ActorCritic, REINFORCE",
    }
    code = (
        "import sys\nfrom kpg.cli.main import main\n"
        "for line in sys.argv[1:]:\n"
        "    try: code = main(['train', 'CartPole-v1', *line.split()])\n"
        "    except SystemExit as end: code = end.code\n"
        "    print(code, 'tensorflow' in sys.modules)\n"
    )
    command = [sys.executable, "-c", code, *lines]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["2 False"] * len(lines)
    told = done.stderr.splitlines()
    for words, line in zip(lines.values(), told, strict=True):
        assert words in line


def test_an_existing_output_is_refused_untouched(
    kpg_command: Kpg, tmp_path: Path
) -> None:
    (tmp_path / "precious").write_text("kept")
    result = kpg_command("train", "CartPole-v1", *SMALL, "--output", tmp_path)
    assert result.code == 1
    assert "which exists" in one_line(result)
    assert (tmp_path / "precious").read_text() == "kept"


def test_the_budget_is_never_exceeded() -> None:
    preset = kind_of("MountainCar-v0").load("MountainCar-v0")
    plan = train.planned(preset, num_steps=64, in_graph=True)
    batch = preset.num_envs * 64
    assert plan.total_steps == plan.epochs * plan.steps_per_epoch * batch
    assert 0.97 * preset.total_steps < plan.total_steps <= preset.total_steps
    assert 50 <= plan.epochs <= 60
    assert plan.steps_per_execution == plan.steps_per_epoch
    assert train.planned(preset, num_steps=64, in_graph=False).steps_per_execution == 1


def test_a_run_is_not_trained_again(kpg_command: Kpg, unfinished_run: Path) -> None:
    result = kpg_command("train", unfinished_run)
    assert result.code == 2
    message = one_line(result)
    assert "takes the id of an environment" in message
    assert "Did you mean" not in message


def test_workers_need_to_know_each_other(
    kpg_command: Kpg, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = kpg_command("train", "CartPole-v1", "--strategy", "multiworker")
    assert result.code == 2
    assert "kpg launch --workers 2 train" in one_line(result)
    cluster = {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster}))
    result = kpg_command("train", "CartPole-v1")
    assert result.code == 2
    assert "each of which would train by itself" in one_line(result)


@pytest.mark.slow
def test_train_runs_on_all_devices(kpg_command: Kpg, tmp_path: Path) -> None:
    place = ("--strategy", "mirrored", "--output", tmp_path / "run")
    small = [word for word in SMALL if word not in ("--set", "jit_compile=False")]
    settings = [("--set", word) for word in small if "=" in word]
    numbers = small[:4]
    result = kpg_command(
        "train", "CartPole-v1", *numbers, *sum(settings, ()), *place, "--json"
    )
    assert result.code == 0 and result.values["env_steps"] == 1024
    assert kpg.load(tmp_path / "run/best.keras").env_steps <= 1024
