"""Checkpoints: all that a training needs to go on in another process, to the bit."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import keras
import tensorflow as tf

from kpg import checks, files
from kpg.environments.host import inner
from kpg.environments.host.vector import HostEnvironment
from kpg.trainers.running import identity, memory
from kpg.trainers.running.engine import Engine
from kpg.trainers.running.packing import packed, unpacked
from kpg.trainers.running.saving import SavedTrainer
from kpg.types import Config
from kpg.version import __version__

# To be raised when an older kpg could not read what is written, or the other way round.
FORMAT = 1

_NAME = re.compile(r"checkpoint-(\d+)-(\d+)\.keras")
_STATE, _ARRAY = "kpg/state.json", "kpg/array-{}"
_UNREADABLE = (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error)


class Fit(Protocol):
    """A call of `fit`, as a `Checkpoint` sees it; see `Fitting`."""

    engine: Engine
    callbacks: keras.callbacks.CallbackList

    def settings(self) -> Config:
        """Returns the arguments of `fit` that must stay the same."""
        ...

    def state(self) -> Config:
        """Returns where it is: `epoch`, `step`, `rates`, `base_rates`, and more."""
        ...

    def set_state(self, state: Config) -> None:
        """Goes on from there."""


class Saved(NamedTuple):
    """A whole checkpoint, and the names of younger ones that are not."""

    path: Path
    state: Config
    lost: list[str]


class Checkpoint(keras.callbacks.Callback):
    """Writes all that a training needs to go on, and goes on from it in the next `fit`.

    Give it to `fit`, and after a crash run the same program again: `fit` then begins
    where the last whole checkpoint in `directory` was written, in the middle of an
    epoch too. What follows is what would have followed without the crash, to the bit,
    in environments in the graph, and in host environments with `kpg_state` and
    `set_kpg_state`; in others new episodes begin, and a warning says so. A directory
    belongs to one training: other models, settings or environments are refused.

    A checkpoint is a `.keras` file, so that `kpg.load` reads it, too. It is written
    aside, read again and then given its name, by the chief worker alone. It also holds
    what `EarlyStopping`, `ReduceLROnPlateau`, `ModelCheckpoint` and `History` remember,
    and of a callback of your own what its `get_state()` returns, for its
    `set_state(state)`. When `stop_training` ends an epoch early, one is written, too.

    Args:
        directory: Where checkpoints are, a folder for them alone.
        minutes: Minutes between two of them, > 0. Defaults to 5; `None` for no limit.
        epochs: Epochs between two of them, ≥ 1. Defaults to `None`: as `minutes` and
            `at_end` say.
        keep: How many of them stay, the youngest, ≥ 1. Defaults to 2.
        pickle_environments: Whether host environments without `kpg_state` are pickled.
            Reading such a file runs what code it holds: only give it files of your own.
            Defaults to `False`.
        at_end: Whether one is written after the last epoch, from which a `fit` with
            more epochs goes on. Defaults to `True`.
        tell: Is called with a sentence when a training goes on. By default a
            `UserWarning` says what then begins anew, if anything does.

    Attributes:
        resumed_from: The file that the last `fit` went on from, or `None`.

    Raises:
        ValueError: If an argument is out of range. `fit` raises one if another training
            writes to the directory now, if the checkpoints in it are of another
            training or format, and if none of them is whole.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        minutes: float | None = 5.0,
        epochs: int | None = None,
        keep: int = 2,
        pickle_environments: bool = False,
        at_end: bool = True,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__()
        self.directory = Path(directory)
        self.minutes = None if minutes is None else checks.positive("minutes", minutes)
        self.epochs = None if epochs is None else checks.whole_number("epochs", epochs)
        self.keep = checks.whole_number("keep", keep)
        self.pickle_environments = checks.flag(
            "pickle_environments", pickle_environments
        )
        self.at_end = checks.flag("at_end", at_end)
        self.resumed_from: Path | None = None
        self._tell = tell

    def set_model(self, model: keras.Model) -> None:
        """See `keras.callbacks.Callback.set_model`."""
        if not isinstance(model, SavedTrainer):
            checks.refuse("callbacks", "of another model cannot hold this", self)
        super().set_model(model)

    @contextlib.contextmanager
    def alone(self, fit: Fit) -> Iterator[None]:
        """Keeps others out of the directory while `fit` runs."""
        if not fit.engine.strategy.extended.should_checkpoint:
            yield
            return
        with files.locked(self.directory / ".lock"):
            files.sweep(self.directory)
            yield

    def restore(self, fit: Fit) -> bool:
        """Goes on from the youngest whole checkpoint, if there is one."""
        self._written, self.resumed_from = time.monotonic(), None
        env = fit.engine.env
        if self.pickle_environments and isinstance(env, HostEnvironment):
            env.state(pickled=True)  # to know now if that cannot be done
        saved = youngest(self.directory, fit.engine.strategy.extended.should_checkpoint)
        if saved is None:
            return False
        notes = self._take(saved, fit)
        self.resumed_from = saved.path
        where = saved.state["fit"]
        text = (
            f"Going on from {saved.path}, epoch {where['epoch'] + 1}, step "
            f"{where['step']}. {' '.join(notes)}"
        ).rstrip()
        if self._tell is not None:
            self._tell(text)
        elif notes:
            warnings.warn(text, stacklevel=2)
        return True

    def after_batch(self, fit: Fit) -> None:
        """Writes a checkpoint if the time has come, or training stops here."""
        if self.model.stop_training or self._is_due():
            self.write(fit)

    def after_epoch(self, fit: Fit, epoch: int, last: bool) -> None:
        """Writes one if it is time, or training ends or stops here."""
        due = self.epochs is not None and epoch % self.epochs == 0
        ends = last and (self.at_end or self.model.stop_training)
        if ends or due or self._is_due():
            self.write(fit)

    def write(self, fit: Fit) -> None:
        """Writes a checkpoint, and removes those that are too many."""
        self._written = time.monotonic()
        if not fit.engine.strategy.extended.should_checkpoint:
            return
        arrays: list[bytes] = []
        state = self._state(fit)
        node = json.dumps(packed(state, arrays))

        def write(aside: Path) -> None:
            with self.model._programs.at_base_rates():
                keras.Model.save(self.model, aside)
            with zipfile.ZipFile(aside, "a") as archive:
                archive.writestr(_STATE, node)
                for index, array in enumerate(arrays):
                    archive.writestr(_ARRAY.format(index), array)
            read(aside)

        name = f"checkpoint-{state['fit']['epoch']}-{state['fit']['step']}.keras"
        files.write_aside(self.directory / name, write)
        for path in _found(self.directory)[self.keep :]:
            path.unlink(missing_ok=True)

    def _is_due(self) -> bool:
        seconds = time.monotonic() - self._written
        return self.minutes is not None and seconds >= 60.0 * self.minutes

    def _state(self, fit: Fit) -> Config:
        engine, trainer = fit.engine, self.model
        return {
            "format": FORMAT,
            "versions": _versions(),
            "settings": identity.of(trainer, engine, fit.settings()),
            "seed": trainer.effective_seed,
            "fit": fit.state(),
            "programs": trainer._programs.state(),
            "episodes": engine.state(self.pickle_environments),
            "fragments": engine.fragments(),
            "callbacks": memory.remembered(_callbacks(fit)),
        }

    def _take(self, saved: Saved, fit: Fit) -> list[str]:
        """Goes on from a checkpoint; returns what is not as it was, in sentences."""
        trainer, engine, state = self.model, fit.engine, saved.state
        now = identity.of(trainer, engine, fit.settings())
        identity.refuse_other(state["settings"], now, saved.path)
        identity.refuse_other_seed(trainer, state["seed"], saved.path)
        identity.refuse_other_rates(engine, state["fit"], saved.path)
        trainer.load_weights(str(saved.path))
        trainer.effective_seed = state["seed"]
        engine.training = engine.training._replace(seed=state["seed"])
        others = [trainer._programs.set_state(state["programs"])]
        fit.set_state(state["fit"])
        engine.set_fragments(state.get("fragments"))
        memory.remind(_callbacks(fit), state["callbacks"])
        if state["versions"] != _versions():
            others.append(f"it was written with {_in_words(state['versions'])}")
        notes = [f"Digits may differ: {own}." for own in others if own is not None]
        if saved.lost:
            names = " and ".join(saved.lost)
            notes.insert(0, f"What is not whole was put aside as *.broken: {names}.")
        if (why := self._continue(engine, state["episodes"])) is not None:
            notes.append(f"New episodes begin: {why}.")
        return notes

    def _continue(self, engine: Engine, episodes: Config | None) -> str | None:
        """Goes on with the episodes; returns why new ones begin that would not have."""
        if episodes is not None:
            return engine.set_state(episodes, self.pickle_environments)
        env = engine.env
        lacking = (
            inner.missing(env.vector_env) if isinstance(env, HostEnvironment) else None
        )
        if lacking is None:
            return None
        return f"what {lacking} keeps inside is not known, as it has no `kpg_state`"


