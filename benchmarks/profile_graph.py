"""Where the time of an in-graph iteration goes, kernel by kernel.

TensorFlow's profiler records every kernel of the compiled iteration. Their medians,
times how often each runs in an iteration, are what an undisturbed iteration takes; the
recording itself adds about 0.2 µs to each. Run it on one thread, so that kernels do not
wait for each other:

    TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 \
        python benchmarks/profile_graph.py MountainCar-v0
"""

from __future__ import annotations

import argparse
import collections
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

import kpg

ITERATIONS = 40
SETTINGS: dict[str, tuple[int, dict[str, Any]]] = {
    "MountainCar-v0": (
        16,
        {
            "num_steps": 16,
            "num_epochs": 4,
            "minibatch_size": 64,
            "normalize_observations": True,
            "normalize_rewards": True,
        },
    ),
    "CartPole-v1": (8, {"num_steps": 32, "num_epochs": 20, "minibatch_size": 256}),
}
KINDS = (
    ("matrix products", ("MatMul", "dot")),
    ("tanh", ("add_tanh", "tanh")),
    ("sums", ("wrapped_reduce", "reduce", "multiply_reduce", "add_reduce", "iota")),
)


def make(env_id: str) -> tuple[Any, Any]:
    """Returns a compiled trainer and its environment."""
    num_envs, settings = SETTINGS[env_id]
    env: Any = kpg.make(env_id, num_envs=num_envs, seed=0)
    policy = kpg.models.Policy(env.observation_space, env.action_space, seed=0)
    critic = kpg.models.Critic(env.observation_space, seed=0)
    trainer = kpg.trainers.PPO(policy, critic, seed=0, **settings)
    optimizer = keras.optimizers.Adam(3e-4, epsilon=1e-5)
    trainer.compile(optimizer, steps_per_execution=ITERATIONS)
    return trainer, env


def kernels(folder: str) -> dict[str, list[float]]:
    """Returns the microseconds of each kernel's runs, from a profile."""
    durations: dict[str, list[float]] = collections.defaultdict(list)
    for path in Path(folder).rglob("*.xplane.pb"):
        space = xplane_pb2.XSpace.FromString(path.read_bytes())
        for plane in space.planes:
            names = {key: row.name for key, row in plane.event_metadata.items()}
            for event in (event for line in plane.lines for event in line.events):
                durations[names[event.metadata_id]].append(event.duration_ps / 1e6)
    skipped = ("end: ", "while", "conditional", "call", "Thunk", "Threadpool")
    return {
        name: runs
        for name, runs in durations.items()
        if not name.startswith(skipped) and len(runs) >= ITERATIONS and "::" not in name
    }


def kind(name: str) -> str:
    """Returns the kind of work that a kernel's name tells of."""
    found = (label for label, starts in KINDS if name.startswith(starts))
    return next(found, "everything else, element by element")


def main() -> None:
    """Prints CPU time of an iteration, and the kernels by kind and one by one."""
    parser = argparse.ArgumentParser(description="Profile an in-graph iteration.")
    parser.add_argument("env_id", choices=sorted(SETTINGS))
    parser.add_argument("--rows", type=int, default=20, help="kernels to list")
    arguments = parser.parse_args()
    trainer, env = make(arguments.env_id)
    trainer.fit(env, epochs=2, steps_per_epoch=ITERATIONS, verbose=0)
    times = []
    for _ in range(40):
        start = time.process_time()
        trainer.fit(env, steps_per_epoch=ITERATIONS, verbose=0)
        times.append((time.process_time() - start) / ITERATIONS * 1e6)
    middle = statistics.median(times)
    print(f"{min(times):.0f} µs of CPU an iteration, median {middle:.0f}")
    options = tf.profiler.experimental.ProfilerOptions(3, 0)
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder, options):
            trainer.fit(env, steps_per_epoch=ITERATIONS, verbose=0)
        found = kernels(folder)
    rows = [
        (statistics.median(runs) * len(runs) / ITERATIONS, len(runs) / ITERATIONS, name)
        for name, runs in found.items()
    ]
    totals: dict[str, list[float]] = collections.defaultdict(lambda: [0.0, 0.0])
    for total, count, name in rows:
        totals[kind(name)][0] += total
        totals[kind(name)][1] += count
    for label, (total, count) in sorted(totals.items(), key=lambda item: -item[1][0]):
        print(f"{total:8.1f} µs  {count:6.0f} kernels  {label}")
    for total, count, name in sorted(rows, reverse=True)[: arguments.rows]:
        print(f"{total:8.1f} µs  {count:6.1f} times    {name}")


if __name__ == "__main__":
    main()
