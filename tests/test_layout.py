"""The house of kpg: which room may use which, and what holds in all of them.

Imports under `TYPE_CHECKING` and inside functions count like all others.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import sources
from tests.sources import Source, Sources, in_language, installed, targets

# From the ground up: a room uses what stands above it in this list, never what stands
# below. A module belongs to the longest name that it begins with. Rooms of one line
# stand side by side and do not use each other.
ROOMS: tuple[tuple[str, ...], ...] = (
    ("kpg.version",),  # a number
    ("kpg.backend",),  # what Keras runs on
    ("kpg.types",),  # names of types
    ("kpg.checks",),  # what is wrong with an argument, in words
    ("kpg.files",),  # what is written to the disk, whole or not at all
    ("kpg.imports",),  # "module:Name"
    ("kpg.contracts",),  # base classes that hold their subclasses to a promise
    ("kpg.values",),  # options as values
    ("kpg.results",),  # what several seeds say
    ("kpg.classic_control",),  # which class is behind which id
    ("kpg.limits",),  # how long an episode may last
    ("kpg.episodes",),  # whole ones, whoever plays
    ("kpg.films",),  # what one sees of them
    ("kpg.graph",),  # programs: scan, compiling, random numbers, shapes, the cache
    ("kpg.spaces",),  # what observations and actions look like
    ("kpg.trajectories",),  # what happened
    ("kpg.schedules",),  # numbers that change as training goes on
    ("kpg.adaptation",),  # numbers that follow what is measured
    ("kpg.losses",),  # what is minimised
    ("kpg.advantages",),  # how much better than expected
    ("kpg.distributions",),  # from parameters to actions
    ("kpg.environments",),  # where trajectories come from
    ("kpg.language",),  # tokens, rewards of texts, the task of writing
    ("kpg.models",),  # from observations to parameters and values
    ("kpg.models.language",),  # the same of texts, and what writes them
    ("kpg.trainers.learning.replicas",),  # what concerns all of them
    ("kpg.trainers.learning.batches",),  # rows as an algorithm sees them
    ("kpg.trainers.learning.outputs",),  # what the models say about rows
    ("kpg.trainers.learning.reference",),  # what a policy is kept near to
    ("kpg.trainers.learning.replay",),  # what is learned from again
    ("kpg.trainers.settings",),  # what can be set
    ("kpg.trainers.algorithm",),  # what an algorithm is
    ("kpg.trainers.acting",),  # playing
    ("kpg.trainers.learning",),  # one iteration
    ("kpg.trainers.running",),  # many iterations
    ("kpg.trainers",),  # the trainers that users know
    ("kpg.trainers.running.loading",),  # a saved trainer, of whatever class
    ("kpg.trainers.language",),  # the same of texts
    ("kpg.export.wire",),  # what both ends of a connection know
    ("kpg.export.client", "kpg.export.loading"),  # asking; reading a servable
    ("kpg.export.writing",),  # a servable, verified
    ("kpg.export.serving",),  # answering
    ("kpg.export",),
    ("kpg.export.language",),  # strings in, strings out
    ("kpg.testing",),  # problems whose answers are known, and checks for others' code
    ("kpg.doctor",),  # what is wrong, in words
    ("kpg.cli",),  # the command line
    ("kpg.__main__",),
)
MOST_LINES = 45_500
MOST_ANY = 0.03
# What has no test file of its own, and why.
UNTESTED = {"kpg.types": "names of types alone, which nothing runs"}


def floor_of(module: str) -> tuple[int, str]:
    """Returns the number of a module's line in `ROOMS`, and its room."""
    names = [(room, floor) for floor, line in enumerate(ROOMS) for room in line]
    inside = [p for p in names if module == p[0] or module.startswith(f"{p[0]}.")]
    if not inside:
        raise ValueError(f"`ROOMS` must name the room of every module. Got {module}.")
    room, floor = max(inside, key=lambda pair: len(pair[0]))
    return floor, room


def upwards(files: Sources) -> list[str]:
    """Returns the imports from a room that may not be used.

    A face shows what is above it, too, and another rule says who may use it.
    """
    found = []
    for module, source in files.items():
        if source.is_face:
            continue
        floor, room = floor_of(module)
        for target, _ in targets(source, files):
            if files[target].is_face:
                continue
            other, neighbour = floor_of(target)
            if other > floor or (other == floor and neighbour != room):
                found.append(f"{module} -> {target}")
    return sorted(set(found))