def youngest(directory: Path, is_chief: bool = True) -> Saved | None:
    """Returns the youngest whole checkpoint, or `None` if there is no file of one.

    The chief renames those that are not whole. A `ValueError` says if none is, or if
    another version of kpg wrote it in another format.
    """
    lost, paths = [], _found(directory)
    for path in paths:
        try:
            state = read(path)
        except _UNREADABLE:
            lost.append(path)
            continue
        if state["format"] != FORMAT:
            raise ValueError(
                f"A checkpoint of format {FORMAT}, which kpg {__version__} reads, is "
                f"wanted: go on with {_in_words(state['versions'])}, or train anew. "
                f"Received: {path} of format {state['format']}"
            )
        for other in lost if is_chief else ():
            with files.telling(other):
                other.rename(other.with_name(f"{other.name}.broken"))
        return Saved(path, state, [other.name for other in lost])
    if not lost:
        return None
    raise ValueError(
        "None of the checkpoints is whole: they are damaged, or files of something "
        "else. Remove them to train anew. Received: "
        f"{', '.join(path.name for path in lost)} in {directory}"
    )


def read(path: Path) -> Config:
    """Returns what `Checkpoint` wrote beside the weights; raises if it is damaged."""
    with zipfile.ZipFile(path) as archive:
        if (broken := archive.testzip()) is not None:
            raise zipfile.BadZipFile(broken)
        names = {*archive.namelist()}
        node = json.loads(archive.read(_STATE))
        count = sum(name.startswith(_ARRAY.format("")) for name in names)
        arrays = [archive.read(_ARRAY.format(index)) for index in range(count)]
    state: Config = unpacked(node, arrays)
    return state


def _found(directory: Path) -> list[Path]:
    """Returns the files that are named as checkpoints, the youngest first."""
    if not directory.is_dir():
        return []
    names = (_NAME.fullmatch(name) for name in os.listdir(directory))
    found = [(int(name[1]), int(name[2]), name[0]) for name in names if name]
    return [directory / name for _, _, name in sorted(found, reverse=True)]


def _callbacks(fit: Fit) -> list[keras.callbacks.Callback]:
    own: list[keras.callbacks.Callback] = vars(fit.callbacks)["callbacks"]
    return own


def _versions() -> Config:
    versions = {"tensorflow": tf.__version__, "keras": keras.__version__}
    return {"kpg": __version__, **versions}


def _in_words(versions: Config) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
