"""The run directory, which `kpg train` leaves behind.

- `settings.json`: preset, overrides, seed, versions.
- `metrics.jsonl`: one JSON object per epoch.
- `completions.jsonl`: text tasks only, see `Run.append_completions`.
- `learning_curve.png`: return over environment steps.
- `best.keras`, `last.keras`: the trainer at its best validation and at the end.
- `result.json`: the outcome.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from kpg.types import Config


class Run:
    """A run directory: the files in it, read and appended to."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)
        self.settings_file = self.directory / "settings.json"
        self.metrics_file = self.directory / "metrics.jsonl"
        self.completions_file = self.directory / "completions.jsonl"
        self.curve_file = self.directory / "learning_curve.png"
        self.best_file = self.directory / "best.keras"
        self.last_file = self.directory / "last.keras"
        self.result_file = self.directory / "result.json"

    def settings(self) -> Config:
        """Reads the settings; a `ValueError` if this is no run or a damaged one."""
        settings: object = None
        if self.directory.suffix == ".keras":
            problem = f"type its folder, {self.directory.parent}"
        elif not self.directory.is_dir():
            problem = "there is no such directory"
        elif is_export(self.directory):
            problem = (
                f"this is what `kpg export` wrote: type `kpg serve {self.directory}`, "
                "and then `kpg play ENV --server 127.0.0.1:8500`"
            )
        elif not self.settings_file.is_file():
            problem = "this one has no settings.json"
        else:
            with contextlib.suppress(ValueError):
                settings = json.loads(self.settings_file.read_text(encoding="utf-8"))
            if isinstance(settings, dict) and isinstance(settings.get("env"), str):
                return settings
            problem = (
                "the settings.json of this one is damaged. Train again, or load its "
                "model with `kpg.load`"
            )
        raise ValueError(
            f"A run directory that `kpg train` wrote is wanted; {problem}. Received: "
            f"{self.directory}"
        )

    def model_file(self, choice: str = "best") -> Path:
        """Returns the best model, or else the last; or only the last, by `choice`.

        Raises a `ValueError` if there is none.
        """
        files = [self.last_file]
        if choice == "best":
            files.insert(0, self.best_file)
        for path in files:
            if path.is_file():
                return path
        names = " or ".join(path.name for path in files)
        raise ValueError(
            f"A run directory with a trained model is wanted; this one has no {names}, "
            "so its training was cut off. Train again. Received: "
            f"{self.directory}"
        )

    def metrics(self) -> list[Config]:
        """Reads the logs of all epochs; `[]` before the first has ended."""
        if not self.metrics_file.is_file():
            return []
        lines = self.metrics_file.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def append_metrics(self, logs: Mapping[str, object]) -> None:
        """Adds the logs of one epoch."""
        _append(self.metrics_file, [logs])

    def append_completions(self, rows: Iterable[Mapping[str, object]]) -> None:
        """Adds texts: `epoch`, `prompt`, `completion`, and `rewards` by name."""
        _append(self.completions_file, rows)


def is_run(directory: str | os.PathLike[str]) -> bool:
    """Whether something is a run directory."""
    return Run(directory).settings_file.is_file()


def is_export(directory: str | os.PathLike[str]) -> bool:
    """Whether something holds versions of an exported model."""
    return any(Path(directory).glob("[0-9]*/saved_model.pb"))


def to_serve(run: str | os.PathLike[str], env: str) -> str:
    """Returns the commands between a run and a served policy."""
    servable = Path("servables") / re.sub(r"[^\w.-]+", "-", env)
    return f"`kpg export {run} {servable}`, then `kpg serve {servable}`"


def check_new(directory: str | os.PathLike[str]) -> None:
    """Raises a `ValueError` if something is there already."""
    if os.path.lexists(directory):
        raise ValueError(
            "A new run directory is wanted, so that no run is overwritten. Choose "
            f"another --output, or remove it. Received: {directory}, which exists"
        )


def create(directory: str | os.PathLike[str] | None, env: str) -> Run:
    """Makes a run directory, by default `runs/<env>/<next free number>`.

    Raises a `ValueError` if it exists; nothing in it is touched.
    """
    if directory is not None:
        check_new(directory)
        Path(directory).mkdir(parents=True)
        return Run(directory)
    parent = Path("runs") / re.sub(r"[^\w.-]+", "-", env)
    parent.mkdir(parents=True, exist_ok=True)
    while True:
        taken = [int(path.name) for path in parent.iterdir() if path.name.isdigit()]
        directory = parent / str(max(taken, default=0) + 1)
        try:
            directory.mkdir()
        except FileExistsError:
            continue  # Another process took this number in the meantime.
        return Run(directory)


def to_json(value: object, indent: int | None = None) -> str:
    """Writes strict JSON: NaN and infinities, which JSON lacks, become null."""
    return json.dumps(_plain(value), allow_nan=False, indent=indent)


def _append(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(to_json(row) + "\n" for row in rows)


def write_json(path: Path, value: object) -> None:
    """Writes a whole file or nothing."""
    aside = path.with_name(f".{path.name}.tmp")
    aside.write_text(to_json(value, indent=2) + "\n", encoding="utf-8")
    aside.replace(path)


def _plain(value: object) -> object:
    """Turns NumPy's numbers and arrays into Python's, and NaN into `None`."""
    to_list = getattr(value, "tolist", None)
    if to_list is not None:
        value = to_list()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
