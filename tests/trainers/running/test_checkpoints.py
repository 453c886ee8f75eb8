"""A training goes on where it was, to the bit; what is no checkpoint is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kpg
from kpg.trainers import Checkpoint
from kpg.trainers.running import checkpoints
from tests.fork_server import serving
from tests.resuming import (
    Crash,
    Crashes,
    Drawing,
    Kept,
    assert_equal,
    eagerly,
    files_in,
    fit,
    in_graph,
    make,
    on_host,
)

ALWAYS = 1e-9  # minutes between checkpoints


def broken_off(
    folder: Path, env: Any, calls: int, trainer: Any = None, **how: Any
) -> None:
    """Trains with checkpoints after every call, until the n-th, which is in none."""
    watch = Checkpoint(folder, minutes=ALWAYS, **how)
    with pytest.raises(Crash):
        fit(env, trainer or make(env), watch, Crashes(calls))


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, Any]:
    """What a training leads to that nothing breaks off."""
    with eagerly():
        return fit(in_graph(), make(in_graph()))


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize(
    "calls", [1, *(pytest.param(calls, marks=pytest.mark.slow) for calls in (2, 3))]
)
def test_a_training_goes_on_as_if_nothing_had_been(
    calls: int, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    broken_off(tmp_path, in_graph(), calls)
    # In the middle of an epoch, at the end of its last call, and in the next epoch.
    youngest = {1: "0-1", 2: "1-0", 3: "1-1"}[calls]
    assert files_in(tmp_path)[-1] == f"checkpoint-{youngest}.keras"
    watch, trainer = Checkpoint(tmp_path), make(in_graph())
    assert_equal(fit(in_graph(), trainer, watch), undisturbed)
    assert watch.resumed_from == tmp_path / f"checkpoint-{youngest}.keras"
    # One of before stays, and the end was written.
    assert files_in(tmp_path)[-1] == "checkpoint-2-0.keras"
    assert len(files_in(tmp_path)) == 2
    # At the end there is nothing to do.
    assert_equal(fit(in_graph(), make(in_graph()), watch), undisturbed)


@pytest.mark.slow
@pytest.mark.usefixtures("one_by_one")
def test_more_epochs_follow(tmp_path: Path) -> None:
    constant: Any = {"learning_rate_schedule": "constant"}
    at_once = fit(in_graph(), make(in_graph(), "lstm", **constant))
    for epochs in (1, 2):
        watch = Checkpoint(tmp_path, minutes=None, epochs=1)
        trainer = make(in_graph(), "lstm", **constant)
        state = fit(in_graph(), trainer, watch, epochs=epochs)
    assert_equal(state, at_once)
    assert trainer.train_seconds > 0.0


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("pickled", [pytest.param(False, marks=pytest.mark.slow), True])
def test_host_environments_go_on(pickled: bool, tmp_path: Path) -> None:
    kind: Any = Drawing if pickled else Kept
    how: Any = {"pickle_environments": pickled}
    at_once = fit(on_host(kind), make(on_host(kind), memory="lstm"))
    broken_off(tmp_path, on_host(kind), 3, make(on_host(kind), memory="lstm"), **how)
    watch = Checkpoint(tmp_path, **how)
    trainer = make(on_host(kind), memory="lstm")
    assert_equal(fit(on_host(kind), trainer, watch), at_once)


@pytest.mark.usefixtures("one_by_one")
def test_episodes_that_nobody_can_tell_begin_anew(tmp_path: Path) -> None:
    broken_off(tmp_path, on_host(Drawing), 2, pickle_environments=True)
    trainer = make(on_host(Drawing))
    with pytest.warns(UserWarning, match=r"epoch 2.*New episodes begin: pickled"):
        fit(on_host(Drawing), trainer, Checkpoint(tmp_path), epochs=1)
    assert int(trainer.iteration) == 2
    broken_off(tmp_path / "plain", on_host(Drawing), 2)
    said: list[str] = []
    watch = Checkpoint(tmp_path / "plain", tell=said.append)
    state = fit(on_host(Drawing), make(on_host(Drawing)), watch)
    (text,) = said
    assert "New episodes begin: what Drawing keeps inside is not known" in text
    assert state["epoch"].tolist() == [0, 1]


@pytest.mark.usefixtures("one_by_one")
def test_what_cannot_be_pickled_is_told_at_once(tmp_path: Path) -> None:
    class Local(Drawing):
        def __init__(self) -> None:
            super().__init__()
            self.file = open(os.devnull)  # noqa: SIM115

    env = on_host(Local)
    watch = Checkpoint(tmp_path, pickle_environments=True)
    with pytest.raises(ValueError, match=r"can be pickled.*Received: Local, and"):
        fit(env, make(env), watch)
    env.vector_env.envs[0].unwrapped.file.close()
    env.vector_env.envs[1].unwrapped.file.close()


class Sums(keras.callbacks.Callback):
    """Remembers a number of its own."""

    total = 0.0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.total += logs["loss"]

    def get_state(self) -> Any:
        return {"total": self.total}

    def set_state(self, state: Any) -> None:
        self.total = state["total"]


@pytest.mark.usefixtures("one_by_one")
def test_callbacks_remember(tmp_path: Path) -> None:
    def watching() -> tuple[Any, ...]:
        early = keras.callbacks.EarlyStopping("loss", 1e9, 4, restore_best_weights=True)
        slower = keras.callbacks.ReduceLROnPlateau("loss", min_delta=1e9, patience=1)
        best = keras.callbacks.ModelCheckpoint(
            tmp_path / "best.keras", "loss", save_best_only=True
        )
        return Sums(), early, slower, best

    constant: Any = {"learning_rate_schedule": "constant"}
    first, again = watching(), watching()
    at_once = fit(in_graph(), make(in_graph(), **constant), *first, epochs=4)
    watch = Checkpoint(tmp_path / "own", minutes=ALWAYS)
    with pytest.raises(Crash):
        callbacks = (watch, *watching(), Crashes(5))
        fit(in_graph(), make(in_graph(), **constant), *callbacks, epochs=4)
    trainer = make(in_graph(), **constant)
    assert_equal(fit(in_graph(), trainer, watch, *again, epochs=4), at_once)
    assert float(trainer.optimizer.learning_rate) == pytest.approx(0.05e-3)
    assert again[0].total == first[0].total != 0.0
    for one, other in zip(first, again, strict=True):
        assert getattr(one, "best", 0) == getattr(other, "best", 0)
    assert (first[1].wait, first[1].best_epoch) == (again[1].wait, again[1].best_epoch)


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.slow
def test_what_stopped_early_stays_so_unless_there_is_more_patience(
    tmp_path: Path,
) -> None:
    def early(patience: int) -> Any:
        return keras.callbacks.EarlyStopping("loss", 1e9, patience)

    watch = Checkpoint(tmp_path)
    for patience, epochs in ((1, 2), (1, 2), (3, 4)):
        state = fit(in_graph(), make(in_graph()), early(patience), watch, epochs=9)
        assert state["epoch"].tolist() == [*range(epochs)]


@pytest.mark.usefixtures("one_by_one")
def test_what_stops_within_an_epoch_goes_on_there(
    tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    class Stops(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.model.stop_training = True

    watch = Checkpoint(tmp_path, at_end=False)  # of five minutes
    fit(in_graph(), make(in_graph()), watch, Stops())
    assert files_in(tmp_path) == ["checkpoint-0-1.keras"]
    assert_equal(fit(in_graph(), make(in_graph()), watch), undisturbed)
    # What comes to its end writes none there.
    assert files_in(tmp_path) == ["checkpoint-0-1.keras"]


@pytest.mark.usefixtures("one_by_one")
def test_a_drawn_seed_is_kept(tmp_path: Path) -> None:
    trainer = make(in_graph(), seed=None)
    broken_off(tmp_path, in_graph(), 3, trainer)
    (path,) = tmp_path.glob("checkpoint-1-1.keras")
    loaded = kpg.load(path)
    assert loaded.effective_seed == trainer.effective_seed
    states: list[Any] = []
    for other in (make(in_graph(), seed=None), loaded):
        assert other is loaded or other.effective_seed != trainer.effective_seed
        folder = tmp_path / str(len(states))
        folder.mkdir()
        (folder / path.name).write_bytes(path.read_bytes())
        states.append(fit(in_graph(), other, Checkpoint(folder)))
        assert other.effective_seed == trainer.effective_seed
    assert_equal(*states)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two checkpoints; tests copy it."""
    folder = tmp_path_factory.mktemp("written")
    with eagerly():
        broken_off(folder, in_graph(), 2)
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    for path in written.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def damage(path: Path, how: str) -> None:
    whole = path.read_bytes()
    if how == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "changed":
        # In the middle of what is kept beside the weights.
        place = whole.index(b"steps_before")
        path.write_bytes(whole[:place] + b"x" + whole[place + 1 :])
    else:
        make(in_graph()).save(path)


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("how", ["cut", "empty", "changed", "foreign"])
def test_the_one_before_is_taken_and_named(
    folder: Path, how: str, undisturbed: dict[str, Any]
) -> None:
    damage(folder / "checkpoint-1-0.keras", how)
    watch = Checkpoint(folder, keep=1, tell=lambda text: said.append(text))
    said: list[str] = []
    assert_equal(fit(in_graph(), make(in_graph()), watch), undisturbed)
    assert watch.resumed_from == folder / "checkpoint-0-2.keras"
    assert "put aside as *.broken: checkpoint-1-0.keras." in said[0]
    # It does not stand in the way of those that follow, and is still there.
    assert files_in(folder) == ["checkpoint-1-0.keras.broken", "checkpoint-2-0.keras"]


