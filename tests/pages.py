"""The pages of the documentation as data: their code, links and headings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


class Block(NamedTuple):
    """A block of code.

    Attributes:
        language: What stands behind the three backticks: "python" runs in a test, "py"
            needs what is not installed there, "sh" is for a shell.
        code: Its lines.
    """

    language: str
    code: str


def text_of(page: Path) -> str:
    """Returns what a page says."""
    return page.read_text(encoding="utf-8")


def pages() -> list[Path]:
    """Returns every page of the site; an installed wheel has none."""
    return sorted(DOCS.rglob("*.md")) if (ROOT / "setup.py").is_file() else []


def blocks(page: Path) -> list[Block]:
    """Returns the blocks of code of a page, in order."""
    found = re.findall(r"^```(\w+).*?\n(.*?)^```$", text_of(page), re.DOTALL | re.M)
    return [Block(*pair) for pair in found]


def prose(page: Path) -> str:
    """Returns a page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text_of(page), flags=re.DOTALL | re.M)


def links(page: Path) -> list[tuple[str, str]]:
    """Returns the path and the anchor of each link that leads to a file."""
    text = re.sub(r"`[^`\n]*`", lambda code: code[0].replace("](", "] ("), prose(page))
    found = re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", text)
    return [pair for pair in found if not re.match(r"\w+:", pair[0])]


def anchors(page: Path) -> set[str]:
    """Returns where a link can lead within a page, on GitHub and on the site alike.

    GitHub writes a hyphen for each blank, the site one for several. A name of the
    reference is an anchor itself.
    """
    titles = re.findall(r"^#+ (.+)$", prose(page), re.M)
    words = [re.sub(r"[^\w\s-]", "", title).strip().lower() for title in titles]
    both = {
        re.sub(r"\s", "-", word) for word in words if not re.search(r"[-\s]{2}", word)
    }
    return both | set(re.findall(r"^::: (\S+)$", text_of(page), re.M))


def menu() -> list[str]:
    """Returns the pages of the menu in its order."""
    settings = text_of(ROOT / "mkdocs.yml")
    return re.findall(r"^ +- .*: (\S+\.md)$", settings.partition("\nnav:")[2], re.M)
