"""The source files of kpg as data: what each imports, asks and annotates."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

FOLDERS = ("kpg", "kpg.models", "kpg.trainers", "kpg.export")
# Modules that only pass names on, beside every `__init__.py` that does.
FACES = ("kpg.callbacks", "kpg.rewards", "kpg.text")


@dataclass(frozen=True)
class Source:
    """One file.

    Attributes:
        module: Its name as Python imports it, without `.__init__`.
        text: What it says.
        package: Whether it is the `__init__.py` of a folder.
    """

    module: str
    text: str
    package: bool = False

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def defined(self) -> set[str]:
        """The public names that it gives a meaning itself."""
        names: set[str] = set()
        for node in self.tree.body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                names.add(node.name)
            elif isinstance(node, ast.Assign):
                names.update(t.id for t in node.targets if isinstance(t, ast.Name))
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names.add(node.target.id)
        return {name for name in names if not name.startswith("_")}

    @property
    def passes_on(self) -> bool:
        """Whether names of other files can be imported from it on purpose."""
        return self.package or self.module in FACES

    @property
    def is_face(self) -> bool:
        """Whether it does nothing else: users import from it, files inside do not."""
        return self.passes_on and not self.defined


Sources = Mapping[str, Source]


@cache
def installed() -> dict[str, Source]:
    """Returns every source file of the package under test by its module's name."""
    found: dict[str, Source] = {}
    for folder in reversed(FOLDERS):
        root = root_of(folder)
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            package = parts[-1] == "__init__"
            module = ".".join([folder, *parts[: -1 if package else None]])
            text = path.read_text(encoding="utf-8")
            found.setdefault(module, Source(module, text, package))
    return found


def root_of(folder: str) -> Path:
    """Returns the real folder of one of `FOLDERS`."""
    return Path(str(importlib.import_module(folder).__file__)).resolve().parent


def imported(source: Source) -> Iterator[tuple[str, str]]:
    """Yields (module, name) for each import; the name is "" in `import module`.

    Imports for types alone and those inside functions count like all others.
    """
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{source.module} has a relative import.")
            yield from ((str(node.module), alias.name) for alias in node.names)


def targets(source: Source, sources: Sources) -> Iterator[tuple[str, str]]:
    """Yields (file, name) for each import of one of the files.

    The name is what is taken from the file, or "" if it is the file itself.
    """
    for module, name in imported(source):
        if name and f"{module}.{name}" in sources:
            yield f"{module}.{name}", ""
        elif module in sources:
            yield module, name


def circles(sources: Sources) -> list[list[str]]:
    """Returns the groups of files of which each imports all others in the end."""
    arrows = {
        module: {target for target, _ in targets(source, sources)} - {module}
        for module, source in sources.items()
    }
    reached = {module: _reached(module, arrows) for module in arrows}
    groups = {
        tuple(sorted(m for m in there if module in reached[m]))
        for module, there in reached.items()
        if module in there
    }
    return sorted(map(list, groups))


def _reached(start: str, arrows: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(arrows[start])
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += arrows[module]
    return found


def types_of(source: Source) -> Iterator[ast.expr]:
    """Yields the annotations of parameters and results."""
    for node in ast.walk(source.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            taken = node.args
            given = [*taken.posonlyargs, *taken.args, *taken.kwonlyargs]
            given += [one for one in (taken.vararg, taken.kwarg) if one is not None]
            notes = [one.annotation for one in given] + [node.returns]
            yield from (note for note in notes if note is not None)


def says_any(source: Source, annotation: ast.expr) -> bool:
    """Tells whether an annotation is `Any` and nothing else, by whatever name.

    `typing.Any`, `"Any"`, and names that the same file gives to `Any` count; a part of
    a larger annotation, as in `dict[str, Any]`, does not.
    """
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    if isinstance(annotation, ast.Attribute):
        return annotation.attr == "Any"
    names = {"Any", *aliases_of_any(source)}
    return isinstance(annotation, ast.Name) and annotation.id in names


@cache
def aliases_of_any(source: Source) -> frozenset[str]:
    """Returns the names that a file gives to `Any`, by `from` or by an assignment."""
    names = {"Any"}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom):
            names |= {a.asname or "Any" for a in node.names if a.name == "Any"}
    for node in source.tree.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            left = node.targets if isinstance(node, ast.Assign) else [node.target]
            if isinstance(node.value, ast.Name) and node.value.id in names:
                names |= {target.id for target in left if isinstance(target, ast.Name)}
    return frozenset(names - {"Any"})


def in_language(module: str) -> bool:
    """Tells whether a module is inside a folder of that name, on whatever floor."""
    return "language" in module.split(".")


def text_questions(source: Source, text_classes: set[str]) -> list[str]:
    """Returns the places where a file asks whether something is text."""
    found = []
    for node in ast.walk(source.tree):
        asked = ""
        if isinstance(node, (ast.Name, ast.Attribute, ast.FunctionDef)):
            asked = name_of(node) if name_of(node) == "is_text" else ""
        elif isinstance(node, ast.Call) and len(node.args) == 2:
            if name_of(node.func) in ("isinstance", "issubclass"):
                kinds = {name_of(part) for part in ast.walk(node.args[1])}
                asked = ", ".join(sorted(kinds & text_classes))
        if asked:
            line = getattr(node, "lineno", 0)
            found.append(f"{source.module}:{line} asks {asked}")
    return found


def name_of(node: ast.AST) -> str:
    """Returns the last part of a name, or what a function is called."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.name if isinstance(node, ast.FunctionDef) else ""