@pytest.mark.usefixtures("one_by_one")
def test_nothing_whole_is_refused(folder: Path) -> None:
    for path in folder.glob("*.keras"):
        damage(path, "cut")
    with pytest.raises(
        ValueError, match=r"None of the checkpoints is whole.*checkpoint-1-0\.keras,"
    ):
        fit(in_graph(), make(in_graph()), Checkpoint(folder))
    assert len(files_in(folder)) == 2


def test_another_format_is_refused_by_the_name_of_its_version(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "FORMAT", 2)
    with pytest.raises(ValueError, match=r"go on with kpg \d.*of format 1"):
        checkpoints.youngest(folder)


@pytest.mark.usefixtures("one_by_one")
def test_a_version_that_fits_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "__version__", "99.0")
    said: list[str] = []
    fit(in_graph(), make(in_graph()), Checkpoint(folder, tell=said.append))
    assert "it was written with kpg" in said[0]


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize(
    ("trainer", "env", "words"),
    [
        (lambda env: make(env, gamma=0.5), in_graph, r"gamma=0.5, but there 0.99"),
        (lambda env: make(env, memory="lstm"), in_graph, "other models"),
        (lambda env: make(env, seed=4), in_graph, "seed=4, but there 3"),
        (make, on_host, r"environment=.*Kept.*, but there .*Walk"),
    ],
)
def test_another_training_is_refused(
    folder: Path, trainer: Callable[..., Any], env: Callable[..., Any], words: str
) -> None:
    other = trainer(env())
    before = [np.array(own) for own in other.get_weights()]
    with pytest.raises(ValueError, match=rf"as before, or.*Received: .*{words}"):
        fit(env(), other, Checkpoint(folder))
    for own, new in zip(before, other.get_weights(), strict=True):
        np.testing.assert_array_equal(own, new)
    assert files_in(folder) == ["checkpoint-0-2.keras", "checkpoint-1-0.keras"]


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        (keras.optimizers.Adam(0.01), "learning rate 0.01, but there 0.05"),
        (keras.optimizers.Adam(0.05, beta_1=0.5), "other optimizers"),
    ],
)
def test_another_optimizer_is_refused(folder: Path, optimizer: Any, words: str) -> None:
    trainer = make(in_graph())
    trainer.compile(optimizer)
    with pytest.raises(ValueError, match=words):
        fit(in_graph(), trainer, Checkpoint(folder))


