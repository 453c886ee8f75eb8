"""The whole path by the command line: train, evaluate, export, serve, play, judge.

`make demo` runs it. It trains MountainCar-v0, serves the policy in a separate process,
and plays ten episodes against that server over gRPC. The exit code is 0 if their mean
return reaches the official threshold.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

ENV = "MountainCar-v0"
SERVABLE = "servables/mountain_car"
THRESHOLD = -110.0
EPISODES = 10


def start(*arguments: str) -> subprocess.Popen[str]:
    """Starts a kpg command that prints its result as JSON."""
    print(f"\n$ kpg {' '.join(arguments)}", flush=True)
    command = [sys.executable, "-m", "kpg", *arguments, "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def kpg(*arguments: str) -> dict[str, Any]:
    """Runs a kpg command and returns its result, or exits with its exit code."""
    process = start(*arguments)
    output, _ = process.communicate()
    if process.returncode:
        sys.exit(process.returncode)
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    return result


@contextlib.contextmanager
def server(directory: str) -> Iterator[str]:
    """Serves a directory on a free port; yields its address."""
    process = start("serve", directory, "--port", "0")
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line:  # standard error has the reason
            sys.exit(process.wait() or 1)
        yield json.loads(line)["address"]
    finally:
        process.terminate()
        process.wait()


def main() -> int:
    """Runs all steps; returns the exit code."""
    trained = kpg("train", ENV)
    print(
        f"{trained['env_steps']:,} steps in {trained['train_seconds']:.1f} s, "
        f"and {trained['compile_seconds']:.1f} s of compiling"
    )
    run = trained["run"]
    measured = kpg("evaluate", run, "--episodes", "100", "--seed", "7")
    print(f"return {measured['return_mean']:.1f} over 100 episodes")
    exported = kpg("export", run, SERVABLE)
    print(f"version {exported['version']} in {exported['path']}")
    with server(SERVABLE) as address:
        print(f"serving at {address}")
        played = kpg("play", ENV, "--server", address, "--episodes", str(EPISODES))
    print(f"return {played['return_mean']:.1f} over {EPISODES} episodes over gRPC")
    solved = bool(played["return_mean"] >= THRESHOLD)
    word = "Solved" if solved else "Not solved"
    print(f"\n{word}: the official threshold is {THRESHOLD:g}.")
    return 0 if solved else 1


if __name__ == "__main__":
    sys.exit(main())
