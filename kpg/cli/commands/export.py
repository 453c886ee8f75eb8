"""`kpg export`: a run's best model as a SavedModel."""

from __future__ import annotations

import argparse

from kpg.cli import algorithms, runs
from kpg.cli.command_result import CommandResult, UsageError
from kpg.cli.quiet_tensorflow import import_tensorflow
from kpg.cli.runs import Run


def run(options: argparse.Namespace) -> CommandResult:
    """Carries out the command."""
    run = Run(options.run)
    notes = {"env": run.settings()["env"], "run": str(run.directory)}
    if options.directory is None:
        commands = runs.to_serve(run.directory, run.settings()["env"])
        raise UsageError(
            f"The directory of the model's versions is missing: type {commands}. "
            f"Received: {options.run} alone"
        )
    if options.labels and options.models_config is None:
        raise UsageError(
            "A label is written into a file of models: add --models-config FILE. "
            f"Received: --label {options.labels[0]} alone"
        )
    if result := run.result():
        notes |= {key: result.get(key) for key in ("env_steps", "return_mean")}
    model = run.model_file()
    import_tensorflow(options.debug)
    from kpg.export.writing import models_config, staging
    from kpg.export.writing.saved_model import publish

    export = publish(
        algorithms.load(run),
        options.directory,
        version=options.version,
        format=options.format,
        notes=notes,
        max_new_tokens=options.max_new_tokens,
    )
    labelled: frozenset[int] = frozenset()
    if options.models_config is not None:
        labels = dict.fromkeys(options.labels, export.version)
        labelled = models_config.configure(
            options.models_config, options.directory, labels
        )
    removed = []
    if options.keep is not None:
        spared = labelled | {export.version}
        removed = staging.prune(options.directory, options.keep, spared)
    values = {
        "path": str(export.path),
        "version": export.version,
        "parity_max_abs": export.parity_max_abs,
        "signatures": export.signatures,
        "removed": removed,
    }
    text = (
        f"{model} is now version {export.version} in {options.directory}; it differs "
        f"from the live policy by at most {export.parity_max_abs:.1e}"
    )
    return CommandResult(values, text)
