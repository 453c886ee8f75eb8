"""The run directory: what one `kpg train` leaves behind.

- `settings.json`: what was asked for: preset, overrides, seed, versions.
- `metrics.jsonl`: one JSON object an epoch.
- `completions.jsonl`: of text tasks only; see `Run.append_completions`.
- `learning_curve.png`: return over environment steps.
- `best.keras`: the trainer at its best validation.
- `last.keras`: the trainer at the end.
- `result.json`: what came out of it.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


class Run:
    """A run directory.

    Attributes:
        directory: Where it is.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)

    @property
    def settings_file(self) -> Path:
        """Path of `settings.json`."""
        return self.directory / "settings.json"

    @property
    def metrics_file(self) -> Path:
        """Path of `metrics.jsonl`."""
        return self.directory / "metrics.jsonl"

    @property
    def completions_file(self) -> Path:
        """Path of `completions.jsonl`."""
        return self.directory / "completions.jsonl"

    @property
    def curve_file(self) -> Path:
        """Path of `learning_curve.png`."""
        return self.directory / "learning_curve.png"

    @property
    def best_file(self) -> Path:
        """Path of `best.keras`."""
        return self.directory / "best.keras"

    @property
    def last_file(self) -> Path:
        """Path of `last.keras`."""
        return self.directory / "last.keras"

    @property
    def result_file(self) -> Path:
        """Path of `result.json`."""
        return self.directory / "result.json"

    def settings(self) -> dict[str, Any]:
        """Reads the settings.

        Raises:
            ValueError: If the directory is not a run, or a damaged one.
        """
        wanted = "A run directory that `kpg train` wrote is wanted"
        if not self.directory.is_dir():
            raise ValueError(
                f"{wanted}; there is no such directory. Received: {self.directory}"
            )
        if not self.settings_file.is_file():
            raise ValueError(
                f"{wanted}; this one has no settings.json. Received: {self.directory}"
            )
        try:
            settings = json.loads(self.settings_file.read_text(encoding="utf-8"))
        except ValueError:
            settings = None
        if not isinstance(settings, dict) or not isinstance(settings.get("env"), str):
            raise ValueError(
                f"{wanted}; the settings.json of this one is damaged. Train again, or "
                f"load its model with `kpg.load`. Received: {self.directory}"
            )
        return settings

    def model_file(self) -> Path:
        """Returns the best model, or the last one where validation never ended.

        Raises:
            ValueError: If there is neither.
        """
        for path in (self.best_file, self.last_file):
            if path.is_file():
                return path
        raise ValueError(
            "A run directory with a trained model is wanted; this one has neither "
            "best.keras nor last.keras, so its training was cut off before the first "
            f"epoch ended. Train again. Received: {self.directory}"
        )

    def metrics(self) -> list[dict[str, Any]]:
        """Reads the logs of all epochs; `[]` before the first has ended."""
        if not self.metrics_file.is_file():
            return []
        lines = self.metrics_file.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def append_metrics(self, logs: Mapping[str, Any]) -> None:
        """Adds the logs of one epoch."""
        _append(self.metrics_file, [logs])

    def append_completions(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Adds texts: `epoch`, `prompt`, `completion`, and `rewards` by name."""
        _append(self.completions_file, rows)


def check_new(directory: str | os.PathLike[str]) -> None:
    """Raises a `ValueError` if something is there already."""
    if os.path.lexists(directory):
        raise ValueError(
            "A new run directory is wanted, so that no run is overwritten. Choose "
            f"another --output, or remove it. Received: {directory}, which exists"
        )


def create(directory: str | os.PathLike[str] | None, env: str) -> Run:
    """Makes a run directory.

    Args:
        directory: Where, or `None` for `runs/<env>/<next free integer>`.
        env: Id of the environment.

    Raises:
        ValueError: If the directory exists; nothing in it is touched.
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


def to_json(value: Any, indent: int | None = None) -> str:
    """Writes strict JSON: NaN and infinities, which JSON lacks, become null."""
    return json.dumps(_plain(value), allow_nan=False, indent=indent)


def _append(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(to_json(row) + "\n" for row in rows)


def write_json(path: Path, value: Any) -> None:
    """Writes a whole file or nothing."""
    aside = path.with_name(f".{path.name}.tmp")
    aside.write_text(to_json(value, indent=2) + "\n", encoding="utf-8")
    aside.replace(path)


def _plain(value: Any) -> Any:
    """Turns NumPy's numbers and arrays into Python's, and NaN into `None`."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
