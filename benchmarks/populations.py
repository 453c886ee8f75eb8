"""Measures many seeds and settings of CartPole-v1 against one training, and rejax.

    python benchmarks/populations.py --peers .venv-peers

Each row is a process of its own from start to end, and rows take turns. A cell is the
median over the rounds. `kpg train` also validates, saves and draws; the other rows only
train, on the same settings, for the same number of steps. kpg has one thread, as is
recommended for networks of this size; rejax is as fast with one as with two.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from installations import python_of
from page import table

HERE = Path(__file__).resolve().parent
TRAIN = ("-m", "kpg", "train", "CartPole-v1", "--output", "run")


def main() -> None:
    """Does what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peers", type=Path, default=HERE.parent / ".venv-peers")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rejax = str(python_of("rejax", options.peers))
    peers = HERE / "peers"
    members = str(peers / "run_kpg_population.py")
    commands = {
        "kpg train CartPole-v1": (sys.executable, *TRAIN),
        "kpg train CartPole-v1 --seeds 10": (sys.executable, *TRAIN, "--seeds", "10"),
        "kpg, 10 seeds": (sys.executable, members, "10", "seeds"),
        "kpg, 64 settings": (sys.executable, members, "64", "settings"),
        "rejax, `vmap` of 10 seeds": (rejax, str(peers / "run_rejax_population.py")),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(options.rounds):
        for name, command in commands.items():
            found[name].append(measured(command))
    first, *_ = (statistics.median(cpu for cpu, _ in own) for own in found.values())
    rows = []
    for name, own in found.items():
        cpu, wall = (statistics.median(column) for column in zip(*own, strict=True))
        rows.append([name, f"{cpu:.1f}", f"{wall:.1f}", f"{cpu / first:.2f}"])
    print("\n".join(table("process|CPU, s|wall, s|CPU of one `kpg train`", rows)))


def measured(command: Sequence[str]) -> tuple[float, float]:
    """Returns the seconds of CPU and of the clock that a process takes."""
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(HERE.parent)}
    off = {"KPG_CACHE_DIR": ""}  # each compiles for itself
    one = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    before, started = os.times(), time.perf_counter()
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(
            command,
            check=True,
            cwd=directory,
            env={**os.environ, **quiet, **off, **one},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    after = os.times()
    cpu = after.children_user + after.children_system
    cpu -= before.children_user + before.children_system
    return cpu, time.perf_counter() - started


if __name__ == "__main__":
    main()
