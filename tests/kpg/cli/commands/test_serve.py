from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import kpg
from tests.command_line import MEASURE_KEYS, Kpg, one_line


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


def test_play_survives_the_end_of_its_server_with_one_line(
    kpg_command: Kpg, servable: Path
) -> None:
    server = kpg.export.Server(servable, port=0)
    address = server.address
    timer = threading.Timer(0.5, server.stop)
    timer.start()
    result = kpg_command(
        "play", "CartPole-v1", "--server", address, "--episodes", 10**6
    )
    timer.join()
    assert result.code == 1
    assert address in one_line(result)


def test_what_cannot_be_served_is_refused(
    kpg_command: Kpg, tmp_path: Path, servable: Path
) -> None:
    empty = kpg_command("serve", tmp_path, "--port", 0)
    assert empty.code == 1
    assert "kpg export" in one_line(empty)
    same = kpg_command("serve", servable, "--port", 8501, "--rest_api_port", 8501)
    assert same.code == 2
    assert "rest_api_port=8501" in one_line(same)
    nothing = kpg_command("serve")
    assert nothing.code == 2
    assert "--model_base_path" in one_line(nothing)
    (tmp_path / "models").write_text("improperly formatted file")
    wrong = kpg_command("serve", f"--model_config_file={tmp_path / 'models'}")
    assert wrong.code == 1
    assert "Error parsing text-format tensorflow.serving.Model" in one_line(wrong)


def test_the_real_server_is_started_with_the_same_flags(
    kpg_command: Kpg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ("--engine", "tensorflow_model_server")
    monkeypatch.setenv("PATH", str(tmp_path))
    missing = kpg_command("serve", "m", *engine)
    assert missing.code == 2 and "no tensorflow_model_server" in one_line(missing)
    program = tmp_path / "tensorflow_model_server"
    program.write_text('#!/bin/sh\nprintf "%s\n" "$@" > "$0.flags"\n')
    program.chmod(0o755)
    own = kpg_command("serve", "m", *engine, "--host=0.0.0.0")
    assert own.code == 2 and "--host" in one_line(own)
    flags = ["--rest_api_port=8501", "--enable_batching=true"]
    command = [sys.executable, "-m", "kpg", "serve", str(tmp_path), *engine, *flags]
    assert subprocess.run(command, timeout=60).returncode == 0
    got = (tmp_path / "tensorflow_model_server.flags").read_text().split()
    assert got == [*flags, f"--model_base_path={tmp_path}"]


def test_a_busy_port_is_refused(kpg_command: Kpg, servable: Path) -> None:
    with kpg.export.Server(servable, port=0) as server:
        result = kpg_command("serve", servable, "--port", server.port)
    assert result.code == 1
    assert str(server.port) in one_line(result)


def test_a_run_is_exported_first(kpg_command: Kpg, unfinished_run: Path) -> None:
    result = kpg_command("serve", unfinished_run)
    assert result.code == 2
    servable = Path("servables", "CartPole-v1")
    assert f"`kpg export {unfinished_run} {servable}`" in one_line(result)
    assert f"`kpg serve {servable}`" in one_line(result)
