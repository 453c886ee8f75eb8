"""There is a whole file at all times, whatever happens to who writes one."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from kpg import files
from kpg.files import write_aside


def test_what_is_half_written_is_not_seen(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def write(aside: Path) -> None:
        aside.write_text("half")
        assert aside.parent == path.parent and path.read_text() == "old"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_aside(path, write)
    assert path.read_text() == "old" and [*tmp_path.iterdir()] == [path]

    def rewrite(aside: Path) -> None:
        aside.write_text("new")

    write_aside(path, rewrite)
    assert path.read_text() == "new" and [*tmp_path.iterdir()] == [path]


def test_what_dead_writers_left_is_swept(tmp_path: Path) -> None:
    path = tmp_path / "best.keras"
    token = "0123456789abcdef" * 2
    for name in (f".{token}-best.keras", ".4711-best.keras"):
        (tmp_path / name).write_text("half")
    others = [f".{token}-last.keras", ".x-best.keras", "1-best.keras"]
    for name in others:
        (tmp_path / name).write_text("of somebody else")
    write_aside(path, lambda aside: None)
    assert sorted(os.listdir(tmp_path)) == sorted([*others, "best.keras"])
    files.sweep(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([*others[1:], "best.keras"])


def test_what_is_being_written_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def outer(aside: Path) -> None:
        aside.write_text("outer")
        write_aside(path, lambda inner: inner.write_text("inner"))
        assert path.read_text() == "inner" and aside.read_text() == "outer"

    write_aside(path, outer)
    assert path.read_text() == "outer" and [*tmp_path.iterdir()] == [path]


def test_without_locks_nobody_is_taken_for_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOTSUP, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    left = tmp_path / f".{'a' * 32}-file"
    left.write_text("being written elsewhere")
    write_aside(tmp_path / "file", lambda aside: aside.write_text("whole"))
    assert sorted(os.listdir(tmp_path)) == [left.name, "file"]
    with files.locked(tmp_path / ".lock"):
        pass


def test_what_is_swept_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, calls = fcntl.flock, []

    def late(descriptor: int, operation: int) -> None:
        calls.append(descriptor)
        if len(calls) == 1:
            for path in tmp_path.iterdir():
                path.unlink()
        original(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    write_aside(tmp_path / "file", lambda aside: aside.exists() or pytest.fail("gone"))
    assert len(calls) == 2 and os.listdir(tmp_path) == ["file"]


def test_the_path_of_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def full(aside: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(
        OSError, match=r"file could not be written: No space.*as it was"
    ):
        write_aside(path, full)
    assert path.read_text() == "old" and [*tmp_path.iterdir()] == [path]
    with pytest.raises(FileNotFoundError, match=r"folder/file could not be written"):
        write_aside(tmp_path / "folder" / "file", lambda aside: None)

    def nameless(aside: Path) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match=r"^.*file could not be written: disk full"):
        write_aside(path, nameless)


def test_files_are_readable_as_others_are(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    write_aside(tmp_path / "file", lambda aside: None)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {stat.S_IMODE(plain.stat().st_mode)}


def hold(path: Path, ready: Any) -> None:
    with files.locked(path):
        ready.set()
        multiprocessing.Event().wait()


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "run" / ".lock"
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    holder = context.Process(target=hold, args=(path, ready))
    holder.start()
    assert ready.wait(60)
    with pytest.raises(ValueError, match=r"Only one training.*Received: .*run$"):
        with files.locked(path):
            pass
    holder.kill()
    holder.join()
    for _ in range(2):
        with files.locked(path):
            assert path.exists()
