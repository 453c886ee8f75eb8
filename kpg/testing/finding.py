"""One thing that an examination found."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """Something to fix, or to know.

    Attributes:
        name: Short and stable, for programs; all are in `kpg.doctor.NAMES`.
        words: What was seen and what to do, for people.
        note: Whether it may be intended, so that nothing need be done. Defaults to
            `False`.
    """

    name: str
    words: str
    note: bool = False
