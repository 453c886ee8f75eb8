"""Runs kpg and its peers in turn on the same work, and writes docs/benchmarks.md.

    make benchmark
    python benchmarks/compare.py --work cart_pole --runs 1
    python benchmarks/compare.py --table

kpg and a peer run one after the other, each in a process and an installation of its
own, with the same settings and seed, on the same cores. Each run becomes a line of
comparison.jsonl; what stands there is not run again, unless its settings or the version
have changed since.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from installations import pinned, python_of
from page import write_page
from work import CONTENDERS, PAIRS, WORKS, Contender, Pair, Settings, TextSettings

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RESULTS = HERE / "comparison.jsonl"

Run = dict[str, Any]
# A pair, one of its two contenders, and the repetition, which is also the seed.
Turn = tuple[Pair, str, int]


def main(
    pairs: Sequence[Pair] = PAIRS,
    results: Path = RESULTS,
    write: Callable[[list[Run]], None] = write_page,
    cores: int = 2,
) -> None:
    """Does what the command line asks for.

    Args:
        pairs: What can be asked for.
        results: File of runs, unless another is asked for.
        write: Writes the tables of runs.
        cores: CPU cores of a run, unless other are asked for.
    """
    options = _options(pairs, results, cores)
    if options.again:
        works = {pair.work for pair in chosen(options, pairs)}
        kept = [run for run in read(options.results) if run["work"] not in works]
        text = "".join(json.dumps(run) + "\n" for run in kept)
        options.results.write_text(text, "utf-8")
    if not options.table:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
        broken: set[tuple[str, str]] = set()
        for turn in missing(options.results, chosen(options, pairs), options.runs):
            part = (turn[0].work, turn[1])
            if part not in broken and not _take(turn, options):
                broken.add(part)
    write(current(read(options.results)))


def _options(pairs: Sequence[Pair], results: Path, cores: int) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, known in (
        ("--work", {pair.work: None for pair in pairs}),
        ("--peer", {pair.theirs: None for pair in pairs}),
    ):
        parser.add_argument(
            name, action="append", choices=list(known), help="repeatable; default: all"
        )
    parser.add_argument("--runs", type=int, default=5, help="repetitions (5)")
    parser.add_argument(
        "--cores", type=int, default=cores, help=f"CPU cores of a run ({cores})"
    )
    parser.add_argument(
        "--peers", type=Path, default=ROOT / ".venv-peers", help="their installations"
    )
    parser.add_argument("--results", type=Path, default=results, help="file of runs")
    parser.add_argument(
        "--again", action="store_true", help="forget earlier runs of this work first"
    )
    parser.add_argument(
        "--table", action="store_true", help="only write the page from what was run"
    )
    return parser.parse_args()


def chosen(options: argparse.Namespace, pairs: Sequence[Pair] = PAIRS) -> list[Pair]:
    """Returns the pairs that `--work` and `--peer` ask for."""
    return [
        pair
        for pair in pairs
        if not options.work or pair.work in options.work
        if not options.peer or pair.theirs in options.peer
    ]


def missing(results: Path, pairs: Sequence[Pair], count: int) -> Iterator[Turn]:
    """Yields what is still to be run: a repetition of everything, then the next."""
    for repetition in range(count):
        for pair in pairs:
            for name in (pair.ours, pair.theirs):
                turn = (pair, name, repetition)
                done = (key(run) for run in current(read(results)))
                if key(description(turn)) not in done:
                    yield turn


def description(turn: Turn) -> Run:
    """Returns what tells a run from others, and what it is to do."""
    pair, name, repetition = turn
    return {
        "work": pair.work,
        "contender": name,
        "against": pair.theirs if name == pair.ours else None,
        "repetition": repetition,
        "version": version(CONTENDERS[name]),
        "settings": plain(WORKS[pair.work].settings),
    }


def key(run: Run) -> tuple[Any, ...]:
    """Returns what is the same for two runs only if one may stand for the other."""
    names = ("work", "contender", "against", "repetition", "version")
    return tuple(run[name] for name in names)


def current(runs: list[Run]) -> list[Run]:
    """Keeps the runs of the present settings and versions."""
    return [
        run
        for run in runs
        if run["work"] in WORKS
        and run["settings"] == plain(WORKS[run["work"]].settings)
        and run["contender"] in CONTENDERS
        and run["version"] == version(CONTENDERS[run["contender"]])
    ]


def plain(settings: Settings | TextSettings) -> Run:
    """Returns settings as JSON gives them back."""
    values: Run = json.loads(json.dumps(dataclasses.asdict(settings)))
    return values


def version(contender: Contender) -> str:
    """Returns the version that a contender runs in."""
    if contender.requirements is not None:
        return pinned(contender.requirements, contender.package)
    if contender.package != "kpg":
        return metadata.version(contender.package)
    text = (ROOT / "kpg" / "version.py").read_text("utf-8")
    return str(re.findall(r'"(.+)"', text)[-1])


def _take(turn: Turn, options: argparse.Namespace) -> bool:
    """Runs and notes it; returns whether it worked."""
    run, contender = description(turn), CONTENDERS[turn[1]]
    name = f"{run['work']} {run['repetition']}: {contender.title}"
    try:
        measured = measure(contender, run, options.peers, options.cores)
    except (subprocess.CalledProcessError, ValueError) as error:
        print(f"{name} failed, and is left out from here on. {error}", file=sys.stderr)
        return False
    with options.results.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**run, "machine": machine(), **measured}) + "\n")
    figures = {k: v for k, v in measured.items() if v is not None}
    shown = ", ".join(f"{k} {v:,.1f}" for k, v in figures.items())
    print(f"{name}: {shown}", flush=True)
    return True


def measure(contender: Contender, run: Run, peers: Path, cores: int) -> Run:
    """Runs a contender's script in a process of its own; returns its report.

    Raises:
        subprocess.CalledProcessError: If the script, or its installation, fails.
    """
    python, path = Path(sys.executable), {"PYTHONPATH": str(ROOT)}
    if contender.requirements is not None:
        python, path = python_of(contender.requirements, peers), {}
    job = {
        **run["settings"],
        "backend": contender.backend,
        "threads": min(contender.threads, cores),
        "seed": run["repetition"],
    }
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    threads = {"OMP_NUM_THREADS": str(job["threads"])}
    with tempfile.TemporaryDirectory() as directory:
        job["started"] = time.monotonic()
        done = subprocess.run(
            [str(python), str(HERE / "peers" / contender.script), json.dumps(job)],
            capture_output=True,
            cwd=directory,
            env={**kept, **quiet, **threads, **path},
            text=True,
        )
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
        done.check_returncode()
    report: Run = json.loads(done.stdout.splitlines()[-1])
    return report


def machine() -> str:
    """Describes what the runs ran on."""
    name = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.is_file():
        found = re.search(r"model name\s*: (.+)", information.read_text())
        name = found.group(1).strip() if found else name
    count = len(os.sched_getaffinity(0))
    cores = "1 core" if count == 1 else f"{count} cores"
    return f"{cores} of {name}, Python {platform.python_version()}"


def read(path: Path) -> list[Run]:
    """Reads all runs; `[]` if there is no file."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


if __name__ == "__main__":
    main()
