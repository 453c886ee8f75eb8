"""Text as a terminal shows it: lines end between words."""

from __future__ import annotations

import os
import re
import textwrap
from typing import TextIO


def columns(stream: TextIO) -> int | None:
    """Returns the width of a terminal; `None` if it has none, or is none."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):
        return None


def fitted(text: str, stream: TextIO) -> str:
    """Breaks the lines that are too long for a terminal; other streams get the text.

    What goes on is indented like the line, and below the second column of a table.
    """
    width = columns(stream)
    if width is None:
        return text
    return "\n".join(_broken(line, width) for line in text.split("\n"))


def _broken(line: str, width: int) -> str:
    if len(line) <= width:
        return line
    row = re.match(r" +\S+ {2,}", line)
    indent = row.end() if row else len(line) - len(line.lstrip())
    return textwrap.fill(
        line,
        width,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
