"""Training under MultiWorkerMirroredStrategy, by two processes on this machine.

What they do is in `tests/worker_program.py`; a process takes seconds to begin.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.cli.commands.launch import free_ports
from kpg.cli.runs import Run
from tests import worker_program

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

Two: TypeAlias = Callable[[str], list[dict[str, Any]]]
WAITING = 600  # seconds, of a machine that has much else to do
LEARNING = 2400  # of two cores without XLA, and the same

ROOT = Path(__file__).parent.parent
CHECKS = [*(c.__name__ for c in worker_program.CHECKS if c.__name__ != "until_killed")]
PROGRAM = "tests/worker_program.py"


@contextlib.contextmanager
def launched(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Runs `kpg launch` with two workers, and kills it in the end."""
    command = [sys.executable, "-m", "kpg", "launch", "--workers", "2"]
    process = subprocess.Popen(
        [*command, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        yield process
    finally:
        process.terminate()  # which it passes on
        process.communicate()


def line_with(word: str, process: subprocess.Popen[str]) -> str:
    """Reads what the workers write up to a line with a word, which must come."""
    assert process.stdout is not None
    for line in process.stdout:
        if word in line:
            return line
    raise AssertionError(f"The workers must write {word!r} before they end.")


def said(output: str) -> list[dict[str, Any]]:
    """Returns the objects that both workers printed, the chief's first."""
    lines = [line for line in output.splitlines() if '{"check"' in line]
    pairs = [line.removeprefix("[worker ").split("] ", 1) for line in sorted(lines)]
    return [{"worker": int(number), **json.loads(text)} for number, text in pairs]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the workers leave checkpoints."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def two(folder: Path) -> Two:
    """Runs all checks in one pair of processes; returns what both said of one."""
    with launched(PROGRAM, folder, *CHECKS) as process:
        found = said(process.communicate(timeout=WAITING)[0])
    return lambda name: [own for own in found if own["check"] == name]


def assert_as_one_process(
    own: dict[str, Any], other: dict[str, Any], one: dict[str, Any]
) -> None:
    """Two workers are equal to the bit, and nearly so to two replicas of a process."""
    assert own["weights"] == other["weights"]
    assert repr(own["history"]) == repr(other["history"])
    for got, want in zip(own["weights"], one["weights"], strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
    assert own["history"].keys() == one["history"].keys()
    for key, want in one["history"].items():
        np.testing.assert_allclose(own["history"][key], want, rtol=1e-5, atol=1e-6)


def test_two_workers_are_as_two_replicas_of_one_process(two: Two) -> None:
    chief, other = two("like_one_process")
    one = worker_program.like_one_process(kpg.trainers.make_strategy("mirrored"))
    assert_as_one_process(chief, other, one)
    assert set(chief["history"]) > {"val_return", "loss"}


def test_rates_follow_updates_stop_and_masks_hold(two: Two) -> None:
    chief, other = two("adaptive_and_masked")
    one = worker_program.adaptive_and_masked(kpg.trainers.make_strategy("mirrored"))
    assert_as_one_process(chief, other, one)
    assert len(set(chief["history"]["learning_rate"])) > 1
    assert 6 <= chief["steps"] == other["steps"] == one["steps"] < 6 * 6


@pytest.mark.parametrize("place", ["graph", "host"])
def test_workers_go_on_with_new_episodes(two: Two, place: str, folder: Path) -> None:
    chief, other = (own[place] for own in two("resumes"))
    assert other["error"].startswith("Crash")
    assert chief["error"].startswith("RuntimeError: Worker 1 failed")
    assert chief["digest"] == other["digest"]
    for own in (chief, other):
        # `steps_per_execution="auto"` chooses how many iterations a call has.
        assert "checkpoint-1-" in own["from"] or "checkpoint-2-0" in own["from"]
        assert own["epochs"] == [0, 1, 2, 3]
        (text,) = own["told"]
        assert "New episodes begin: " in text
    words = "what CartPoleVectorEnv keeps inside is not known"
    if place == "graph":
        assert chief["env_steps"] == 4 * 2 * 4 * 4
        assert "each worker knows its own alone" in text
        words = "there are 1 replicas now, and there were 2"
    # One process alone goes on, too, and says so.
    alone, told = tf.distribute.get_strategy(), list[str]()
    trainer, env = worker_program.saved_training(alone, place == "host")
    watch = kpg.trainers.Checkpoint(folder / place, tell=told.append)
    how: dict[str, Any] = {"epochs": 5, "steps_per_epoch": 2, "verbose": 0}
    assert trainer.fit(env, callbacks=[watch], **how).epoch == [0, 1, 2, 3, 4]
    assert f"New episodes begin: {words}" in told[0]


def test_workers_of_different_speed_have_one_pace(two: Two) -> None:
    chief, other = two("paces")
    assert chief["digest"] == other["digest"]
    assert 5 < chief["calls"] == other["calls"] < 600


def test_host_environments_are_split(two: Two) -> None:
    chief, other = two("on_the_host")
    assert chief["digest"] == other["digest"]
    assert repr(chief["history"]) == repr(other["history"])
    for own in (chief, other):
        assert own["own"] == 2 and own["calls"][0] == 0
        assert 2 * own["calls"][1] >= own["env_steps"] / 2
    assert chief["state"] != other["state"]
    steps = 2 * 4 * 8 * 4  # but for those that only reset a copy
    assert steps * 0.8 < chief["env_steps"] <= steps
    assert sum(chief["history"]["episodes"]) > 2


def test_all_stop_where_one_stops(two: Two) -> None:
    chief, other = two("one_stops")
    assert chief["epochs"] == other["epochs"] == 2
    assert chief["digest"] == other["digest"]


def test_texts_are_split(two: Two) -> None:
    chief, other = two("texts")
    assert chief["digest"] == other["digest"]
    assert chief["episodes"] == other["episodes"] == [3 * 8]


def test_what_fails_on_one_is_told_by_all(two: Two) -> None:
    chief, other = two("one_fails")
    assert other["error"] == "OverflowError: the arm is broken"
    assert chief["error"].startswith("RuntimeError: Worker 1 failed")
    assert chief["error"].endswith(f"Received: {other['error']}")


def test_a_stuck_worker_is_not_waited_for(two: Two) -> None:
    chief, _ = two("one_is_stuck")
    limit = worker_program.LIMIT
    assert chief["error"].startswith(f"The other workers did not come within {limit}")
    assert limit <= chief["seconds"] < limit + 10.0


def test_the_program_of_the_page_runs(tmp_path: Path) -> None:
    page = (ROOT / "docs/scaling.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    path = tmp_path / "program.py"
    path.write_text(text.replace("cart_pole.keras", str(tmp_path / "saved.keras")))
    with launched(path) as process:
        output = process.communicate(timeout=WAITING)[0]
    assert process.returncode == 0 and "[worker 0] Epoch 2/2" in output
    assert "[worker 1] Epoch" not in output
    assert kpg.load(tmp_path / "saved.keras").env_steps == 2 * 2 * 8 * 32


def children_of(process: subprocess.Popen[str]) -> list[int]:
    """Returns the processes of the workers, in order."""
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return sorted(map(int, path.read_text().split()))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_is_killed_or_stopped_ends_the_other(
    number: int, tmp_path: Path
) -> None:
    with launched(PROGRAM, tmp_path, "until_killed") as process:
        line_with("epoch 3", process)
        _, other = children_of(process)
        os.kill(other, number)
        started = time.monotonic()
        line = line_with('{"check"', process)
        seconds = time.monotonic() - started
        if number == signal.SIGSTOP:
            os.kill(other, signal.SIGKILL)
    (chief,) = said(line)
    print(f"{signal.Signals(number).name} was noticed after {seconds:.1f} s")
    assert chief["error"].startswith("Worker 1 ended, was stopped or cannot be reached")
    assert seconds < 40


@pytest.mark.parametrize("index", [0, 1])
def test_a_worker_that_never_comes_is_not_waited_for(index: int) -> None:
    """While they connect, TensorFlow lets no other thread of Python run."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    config = {"cluster": cluster, "task": {"type": "worker", "index": index}}
    command = [sys.executable, "-m", "kpg", "train", "CartPole-v1"]
    flags = ["--strategy", "multiworker", "--worker-deadline", "3"]
    ended = subprocess.run(
        [*command, *flags],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CONFIG": json.dumps(config)},
        timeout=WAITING,
    )
    assert ended.returncode == 1
    assert "The other workers did not come within 3 seconds" in ended.stderr


@pytest.mark.timeout(LEARNING + WAITING)
def test_kpg_train_learns_with_workers(tmp_path: Path) -> None:
    """CartPole to 475, written by the chief alone."""
    run = tmp_path / "run"
    enough = ("--total-steps", 60_000, "--output", run, "--json")
    with launched("train", "CartPole-v1", *enough) as process:
        lines = process.communicate(timeout=LEARNING)[0].splitlines()
    assert process.returncode == 0
    results = [line for line in lines if line.endswith("}") and '"env_steps"' in line]
    chief, other = (json.loads(line.split("] ", 1)[1]) for line in sorted(results))
    assert chief["solved"] and chief["return_mean"] >= 475
    assert chief["env_steps"] == other["env_steps"] and "run" not in other
    epochs = [logs["epoch"] for logs in Run(run).metrics()]
    assert epochs == [*range(1, len(epochs) + 1)]


def test_kpg_train_stops_and_goes_on_with_workers(tmp_path: Path) -> None:
    """A signal that reaches all of them ends the run, twice."""
    cut = tmp_path / "cut"
    longer = ("--total-steps", "1e8", "--set", "steps_per_epoch=2", "--output", cut)
    steps = [0]
    for words in (("CartPole-v1", *longer), ("--resume", cut)):
        with launched("train", *words) as process:
            if steps[-1]:
                line_with("Going on from", process)
            line_with("validation", process)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=WAITING)
        assert process.returncode == 128 + signal.SIGTERM
        steps.append(kpg.load(cut / "last.keras").env_steps)
    assert steps == sorted({*steps})
    epochs = [logs["epoch"] for logs in Run(cut).metrics()]
    assert epochs == [*range(1, len(epochs) + 1)]