def through_faces(files: Sources) -> list[str]:
    """Returns the imports of files inside that go through a face.

    A package that defines the name itself is no face for it.
    """
    found = []
    for module, source in files.items():
        if source.is_face:
            continue
        for target, name in targets(source, files):
            other = files[target]
            through = name not in other.defined if name else other.is_face
            if other.passes_on and through:
                found.append(f"{module} -> {target}{name and '.' + name}")
    return sorted(set(found))


def into_language(files: Sources) -> list[str]:
    """Returns the imports from inside a `language` folder by a file outside of all."""
    return sorted(
        {
            f"{module} -> {target}"
            for module, source in files.items()
            if not in_language(module) and not source.is_face
            for target, _ in targets(source, files)
            if in_language(target)
        }
    )


def text_questions(files: Sources) -> list[str]:
    """Returns the places outside of `language` that ask whether something is text."""
    classes: dict[bool, set[str]] = {True: set(), False: set()}
    for module, source in files.items():
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ClassDef):
                classes[in_language(module)].add(node.name)
    texts = classes[True] - classes[False]
    return [
        question
        for module, source in files.items()
        if not in_language(module) and not source.is_face
        for question in sources.text_questions(source, texts)
    ]


def bare(files: Sources) -> list[str]:
    """Returns what imports `models`, `trainers` or `export` without `kpg.`.

    That makes a second copy of each class, which Keras revives in place of the first.
    """
    names = ("models", "trainers", "export")
    return sorted(
        f"{module} -> {target}"
        for module, source in files.items()
        for target, _ in sources.imported(source)
        if target.split(".")[0] in names
    )


def share_of_any(files: Sources) -> float:
    """Returns the share of annotations of functions that are `Any`.

    What counts is an annotation that says `Any` and nothing more, or a name for it that
    its own file made up. A name of `kpg.types` tells a reader something even where it
    is `Any` to a checker, and does not count; there are few, and a test names them.
    """
    notes = [
        sources.says_any(source, note)
        for source in files.values()
        for note in sources.types_of(source)
    ]
    return sum(notes) / len(notes)


def path_of_tests(source: Source) -> str:
    """Returns the file that holds the tests of a source file."""
    folder, *inside = source.module.removeprefix("kpg.").split(".")
    top = folder in ("models", "trainers", "export")
    *folders, name = ([folder] if top else ["kpg", folder]) + inside
    if source.package:
        folders.append(name)
    return "/".join(["tests", *folders, f"test_{name}.py"])


def untested(files: Sources, tests: dict[str, str]) -> list[str]:
    """Returns the source files whose test file does not exist, or holds no test.

    A file that defines no function and no class has nothing to test, and neither has a
    face.
    """
    found = []
    for module, source in files.items():
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        own = any(
            isinstance(node, kinds) and not node.name.startswith("__")
            for node in source.tree.body
        )
        path = path_of_tests(source)
        if own and module not in UNTESTED and "def test_" not in tests.get(path, ""):
            found.append(f"{module}: {path}")
    return sorted(found)


def report(title: str, found: list[str]) -> None:
    """Fails with everything that was found, a line each."""
    lines = "\n  ".join(found)
    assert not found, f"{len(found)} × {title}:\n  {lines}"


# What is installed.


def test_all_files_are_found() -> None:
    wanted = {"kpg", "kpg.spaces", "kpg.models.policy", "kpg.trainers.ppo"}
    assert wanted <= set(installed()) and len(installed()) > 150
    assert not any(module.startswith("kpg.kpg") for module in installed())


def test_no_room_uses_one_above_it() -> None:
    report("from below", upwards(installed()))


def test_nobody_inside_goes_through_a_face() -> None:
    report("through a face", through_faces(installed()))


def test_no_file_imports_itself_in_the_end() -> None:
    report("circle", [" ↔ ".join(group) for group in sources.circles(installed())])


def test_nothing_outside_of_language_imports_from_inside() -> None:
    report("into `language`", into_language(installed()))


def test_nothing_outside_of_language_asks_whether_something_is_text() -> None:
    report("question", text_questions(installed()))


def test_the_three_folders_are_imported_inside_the_package() -> None:
    report("without `kpg.`", bare(installed()))


