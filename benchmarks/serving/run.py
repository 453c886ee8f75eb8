"""`kpg serve` beside the obvious server and an empty handler, in one run.

    python benchmarks/serving/run.py
    python benchmarks/serving/run.py --rounds 9 --seconds 3

All servers wait while one of them is asked; they take turns, and a ratio is that of two
measurements of one round. Printed are the medians over the rounds.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from load import measure

from kpg.export.client import protocol
from kpg.export.wire import tensors

HERE = Path(__file__).resolve().parent
CLIENTS = 16
OBVIOUS, EMPTY = "the obvious server", "an empty handler"
PLAIN, BATCHING = "`kpg serve`", "`kpg serve --enable_batching`"
SERVERS = {
    "small": [OBVIOUS, EMPTY, PLAIN, BATCHING],
    "large": [OBVIOUS, PLAIN, BATCHING],
}


class Bar(NamedTuple):
    """What one server's figure should be in another one's."""

    words: str
    model: str
    figure: str
    server: str
    base: str
    wanted: float
    is_less: bool = False


BARS = (
    Bar("p50, 1 client", "small", "p50", PLAIN, OBVIOUS, 0.45, True),
    Bar("16 clients", "small", "per_second", PLAIN, OBVIOUS, 2.7),
    Bar("16 clients", "small", "per_second", PLAIN, EMPTY, 0.7),
    Bar("16 clients, 8.4 M parameters", "large", "per_second", BATCHING, OBVIOUS, 4.0),
)


class Figures(NamedTuple):
    """What one round has measured of one server."""

    p50: float  # seconds, with 1 client
    p99: float
    per_second: float  # with 16 clients
    crowded_p50: float
    crowded_p99: float
    cpu: float  # seconds of the server's for a request, with 16 clients


class Process:
    """A server in a process of its own."""

    def __init__(self, name: str, directory: Path) -> None:
        if name in (OBVIOUS, EMPTY):
            command = [str(HERE / "obvious.py"), str(directory / "1")]
            command += ["--empty"] if name == EMPTY else []
        else:
            command = ["-m", "kpg", "serve", str(directory), "--port=0"]
            command += ["--enable_batching"] if name == BATCHING else []
        self._process = subprocess.Popen(
            [sys.executable, *command], stdout=subprocess.PIPE, text=True
        )
        line = self._process.stdout.readline()
        where = [word for word in line.replace("(gRPC)", "").split() if word][-1]
        self._port = int(where.rpartition(":")[2])

    def figures(self, message: bytes, seconds: float) -> Figures:
        """Asks it, with one client and with many."""
        alone = measure(self._port, message, 1, seconds)
        before = self._cpu()
        crowd = measure(self._port, message, CLIENTS, seconds)
        cpu = (self._cpu() - before) / crowd.asked
        return Figures(alone.p50, alone.p99, *crowd[:3], cpu)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def _cpu(self) -> float:
        stat = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2]
        ticks = sum(int(word) for word in stat.split()[11:13])
        return ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measures all of it and prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--model", choices=SERVERS, help="only this one")
    options = parser.parse_args()
    print(f"{cores()}; {options.rounds} rounds of {options.seconds:g} seconds")
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run([sys.executable, str(HERE / "models.py"), directory], check=True)
        for model in SERVERS if options.model is None else [options.model]:
            found = rounds(
                Path(directory) / model, SERVERS[model], options.rounds, options.seconds
            )
            print(f"\n{table(found)}\n\n{bars(model, found)}", flush=True)


def cores() -> str:
    """Returns the processor, by its name, and how many cores this process may use."""
    info = Path("/proc/cpuinfo").read_text()
    names = [line for line in info.splitlines() if line.startswith("model name")]
    name = names[0].partition(":")[2].strip() if names else platform.processor()
    version = platform.python_version()
    return f"{len(os.sched_getaffinity(0))} cores of {name}, Python {version}"


def rounds(
    directory: Path, servers: list[str], number: int, seconds: float
) -> dict[str, list[Figures]]:
    """Measures servers in turn; returns the figures of each round."""
    message = request(directory.name)
    running = {name: Process(name, directory) for name in servers}
    found: dict[str, list[Figures]] = {name: [] for name in servers}
    try:
        for server in running.values():  # whatever is made once is made now
            server.figures(message, 0.5)
        for _ in range(number):
            for name, server in running.items():
                found[name].append(server.figures(message, seconds))
    finally:
        for server in running.values():
            server.stop()
    return found


def request(model: str) -> bytes:
    """Returns a request of one row, as TensorFlow writes an array."""
    made = protocol.PredictRequest()
    made.model_spec.name = "default"
    row = np.linspace(-1.0, 1.0, 8, dtype=np.float32)[None]
    tensors.encode_content(row, made.inputs["obs"])
    return bytes(made.SerializeToString())


def table(found: dict[str, list[Figures]]) -> str:
    """Returns the medians of all servers in Markdown."""
    lines = [
        "| server | 1 client: p50, p99 in µs | 16 clients: requests/s | p50, p99 in ms "
        "| the server's CPU a request, µs |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, rows in found.items():
        middle = Figures(*map(statistics.median, zip(*rows, strict=True)))
        lines.append(
            f"| {name} | {1e6 * middle.p50:.0f}, {1e6 * middle.p99:.0f} "
            f"| {middle.per_second:,.0f} "
            f"| {1e3 * middle.crowded_p50:.1f}, {1e3 * middle.crowded_p99:.1f} "
            f"| {1e6 * middle.cpu:.0f} |"
        )
    return "\n".join(lines)


def bars(model: str, found: dict[str, list[Figures]]) -> str:
    """Returns the ratios that are wanted of a model, and those that were found."""
    lines = ["| ratio | wanted | median | of the rounds |", "| --- | --- | --- | --- |"]
    for bar in BARS:
        if bar.model != model:
            continue
        ratios = [
            getattr(one, bar.figure) / getattr(other, bar.figure)
            for one, other in zip(found[bar.server], found[bar.base], strict=True)
        ]
        middle = statistics.median(ratios)
        holds = middle <= bar.wanted if bar.is_less else middle >= bar.wanted
        lines.append(
            f"| {bar.words}: {bar.server} to {bar.base} "
            f"| {'≤' if bar.is_less else '≥'} {bar.wanted:g} "
            f"| {middle:.2f} {'holds' if holds else '**missed**'} "
            f"| {min(ratios):.2f} to {max(ratios):.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
