"""`kpg train`: build, fit, measure, and leave a run directory."""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kpg.cli import (
    comparing,
    episode_statistics,
    plots,
    request,
    resuming,
    runs,
    threads,
)
from kpg.cli.command_result import CommandResult, usage_errors
from kpg.cli.judging import Judge
from kpg.cli.kind import Seeds, kind_of
from kpg.cli.preset import Preset
from kpg.cli.quiet_tensorflow import import_tensorflow
from kpg.cli.runs import Run
from kpg.types import Config, Logs
from kpg.version import __version__

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from kpg.environments.environment import Environment
    from kpg.trainers.trainer import Trainer

_EPOCHS = 50
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Schedule(NamedTuple):
    """How a budget of environment steps is spent."""

    epochs: int
    steps_per_epoch: int
    steps_per_execution: int
    total_steps: int


class Parts(NamedTuple):
    """What takes part in a training."""

    trainer: Trainer
    env: Environment
    validation: Environment
    schedule: Schedule


def run(options: argparse.Namespace) -> CommandResult:
    """Carries out the command."""
    given, found = request.settings(options), request.run(options)
    import_tensorflow(options.debug, threads.wanted(options, found, given))
    if found is None:
        with usage_errors():
            chosen = kind_of(options.env).chosen_preset(options.env, given)
        seed = options.seed or 0
    else:
        said = {} if options.seed is None else {"seed": options.seed}
        chosen, seed = resuming.preset_of(found, given | said), found.settings()["seed"]
    if options.seeds > 1:
        return _several(options, chosen, seed)
    seeds = Seeds.derived(seed)
    with usage_errors():
        strategy = _strategy(options)
        if "jit_compile" not in given and strategy.num_replicas_in_sync > 1:
            chosen = dataclasses.replace(chosen, jit_compile="auto")
        with strategy.scope():
            parts = build(chosen, seeds, float(options.worker_deadline))
    if not parts.trainer.is_chief:
        return _assist(parts, chosen, found, seeds, options)
    values, exit_code = _train(parts, chosen, found, options, seed, Judge())
    return CommandResult(values, _in_words(values), exit_code)


def _train(
    parts: Parts,
    chosen: Preset,
    found: Run | None,
    options: argparse.Namespace,
    seed: int,
    judge: Judge,
) -> tuple[Config, int]:
    """Trains and measures; returns what is written as the result, and the exit code."""
    started = time.perf_counter() if options.seeds > 1 else options.started
    seeds = Seeds.derived(seed)
    output = options.output
    if output is not None and options.seeds > 1:
        output = os.path.join(output, str(seed))
    run = found or runs.create(output, chosen.env)
    if found is None:
        runs.write_json(run.settings_file, _settings(chosen, seed, parts.schedule))
    report, stopped_by = _fit(parts, chosen, run, seeds, options)
    threshold = parts.env.spec.reward_threshold if parts.env.spec else None
    title = f"{chosen.env}, {chosen.algorithm}, seed {seed}"
    curve, metrics = run.curve_file, run.metrics()
    plots.learning_curve(curve, metrics, title=title, threshold=threshold)
    values = _timings(chosen, seed, parts.trainer) | report
    if stopped_by is None:
        values |= judge.verdict(run, chosen, seeds.final, threshold)
    values["wall_seconds"] = time.perf_counter() - started
    values["run"] = str(run.directory)
    runs.write_json(run.result_file, values)
    if stopped_by is None:
        shutil.rmtree(run.checkpoints, ignore_errors=True)
    return values, 0 if stopped_by is None else 128 + stopped_by


def _several(options: argparse.Namespace, chosen: Preset, first: int) -> CommandResult:
    """Trains a run for each of several seeds, one after the other."""
    done: list[Config] = []
    judge = Judge()
    for seed, parts in _turns(chosen, range(first, first + options.seeds)):
        values, code = _train(parts, chosen, None, options, seed, judge)
        done.append(values)
        if code:  # the last run may have no epoch to compare
            return CommandResult(values, _in_words(values), code)
        _tell(f"seed {seed}: {episode_statistics.in_words(values)}")
    env, found = comparing.groups([values["run"] for values in done])
    (group,) = found
    values = {"env": env, "runs": [own["run"] for own in done], **group.values()}
    return CommandResult(values, comparing.table(env, found))


