"""What every contender measures alike: seconds, returns, memory.

This file runs in the environments of all contenders, on Python 3.10 and later; besides
Python it needs NumPy, and Gymnasium to play.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Job = dict[str, Any]
Act = Callable[[Any], Any]

EPISODES = 100
# Evaluations begin from other states than the trainings.
EPISODE_SEED = 10_000


def read_job() -> Job:
    """Reads the settings of a run, one JSON object, from the command line."""
    job: Job = json.loads(sys.argv[1])
    return job


class Stopwatch:
    """Times a training that pauses after every `chunk` of its iterations.

    What the first chunk takes counts as start-up, since some libraries compile in it.

    Args:
        job: The settings; `started` is `time.monotonic()` when the process was started,
            a clock that all processes share.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.chunks: list[tuple[int, float]] = []
        self.first_done = 0.0
        self.threshold_seconds: float | None = None
        self._began = 0.0

    def start(self) -> None:
        """Training starts, or goes on after a pause."""
        self._began = time.perf_counter()

    def stop(self, steps: int) -> None:
        """Training pauses; `steps` environment steps were taken since `start`."""
        self.add(steps, time.perf_counter() - self._began)

    def add(self, steps: int, seconds: float) -> None:
        """Adds a chunk that was timed elsewhere."""
        self.chunks.append((steps, seconds))
        if len(self.chunks) == 1:
            self.first_done = self.elapsed()

    def judge(self, mean_return: Callable[[], float]) -> None:
        """Evaluates, until the threshold is reached for the first time."""
        goal = self.job["threshold"]
        if goal is None or self.threshold_seconds is not None:
            return
        if mean_return() >= goal:
            self.threshold_seconds = self.elapsed()

    def elapsed(self) -> float:
        """Returns the seconds since the process was started."""
        return time.monotonic() - float(self.job["started"])

    def report(self, returns: Any, **more: Any) -> None:
        """Prints what was measured as one line of JSON, the last of the output.

        Args:
            returns: `[episodes]` returns of the trained policy.
            **more: What else there is to say.
        """
        timed = self.chunks[1:] or self.chunks
        steps = sum(steps for steps, _ in timed)
        seconds = sum(seconds for _, seconds in timed)
        training = self.chunks[0][0] * seconds / steps
        line = {
            "steps": sum(steps for steps, _ in self.chunks),
            "seconds": seconds,
            "steps_per_second": steps / seconds,
            "startup_seconds": self.first_done - training,
            "threshold_seconds": self.threshold_seconds,
            "return_mean": float(np.mean(returns)),
            "return_std": float(np.std(returns)),
            **more,
        }
        print("\n" + json.dumps(line), flush=True)


def finish(watch: Stopwatch, act: Act) -> None:
    """Notes the memory, evaluates the trained policy, and reports."""
    peak = peak_megabytes()
    returns = play(watch.job["env"], act, EPISODE_SEED + watch.job["seed"])
    watch.report(returns, peak_mb=peak)


def play(env_id: str, act: Act, seed: int, episodes: int = EPISODES) -> Any:
    """Plays episodes of Gymnasium's own environment, all at once.

    Args:
        env_id: Id in Gymnasium's registry.
        act: From `[N, ...]` observations to `[N, ...]` actions.
        seed: Seed of the initial states.
        episodes: N, number of episodes; every copy plays one.

    Returns:
        `[N]` undiscounted returns.
    """
    import gymnasium  # which the language models' environments do without

    env = gymnasium.make_vec(env_id, episodes)
    observations, _ = env.reset(seed=seed)
    returns, running = np.zeros(episodes), np.ones(episodes, bool)
    while running.any():
        actions = np.asarray(act(observations))
        observations, rewards, terminated, truncated, _ = env.step(actions)
        returns += np.where(running, rewards, 0.0)
        running &= ~(terminated | truncated)
    env.close()
    return returns


def peak_megabytes() -> float:
    """Returns the most memory that this process has held so far, in MB."""
    # `getrusage` would count what the parent held before it started this program.
    status = Path("/proc/self/status")
    if status.is_file():
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if found:
            return int(found.group(1)) / 1000
    import resource  # not on Windows

    unit = 1e6 if sys.platform == "darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
