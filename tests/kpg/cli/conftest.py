"""The command line in this process, and what it leaves behind."""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kpg.cli.main import main
from tests.command_line import SMALL, Kpg, Result, succeed


@pytest.fixture
def kpg_command(capfd: pytest.CaptureFixture[str]) -> Kpg:
    """Runs `kpg` in this process."""

    def run(*arguments: object) -> Result:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capfd.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Callable[[type[Any], int], None]:
    """Returns what lets Ctrl-C come in a step of environments of a class."""

    def after(kind: type[Any], steps: int) -> None:
        step, taken = kind.step, itertools.count(1)

        def stepped(self: Any, action: Any) -> Any:
            if next(taken) == steps:
                raise KeyboardInterrupt
            return step(self, action)

        monkeypatch.setattr(kind, "step", stepped)

    return after


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A run of a few iterations beside another one, and what `kpg train` said of it."""
    folder, texts = tmp_path_factory.mktemp("trained"), (io.StringIO(), io.StringIO())
    (folder / "runs/CartPole-v1/1").mkdir(parents=True)
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(texts[0]),
        contextlib.redirect_stderr(texts[1]),
    ):
        patch.chdir(folder)
        succeed("train", "CartPole-v1", *SMALL, "--json")
    out, err = (text.getvalue() for text in texts)
    return folder / "runs/CartPole-v1/2", Result(0, out, err)


@pytest.fixture(scope="session")
def run_directory(trained: tuple[Path, Result]) -> Path:
    """That run; tests must not change it."""
    return trained[0]


@pytest.fixture
def unfinished_run(tmp_path: Path) -> Path:
    """A run directory of CartPole-v1 whose training has just begun."""
    directory = tmp_path / "runs" / "CartPole-v1" / "1"
    directory.mkdir(parents=True)
    (directory / "settings.json").write_text('{"env": "CartPole-v1"}')
    return directory


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """A directory that looks like what `kpg export` writes."""
    version = tmp_path / "cart_pole" / "1"
    version.mkdir(parents=True)
    (version / "saved_model.pb").touch()
    return version.parent


@pytest.fixture(scope="session")
def servable(run_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That run's policy, exported; tests must not change it."""
    directory = tmp_path_factory.mktemp("servables") / "cart_pole"
    succeed("export", run_directory, directory)
    return directory
