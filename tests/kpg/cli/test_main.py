from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kpg.cli.commands import train
from tests.command_line import Kpg, one_line


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


def test_nobody_has_to_read_to_the_end() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "kpg", "list"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "moments"),
    # Without a library for games a film ends before the third.
    [(["play"], 3), (["film", "-o", "film.gif"], 2)],
)
def test_ctrl_c_is_a_line_whenever_it_comes(
    run_directory: Path, tmp_path: Path, command: list[str], moments: int
) -> None:
    name, *flags = command
    program = [sys.executable, "-m", "kpg", name, str(run_directory), *flags]
    # While NumPy loads, while TensorFlow does, and later.
    for library, seconds in [
        ("multiarray", 0.0),
        ("pywrap_tensorflow", 0.0),
        ("", 9.0),
    ][:moments]:
        with subprocess.Popen(
            [*program, "--episodes", "100000"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            while library not in Path(f"/proc/{process.pid}/maps").read_text():
                time.sleep(0.01)
            time.sleep(seconds)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
        assert len((out + err).splitlines()) == 1 and "nterrupted" in out + err
