"""What each worker of `tests/test_workers.py` runs; prints a JSON object for a check.

kpg launch --workers 2 tests/worker_program.py FOLDER CHECK…
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf

import kpg
from kpg.environments import Probe
from kpg.trainers.running.agreement import Agreement
from tests import claims
from tests.resuming import Crash, Crashes

LIMIT = 8.0
FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()


class Slow(keras.callbacks.Callback):
    """Takes its time after each call."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.calls = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.calls += 1
        time.sleep(self.seconds)


class Stop(keras.callbacks.Callback):
    """Stops after the second epoch."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.stop_training = epoch == 1


class Faulty(gym.Wrapper[Any, Any, Any, Any]):
    """Fails after some steps."""

    steps = 0

    def step(self, action: Any) -> Any:
        self.steps += 1
        if self.steps > 20:
            raise OverflowError("the arm is broken")
        return super().step(action)


def made(
    strategy: tf.distribute.Strategy,
    algorithm: str = "PPO",
    memory: Any = None,
    deadline: float = LIMIT,
    **settings: Any,
) -> Any:
    """Returns a compiled trainer for CartPole-v1."""
    spaces = kpg.make("CartPole-v1")
    small: dict[str, Any] = {"hidden_units": (8,), "seed": 0, "memory": memory}
    with strategy.scope():
        policy = kpg.models.Policy(
            spaces.observation_space, spaces.action_space, **small
        )
        critic = kpg.models.Critic(spaces.observation_space, **small)
        trainer = getattr(kpg.trainers, algorithm)(policy, critic, seed=0, **settings)
        trainer.compile(keras.optimizers.Adam(1e-3), worker_deadline=deadline)
    return trainer


@functools.cache
def in_graph(strategy: tf.distribute.Strategy) -> tuple[Any, Any]:
    """Returns one trainer with kpg's defaults for several checks, and environments."""
    env = kpg.make("CartPole-v1", num_envs=4, seed=3)
    return made(strategy, "ActorCritic", num_steps=4), env


def weights_of(trainer: Any) -> list[Any]:
    """Returns a trainer's variables and its optimizer's as lists of floats."""
    variables = [*trainer.variables, *trainer.optimizer.variables]
    return [np.ravel(tf.convert_to_tensor(v)).tolist() for v in variables]


def digest(trainer: Any) -> str:
    """Returns what differs if one bit does."""
    return hashlib.sha256(repr(weights_of(trainer)).encode()).hexdigest()


FULL: dict[str, Any] = {
    "num_steps": 8,
    "num_epochs": 2,
    "minibatch_size": 32,
    "target_kl": 0.02,
    "max_grad_norm": 0.5,
    "normalize_observations": True,
    "normalize_rewards": True,
    "normalize_advantages": True,
}


def like_one_process(strategy: tf.distribute.Strategy) -> dict[str, Any]:
    """In the graph, with all that has to be reduced, and validation."""
    trainer = made(strategy, memory="lstm", **FULL)
    env = kpg.make("CartPole-v1", num_envs=4, seed=3)
    validation = kpg.make("CartPole-v1", num_envs=4, seed=4)
    history = trainer.fit(
        env,
        epochs=3,
        steps_per_epoch=2,
        validation_data=validation,
        validation_episodes=4,
        verbose=0,
    ).history
    del history["steps_per_second"]
    return {"history": history, "weights": weights_of(trainer)}


def adaptive_and_masked(strategy: tf.distribute.Strategy) -> dict[str, Any]:
    """A rate that follows the divergence, updates that stop early, and masks."""
    pair = claims.PAIRS["discrete-discrete-masked-lstm"]
    probe = Probe(pair.task, pair.observation[1], pair.action[1], pair.masked)
    env = claims.make_environment(probe, "in-graph", 4)
    settings: dict[str, Any] = {"num_steps": 6, "num_epochs": 6, "minibatch_size": 24}
    settings |= {"target_kl": 2e-4, "learning_rate_schedule": "adaptive_kl"}
    settings["compile_arguments"] = {"worker_deadline": LIMIT}
    settings["learning_rate"] = 1e-3  # below the largest that it is raised to
    with strategy.scope():
        trainer = claims.make_trainer("PPO", env, pair, **settings)
    history = trainer.fit(env, epochs=6, steps_per_epoch=1, verbose=0).history
    del history["steps_per_second"]
    steps = int(tf.convert_to_tensor(trainer.optimizer.iterations))
    return {"history": history, "weights": weights_of(trainer), "steps": steps}


def saved_training(strategy: tf.distribute.Strategy, host: bool) -> tuple[Any, Any]:
    """Returns a trainer and environments, as every process makes them."""
    kind: Any = "gymnasium" if host else "auto"
    env = kpg.make("CartPole-v1", num_envs=4, seed=3, backend=kind)
    return made(strategy, "ActorCritic", num_steps=4), env


