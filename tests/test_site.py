"""The site without its generator: menu, links, names, commands, and code that runs."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import pytest

import kpg
from kpg.cli import flags
from tests import notebooks, pages, sources
from tests.pages import DOCS, ROOT

PAGES = pages.pages()
NAMES = [page.relative_to(DOCS).as_posix() for page in PAGES]
# With what is read in the repository alone.
READ = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "examples" / "README.md")
WRITTEN = [
    pytest.param(page, id=page.relative_to(ROOT).as_posix())
    for page in [*PAGES, *(READ if PAGES else ())]
]
# Pages that have tests of their own, which know what their code must print.
OWN_TESTS = {"extending.md", "export.md", "language_models.md", "resuming.md"}
OWN_TESTS |= {"presets.md", "rewards.md", "scaling.md", "tuning.md"}
# The code of this one asks a server that runs elsewhere.
OWN_TESTS |= {"serving.md"}
# Quick enough for the fast tests.
FAST = {"determinism.md", "films.md", "images.md"}
# What code in a block of "py" needs; it runs where that is installed.
MORE = (
    ("callbacks.md", "wandb"),
    ("callbacks.md", "mlflow"),
    ("films.md", "pygame"),
    ("images.md", "ale_py"),
)
# What a module defines for others inside of kpg.
INSIDE = {"assert_same_shape", "with_gradient"}

pytestmark = pytest.mark.skipif(not PAGES, reason="an installed wheel has no pages")


def test_every_page_is_in_the_menu_once() -> None:
    assert sorted(pages.menu()) == NAMES


@pytest.mark.parametrize("question", ["own_environment", "resuming", "films", "seeds"])
def test_what_a_stranger_asks_is_in_the_menu(question: str) -> None:
    assert f"{question}.md" in pages.menu()
    assert f"]({question}.md" in pages.text_of(DOCS / "index.md")


@pytest.mark.parametrize("page", WRITTEN)
def test_links_lead_somewhere(page: Path) -> None:
    for path, anchor in pages.links(page):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {path}"
        assert page not in PAGES or target.is_relative_to(DOCS), f"{page.name}: {path}"
        assert not anchor or anchor in pages.anchors(target), f"{path}#{anchor}"


@pytest.mark.parametrize("page", WRITTEN)
def test_code_can_be_read_and_names_what_there_is(page: Path) -> None:
    for language, code in pages.blocks(page):
        if language in ("python", "py"):
            for name in dotted(ast.parse(code)):
                found: Any = kpg
                for part in name.split(".")[1:]:
                    assert hasattr(found, part), f"{page.name}: {name}"
                    found = getattr(found, part)


def dotted(tree: ast.AST) -> Iterator[str]:
    """Yields each `kpg.name.name` in code."""
    for node in ast.walk(tree):
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if parts and isinstance(node, ast.Name) and node.id == "kpg":
            yield ".".join(["kpg", *reversed(parts)])


@pytest.mark.parametrize("page", WRITTEN)
def test_commands_are_understood(page: Path) -> None:
    for language, code in pages.blocks(page):
        lines = code.replace("\\\n", " ").splitlines() if language == "sh" else []
        for line in lines:
            if line.startswith("kpg "):
                flags.parser().parse_args(shlex.split(line, comments=True)[1:])


def public(module: str) -> set[str]:
    """Returns the classes and functions that a module of kpg shows its users."""
    source = sources.installed()[f"kpg.{module}"]
    found = set()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom):
            found |= {each.name for each in node.names if each.name == each.asname}
    shown = importlib.import_module(f"kpg.{module}")
    found |= {
        name for name in source.defined if inspect.isroutine(getattr(shown, name))
    }
    return {name for name in found if not name.isupper()} - INSIDE


@pytest.mark.parametrize("module", kpg._MODULES)
def test_the_reference_has_every_public_name(module: str) -> None:
    page = DOCS / "api" / f"{module}.md"
    listed = re.findall(rf"^::: kpg\.{module}\.(\w+)$", pages.text_of(page), re.M)
    assert len(listed) == len(set(listed))
    assert public(module) <= set(listed)
    shown = importlib.import_module(f"kpg.{module}")
    assert all(hasattr(shown, name) for name in listed)


@pytest.fixture
def namespace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    """Where a page's code runs. What it registers is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    graph, host = set(kpg.environments.IN_GRAPH), set(gymnasium.registry)
    yield {"__name__": "page"}
    for name in set(kpg.environments.IN_GRAPH) - graph:
        kpg.environments.unregister(name)
    for name in set(gymnasium.registry) - host:
        # A package names its entry points, and registers them only once.
        if not isinstance(gymnasium.registry[name].entry_point, str):
            del gymnasium.registry[name]


def run(page: Path, names: dict[str, Any], package: str = "") -> None:
    """Runs the code of a page in order, that of "py" only where it is of a package."""
    for language, code in pages.blocks(page):
        if language == "python" or (language == "py" and package and package in code):
            exec(compile(code, page.name, "exec"), names)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=name, marks=[] if name in FAST else pytest.mark.slow)
        for page, name in zip(PAGES, NAMES, strict=True)
        if name not in OWN_TESTS
        and any(block.language == "python" for block in pages.blocks(page))
    ],
)
def test_code_runs_as_it_stands(page: Path, namespace: dict[str, Any]) -> None:
    run(page, namespace)


@pytest.mark.parametrize("page", sorted(notebooks.FOLDER.glob("*.md")))
def test_a_notebook_is_its_page_and_has_been_run(page: Path) -> None:
    stored = json.loads(pages.text_of(page.with_suffix(".ipynb")))["cells"]
    wanted = notebooks.cells_of(page)
    parts = ("cell_type", "source")
    assert [[cell[part] for part in parts] for cell in stored] == [
        [cell[part] for part in parts] for cell in wanted
    ]
    code = [cell for cell in stored if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == [*range(1, len(code) + 1)]
    kinds = {output["output_type"] for cell in code for output in cell["outputs"]}
    assert "error" not in kinds and kinds


# What these packages still do among themselves is theirs to put right.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.slow
@pytest.mark.parametrize(("name", "package"), MORE)
def test_code_runs_where_more_is_installed(
    name: str,
    package: str,
    namespace: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip(package)
    monkeypatch.setenv("WANDB_MODE", "offline")
    word = {"pygame": "Film", "ale_py": "ale_py"}.get(package, package)
    run(DOCS / name, namespace, word)
