"""Lines that are too long for a terminal end between words."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import termios
from collections.abc import Iterator

import pytest

from kpg.cli.terminal import columns, fitted


@pytest.fixture
def screen() -> Iterator[io.TextIOWrapper]:
    other, own = pty.openpty()
    fcntl.ioctl(own, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 20, 0, 0))
    with open(own, "w", encoding="utf-8") as stream:
        yield stream
    os.close(other)


def test_a_terminal_has_a_width_and_a_file_has_none(screen: io.TextIOWrapper) -> None:
    assert columns(screen) == 20
    assert columns(io.StringIO()) is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("short\nlines", "short\nlines"),
        ("return 500.00 over 100 episodes", "return 500.00 over\n100 episodes"),
        ("  Pole   PPO, 1; A2C, 2", "  Pole   PPO, 1;\n         A2C, 2"),
        ("  indented words go on below", "  indented words go\n  on below"),
        ("a /directory/of-a-long/name", "a\n/directory/of-a-long/name"),
    ],
)
def test_lines_are_broken_where_they_would_be(
    text: str, shown: str, screen: io.TextIOWrapper
) -> None:
    assert fitted(text, screen) == shown


def test_what_no_terminal_reads_stays_as_it_is() -> None:
    assert fitted(40 * "word ", io.StringIO()) == 40 * "word "
