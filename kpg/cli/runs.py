"""The run directory, which `kpg train` leaves behind.

- `settings.json`: preset, overrides, seed, versions.
- `metrics.jsonl`: one JSON object per epoch.
- `completions.jsonl`: text tasks only, see `Run.append_completions`.
- `learning_curve.png`: return over environment steps.
- `best.keras`, `last.keras`: the trainer at its best validation and at the end.
- `checkpoints/`: what a training goes on from, until it has finished.
- `pretraining.json`: text tasks only, the outcome of the supervised start.
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

from kpg import files
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
        self.checkpoints = self.directory / "checkpoints"
        self.pretraining_file = self.directory / "pretraining.json"
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
            f"so its training was cut off. Type `kpg train --resume {self.directory}` "
            f"to go on with it. Received: {self.directory}"
        )

    def result(self) -> Config:
        """Reads the outcome, `{}` before the end; a `ValueError` if it is damaged."""
        if not self.result_file.is_file():
            return {}
        with contextlib.suppress(ValueError):
            result = json.loads(self.result_file.read_text(encoding="utf-8"))
            if isinstance(result, dict):
                return result
        raise ValueError(
            "The result.json of a run must be as `kpg train` wrote it. The models do "
            "not need it: remove it, and only what it says is lost. Received: "
            f"{self.result_file}, which is damaged"
        )

    def pretraining(self) -> Config:
        """Reads the outcome of the supervised start, `{}` if there was none."""
        if not self.pretraining_file.is_file():
            return {}
        started: Config = json.loads(self.pretraining_file.read_text("utf-8"))
        return started

    def metrics(self, start: int = 0) -> list[Config]:
        """Reads the logs of all epochs, or those from a byte on.

        What a writer that died has left of the last line does not count.
        """
        if not self.metrics_file.is_file():
            return []
        with self.metrics_file.open("rb") as file:
            file.seek(start)
            lines = file.read().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith(b"\n")]

    def sizes(self) -> dict[str, int]:
        """Returns the sizes of what grows, by name, once they are on the disk."""
        sizes = {}
        for path in (self.metrics_file, self.completions_file):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
                    sizes[path.name] = os.fstat(file.fileno()).st_size
        return sizes

    def cut(self, sizes: Mapping[str, int]) -> None:
        """Removes what was added since `sizes` were these; of others, everything."""
        for path in (self.metrics_file, self.completions_file):
            size = sizes.get(path.name, 0)
            if path.is_file() and path.stat().st_size > size:
                os.truncate(path, size)

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
    text = "".join(to_json(row) + "\n" for row in rows)
    with files.telling(path), path.open("a", encoding="utf-8") as file:
        file.write(text)


def write_json(path: Path, value: object) -> None:
    """Writes a whole file or nothing."""
    text = to_json(value, indent=2) + "\n"
    files.write_aside(path, lambda aside: aside.write_text(text, encoding="utf-8"))


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
