"""What a second thread costs a tuned in-graph preset, in CPU time and on the clock.

The process trains in windows of ten iterations and prints medians and minima:

    for threads in 1 2; do
        TF_NUM_INTRAOP_THREADS=$threads python benchmarks/profile_threads.py CartPole-v1
    done
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import time

import keras

from kpg.cli.commands import train
from kpg.cli.kind import Seeds, kind_of

ITERATIONS = 10
WARM_UP = 2


class Clock(keras.callbacks.Callback):
    """Keeps the CPU time and the time of each window, in milliseconds."""

    def __init__(self) -> None:
        super().__init__()
        self.windows: list[tuple[float, float]] = []

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        self.before = time.process_time(), time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        after = time.process_time(), time.perf_counter()
        cpu, wall = (1e3 * (b - a) for a, b in zip(self.before, after, strict=True))
        self.windows.append((cpu, wall))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("env", nargs="?", default="CartPole-v1")
    parser.add_argument("--windows", type=int, default=150)
    options = parser.parse_args()
    tuned = kind_of(options.env).load(options.env)
    chosen = dataclasses.replace(tuned, steps_per_execution=ITERATIONS)
    parts, clock = train.build(chosen, Seeds.derived(0)), Clock()
    parts.trainer.fit(
        parts.env,
        epochs=options.windows + WARM_UP,
        steps_per_epoch=ITERATIONS,
        callbacks=[clock],
        verbose=0,
    )
    print(f"{options.env}, threads: {os.environ.get('TF_NUM_INTRAOP_THREADS', 'all')}")
    for name, times in zip(
        ("CPU", "clock"), zip(*clock.windows[WARM_UP:], strict=True), strict=True
    ):
        median, least = statistics.median(times), min(times)
        print(f"{name}: median {median:.1f} ms, minimum {least:.1f} ms")


if __name__ == "__main__":
    main()
