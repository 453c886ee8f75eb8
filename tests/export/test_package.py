"""The package's door."""

from __future__ import annotations

import subprocess
import sys

import pytest

import kpg.export


def test_every_public_name_is_there() -> None:
    for name in kpg.export._MODULES:
        assert getattr(kpg.export, name).__name__ == name
        assert name in dir(kpg.export)


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = kpg.export.nothing


def test_importing_it_imports_nothing_heavy() -> None:
    code = (
        "import sys, kpg.export\n"
        "kpg.export.Client, kpg.export.ServingError, kpg.export.VerificationError\n"
        "print('tensorflow' in sys.modules)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout == "False\n"