@pytest.mark.usefixtures("one_by_one")
def test_other_epochs_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="steps_per_epoch=3, but there 2"):
        make(in_graph()).fit(
            in_graph(), steps_per_epoch=3, callbacks=[Checkpoint(folder)], verbose=0
        )


@pytest.mark.usefixtures("one_by_one")
def test_another_process_keeps_the_directory(folder: Path) -> None:
    code = (
        "import sys, fcntl; file = open(sys.argv[1], 'ab'); "
        "fcntl.flock(file, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(folder / ".lock")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=r"another one is running.*Received: "):
            fit(in_graph(), make(in_graph()), Checkpoint(folder))
        holder.kill()
        holder.wait()


@pytest.mark.usefixtures("one_by_one")
def test_a_full_disk_is_told_and_harms_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: dict[str, Any]
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("kpg.files.os.fsync", full)
        with pytest.raises(
            OSError, match=r"checkpoint-2-0.*No space left.*is as it was"
        ):
            fit(in_graph(), make(in_graph()), Checkpoint(folder))
    assert files_in(folder) == ["checkpoint-0-2.keras", "checkpoint-1-0.keras"]
    assert_equal(fit(in_graph(), make(in_graph()), Checkpoint(folder)), undisturbed)


def test_a_checkpoint_holds_no_code(written: Path) -> None:
    with zipfile.ZipFile(written / "checkpoint-1-0.keras") as archive:
        names = set(archive.namelist())
        state = json.loads(archive.read("kpg/state.json"))
    assert {"config.json", "model.weights.h5", "kpg/array-0"} <= names
    assert "dictionary" in state


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"minutes": 0}, "minutes=0"),
        ({"epochs": 0}, "epochs=0"),
        ({"keep": 0}, "keep=0"),
        ({"pickle_environments": "yes"}, "pickle_environments="),
        ({"at_end": 1}, "at_end="),
    ],
)
def test_bad_arguments_are_refused(tmp_path: Path, arguments: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Checkpoint(tmp_path, **arguments)


def test_only_trainers_have_checkpoints_and_only_one(tmp_path: Path) -> None:
    watch = Checkpoint(tmp_path)
    with pytest.raises(ValueError, match="another model"):
        watch.set_model(keras.Sequential())
    with pytest.raises(ValueError, match="one `Checkpoint`"):
        fit(in_graph(), make(in_graph()), watch, Checkpoint(tmp_path / "other"))


def end_of(path: Path) -> dict[str, Any]:
    with np.load(path) as file:
        return {name: file[name] for name in file}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["graph", "xla", "mirrored"])