def resumed(strategy: tf.distribute.Strategy, host: bool, broken: bool) -> Any:
    """Trains with checkpoints, and what came of it."""
    trainer, env = saved_training(strategy, host)
    told: list[str] = []
    folder = FOLDER / ("host" if host else "graph")
    watch = kpg.trainers.Checkpoint(folder, minutes=1e-9, tell=told.append)
    # Worker 1 breaks off in the fourth call, and all others with it.
    broken &= Agreement(strategy).worker == 1
    breaks = [Crashes(3)] if broken else []
    shared: dict[str, Any] = {"epochs": 4, "steps_per_epoch": 2, "verbose": 0}
    try:
        epochs = trainer.fit(env, callbacks=[watch, *breaks], **shared).epoch
    except (Crash, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    found = {"epochs": epochs, "told": told, "env_steps": trainer.env_steps}
    return {**found, "digest": digest(trainer), "from": str(watch.resumed_from)}


def resumes(strategy: tf.distribute.Strategy) -> dict[str, Any]:
    """Goes on where all were before one of them broke off."""
    found = {}
    for host in (False, True):
        error = resumed(strategy, host, broken=True)
        after = resumed(strategy, host, broken=False)
        found["host" if host else "graph"] = {"error": error, **after}
    return found


def paces(strategy: tf.distribute.Strategy) -> dict[str, Any]:
    """kpg's defaults with one slow worker, well beyond the fifth call."""
    trainer, env = in_graph(strategy)
    slow = Slow(0.0 if trainer.is_chief else 0.05)
    history = trainer.fit(env, steps_per_epoch=300, callbacks=[slow], verbose=0)
    return {"calls": slow.calls, "digest": digest(trainer), **history.history}


def on_the_host(strategy: tf.distribute.Strategy) -> dict[str, Any]:
    """Each worker steps half of the copies."""
    trainer = made(strategy, **FULL)
    env: Any = kpg.make("CartPole-v1", num_envs=4, seed=3, backend="gymnasium")
    history = trainer.fit(env, epochs=2, steps_per_epoch=4, verbose=0).history
    mine = env.share(Agreement(strategy).worker, 2)
    return {
        "digest": digest(trainer),
        "env_steps": trainer.env_steps,
        "own": mine.num_envs,
        "calls": [env.calls, mine.calls],
        "state": np.ravel(mine.vector_env.state).tolist(),
        "history": {k: v for k, v in history.items() if k != "steps_per_second"},
    }


def one_stops(strategy: tf.distribute.Strategy) -> dict[str, Any]:
    """A callback of the last worker stops all."""
    trainer, env = in_graph(strategy)
    stop = [] if trainer.is_chief else [Stop()]
    history = trainer.fit(env, 5, 2, callbacks=stop, verbose=0)
    return {"epochs": len(history.epoch), "digest": digest(trainer)}


def texts(strategy: tf.distribute.Strategy) -> dict[str, Any]:
    """Each worker writes and scores half of the completions."""
    from kpg.environments import TextGeneration
    from tests.texts import gpt2, policy

    def vowels(prompts: Any, completions: Any) -> list[float]:
        return [float(text.count("a")) for text in completions]

    with strategy.scope():
        writer: Any = policy("abc", gpt2(5, num_layers=1, hidden_dim=8))
        trainer = kpg.trainers.REINFORCE(
            writer, seed=0, returns="total", baseline="leave_one_out", group_size=2
        )
        trainer.compile(keras.optimizers.SGD(0.1))
    env = TextGeneration(
        ["ba", "c", "abcab"],
        rewards=[vowels],
        max_new_tokens=4,
        group_size=2,
        num_envs=8,
    )
    history = trainer.fit(env, steps_per_epoch=3, verbose=0).history
    return {"digest": digest(trainer), "episodes": history["episodes"]}


def one_fails(strategy: tf.distribute.Strategy) -> dict[str, Any]:
    """The environments of the last worker break."""
    trainer = made(strategy, "ActorCritic", num_steps=4)
    last = Agreement(strategy).worker == 1
    wrappers = [Faulty] if last else []
    env = kpg.make("CartPole-v1", 4, 3, backend="gymnasium", wrappers=wrappers)
    try:
        trainer.fit(env, epochs=9, steps_per_epoch=4, verbose=0)
    except (OverflowError, RuntimeError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {}


def one_is_stuck(strategy: tf.distribute.Strategy) -> dict[str, Any]:
    """The last worker sleeps for longer than the deadline. Must be the last check."""
    trainer, env = in_graph(strategy)
    slow = Slow(0.0 if trainer.is_chief else LIMIT + 10.0)
    trainer.fit(env, steps_per_epoch=4, verbose=0)
    started = time.monotonic()
    try:
        trainer.fit(env, steps_per_epoch=4, callbacks=[slow], verbose=0)
    except RuntimeError as error:
        return {"error": str(error), "seconds": time.monotonic() - started}
    return {}


def until_killed(strategy: tf.distribute.Strategy) -> dict[str, Any]:
    """Trains until something happens to a worker, which TensorFlow notices."""
    env = kpg.make("CartPole-v1", num_envs=4, seed=3)
    trainer = made(strategy, "ActorCritic", num_steps=4, deadline=60.0)

    class Say(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            print("epoch", epoch, flush=True)

    try:
        trainer.fit(env, 100_000, 20, callbacks=[Say()], verbose=0)
    except RuntimeError as error:
        return {"error": str(error)}
    return {}


CHECKS: list[Callable[[tf.distribute.Strategy], dict[str, Any]]] = [
    *(like_one_process, adaptive_and_masked, resumes, paces, on_the_host),
    *(one_stops, texts, one_fails, one_is_stuck, until_killed),
]


def main() -> None:
    names = sys.argv[2:]
    strategy = kpg.trainers.make_strategy("multiworker", deadline=120.0)
    for check in CHECKS:
        if check.__name__ in names:
            found = check(strategy)
            print(json.dumps({"check": check.__name__, **found}), flush=True)


if __name__ == "__main__":
    main()
