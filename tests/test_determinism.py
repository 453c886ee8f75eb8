"""The same seed: the same bits, and the same digits in the logs."""

from __future__ import annotations

import functools
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorflow.python.eager import context

import kpg
from tests.fragments import traces

Make = Callable[..., Any]
ALGORITHMS = ("PPO", "ActorCritic", "REINFORCE")
PLACES = ("graph", "xla", "host")

SCRIPT = """
import hashlib, json, sys
import numpy as np, tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(int(sys.argv[1]))
tf.config.threading.set_inter_op_parallelism_threads(int(sys.argv[1]))
import kpg
found = {}
for place in ("graph", "xla", "host"):
    backend = "gymnasium" if place == "host" else "auto"
    for algorithm in ("PPO", "ActorCritic", "REINFORCE"):
        env = kpg.make("CartPole-v1", num_envs=4, seed=0, backend=backend)
        sizes = {"hidden_units": (16,), "seed": 0}
        policy = kpg.models.Policy(env.observation_space, env.action_space, **sizes)
        critic = kpg.models.Critic(env.observation_space, **sizes)
        settings = {"normalize_observations": True, "normalize_rewards": True}
        settings["num_steps"] = 500 if algorithm == "REINFORCE" else 16
        if algorithm == "PPO":
            settings |= {"num_epochs": 2, "minibatch_size": 16}
        make = getattr(kpg.trainers, algorithm)
        trainer = make(policy, critic, seed=0, **settings)
        trainer.compile(jit_compile=place == "xla")
        steps = 3 if algorithm == "REINFORCE" else 20
        logs = trainer.fit(env, epochs=2, steps_per_epoch=steps, verbose=0).history
        del logs["steps_per_second"]
        state = [*trainer.variables, *trainer.optimizer.variables]
        data = b"".join(np.asarray(variable).tobytes() for variable in state)
        found[f"{place} {algorithm}"] = hashlib.sha256(data).hexdigest(), repr(logs)
print(json.dumps(found))
"""


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("backend", ["graph", "gymnasium"])
def test_no_digit_depends_on_the_iterations_of_a_call(
    make_trainer: Make, backend: Any
) -> None:
    # Five iterations as 1 + 1 + … and as 3 + 2 are sums of other groups.
    def history(size: int) -> str:
        env = kpg.make("CartPole-v1", num_envs=4, seed=0, backend=backend)
        trainer = make_trainer("ActorCritic", env=env, steps_per_execution=size)
        logs = trainer.fit(env, epochs=1, steps_per_epoch=5, verbose=0).history
        del logs["steps_per_second"]
        return repr(logs)

    assert history(1) == history(3)


@functools.cache
def results(folder: Path) -> list[dict[str, Any]]:
    """Returns what two processes found, which differ in all that must not matter."""
    found = []
    for number in ("1", "2"):
        variables = {"PYTHONHASHSEED": number, "KPG_CACHE_DIR": str(folder)}
        process = subprocess.run(
            [sys.executable, "-c", SCRIPT, number],
            env={**os.environ, **variables},
            check=True,
            capture_output=True,
            text=True,
        )
        found.append(json.loads(process.stdout.splitlines()[-1]))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("place", PLACES)
def test_two_processes_agree(place: str, algorithm: str, folder: Path) -> None:
    """One and two threads, two hash seeds, a cold and a warm cache."""
    (cold, logged), (warm, again) = (
        found[f"{place} {algorithm}"] for found in results(folder)
    )
    assert cold == warm
    assert logged == again


@pytest.mark.slow
def test_a_thousand_epochs_take_no_more_memory_than_two_hundred(
    make_trainer: Make,
) -> None:
    env = kpg.make("CartPole-v1", num_envs=4, seed=0)
    trainer = make_trainer("ActorCritic", env=env)

    def resident() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        (line,) = (line for line in lines if line.startswith("VmRSS"))
        return int(line.split()[1])

    trainer.fit(env, epochs=200, steps_per_epoch=1, verbose=0)
    before = resident()
    trainer.fit(env, epochs=1000, steps_per_epoch=1, verbose=0)
    assert resident() - before < 10_000  # kB
    assert traces(trainer) == 1


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, True])
def test_nothing_is_left_of_a_trainer(make_trainer: Make, jit_compile: bool) -> None:
    """Of neither its graphs, which are what takes memory, nor their functions."""

    def left() -> int:
        env = kpg.make("CartPole-v1", num_envs=4, seed=0)
        trainer = make_trainer("PPO", env=env, jit_compile=jit_compile)
        trainer.fit(env, steps_per_epoch=2, verbose=0)
        trainer.evaluate(env, 4)
        del trainer, env
        gc.collect()
        return len(context.context().list_function_names())

    assert left() == left()
