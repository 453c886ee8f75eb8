"""Trainings and exports in processes of their own, by the hundred.

`python -m tests.fork_server` has imported TensorFlow, which takes seconds, and forks
before its runtime starts. It reads a task a line, and says what became of it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf

import kpg
from kpg.trainers import Checkpoint
from tests import resuming

ROOT = Path(__file__).resolve().parents[1]


class Server:
    """Asks a fork server for trainings and exports."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def train(self, folder: Path, out: Path, **task: Any) -> dict[str, Any]:
        """Trains and goes on in a folder; `out` has the state at the end.

        `kill` are the seconds after which the process is killed, from the beginning of
        `fit`; `die` is the call of the compiled function after which it kills itself.
        The rest is what `_train` takes. Returns whether it was `killed`, and `seconds`.
        """
        return self._ask(folder=str(folder), out=str(out), **task)

    def export(self, folder: Path, **task: Any) -> dict[str, Any]:
        """Exports a policy; `kill` is as in `train`, and so is what is returned."""
        return self._ask(folder=str(folder), **task)

    def _ask(self, **task: Any) -> dict[str, Any]:
        line = json.dumps(task)
        assert self.process.stdin is not None and self.process.stdout is not None
        print(line, file=self.process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


@contextmanager
def serving() -> Iterator[Server]:
    """Starts a fork server, and ends it."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.fork_server"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT, env=environment
    ) as process:
        yield Server(process)
        assert process.stdin is not None
        process.stdin.close()


class Begun(keras.callbacks.Callback):
    """Says that `fit` has begun, and kills its own process after a call."""

    def __init__(self, pipe: int, die: int | None) -> None:
        super().__init__()
        self.pipe, self.die = pipe, die

    def on_train_begin(self, logs: Any = None) -> None:
        os.write(self.pipe, b".")

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self.die is not None:
            self.die -= 1
            if self.die < 0:
                os.kill(os.getpid(), signal.SIGKILL)


def _export(task: dict[str, Any], pipe: int) -> None:
    space = gym.spaces.Box(-1.0, 1.0, (2,))
    sizes: dict[str, Any] = {"hidden_units": (3,), "seed": 0}
    policy = kpg.models.Policy(space, gym.spaces.Discrete(2), **sizes)
    os.write(pipe, b".")
    kpg.export.export_policy(policy, task["folder"])


def _train(task: dict[str, Any], pipe: int) -> None:
    """Trains: "eager", in a "graph", by "xla" or on two replicas, "mirrored"."""
    how, strategy = task["how"], tf.distribute.get_strategy()
    if how == "eager":
        tf.config.run_functions_eagerly(True)
    if how == "mirrored":
        (cpu,) = tf.config.list_physical_devices("CPU")
        halves = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, halves)
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    env = resuming.in_graph()
    with strategy.scope():
        memory = None if how == "eager" else "lstm"
        trainer = resuming.make(env, memory, jit_compile=how == "xla")
    callbacks = [Begun(pipe, task.get("die")), Checkpoint(task["folder"], 1e-9)]
    state = resuming.fit(env, trainer, *callbacks, epochs=task["epochs"])
    np.savez(task["out"], **state)


def serve() -> None:
    """Forks a process for each task."""
    for line in sys.stdin:
        task, started = json.loads(line), time.perf_counter()
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            try:
                (_train if "out" in task else _export)(task, writing)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        os.close(writing)
        os.read(reading, 1)  # or it has died before
        os.close(reading)
        started = time.perf_counter()
        if "kill" in task:
            time.sleep(task["kill"])
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        seconds = time.perf_counter() - started
        answer = {"killed": os.WIFSIGNALED(status), "status": status}
        print(json.dumps({**answer, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    serve()
