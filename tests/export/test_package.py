"""The package's face, and the arrows between its rooms."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import kpg.export

ROOT = Path(kpg.export.__file__).resolve().parent
# What each room may import from, besides itself.
BELOW = {
    "wire": set[str](),
    "client": {"wire"},
    "loading": {"wire"},
    "writing": {"wire", "loading"},
    "serving": {"wire", "loading"},
    "language": {"wire", "loading", "writing"},
}


NAMES = (
    *("Client", "Export", "Player", "Server", "ServingError", "VerificationError"),
    *("export_policy", "publish", "serve", "verify"),
)


def test_every_public_name_is_there() -> None:
    for name in NAMES:
        assert getattr(kpg.export, name).__name__ == name
        assert name in dir(kpg.export)


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = kpg.export.nothing


def imported(path: Path) -> set[str]:
    """Returns what a file imports, inside functions and for types too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("room", BELOW)
def test_rooms_import_from_those_below(room: str) -> None:
    files = sorted((ROOT / room).glob("*.py"))
    assert len(files) > 1
    for path in files:
        for name in imported(path):
            parts = name.split(".")
            if parts[:2] == ["kpg", "export"]:
                assert parts[2] in {room, *BELOW[room]}, f"{path}: {name}"
            if room != "language":
                assert "language" not in parts, f"{path}: {name}"


def modules(*rooms: str) -> list[str]:
    return [
        f"kpg.export.{room}.{path.stem}"
        for room in rooms
        for path in sorted((ROOT / room).glob("*.py"))
        if path.stem != "__init__"
    ]


def test_a_client_needs_no_tensorflow() -> None:
    heavy = "{'tensorflow', 'keras', 'tensorflow_serving', 'gymnasium'}"
    lines = [
        "import kpg.export; kpg.export.Client, kpg.export.Player, "
        "kpg.export.ServingError, kpg.export.VerificationError",
        *[f"import {name}" for name in modules("wire", "client")],
    ]
    # What none of them loads no part of them does.
    code = "\n".join(["import sys", *lines, f"print({heavy} & {{*sys.modules}})"])
    command = [sys.executable, "-c", code]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    assert process.stdout == "set()\n"
