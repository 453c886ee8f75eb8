"""`kpg doctor`: what is wrong with an environment or a run, in words."""

from __future__ import annotations

import argparse
import functools
from pathlib import Path
from typing import Any

import gymnasium

from kpg.cli import presets
from kpg.cli.commands import silence
from kpg.cli.commands.outcome import Outcome, UsageError
from kpg.cli.runs import Run


def run(options: argparse.Namespace) -> Outcome:
    """Carries out the command."""
    id, num_envs, model = options.target, None, None
    if Path(options.target).is_dir():
        run = Run(options.target)
        settings, model = run.settings(), run.model_file()
        id, num_envs = settings["env"], settings.get("preset", {}).get("num_envs")
    silence.load(options.debug)
    import kpg
    from kpg.doctor import diagnose

    trainer = None if model is None else kpg.load(str(model))
    findings = diagnose(environment(id, num_envs), trainer, num_envs)
    serious = [finding for finding in findings if not finding.note]
    values = {
        "env": id,
        "run": None if trainer is None else options.target,
        "healthy": not serious,
        "findings": [_plain(finding) for finding in serious],
        "notes": [_plain(finding) for finding in findings if finding.note],
    }
    return Outcome(values, _in_words(options.target, findings), int(bool(serious)))


def environment(id: str, num_envs: int | None) -> Any:
    """Returns what is to be examined.

    That is the in-graph environment where there is one, as in training. Otherwise a
    single environment shows more than a vector of them, which checks and copies.

    Raises:
        UsageError: If the id is not registered, or that of a text task.
    """
    import kpg

    if presets.is_text(id):
        raise UsageError(
            "The doctor looks at Gymnasium environments; `kpg evaluate` judges texts. "
            f"Received: {id}"
        )
    if id in kpg.environments.IN_GRAPH or id.startswith("envpool:"):
        return kpg.make(id, num_envs=num_envs or 4, seed=0)
    # Gymnasium's own checker would stop at what is to be told here.
    make = functools.partial(gymnasium.make, id, disable_env_checker=True)
    try:
        make().close()
    except gymnasium.error.UnregisteredEnv as error:
        raise UsageError(f"{error} Received: {id}") from error
    return make


def _plain(finding: Any) -> dict[str, str]:
    return {"name": finding.name, "words": finding.words}


def _in_words(target: str, findings: list[Any]) -> str:
    lines = [
        f"{'note: ' if finding.note else ''}{finding.name}: {finding.words}"
        for finding in findings
    ]
    if all(finding.note for finding in findings):
        lines.append(f"{target}: healthy")
    return "\n".join(lines)
