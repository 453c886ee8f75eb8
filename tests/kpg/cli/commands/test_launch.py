from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kpg.cli.commands import launch
from tests.command_line import Kpg, one_line, succeed

SHOW = """
import json, os, sys
config = json.loads(os.environ["TF_CONFIG"])
print(json.dumps([config, sys.argv[1:]]))
print("to the other stream", file=sys.stderr)
"""


def program(folder: Path, text: str) -> Path:
    path = folder / "program.py"
    path.write_text(text)
    return path


def test_each_worker_has_its_place_and_a_prefix(
    kpg_command: Kpg, tmp_path: Path
) -> None:
    path = program(tmp_path, SHOW)
    result = kpg_command("launch", "--workers", 2, path, "--json", "x")
    assert result.code == 0
    addresses = set()
    for index in (0, 1):
        prefix = f"[worker {index}] "
        own = [line for line in result.out.splitlines() if line.startswith(prefix)]
        assert f"{prefix}to the other stream" in own
        (said,) = [line for line in own if "cluster" in line]
        config, arguments = json.loads(said.removeprefix(prefix))
        assert arguments == ["--json", "x"]
        assert config["task"] == {"type": "worker", "index": index}
        addresses.add(tuple(config["cluster"]["worker"]))
    (hosts,) = addresses
    assert len({host.rpartition(":")[2] for host in hosts}) == 2


def test_lines_of_two_workers_stay_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Slow(io.StringIO):
        def write(self, text: str) -> int:
            time.sleep(0.001)
            return super().write(text)

    written = Slow()
    monkeypatch.setattr("sys.stdout", written)
    path = program(tmp_path, "for _ in range(50):\n    print('word', flush=True)")
    succeed("launch", "--workers", 2, path)
    lines = written.getvalue().splitlines()
    assert sorted(lines) == [
        f"[worker {index}] word" for index in (0, 1) for _ in range(50)
    ]


def test_all_end_when_one_fails(
    kpg_command: Kpg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_NOTICE", 0.2)
    text = 'import os, time\nif "\\"index\\": 1" in os.environ["TF_CONFIG"]: exit(3)\n'
    path = program(tmp_path, text + "time.sleep(60)")
    started = time.monotonic()
    assert kpg_command("launch", "--workers", 3, path).code == 3
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_all_of_them(number: int, tmp_path: Path) -> None:
    text = "import signal, sys, time\n"
    for name in ("SIGINT", "SIGTERM"):
        text += f"signal.signal(signal.{name}, lambda n, f: sys.exit(40 + n))\n"
    path = program(tmp_path, text + "print('ready')\ntime.sleep(60)")
    command = [sys.executable, "-m", "kpg", "launch", "--workers", "2", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert {process.stdout.readline() for _ in "01"} == {
            *("[worker 0] ready\n", "[worker 1] ready\n")
        }
        process.send_signal(number)
        assert process.wait(30) == 40 + number


@pytest.mark.parametrize("arguments", [(), ("evaluate", "runs/1"), ("--json",)])
def test_only_training_has_workers(
    arguments: tuple[str, ...], kpg_command: Kpg
) -> None:
    result = kpg_command("launch", "--workers", 2, *arguments)
    assert result.code == 2
    assert "kpg launch --workers 2 train ENV" in one_line(result)


def test_ports_are_free_and_different() -> None:
    assert len(set(launch.free_ports(9))) == 9