def _turns(chosen: Preset, numbers: Sequence[int]) -> Iterator[tuple[int, Parts]]:
    """Yields what trains for each seed; programs in the graph are built only once."""
    from kpg.environments.graph.functional import GraphEnvironment
    from kpg.trainers.population import Population

    with usage_errors():
        shared = build(chosen, Seeds.derived(numbers[0]))
    if not isinstance(shared.env, GraphEnvironment):
        yield numbers[0], shared
        for number in numbers[1:]:
            yield number, build(chosen, Seeds.derived(number))
        return
    population = Population(
        lambda seed: build(chosen, Seeds.derived(seed)).trainer, numbers
    )
    for index, number in enumerate(numbers):
        seeds = Seeds.derived(number)
        shared.env.seed, shared.validation.seed = seeds.environment, seeds.validation
        with population.seated(index) as trainer:
            yield number, shared._replace(trainer=trainer)


def _strategy(options: argparse.Namespace) -> tf.distribute.Strategy:
    import tensorflow as tf

    from kpg.trainers.running import strategies

    config = os.environ.get("TF_CONFIG", "")
    if options.strategy is not None:
        return strategies.make_strategy(options.strategy, options.worker_deadline)
    if strategies.workers_in(config) > 1:
        raise ValueError(
            "TF_CONFIG names several workers, each of which would train by itself: add "
            f"--strategy multiworker, or unset it. Received: TF_CONFIG={config!r}"
        )
    return tf.distribute.get_strategy()


def _assist(
    parts: Parts,
    chosen: Preset,
    found: Run | None,
    seeds: Seeds,
    options: argparse.Namespace,
) -> CommandResult:
    """Trains as a worker that is not the chief and writes nothing."""
    _, stopped_by = _fit(parts, chosen, found, seeds, options)
    values = {"env": chosen.env, "env_steps": parts.trainer.env_steps}
    text = f"{chosen.env}: {values['env_steps']:,} steps; the chief has the run."
    return CommandResult(values, text, 0 if stopped_by is None else 128 + stopped_by)


def build(chosen: Preset, seeds: Seeds, worker_deadline: float = 60.0) -> Parts:
    """Makes environments, models and a compiled trainer, or raises a `ValueError`."""
    import keras

    from kpg.environments.graph.functional import GraphEnvironment

    kind = kind_of(chosen.env)
    trainer, env = kind.build(chosen, seeds)
    in_graph = isinstance(env, GraphEnvironment)
    schedule = planned(chosen, trainer.settings.num_steps, in_graph)
    trainer.compile(
        optimizer=keras.optimizers.Adam(chosen.learning_rate, epsilon=1e-5),
        steps_per_execution=schedule.steps_per_execution,
        jit_compile=chosen.jit_compile,
        worker_deadline=worker_deadline,
    )
    # `fit` would refuse these too, but only once there is a run directory.
    trainer.check_environment(env)
    trainer.training_on(chosen.num_envs).minibatches()
    fields, episodes = dataclasses.asdict(chosen), chosen.validation_episodes
    validation = kind.evaluation(fields, episodes, seeds.validation)
    return Parts(trainer, env, validation, schedule)


