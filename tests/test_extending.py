"""What `docs/extending.md` promises: its code is short, runs, and ends in a check."""

from __future__ import annotations

import dataclasses
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import keras
import pytest

import kpg
from kpg import contracts
from kpg.trainers.algorithm import Algorithm, Iteration, Needs, Updates

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = DOCS / "extending.md"
CHECKS = {
    "Algorithm": "check_algorithm",
    "Estimator": "check_estimator",
    "Distribution": "check_family",
    "Environment": "check_environment",
    "Reward": "check_reward",
}
LONGEST = 25  # lines of code in an example


def sections() -> dict[str, str]:
    """Returns the text below each heading of the second level."""
    parts = re.split(r"^## (.+)$", PAGE.read_text("utf-8"), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def blocks(text: str, language: str = "python") -> list[str]:
    """Returns the code blocks of a text."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.M)


def examples() -> list[tuple[str, str]]:
    """Returns every example with the heading that it is below."""
    if not PAGE.is_file():  # an installed wheel has no documentation
        return []
    return [(name, code) for name, text in sections().items() for code in blocks(text)]


def lines(code: str) -> list[str]:
    """Returns the lines of code that are not blank."""
    return [line for line in code.splitlines() if line.strip()]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's folder. What its module registers is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    known = dict(keras.saving.get_custom_objects())
    ids = set(kpg.environments.IN_GRAPH)
    yield tmp_path
    sys.modules.pop("mine", None)
    for name in set(keras.saving.get_custom_objects()) - set(known):
        del keras.saving.get_custom_objects()[name]
    for name in set(kpg.environments.IN_GRAPH) - ids:
        kpg.environments.unregister(name)


@pytest.mark.skipif(not PAGE.is_file(), reason="an installed wheel has no pages")
class TestPage:
    @pytest.mark.parametrize(("section", "code"), examples())
    def test_an_example_runs_as_it_is(
        self, folder: Path, section: str, code: str
    ) -> None:
        (folder / "mine.py").write_text(code, "utf-8")
        importlib.invalidate_caches()
        module = importlib.import_module("mine")
        assert module.__file__ == str(folder / "mine.py")

    @pytest.mark.parametrize(("section", "code"), examples())
    def test_an_example_is_short_and_ends_in_its_check(
        self, section: str, code: str
    ) -> None:
        assert len(lines(code)) <= LONGEST
        assert lines(code)[-1].startswith(f"kpg.testing.{CHECKS[section]}(")

    def test_every_kind_has_an_example(self) -> None:
        assert {section for section, _ in examples()} == set(CHECKS)
        assert set(CHECKS.values()) <= set(dir(kpg.testing))

    def test_the_contract_is_complete(self) -> None:
        rows = re.findall(r"^\| `(\w+)(.*?)\| ", sections()["Algorithm"], re.M)
        assert {name for name, _ in rows} == {
            "settings_class",
            *contracts.hooks_of(Algorithm),
        }
        for name, kind in (("needs", Needs), ("updates", Updates)):
            fields = [field.name for field in dataclasses.fields(kind)]
            assert f"{kind.__name__}({', '.join(fields)})" in dict(rows)[name]
        phase = sections()["Algorithm"].partition("### A second phase")[2]
        told = set(re.findall(r"`iteration\.(\w+)", phase))
        assert told == {*contracts.hooks_of(Iteration), "healthy"}

    def test_commands_name_what_the_examples_define(self) -> None:
        code = "\n".join(code for _, code in examples())
        (commands,) = blocks(sections()["From the command line"], "sh")
        named = re.findall(r"mine:([\w-]+)", commands)
        assert len(named) == len(set(named)) == 5
        for name in named:
            assert f"class {name}(" in code or f'register("{name}"' in code

    def test_links_lead_somewhere(self) -> None:
        text = PAGE.read_text("utf-8")
        titles = re.findall(r"^#+ (.+)$", text, re.M)
        anchors = {title.lower().replace(" ", "-") for title in titles}
        for path, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", text):
            assert not path or (DOCS / path).is_file()
            assert path or anchor in anchors
