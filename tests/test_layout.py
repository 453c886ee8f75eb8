"""The arrows of the layout: kpg ← models ← trainers ← export."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

import kpg
import kpg.export
import kpg.models
import kpg.trainers

LAYERS = ("kpg", "kpg.models", "kpg.trainers", "kpg.export")
# The command line stands on top of everything, and the package's door opens to it.
ABOVE = ("kpg.__main__", "kpg.cli")
DOOR = "kpg.__init__"


def sources() -> dict[str, Path]:
    """Returns every module of the installed package and its file."""
    found: dict[str, Path] = {}
    for layer in LAYERS:
        root = Path(str(importlib.import_module(layer).__file__)).resolve().parent
        for path in sorted(root.rglob("*.py")):
            name = ".".join([layer, *path.relative_to(root).with_suffix("").parts])
            found.setdefault(name, path)
    return found


def layer_of(module: str) -> int:
    """Returns the number of the layer, counted from the bottom."""
    if any(module == name or module.startswith(f"{name}.") for name in ABOVE):
        return len(LAYERS)
    for number, layer in reversed(list(enumerate(LAYERS))):
        if module == layer or module.startswith(f"{layer}."):
            return number
    raise ValueError(f"a module of kpg is wanted. Received: {module}")


def imported(path: Path) -> set[str]:
    """Returns the modules that a file imports, inside its functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def violations(module: str, imports: set[str]) -> list[str]:
    """Returns what a module imports from above itself, or without `kpg.`."""
    bare = {"models", "trainers", "export"}
    wrong = [name for name in imports if name.split(".")[0] in bare]
    inside = [name for name in imports if name.split(".")[0] == "kpg"]
    if module != DOOR:
        wrong += [name for name in inside if layer_of(name) > layer_of(module)]
    return sorted(wrong)


def test_imports_point_down_only() -> None:
    found = sources()
    assert {"kpg.spaces", "kpg.models.policy", "kpg.cli.main"} <= set(found)
    wrong = {
        module: names
        for module, path in found.items()
        if (names := violations(module, imported(path)))
    }
    assert not wrong


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("kpg.losses", "kpg.models.Policy"),
        ("kpg.models.policy", "kpg.trainers.PPO"),
        ("kpg.trainers.ppo", "kpg.export"),
        ("kpg.trainers.ppo", "kpg.cli.main.main"),
        ("kpg.trainers.ppo", "models.policy"),
    ],
)
def test_an_arrow_that_points_up_is_found(module: str, name: str) -> None:
    assert violations(module, {name}) == [name]


def test_the_three_folders_are_installed_inside_the_package() -> None:
    for layer in (kpg.models, kpg.trainers, kpg.export):
        assert layer.__name__.startswith("kpg.")
