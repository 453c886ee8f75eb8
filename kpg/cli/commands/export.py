"""`kpg export`: a run's best model as a SavedModel."""

from __future__ import annotations

import argparse
import json

from kpg.cli.commands import silence
from kpg.cli.commands.outcome import Outcome
from kpg.cli.runs import Run


def run(options: argparse.Namespace) -> Outcome:
    """Carries out the command."""
    run = Run(options.run)
    notes = {"env": run.settings()["env"], "run": str(run.directory)}
    if run.result_file.is_file():
        result = json.loads(run.result_file.read_text(encoding="utf-8"))
        notes |= {key: result.get(key) for key in ("env_steps", "return_mean")}
    model = run.model_file()
    silence.load(options.debug)
    import kpg
    from kpg.export.writing.saved_model import publish

    export = publish(
        kpg.load(str(model)),
        options.directory,
        version=options.version,
        notes=notes,
        max_new_tokens=options.max_new_tokens,
    )
    values = {
        "path": str(export.path),
        "version": export.version,
        "parity_max_abs": export.parity_max_abs,
        "signatures": export.signatures,
    }
    text = (
        f"{model} is now version {export.version} in {options.directory}; it differs "
        f"from the live policy by at most {export.parity_max_abs:.1e}"
    )
    return Outcome(values, text)
