"""The notebooks, made of the pages of their names: `python -m tests.notebooks`.

A page of `docs/notebooks` is the source: its text and its code become cells, and each
notebook is run from top to bottom, so that it has outputs. `make notebooks` installs
what that needs.
"""

from __future__ import annotations

import importlib
import json
import re
import tempfile
from pathlib import Path
from typing import Any

from tests.pages import DOCS, text_of

FOLDER = DOCS / "notebooks"
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


def cells_of(page: Path) -> list[dict[str, Any]]:
    """Returns the cells that a page becomes, without outputs."""
    parts = re.split(r"^```python\n(.*?)^```$", text_of(page), flags=re.DOTALL | re.M)
    cells = []
    for number, text in enumerate(parts):
        if not text.strip():
            continue
        cell: dict[str, Any] = {
            "cell_type": "code" if number % 2 else "markdown",
            "id": f"cell-{number}",
            "metadata": {},
            "source": text.strip().splitlines(keepends=True),
        }
        if number % 2:
            cell |= {"execution_count": None, "outputs": []}
        cells.append(cell)
    return cells


def notebook_of(page: Path) -> dict[str, Any]:
    """Returns the notebook that a page becomes, in Jupyter's format."""
    return {
        "cells": cells_of(page),
        "metadata": {"kernelspec": KERNEL, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def tidied(cells: list[dict[str, Any]], folder: str) -> list[dict[str, Any]]:
    """Returns cells without what only the machine that ran them had to say.

    Those are logs, the folder that it ran in, and when.
    """
    for cell in cells:
        cell["metadata"] = {}
        outputs = [
            each for each in cell.get("outputs", []) if each.get("name") != "stderr"
        ]
        for each in outputs:
            if "text" in each:
                each["text"] = re.sub(r"\x1b\[\d*m", "", each["text"])
                each["text"] = each["text"].replace(folder, ".")
        if "outputs" in cell:
            cell["outputs"] = outputs
    return cells


def write(page: Path) -> None:
    """Runs the notebook of a page and writes it beside it, outputs included."""
    # Type checkers do not have them, nor do the tests.
    nbclient = importlib.import_module("nbclient")
    nbformat = importlib.import_module("nbformat")
    notebook = nbformat.reads(json.dumps(notebook_of(page)), as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        nbclient.NotebookClient(
            notebook, timeout=None, startup_timeout=600, resources=resources
        ).execute()
    notebook.cells = tidied(notebook.cells, folder)
    notebook.metadata = notebook_of(page)["metadata"]
    page.with_suffix(".ipynb").write_text(nbformat.writes(notebook), encoding="utf-8")


def main() -> None:
    """Writes all notebooks."""
    for page in sorted(FOLDER.glob("*.md")):
        print(f"Running {page.name}", flush=True)
        write(page)


if __name__ == "__main__":
    main()
