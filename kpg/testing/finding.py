"""One thing that an examination found."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """Something to fix or, as a `note`, to know: it may be intended.

    The `name` is stable and in `kpg.doctor.NAMES`; the `words` say what was seen and
    what to do.
    """

    name: str
    words: str
    note: bool = False