def test_another_process_goes_on(how: str, tmp_path: Path) -> None:
    with serving() as server:

        def train(name: str, **task: Any) -> dict[str, Any]:
            out = tmp_path / f"{name}.npz"
            return server.train(tmp_path / name, out, how=how, epochs=3, **task)

        assert train("undisturbed")["status"] == 0
        for call in (3, 1):
            assert train("killed", die=call)["killed"]
        assert train("killed")["status"] == 0
        ends = [end_of(tmp_path / f"{name}.npz") for name in ("undisturbed", "killed")]
        assert_equal(*ends)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(5))
def test_fifty_processes_are_killed_at_random_moments(
    seed: int, tmp_path: Path
) -> None:
    random, kills, trainings = np.random.default_rng(seed), 0, 0
    how: dict[str, Any] = {"how": "eager", "epochs": 3}
    with serving() as server:
        out = tmp_path / "undisturbed.npz"
        seconds = server.train(tmp_path / "undisturbed", out, **how)["seconds"]
        undisturbed = end_of(out)
        while kills < 10:
            trainings += 1
            folder, out = tmp_path / f"{trainings}", tmp_path / f"{trainings}.npz"
            for moment in random.uniform(0.0, seconds, 4):
                kills += server.train(folder, out, **how, kill=moment)["killed"]
            assert server.train(folder, out, **how)["status"] == 0
            assert_equal(end_of(out), undisturbed)
            # Nothing half is left behind.
            assert len(files_in(folder)) == len([*folder.glob("checkpoint-*.keras")])
    print(f"{kills} processes killed in {trainings} trainings")
