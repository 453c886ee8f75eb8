"""How much memory there is left."""

from __future__ import annotations

from typing import Any

import pytest

from kpg.trainers.learning import free_memory as module
from kpg.trainers.learning.free_memory import free_memory, gigabytes


def test_free_memory_is_the_least_that_is_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    machine = free_memory()
    for name, text in (("memory.max", "5000"), ("memory.current", "2000")):
        (tmp_path / name).write_text(text + "\n")
    monkeypatch.setattr(module, "_GROUP", tmp_path)
    assert free_memory() == 3000
    (tmp_path / "memory.max").write_text("max\n")
    assert (free_memory() is None) == (machine is None)


def test_bytes_are_said_in_gigabytes() -> None:
    assert gigabytes(1_260_000_000) == "1.3 GB"
