"""The public names of `kpg`."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import kpg

CODE = "import kpg; print(*(name for name in dir(kpg) if not name.startswith('_')))"
NOT_PUBLIC = {"annotations", "importlib", "TYPE_CHECKING", "version"}


def test_every_public_name_is_there() -> None:
    for name in dir(kpg):
        assert getattr(kpg, name) is not None


def test_a_type_checker_sees_the_same_names() -> None:
    tree = ast.parse(Path(str(kpg.__file__)).read_text(encoding="utf-8"))
    (checked,) = (
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    imports = [node for node in checked.body if isinstance(node, ast.ImportFrom)]
    typed = {alias.name for node in imports for alias in node.names}
    # In a process of its own: what others imported would count too.
    printed = subprocess.check_output([sys.executable, "-c", CODE], text=True)
    assert set(printed.split()) - NOT_PUBLIC == typed


def test_other_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        kpg.nothing  # type: ignore[attr-defined]  # noqa: B018
