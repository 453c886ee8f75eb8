"""Versions that appear and vanish in one step, whatever happens on the way."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.export.loading import versions
from kpg.export.writing import manifest, staging
from tests.fork_server import serving

SPACE = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def leftover(directory: Path) -> Path:
    """Makes what a writer leaves that is killed."""
    path = directory / f".tmp-{os.getpid()}-{uuid.uuid4().hex}"
    path.mkdir()
    (path / "saved_model.pb").write_text("half")
    return path


def test_leftovers_of_the_dead_are_removed_and_those_of_the_living_stay(
    tmp_path: Path,
) -> None:
    for _ in range(14):
        leftover(tmp_path)
    strange = {".tmp-x", "notes.txt", "7"}
    for name in strange:
        (tmp_path / name).mkdir()
    with staging.staging(tmp_path) as living:
        assert names(tmp_path) == {living.name, *strange}
        with staging.staging(tmp_path) as other:
            assert names(tmp_path) == {living.name, other.name, *strange}
        staging.sweep(tmp_path)
        assert names(tmp_path) == {living.name, *strange}
    assert names(tmp_path) == strange


def test_a_lock_ends_with_its_writer(tmp_path: Path) -> None:
    path = leftover(tmp_path)
    writer = os.open(path, os.O_RDONLY)
    fcntl.flock(writer, fcntl.LOCK_EX)
    staging.sweep(tmp_path)
    assert names(tmp_path) == {path.name}
    os.close(writer)  # what the system does for a process that is killed
    staging.sweep(tmp_path)
    assert not names(tmp_path)


@pytest.mark.parametrize("error", [BlockingIOError, None, OSError])
def test_a_directory_that_is_swept_before_it_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[OSError] | None
) -> None:
    """Another process may be faster; a file system without locks raises OSError."""
    original, calls = fcntl.flock, []

    def lock(descriptor: int, operation: int) -> None:
        calls.append(descriptor)
        if len(calls) == 1 and error is None:
            (tmp_path / names(tmp_path).pop()).rmdir()
        elif error is not None and (len(calls) == 1 or error is OSError):
            raise error
        original(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", lock)
    with staging.staging(tmp_path) as stage:
        assert stage.is_dir()
        assert len(calls) == (1 if error is OSError else 2)
    if error is OSError:
        assert not names(tmp_path)


def test_a_version_is_published_once(tmp_path: Path) -> None:
    with staging.staging(tmp_path) as stage:
        (stage / "saved_model.pb").write_text("all of it")
        assert staging.publish(stage, tmp_path, 3) == tmp_path / "3"
    assert (tmp_path / "3" / "saved_model.pb").read_text() == "all of it"
    with pytest.raises(ValueError, match="version=3, which exists"):
        staging.check_free(tmp_path, 3)
    staging.check_free(tmp_path, None)
    assert names(tmp_path) == {"3"}


@pytest.fixture
def full_disk() -> Iterator[None]:
    """Lets no file grow beyond 40,000 bytes, which stops TensorFlow half-way."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def test_a_disk_that_is_full(tmp_path: Path, full_disk: None) -> None:
    policy = kpg.models.Policy(SPACE, gym.spaces.Discrete(2), hidden_units=(4,))
    (tmp_path / "1").mkdir()
    with pytest.raises(ValueError, match="must fit on the disk.*File too large") as e:
        kpg.export.export_policy(policy, tmp_path)
    assert "versions that were there are unchanged" in str(e.value)
    assert f"Received: {tmp_path} (" in str(e.value) and "\n" not in str(e.value)
    assert names(tmp_path) == {"1"}


@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left"), tf.errors.ResourceExhaustedError(None, None, "")],
)
def test_whatever_the_disk_says(tmp_path: Path, error: Exception) -> None:
    with (
        pytest.raises(ValueError, match="must fit on the disk") as caught,
        staging.staging(tmp_path),
    ):
        raise error
    assert caught.value.__cause__ is error and not names(tmp_path)


@pytest.mark.parametrize(
    ("keep", "spared", "left"),
    [
        (1, (), {"12"}),
        (3, (), {"2", "003", "12"}),
        (1, (2, 99), {"2", "12"}),
        (9, (), {"1", "2", "003", "12"}),
    ],
)
def test_pruning(
    tmp_path: Path, keep: int, spared: tuple[int, ...], left: set[str]
) -> None:
    others = {"models.config", "0x7", ".tmp"}
    for name in {"1", "2", "003", "12", *others}:
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").touch()
    removed = kpg.export.prune(tmp_path, keep, spared)
    assert names(tmp_path) == left | others
    assert removed == sorted({1, 2, 3, 12} - {int(one) for one in left}, reverse=True)


def test_no_server_sees_half_of_a_version_that_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").touch()
    seen = []
    original = shutil.rmtree

    def remove(path: Path, ignore_errors: bool) -> None:
        seen.append(names(tmp_path) - {path.name})
        original(path, ignore_errors)

    monkeypatch.setattr("shutil.rmtree", remove)
    kpg.export.prune(tmp_path, 1)
    assert seen == [{"2"}]


def test_at_least_one_version_is_kept(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`keep` must be a whole number"):
        kpg.export.prune(tmp_path, 0)


def assert_whole(path: Path, like: Path) -> None:
    """Asserts that all files of a version are there, as its manifest describes them."""
    described = json.loads((path / manifest.PATH).read_text("utf-8"))["sha256"]
    assert manifest.hashes(path) == described
    assert described.keys() == manifest.hashes(like).keys()
    policy = tf.saved_model.load(str(path)).signatures["serving_default"]
    assert policy.structured_outputs


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(5))
def test_fifty_exports_are_killed_at_random_moments(seed: int, tmp_path: Path) -> None:
    random, kills, whole = np.random.default_rng(seed), 0, tmp_path / "whole"
    base, seen = tmp_path / "killed", set[int]()
    base.mkdir()
    with serving() as server:
        seconds = server.export(whole)["seconds"]
        while kills < 10:
            # Half of them near the end, where the version appears.
            moment = seconds * random.uniform(random.choice([0.0, 0.9]), 1.1)
            kills += server.export(base, kill=moment)["killed"]
            found = versions.published(base)
            for version in found.keys() - seen:
                assert_whole(found[version], whole / "1")
            seen |= found.keys()
            # No more than the last one has left behind.
            hidden = [name for name in names(base) if name.startswith(".tmp-")]
            assert len(hidden) <= 1
        assert server.export(base)["status"] == 0
    assert names(base) == {*map(str, versions.published(base))}
    assert len(names(base)) == len(seen) + 1
    print(f"{kills} exports killed, {len(seen)} of all published")
