"""Times kpg's exported program, rejax and the compact PPO in turn; needs JAX.

    python run.py --program "kpg=build/gpu" --out figures.jsonl --limit 420

They run on JAX's default device. Works are compiled in groups, then measured one after
the other: each contender runs for half a second, then the next, five times. Every
figure is written at once, so that what was measured stays if time runs out.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import statistics
import sys
import time
import traceback
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
from contenders import Contender, Rejax, contenders
from kernels import count
from works import MEASURED, WORKS

BORN = time.monotonic()


class Bench:
    """Compiles and measures within a limit of seconds, and notes each figure."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.facts: dict[tuple[str, str], dict[str, Any]] = {}
        self.head = machine()
        print(json.dumps(self.head), flush=True)

    def left(self) -> float:
        """Returns the seconds that are left."""
        return float(self.options.limit - (time.monotonic() - BORN))

    def note(self, work: str, who: str, **figures: Any) -> None:
        """Writes a line."""
        line = {**self.head, "work": work, "who": who}
        line |= self.facts.get((work, who), {}) | figures
        with self.options.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{time.monotonic() - BORN:.0f} s {work} {who}: {figures}", flush=True)

    def build(self, work: str, who: str, contender: Contender) -> Contender | None:
        """Compiles; a contender that fails is left out and noted."""
        try:
            if self.left() < 20:
                raise TimeoutError("no time is left to compile")
            began = time.perf_counter()
            contender.compile()
            program = contender.program
            found = count(program.as_text(), WORKS[work].updates)
            planned = program.memory_analysis().temp_size_in_bytes
            self.facts[work, who] = {
                "compile_seconds": round(time.perf_counter() - began, 1),
                "kernels": found.kernels,
                "waits": found.waits,
                "temporary_mb": round(planned / 1e6, 1),
            }
        except Exception as error:  # whatever stops one, the others are measured
            self.failed(work, who, error)
            return None
        return contender

    def failed(self, work: str, who: str, error: Exception) -> None:
        """Notes, and shows in full, what went wrong; call it where it was caught."""
        traceback.print_exc()
        self.note(work, who, error=f"{type(error).__name__}: {error}"[:300])

    def measure(self, name: str, able: dict[str, Contender]) -> None:
        """Lets all take turns and notes what each did."""
        rows, plan, first = WORKS[name].rows, {}, {}
        for who, contender in list(able.items()):
            try:
                first[who] = self.warm_up(contender)
                began = time.perf_counter()
                contender.run(3)
                seconds = (time.perf_counter() - began) / 3
                plan[who] = max(1, min(5000, round(self.options.target / seconds)))
            except Exception as error:  # whatever stops one, the others are measured
                self.failed(name, who, error)
                del able[who]
        seconds_of: dict[str, list[float]] = {who: [] for who in able}
        last: dict[str, float | None] = {}
        names = list(able)
        for repetition in range(self.options.repetitions):
            turn = repetition % max(1, len(names))
            for who in names[turn:] + names[:turn]:
                if self.left() < 3:
                    continue
                began = time.perf_counter()
                last[who] = able[who].run(plan[who])
                spent = time.perf_counter() - began
                seconds_of[who].append(spent / plan[who])
        for who, times in seconds_of.items():
            if not times:
                self.note(name, who, error="no time was left to measure")
                continue
            contender = able[who]
            if isinstance(contender, Rejax) and self.left() > 20:
                last[who] = contender.mean_return()
            self.note(
                name,
                who,
                steps_per_second=round(rows / statistics.median(times)),
                low=round(rows / max(times)),
                high=round(rows / min(times)),
                microseconds=round(statistics.median(times) * 1e6, 1),
                repetitions=len(times),
                iterations=plan[who],
                return_first=first[who],
                return_last=last[who],
            )

    def warm_up(self, contender: Contender) -> float | None:
        """Runs a little; returns the mean return of the first episodes, if known."""
        if isinstance(contender, Rejax) and self.left() > 60:
            contender.run(1)
            return contender.mean_return()
        known = [contender.run(1) for _ in range(2)]
        return next((one for one in known if one is not None), None)


def machine() -> dict[str, Any]:
    """Returns what the figures depend on besides the program."""
    device = jax.devices()[0]
    versions = {}
    for package in ("jax", "jaxlib", "rejax", "gymnax", "optax", "flax"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = ""
    return {
        "device": str(device.device_kind),
        "platform": device.platform,
        "runtime": str(getattr(device.client, "platform_version", "")).strip()[:200],
        "python": sys.version.split()[0],
        "versions": versions,
    }


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", action="append", required=True)
    parser.add_argument("--only", action="append", choices=list(WORKS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--limit", type=float, default=420)
    parser.add_argument("--compile-limit", type=float, default=150)
    parser.add_argument("--target", type=float, default=0.5)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--workers", type=int, default=min(8, os.cpu_count() or 1))
    options = parser.parse_args()
    pairs = (one.split("=", 1) for one in options.program)
    folders = {label: Path(folder) for label, folder in pairs}
    bench, names = Bench(options), list(options.only or MEASURED)
    pool = concurrent.futures.ThreadPoolExecutor(options.workers)
    # What matters most is measured before the rest is compiled.
    for group in (names[:2], names[2:6], names[6:]):
        measure_group(bench, group, folders, pool)
    print(f"done after {time.monotonic() - BORN:.0f} s", flush=True)
    os._exit(0)  # whatever may still be compiling


def measure_group(
    bench: Bench,
    names: list[str],
    folders: dict[str, Path],
    pool: concurrent.futures.Executor,
) -> None:
    """Compiles some works at once, then measures one after the other."""
    jobs: dict[tuple[str, str], concurrent.futures.Future[Contender | None]] = {}
    for name in names:
        try:
            able = contenders(name, WORKS[name], folders)
        except Exception as error:  # such as a program that was not exported
            bench.failed(name, "all", error)
            continue
        for who, one in able.items():
            jobs[name, who] = pool.submit(bench.build, name, who, one)
    limit = min(bench.options.compile_limit, bench.left() - 20)
    done, late = concurrent.futures.wait(jobs.values(), max(limit, 0))
    for (name, who), future in jobs.items():
        if future in late:
            bench.note(name, who, error=f"still compiling after {limit:.0f} s")
    for name in names:
        built = {
            who: future.result()
            for (work, who), future in jobs.items()
            if work == name and future in done
        }
        ready = {who: one for who, one in built.items() if one is not None}
        if ready and bench.left() < 5:
            bench.note(name, "all", error="no time was left to measure")
        elif ready:
            bench.measure(name, ready)
        for one in ready.values():
            one.__dict__.clear()  # frees its memory


if __name__ == "__main__":
    main()
