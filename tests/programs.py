"""What XLA makes of compiled functions."""

from __future__ import annotations

import re
from typing import Any


def passes(function: Any, *arguments: Any) -> list[int | None]:
    """Returns how often each loop of a program runs; `None` if XLA does not know."""
    program = function.experimental_get_compiler_ir(*arguments)(stage="optimized_hlo")
    counts: list[int | None] = []
    for line in program.splitlines():
        if " while(" in line:
            known = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
            counts.append(int(known.group(1)) if known else None)
    return counts