@pytest.mark.parametrize("room", ["client", "wire"])
def test_the_client_needs_no_tensorflow(room: str) -> None:
    prefix = f"kpg.export.{room}."
    modules = [module for module in installed() if module.startswith(prefix)]
    assert loads_tensorflow(modules) == "False"


def loads_tensorflow(modules: list[str]) -> str:
    """Returns "True" or "False": what a fresh process says after importing modules."""
    assert modules
    code = f"import sys, {', '.join(modules)}; print('tensorflow' in sys.modules)"
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def test_annotations_say_more_than_any() -> None:
    share = share_of_any(installed())
    assert share < MOST_ANY, f"{share:.1%} of the annotations say `Any` alone"
    shared = sources.aliases_of_any(installed()["kpg.types"])
    assert shared <= {"Nest"}


def test_there_is_not_more_to_read_than_before() -> None:
    lines = sum(source.text.count("\n") for source in installed().values())
    assert lines <= MOST_LINES, f"{lines} source lines"


def test_every_file_has_a_test_file_of_its_name() -> None:
    root = Path(__file__).parent
    tests = {
        f"tests/{path.relative_to(root).as_posix()}": path.read_text(encoding="utf-8")
        for path in root.rglob("test_*.py")
    }
    assert set(UNTESTED) <= set(installed())
    report("without tests of its own", untested(installed(), tests))


# That each rule finds who breaks it.


def made(files: dict[str, str]) -> Sources:
    """Returns files made up for a test; a name that ends in a dot is a package."""
    return {
        name.rstrip("."): Source(name.rstrip("."), text, name.endswith("."))
        for name, text in files.items()
    }


HIDDEN = "if TYPE_CHECKING:\n    "
INSIDE = "def function():\n    "


@pytest.mark.parametrize("place", ["", HIDDEN, INSIDE], ids=["top", "types", "inside"])
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("kpg.losses", "kpg.models.policy"),
        ("kpg.graph.scan", "kpg.spaces"),
        ("kpg.environments.make", "kpg.language.task"),
        ("kpg.models.policy", "kpg.trainers.ppo"),
        ("kpg.models.policy", "kpg.models.language.policy"),
        ("kpg.trainers.acting.graph", "kpg.trainers.running.engines"),
        ("kpg.trainers.learning.iteration", "kpg.trainers.trainer"),
        ("kpg.export.wire.names", "kpg.export.client.client"),
        ("kpg.export.loading.servable", "kpg.export.client.client"),
        ("kpg.export.client.client", "kpg.export.loading.servable"),
        ("kpg.testing.probes", "kpg.doctor.training"),
        ("kpg.trainers.ppo", "kpg.cli.main"),
    ],
)
def test_an_import_from_below_is_found(module: str, name: str, place: str) -> None:
    folder, _, last = name.rpartition(".")
    arrow = [f"{module} -> {name}"]
    for line in (f"import {name}", f"from {folder} import {last}"):
        files = made({module: place + line, name: ""})
        assert upwards(files) == arrow
    assert upwards(made({module: place + f"from {name} import x", name: ""})) == arrow
    back = made({name: f"import {module}", module: ""})
    assert upwards(back) == (
        [f"{name} -> {module}"] if floor_of(name)[0] == floor_of(module)[0] else []
    )


def test_a_module_without_a_room_is_found() -> None:
    with pytest.raises(ValueError, match="room of every module. Got kpg.attic"):
        upwards(made({"kpg.losses": "import kpg.attic", "kpg.attic": ""}))


def test_an_import_through_a_face_is_found() -> None:
    files = {
        "kpg.": "from kpg.models import Policy as Policy",
        "kpg.models.": "from kpg.models.policy import Policy as Policy",
        "kpg.models.policy": "class Policy: ...",
        "kpg.rewards": "from kpg.language.rewards.bleu import Bleu as Bleu",
        "kpg.language.rewards.bleu": "class Bleu: ...",
        "kpg.cli.presets.": "def preset(): ...",
        "kpg.trainers.ppo": "from kpg.models import Policy, policy",
        "kpg.trainers.acting.actor": "def act():\n    import kpg.models",
        "kpg.cli.commands.train": "import kpg\nfrom kpg.cli.presets import preset",
        "kpg.cli.commands.texts": "from kpg.cli import presets\nimport kpg.rewards",
    }
    assert through_faces(made(files)) == [
        "kpg.cli.commands.texts -> kpg.rewards",
        "kpg.cli.commands.train -> kpg",
        "kpg.trainers.acting.actor -> kpg.models",
        "kpg.trainers.ppo -> kpg.models.Policy",
    ]
    assert not upwards(made(files))


