"""`kpg train`: build, fit, measure, and leave a run directory."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kpg.cli import plots, presets, runs
from kpg.cli.commands import silence, statistics, texts
from kpg.cli.commands.evaluate import environment, measure
from kpg.cli.commands.outcome import Outcome, usage_errors
from kpg.cli.presets import Preset
from kpg.cli.runs import Run
from kpg.version import __version__

_EPOCHS = 50
_FINAL_EPISODES = 100
# Arguments of the policy that are no settings: they follow from the environment, or
# cannot be written on a command line.
_NOT_SETTINGS = {"observation_space", "action_space", "backbone", "seed", "kwargs"}


class Seeds(NamedTuple):
    """Independent seeds, all from the one that the user gave."""

    policy: int
    critic: int
    trainer: int
    environment: int
    validation: int
    final: int
    pretraining: int


class Schedule(NamedTuple):
    """How a budget of environment steps is spent."""

    epochs: int
    steps_per_epoch: int
    steps_per_execution: int
    total_steps: int


class Parts(NamedTuple):
    """What takes part in a training."""

    trainer: Any
    env: Any
    validation: Any
    schedule: Schedule


def run(options: argparse.Namespace) -> Outcome:
    """Carries out the command."""
    if options.output is not None:
        runs.check_new(options.output)
    with usage_errors():
        assignments = dict(map(presets.parse_assignment, options.assignments))
    silence.load(options.debug)
    seeds = derived_seeds(options.seed)
    with usage_errors():
        preset = chosen_preset(options, assignments)
        parts = build(preset, seeds)
    run = runs.create(options.output, preset.env)
    runs.write_json(run.settings_file, _settings(preset, options.seed, parts.schedule))
    started, stopped_by = _fit(parts, preset, run, seeds.pretraining)
    threshold = parts.env.spec.reward_threshold if parts.env.spec else None
    plots.learning_curve(
        run.curve_file,
        run.metrics(),
        title=f"{preset.env}, {preset.algorithm}, seed {options.seed}",
        threshold=threshold,
    )
    values = _timings(preset, options, parts.trainer) | started
    if stopped_by is None:
        values |= _verdict(run, seeds.final, threshold)
    values["wall_seconds"] = time.perf_counter() - options.started
    values["run"] = str(run.directory)
    runs.write_json(run.result_file, values)
    exit_code = 0 if stopped_by is None else 128 + stopped_by
    return Outcome(values, _in_words(values), exit_code)


def derived_seeds(seed: int) -> Seeds:
    """Draws the seeds of all parts."""
    state = np.random.SeedSequence(seed).generate_state(len(Seeds._fields))
    return Seeds(*(int(number) >> 1 for number in state))  # signed 32 bits, ≥ 0


def chosen_preset(options: argparse.Namespace, assignments: dict[str, Any]) -> Preset:
    """Puts the user's words over the preset of the environment.

    Raises:
        ValueError: If the environment or a setting is unknown, or a value out of its
            range.
    """
    import gymnasium

    import kpg

    flags = {
        "algorithm": options.algorithm,
        "num_envs": options.num_envs,
        "total_steps": options.total_steps,
    }
    settings = assignments | {key: flag for key, flag in flags.items() if flag}
    if presets.is_text(options.env):
        known = {name: _settings_of(name) for name in presets.ALGORITHMS}
        return texts.chosen_preset(options.env, settings, known)
    probe = kpg.make(options.env)
    continuous = isinstance(probe.action_space, gymnasium.spaces.Box)
    limit = probe.max_episode_steps
    probe.close()
    tuned = presets.algorithms(options.env, continuous=continuous)
    algorithm = settings.pop("algorithm", tuned[0])
    entry = algorithm if algorithm in tuned else None
    preset = presets.load(options.env, entry, continuous=continuous)
    if algorithm not in presets.ALGORITHMS:
        dataclasses.replace(preset, algorithm=algorithm)  # raises, with the choices
    trainer_settings = _settings_of(algorithm)
    if algorithm != preset.algorithm:
        preset = presets.with_algorithm(preset, algorithm, trainer_settings)
    if limit and "whole_episodes" in trainer_settings:
        # Whole episodes need as many steps as the longest one has.
        chosen = {**preset.trainer, **settings}
        if chosen.get("whole_episodes", True) and "num_steps" not in preset.trainer:
            settings = {"num_steps": limit} | settings
    policy_settings = [
        name
        for name in inspect.signature(kpg.models.Policy).parameters
        if name not in _NOT_SETTINGS
    ]
    return presets.with_settings(
        preset, settings, policy=policy_settings, trainer=trainer_settings
    )


def build(preset: Preset, seeds: Seeds) -> Parts:
    """Makes environments, models and a compiled trainer.

    Raises:
        ValueError: If they do not fit, or a setting is out of its range.
    """
    import keras

    import kpg

    if presets.is_text(preset.env):
        fields = dataclasses.asdict(preset)
        env = texts.environment(fields, preset.num_envs, seeds.environment)
        trainer = texts.build(preset, env, seeds.policy, seeds.trainer)
    else:
        env = kpg.make(preset.env, num_envs=preset.num_envs, seed=seeds.environment)
        trainer = _trainer(preset, env, seeds)
    in_graph = isinstance(env, kpg.environments.GraphEnvironment)
    schedule = planned(preset, trainer.settings.num_steps, in_graph)
    trainer.compile(
        optimizer=keras.optimizers.Adam(preset.learning_rate, epsilon=1e-5),
        steps_per_execution=schedule.steps_per_execution,
        jit_compile=preset.jit_compile,
    )
    # `fit` would refuse these too, but only once there is a run directory.
    trainer.check_environment(env)
    trainer.update_schedule(preset.num_envs)
    episodes = preset.validation_episodes
    validation = environment(dataclasses.asdict(preset), episodes, seeds.validation)
    return Parts(trainer, env, validation, schedule)


def _trainer(preset: Preset, env: Any, seeds: Seeds) -> Any:
    """Makes policy, critic and trainer for a Gymnasium environment."""
    import kpg

    policy = kpg.models.Policy(
        env.observation_space, env.action_space, seed=seeds.policy, **preset.policy
    )
    shared = {k: v for k, v in preset.policy.items() if k in _critic_arguments()}
    critic = kpg.models.Critic(env.observation_space, seed=seeds.critic, **shared)
    make: Callable[..., Any] = getattr(kpg.trainers, preset.algorithm)
    return make(policy, critic, seed=seeds.trainer, **preset.trainer)


def planned(preset: Preset, num_steps: int, in_graph: bool) -> Schedule:
    """Spends the budget on whole epochs of whole iterations, never more than it.

    Raises:
        ValueError: If not one iteration fits in it.
    """
    batch = preset.num_envs * num_steps
    iterations = preset.total_steps // batch
    if not iterations:
        raise ValueError(
            "`total_steps` must hold at least one iteration of num_envs * num_steps = "
            f"{batch} steps. Received: total_steps={preset.total_steps}"
        )
    per_epoch = min(preset.steps_per_epoch or max(iterations // _EPOCHS, 1), iterations)
    epochs = iterations // per_epoch
    # On the host an iteration is many calls anyway; a short execution stops sooner.
    fused = preset.steps_per_execution or (per_epoch if in_graph else 1)
    per_execution = min(fused, per_epoch)
    return Schedule(epochs, per_epoch, per_execution, epochs * per_epoch * batch)


def _critic_arguments() -> set[str]:
    """Names of what a critic can be told; the rest concerns the actions only."""
    import kpg

    return set(inspect.signature(kpg.models.Critic).parameters)


def _settings_of(algorithm: str) -> list[str]:
    import kpg

    settings = getattr(kpg.trainers, algorithm).settings_class
    return [field.name for field in dataclasses.fields(settings)]


def _fit(
    parts: Parts, preset: Preset, run: Run, pretraining_seed: int
) -> tuple[dict[str, float], int | None]:
    """Trains.

    Returns:
        What there is to say of a supervised start, and the number of the signal that
        stopped the training, if one did.
    """
    from kpg.cli.commands import recording

    stop, started = recording.StopOnSignal(), {}
    callbacks: list[Any] = [recording.RunRecorder(run)]
    progress = recording.Progress(parts.schedule.total_steps)
    if presets.is_text(preset.env):
        callbacks.append(recording.CompletionRecorder(run, parts.validation))
        progress.describe_texts(parts.validation, parts.trainer.settings.num_steps)
    try:
        with stop.listening():
            if presets.is_text(preset.env):
                policy = parts.trainer.policy
                started = texts.pretrain(policy, preset, pretraining_seed, [stop])
            parts.trainer.fit(
                parts.env,
                epochs=parts.schedule.epochs,
                steps_per_epoch=parts.schedule.steps_per_epoch,
                validation_data=parts.validation,
                validation_episodes=preset.validation_episodes,
                callbacks=[*callbacks, progress, stop],
                verbose=0,
            )
            parts.trainer.save(str(run.last_file))
    finally:
        parts.env.close()
        parts.validation.close()
    return started, stop.received


def _settings(preset: Preset, seed: int, schedule: Schedule) -> dict[str, Any]:
    import keras
    import tensorflow as tf

    versions = {"kpg": __version__, "tensorflow": tf.__version__}
    return {
        "env": preset.env,
        "seed": seed,
        "preset": dataclasses.asdict(preset),
        "schedule": schedule._asdict(),
        "versions": versions | {"keras": keras.__version__},
    }


def _timings(
    preset: Preset, options: argparse.Namespace, trainer: Any
) -> dict[str, Any]:
    seconds = trainer.train_seconds
    return {
        "env": preset.env,
        "algorithm": preset.algorithm,
        "seed": options.seed,
        "env_steps": trainer.env_steps,
        "wall_seconds": math.nan,
        "compile_seconds": trainer.compile_seconds,
        "train_seconds": seconds,
        "steps_per_second": trainer.env_steps / seconds if seconds else math.nan,
        "interrupted": True,
        "return_mean": None,
        "solved": None,
    }


def _verdict(run: Run, seed: int, threshold: float | None) -> dict[str, Any]:
    """Measures the best model on episodes that had no part in choosing it."""
    import kpg

    best = kpg.load(str(run.model_file()))
    preset = run.settings()["preset"]
    measured = measure(best, preset, _FINAL_EPISODES, seed)
    solved = None if threshold is None else measured["return_mean"] >= threshold
    return measured | {"interrupted": False, "solved": solved, "threshold": threshold}


def _in_words(values: dict[str, Any]) -> str:
    lines = [
        f"{values['env']}: {values['env_steps']:,} steps with {values['algorithm']} in "
        f"{values['train_seconds']:.1f} s, {values['steps_per_second']:,.0f} a second "
        f"(and {values['compile_seconds']:.1f} s of compiling)"
    ]
    if values["interrupted"]:
        lines += ["Interrupted; what was learned so far is kept."]
    else:
        lines += [f"Best model: {statistics.in_words(values)}"]
        if values["solved"] is None:
            lines += ["This environment has no official threshold."]
        else:
            word = "Solved" if values["solved"] else "Not solved"
            lines += [f"{word}: the official threshold is {values['threshold']:g}."]
    return "\n".join([*lines, f"Run directory: {Path(values['run'])}"])
