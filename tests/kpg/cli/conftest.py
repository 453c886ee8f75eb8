"""The command line in this process, and what it leaves behind."""

from __future__ import annotations

from pathlib import Path

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


@pytest.fixture(scope="session")
def run_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a few iterations; tests must not change it."""
    directory = tmp_path_factory.mktemp("runs") / "small"
    succeed("train", "CartPole-v1", *SMALL, "--output", directory)
    return directory


@pytest.fixture(scope="session")
def servable(run_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That run's policy, exported; tests must not change it."""
    directory = tmp_path_factory.mktemp("servables") / "cart_pole"
    succeed("export", run_directory, directory)
    return directory