def planned(chosen: Preset, num_steps: int, in_graph: bool) -> Schedule:
    """Spends the budget, never more, on whole epochs of whole iterations.

    Raises a `ValueError` if it is smaller than one iteration.
    """
    batch = chosen.num_envs * num_steps
    iterations = chosen.total_steps // batch
    if not iterations:
        raise ValueError(
            "`total_steps` must hold at least one iteration of num_envs * num_steps = "
            f"{batch} steps. Received: total_steps={chosen.total_steps}"
        )
    per_epoch = min(chosen.steps_per_epoch or max(iterations // _EPOCHS, 1), iterations)
    epochs = iterations // per_epoch
    # On the host an iteration is many calls anyway; a short execution stops sooner.
    fused = chosen.steps_per_execution or (per_epoch if in_graph else 1)
    total_steps = epochs * per_epoch * batch
    return Schedule(epochs, per_epoch, min(fused, per_epoch), total_steps)


def _fit(
    parts: Parts,
    chosen: Preset,
    run: Run | None,
    seeds: Seeds,
    options: argparse.Namespace,
) -> tuple[Logs, int | None]:
    """Trains; returns a report of the supervised start, and the signal that came.

    A worker without a `run` learns with the others and writes nothing.
    """
    from kpg.cli.recording import Progress, StopOnSignal
    from kpg.trainers.running.agreement import Agreement
    from kpg.trainers.running.checkpoints import Checkpoint, youngest

    kind, stop = kind_of(chosen.env), StopOnSignal()
    trainer, env, validation, schedule = parts
    callbacks: list[keras.callbacks.Callback] = []
    if run is not None and trainer.is_chief:
        callbacks = kind.callbacks(run, trainer, validation, schedule.total_steps)
        callbacks += _boards(options, run)
    callbacks.append(stop)
    try:
        with stop.listening():
            if run is not None and youngest(run.checkpoints, is_chief=False):
                started = run.pretraining()
            else:
                started = kind.pretrain(
                    trainer.policy, chosen, seeds.pretraining, [stop]
                )
                if started and run is not None and trainer.is_chief:
                    runs.write_json(run.pretraining_file, started)
            if run is not None and stop.received is None:
                # Half a supervised start is not gone on from.
                # What has ended is judged and not gone on with.
                checkpoint = Checkpoint(
                    run.checkpoints,
                    options.checkpoint_minutes,
                    at_end=False,
                    tell=_tell,
                )
                callbacks.append(checkpoint)
            trainer.fit(
                env,
                epochs=schedule.epochs,
                steps_per_epoch=schedule.steps_per_epoch,
                validation_data=validation,
                validation_episodes=chosen.validation_episodes,
                callbacks=callbacks,
                verbose=0,
                real_steps=True,
            )
            with Agreement(trainer.distribute_strategy).meeting(patient=True) as said:
                if trainer.is_chief and run is not None:
                    trainer.save(str(run.last_file))
                said += [float(stop.received == number) for number in _SIGNALS]
    finally:
        for own in callbacks:
            if isinstance(own, Progress):
                own.close()
        env.close()
        validation.close()
    came = zip(_SIGNALS, said, strict=True)
    return started, next((number for number, count in came if count), None)


def _boards(options: argparse.Namespace, run: Run) -> list[keras.callbacks.Callback]:
    """Returns what writes for TensorBoard, if asked to, a folder for each run."""
    import keras

    if options.tensorboard is None:
        return []
    folder = run.directory / "tensorboard"
    if options.tensorboard:
        folder = Path(options.tensorboard)
        folder = folder / run.directory.name if options.seeds > 1 else folder
    return [keras.callbacks.TensorBoard(str(folder), write_graph=False)]


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _settings(chosen: Preset, seed: int, schedule: Schedule) -> Config:
    import keras
    import tensorflow as tf

    versions = {"kpg": __version__, "tensorflow": tf.__version__}
    return {
        "env": chosen.env,
        "seed": seed,
        "preset": dataclasses.asdict(chosen),
        "schedule": schedule._asdict(),
        "versions": versions | {"keras": keras.__version__},
    }


def _timings(chosen: Preset, seed: int, trainer: Trainer) -> Config:
    seconds = trainer.train_seconds
    return {
        "env": chosen.env,
        "algorithm": chosen.algorithm,
        "seed": seed,
        "env_steps": trainer.env_steps,
        "wall_seconds": math.nan,
        "compile_seconds": trainer.compile_seconds,
        "train_seconds": seconds,
        "steps_per_second": trainer.env_steps / seconds if seconds else math.nan,
        "interrupted": True,
        "return_mean": None,
        "solved": None,
    }


def _in_words(values: Config) -> str:
    lines = [
        f"{values['env']}: {values['env_steps']:,} steps with {values['algorithm']} in "
        f"{values['train_seconds']:.1f} s, {values['steps_per_second']:,.0f} a second "
        f"(and {values['compile_seconds']:.1f} s of compiling)"
    ]
    if values["interrupted"]:
        lines += [f"Interrupted: go on with `kpg train --resume {values['run']}`"]
    else:
        lines += [f"Best model: {episode_statistics.in_words(values)}"]
        if values["solved"] is None:
            lines += ["This environment has no official threshold."]
        else:
            word = "Solved" if values["solved"] else "Not solved"
            lines += [f"{word}: the official threshold is {values['threshold']:g}."]
    return "\n".join([*lines, f"Run directory: {values['run']}"])
