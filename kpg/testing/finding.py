"""One thing that an examination found."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """What was seen and what to do, or as a `note` only to know, in `words`.

    The `name` is stable and in `kpg.doctor.NAMES`.
    """

    name: str
    words: str
    note: bool = False