def test_a_circle_is_found() -> None:
    files = {
        "kpg.losses": f"{HIDDEN}from kpg.spaces import x",
        "kpg.spaces": f"{INSIDE}import kpg.types",
        "kpg.types": "from kpg import losses\nimport kpg.checks",
        "kpg.checks": "import kpg.checks",
        "kpg.imports": "import kpg.losses",
    }
    assert sources.circles(made(files)) == [["kpg.losses", "kpg.spaces", "kpg.types"]]
    del files["kpg.types"]
    assert not sources.circles(made(files))


def test_an_import_from_inside_language_is_found() -> None:
    files = {
        "kpg.language.task": "",
        "kpg.models.language.policy": "from kpg.language import task",
        "kpg.export.language.texts": "import kpg.models.language.policy",
        "kpg.rewards": "from kpg.language.task import x",
        "kpg.trainers.": "from kpg.language.task import x",
        "kpg.trainers.ppo": f"{INSIDE}import kpg.language.task",
    }
    assert into_language(made(files)) == ["kpg.trainers.ppo -> kpg.language.task"]


@pytest.mark.parametrize(
    "question",
    [
        "isinstance(env, TextTask)",
        "isinstance(env, (Other, language.TextTask))",
        "issubclass(kind, TextTask | Other)",
        "env.is_text",
        "is_text(env)",
    ],
)
def test_a_question_about_text_is_found(question: str) -> None:
    files = {
        "kpg.language.task": f"class TextTask: ...\nclass Shared: ...\n{question}",
        "kpg.spaces": "class Shared: ...\nisinstance(1, Shared)",
        "kpg.trainers.ppo": f"\nresult = {question}",
    }
    (found,) = text_questions(made(files))
    assert found.startswith("kpg.trainers.ppo:2 asks ")


def test_an_import_without_the_package_is_found() -> None:
    files = {"kpg.trainers.ppo": "import models.policy\nfrom export import serve"}
    assert bare(made(files)) == [
        "kpg.trainers.ppo -> export",
        "kpg.trainers.ppo -> models.policy",
    ]


def test_a_client_with_tensorflow_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another package of this name, which takes no seconds.
    (tmp_path / "tensorflow.py").touch()
    (tmp_path / "its_client.py").write_text("import tensorflow")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    assert loads_tensorflow(["its_client"]) == "True"


@pytest.mark.parametrize(
    ("note", "counts"),
    [
        ("Any", True),
        ("typing.Any", True),
        ("'Any'", True),
        ("Array", True),
        ("Whatever", True),
        ("Nest", False),
        ("object", False),
        ("dict[str, Any]", False),
    ],
)
def test_bare_any_is_found(note: str, counts: bool) -> None:
    head = "from typing import Any as Whatever\nfrom kpg.types import Nest\n"
    alias = "Array: TypeAlias = Any\n"
    function = f"def function(a, b: int, *c: int, d: {note}) -> int: ..."
    (source,) = made({"kpg.spaces": head + alias + function}).values()
    assert share_of_any({"kpg.spaces": source}) == (0.25 if counts else 0.0)


def test_a_file_without_tests_is_found() -> None:
    files = made(
        {
            "kpg.losses": "def value(): ...",
            "kpg.types": "Tensor = int",
            "kpg.graph.scan": "def scan(): ...",
            "kpg.models.": "def __getattr__(name): ...",
            "kpg.models.policy": "class Policy: ...",
            "kpg.export.wire.names": "class Name: ...",
            "kpg.cli.presets.": "def preset(): ...",
        }
    )
    tests = {
        "tests/kpg/test_losses.py": "def test_it(): ...",
        "tests/models/test_policy.py": "",
        "tests/kpg/export/wire/test_names.py": "def test_it(): ...",
    }
    assert untested(files, tests) == [
        "kpg.cli.presets: tests/kpg/cli/presets/test_presets.py",
        "kpg.export.wire.names: tests/export/wire/test_names.py",
        "kpg.graph.scan: tests/kpg/graph/test_scan.py",
        "kpg.models.policy: tests/models/test_policy.py",
    ]
