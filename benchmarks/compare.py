"""Runs kpg and Stable-Baselines3 in turn on the same work, and prints the ratios.

    make benchmark

Steps a second are counted after compilation, over the whole of training (acting,
advantages, all updates), with the same settings and seeds on the same machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from settings import SIZES

HERE = Path(__file__).parent


def run(python: str, script: str, size: str, seed: int) -> dict[str, float]:
    output = subprocess.run(
        [python, str(HERE / script), size, str(seed)],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    ).stdout
    result: dict[str, float] = json.loads(output.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python", required=True, help="has stable-baselines3")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print("| work | kpg steps/s | Stable-Baselines3 steps/s | ratio (min–max) |")
    print("|---|---|---|---|")
    for size in SIZES:
        pairs = []
        for seed in range(options.runs):
            ours = run(sys.executable, "run_kpg.py", size, seed)
            theirs = run(options.peer_python, "run_stable_baselines3.py", size, seed)
            pairs.append((ours["steps_per_second"], theirs["steps_per_second"]))
            print(size, seed, ours, theirs, file=sys.stderr, flush=True)
        ratios = [ours / theirs for ours, theirs in pairs]
        ours, theirs = (
            statistics.median(column) for column in zip(*pairs, strict=True)
        )
        print(
            f"| MountainCar-v0, {size} | {ours:,.0f} | {theirs:,.0f} | "
            f"{statistics.median(ratios):.1f} ({min(ratios):.1f}–{max(ratios):.1f}) |"
        )


if __name__ == "__main__":
    main()
