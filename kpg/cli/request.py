"""What `kpg train` is asked for, before TensorFlow loads."""

from __future__ import annotations

import argparse

from kpg import checks, imports
from kpg.cli import preset, resuming, runs, setting_flags
from kpg.cli.command_result import UsageError, usage_errors
from kpg.cli.kind import kind_of
from kpg.cli.runs import Run
from kpg.types import Config


def settings(options: argparse.Namespace) -> Config:
    """Returns the settings of --config, under those of --set, under the flags.

    A `UsageError` says which one is unknown, or has a value of a wrong type.
    """
    with usage_errors():
        given = dict(map(preset.parse_assignment, options.assignments))
        if options.config is not None:
            configured = preset.read_settings(options.config)
            options.env = _env_of(options.env, configured.pop("env", options.env))
            given = configured | given
        given |= setting_flags.settings_of(options)
        if options.resume is None and options.env is not None:
            kind_of(options.env).check(options.env, given)
    return given


def _env_of(typed: str | None, configured: object) -> str | None:
    if not isinstance(configured, (str, type(None))):
        checks.refuse("env", "must be the id of an environment or task", configured)
    if typed not in (None, configured):
        raise ValueError(
            f"The configuration is of {configured}; give the same environment, or take "
            f"it out of the file. Received: {typed}"
        )
    return configured


def run(options: argparse.Namespace) -> Run | None:
    """Returns the run that goes on, if any."""
    found = _found(options)
    if options.seeds > 1 and (found is not None or options.strategy is not None):
        raise UsageError(
            "Several seeds are trained from the start, on one device: leave --resume "
            f"and --strategy out. Received: --seeds {options.seeds}"
        )
    if options.tensorboard is not None:
        flag = "--tensorboard"
        imports.optional("tensorboard", "tensorboard", "tensorboard", flag)
    return found


def _found(options: argparse.Namespace) -> Run | None:
    if options.resume is None:
        if options.env is None:
            raise UsageError(
                "Say what to train on: `kpg train MountainCar-v0`, or `kpg train "
                "--resume` to go on with a run. Received: no ENV"
            )
        if options.output is not None and options.strategy != "multiworker":
            runs.check_new(options.output)  # of several workers the chief does it later
        return None
    if options.output is not None:
        raise UsageError(
            "A run goes on in its own directory; leave --output out. Received: "
            f"--output {options.output} with --resume"
        )
    return resuming.find(options.resume, options.env)
