"""A run that goes on: which one, and that it goes on as it began."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kpg.cli.command_result import UsageError
from kpg.cli.preset import Preset
from kpg.cli.runs import Run
from kpg.types import Config
from kpg.version import __version__

_PARTS = ("policy", "trainer", "task")


def find(directory: str, env: str | None = None) -> Run:
    """Returns the run in a directory, or without one the newest, perhaps of `env`.

    A `ValueError` says if it cannot go on: it has finished, or kpg wrote no checkpoints
    yet when it began.
    """
    run = Run(directory) if directory else _newest(env)
    settings, result = run.settings(), run.result()
    if env not in (None, settings["env"]):
        raise UsageError(
            "A run goes on in its own environment; leave ENV out. Received: "
            f"{env}, but {run.directory} is of {settings['env']}"
        )
    if result and not result.get("interrupted"):
        raise ValueError(
            "This run has finished, and there is nothing to go on with; train anew, "
            f"with more steps if you like. Received: {run.directory}"
        )
    if not run.checkpoints.is_dir() and run.metrics():
        version = settings.get("versions", {}).get("kpg", "")
        raise ValueError(
            "This run has no checkpoints to go on from; train anew, or `kpg.load` its "
            f"last.keras. Received: {run.directory}, which kpg {version} wrote"
        )
    return run


def preset_of(run: Run, given: Mapping[str, object]) -> Preset:
    """Returns a run's settings; a `ValueError` if some that are given are others."""
    saved = run.settings()
    settings: Config = {"seed": saved["seed"], **saved["preset"]}
    for part in _PARTS:
        settings |= saved["preset"][part]
    unlike = [
        f"{name}={value!r}, but the run has {settings.get(name, 'no such setting')!r}"
        for name, value in given.items()
        if name not in settings or settings[name] != value
    ]
    if unlike:
        raise UsageError(
            "A run goes on with its own settings; leave others out, or train anew. "
            f"Received: {'; '.join(unlike)}"
        )
    try:
        return Preset(**saved["preset"])
    except (TypeError, ValueError) as error:
        raise ValueError(
            "The settings of a run must be known; go on with the version of kpg that "
            f"wrote them. Received: {run.directory} of kpg {saved['versions']['kpg']}, "
            f"and this is {__version__}: {error}"
        ) from error


def _newest(env: str | None) -> Run:
    """Returns the run under `runs/` that was written to last."""
    found = []
    for path in Path("runs").glob("*/*/settings.json"):
        run = Run(path.parent)
        if env in (None, run.settings()["env"]):
            files = [path, run.metrics_file, *run.checkpoints.glob("*")]
            times = [file.stat().st_mtime for file in files if file.is_file()]
            found.append((max(times), str(run.directory)))
    if not found:
        raise ValueError(
            "There is no run to go on with; begin one with `kpg train ENV`, or give "
            f"its directory. Received: --resume alone, and nothing in {Path('runs')}/"
        )
    return Run(max(found)[1])
